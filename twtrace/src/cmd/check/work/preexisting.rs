//! Mini-sockets that are older than the tracer: their birth is not seen, their end is.

use crate::cmd::check::lab::{Lab, Step};
use crate::cmd::check::life::{Made, TIME_WAIT_LASTS, Window, now_ns};
use crate::cmd::check::mini::{Group, after_fin};
use crate::cmd::check::work::resets::rst;
use crate::event::Reason;

/// They run out while tracing.
pub(in super::super) fn expired(lab: &Lab<'_>) -> Step<Made> {
    let group = before_tracing(lab)?.time_wait_lasts(TIME_WAIT_LASTS);
    group.expire(lab)
}

/// A RST ends them while tracing.
pub(in super::super) fn reset(lab: &Lab<'_>) -> Step<Made> {
    let group = before_tracing(lab)?;
    let start = now_ns();
    group.forge(lab, |at| rst(after_fin(at)))?;
    group.await_gone(lab)?;
    Ok(group.ended(Reason::Reset, Window::since(start)))
}

/// They are in FIN_WAIT2 before, in TIME_WAIT while tracing.
pub(in super::super) fn promoted(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::fin_wait_2(lab, lab.connect_all()?)?.preexisting();
    lab.await_tracing()?;
    group.promote(lab)?;
    Ok(group.left())
}

fn before_tracing(lab: &Lab<'_>) -> Step<Group> {
    let group = Group::time_wait(lab, lab.connect_all()?)?.preexisting();
    lab.await_tracing()?;
    Ok(group)
}
