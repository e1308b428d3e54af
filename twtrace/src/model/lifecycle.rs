//! From the stamps of an end to the two clocks of a mini-socket.

use super::refusal::gap;
use crate::event::{BornAs, End};

/// One unit of `tw_entry_stamp` in ns: it counts milliseconds.
const STAMP_NS: u64 = 1_000_000;

/// A whole life: the end and what follows from its stamps. An unknown time stays unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub end: End,
    /// Time in substate FIN_WAIT2; `None` also for one that was born in TIME_WAIT.
    pub fin_wait_2_ns: Option<u64>,
    /// Time in substate TIME_WAIT; `None` also for one that ended in FIN_WAIT2.
    pub time_wait_ns: Option<u64>,
    /// Older than the trace; `None` if its birth may also have been lost.
    pub preexisting: Option<bool>,
}

/// What must be known of the trace to judge an end whose birth was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// CLOCK_MONOTONIC ns when everything was attached.
    pub started_ns: u64,
    /// Births were lost so far, for lack of room or because a program was skipped.
    pub births_lost: bool,
}

impl Life {
    /// Gives an end its meaning.
    #[inline]
    #[must_use]
    pub fn new(end: End, circumstances: Circumstances) -> Self {
        Self {
            end,
            fin_wait_2_ns: fin_wait_2(&end),
            time_wait_ns: time_wait(&end),
            preexisting: preexisting(&end, circumstances),
        }
    }

    // Not kept: a life is copied for each end, and few ends have these.

    /// From the first SYN that it refused to its end; `None` if it refused none.
    #[must_use]
    pub fn refusing_ns(&self) -> Option<u64> {
        self.end.ended_ns.checked_sub(self.end.first_refused_ns?)
    }

    /// TSval of the SYN that was accepted over it, less the last one of the connection, in ticks;
    /// `None` also if one of them had none.
    #[must_use]
    pub fn gap(&self) -> Option<i32> {
        gap(self.end.accepted.as_ref()?)
    }
}

fn fin_wait_2(end: &End) -> Option<u64> {
    match end.born_as {
        Some(BornAs::FinWait2) => {
            let until = if end.in_time_wait {
                end.time_wait_ns?
            } else {
                end.ended_ns
            };
            until.checked_sub(end.born_ns?)
        }
        Some(BornAs::TimeWait) | None => None,
    }
}

fn time_wait(end: &End) -> Option<u64> {
    if end.in_time_wait {
        end.ended_ns.checked_sub(end.time_wait_ns?)
    } else {
        None
    }
}

fn preexisting(end: &End, circumstances: Circumstances) -> Option<bool> {
    let Circumstances {
        started_ns,
        births_lost,
    } = circumstances;
    let stamp = end.born_ns.or(end.time_wait_ns);
    if !end.untracked {
        Some(false)
    } else if !births_lost || stamp.is_some_and(|stamp| stamp < started_ns) {
        Some(true)
    } else if end
        .born_ns
        .is_some_and(|born| born >= started_ns + STAMP_NS)
    {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Flow, Reason};

    const STARTED: u64 = 1_000_000_000;
    const NOTHING_LOST: Circumstances = Circumstances {
        started_ns: STARTED,
        births_lost: false,
    };
    const BIRTHS_LOST: Circumstances = Circumstances {
        started_ns: STARTED,
        births_lost: true,
    };

    fn end() -> End {
        End {
            born_as: Some(BornAs::FinWait2),
            born_ns: Some(STARTED + 10),
            time_wait_ns: Some(STARTED + 30),
            ended_ns: STARTED + 100,
            ..End::sample(Flow::sample())
        }
    }

    fn untracked(born_ns: Option<u64>, time_wait_ns: Option<u64>) -> End {
        End {
            born_as: None,
            born_ns,
            time_wait_ns,
            ended_ns: STARTED + 60_000_000_000,
            untracked: true,
            ..end()
        }
    }

    fn clocks(end: End) -> (Option<u64>, Option<u64>) {
        let life = Life::new(end, NOTHING_LOST);
        (life.fin_wait_2_ns, life.time_wait_ns)
    }

    #[test]
    fn born_in_fin_wait_2_and_promoted_has_both_clocks() {
        assert_eq!(clocks(end()), (Some(20), Some(70)));
    }

    #[test]
    fn ended_in_fin_wait_2_has_no_time_in_time_wait() {
        let end = End {
            time_wait_ns: None,
            in_time_wait: false,
            reason: Reason::FinWait2Timeout,
            ..end()
        };
        assert_eq!(clocks(end), (Some(90), None));
    }

    #[test]
    fn born_in_time_wait_was_never_in_fin_wait_2() {
        let end = End {
            born_as: Some(BornAs::TimeWait),
            time_wait_ns: Some(STARTED + 10),
            ..end()
        };
        assert_eq!(clocks(end), (None, Some(90)));
    }

    #[test]
    fn an_unknown_stamp_gives_no_time() {
        assert_eq!(clocks(untracked(None, None)), (None, None));
        let promotion_unseen = End {
            time_wait_ns: None,
            ..end()
        };
        assert_eq!(clocks(promotion_unseen), (None, None));
    }

    #[test]
    fn one_that_refused_says_for_how_long() {
        let end = End {
            reason: Reason::Reset,
            refused: 2,
            first_refused_ns: Some(STARTED + 60),
            ..end()
        };
        assert_eq!(Life::new(end, NOTHING_LOST).refusing_ns(), Some(40));
        let backwards = End {
            first_refused_ns: Some(STARTED + 101),
            ..end
        };
        assert_eq!(Life::new(backwards, NOTHING_LOST).refusing_ns(), None);
    }

    #[test]
    fn a_clock_that_runs_back_gives_no_time() {
        let end = End {
            born_ns: Some(STARTED + 40),
            ended_ns: STARTED + 20,
            ..end()
        };
        assert_eq!(clocks(end), (None, None));
    }

    #[test]
    fn an_older_one_with_an_entry_stamp_has_its_true_age() {
        let life = Life::new(untracked(None, Some(STARTED - 500)), NOTHING_LOST);
        assert_eq!(life.time_wait_ns, Some(60_000_000_500));
        assert_eq!(life.preexisting, Some(true));
    }

    #[test]
    fn a_tracked_one_is_never_preexisting() {
        assert_eq!(Life::new(end(), BIRTHS_LOST).preexisting, Some(false));
    }

    #[test]
    fn an_untracked_one_is_older_than_the_trace_unless_births_were_lost() {
        let preexisting = |end, circumstances| Life::new(end, circumstances).preexisting;
        assert_eq!(preexisting(untracked(None, None), NOTHING_LOST), Some(true));
        assert_eq!(preexisting(untracked(None, None), BIRTHS_LOST), None);
    }

    #[test]
    fn the_entry_stamp_decides_when_births_were_lost() {
        let preexisting = |born| Life::new(untracked(Some(born), None), BIRTHS_LOST).preexisting;
        assert_eq!(preexisting(STARTED - 1), Some(true));
        assert_eq!(preexisting(STARTED + 1), None);
        assert_eq!(preexisting(STARTED + STAMP_NS), Some(false));
    }

    #[test]
    fn entering_time_wait_after_the_start_says_nothing_of_the_birth() {
        let promoted = untracked(None, Some(STARTED + 5 * STAMP_NS));
        assert_eq!(Life::new(promoted, BIRTHS_LOST).preexisting, None);
    }
}
