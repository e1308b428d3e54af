//! Simulates a faulty kernel by settings that have no effect. A program run this way can tell only
//! from how the kernel behaves.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

const NET: &str = "/proc/sys/net";
const FOLDER: &str = "ipv4";
/// Where the original files are once [`NET`] is covered.
const BEHIND: &str = "/tmp/mutant-net";

/// The setting without effect.
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

/// How the setting is kept from taking effect.
enum How {
    /// Writes to this sysctl's file are discarded, and reads return nothing.
    Lost(&'static str),
    /// Writes go to a regular file, and reads return what was written.
    Kept(&'static str),
    /// setsockopt() with this level and name succeeds without effect.
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
    /// The command to run.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match args.mutant.how() {
        How::Lost(name) => cover(name, "/dev/null")?,
        How::Kept(name) => {
            let file = format!("/tmp/mutant-{name}");
            let path = Path::new(NET).join(FOLDER).join(name);
            fs::copy(path, &file).with_context(|| format!("cannot read {name}"))?;
            cover(name, &file)?;
        }
        How::Option(level, name) => ignore(level, name)?,
    }
    let (program, rest) = args.command.split_first().context("no command")?;
    let error = Command::new(program).args(rest).exec();
    bail!("cannot run {program}: {error}")
}

/// Replaces a sysctl's file for this process and its children only. What /proc/sys/net shows
/// depends on the reader's network namespace, so it is covered by symbolic links to a bind mount of
/// the original, which still depends on it.
fn cover(name: &str, by: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    fs::create_dir_all(BEHIND)?;
    mount(Some(NET), BEHIND, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot move {NET}"))?;
    mount(Some("tmpfs"), NET, Some("tmpfs"), MsFlags::empty(), none)
        .with_context(|| format!("cannot cover {NET}"))?;
    link_all(Path::new(BEHIND), Path::new(NET), FOLDER)?;
    let (behind, folder) = (Path::new(BEHIND).join(FOLDER), Path::new(NET).join(FOLDER));
    fs::create_dir(&folder)?;
    link_all(&behind, &folder, name)?;
    symlink(by, folder.join(name))?;
    // Otherwise, writing to a sysctl that this kernel lacks would create the file.
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(none, NET, none, read_only, none).with_context(|| format!("cannot close {NET}"))
}

/// Links every entry of a folder except one.
fn link_all(from: &Path, into: &Path, but: &str) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != but {
            symlink(entry.path(), into.join(entry.file_name()))?;
        }
    }
    Ok(())
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
