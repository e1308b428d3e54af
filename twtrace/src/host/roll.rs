//! The names that a recording needs, each once.

use std::collections::HashSet;
use std::hash::Hash;

use super::Names;
use crate::event::{Flow, Named};

/// Numbers whose names were told, of each kind, until all are told again.
const MOST: usize = 65_536;

/// Collects the names of the owners that events have.
#[derive(Debug)]
pub(crate) struct Roll {
    names: Names,
    users: HashSet<u32>,
    netns: HashSet<u32>,
    cgroups: HashSet<u64>,
    fresh: Named,
}

impl Roll {
    /// With names from there.
    #[must_use]
    pub(crate) fn new(names: Names) -> Self {
        Self {
            names,
            users: HashSet::new(),
            netns: HashSet::new(),
            cgroups: HashSet::new(),
            fresh: Named::default(),
        }
    }

    /// Looks up the names at once: later the cgroup may be gone. What has no name yet is looked up
    /// again with its next event.
    pub(crate) fn note(&mut self, flow: &Flow) {
        if !self.netns.contains(&flow.netns)
            && let Some(name) = self.names.netns(flow.netns)
        {
            self.fresh.netns.insert(flow.netns, name.clone());
            told(&mut self.netns, flow.netns);
        }
        if let Some(uid) = flow.uid
            && !self.users.contains(&uid)
            && let Some(name) = self.names.user(uid)
        {
            self.fresh.users.insert(uid, name.clone());
            told(&mut self.users, uid);
        }
        if let Some(id) = flow.cgroup
            && !self.cgroups.contains(&id)
            && let Some(cgroup) = self.names.cgroup(id)
        {
            self.fresh.cgroups.insert(id, cgroup.path.clone());
            told(&mut self.cgroups, id);
        }
    }

    /// The names that came up since this was asked last; `None` if there are none.
    pub(crate) fn take(&mut self) -> Option<Named> {
        let fresh = std::mem::take(&mut self.fresh);
        (!fresh.is_empty()).then_some(fresh)
    }
}

fn told<K: Eq + Hash>(all: &mut HashSet<K>, key: K) {
    if all.len() >= MOST {
        all.clear();
    }
    all.insert(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(uid: u32, cgroup: u64, netns: u32) -> Flow {
        Flow {
            netns,
            uid: Some(uid),
            cgroup: Some(cgroup),
            ..Flow::sample()
        }
    }

    #[test]
    fn each_name_is_told_once_and_numbers_without_one_are_not() {
        let all = Named {
            users: [(33, "www".into())].into(),
            netns: [(1, "host".into())].into(),
            cgroups: [(7, "/a".into()), (8, "/b".into())].into(),
        };
        let mut roll = Roll::new(Names::of_recording(all.clone()));
        assert_eq!(roll.take(), None);
        for _ in 0..3 {
            roll.note(&flow(33, 7, 1));
            roll.note(&flow(34, 9, 2));
        }
        let mut expected = all;
        expected.cgroups.remove(&8);
        assert_eq!(roll.take(), Some(expected));
        roll.note(&flow(33, 7, 1));
        assert_eq!(roll.take(), None);
        roll.note(&flow(33, 8, 1));
        let later = roll.take().unwrap();
        assert_eq!(later.cgroups, [(8, "/b".into())].into());
        assert!(later.users.is_empty() && later.netns.is_empty());
    }
}
