//! Ends by the timer, and promotion.

use std::thread;
use std::time::Duration;

use crate::check::lab::Lab;
use crate::check::lab::mini::Group;
use crate::check::lab::sockets::{Pair, set_linger2};
use crate::check::lab::step::{Attempt, PATIENCE, Step};
use crate::check::life::{Made, TICK, TIME_WAIT_LASTS};

/// How long the promotion scenario stays in FIN_WAIT2.
const HELD: Duration = Duration::from_millis(300);

/// TIME_WAIT expires, entered from FIN_WAIT2.
pub(in super::super) fn expired(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::time_wait(lab, lab.connect_all()?)?.time_wait_lasts(TIME_WAIT_LASTS);
    group.expire(lab)
}

/// TIME_WAIT expires, entered directly.
pub(in super::super) fn expired_direct(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::born_in_time_wait(lab, lab.connect_all()?)?.time_wait_lasts(TIME_WAIT_LASTS);
    group.expire(lab)
}

/// tcp_fin_timeout expires before the peer's FIN arrives.
pub(in super::super) fn fin_wait_2_timeout(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_fin_timeout", 1)?;
    fin_wait_2_runs_out(lab, lab.connect_all()?, Duration::from_secs(1))
}

/// A socket's TCP_LINGER2 expires before the peer's FIN arrives.
pub(in super::super) fn linger2_timeout(lab: &Lab<'_>) -> Step<Made> {
    let pairs = lab.connect_all()?;
    for pair in &pairs {
        set_linger2(&pair.active, 3).attempt("set TCP_LINGER2")?;
    }
    fin_wait_2_runs_out(lab, pairs, Duration::from_secs(3))
}

/// The kernel waits for at least 3.5 times the retransmission timeout, which is 0.7 s here and
/// more on a machine under load, so only the lower limit is exact.
pub(super) fn fin_wait_2_runs_out(lab: &Lab<'_>, pairs: Vec<Pair>, limit: Duration) -> Step<Made> {
    let mut made = Group::short_lived(lab, pairs)?;
    for life in &mut made.lives {
        life.fin_wait_2_lasts = limit - TICK..PATIENCE;
    }
    Ok(made)
}

/// The peer's FIN arrives late: two clocks for one life.
pub(in super::super) fn promotion(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::fin_wait_2(lab, lab.connect_all()?)?;
    thread::sleep(HELD);
    group.promote(lab)?;
    let group = group
        .fin_wait_2_lasts(HELD..PATIENCE * 2)
        .time_wait_lasts(Duration::ZERO..PATIENCE);
    Ok(group.left())
}
