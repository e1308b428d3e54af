//! The examples that end each help.

/// The end of the help of `twtrace`; without the feature `check`, of what is there.
pub(super) fn top() -> String {
    let mut rows = TOP.to_vec();
    if cfg!(feature = "check") {
        rows.push(("twtrace check", "self-test on this kernel"));
    }
    format!("{}\n{EXIT_CODES}", list(&rows))
}

/// The end of the long help of a subcommand.
pub(super) fn of(name: &str) -> String {
    let found = EACH.iter().find(|each| each.0 == name);
    found.map_or_else(String::new, |(_, rows)| list(rows).trim_end().to_owned())
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 a check failed, doctor found a danger, or --fail-on matched; 2 could not run; 3 events were lost; 4 all checks skipped.";

/// A command, and what it shows.
type Row = (&'static str, &'static str);

const TOP: [Row; 11] = [
    (
        "twtrace trace",
        "one line per TIME_WAIT socket that ends, with the reason",
    ),
    (
        "twtrace trace -L 443 --netns web",
        "only local port 443 in the network namespace `web`",
    ),
    ("twtrace hist --duration 2m", "lifetimes by end reason"),
    ("twtrace hist 10 6", "the same every 10 seconds, six times"),
    (
        "twtrace hist --by cgroup",
        "which services, containers or pods make them",
    ),
    (
        "twtrace conflicts --duration 5m",
        "SYNs refused because of an old connection, and why",
    ),
    ("twtrace top", "full-screen live view"),
    (
        "twtrace doctor",
        "what is wrong on this host and what to do; root is optional",
    ),
    (
        "twtrace ports",
        "local ports used per destination, and failed calls",
    ),
    ("twtrace record -c 'ab -n 1000 http://10.0.0.1/' FILE", ""),
    (
        "twtrace report FILE --hist",
        "show a recording, on this host or another",
    ),
];

/// Three for each subcommand: what most people want, a choice, and what feeds another program.
const EACH: &[(&str, [Row; 3])] = &[
    (
        "trace",
        [
            (
                "sudo twtrace trace",
                "one line per socket that ends, until Ctrl-C",
            ),
            (
                "sudo twtrace trace -L 443 --netns web",
                "only local port 443 in the namespace `web`",
            ),
            (
                "sudo twtrace trace --duration 1m --json > ends.json",
                "a minute of them as JSON",
            ),
        ],
    ),
    (
        "hist",
        [
            (
                "sudo twtrace hist --duration 2m",
                "lifetimes by end reason over two minutes",
            ),
            (
                "sudo twtrace hist 10 6",
                "the same every 10 seconds, six times",
            ),
            (
                "sudo twtrace hist --by cgroup --top 5",
                "the five services, containers or pods with the most",
            ),
        ],
    ),
    (
        "conflicts",
        [
            (
                "sudo twtrace conflicts --duration 5m",
                "SYNs refused within five minutes, and why",
            ),
            (
                "sudo twtrace conflicts --addr 203.0.113.0/24",
                "only those of clients in this network",
            ),
            (
                "sudo twtrace conflicts --duration 1h --fail-on stuck -q",
                "exit code 1 if a client was stuck",
            ),
        ],
    ),
    (
        "top",
        [
            (
                "sudo twtrace top",
                "live view; the key h explains the others",
            ),
            (
                "sudo twtrace top --by cgroup,peer",
                "owners by cgroup, ends by remote address",
            ),
            (
                "twtrace top --replay FILE --speed 10",
                "a recording, ten times as fast",
            ),
        ],
    ),
    (
        "doctor",
        [
            ("sudo twtrace doctor", "findings, the worst first"),
            ("twtrace doctor --json", "the same as JSON"),
            (
                "ssh HOST twtrace doctor --facts | twtrace doctor --read -",
                "findings about another host",
            ),
        ],
    ),
    (
        "ports",
        [
            (
                "sudo twtrace ports",
                "the fullest destinations every 5 seconds",
            ),
            (
                "sudo twtrace ports 60 --addr 10.0.0.30 -R 5432",
                "every minute, of one destination",
            ),
            (
                "sudo twtrace ports 5 12 --fail-on pressure",
                "one minute; exit code 1 if ports run out",
            ),
        ],
    ),
    (
        "record",
        [
            (
                "sudo twtrace record --duration 10m FILE",
                "ten minutes of everything",
            ),
            (
                "sudo twtrace record -c 'ab -n 1000 http://10.0.0.1/' FILE",
                "while this command runs",
            ),
            (
                "ssh HOST sudo twtrace record - | twtrace report -",
                "another host, read as it comes",
            ),
        ],
    ),
    (
        "report",
        [
            (
                "twtrace report FILE",
                "the lines that `trace` would have shown",
            ),
            ("twtrace report FILE --hist", "lifetimes by end reason"),
            (
                "twtrace report FILE --conflicts --json",
                "refused SYNs and their causes as JSON",
            ),
        ],
    ),
    (
        "check",
        [
            ("sudo twtrace check", "all scenarios, in about a minute"),
            (
                "twtrace check --list",
                "what they do and why; needs no root",
            ),
            (
                "sudo twtrace check --ktap --report junit=check.xml",
                "for the CI of a kernel",
            ),
        ],
    ),
    (
        "completions",
        [
            (
                "twtrace completions bash > ~/.local/share/bash-completion/completions/twtrace",
                "for bash",
            ),
            (
                "twtrace completions zsh > ~/.zfunc/_twtrace",
                "~/.zfunc in $fpath",
            ),
            (
                "twtrace completions fish > ~/.config/fish/completions/twtrace.fish",
                "for fish",
            ),
        ],
    ),
];

/// Two columns, as wide as the widest command that has a meaning.
fn list(rows: &[Row]) -> String {
    let explained = rows.iter().filter(|row| !row.1.is_empty());
    let width = explained.map(|row| row.0.len()).max().unwrap_or(0);
    let line = |(command, meaning): &Row| format!("  {command:<width$}  {meaning}");
    let lines = rows
        .iter()
        .map(|row| line(row).trim_end().to_owned() + "\n");
    format!("Examples:\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    /// The parts of a line that run twtrace, as it gets them.
    fn calls(line: &str) -> Vec<Vec<String>> {
        let line = line.split(" > ").next().unwrap();
        let parts = line.split(" | ").map(|part| shlex::split(part).unwrap());
        let after = |words: Vec<String>| {
            let at = words.iter().position(|word| word == "twtrace").unwrap();
            words[at..].to_vec()
        };
        parts.map(after).collect()
    }

    #[test]
    fn every_example_is_understood() {
        let rows = EACH.iter().flat_map(|each| each.1).chain(TOP);
        for (line, _) in rows {
            for call in calls(line) {
                if call[1] == "check" && !cfg!(feature = "check") {
                    continue;
                }
                assert!(Cli::try_parse_from(&call).is_ok(), "{line}");
            }
        }
    }

    #[test]
    fn each_subcommand_has_its_own_three() {
        for command in Cli::definition().get_subcommands() {
            let shown = of(command.get_name());
            assert_eq!(shown.lines().count(), 4, "{}", command.get_name());
            let own = format!("twtrace {}", command.get_name());
            assert!(shown.lines().skip(1).all(|line| line.contains(&own)));
        }
    }

    #[test]
    fn lines_fit_a_help_of_100_columns() {
        for (name, _) in EACH {
            assert!(of(name).lines().all(|line| line.len() <= 100), "{name}");
        }
    }
}
