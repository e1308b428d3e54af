//! Ends by a RST, and RSTs that must end nothing.

use std::io::Write;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, How, after_fin};
use crate::check::lab::segment::Segment;
use crate::check::lab::step::{Attempt, Step};
use crate::check::life::{Made, Window, now_ns};
use crate::check::work::forged::{answer_all, rst};
use crate::event::{Reason, Rule};
use crate::kernel::sock_diag::Substate;

/// A RST that misses the expected sequence number by one is ignored; an exact one ends the
/// mini-socket.
pub(in super::super) fn reset(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    group.forge_refused(lab, How::ignored(Rule::OutOfWindow), |at| {
        rst(after_fin(at).wrapping_add(1))
    })?;
    group.forge_refused(lab, How::ignored(Rule::OldSequence), |at| {
        rst(after_fin(at).wrapping_sub(1))
    })?;
    group.await_substate(lab, Substate::TimeWait)?;
    let start = now_ns();
    group.forge(lab, |at| rst(after_fin(at)))?;
    group.await_gone(lab)?;
    Ok(group.ended(Reason::Reset, Window::since(start)))
}

/// With tcp_rfc1337 no RST ends TIME_WAIT.
pub(in super::super) fn reset_rfc1337(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_rfc1337", 1)?;
    let mut group = Group::deaf_time_wait(lab, lab.connect_all()?)?;
    group.forge_refused(lab, How::ignored(Rule::Rfc1337), |at| rst(after_fin(at)))?;
    group.await_substate(lab, Substate::TimeWait)?;
    Ok(group.left())
}

/// A RST ends FIN_WAIT2, tcp_rfc1337 or not.
pub(in super::super) fn fin_wait_2_reset(lab: &Lab<'_>) -> Step<Made> {
    lab.sysctl("tcp_rfc1337", 1)?;
    let group = Group::fin_wait_2(lab, lab.connect_all()?)?;
    let start = now_ns();
    group.forge(lab, |at| rst(at.peer))?;
    fin_wait_2_ended(lab, group, start)
}

/// In FIN_WAIT2 the RST only has to be in the window.
pub(in super::super) fn fin_wait_2_in_window(lab: &Lab<'_>) -> Step<Made> {
    let group = Group::fin_wait_2(lab, lab.connect_all()?)?;
    let start = now_ns();
    group.forge(lab, |at| rst(at.peer.wrapping_add(100)))?;
    fin_wait_2_ended(lab, group, start)
}

/// In FIN_WAIT2 an old RST is refused.
pub(in super::super) fn fin_wait_2_outside(lab: &Lab<'_>) -> Step<Made> {
    answer_all(lab)?;
    let mut group = Group::deaf_fin_wait_2(lab, lab.connect_all()?)?;
    group.forge_refused(lab, How::answered(Rule::OldSequence), |at| {
        rst(at.peer.wrapping_sub(100))
    })?;
    group.await_substate(lab, Substate::FinWait2)?;
    Ok(group.left())
}

/// The peer sends data to a closed socket and gets a RST for it.
pub(in super::super) fn fin_wait_2_late_data(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::fin_wait_2(lab, lab.connect_all()?)?;
    let start = now_ns();
    for mut peer in group.peers() {
        peer.write_all(b"late").attempt("send late data")?;
    }
    group.await_gone(lab)?;
    group.refused(How::reset(Rule::Unexpected), Window::since(start), |_| {
        Segment::default()
    });
    fin_wait_2_ended(lab, group, start)
}

pub(super) fn fin_wait_2_ended(lab: &Lab<'_>, group: Group, start: u64) -> Step<Made> {
    group.await_gone(lab)?;
    Ok(group.ended(Reason::FinWait2Reset, Window::since(start)))
}
