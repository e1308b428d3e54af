//! A kernel that is wrong, without building one: settings that have no effect. What runs in it
//! sees no difference but in what the kernel then does.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// What the kernel does not heed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mutant {
    Rfc1337,
    FinTimeout,
    Reuse,
    ReuseDelay,
    MaxBuckets,
    InvalidRatelimit,
    Timestamps,
    Linger,
    Linger2,
}

/// How it is kept from it.
enum How {
    /// Writes to the file of this sysctl are lost. Reading it tells nothing.
    Lost(&'static str),
    /// They go to a file of ours, and what is read is what was written.
    Kept(&'static str),
    /// setsockopt() with this level and name succeeds and does nothing.
    Option(i32, i32),
}

impl Mutant {
    fn how(self) -> How {
        match self {
            Self::Rfc1337 => How::Lost("tcp_rfc1337"),
            Self::FinTimeout => How::Lost("tcp_fin_timeout"),
            Self::Reuse => How::Lost("tcp_tw_reuse"),
            Self::ReuseDelay => How::Kept("tcp_tw_reuse_delay"),
            Self::MaxBuckets => How::Lost("tcp_max_tw_buckets"),
            Self::InvalidRatelimit => How::Lost("tcp_invalid_ratelimit"),
            Self::Timestamps => How::Lost("tcp_timestamps"),
            Self::Linger => How::Option(libc::SOL_SOCKET, libc::SO_LINGER),
            Self::Linger2 => How::Option(libc::IPPROTO_TCP, libc::TCP_LINGER2),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    mutant: Mutant,
    /// What to run instead of this program.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match args.mutant.how() {
        How::Lost(name) => cover(name, "/dev/null")?,
        How::Kept(name) => {
            let file = format!("/tmp/mutant-{name}");
            std::fs::copy(path(name), &file).with_context(|| format!("cannot read {name}"))?;
            cover(name, &file)?;
        }
        How::Option(level, name) => ignore(level, name)?,
    }
    let (program, rest) = args.command.split_first().context("no command")?;
    let error = Command::new(program).args(rest).exec();
    bail!("cannot run {program}: {error}")
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}

/// Puts a file in the place of a sysctl's, for this process and its children alone.
fn cover(name: &str, by: &str) -> Result<()> {
    let path = path(name);
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(by), path.as_str(), none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot cover {path}"))
}

fn ignore(level: i32, name: i32) -> Result<()> {
    let is = |index, value: i32| {
        SeccompCondition::new(index, Length::Dword, Op::Eq, value.cast_unsigned().into())
    };
    let rule = SeccompRule::new(vec![is(1, level)?, is(2, name)?])?;
    let filter = SeccompFilter::new(
        [(libc::SYS_setsockopt, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(0),
        TargetArch::x86_64,
    )?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter(&program)?)
}
