//! The names of owners, looked up in a thread of its own: that walks the directories of cgroups, and
//! the ring is to be emptied meanwhile.

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;

use crate::error::{Error, Result};
use crate::event::{Flow, Named};
use crate::host::{Names, Roll};
use crate::kernel::privileges::{self, Later};

/// Owners that may wait for their names, or that are known to have been asked for.
const MOST: usize = 8_192;

/// What the thread does: it finds the names of namespaces, and opens cgroups by their numbers.
const LOOKS: Later = Later {
    namespaces: true,
    owners: true,
    kills: false,
};

/// The other end of the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Namer {
    flows: SyncSender<Flow>,
    named: Receiver<Named>,
    /// Owners that were asked for lately. What had no name then may have one soon.
    asked: HashSet<(u32, Option<u32>, Option<u64>)>,
}

impl Namer {
    /// Starts it; `names` is called there, as it may take its time.
    pub(super) fn start(names: impl FnOnce() -> Names + Send + 'static) -> Result<Self> {
        let (flows, asked) = mpsc::sync_channel(MOST);
        let (answer, named) = mpsc::channel();
        thread::Builder::new()
            .name("names".into())
            .spawn(move || {
                // It is started before this is given up for all.
                privileges::keep(LOOKS);
                look_up(Roll::new(names()), &asked, &answer);
            })
            .map_err(|error| Error::new(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            flows,
            named,
            asked: HashSet::new(),
        })
    }

    /// Asks for the names of an owner: later the cgroup may be gone. Waits for nobody; where there
    /// is no room, the next event of that owner asks again.
    pub(super) fn note(&mut self, flow: &Flow) {
        let owner = (flow.netns, flow.uid, flow.cgroup);
        if !self.asked.contains(&owner) && self.flows.try_send(*flow).is_ok() {
            if self.asked.len() >= MOST {
                self.asked.clear();
            }
            self.asked.insert(owner);
        }
    }

    /// The names that were found since this was asked last; `None` if there are none.
    pub(super) fn found(&self) -> Option<Named> {
        all(self.named.try_iter())
    }

    /// The same. What has no name by now is asked for again when it comes up.
    pub(super) fn take(&mut self) -> Option<Named> {
        self.asked.clear();
        self.found()
    }

    /// Waits for the names of all that were asked for.
    pub(super) fn finish(self) -> Option<Named> {
        drop(self.flows);
        all(self.named.iter())
    }
}

fn all(parts: impl Iterator<Item = Named>) -> Option<Named> {
    let mut all = Named::default();
    parts.for_each(|part| all.extend(part));
    (!all.is_empty()).then_some(all)
}

fn look_up(mut roll: Roll, asked: &Receiver<Flow>, out: &mpsc::Sender<Named>) {
    loop {
        let flow = match asked.try_recv() {
            Ok(flow) => Some(flow),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                tell(&mut roll, out);
                asked.recv().ok()
            }
        };
        match flow {
            Some(flow) => roll.note(&flow),
            None => return tell(&mut roll, out),
        }
    }
}

fn tell(roll: &mut Roll, out: &mpsc::Sender<Named>) {
    if let Some(named) = roll.take() {
        // Nobody may listen any more.
        let _ = out.send(named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(uid: u32) -> Flow {
        Flow {
            uid: Some(uid),
            ..Flow::sample()
        }
    }

    fn names(uids: std::ops::Range<u32>) -> Named {
        Named {
            users: uids
                .map(|uid| (uid, format!("user {uid}").into()))
                .collect(),
            ..Named::default()
        }
    }

    #[test]
    fn who_asks_waits_for_nobody_and_gets_all_names_in_the_end() {
        let (begin, begun) = mpsc::channel();
        let mut namer = Namer::start(move || {
            // As slow as a disk can be.
            begun.recv().unwrap();
            Names::of_recording(names(0..100))
        })
        .unwrap();
        for uid in (0..100).chain(0..100) {
            namer.note(&flow(uid));
        }
        assert_eq!(namer.take(), None);
        begin.send(()).unwrap();
        assert_eq!(namer.finish(), Some(names(0..100)));
    }

    #[test]
    fn more_owners_than_there_is_room_for_are_asked_for_later() {
        let (begin, begun) = mpsc::channel();
        let uids = 0..MOST as u32 + 1_000;
        let all = names(uids.clone());
        let mut namer = Namer::start(move || {
            begun.recv().unwrap();
            Names::of_recording(all)
        })
        .unwrap();
        uids.clone().for_each(|uid| namer.note(&flow(uid)));
        assert_eq!(namer.asked.len(), MOST);
        begin.send(()).unwrap();
        let mut found = Named::default();
        while found.users.len() < MOST {
            found.extend(namer.take().unwrap_or_default());
        }
        let left = uids.clone().skip(MOST);
        left.for_each(|uid| namer.note(&flow(uid)));
        found.extend(namer.finish().unwrap_or_default());
        assert!(found == names(uids), "{} names", found.users.len());
    }
}
