//! The shells that twtrace's command line can be completed in, and the script for each.

use clap::{Args, ValueEnum};
use clap_complete::aot;

use super::Cli;

#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// clap_complete knows more; these are the ones that `cargo xtask dist --check` tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    /// What this shell reads to complete twtrace's command line.
    #[must_use]
    pub fn script(self) -> Vec<u8> {
        let generator = match self {
            Self::Bash => aot::Shell::Bash,
            Self::Zsh => aot::Shell::Zsh,
            Self::Fish => aot::Shell::Fish,
        };
        let mut script = Vec::new();
        aot::generate(generator, &mut Cli::definition(), "twtrace", &mut script);
        script
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn every_shell_is_told_every_subcommand() {
        let definition = Cli::definition();
        for shell in Shell::value_variants() {
            let script = String::from_utf8(shell.script()).unwrap();
            for command in definition.get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell:?} does not know {name}");
            }
        }
    }

    #[test]
    fn another_shell_is_refused_with_the_ones_there_are() {
        let error = Cli::try_parse_from(["twtrace", "completions", "tcsh"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("bash, zsh, fish"), "{error}");
    }
}
