//! Running a trace: start it, wait for what ends it, hand over what comes.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::attached;
use super::child::{self, User};
use super::files;
use super::lookout::{self, Lookout, Message};
use super::manner;
use super::outlet::{self, Outlet};
use super::output::{progress, say, talk};
use super::signals::Signals;
use crate::cli::Tracing;
use crate::decode;
use crate::error::{Error, Result};
use crate::event::found::{Found, PortLook};
use crate::event::{Meta, Snapshot};
use crate::kernel::privileges::{self, Later};
use crate::kernel::{Around, ClockWatch, Options, Session, Witness, recycle};

/// How often the ring is emptied if it does not fill up before: a person sees a line within
/// 100 ms, and 20 wake-ups a second cost nothing.
const DRAIN: Duration = Duration::from_millis(50);

/// How long the kernel's own counters may take to be read at the end.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How often the maps are looked through for what a long trace leaves behind.
const SWEEP: Duration = Duration::from_secs(60);
/// Records that are handed over before signals and timers have their turn.
const TURN: u32 = 16_384;
/// One in so many records is followed by a look at the room for output.
const LOOK: u32 = 64;
/// How long a reader may take for the rest once everything is detached: the end is there in 2 s.
const GRACE: Duration = Duration::from_secs(1);

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
    /// Ports that should be looked at, by namespace.
    fn wants_port(&mut self) -> Vec<(u32, u16)> {
        Vec::new()
    }
    /// Who has a port that was asked for.
    fn port(&mut self, _look: PortLook) -> Result<()> {
        Ok(())
    }
    /// Mini-sockets should be listed again. Asked after the totals of an interval.
    fn wants_listing(&self) -> bool {
        false
    }
    /// Totals: when tracing begins, at every interval, and when it is over.
    fn totals(&mut self, moment: Moment, totals: Snapshot) -> Result<()>;
    /// Nobody wants any more.
    fn done(&self) -> bool;
    /// The thread that writes for it. While it has no room, nothing is handed to the sink.
    fn outlet(&self) -> Option<&Outlet>;
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
    /// At any time: births were missed, which ends to come are to be judged by.
    Doubt,
    End,
}

/// A trace that is attached.
pub(super) struct Live {
    session: Session,
    until: Option<Duration>,
    child: Option<Child>,
    /// Who the child runs as.
    user: Option<User>,
    every: Option<Duration>,
    options: Options,
    signals: Signals,
    opening: Snapshot,
}

/// Attaches everything and says so. Must be called inside the runtime of [`runtime`]. The files
/// that are to be written must be open by now, so that a wrong name is told first.
pub(super) fn start(options: &Options, tracing: &Tracing, every: Option<Duration>) -> Result<Live> {
    start_with(options, tracing, every, child::Stdout::Shared)
}

/// The same where stdout may not be for the command.
pub(super) fn start_with(
    options: &Options,
    tracing: &Tracing,
    every: Option<Duration>,
    to: child::Stdout,
) -> Result<Live> {
    let until = tracing
        .duration
        .as_deref()
        .map(|text| duration("--duration", text))
        .transpose()?;
    let user = User::of(tracing)?;
    if let Some(path) = &tracing.ready_file {
        files::check(path)?;
    }
    // Before anybody is told that tracing has begun, or an early signal would end it unheard.
    let signals = Signals::new()?;
    if let Some(found) = recycle::look(Path::new("/")) {
        talk(&found.warning());
    }
    progress("twtrace: attaching …");
    let mut session = Session::start(options)?;
    // What happens once anybody is told is then on top of these.
    let opening = session.snapshot()?;
    announce(&session, user.as_ref(), options);
    if let Some(path) = &tracing.ready_file {
        files::create(path)?;
    }
    let command = tracing.command.as_deref();
    let child = command.map(|command| child::spawn(command, user.as_ref(), to));
    let child = child.transpose()?;
    Ok(Live {
        session,
        until,
        child,
        user,
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
        let later = Later::of(&self.options, self.user.is_some());
        // What is there when tracing begins is listed whatever comes later.
        privileges::keep(Later {
            namespaces: true,
            ..later
        });
        let outlet = sink.outlet().cloned();
        let opening = std::mem::take(&mut self.opening);
        let listing = Found::Listing {
            at_ns: opening.at_ns,
        };
        sink.totals(Moment::Start, opening)?;
        let mut lookout = None;
        if self.options.births {
            sink.found(listing)?;
            lookout = Some(Lookout::start(
                self.options.filter,
                self.every,
                self.options.ports,
            )?);
        } else {
            lookout::say_what_is_there(self.options.filter);
        }
        privileges::keep(later);
        // A thread has what the one has that starts it.
        let mut helpers = Helpers {
            lookout,
            witness: Witness::start(&self.options.filter)?,
            clock: ClockWatch::new(self.session.meta().wall_offset_ns),
        };
        self.follow(sink, outlet.as_ref(), &mut helpers).await?;
        self.close(sink, outlet.as_ref(), helpers).await
    }

    /// Hands over what comes until something ends the trace.
    async fn follow<S: Sink>(
        &mut self,
        sink: &mut S,
        outlet: Option<&Outlet>,
        helpers: &mut Helpers,
    ) -> Result<()> {
        let Helpers {
            lookout,
            witness,
            clock,
        } = helpers;
        let deadline = self.until.map(|until| Instant::now() + until);
        let mut every = self.every.map(ticks);
        let mut drains = self.options.records.then(|| ticks(DRAIN));
        let mut sweeps = Some(ticks(SWEEP));
        // SAFETY: an owned descriptor, which AsyncFd keeps open as long as it is registered.
        let ring =
            unsafe { AsyncFd::register_with_interest(self.session.wake_up()?, Interest::READABLE) }
                .map_err(|error| Error::new(format!("cannot wait for the ring buffer: {error}")))?;
        while !sink.done() {
            // Without room for output, what comes stays in the ring, and is counted if that is full.
            let room = !outlet.is_some_and(Outlet::is_full);
            tokio::select! {
                () = self.signals.any() => break,
                () = at(deadline) => break,
                status = wait(&mut self.child) => {
                    child::report(status);
                    break;
                }
                () = room_in(outlet), if !room => drain_now(&mut drains),
                () = tick(&mut sweeps) => self.session.sweep(),
                () = tick(&mut every), if room => {
                    if drain(&mut self.session, clock, sink, outlet)?.is_break() {
                        drain_now(&mut drains);
                    }
                    if S::COMPARES {
                        witness.order();
                    } else {
                        interval(self.session.glance()?, lookout, sink)?;
                    }
                }
                Some(answer) = witness.next(), if room => {
                    if let Some(read) = witness.take(answer, &mut self.session)? {
                        if drain(&mut self.session, clock, sink, outlet)?.is_break() {
                            drain_now(&mut drains);
                        }
                        interval(self.session.totals_of(read)?, lookout, sink)?;
                    }
                }
                message = lookout::next(lookout), if room => {
                    if S::COMPARES && message.ends_listing() {
                        witness.order();
                    }
                    hand_over(message, &mut self.session, clock, sink)?;
                }
                () = tick(&mut drains), if room => {
                    if drain(&mut self.session, clock, sink, outlet)?.is_break() {
                        drain_now(&mut drains);
                    }
                    if let Some(lookout) = lookout {
                        sink.wants_survey().into_iter().for_each(|one| lookout.survey(one));
                        sink.wants_port().into_iter().for_each(|one| lookout.look_at(one));
                    }
                }
                attended = sink.attend() => attended?,
                ready = ring.readable(), if room => {
                    let drained = drain(&mut self.session, clock, sink, outlet)?;
                    if let Ok(mut ready) = ready && drained.is_continue() {
                        ready.clear_ready();
                    }
                }
            }
        }
        Ok(())
    }

    /// Detaches, and hands over what is left. Output has [`GRACE`] for all that it holds: what a
    /// slow reader does not take until then is cut off and counted.
    async fn close<S: Sink>(
        mut self,
        sink: &mut S,
        outlet: Option<&Outlet>,
        helpers: Helpers,
    ) -> Result<()> {
        let Helpers {
            mut witness,
            mut clock,
            ..
        } = helpers;
        let read = self
            .last_look(&mut witness, &mut clock, sink, outlet)
            .await?;
        let totals = self.session.finish(read)?;
        if let Some(outlet) = outlet {
            outlet.end_by(std::time::Instant::now() + GRACE);
        }
        while drain(&mut self.session, &mut clock, sink, outlet)?.is_break() {
            let full = outlet.filter(|outlet| outlet.is_full());
            if let Some(outlet) = full {
                // In vain: it is looked at again.
                let _ = timeout(outlet::LOOK, outlet.room()).await;
                if outlet.is_late() {
                    outlet.cut();
                }
            }
        }
        sink.totals(Moment::End, totals)?;
        sink.idle()
    }

    /// The kernel's counters at the end. The ring is emptied while they are read, as far as there
    /// is room. Who is in a hurry does without them.
    async fn last_look<S: Sink>(
        &mut self,
        witness: &mut Witness,
        clock: &mut ClockWatch,
        sink: &mut S,
        outlet: Option<&Outlet>,
    ) -> Result<Around> {
        let mut drains = ticks(DRAIN);
        let limit = Instant::now() + LAST_LOOK;
        witness.order();
        loop {
            let room = !outlet.is_some_and(Outlet::is_full);
            tokio::select! {
                () = self.signals.any() => return self.session.without_kernel(),
                () = sleep_until(limit) => return self.session.without_kernel(),
                _ = drains.tick(), if room => {
                    let _more = drain(&mut self.session, clock, sink, outlet)?;
                }
                answer = witness.next() => {
                    let Some(answer) = answer else {
                        return self.session.kernel_counters();
                    };
                    if let Some(read) = witness.take(answer, &mut self.session)? {
                        return Ok(read);
                    }
                }
            }
        }
    }
}

/// Threads and watches that run beside a trace.
struct Helpers {
    lookout: Option<Lookout>,
    witness: Witness,
    clock: ClockWatch,
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
            // All of it, room or not: what happened while it was listed must not come after it.
            while drain(session, clock, sink, None)?.is_break() {}
            sink.found(found)?;
            sink.totals(Moment::Listed, session.glance()?)
        }
        Message::Found(found) => sink.found(found),
        Message::Port(look) => sink.port(look),
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

/// Hands over what is in the ring, as far as there is room for the output and nobody else waits
/// for too long; `Break` if there may be more.
fn drain(
    session: &mut Session,
    clock: &mut ClockWatch,
    sink: &mut impl Sink,
    outlet: Option<&Outlet>,
) -> Result<ControlFlow<()>> {
    if let Some(set) = clock.look() {
        sink.found(Found::Clock(set))?;
    }
    let mut left = TURN;
    loop {
        let mut result = Ok(());
        let mut unseen = None;
        let in_doubt = session.in_doubt();
        let drained = session.drain(&mut |record| {
            if !in_doubt && decode::is_untracked_end(record) {
                unseen = Some(record.to_vec());
                return ControlFlow::Break(());
            }
            result = sink.record(record);
            left -= 1;
            let full = || left.is_multiple_of(LOOK) && outlet.is_some_and(Outlet::is_full);
            match result.is_err() || left == 0 || full() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        result?;
        let Some(unseen) = unseen else {
            sink.idle()?;
            return Ok(drained);
        };
        // The kernel counts what it skips before it goes on, so this look comes after it.
        if session.births_missed() {
            let totals = session.glance()?;
            sink.totals(Moment::Doubt, totals)?;
        }
        sink.record(&unseen)?;
        left = left.saturating_sub(1).max(1);
    }
}

/// The next drain does not wait for its time.
fn drain_now(drains: &mut Option<Interval>) {
    if let Some(drains) = drains {
        drains.reset_immediately();
    }
}

async fn room_in(outlet: Option<&Outlet>) {
    match outlet {
        Some(outlet) => outlet.room().await,
        None => std::future::pending().await,
    }
}

fn announce(session: &Session, user: Option<&User>, options: &Options) {
    let meta = session.meta();
    let user = user.map(|user| format!(" · running the command as {}", user.name));
    say(&format!(
        "twtrace {} · kernel {} · {} · {} hooks{}",
        env!("CARGO_PKG_VERSION"),
        meta.kernel,
        meta.attach,
        meta.hooks,
        user.unwrap_or_default()
    ));
    if manner::is_verbose() {
        attached::tell(session, options.attach);
    }
    for unseen in session.unseen() {
        talk(&format!("warning: {unseen}"));
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
