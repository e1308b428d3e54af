//! The completions in the shells they are for: each loads its script and completes two words.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::tools::{Found, Tool};
use crate::run::output;

/// A shell, and how to ask it.
struct Shell {
    tool: Tool,
    /// What it completes the end of a command line to, by the scripts in the first folder. The
    /// second is for files of its own.
    complete: fn(&Found, &Path, &Path, &str) -> Result<String>,
}

const SHELLS: [Shell; 3] = [
    Shell {
        tool: Tool {
            name: "bash",
            packages: &["bash"],
        },
        complete: bash,
    },
    Shell {
        tool: Tool {
            name: "zsh",
            packages: &["zsh", "zsh-common"],
        },
        complete: zsh,
    },
    Shell {
        tool: Tool {
            name: "fish",
            packages: &["fish", "fish-common", "libpcre2-32-0"],
        },
        complete: fish,
    },
];

/// The end of a command line, and what it must become.
const WORDS: [(&str, &str); 3] = [
    ("twtrace tr", "trace"),
    ("twtrace doctor --fac", "--facts"),
    ("twtrace trace -o cs", "csv"),
];

/// A line for each shell.
pub(super) fn check(scripts: &Path) -> Result<Vec<String>> {
    SHELLS.iter().map(|shell| shell.check(scripts)).collect()
}

impl Shell {
    fn check(&self, scripts: &Path) -> Result<String> {
        let name = self.tool.name;
        let found = match self.tool.get() {
            Ok(found) => found,
            Err(why) => return Ok(format!("{name} SKIPPED: {why}")),
        };
        for (line, expected) in WORDS {
            let own = tempfile::tempdir()?;
            let became = (self.complete)(&found, scripts, own.path(), line)
                .with_context(|| format!("{name} cannot complete `{line}`"))?;
            ensure!(
                is(&became, expected),
                "{name} completes `{line}` to `{}`, not to {expected}",
                became.trim()
            );
        }
        Ok(format!("{name} completes"))
    }
}

/// The last line has only this word, or ends with it. fish has its meaning after a tab, zsh the
/// whole command line, to which it adds what separates words.
fn is(became: &str, expected: &str) -> bool {
    let mut lines = became.lines();
    let first = lines.next().unwrap_or_default();
    let word = first.split('\t').next().unwrap_or_default();
    lines.next().is_none() && word.split_whitespace().next_back() == Some(expected)
}

/// The function that is registered for twtrace, called as bash does.
const BASH: &str = r#"
source "$1/twtrace.bash"
registered=$(complete -p twtrace) || exit
[[ $registered =~ -F\ ([^ ]+) ]] || exit
read -ra COMP_WORDS <<<"$2"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE=$2 COMP_POINT=${#2}
"${BASH_REMATCH[1]}" twtrace "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn bash(bash: &Found, scripts: &Path, _: &Path, line: &str) -> Result<String> {
    let mut command = bash.command();
    command.args(["--norc", "--noprofile", "-c", BASH, "bash"]);
    output(command.arg(scripts).arg(line))
}

/// A shell of the user, in which the key Tab also ends the session.
const ZSHRC: &str = r#"
[[ -n $TWTRACE_MODULES ]] && module_path=($TWTRACE_MODULES)
[[ -n $TWTRACE_FUNCTIONS ]] && fpath=($TWTRACE_FUNCTIONS/**/*(N/))
fpath=($TWTRACE_SCRIPTS $fpath)
autoload -Uz compinit
compinit -u -d $ZDOTDIR/dump
answer() { zle complete-word; print -r -- $BUFFER >$ZDOTDIR/answer; exit }
zle -N answer
bindkey '^I' answer
PS1=ready
"#;

/// Types into it: zsh completes only at a terminal.
const ZSH: &str = r#"
[[ -n $TWTRACE_MODULES ]] && module_path=($TWTRACE_MODULES)
zmodload zsh/zpty || exit
zpty shell $1 -d -i
zpty -r shell prompt '*ready*'
zpty -w -n shell $2$'\t'
while zpty -r shell rest; do :; done
cat $ZDOTDIR/answer
"#;

fn zsh(zsh: &Found, scripts: &Path, own: &Path, line: &str) -> Result<String> {
    fs::write(own.join(".zshrc"), ZSHRC)?;
    let mut command = zsh.command();
    command.env("ZDOTDIR", own).env("TWTRACE_SCRIPTS", scripts);
    if let (Some(tree), Some(libraries)) = (&zsh.tree, zsh.libraries()) {
        let functions = tree.join("usr/share/zsh/functions");
        command.env("TWTRACE_FUNCTIONS", functions);
        command.env("TWTRACE_MODULES", modules(&libraries)?);
    }
    command.args(["-f", "-c", ZSH, "zsh"]);
    output(command.arg(&zsh.program).arg(line))
}

/// `zsh/5.9` in the folder of libraries.
fn modules(libraries: &Path) -> Result<PathBuf> {
    let mut versions = fs::read_dir(libraries.join("zsh"))?;
    let version = versions.next().context("zsh has no modules")??;
    Ok(version.path())
}

/// `complete -C` says what would be offered.
fn fish(fish: &Found, scripts: &Path, own: &Path, line: &str) -> Result<String> {
    const ASK: &str = "source $argv[1]/twtrace.fish; complete -C $argv[2]";
    let mut command = fish.command();
    command.env("HOME", own);
    command.args(["--no-config", "-c", ASK]);
    output(command.arg(scripts).arg(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_is_enough_and_two_are_too_many() {
        assert!(is("trace\n", "trace"));
        assert!(is("twtrace trace \n", "trace"));
        assert!(is("trace\tPrint one line\n", "trace"));
        assert!(!is("trace\ntree\n", "trace"));
        assert!(!is("twtrace tr\n", "trace"));
        assert!(!is("", "trace"));
    }
}
