//! The library API: `twtrace::Session` traces a known number of connections in this process.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use twtrace::books::Summary;
use twtrace::{Attach, Event, Filter, Reason, Session};

use crate::checks::Checks;
use crate::load::{Args, Load};

/// A prime: no batch size, port count or CPU count divides it.
const CONNECTIONS: u32 = 10_007;
const LOAD: Args = Args {
    ports: 397,
    hosts: 1,
};
const DURATION: Duration = Duration::from_secs(1);

pub(crate) fn run(attach: &str) -> Result<String> {
    let attach = match attach {
        "kprobe" => Attach::Kprobe,
        _ => Attach::Fentry,
    };
    let mut checks = Checks::default();
    let mut load = Load::start(&LOAD)?;
    let before = capabilities()?;
    let ends = events(attach, &mut load, &mut checks)?;
    totals(attach, &mut load, &mut checks)?;
    checks.equal("capabilities after", capabilities()?, before);
    checks.end(format!("{ends} ends of {CONNECTIONS} connections"))
}

/// Receives each event, until another thread stops the session.
fn events(attach: Attach, load: &mut Load, checks: &mut Checks) -> Result<u64> {
    let mut session = Session::builder().attach(attach).births(true).start()?;
    let stopper = session.stopper();
    let (mut ends, mut births) = (0, 0);
    let ran = thread::scope(|scope| -> Result<_> {
        let loading = scope.spawn(|| {
            let ran = load.run(CONNECTIONS);
            stopper.stop();
            ran
        });
        for event in &mut session {
            match event? {
                Event::End(_) => ends += 1,
                Event::Birth(_) => births += 1,
                _ => {}
            }
        }
        loading.join().ok().context("the load panicked")
    })?;
    ran?;
    checks.that(session.is_over(), || "it is not over".into());
    let counted = all_ends(|reason| session.totals().map(|totals| totals.ended(reason)))?;
    let summary = session.finish()?;
    let connections = u64::from(CONNECTIONS);
    checks.equal("births", births, connections);
    checks.equal("ends", ends, connections - load.mini_sockets()?);
    checks.equal("ends by the totals", counted, ends);
    checks.equal("agrees", summary.books.agrees(), Some(true));
    complete(&summary, ends, checks);
    Ok(ends)
}

/// Totals only, for the load's namespace, for one second.
fn totals(attach: Attach, load: &mut Load, checks: &mut Checks) -> Result<()> {
    let netns = u32::try_from(load.netns()?)?;
    let started = Instant::now();
    let mut session = Session::builder()
        .attach(attach)
        .filter(Filter::new().netns(netns))
        .events(false)
        .duration(DURATION)
        .start()?;
    load.run(CONNECTIONS)?;
    checks.equal("events", session.by_ref().count(), 0);
    checks.that(started.elapsed() >= DURATION, || "it ended early".into());
    checks.equal(
        "births by the totals",
        session.totals()?.born(),
        CONNECTIONS.into(),
    );
    let summary = session.finish()?;
    let ends = all_ends(|reason| Ok(summary.ended(reason)))?;
    complete(&summary, ends, checks);
    Ok(())
}

fn all_ends(ended: impl FnMut(Reason) -> twtrace::Result<u64>) -> Result<u64> {
    let each: twtrace::Result<Vec<_>> = Reason::ALL.into_iter().map(ended).collect();
    Ok(each?.iter().sum())
}

fn complete(summary: &Summary, ends: u64, checks: &mut Checks) {
    checks.that(summary.complete(), || {
        format!("not complete: {:?}", summary.books)
    });
    checks.equal("reported ends", summary.books.ends.reported, ends);
}

/// Capabilities of this thread, and whether it may gain more.
fn capabilities() -> Result<String> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let wanted = |line: &&str| line.starts_with("Cap") || line.starts_with("NoNewPrivs");
    Ok(status.lines().filter(wanted).collect())
}
