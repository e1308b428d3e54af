//! A recording on the screen, at the pace at which it was made or another.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::{Show, Surface, Top};
use crate::cli::TopArgs;
use crate::cmd::input;
use crate::cmd::live;
use crate::cmd::output::{Output, talk};
use crate::cmd::signals::Signals;
use crate::decode::decode;
use crate::error::{Exit, Result};
use crate::event::found::Found;
use crate::event::{Event, Meta, Named, Snapshot};
use crate::host::Names;
use crate::recording::{Item, Reader};
use crate::view::top::Playing;

/// How often the screen moves on.
const STEP: Duration = Duration::from_millis(200);

pub(super) fn run(args: &TopArgs, file: &Path, interval: Duration) -> Result<Exit> {
    let mut player = Player::new(input::recording(file)?);
    let meta = player.reader.meta().clone();
    // The screen listens to signals as soon as it is there.
    live::runtime()?.block_on(async {
        let surface = match args.batch {
            true => Surface::frames(args, Output::stdout().text(true)),
            false => Surface::screen()?,
        };
        let mut top = Top::new(args, &meta, Names::none(), surface);
        top.show.playing = Some(Playing {
            speed: args.speed,
            over: false,
        });
        if args.batch {
            frames(&mut player, &mut top, interval)?;
        } else {
            screen(&mut player, &mut top).await?;
        }
        close(player, top, args, &meta)
    })
}

/// Frames of recorded time, without waiting.
fn frames(player: &mut Player, top: &mut Top, interval: Duration) -> Result<()> {
    while !player.over && !top.is_over() {
        player.advance(interval, &mut top.show)?;
        top.refresh()?;
    }
    Ok(())
}

/// Plays until somebody has enough; the end stays on the screen.
async fn screen(player: &mut Player, top: &mut Top) -> Result<()> {
    let mut signals = Signals::new()?;
    let mut steps = live::ticks(STEP);
    let mut last = Instant::now();
    player.advance(Duration::ZERO, &mut top.show)?;
    top.refresh()?;
    while !top.is_over() {
        tokio::select! {
            () = signals.any() => break,
            wake = top.surface.wake() => top.act(wake)?,
            now = steps.tick() => {
                let passed = now - std::mem::replace(&mut last, now);
                if !player.over && !top.show.look.paused() {
                    player.advance(passed.mul_f64(top.show.speed()), &mut top.show)?;
                    top.refresh()?;
                }
            }
        }
    }
    Ok(())
}

/// The books are known only at the end.
fn close(player: Player, top: Top, args: &TopArgs, meta: &Meta) -> Result<Exit> {
    if !player.over {
        return Ok(Exit::Done);
    }
    let cut = player.reader.truncated();
    let exit = top.close(args, meta, cut)?;
    if cut {
        talk("warning: the recording was cut; everything up to the cut was shown");
    }
    Ok(exit)
}

/// Hands out what was recorded up to some moment.
struct Player {
    reader: Reader,
    /// CLOCK_MONOTONIC ns of the recording.
    now_ns: u64,
    /// What was read, but is still to come.
    next: Option<Next>,
    over: bool,
}

enum Next {
    Event(Event),
    Totals(Snapshot),
    // Of no time:
    Names(Named),
    Found(Found),
    Undecoded,
}

impl Next {
    fn read(reader: &mut Reader) -> Result<Option<Self>> {
        Ok(reader.next()?.map(|item| match item {
            Item::Record(record) => decode(record).map_or(Self::Undecoded, Self::Event),
            Item::Snapshot(totals) => Self::Totals(totals),
            Item::Names(named) => Self::Names(named),
            Item::Found(found) => Self::Found(found),
        }))
    }

    fn at_ns(&self) -> u64 {
        match self {
            Self::Event(event) => event.at_ns(),
            Self::Totals(totals) => totals.at_ns,
            Self::Names(_) | Self::Found(_) | Self::Undecoded => 0,
        }
    }
}

impl Player {
    fn new(reader: Reader) -> Self {
        Self {
            now_ns: reader.meta().started_ns,
            reader,
            next: None,
            over: false,
        }
    }

    /// Plays so much of what was recorded.
    fn advance(&mut self, time: Duration, show: &mut Show) -> Result<()> {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns = self.now_ns.saturating_add(ns);
        loop {
            let next = match self.next.take() {
                Some(next) => next,
                None => match Next::read(&mut self.reader)? {
                    Some(next) => next,
                    None => break,
                },
            };
            if next.at_ns() > self.now_ns {
                self.next = Some(next);
                return Ok(());
            }
            match next {
                Next::Event(event) => show.dashboard.event(event),
                Next::Totals(totals) => show.dashboard.totals(totals),
                Next::Names(named) => show.canvas.names(named),
                Next::Found(found) => show.found(&found),
                Next::Undecoded => show.dashboard.undecoded(),
            }
        }
        self.over = true;
        show.ended();
        Ok(())
    }
}
