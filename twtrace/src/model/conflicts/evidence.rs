//! What the SYNs of one address say, in little memory.

use std::ops::Range;

use super::tuples::Added;
use crate::event::Stage;
use crate::model::lifecycle::Life;
use crate::model::refusal::Refused;

/// How many clocks of refused and of accepted SYNs are kept: the first ones.
const SAMPLES: usize = 64;
/// How many different TTLs and windows are kept.
const VALUES: usize = 4;

/// Clocks that differ by less are the same: ticks of other lengths than 1 ms make up to a minute
/// of TIME_WAIT look like as many ticks. Two random clocks are this close once in 35,000 times.
pub(super) const SAME_TICKS: u32 = 60_000;
/// No segment is in the network for longer: twice the maximum segment lifetime of RFC 9293, in ms.
pub(super) const OLD_TICKS: u32 = 240_000;
/// How far an old duplicate's ISN can be behind: a window as large as can be announced.
const OLD_BYTES: u32 = 1 << 30;
/// An ISN this near to the end of the earlier connection by chance is one in 4,096.
pub(super) const NEAR_BYTES: u32 = 1 << 20;
/// A clock that began at 0 this long ago has just started: ten minutes, in ms.
pub(super) const YOUNG_TICKS: u32 = 600_000;

/// Of the first SYN of each conflict, and of the SYNs accepted.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    conflicts: u64,
    /// Conflicts with more than one SYN.
    retried: u64,
    /// Conflicts with a mini-socket in FIN_WAIT2.
    fin_wait_2: u64,
    /// Conflicts with a live connection.
    live: u64,
    /// Skews of refused SYNs with timestamps.
    skews: Vec<i32>,
    far_back: u64,
    highest_tsval: Option<u32>,
    zero_tsval: u64,
    without_tsval: u64,
    /// Neither the SYN nor the connection had timestamps.
    without_timestamps: u64,
    isn_ahead: u64,
    isn_behind: u64,
    isn_near: u64,
    like_duplicates: u64,
    isns: Few<u32>,
    ports: Few<u16>,
    ttl_same: u64,
    ttl_differs: Option<(u64, [u8; 2])>,
    ttls: Few<u8>,
    windows: Few<u16>,
    refused_ns: Option<Range<u64>>,
    /// Accepted SYNs whose clock goes with that of the connection before.
    in_step: u64,
    /// The same, before anything was refused.
    in_step_before: u64,
    /// Accepted SYNs whose clock is another one, ahead.
    jumps: u64,
    jump_skews: Vec<i32>,
}

/// A few different values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<T: PartialEq> Few<T> {
    fn add(&mut self, value: T) {
        if self.0.len() < VALUES && !self.0.contains(&value) {
            self.0.push(value);
        }
    }
}

/// The evidence, evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) conflicts: u64,
    pub(super) retried: u64,
    pub(super) fin_wait_2: u64,
    pub(super) live: u64,
    /// Gaps that were compared with each other.
    pub(super) gaps: u64,
    /// The largest group of them that are the same.
    pub(super) same: u64,
    /// By how many ticks the clocks of that group differ.
    pub(super) same_skew: i32,
    /// Gaps so large that no old segment explains them.
    pub(super) far_back: u64,
    pub(super) highest_tsval: Option<u32>,
    pub(super) zero_tsval: u64,
    pub(super) without_tsval: u64,
    pub(super) without_timestamps: u64,
    pub(super) isn_ahead: u64,
    pub(super) isn_behind: u64,
    pub(super) isn_near: u64,
    pub(super) like_duplicates: u64,
    pub(super) isns: Vec<u32>,
    /// Remote ones.
    pub(super) ports: Vec<u16>,
    pub(super) ttl_same: u64,
    /// How often, and the first pair: of the SYN, of the previous owner.
    pub(super) ttl_differs: Option<(u64, [u8; 2])>,
    pub(super) ttls: Vec<u8>,
    pub(super) windows: Vec<u16>,
    pub(super) span_ns: u64,
    pub(super) in_step_before: u64,
    pub(super) jumps: u64,
    /// Jumps by as much as the gaps that are the same.
    pub(super) jumps_back: u64,
    pub(super) ports_hashed: bool,
}

impl Evidence {
    /// Takes a refused SYN. A repeated one differs only in time.
    pub(super) fn refused(&mut self, refused: &Refused, added: &Added) {
        let refusal = &refused.refusal;
        let since = self
            .refused_ns
            .as_ref()
            .map_or(refusal.at_ns, |span| span.start);
        self.refused_ns = Some(since..refusal.at_ns);
        self.retried += u64::from(added.again);
        if !added.first {
            return;
        }
        self.conflicts += 1;
        self.fin_wait_2 += u64::from(refusal.stage == Stage::FinWait2);
        self.live += u64::from(refusal.stage == Stage::Established);
        self.clock(refused);
        self.isn(refused);
        self.isns.add(refusal.numbers.seq);
        self.ports.add(refusal.flow.rport);
        self.windows.add(refusal.window);
        if let Some(ttl) = refusal.ttl {
            self.ttls.add(ttl);
            match refusal.owner_ttl {
                Some(owner) if owner == ttl => self.ttl_same += 1,
                Some(owner) => {
                    let (n, pair) = self.ttl_differs.unwrap_or((0, [ttl, owner]));
                    self.ttl_differs = Some((n + 1, pair));
                }
                None => {}
            }
        }
    }

    fn clock(&mut self, refused: &Refused) {
        let numbers = &refused.refusal.numbers;
        match (numbers.tsval, numbers.ts_recent) {
            (None, None) => self.without_timestamps += 1,
            (None, Some(_)) => self.without_tsval += 1,
            (Some(tsval), _) => {
                self.highest_tsval = self.highest_tsval.max(Some(tsval));
                self.zero_tsval += u64::from(tsval == 0);
            }
        }
        let Some(gap) = refused.gap else {
            return;
        };
        self.far_back += u64::from(gap < 0 && gap.unsigned_abs() > OLD_TICKS);
        if self.skews.len() < SAMPLES {
            let age_ns = refused.ts_recent_age_ns().unwrap_or(0);
            self.skews.push(skew(gap, age_ns));
        }
    }

    fn isn(&mut self, refused: &Refused) {
        match refused.seq_gap {
            Some(bytes) if bytes > 0 => self.isn_ahead += 1,
            Some(bytes) => {
                self.isn_behind += 1;
                self.isn_near += u64::from(bytes.unsigned_abs() <= NEAR_BYTES);
                let recent = refused
                    .gap
                    .is_none_or(|gap| gap <= 0 && gap.unsigned_abs() <= OLD_TICKS);
                if recent && bytes.unsigned_abs() <= OLD_BYTES {
                    self.like_duplicates += 1;
                }
            }
            None => {}
        }
    }

    /// Takes a SYN that was accepted over a TIME_WAIT.
    pub(super) fn accepted(&mut self, life: &Life) {
        let Some(skew) = accepted_skew(life) else {
            return;
        };
        if skew.unsigned_abs() <= SAME_TICKS {
            self.in_step += 1;
            self.in_step_before += u64::from(self.refused_ns.is_none());
        } else {
            self.jumps += 1;
            if self.jump_skews.len() < SAMPLES {
                self.jump_skews.push(skew);
            }
        }
    }

    pub(super) fn facts(&self, ports_hashed: bool) -> Facts {
        let (same, same_skew) = largest_group(&self.skews);
        let back = same_skew.wrapping_neg();
        let jumps_back = self
            .jump_skews
            .iter()
            .filter(|jump| jump.wrapping_sub(back).unsigned_abs() <= 2 * SAME_TICKS);
        Facts {
            conflicts: self.conflicts,
            retried: self.retried,
            fin_wait_2: self.fin_wait_2,
            live: self.live,
            gaps: self.skews.len() as u64,
            same,
            same_skew,
            far_back: self.far_back,
            highest_tsval: self.highest_tsval,
            zero_tsval: self.zero_tsval,
            without_tsval: self.without_tsval,
            without_timestamps: self.without_timestamps,
            isn_ahead: self.isn_ahead,
            isn_behind: self.isn_behind,
            isn_near: self.isn_near,
            like_duplicates: self.like_duplicates,
            isns: self.isns.0.clone(),
            ports: self.ports.0.clone(),
            ttl_same: self.ttl_same,
            ttl_differs: self.ttl_differs,
            ttls: self.ttls.0.clone(),
            windows: self.windows.0.clone(),
            span_ns: self
                .refused_ns
                .as_ref()
                .map_or(0, |span| span.end.saturating_sub(span.start)),
            in_step_before: self.in_step_before,
            jumps: self.jumps,
            jumps_back: jumps_back.count() as u64,
            ports_hashed,
        }
    }
}

/// TSval less ts_recent, less what their clock would have moved on by itself in between if it
/// counts ms: what two clocks differ by, in ticks. On a circle of 2^32.
fn skew(gap: i32, age_ns: u64) -> i32 {
    let ms = age_ns / 1_000_000;
    gap.wrapping_sub(ms as u32 as i32)
}

/// The skew of a SYN that was accepted.
fn accepted_skew(life: &Life) -> Option<i32> {
    Some(skew(life.gap()?, life.time_wait_ns?))
}

/// The most skews within [`SAME_TICKS`] of each other, and one of them.
fn largest_group(skews: &[i32]) -> (u64, i32) {
    let group = |&from: &i32| {
        let within = |other: &&i32| other.wrapping_sub(from).cast_unsigned() <= SAME_TICKS;
        (skews.iter().filter(within).count() as u64, from)
    };
    skews
        .iter()
        .map(group)
        .max_by_key(|&(size, _)| size)
        .unwrap_or((0, 0))
}
