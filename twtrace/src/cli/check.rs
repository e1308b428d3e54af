//! `twtrace check` as it may be asked for.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::choices::AttachArg;

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Scenarios to run [default: all]
    pub scenarios: Vec<String>,
    /// List and explain the scenarios without running them
    #[arg(long)]
    pub list: bool,
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: CheckOutput,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// The same as -o ktap
    #[arg(long, conflicts_with_all = ["output", "json"])]
    pub ktap: bool,
    /// Also write the results to a file in this format; may be repeated
    #[arg(long = "report", value_name = "FORMAT=FILE", value_parser = report, conflicts_with = "list")]
    pub reports: Vec<(CheckOutput, PathBuf)>,
    /// Save the observations to this file, for --baseline on another kernel
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub save: Option<PathBuf>,
    /// Compare with a file from --save; a regression exits 1
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub baseline: Option<PathBuf>,
    /// Run nothing: compare this file from --save with the baseline
    #[arg(
        long,
        value_name = "FILE",
        requires = "baseline",
        conflicts_with = "save"
    )]
    pub against: Option<PathBuf>,
    /// How to attach
    #[arg(long, value_enum, default_value_t)]
    pub attach: AttachArg,
    /// BTF of the running kernel, if it has no /sys/kernel/btf/vmlinux; if it has one, FILE must be
    /// identical to it
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    #[default]
    Text,
    Json,
    /// The kernel's Test Anything Protocol
    Ktap,
    /// JUnit XML
    Junit,
}

/// `junit=check.xml`
fn report(text: &str) -> Result<(CheckOutput, PathBuf), String> {
    let (format, file) = text
        .split_once('=')
        .ok_or("it has no `=`, as in junit=check.xml")?;
    Ok((CheckOutput::from_str(format, false)?, file.into()))
}
