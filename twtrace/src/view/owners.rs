//! Names of owners, as far as there are any.

use super::columns::CgroupFact;
use crate::host::{Cgroup, Names};

/// Hands over the most telling name of an owner: pod, container or unit, else the user's.
pub(super) fn most_telling<R>(
    uid: Option<u32>,
    cgroup: Option<u64>,
    names: &mut Names,
    show: impl FnOnce(Option<&str>) -> R,
) -> R {
    let cgroup = cgroup.and_then(|id| names.cgroup(id));
    if let Some(short) = cgroup.and_then(|cgroup| cgroup.short.as_deref()) {
        return show(Some(short));
    }
    show(uid.and_then(|uid| names.user(uid)))
}

/// What is known of a cgroup.
pub(super) fn cgroup(id: u64, fact: CgroupFact, names: &mut Names) -> Option<&str> {
    let Cgroup {
        path, owner, long, ..
    } = names.cgroup(id)?;
    match fact {
        CgroupFact::Path => Some(path),
        CgroupFact::Unit => owner.unit.as_deref(),
        CgroupFact::Container => owner.container.as_deref(),
        CgroupFact::Pod => owner.pod.as_deref(),
        CgroupFact::Name => Some(long.as_deref().unwrap_or(path)),
    }
}
