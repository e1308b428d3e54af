//! `twtrace top`: the full-screen live view, or frames of text.

mod play;
mod screen;

use std::time::Duration;

use anstream::ColorChoice;

use super::charset;
use super::input;
use super::live::{self, Moment, Sink};
use super::manner;
use super::outlet::Outlet;
use super::output::Output;
use super::replay::Closing;
use crate::cli::{Filters, TopArgs, Tracing};
use crate::decode::decode;
use crate::error::{Error, Exit, Result};
use crate::event::found::Found;
use crate::event::{Meta, Snapshot};
use crate::host::Names;
use crate::kernel::Options;
use crate::model::Dashboard;
use crate::model::dashboard::Figures;
use crate::view::top::{Act, Look, Playing, Screen as Canvas};
use crate::view::{Of, Options as ViewOptions, Output as Format, Renderer};
use screen::{Screen, Wake};

pub(super) fn run(args: &TopArgs) -> Result<Exit> {
    if args.no_color {
        ColorChoice::Never.write_global();
    }
    let interval = live::duration("--interval", &args.interval)?;
    if !args.batch {
        screen::check()?;
    }
    if let Some(file) = &args.replay {
        if args.filters != Filters::default() || args.tracing != Tracing::default() {
            return Err(Error::new("a recording cannot be filtered or traced again")
                .hint("the key / shows only some rows of it"));
        }
        if input::is_dash(file) && !args.batch {
            return Err(
                Error::new("cannot play stdin on a screen: keys come from there")
                    .hint("save the recording to a file, or add --batch"),
            );
        }
        return play::run(args, file, interval);
    }
    if !args.batch && args.tracing.command.is_some() {
        return Err(Error::new("cannot run a command below the screen")
            .hint("it may write there; use --batch, or run it elsewhere"));
    }
    trace(args, interval)
}

fn trace(args: &TopArgs, interval: Duration) -> Result<Exit> {
    let options = options(args)?;
    let runtime = live::runtime()?;
    runtime.block_on(async {
        let live = live::start(&options, &args.tracing, Some(interval))?;
        let meta = live.meta().clone();
        let surface = match args.batch {
            true => Surface::frames(args, Output::live()?.text(true)),
            false => Surface::screen()?,
        };
        let mut top = Top::new(args, &meta, Names::of_this_host(), surface);
        live.run(&mut top).await?;
        top.close(args, &meta, false)
    })
}

pub(super) fn options(args: &TopArgs) -> Result<Options> {
    let given = super::options(&args.tracing, &args.filters)?;
    Ok(Options {
        births: true,
        ports: true,
        drops: false,
        reopens: false,
        rearms: false,
        ..super::with_records(given, &args.ring)
    })
}

/// A trace, live or replayed, and the screen that shows it.
struct Top {
    show: Show,
    surface: Surface,
    /// Somebody had enough.
    over: bool,
}

impl Top {
    fn new(args: &TopArgs, meta: &Meta, names: Names, surface: Surface) -> Self {
        Self {
            show: Show::new(args, meta, names),
            surface,
            over: false,
        }
    }

    /// Brings what is shown up to date.
    fn refresh(&mut self) -> Result<()> {
        self.show.refresh();
        self.show.draw(&mut self.surface)
    }

    fn act(&mut self, wake: Wake) -> Result<()> {
        let act = match wake {
            Wake::Key(key) => self.show.look.key(key),
            Wake::Resized => Act::Draw,
            Wake::Stop => Act::Suspend,
            Wake::Gone => Act::Quit,
        };
        match act {
            Act::Draw => {}
            Act::Group => self.show.group(),
            Act::Quit => self.over = true,
            Act::Suspend => self.surface.suspend()?,
            Act::Faster => self.show.change_speed(FASTER),
            Act::Slower => self.show.change_speed(1.0 / FASTER),
        }
        self.show.draw(&mut self.surface)
    }

    fn is_over(&self) -> bool {
        self.over || self.surface.done()
    }

    /// Gives the terminal back, prints the books and says with the exit code whether anything was
    /// lost. `cut`: the source ended before its end.
    fn close(self, args: &TopArgs, meta: &Meta, cut: bool) -> Result<Exit> {
        let mut out = self.surface.give_back();
        let options = ViewOptions {
            output: Format::Text,
            fields: None,
            utc: args.utc,
            wide: false,
            events: Of::TRACE,
        };
        let names = self.show.canvas.into_names();
        let renderer = Renderer::new(&options, meta, names)?;
        let mut renderer = renderer.in_colour(manner::colour());
        let summary = self.show.dashboard.summary(cut);
        Closing::new(Format::Text).summary(&mut renderer, &summary, &mut out)
    }
}

impl Sink for Top {
    fn record(&mut self, record: &[u8]) -> Result<()> {
        self.show.record(record);
        Ok(())
    }

    fn found(&mut self, found: Found) -> Result<()> {
        self.show.found(&found);
        Ok(())
    }

    fn wants_listing(&self) -> bool {
        self.show.dashboard.ports().wants_listing()
    }

    fn idle(&mut self) -> Result<()> {
        Ok(())
    }

    fn totals(&mut self, moment: Moment, totals: Snapshot) -> Result<()> {
        self.show.dashboard.totals(totals);
        match (moment, &self.surface) {
            // The first frame of text has something to tell.
            (Moment::Start | Moment::Listed | Moment::Doubt, Surface::Frames(_)) => Ok(()),
            (Moment::End, _) if self.is_over() => Ok(()),
            _ => self.refresh(),
        }
    }

    fn done(&self) -> bool {
        self.is_over()
    }

    fn outlet(&self) -> Option<&Outlet> {
        match &self.surface {
            Surface::Screen(_) => None,
            Surface::Frames(frames) => frames.out.outlet(),
        }
    }

    async fn attend(&mut self) -> Result<()> {
        let wake = self.surface.wake().await;
        self.act(wake)
    }
}

/// What is shown, and how it is drawn.
struct Show {
    dashboard: Dashboard,
    canvas: Canvas,
    look: Look,
    /// What is on the screen; older than the dashboard while paused.
    figures: Figures,
    playing: Option<Playing>,
}

/// A press of + or -, and how far they go.
const FASTER: f64 = 2.0;
const SLOWEST: f64 = 1.0 / 64.0;
const FASTEST: f64 = 4096.0;

/// Where it is shown.
enum Surface {
    Screen(Box<Screen>),
    Frames(Frames),
}

/// Frames of text on stdout.
struct Frames {
    out: Output,
    size: (u16, u16),
    /// Frames still to come, if limited.
    left: Option<u64>,
}

impl Show {
    fn new(args: &TopArgs, meta: &Meta, names: Names) -> Self {
        let mut dashboard = Dashboard::new(meta);
        let colour = manner::colour();
        let look = if args.batch {
            Look::fixed()
        } else {
            Look::with_keys()
        };
        let ways = args.by.iter().map(|&by| by.into());
        let look = ways.fold(look, Look::group_by);
        let [owners, destinations] = look.groups();
        dashboard.group_by(owners, destinations);
        Self {
            canvas: Canvas::new(meta, names, args.utc, colour),
            look,
            figures: dashboard.figures(),
            dashboard,
            playing: None,
        }
    }

    fn record(&mut self, record: &[u8]) {
        match decode(record) {
            Ok(event) => self.dashboard.event(event),
            Err(_) => self.dashboard.undecoded(),
        }
    }

    fn found(&mut self, found: &Found) {
        self.dashboard.found(found);
        self.canvas.found(found);
    }

    /// Takes what is known now to the screen.
    fn refresh(&mut self) {
        if !self.look.paused() {
            self.figures = self.dashboard.figures();
        }
    }

    /// Draws a frame.
    fn draw(&mut self, surface: &mut Surface) -> Result<()> {
        let Self {
            canvas,
            look,
            figures,
            playing,
            ..
        } = self;
        match surface {
            Surface::Screen(screen) => screen.draw(|frame| {
                canvas.draw(figures, look, *playing, frame);
                if charset::is_ascii() {
                    charset::frame_to_ascii(frame.buffer_mut());
                }
            }),
            Surface::Frames(frames) => {
                let text = canvas.text(figures, look, *playing, frames.size);
                frames.print(&text)
            }
        }
    }

    /// Tells owners and destinations apart as it was chosen.
    fn group(&mut self) {
        let [owners, destinations] = self.look.groups();
        self.dashboard.group_by(owners, destinations);
        self.refresh();
    }

    fn speed(&self) -> f64 {
        self.playing.map_or(1.0, |playing| playing.speed)
    }

    /// All of the recording was played.
    fn ended(&mut self) {
        if let Some(playing) = &mut self.playing {
            playing.over = true;
        }
    }

    fn change_speed(&mut self, by: f64) {
        if let Some(playing) = &mut self.playing {
            playing.speed = (playing.speed * by).clamp(SLOWEST, FASTEST);
        }
    }
}

impl Surface {
    fn screen() -> Result<Self> {
        Ok(Self::Screen(Box::new(Screen::open()?)))
    }

    fn frames(args: &TopArgs, out: Output) -> Self {
        Self::Frames(Frames {
            out,
            size: args.size,
            left: args.frames,
        })
    }

    /// Where the rest goes: after the frames, or on the terminal as it was.
    fn give_back(self) -> Output {
        match self {
            Self::Screen(_) => Output::stdout().text(true),
            Self::Frames(frames) => frames.out,
        }
    }

    /// What a person did; never anything without one.
    async fn wake(&mut self) -> Wake {
        match self {
            Self::Screen(screen) => screen.wake().await,
            Self::Frames(_) => std::future::pending().await,
        }
    }

    fn suspend(&mut self) -> Result<()> {
        match self {
            Self::Screen(screen) => screen.suspend(),
            Self::Frames(_) => Ok(()),
        }
    }

    /// Nobody wants more.
    fn done(&self) -> bool {
        match self {
            Self::Screen(_) => false,
            Self::Frames(frames) => frames.out.closed() || frames.left == Some(0),
        }
    }
}

impl Frames {
    fn print(&mut self, text: &str) -> Result<()> {
        let out = self.out.buffer();
        out.extend_from_slice(text.trim_end().as_bytes());
        out.extend_from_slice(b"\n\n");
        self.left = self.left.map(|left| left - 1);
        self.out.flush()
    }
}
