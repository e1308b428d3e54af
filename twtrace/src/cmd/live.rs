//! Running a trace: start it, wait for what ends it, hand over what comes.

use std::fs::File;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::lookout::{self, Lookout, Message};
use super::output::{progress, talk};
use super::witness::Witness;
use crate::cli::Tracing;
use crate::error::{Error, Result};
use crate::event::found::Found;
use crate::event::{Meta, Snapshot};
use crate::kernel::{Around, ClockWatch, Options, Session, privileges, recycle};

/// How often the ring is emptied if it does not fill up before: a person sees a line within
/// 100 ms, and 20 wake-ups a second cost nothing.
const DRAIN: Duration = Duration::from_millis(50);

/// What a command does with a trace.
pub(super) trait Sink {
    /// The totals of an interval come with the kernel's own counters. Those of the start and of
    /// the end always do.
    const COMPARES: bool = false;
    /// One record, untouched.
    fn record(&mut self, record: &[u8]) -> Result<()>;
    /// The ring is empty for now.
    fn idle(&mut self) -> Result<()>;
    /// Something that was asked for beside the records: see [`Options::births`].
    fn found(&mut self, _found: Found) -> Result<()> {
        Ok(())
    }
    /// Namespaces that should be surveyed out of turn.
    fn wants_survey(&mut self) -> Vec<u32> {
        Vec::new()
    }
    /// Mini-sockets should be listed again. Asked after the totals of an interval.
    fn wants_listing(&self) -> bool {
        false
    }
    /// Totals: when tracing begins, at every interval, and when it is over.
    fn totals(&mut self, moment: Moment, totals: Snapshot) -> Result<()>;
    /// Nobody wants any more.
    fn done(&self) -> bool;
    /// Waits for what concerns this sink alone, such as a key, and acts on it. Dropped while it
    /// waits, it must lose nothing.
    async fn attend(&mut self) -> Result<()> {
        std::future::pending().await
    }
}

/// When totals were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    /// What was there when tracing began has been listed.
    Listed,
    Interval,
    End,
}

/// A trace that is attached.
pub(super) struct Live {
    session: Session,
    until: Option<Duration>,
    child: Option<Child>,
    every: Option<Duration>,
    options: Options,
    signals: Signals,
    opening: Snapshot,
}

/// Attaches everything and says so. Must be called inside the runtime of [`runtime`].
pub(super) fn start(options: &Options, tracing: &Tracing, every: Option<Duration>) -> Result<Live> {
    let until = tracing
        .duration
        .as_deref()
        .map(|text| duration("--duration", text))
        .transpose()?;
    // Before anybody is told that tracing has begun, or an early signal would end it unheard.
    let signals = Signals::new()?;
    if let Some(found) = recycle::look(Path::new("/")) {
        talk(&found.warning());
    }
    progress("twtrace: attaching …");
    let mut session = Session::start(options)?;
    // What happens once anybody is told is then on top of these.
    let opening = session.snapshot()?;
    announce(&session);
    if let Some(path) = &tracing.ready_file {
        ready(path)?;
    }
    let child = tracing.command.as_deref().map(spawn).transpose()?;
    Ok(Live {
        session,
        until,
        child,
        every,
        options: options.clone(),
        signals,
        opening,
    })
}

/// A runtime on the calling thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(format!("cannot start the event loop: {error}")))
}

impl Live {
    pub(super) fn meta(&self) -> &Meta {
        self.session.meta()
    }

    /// Hands over everything until the trace is over, then closes it. The files that the sink
    /// writes must be open by now: what it takes to make them is given up here.
    pub(super) async fn run<S: Sink>(mut self, sink: &mut S) -> Result<()> {
        privileges::drop_unneeded();
        let listing = Found::Listing {
            at_ns: self.opening.at_ns,
        };
        sink.totals(Moment::Start, self.opening)?;
        let mut lookout = None;
        if self.options.births {
            sink.found(listing)?;
            lookout = Some(Lookout::start(self.options.filter, self.every)?);
        } else {
            lookout::say_what_is_there(self.options.filter);
        }
        let mut witness = Witness::start(&self.options.filter)?;
        let mut clock = ClockWatch::new(self.session.meta().wall_offset_ns);
        let deadline = self.until.map(|until| Instant::now() + until);
        let mut every = self.every.map(ticks);
        let mut drains = self.options.records.then(|| ticks(DRAIN));
        // SAFETY: an owned descriptor, which AsyncFd keeps open as long as it is registered.
        let ring =
            unsafe { AsyncFd::register_with_interest(self.session.wake_up()?, Interest::READABLE) }
                .map_err(|error| Error::new(format!("cannot wait for the ring buffer: {error}")))?;
        while !sink.done() {
            tokio::select! {
                () = self.signals.any() => break,
                () = at(deadline) => break,
                status = wait(&mut self.child) => {
                    report_child(status);
                    break;
                }
                () = tick(&mut every) => {
                    drain(&mut self.session, &mut clock, sink)?;
                    if S::COMPARES {
                        witness.order();
                    } else {
                        interval(self.session.glance()?, &lookout, sink)?;
                    }
                }
                Some(answer) = witness.next() => {
                    if let Some(read) = witness.take(answer, &mut self.session)? {
                        drain(&mut self.session, &mut clock, sink)?;
                        interval(self.session.totals_of(read)?, &lookout, sink)?;
                    }
                }
                message = lookout::next(&mut lookout) => {
                    if S::COMPARES && message.ends_listing() {
                        witness.order();
                    }
                    hand_over(message, &mut self.session, &mut clock, sink)?;
                }
                () = tick(&mut drains) => {
                    drain(&mut self.session, &mut clock, sink)?;
                    if let Some(lookout) = &lookout {
                        sink.wants_survey().into_iter().for_each(|one| lookout.survey(one));
                    }
                }
                attended = sink.attend() => attended?,
                ready = ring.readable() => {
                    drain(&mut self.session, &mut clock, sink)?;
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                }
            }
        }
        let read = last_look(&mut witness, &mut self.session, &mut clock, sink).await?;
        let totals = self.session.finish(read)?;
        drain(&mut self.session, &mut clock, sink)?;
        sink.totals(Moment::End, totals)?;
        sink.idle()
    }
}

/// Seeds are records. When a listing is over, all that happened meanwhile is handed over first.
fn hand_over<S: Sink>(
    message: Message,
    session: &mut Session,
    clock: &mut ClockWatch,
    sink: &mut S,
) -> Result<()> {
    match message {
        Message::Seeds(seeds) => seeds.each().try_for_each(|seed| sink.record(seed)),
        Message::Found(found @ Found::ListingOver { .. }) => {
            drain(session, clock, sink)?;
            sink.found(found)?;
            sink.totals(Moment::Listed, session.glance()?)
        }
        Message::Found(found) => sink.found(found),
    }
}

/// Hands over the totals of an interval.
fn interval(totals: Snapshot, lookout: &Option<Lookout>, sink: &mut impl Sink) -> Result<()> {
    let listing = Found::Listing {
        at_ns: totals.at_ns,
    };
    sink.totals(Moment::Interval, totals)?;
    if let Some(lookout) = lookout.as_ref().filter(|_| sink.wants_listing()) {
        sink.found(listing)?;
        lookout.list_again();
    }
    Ok(())
}

/// The kernel's counters at the end. The ring is emptied while they are read.
async fn last_look(
    witness: &mut Witness,
    session: &mut Session,
    clock: &mut ClockWatch,
    sink: &mut impl Sink,
) -> Result<Around> {
    let mut drains = ticks(DRAIN);
    witness.order();
    loop {
        tokio::select! {
            _ = drains.tick() => drain(session, clock, sink)?,
            answer = witness.next() => {
                let Some(answer) = answer else {
                    return session.kernel_counters();
                };
                if let Some(read) = witness.take(answer, session)? {
                    return Ok(read);
                }
            }
        }
    }
}

fn drain(session: &mut Session, clock: &mut ClockWatch, sink: &mut impl Sink) -> Result<()> {
    if let Some(set) = clock.look() {
        sink.found(Found::Clock(set))?;
    }
    let mut result = Ok(());
    session.drain(&mut |record| {
        if result.is_ok() {
            result = sink.record(record);
        }
    });
    result?;
    sink.idle()
}

fn announce(session: &Session) {
    let meta = session.meta();
    talk(&format!(
        "twtrace {} · kernel {} · {} · {} hooks",
        env!("CARGO_PKG_VERSION"),
        meta.kernel,
        meta.attach,
        meta.hooks
    ));
    for lost in session.attached().iter().filter(|one| one.way.is_none()) {
        talk(&format!(
            "warning: {} is not seen ({}): {}",
            lost.point.name,
            lost.refused.join("; "),
            lost.point.without.unwrap_or_default()
        ));
    }
}

fn ready(path: &Path) -> Result<()> {
    File::create(path).map(drop).map_err(|error| {
        Error::new(format!(
            "cannot create the ready file {}: {error}",
            path.display()
        ))
    })
}

fn spawn(command: &str) -> Result<Child> {
    const SHELL: &str = "/bin/sh";
    let mut child = if Path::new(SHELL).exists() {
        let mut child = Command::new(SHELL);
        child.args(["-c", command]);
        child
    } else {
        let mut words = shlex::split(command)
            .filter(|words| !words.is_empty())
            .ok_or_else(|| {
                Error::new(format!("cannot understand the command: {command}"))
                    .hint("there is no /bin/sh, so it must be plain words")
            })?
            .into_iter();
        let mut child = Command::new(words.next().unwrap_or_default());
        child.args(words);
        child
    };
    child
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::new(format!("cannot run the command {command}: {error}")))
}

fn report_child(status: std::io::Result<ExitStatus>) {
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => talk(&format!("warning: the command ended with {status}")),
        Err(error) => talk(&format!("warning: lost track of the command: {error}")),
    }
}

/// `30s`, `5m`, `1h30m`; a plain number is seconds. `flag` is for the message.
pub(super) fn duration(flag: &str, text: &str) -> Result<Duration> {
    let parsed = match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok()),
    };
    parsed
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            Error::new(format!("{flag} {text}: it is no length of time"))
                .hint("e.g. 30s, 5m, 1h30m")
        })
}

/// What ends a command from outside.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::new(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

pub(super) fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn wait(child: &mut Option<Child>) -> std::io::Result<ExitStatus> {
    match child {
        Some(child) => child.wait().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let duration = |text| duration("--duration", text);
        assert_eq!(duration("30s").unwrap(), Duration::from_secs(30));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        for wrong in ["", "0", "-3s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
