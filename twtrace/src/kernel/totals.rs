//! The totals that the programs keep, read and emptied in place.
//!
//! Namespaces come and go for as long as a trace runs, and each takes an entry. So entries in which
//! nothing happens are emptied from time to time, and their totals kept here.

use std::collections::BTreeMap;
use std::ptr;

use aya::maps::{HashMap, MapData};
use twtrace_common::counters::{Counters, LEAVING, Owner};

use super::syscall::{self, Mapped};
use crate::error::Result;

/// How many namespaces that left the table are remembered one by one.
const REMEMBERED: usize = 4096;

/// The table of counters.
#[derive(Debug)]
pub(super) struct Totals {
    owners: Mapped<Owner>,
    counters: Mapped<Counters>,
    claims: HashMap<MapData, u32, u64>,
    /// Copies of each entry.
    stripes: usize,
    /// Totals of namespaces that were emptied, by id. The first, of id 0, is of those that were
    /// forgotten.
    left: BTreeMap<u64, Counters>,
    /// How much had been counted in each entry at the last look of [`Totals::make_room`].
    seen: Vec<u64>,
}

impl Totals {
    pub(super) fn new(
        owners: MapData,
        counters: MapData,
        claims: HashMap<MapData, u32, u64>,
        (namespaces, stripes): (usize, usize),
    ) -> Result<Self> {
        let entries = namespaces + 1;
        Ok(Self {
            owners: Mapped::new(owners, namespaces)?,
            counters: Mapped::new(counters, entries * stripes)?,
            claims,
            stripes,
            left: BTreeMap::new(),
            seen: vec![0; entries],
        })
    }

    /// One per namespace, and one of netns 0 for what belongs to none in particular.
    pub(super) fn read(&self) -> Vec<Counters> {
        let mut found = self.left.clone();
        for entry in 0..self.seen.len() {
            let owner = self.owner(entry);
            if entry == 0 || !matches!(owner.id, 0 | LEAVING) {
                let sum = found.entry(owner.id).or_insert(Counters {
                    id: owner.id,
                    netns: owner.netns,
                    ..Counters::ZERO
                });
                sum.add(&self.sum(entry));
            }
        }
        found
            .into_values()
            .filter(|one| one.id != 0 || *one != Counters::ZERO)
            .collect()
    }

    /// Empties entries in which nothing was counted since the last call, if more than half are
    /// taken.
    pub(super) fn make_room(&mut self) {
        let taken: Vec<usize> = (1..self.seen.len())
            .filter(|&entry| self.owner(entry).id != 0)
            .collect();
        let crowded = taken.len() * 2 > self.seen.len();
        let mut idle = Vec::new();
        for entry in taken {
            let now = activity(&self.sum(entry));
            if self.seen[entry] == now && crowded {
                idle.push(entry);
            }
            self.seen[entry] = now;
        }
        if !idle.is_empty() {
            self.empty(&idle);
        }
    }

    fn empty(&mut self, entries: &[usize]) {
        let owners: Vec<Owner> = entries.iter().map(|&entry| self.owner(entry)).collect();
        for &entry in entries {
            self.set_id(entry, LEAVING);
        }
        // Programs that found an entry before have finished with it then.
        if !syscall::wait_for_programs() {
            for (&entry, owner) in entries.iter().zip(&owners) {
                self.set_id(entry, owner.id);
            }
            return;
        }
        for (&entry, owner) in entries.iter().zip(owners) {
            let mut sum = Counters {
                id: owner.id,
                netns: owner.netns,
                ..Counters::ZERO
            };
            for stripe in self.stripes_of(entry) {
                // SAFETY: in range, and no program writes there any more.
                unsafe {
                    sum.add(&ptr::read_volatile(self.counters.at(stripe)));
                    ptr::write_volatile(self.counters.at(stripe), Counters::ZERO);
                }
            }
            self.left
                .entry(owner.id)
                .and_modify(|left| left.add(&sum))
                .or_insert(sum);
            self.seen[entry] = 0;
            let _ = self.claims.remove(&(entry as u32));
            self.set_id(entry, 0);
        }
        self.forget();
    }

    /// Ids grow, so the smallest is the oldest.
    fn forget(&mut self) {
        while self.left.len() > REMEMBERED {
            let Some((&id, _)) = self.left.range(1..).next() else {
                return;
            };
            if let Some(oldest) = self.left.remove(&id) {
                self.left.entry(0).or_insert(Counters::ZERO).add(&oldest);
            }
        }
    }

    /// The namespace of an entry; the first has none.
    fn owner(&self, entry: usize) -> Owner {
        let Some(owner) = entry.checked_sub(1) else {
            return Owner {
                id: 0,
                netns: 0,
                reserved: 0,
            };
        };
        // SAFETY: in range. The programs write the number before the id.
        unsafe { ptr::read_volatile(self.owners.at(owner)) }
    }

    /// Of any entry but the first.
    fn set_id(&self, entry: usize, id: u64) {
        // SAFETY: in range. Programs write an id only where they find 0.
        unsafe { ptr::write_volatile(&raw mut (*self.owners.at(entry - 1)).id, id) };
    }

    fn sum(&self, entry: usize) -> Counters {
        let mut sum = Counters::ZERO;
        for stripe in self.stripes_of(entry) {
            // SAFETY: in range. Programs add to it meanwhile, each time to one aligned word.
            sum.add(&unsafe { ptr::read_volatile(self.counters.at(stripe)) });
        }
        sum
    }

    fn stripes_of(&self, entry: usize) -> std::ops::Range<usize> {
        entry * self.stripes..(entry + 1) * self.stripes
    }
}

/// How much was counted so far, to tell whether anything was counted meanwhile.
pub(super) fn activity(one: &Counters) -> u64 {
    one.born_fin_wait_2
        + one.born_time_wait
        + one.overflowed
        + one.filtered
        + one.ended.iter().sum::<u64>()
        + one.refused.iter().sum::<u64>()
        + one.skipped.iter().sum::<u64>()
        + one.port_failures.iter().sum::<u64>()
}
