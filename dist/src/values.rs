//! The values that an option can have, as a sentence after what it does.

use clap::builder::PossibleValue;
use clap::{Arg, Command};

/// clap_mangen would give each value a line of its own, with line breaks that `mandoc` warns of.
pub(crate) fn told(command: &Command) -> Command {
    command.clone().mut_args(|arg| {
        let values = arg.get_possible_values();
        let shown: Vec<_> = values.iter().filter(|value| !value.is_hide_set()).collect();
        if shown.is_empty() || arg.is_hide_possible_values_set() {
            return arg;
        }
        let help = format!("{}. {}.", what_it_does(&arg), sentence(&shown));
        arg.hide_possible_values(true).long_help(help)
    })
}

fn what_it_does(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    help.trim_end_matches('.').to_owned()
}

fn sentence(values: &[&PossibleValue]) -> String {
    let explained = values.iter().any(|value| value.get_help().is_some());
    let value = |value: &&PossibleValue| match value.get_help() {
        Some(help) => format!("{} ({help})", value.get_name()),
        None => value.get_name().to_owned(),
    };
    let values: Vec<_> = values.iter().map(value).collect();
    let between = if explained { "; " } else { ", " };
    format!("Possible values: {}", values.join(between))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_with_what_they_mean() {
        let plain = [PossibleValue::new("a"), PossibleValue::new("b")];
        assert_eq!(sentence(&[&plain[0], &plain[1]]), "Possible values: a, b");
        let explained = PossibleValue::new("c").help("it is so");
        assert_eq!(
            sentence(&[&plain[0], &explained]),
            "Possible values: a; c (it is so)"
        );
    }
}
