//! Whether the kernel will refuse `check`, asked before anything is made or announced.

use std::path::Path;

use super::btf::{Btf, GivenBtf, Kind, VMLINUX};
use super::{Attach, hooks, plan, privileges, syscall};
use crate::error::{Error, Result};
use crate::event::facts::Answer;

/// Whether `check` is refused to this process, before it makes anything. Nothing is attached.
pub(crate) fn may_check(attach: Attach, btf: Option<&GivenBtf>) -> Result<()> {
    if !privileges::may_enter_namespaces() {
        return Err(
            Error::new("check needs root: it traces, and makes network namespaces")
                .hint("try sudo twtrace check"),
        );
    }
    let path = btf.map_or(Path::new(VMLINUX), |given| given);
    let mut load = syscall::may_load_kprobes();
    if attach != Attach::Kprobe && !matches!(load, Answer::Unknown(_)) {
        let btf = Btf::read(path, &plan::wanted())?;
        let number = |point: &hooks::Point| btf.number(point.function(&btf), Kind::Function);
        if let Some(number) = hooks::POINTS.iter().find_map(number) {
            load = syscall::may_load_fentry(number, false);
        }
    }
    match load {
        Answer::Unknown(why) => {
            let cause = privileges::cause();
            Err(Error::new(format!("{cause}: {why}")).hint(privileges::advice()))
        }
        Answer::Yes | Answer::No(_) => Ok(()),
    }
}
