//! The command line: what a user may say, parsed but not yet acted on.

#[cfg(feature = "check")]
mod check;
mod choices;
mod completions;
mod examples;
mod version;
mod wrong;

use std::env;
use std::path::PathBuf;

use clap::{ArgAction, Args, FromArgMatches as _, Parser, Subcommand};

use crate::kernel::REFUSAL_RATE;
use crate::view::Output;
use crate::view::columns::HELP;

#[cfg(feature = "check")]
pub use check::{CheckArgs, CheckOutput};
pub use choices::{
    AttachArg, ByArg, ColorArg, ConflictFound, Found, OutputArg, PlainOutput, PortFound, WhatIfArg,
};
pub use completions::{CompletionsArgs, Shell};
pub use wrong::wrong;

/// Traces the life of TCP TIME_WAIT sockets: how long they live and why they end.
#[derive(Debug, Parser)]
#[command(
    name = "twtrace",
    version,
    long_version = version::long(),
    after_help = examples::top(),
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub manner: Manner,
    #[command(subcommand)]
    pub command: Command,
}

/// How it speaks, whatever it does.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Messages")]
pub struct Manner {
    /// When to use color; text only, never CSV or JSON
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: ColorArg,
    /// Print data, warnings and errors only: no banner, no progress
    #[arg(short = 'q', long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say on stderr how each kernel function is attached, and why
    #[arg(short = 'v', long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print one line per TIME_WAIT socket that ends, then a summary
    #[command(after_long_help = examples::of("trace"))]
    Trace(TraceArgs),
    /// Print lifetime percentiles and histograms by end reason
    #[command(after_long_help = examples::of("hist"))]
    Hist(HistArgs),
    /// Show SYNs refused because of an old connection, their outcome and likely cause
    #[command(after_long_help = examples::of("conflicts"))]
    Conflicts(ConflictsArgs),
    /// Full-screen live view
    #[command(after_long_help = examples::of("top"))]
    Top(TopArgs),
    /// Check this host: what can be traced, harmful or useless settings, and what to do
    #[command(after_long_help = examples::of("doctor"))]
    Doctor(DoctorArgs),
    /// Show local-port usage per destination, and connect() and bind() calls that failed
    #[command(after_long_help = examples::of("ports"))]
    Ports(PortsArgs),
    /// Record everything to a file for `report`
    #[command(after_long_help = examples::of("record"))]
    Record(RecordArgs),
    /// Show a recording in any of the live views
    #[command(
        after_long_help = examples::of("report"),
        override_usage = "twtrace report [OPTIONS] <FILE>"
    )]
    Report(ReportArgs),
    /// Self-test: produce every kind of end and verify that tracer, kernel counters and socket table agree
    #[cfg(feature = "check")]
    #[command(after_long_help = examples::of("check"))]
    Check(CheckArgs),
    /// Print a script that completes twtrace's command line in this shell
    #[command(after_long_help = examples::of("completions"))]
    Completions(CompletionsArgs),
}

impl Command {
    /// Only what the columns are is asked.
    #[must_use]
    pub fn asks_for_fields(&self) -> bool {
        let view = match self {
            Self::Trace(args) => &args.view,
            Self::Hist(args) => &args.view,
            Self::Conflicts(args) => &args.view,
            Self::Ports(args) => &args.view,
            Self::Report(args) => &args.view,
            _ => return false,
        };
        view.fields.as_deref() == Some(HELP)
    }
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
    /// Local port; up to eight, comma-separated
    #[arg(short = 'L', long, value_name = "PORT", value_delimiter = ',')]
    pub lport: Vec<u16>,
    /// Remote port; up to eight, comma-separated
    #[arg(short = 'R', long, value_name = "PORT", value_delimiter = ',')]
    pub rport: Vec<u16>,
    /// Local or remote address in this network, e.g. 10.0.0.0/8 or 2001:db8::1
    #[arg(long, value_name = "CIDR")]
    pub addr: Option<String>,
    /// Network namespace: its inode number, its name in /run/netns, `host`, or a path
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,
    /// Owner of the socket: user name or uid
    #[arg(long, value_name = "USER")]
    pub uid: Option<String>,
    /// cgroup of the socket: its directory (absolute, or relative to /sys/fs/cgroup) or its id
    #[arg(long, value_name = "CGROUP")]
    pub cgroup: Option<String>,
    // People try it first; what it is answered with tells them why there is none.
    #[arg(short = 'p', long, value_name = "PID", hide = true, num_args = 0..=1, default_missing_value = "")]
    pub pid: Option<String>,
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
    /// How to attach: fentry needs BTF for each function, kprobe costs 2 to 5 times as much
    #[arg(long, value_enum, default_value_t)]
    pub attach: AttachArg,
    /// BTF of the running kernel, if it has no /sys/kernel/btf/vmlinux; if it has one, FILE must be
    /// identical to it
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Track at most this many live TIME_WAIT sockets [default: tcp_max_tw_buckets]
    #[arg(long, value_name = "N")]
    pub max_sockets: Option<u32>,
}

/// Records of the kernel side, for the commands that use them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tracing")]
pub struct Ring {
    /// Size of the ring buffer in bytes; an event takes up to 120
    #[arg(long, value_name = "N", default_value_t = 2 << 20, value_parser = clap::value_parser!(u32).range(4096..=1 << 30))]
    pub ring_bytes: u32,
    /// Report at most this many refused segments per second and CPU; the rest are only counted
    #[arg(long, value_name = "RATE", default_value_t = REFUSAL_RATE, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_refusals: u32,
}

/// What to make of conflicts.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Conflicts")]
pub struct Questions {
    /// Also show what a setting would have done; recycle: with tcp_tw_recycle
    #[arg(long, value_enum, value_name = "WHAT")]
    pub what_if: Option<WhatIfArg>,
    /// Exit 1 if any of these happened
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fail_on: Option<ConflictFound>,
}

/// Whose they are.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Groups")]
pub struct Grouping {
    /// Group by peer (remote address), service (the end with the lower port), local port or owner
    /// (uid, cgroup, network namespace)
    #[arg(long, value_enum, value_name = "WHAT")]
    pub by: Option<ByArg>,
    /// Number of groups shown, those with the most ends first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub top: u16,
}

/// What it looks like.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct View {
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: OutputArg,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Comma-separated columns (`--fields help` lists them)
    #[arg(long, value_name = "NAMES")]
    pub fields: Option<String>,
    /// Times in UTC instead of local time
    #[arg(long)]
    pub utc: bool,
    /// Do not shorten addresses
    #[arg(short = 'w', long)]
    pub wide: bool,
}

impl View {
    /// The format of the data on stdout.
    #[must_use]
    pub fn output(&self) -> Output {
        match self.json {
            true => Output::Json,
            false => self.output.into(),
        }
    }
}

#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Also show connect() and bind() calls that got no port; adds a little to the cost of each call
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
    /// Seconds between reports
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: Option<u64>,
    /// Number of reports
    #[arg(requires = "interval", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// At the end, write the TIME_WAIT lifetimes to this file in HdrHistogram percentile format
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
    /// Seconds between reports
    #[arg(default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: u64,
    /// Number of reports
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Number of destinations shown, the fullest first
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub top: u16,
    /// Exit 1 if any of these happened
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fail_on: Option<PortFound>,
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
    /// Play this recording (`-`: from stdin, with --batch) instead of tracing
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Playback speed factor
    #[arg(long, value_name = "FACTOR", requires = "replay", default_value_t = 1.0, value_parser = speed)]
    pub speed: f64,
    /// Print frames as plain text, for pipes and logs
    #[arg(long)]
    pub batch: bool,
    /// Number of frames
    #[arg(short = 'n', long, value_name = "N", requires = "batch", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Time between frames
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub interval: String,
    /// Size of a frame, columns by lines
    #[arg(long, value_name = "WxH", requires = "batch", default_value = "120x40", value_parser = size)]
    pub size: (u16, u16),
    /// Initial grouping of owners and ends; the key g cycles through the others
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    pub by: Vec<ByArg>,
    // From before there was --color.
    #[arg(long, hide = true, conflicts_with = "color")]
    pub no_color: bool,
    /// Times in UTC instead of local time
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
    /// File to write, `-` for stdout; an existing file is replaced
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
    /// A recording made by `record`, `-` for stdin
    // `--fields help` needs none.
    #[arg(required_unless_present = "fields")]
    pub file: Option<PathBuf>,
    /// Histograms instead of lines
    #[arg(long)]
    pub hist: bool,
    /// Write the TIME_WAIT lifetimes to this file in HdrHistogram percentile format
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Only conflicts, as in `conflicts`
    #[arg(long, conflicts_with_all = ["hist", "hgrm", "by"])]
    pub conflicts: bool,
    /// Only port usage and failed calls, as in `ports`
    #[arg(long, conflicts_with_all = ["hist", "hgrm", "by", "conflicts"])]
    pub ports: bool,
    /// With --conflicts: also show what a setting would have done; recycle: with tcp_tw_recycle
    #[arg(long, value_enum, value_name = "WHAT")]
    pub what_if: Option<WhatIfArg>,
    /// Exit 1 if any of these happened
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fail_on: Option<Found>,
    #[command(flatten)]
    pub grouping: Grouping,
    #[command(flatten)]
    pub view: View,
}

#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Output format
    #[arg(short = 'o', long, value_enum, default_value_t)]
    pub output: PlainOutput,
    /// The same as -o json
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// BTF of the running kernel, if it has no /sys/kernel/btf/vmlinux; if it has one, FILE must be
    /// identical to it
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Print the facts themselves instead of findings, for --read
    #[arg(long, conflicts_with_all = ["output", "json", "read"])]
    pub facts: bool,
    /// Show the findings for this output of --facts (`-`: from stdin), from this host or another
    #[arg(long, value_name = "FILE", conflicts_with = "btf")]
    pub read: Option<PathBuf>,
}

impl Cli {
    /// What this process was called with. Help obeys --color, too, wherever that stands.
    pub fn of_process() -> Result<Self, clap::Error> {
        let words: Vec<_> = env::args_os().collect();
        let mut definition = Self::definition().color(ColorArg::among(&words).into());
        let matches = definition.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))
    }

    /// The definition itself, for man pages, completions and tests.
    #[must_use]
    pub fn definition() -> clap::Command {
        <Self as clap::CommandFactory>::command()
    }
}

#[cfg(test)]
mod tests;
