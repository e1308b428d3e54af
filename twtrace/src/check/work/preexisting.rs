//! Mini-sockets that are older than the trace: their birth is not seen, their end is.

use std::net::SocketAddr;
use std::time::Duration;

use twtrace_common::settings::Filter;

use crate::check::lab::Lab;
use crate::check::lab::mini::{Group, after_fin};
use crate::check::lab::step::{Step, Stop};
use crate::check::life::{Made, TICK, TIME_WAIT_LASTS, Window, now_ns};
use crate::check::work::forged::rst;
use crate::decode::decode;
use crate::event::found::Lister;
use crate::event::{BornAs, Event, Reason, Seed};
use crate::kernel::listing::{self, Item};

/// They expire during the trace.
pub(in super::super) fn expired(lab: &Lab<'_>) -> Step<Made> {
    let group = before_tracing(lab)?.time_wait_lasts(TIME_WAIT_LASTS);
    group.expire(lab)
}

/// A RST ends them during the trace.
pub(in super::super) fn reset(lab: &Lab<'_>) -> Step<Made> {
    let group = before_tracing(lab)?;
    let start = now_ns();
    group.forge(lab, |at| rst(after_fin(at)))?;
    group.await_gone(lab)?;
    Ok(group.ended(Reason::Reset, Window::since(start)))
}

/// They are in FIN_WAIT2 before the trace and enter TIME_WAIT during it.
pub(in super::super) fn promoted(lab: &Lab<'_>) -> Step<Made> {
    let mut group = Group::fin_wait_2(lab, lab.connect_all()?)?.preexisting();
    lab.await_tracing()?;
    group.promote(lab)?;
    Ok(group.left())
}

/// They are listed several times: one group in FIN_WAIT2 and one in TIME_WAIT, then both in
/// TIME_WAIT.
pub(in super::super) fn listed(lab: &Lab<'_>) -> Step<Made> {
    let time_wait = Group::time_wait(lab, lab.connect_all()?)?.preexisting();
    let mut waiting = Group::fin_wait_2(lab, lab.connect_all()?)?.preexisting();
    lab.await_tracing()?;
    compare(lab, &time_wait, BornAs::TimeWait)?;
    compare(lab, &waiting, BornAs::FinWait2)?;
    waiting.promote(lab)?;
    compare(lab, &waiting, BornAs::TimeWait)?;
    count(lab)?;
    Ok(time_wait.left().and(waiting.left()))
}

/// Each mini-socket of the group is listed once, in this substate, with the remaining time that the
/// socket table shows.
fn compare(lab: &Lab<'_>, group: &Group, substate: BornAs) -> Step<()> {
    let start = now_ns();
    let seeds = list(lab)?;
    let looked = Window::since(start);
    for (mini, shown) in group.all.iter().zip(group.timers(lab)?) {
        let key = mini.key();
        let mut found = seeds.iter().filter(|seed| ends(seed) == canonical(key));
        let (Some(seed), None) = (found.next(), found.next()) else {
            return Err(Stop::Fail(format!("{} is not listed once", key.0)));
        };
        let remaining = u64::from(seed.remaining_ms) * 1_000_000;
        let due = Window {
            from: looked.from + remaining,
            to: looked.to + remaining,
        };
        let grace = ns(2 * TICK);
        if seed.substate != substate || seed.flow.netns != lab.netns {
            return Err(Stop::Fail(format!("{seed:?}, expected {substate:?}")));
        }
        if due.from > shown.to + grace || shown.from > due.to + grace {
            return Err(Stop::Fail(format!(
                "due {due:?}, by the socket table {shown:?}"
            )));
        }
    }
    Ok(())
}

/// The listing has as many as the socket table. None ends by itself meanwhile.
fn count(lab: &Lab<'_>) -> Step<()> {
    let (seeds, table) = (list(lab)?.len(), lab.table()?.mini_sockets.len());
    if seeds == table {
        return Ok(());
    }
    Err(Stop::Fail(format!(
        "{seeds} listed, {table} in the socket table"
    )))
}

fn list(lab: &Lab<'_>) -> Step<Vec<Seed>> {
    let mut seeds = Vec::new();
    let listed = listing::here(lab.netns, &Filter::ZERO, &mut |item| {
        if let Item::Seed(record) = item
            && let Ok(Event::Seed(seed)) = decode(record)
        {
            seeds.push(seed);
        }
    });
    match (listed.by, listed.time_wait + listed.fin_wait_2) {
        (Lister::Nothing, _) => Err(Stop::Fail("nothing could be listed".into())),
        (_, counted) if counted == seeds.len() as u64 => Ok(seeds),
        (_, counted) => Err(Stop::Fail(format!(
            "{counted} counted, {} seeds",
            seeds.len()
        ))),
    }
}

fn ends(seed: &Seed) -> (SocketAddr, SocketAddr) {
    let flow = &seed.flow;
    (
        (flow.laddr, flow.lport).into(),
        (flow.raddr, flow.rport).into(),
    )
}

/// IPv4-mapped addresses become IPv4, as on the wire.
fn canonical((local, remote): (SocketAddr, SocketAddr)) -> (SocketAddr, SocketAddr) {
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    (plain(local), plain(remote))
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn before_tracing(lab: &Lab<'_>) -> Step<Group> {
    let group = Group::time_wait(lab, lab.connect_all()?)?.preexisting();
    lab.await_tracing()?;
    Ok(group)
}
