//! What may explain the conflicts of an address: hypotheses, each with what speaks for it and
//! against it. None is ever certain, and docs/conflicts.md gives the reasoning.
//!
//! Each fact gives a hypothesis some points or takes some; the sum ranks. A fact that fits two
//! hypotheses gives to both. That clocks differ between ports speaks for no number of hosts:
//! kernels that hash the ports into the timestamp offset show as many clocks as connections.

use super::evidence::{Facts, OLD_TICKS, YOUNG_TICKS};
pub use super::hypothesis::{Argument, Cause, Hypothesis, Standing};

/// How many conflicts there must be before what they have in common means anything.
const FEW: u64 = 3;
const ENOUGH: u64 = 5;
/// A clock that went back is over once the TIME_WAITs from before are gone; refused SYNs may have
/// held some up for a minute more.
const RESET_NS: u64 = 120_000_000_000;
/// A window that Linux does not offer by itself: it rounds to whole segments.
const ROUND_WINDOW: u16 = u16::MAX;

impl Hypothesis {
    fn new(cause: Cause) -> Self {
        Self {
            cause,
            points: 0,
            pro: Vec::new(),
            con: Vec::new(),
        }
    }

    /// The standing that a number of points gives.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.points {
            3.. => Standing::Likely,
            1..3 => Standing::Perhaps,
            -1..1 => Standing::Less,
            _ => Standing::Not,
        }
    }

    fn pro(&mut self, points: i32, holds: bool, argument: Argument) {
        if holds {
            self.points += points;
            self.pro.push(argument);
        }
    }

    fn con(&mut self, points: i32, holds: bool, argument: Argument) {
        if holds {
            self.points -= points;
            self.con.push(argument);
        }
    }
}

/// All hypotheses, the best first; nothing without a conflict.
pub(super) fn weigh(facts: &Facts) -> Vec<Hypothesis> {
    if facts.conflicts == 0 {
        return Vec::new();
    }
    let mut all: Vec<_> = Cause::ALL
        .into_iter()
        .map(|cause| {
            let mut case = Hypothesis::new(cause);
            match cause {
                Cause::SeveralHosts => several_hosts(facts, &mut case),
                Cause::PortRewritingNat => port_rewriting_nat(facts, &mut case),
                Cause::ClockReset => clock_reset(facts, &mut case),
                Cause::NonMonotonicStack => non_monotonic_stack(facts, &mut case),
                Cause::RestartedDevice => restarted_device(facts, &mut case),
                Cause::OldDuplicate => old_duplicate(facts, &mut case),
            }
            case
        })
        .collect();
    all.sort_by_key(|case| std::cmp::Reverse(case.points));
    all
}

fn several_hosts(facts: &Facts, case: &mut Hypothesis) {
    let (same, unrelated) = (facts.same_gaps(), facts.unrelated_gaps());
    let never_closed = facts.never_closed();
    case.pro(
        facts.never_closed_weight(),
        never_closed,
        facts.never_closed_said(),
    );
    case.pro(3, facts.other_ttl().is_some(), facts.other_ttl_said());
    case.pro(3, facts.jumps_back > 0, facts.turns_taken());
    case.pro(3, same, facts.same_gaps_said());
    case.pro(1, facts.clocks_apart(), facts.far_behind());
    let again = facts.retried > 0 && !facts.clocks_apart() && facts.gaps > 0;
    case.pro(1, again, facts.sent_again());
    case.pro(1, facts.windows.len() > 1, facts.several_windows());
    case.pro(1, facts.without_tsval > 0, facts.no_tsval());
    case.pro(1, facts.without_timestamps > 0, facts.no_timestamps());
    case.con(1, unrelated && facts.gaps >= ENOUGH, facts.unrelated_said());
    case.con(1, facts.same_ttl(), facts.same_ttl_said());
    let no_turns = same && facts.same >= ENOUGH && facts.jumps == 0 && !never_closed;
    case.con(1, no_turns, Argument::NoJumps);
}

fn port_rewriting_nat(facts: &Facts, case: &mut Hypothesis) {
    let (same, unrelated) = (facts.same_gaps(), facts.unrelated_gaps());
    let gaps = facts.gaps;
    let weight = if gaps >= ENOUGH { 4 } else { 2 };
    case.pro(weight, unrelated, facts.unrelated_said());
    case.pro(1, facts.clocks_apart() && !unrelated, facts.far_behind());
    case.pro(1, facts.jumps > facts.jumps_back, facts.jumps_said());
    case.pro(1, facts.isn_mixed(), facts.isn_mixed_said());
    case.pro(1, facts.same_ttl(), facts.same_ttl_said());
    case.pro(1, facts.one_window(), facts.one_window_said());
    case.pro(1, facts.without_timestamps > 0, facts.no_timestamps());
    let another_clock = facts.clocks_apart() || unrelated;
    case.pro(
        1,
        facts.ports_hashed && another_clock,
        Argument::PortsHashed,
    );
    case.con(
        facts.never_closed_weight(),
        facts.never_closed(),
        facts.never_closed_said(),
    );
    case.con(6, same, facts.same_gaps_said());
    case.con(4, facts.clocks_stand_still(), facts.zero_tsval_said());
    case.con(2, facts.other_ttl().is_some(), facts.other_ttl_said());
}

fn clock_reset(facts: &Facts, case: &mut Hypothesis) {
    let span = Argument::Within { ns: facts.span_ns };
    let at_once = facts.span_ns <= RESET_NS;
    let young = facts.young_clock();
    // Any two hosts have a pair of like gaps now and then.
    let telling = facts.same >= FEW || young;
    let went_back = facts.same_gaps_behind() && telling && facts.jumps == 0 && at_once;
    case.pro(3, went_back, facts.same_gaps_said());
    case.pro(1, went_back, span);
    let in_step = Argument::InStepBefore {
        n: facts.in_step_before,
    };
    case.pro(1, went_back && facts.in_step_before > 0, in_step);
    case.pro(1, young, facts.young_clock_said());
    // A reboot also makes a new secret, on which the offsets of all connections depend.
    let new_secret = facts.unrelated_gaps() && at_once && facts.in_step_before >= FEW;
    case.pro(3, new_secret, in_step);
    case.con(
        3,
        facts.unrelated_gaps() && !new_secret,
        facts.unrelated_said(),
    );
    case.con(3, facts.jumps > 0 && !new_secret, facts.jumps_said());
    case.con(
        facts.never_closed_weight(),
        facts.never_closed(),
        facts.never_closed_said(),
    );
    case.con(2, !at_once, span);
    case.con(2, facts.other_ttl().is_some(), facts.other_ttl_said());
}

fn non_monotonic_stack(facts: &Facts, case: &mut Hypothesis) {
    let unrelated = facts.unrelated_gaps();
    case.pro(4, facts.clocks_stand_still(), facts.zero_tsval_said());
    case.pro(1, unrelated, facts.unrelated_said());
    // As one host's is on the same ports; but Linux NAT, too, lets only such a SYN have a port
    // again (`nf_seq_has_advanced`).
    case.pro(
        1,
        unrelated && facts.isn_always_ahead(),
        facts.isn_ahead_said(),
    );
    case.pro(2, facts.without_tsval > 0, facts.no_tsval());
    let round = facts.windows == [ROUND_WINDOW];
    case.pro(1, round, facts.one_window_said());
    case.con(1, facts.same_gaps(), facts.same_gaps_said());
    case.con(1, facts.isn_mixed(), facts.isn_mixed_said());
}

/// With timestamps, its clock tells.
fn restarted_device(facts: &Facts, case: &mut Hypothesis) {
    if !facts.mostly_without_timestamps() {
        return;
    }
    let not_ahead = facts.isn_behind > 0 && facts.isn_ahead == 0;
    let several = facts.retried > 0 || facts.conflicts >= 2;
    let one_isn = facts.conflicts >= 2 && facts.isns.len() == 1;
    let one_port = facts.conflicts >= 2 && facts.ports.len() == 1;
    let near = not_ahead && facts.isn_near == facts.isn_behind;
    case.pro(1, not_ahead, facts.isn_not_ahead_said());
    case.pro(3, one_isn, facts.one_isn_said());
    case.pro(2, near && several && !one_isn, facts.isn_near_said());
    case.pro(2, one_port, facts.one_port_said());
    case.pro(1, not_ahead && facts.retried > 0, facts.sent_again());
    case.pro(
        facts.never_closed_weight(),
        facts.never_closed(),
        facts.never_closed_said(),
    );
    case.con(1, facts.isn_ahead > 0, facts.isn_ahead_said());
}

fn old_duplicate(facts: &Facts, case: &mut Hypothesis) {
    let of = facts.isn_ahead + facts.isn_behind;
    let all_alike = facts.like_duplicates == of && of > 0;
    let alike = Argument::LikeDuplicates {
        n: facts.like_duplicates,
        of,
        timestamps: facts.without_timestamps == 0,
    };
    // Of ISNs alone, one in four is as little behind by chance.
    let weight = if facts.without_timestamps == 0 { 4 } else { 2 };
    case.pro(weight, all_alike, alike);
    case.pro(1, facts.like_duplicates > 0 && !all_alike, alike);
    let far = facts.far_back > 0 && 2 * facts.far_back >= facts.gaps;
    case.con(2, far, facts.far_behind());
    case.con(
        3,
        2 * facts.isn_ahead >= of && of > 0,
        facts.isn_ahead_said(),
    );
    let many = Argument::Many { n: facts.conflicts };
    case.con(2, facts.conflicts >= ENOUGH, many);
    case.con(4, facts.retried > 0, facts.sent_again());
}

/// What the facts add up to.
impl Facts {
    /// Two of three gaps are the same.
    fn same_gaps(&self) -> bool {
        self.gaps >= 2 && 3 * self.same >= 2 * self.gaps
    }

    fn same_gaps_behind(&self) -> bool {
        self.same_gaps() && self.same_skew < 0
    }

    fn young_clock(&self) -> bool {
        let ticks = self.highest_tsval.unwrap_or(u32::MAX);
        ticks <= YOUNG_TICKS && !self.clocks_stand_still()
    }

    fn young_clock_said(&self) -> Argument {
        Argument::YoungClock {
            ticks: self.highest_tsval.unwrap_or(u32::MAX),
        }
    }

    /// Old connections that their client has not closed.
    fn open(&self) -> u64 {
        self.fin_wait_2 + self.live
    }

    /// They are half of all. A host that is still up has their ports in use, so it is another one
    /// that comes from them.
    fn never_closed(&self) -> bool {
        self.open() > 0 && 2 * self.open() >= self.conflicts && !self.young_clock()
    }

    /// A single one may also have been left behind by a crash.
    fn never_closed_weight(&self) -> i32 {
        if self.open() >= FEW { 4 } else { 1 }
    }

    fn never_closed_said(&self) -> Argument {
        Argument::NeverClosed {
            n: self.open(),
            of: self.conflicts,
            live: self.live,
        }
    }

    /// At most one in three is like another.
    fn unrelated_gaps(&self) -> bool {
        (self.gaps >= FEW && 3 * self.same <= self.gaps.max(FEW))
            || (self.gaps == 2 && self.same == 1)
    }

    /// A gap that an old segment does not explain is one between two clocks.
    fn clocks_apart(&self) -> bool {
        self.far_back > 0
    }

    fn other_ttl(&self) -> Option<Argument> {
        let differs = self
            .ttl_differs
            .map(|(n, [syn, owner])| Argument::OtherTtl { n, syn, owner });
        differs.or(match self.ttls[..] {
            [a, b, ..] => Some(Argument::SeveralTtls { a, b }),
            _ => None,
        })
    }

    fn other_ttl_said(&self) -> Argument {
        self.other_ttl()
            .unwrap_or(Argument::SeveralTtls { a: 0, b: 0 })
    }

    fn same_ttl(&self) -> bool {
        self.ttl_same >= FEW && self.other_ttl().is_none()
    }

    fn same_ttl_said(&self) -> Argument {
        Argument::SameTtl {
            n: self.ttl_same,
            ttl: self.ttls.first().copied().unwrap_or(0),
        }
    }

    fn one_window(&self) -> bool {
        self.windows.len() == 1 && self.conflicts >= FEW
    }

    fn one_window_said(&self) -> Argument {
        Argument::OneWindow {
            window: self.windows.first().copied().unwrap_or(0),
        }
    }

    fn several_windows(&self) -> Argument {
        Argument::SeveralWindows {
            n: self.windows.len(),
        }
    }

    /// Between two hosts or ports it is as often ahead as behind, if chance decides; one host's
    /// grows from one connection to the next on the same ports (RFC 6528).
    fn isn_always_ahead(&self) -> bool {
        self.isn_ahead >= ENOUGH && self.isn_behind == 0
    }

    fn isn_ahead_said(&self) -> Argument {
        Argument::IsnAhead {
            n: self.isn_ahead,
            of: self.isn_ahead + self.isn_behind,
        }
    }

    fn isn_mixed(&self) -> bool {
        let of = self.isn_ahead + self.isn_behind;
        of >= ENOUGH && 5 * self.isn_ahead.min(self.isn_behind) >= of
    }

    fn isn_mixed_said(&self) -> Argument {
        Argument::IsnMixed {
            ahead: self.isn_ahead,
            behind: self.isn_behind,
        }
    }

    fn isn_not_ahead_said(&self) -> Argument {
        Argument::IsnNotAhead {
            n: self.isn_behind,
            of: self.isn_ahead + self.isn_behind,
        }
    }

    fn isn_near_said(&self) -> Argument {
        Argument::IsnNear {
            n: self.isn_near,
            of: self.isn_ahead + self.isn_behind,
        }
    }

    fn one_isn_said(&self) -> Argument {
        Argument::OneIsn {
            n: self.conflicts,
            isn: self.isns.first().copied().unwrap_or(0),
        }
    }

    fn one_port_said(&self) -> Argument {
        Argument::OnePort {
            n: self.conflicts,
            port: self.ports.first().copied().unwrap_or(0),
        }
    }

    fn mostly_without_timestamps(&self) -> bool {
        self.without_timestamps > 0 && 2 * self.without_timestamps >= self.conflicts
    }

    fn same_gaps_said(&self) -> Argument {
        Argument::SameGaps {
            n: self.same,
            of: self.gaps,
            ticks: self.same_skew.unsigned_abs(),
        }
    }

    fn unrelated_said(&self) -> Argument {
        Argument::UnrelatedGaps { of: self.gaps }
    }

    fn far_behind(&self) -> Argument {
        Argument::FarBehind {
            n: self.far_back,
            of: self.gaps.max(self.far_back),
        }
    }

    fn turns_taken(&self) -> Argument {
        Argument::TurnsTaken { n: self.jumps_back }
    }

    fn jumps_said(&self) -> Argument {
        Argument::Jumps { n: self.jumps }
    }

    fn sent_again(&self) -> Argument {
        Argument::SentAgain {
            n: self.retried,
            of: self.conflicts,
        }
    }

    /// Half of the SYNs have the timestamp 0.
    fn clocks_stand_still(&self) -> bool {
        self.zero_tsval > 0 && 2 * self.zero_tsval >= self.conflicts
    }

    fn zero_tsval_said(&self) -> Argument {
        Argument::ZeroTsval {
            n: self.zero_tsval,
            of: self.conflicts,
        }
    }

    fn no_tsval(&self) -> Argument {
        Argument::NoTsval {
            n: self.without_tsval,
            of: self.conflicts,
        }
    }

    fn no_timestamps(&self) -> Argument {
        Argument::NoTimestamps {
            n: self.without_timestamps,
        }
    }
}

/// Gaps beyond this are called far: the view says what it is.
pub const FAR_TICKS: u32 = OLD_TICKS;
/// An ISN this little before what was expected is near.
pub const NEAR_BYTES: u32 = super::evidence::NEAR_BYTES;

#[cfg(test)]
mod tests;
