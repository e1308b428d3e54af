//! A test in a process of its own, with network namespaces and mounts that nobody else sees and
//! that go with it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

/// Set in that process, to the name of the test.
const INSIDE: &str = "TWTRACE_TEST_INSIDE";

/// Runs `test`, which is the test called `name`, there. Without root it is root of a user
/// namespace; where that is forbidden, too, it fails.
#[expect(clippy::print_stdout, reason = "hands on what the test said")]
pub(crate) fn run(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == name) {
        return test();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, name);
    let ids = (!Uid::effective().is_root()).then(Ids::ours);
    // SAFETY: makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(move || enter(ids.as_ref())) };
    let output = command.output().expect("needs root or user namespaces");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{name}: {said}{complained}"
    );
    print!("{said}");
}

/// What is written to become root of a user namespace.
struct Ids {
    users: String,
    groups: String,
}

impl Ids {
    fn ours() -> Self {
        Self {
            users: format!("0 {} 1", Uid::effective()),
            groups: format!("0 {} 1", Gid::effective()),
        }
    }
}

fn enter(ids: Option<&Ids>) -> io::Result<()> {
    let ours = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    match ids {
        None => unshare(ours)?,
        Some(ids) => {
            unshare(ours | CloneFlags::CLONE_NEWUSER)?;
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", &ids.users)?;
            std::fs::write("/proc/self/gid_map", &ids.groups)?;
        }
    }
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    Ok(())
}
