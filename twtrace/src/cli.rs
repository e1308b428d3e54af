//! The command line: what a user may say, parsed but not yet acted on.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::kernel::{Attach, REFUSAL_RATE};
use crate::model::groups::By;
use crate::view::Output;

/// The end of the help; without the feature `check`, of what is there.
fn examples() -> String {
    let check = match cfg!(feature = "check") {
        true => "  twtrace check                       is it all true on this kernel?\n",
        false => "",
    };
    EXAMPLES.replace("{check}\n", &format!("{check}\n"))
}

const EXAMPLES: &str = "\
Examples:
  twtrace trace                       a line for every TIME_WAIT that ends, with the reason
  twtrace trace -L 443 --netns web    only those of local port 443 in the namespace `web`
  twtrace hist --duration 2m          how long they live, by end reason
  twtrace hist 10 6                   the same every 10 seconds, six times
  twtrace hist --by cgroup            who makes them: services, containers, pods
  twtrace conflicts --duration 5m     which SYNs an old connection kept out, and why
  twtrace top                         how things are right now, on the full screen
  twtrace doctor                      what is wrong here, and what to do; without root, too
  twtrace ports                       which destination is about to run out of ports, and who failed
  twtrace record FILE -c 'ab -n 1000 http://10.0.0.1/'
  twtrace report FILE --hist          read it again, here or elsewhere
{check}
Exit codes: 0 done; 1 a check failed, doctor found a danger, or what --fail-on names; 2 could not run; 3 events were lost; 4 all checks skipped.";

/// Traces the life of TCP TIME_WAIT sockets: how long they live and why they end.
#[derive(Debug, Parser)]
#[command(name = "twtrace", after_help = examples(), disable_version_flag = true, arg_required_else_help = true)]
pub struct Cli {
    /// Print the version; with --verbose also the hash of the eBPF object
    #[arg(short = 'V', long)]
    pub version: bool,
    /// Say more about the version
    #[arg(long, requires = "version")]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a line for every mini-socket that ends, then the books
    Trace(TraceArgs),
    /// Print percentiles and bars of the lifetimes, by end reason
    Hist(HistArgs),
    /// Print SYNs that an old connection kept out, what became of them, and what may be the cause
    Conflicts(ConflictsArgs),
    /// Show on the full screen how things are right now
    Top(TopArgs),
    /// Say what can be traced here, which settings do harm or nothing, and what to do; no tracing
    Doctor(DoctorArgs),
    /// Print who is about to run out of ports, and calls that got none
    Ports(PortsArgs),
    /// Write everything to a file, to be read by `report`
    Record(RecordArgs),
    /// Read a recording: the same views as live
    Report(ReportArgs),
    /// Make every kind of end for real and see whether all accounts of it agree
    #[cfg(feature = "check")]
    Check(CheckArgs),
}

/// Which connections.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Filters (in the kernel)")]
pub struct Filters {
    /// IPv4 on the wire only (IPv4-mapped IPv6 sockets included)
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 on the wire only
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Local port, or up to eight, separated by commas
    #[arg(short = 'L', long, value_name = "PORT", value_delimiter = ',')]
    pub lport: Vec<u16>,
    /// Remote port, or up to eight, separated by commas
    #[arg(short = 'R', long, value_name = "PORT", value_delimiter = ',')]
    pub rport: Vec<u16>,
    /// Local or remote address in this network, e.g. 10.0.0.0/8 or 2001:db8::1
    #[arg(long, value_name = "CIDR")]
    pub addr: Option<String>,
    /// Network namespace: its inode number, its name in /run/netns, `host`, or a path
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
    /// Owner of the socket: user name or number
    #[arg(long, value_name = "USER")]
    pub uid: Option<String>,
    /// cgroup of the socket: a directory (also below /sys/fs/cgroup), or its id
    #[arg(long, value_name = "CGROUP")]
    pub cgroup: Option<String>,
}

/// How long, and how.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Tracing")]
pub struct Tracing {
    /// Stop after this time, e.g. 30s, 5m, 1h30m
    #[arg(long, value_name = "TIME")]
    pub duration: Option<String>,
    /// Trace while this command runs (through /bin/sh if there is one)
    #[arg(short = 'c', long = "cmd", value_name = "COMMAND")]
    pub command: Option<String>,
    /// Run the command as this user (name or number) [default: the user who called sudo]
    #[arg(long, value_name = "USER", requires = "command")]
    pub user: Option<String>,
    /// Create this file once everything is attached
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// How to attach: fentry needs BTF per function, kprobe is 2-5 times dearer
    #[arg(long, value_enum, default_value_t)]
    pub attach: AttachArg,
    /// BTF of the running kernel, where it has no /sys/kernel/btf/vmlinux; where it has one, FILE
    /// must be the same
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Room for this many live mini-sockets [default: tcp_max_tw_buckets]
    #[arg(long, value_name = "N")]
    pub max_sockets: Option<u32>,
}

/// Records of the kernel side, for the commands that use them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tracing")]
pub struct Ring {
    /// Size of the ring buffer in bytes; 120 an event
    #[arg(long, value_name = "N", default_value_t = 2 << 20, value_parser = clap::value_parser!(u32).range(4096..=1 << 30))]
    pub ring_bytes: u32,
    /// Refused segments reported per second and CPU; more are only counted
    #[arg(long, value_name = "RATE", default_value_t = REFUSAL_RATE, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_refusals: u32,
}

/// What to make of conflicts.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Conflicts")]
pub struct Questions {
    /// Also say what would have happened otherwise; recycle: with tcp_tw_recycle
    #[arg(long, value_enum, value_name = "WHAT")]
    pub what_if: Option<WhatIfArg>,
    /// Exit with 1 if a SYN was refused, or if a client was stuck (of ports: failure, pressure)
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fail_on: Option<FailOn>,
}

impl Questions {
    /// Whether anything is asked.
    #[must_use]
    pub fn any(&self) -> bool {
        self.what_if.is_some() || self.fail_on.is_some()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhatIfArg {
    Recycle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Any SYN was refused by its numbers
    Refused,
    /// A client sent three SYNs over 3 s, and all were refused
    Stuck,
    /// A connect() or bind() got no port
    Failure,
    /// 90 % of a destination's ports were in use, or all of them soon
    Pressure,
}

impl FailOn {
    /// What `ports` looks for; the others are for `conflicts`.
    #[must_use]
    pub fn is_about_ports(self) -> bool {
        matches!(self, Self::Failure | Self::Pressure)
    }
}

/// Whose they are.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Groups")]
pub struct Grouping {
    /// Count by peer (remote address), service (the end with the lower port), local port, or
    /// owner: uid, cgroup, network namespace
    #[arg(long, value_enum, value_name = "WHAT")]
    pub by: Option<ByArg>,
    /// Groups shown, those with the most ends first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub top: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    Peer,
    Service,
    Lport,
    Uid,
    Cgroup,
    Netns,
}

impl From<ByArg> for By {
    fn from(arg: ByArg) -> Self {
        match arg {
            ByArg::Peer => Self::Peer,
            ByArg::Service => Self::Service,
            ByArg::Lport => Self::Lport,
            ByArg::Uid => Self::Uid,
            ByArg::Cgroup => Self::Cgroup,
            ByArg::Netns => Self::Netns,
        }
    }
}

/// What it looks like.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct View {
    /// Format of the data on stdout
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: OutputArg,
    /// Columns, separated by commas; a wrong one lists them all
    #[arg(long, value_name = "NAMES")]
    pub fields: Option<String>,
    /// Times in UTC, not local
    #[arg(long)]
    pub utc: bool,
    /// Do not shorten addresses
    #[arg(short = 'w', long)]
    pub wide: bool,
}

#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Also show connect() and bind() calls that got no port. Costs a little of each call.
    #[arg(long)]
    pub ports: bool,
    #[command(flatten)]
    pub grouping: Grouping,
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(flatten)]
    pub ring: Ring,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub view: View,
}

#[derive(Args, Clone, Debug)]
pub struct HistArgs {
    /// Print every so many seconds
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: Option<u64>,
    /// Stop after so many intervals
    #[arg(requires = "interval", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Write the TIME_WAIT lifetimes in HdrHistogram's percentile format at the end
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    #[command(flatten)]
    pub grouping: Grouping,
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub view: View,
}

#[derive(Args, Clone, Debug)]
pub struct ConflictsArgs {
    #[command(flatten)]
    pub questions: Questions,
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(flatten)]
    pub ring: Ring,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub view: View,
}

#[derive(Args, Clone, Debug)]
pub struct PortsArgs {
    /// Print every so many seconds
    #[arg(default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: u64,
    /// Stop after so many intervals
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Destinations shown, the fullest first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub top: u16,
    /// Exit with 1 if a call got no port, or if a destination came close to that
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fail_on: Option<FailOn>,
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(flatten)]
    pub ring: Ring,
    #[command(flatten)]
    pub filters: Filters,
    #[command(flatten)]
    pub view: View,
}

#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Play this recording instead of tracing
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Play it so many times as fast as it was
    #[arg(long, value_name = "FACTOR", requires = "replay", default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Print frames as plain text instead, for pipes and logs
    #[arg(long)]
    pub batch: bool,
    /// Stop after so many frames
    #[arg(short = 'n', long, value_name = "N", requires = "batch", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Time from one frame to the next
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub interval: String,
    /// Columns and lines of a frame
    #[arg(long, value_name = "WxH", requires = "batch", default_value = "120x40", value_parser = size)]
    pub size: (u16, u16),
    /// What owners and ends are told apart by at first; the key g goes on from there
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub by: Vec<ByArg>,
    /// No colours (as with NO_COLOR in the environment)
    #[arg(long)]
    pub no_color: bool,
    /// Times in UTC, not local
    #[arg(long)]
    pub utc: bool,
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(flatten)]
    pub ring: Ring,
    #[command(flatten)]
    pub filters: Filters,
}

/// How much slower or faster a recording can be played.
fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.01..=10_000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("it is not between 0.01 and 10000".into())
    }
}

/// `80x24`.
fn size(text: &str) -> Result<(u16, u16), String> {
    let size = text.split_once('x').and_then(|(width, height)| {
        let side = |side: &str| side.parse().ok().filter(|side| (1..=500).contains(side));
        Some((side(width)?, side(height)?))
    });
    size.ok_or_else(|| "it is not like 80x24, with up to 500 each".into())
}

#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// Where to; an existing file is replaced
    pub file: PathBuf,
    #[command(flatten)]
    pub tracing: Tracing,
    #[command(flatten)]
    pub ring: Ring,
    #[command(flatten)]
    pub filters: Filters,
}

#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// A recording made by `record`
    pub file: PathBuf,
    /// Histograms instead of lines
    #[arg(long)]
    pub hist: bool,
    /// Write the TIME_WAIT lifetimes in HdrHistogram's percentile format
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Only conflicts, as `conflicts` shows them
    #[arg(long, conflicts_with_all = ["hist", "hgrm", "by"])]
    pub conflicts: bool,
    /// Only who ran out of ports, or nearly, as `ports` shows it
    #[arg(long, conflicts_with_all = ["hist", "hgrm", "by", "conflicts"])]
    pub ports: bool,
    #[command(flatten)]
    pub grouping: Grouping,
    #[command(flatten)]
    pub questions: Questions,
    #[command(flatten)]
    pub view: View,
}

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Format of the findings
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: PlainOutput,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// BTF of the running kernel, where it has no /sys/kernel/btf/vmlinux; where it has one, FILE
    /// must be the same
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Print what was read instead of what it means, for --read
    #[arg(long, conflicts_with_all = ["output", "json", "read"])]
    pub facts: bool,
    /// Say what this output of --facts means, here or on another host
    #[arg(long, value_name = "FILE", conflicts_with = "btf")]
    pub read: Option<PathBuf>,
}

#[cfg(feature = "check")]
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Scenarios to run; all if none is named
    pub scenarios: Vec<String>,
    /// Only name and explain them
    #[arg(long)]
    pub list: bool,
    /// Format of the verdicts
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: CheckOutput,
    /// The same as -o ktap
    #[arg(long, conflicts_with = "output")]
    pub ktap: bool,
    /// Also write the verdicts to a file in this format; repeat for several
    #[arg(long = "report", value_name = "FORMAT=FILE", value_parser = report, conflicts_with = "list")]
    pub reports: Vec<(CheckOutput, PathBuf)>,
    /// Keep what was observed in this file, to compare another kernel with it
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub save: Option<PathBuf>,
    /// Compare with what --save kept; a regression is exit code 1
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub baseline: Option<PathBuf>,
    /// Run nothing: compare this file of --save with the baseline
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
    /// BTF of the running kernel, where it has no /sys/kernel/btf/vmlinux; where it has one, FILE
    /// must be the same
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AttachArg {
    #[default]
    Auto,
    Fentry,
    Kprobe,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputArg {
    #[default]
    Text,
    Csv,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlainOutput {
    #[default]
    Text,
    Json,
}

/// How `check` prints.
#[cfg(feature = "check")]
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
#[cfg(feature = "check")]
fn report(text: &str) -> Result<(CheckOutput, PathBuf), String> {
    let (format, file) = text
        .split_once('=')
        .ok_or("it has no `=`, as in junit=check.xml")?;
    Ok((CheckOutput::from_str(format, false)?, file.into()))
}

impl From<AttachArg> for Attach {
    fn from(arg: AttachArg) -> Self {
        match arg {
            AttachArg::Auto => Self::Auto,
            AttachArg::Fentry => Self::Fentry,
            AttachArg::Kprobe => Self::Kprobe,
        }
    }
}

impl From<OutputArg> for Output {
    fn from(arg: OutputArg) -> Self {
        match arg {
            OutputArg::Text => Self::Text,
            OutputArg::Csv => Self::Csv,
            OutputArg::Json => Self::Json,
        }
    }
}

impl Cli {
    /// The definition itself, for man page, completions and tests.
    #[must_use]
    pub fn definition() -> clap::Command {
        <Self as clap::CommandFactory>::command()
    }
}

#[cfg(test)]
mod tests;
