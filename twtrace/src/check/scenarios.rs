//! The scenarios: how each behaviour of the table in `expect` is made to happen.

use super::lab::Lab;
use super::lab::step::Step;
use super::life::Made;
use super::work::{
    births, churn, counts, elsewhere, limits, nat, owner, ports, preexisting, rearms, refusals,
    removal, reopens, resets, reuse, takeover, timers, unexpected,
};
use crate::event::Family;

/// One row.
#[derive(Debug)]
pub(super) struct Scenario {
    /// Of its behaviour.
    pub(super) name: &'static str,
    pub(super) families: &'static [Family],
    /// Connections; a prime, so that no count is right by chance.
    pub(super) count: usize,
    /// Waits for TIME_WAIT to run out, so it begins first.
    pub(super) slow: bool,
    /// Nobody minds what TCP does by itself on a busy machine.
    pub(super) may_retransmit: bool,
    /// Begins before tracing does.
    pub(super) early: bool,
    /// Needs the calls that look for a port.
    pub(super) calls: bool,
    pub(super) run: fn(&Lab<'_>) -> Step<Made>,
}

const ALL: &[Family] = &[Family::Ipv4, Family::Ipv6, Family::Ipv4Mapped];

/// Where it matters only what is on the wire.
const WIRE: &[Family] = &[Family::Ipv4, Family::Ipv6];

const ROW: Scenario = Scenario {
    name: "",
    families: ALL,
    count: 7,
    slow: false,
    may_retransmit: false,
    early: false,
    calls: false,
    run: |_| Ok(Made::default()),
};

/// A few connections prove it, and how they are addressed to the socket does not matter.
const SMALL: Scenario = Scenario {
    families: WIRE,
    count: 3,
    ..ROW
};

/// The same, with connect() calls that get no port.
const CALLING: Scenario = Scenario {
    calls: true,
    ..SMALL
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "expired",
        count: 11,
        slow: true,
        run: timers::expired,
        ..ROW
    },
    Scenario {
        name: "expired-direct",
        slow: true,
        run: timers::expired_direct,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-timeout",
        run: timers::fin_wait_2_timeout,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-linger2",
        count: 5,
        run: timers::linger2_timeout,
        ..ROW
    },
    Scenario {
        name: "promotion",
        run: timers::promotion,
        ..ROW
    },
    Scenario {
        name: "re-arm",
        slow: true,
        run: rearms::rearm,
        ..ROW
    },
    Scenario {
        name: "syn-reopened",
        run: takeover::syn_reopened,
        ..ROW
    },
    Scenario {
        name: "connect-reused",
        calls: true,
        run: reuse::connect_reused,
        ..ROW
    },
    Scenario {
        name: "bound-reused",
        run: takeover::bound_reused,
        ..ROW
    },
    Scenario {
        name: "bound-reused-fin-wait-2",
        count: 5,
        run: takeover::bound_reused_fin_wait_2,
        ..ROW
    },
    Scenario {
        name: "reset",
        run: resets::reset,
        ..ROW
    },
    Scenario {
        name: "reset-rfc1337",
        count: 5,
        run: resets::reset_rfc1337,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-reset",
        run: resets::fin_wait_2_reset,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-late-data",
        run: resets::fin_wait_2_late_data,
        ..ROW
    },
    Scenario {
        name: "destroyed",
        run: removal::destroyed,
        ..ROW
    },
    Scenario {
        name: "destroyed-fin-wait-2",
        count: 5,
        run: removal::destroyed_fin_wait_2,
        ..ROW
    },
    Scenario {
        name: "netns-exit",
        count: 13,
        run: removal::netns_exit,
        ..ROW
    },
    Scenario {
        name: "overflow",
        count: 13,
        run: limits::more,
        ..ROW
    },
    Scenario {
        name: "port-exhausted",
        calls: true,
        run: ports::exhausted,
        ..ROW
    },
    Scenario {
        name: "port-exhausted-by-both",
        calls: true,
        run: ports::exhausted_by_both,
        ..ROW
    },
    Scenario {
        name: "port-reused",
        calls: true,
        run: ports::reused,
        ..ROW
    },
    Scenario {
        name: "port-taken",
        count: 5,
        calls: true,
        run: ports::taken,
        ..ROW
    },
    Scenario {
        name: "port-bind",
        count: 5,
        calls: true,
        run: ports::bind,
        ..ROW
    },
    Scenario {
        name: "linger-0",
        run: removal::linger_0,
        ..ROW
    },
    Scenario {
        name: "refused-paws",
        run: refusals::paws,
        ..ROW
    },
    Scenario {
        name: "refused-rate-limited",
        count: 5,
        run: refusals::rate_limited,
        ..ROW
    },
    Scenario {
        name: "refused-old-sequence",
        count: 5,
        run: refusals::old_sequence,
        ..ROW
    },
    Scenario {
        name: "accepted-newer",
        count: 5,
        run: reopens::newer,
        ..ROW
    },
    Scenario {
        name: "refused-no-timestamps",
        count: 5,
        run: reopens::no_timestamps,
        ..ROW
    },
    Scenario {
        name: "refused-rst",
        count: 5,
        run: refusals::resets,
        ..ROW
    },
    Scenario {
        name: "refused-then-reset",
        run: refusals::then_reset,
        ..ROW
    },
    Scenario {
        name: "refused-fin-wait-2",
        count: 5,
        run: refusals::fin_wait_2,
        ..ROW
    },
    Scenario {
        name: "refused-established",
        count: 5,
        run: elsewhere::established,
        ..ROW
    },
    Scenario {
        name: "refused-syn-recv",
        count: 5,
        run: elsewhere::syn_recv,
        ..ROW
    },
    Scenario {
        name: "nat-recovered",
        families: WIRE,
        count: 2,
        run: nat::recovered,
        ..ROW
    },
    Scenario {
        name: "nat-stuck",
        families: WIRE,
        count: 2,
        run: nat::stuck,
        ..ROW
    },
    Scenario {
        name: "nat-random",
        families: &[Family::Ipv4],
        count: 53,
        may_retransmit: true,
        run: nat::random,
        ..ROW
    },
    Scenario {
        name: "nat-random-plain-clock",
        families: &[Family::Ipv4],
        count: 53,
        may_retransmit: true,
        run: nat::random_plain_clock,
        ..ROW
    },
    Scenario {
        name: "nat-none",
        families: &[Family::Ipv4],
        count: 53,
        may_retransmit: true,
        run: nat::no_nat,
        ..ROW
    },
    Scenario {
        name: "owner",
        run: owner::known,
        ..ROW
    },
    Scenario {
        name: "preexisting",
        early: true,
        slow: true,
        run: preexisting::expired,
        ..ROW
    },
    Scenario {
        name: "preexisting-reset",
        count: 5,
        early: true,
        run: preexisting::reset,
        ..ROW
    },
    Scenario {
        name: "listed",
        early: true,
        run: preexisting::listed,
        ..ROW
    },
    Scenario {
        name: "preexisting-promotion",
        count: 5,
        early: true,
        run: preexisting::promoted,
        ..ROW
    },
    Scenario {
        name: "churn",
        count: 2003,
        may_retransmit: true,
        run: churn::churn,
        ..ROW
    },
    Scenario {
        name: "closing",
        may_retransmit: true,
        run: births::closing,
        ..SMALL
    },
    Scenario {
        name: "fin-with-ack",
        run: births::fin_with_ack,
        ..SMALL
    },
    Scenario {
        name: "close-after-shutdown",
        run: births::close_after_shutdown,
        ..SMALL
    },
    Scenario {
        name: "linger2-negative",
        run: births::linger2_negative,
        ..SMALL
    },
    Scenario {
        name: "fin-timeout-over-60",
        may_retransmit: true,
        run: births::timeout_over_60,
        ..SMALL
    },
    Scenario {
        name: "re-arm-fin",
        run: rearms::duplicate,
        ..SMALL
    },
    Scenario {
        name: "re-arm-data",
        run: rearms::data,
        ..SMALL
    },
    Scenario {
        name: "re-arm-ack",
        run: rearms::ack,
        ..SMALL
    },
    Scenario {
        name: "re-arm-ahead",
        run: rearms::ahead,
        ..SMALL
    },
    Scenario {
        name: "re-arm-refused-syn",
        run: rearms::refused_syn,
        ..SMALL
    },
    Scenario {
        name: "kept-old-syn",
        run: rearms::kept_old_syn,
        ..SMALL
    },
    Scenario {
        name: "kept-reset",
        run: rearms::kept_reset,
        ..SMALL
    },
    Scenario {
        name: "reuse-loopback",
        run: reuse::loopback,
        ..CALLING
    },
    Scenario {
        name: "reuse-loopback-only",
        run: reuse::loopback_only,
        ..CALLING
    },
    Scenario {
        name: "reuse-off",
        run: reuse::off,
        ..CALLING
    },
    Scenario {
        name: "reuse-no-timestamps",
        run: reuse::no_timestamps,
        ..CALLING
    },
    Scenario {
        name: "reuse-fin-wait-2",
        calls: true,
        run: reuse::fin_wait_2,
        ..SMALL
    },
    Scenario {
        name: "reuse-isn",
        run: reuse::isn,
        ..CALLING
    },
    Scenario {
        name: "reuse-delay",
        run: reuse::delay,
        ..CALLING
    },
    Scenario {
        name: "reuse-delay-long",
        run: reuse::delay_long,
        ..CALLING
    },
    Scenario {
        name: "reuse-delay-range",
        families: &[Family::Ipv4],
        run: reuse::delay_range,
        ..CALLING
    },
    Scenario {
        name: "bound-no-timestamps",
        run: takeover::bound_no_timestamps,
        ..CALLING
    },
    Scenario {
        name: "accepted-equal-ahead",
        run: reopens::equal_ahead,
        ..SMALL
    },
    Scenario {
        name: "accepted-furthest",
        run: reopens::furthest,
        ..SMALL
    },
    Scenario {
        name: "accepted-half-circle",
        run: reopens::half_circle,
        ..SMALL
    },
    Scenario {
        name: "accepted-no-option",
        run: reopens::no_option,
        ..SMALL
    },
    Scenario {
        name: "reopen-isn",
        run: reopens::isn,
        ..SMALL
    },
    Scenario {
        name: "reopen-no-listener",
        run: reopens::no_listener,
        ..SMALL
    },
    Scenario {
        name: "fin-wait-2-reset-in-window",
        run: resets::fin_wait_2_in_window,
        ..SMALL
    },
    Scenario {
        name: "fin-wait-2-reset-outside",
        run: resets::fin_wait_2_outside,
        ..SMALL
    },
    Scenario {
        name: "fin-wait-2-syn",
        count: 3,
        run: unexpected::syn_in_window,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-data",
        count: 3,
        run: unexpected::data,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-data-fin",
        count: 3,
        run: unexpected::data_and_fin,
        ..ROW
    },
    Scenario {
        name: "fin-wait-2-fin-ahead",
        count: 3,
        run: unexpected::fin_ahead,
        ..ROW
    },
    Scenario {
        name: "refused-data",
        run: refusals::data,
        ..SMALL
    },
    Scenario {
        name: "refused-data-unlimited",
        run: refusals::data_unlimited,
        ..SMALL
    },
    Scenario {
        name: "overflow-none",
        run: limits::none,
        ..SMALL
    },
    Scenario {
        name: "overflow-frees",
        run: limits::frees,
        ..SMALL
    },
    Scenario {
        name: "netns-own-limit",
        run: limits::own,
        ..SMALL
    },
    Scenario {
        name: "count-births",
        run: counts::births,
        ..SMALL
    },
    Scenario {
        name: "count-short",
        run: counts::short,
        ..SMALL
    },
    Scenario {
        name: "count-recycled",
        run: counts::recycled,
        ..SMALL
    },
    Scenario {
        name: "count-paws",
        run: counts::paws,
        ..SMALL
    },
    Scenario {
        name: "count-no-paws-fin-wait-2",
        run: counts::fin_wait_2,
        ..SMALL
    },
    Scenario {
        name: "count-skipped",
        run: counts::skipped,
        ..SMALL
    },
    Scenario {
        name: "count-skipped-fin-wait-2",
        run: counts::fin_wait_2_skipped,
        ..SMALL
    },
    Scenario {
        name: "count-reset",
        run: counts::reset,
        ..SMALL
    },
    Scenario {
        name: "count-reopen",
        run: counts::reopen,
        ..SMALL
    },
];

#[cfg(test)]
mod tests;
