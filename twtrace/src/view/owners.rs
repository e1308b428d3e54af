//! Names of owners, as far as there are any.

use super::columns::CgroupFact;
use crate::host::{Cgroup, Names};
use crate::text::Text;

/// Hands over the most telling name of an owner: pod, container or unit, else the user's.
pub(super) fn most_telling<R>(
    uid: Option<u32>,
    cgroup: Option<u64>,
    names: &mut Names,
    show: impl FnOnce(Option<&Text>) -> R,
) -> R {
    let cgroup = cgroup.and_then(|id| names.cgroup(id));
    if let Some(short) = cgroup.and_then(|cgroup| cgroup.short.as_ref()) {
        return show(Some(short));
    }
    show(uid.and_then(|uid| names.user(uid)))
}

/// What is known of a cgroup.
pub(super) fn cgroup(id: u64, fact: CgroupFact, names: &mut Names) -> Option<&Text> {
    let Cgroup {
        path, owner, long, ..
    } = names.cgroup(id)?;
    match fact {
        CgroupFact::Path => Some(path),
        CgroupFact::Unit => owner.unit.as_ref(),
        CgroupFact::Container => owner.container.as_ref(),
        CgroupFact::Pod => owner.pod.as_ref(),
        CgroupFact::Name => Some(long.as_ref().unwrap_or(path)),
    }
}
