//! What the running kernel shows of itself.

use std::path::Path;

use crate::check::expect::{Place, SIGNS, Shown};
use crate::error::Result;
use crate::kernel::btf::{Btf, Kind};
use crate::kernel::counters;

/// Looks for every sign; the BTF may come from a file.
pub(in crate::check) fn shown(btf: &Path) -> Result<Shown> {
    let wanted: Vec<_> = SIGNS
        .iter()
        .filter_map(|(_, place)| match *place {
            Place::Member(structure, _) => Some((structure, Kind::Struct)),
            Place::Function(name) | Place::Parameter(name, _) => Some((name, Kind::Function)),
            Place::Enumerator(name) => Some((name, Kind::Enumerator)),
            Place::Sysctl(_) | Place::Counter(_) => None,
        })
        .collect();
    let btf = Btf::read(btf, &wanted)?;
    let counters = counters::read_current()?;
    Ok(Shown::of(|place| match place {
        Place::Member(structure, member) => btf.has_member(structure, member),
        Place::Function(name) => btf.number(name, Kind::Function).is_some(),
        Place::Parameter(function, name) => btf
            .parameters(function)
            .is_some_and(|names| names.contains(&name)),
        Place::Enumerator(name) => btf.enumerator(name).is_some(),
        Place::Sysctl(name) => Path::new("/proc/sys/net/ipv4").join(name).exists(),
        Place::Counter(name) => counters.tcp_ext.contains_key(name),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::expect::Sign;
    use crate::kernel::btf::VMLINUX;

    #[test]
    fn this_kernel_shows_each_sign_or_not() {
        let shown = shown(Path::new(VMLINUX)).unwrap();
        assert_eq!(shown.by_name().len(), SIGNS.len());
        // Never both: one was added years after the other had been removed.
        assert!(!(shown.has(Sign::TwKill) && shown.has(Sign::EntryStamp)));
    }
}
