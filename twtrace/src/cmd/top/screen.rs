//! The terminal as a full screen, and back.
//!
//! It is given back whatever happens: when the screen is dropped (the end, an error, a signal that
//! is waited for), and by a hook when the program panics, for then nothing is dropped.

use std::io::{self, IsTerminal, Stdout};
use std::sync::Once;
use std::thread::Builder;

use nix::sys::signal::{Signal, raise};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::cmd::signals::Listener;
use crate::error::{Error, Result};
use crate::kernel::privileges;

/// Keys that wait at most; nobody types that fast.
const KEYS: usize = 64;

/// The terminal, taken over.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    events: Receiver<Event>,
    stop: Listener,
    quit: Listener,
}

/// What a screen was woken by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wake {
    Key(KeyEvent),
    /// Another size.
    Resized,
    /// To the background.
    Stop,
    /// Nobody is there any more.
    Gone,
}

/// Says at once what stands against a full screen, before anything is attached for it.
pub(super) fn check() -> Result<()> {
    const HINT: &str = "--batch prints frames as plain text";
    if !io::stdout().is_terminal() {
        return Err(Error::new("cannot show a screen: stdout is no terminal").hint(HINT));
    }
    match std::env::var("TERM") {
        Ok(term) if !term.is_empty() && term != "dumb" => Ok(()),
        _ => Err(Error::new("cannot show a screen: the terminal is dumb (TERM)").hint(HINT)),
    }
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> Result<Self> {
        let stop = Listener::new(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
        let quit = Listener::new(SignalKind::quit())?;
        give_back_on_panic();
        let (sender, events) = channel(KEYS);
        let terminal = take().inspect_err(|_| give_back())?;
        let screen = Self {
            terminal,
            events,
            stop,
            quit,
        };
        Builder::new()
            .name("keys".into())
            .spawn(move || read_keys(&sender))
            .map_err(|error| unusable(&error))?;
        Ok(screen)
    }

    /// Waits for a key, another size, or a signal that concerns terminals only.
    pub(super) async fn wake(&mut self) -> Wake {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = self.stop.heard() => return Wake::Stop,
                () = self.quit.heard() => return Wake::Gone,
            };
            match event {
                Some(Event::Key(key)) => return Wake::Key(key),
                Some(Event::Resize(..)) => return Wake::Resized,
                Some(_) => {}
                None => return Wake::Gone,
            }
        }
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        let drawn = self.terminal.draw(draw);
        drawn.map(drop).map_err(|error| unusable(&error))
    }

    /// Gives the terminal back and stops, until somebody says to go on.
    pub(super) fn suspend(&mut self) -> Result<()> {
        give_back();
        // SIGTSTP is listened to, so it would not stop us.
        raise(Signal::SIGSTOP).map_err(|error| unusable(&error.into()))?;
        // A new one: it knows nothing of what stood on the screen, and draws all of it.
        self.terminal = take()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> Result<Terminal<CrosstermBackend<Stdout>>> {
    let taken = enable_raw_mode()
        .and_then(|()| execute!(io::stdout(), EnterAlternateScreen))
        .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
    taken.map_err(|error| unusable(&error))
}

/// Harmless if nothing was taken. There is nobody to tell if it fails.
fn give_back() {
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

/// In a thread of its own: once a terminal has hung up, crossterm's reader never returns. Then
/// this thread is not missed, and the next frame cannot be drawn, which ends the program.
fn read_keys(events: &Sender<Event>) {
    // It needs none, and a thread has its own.
    privileges::give_up_all();
    while let Ok(event) = event::read() {
        if events.blocking_send(event).is_err() {
            return;
        }
    }
}

fn unusable(error: &io::Error) -> Error {
    Error::new(format!("cannot use the terminal: {error}"))
        .hint("--batch prints frames as plain text")
}

#[cfg(test)]
#[path = "../../../tests/support/pty.rs"]
#[expect(dead_code, reason = "what the tests of the whole program use")]
mod pty;

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::process::Command;

    use super::*;

    const PANIC: &str = "TWTRACE_TEST_PANIC";

    /// Runs itself again on a terminal, and panics there.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANIC).is_some() {
            let runtime = crate::cmd::live::runtime().unwrap();
            runtime.block_on(async {
                // Release builds abort: nothing is dropped there.
                let mut screen = ManuallyDrop::new(Screen::open().unwrap());
                screen.wake().await;
                panic!("as it was meant");
            });
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "cmd::top::screen::tests::a_panic_gives_the_terminal_back";
        command.args(["--exact", name, "--nocapture"]);
        let mut pty = pty::Pty::start(command.env(PANIC, "1"));
        pty.until_taken();
        pty.press("x");
        let (status, output) = pty.finish();
        assert_eq!(status.code(), Some(101));
        let after = output.rsplit("\x1b[?1049l").next().unwrap();
        assert!(after.contains("as it was meant"), "{after:?}");
    }
}
