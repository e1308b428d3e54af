//! Recordings for callers of the library: decoded events and totals, in the order in which they were
//! recorded.

use std::io::Read;
use std::path::Path;

use crate::decode::decode;
use crate::error::Result;
use crate::event::found::{Found, SetClock};
use crate::event::{Event, Meta, Named, Snapshot};
use crate::model::tally::Detail;
use crate::model::{Summary, Tally};
use crate::recording;

/// What a recording holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// Something that happened.
    Event(Event),
    /// All that was counted up to this moment: when tracing began, now and then, and when it ended.
    Totals(Snapshot),
    /// Names of users, network namespaces and cgroups that came up since those before.
    Names(Named),
    /// The time of day was set, or the host has slept.
    Clock(SetClock),
}

/// Reads a recording made by `twtrace record`, from this version or an older one.
///
/// An iterator over its [`Item`]s. It ends where the recording ends, also if that was cut;
/// [`Reader::summary`] tells which.
///
/// A record that cannot be decoded is passed over and counted, as `twtrace report` does it: see
/// [`Books::undecoded`](crate::books::Books::undecoded). Damage is an error, and the last item.
#[derive(Debug)]
pub struct Reader {
    recording: recording::Reader,
    tally: Tally,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Damaged,
    /// Read to its end, or to where it was cut.
    Over,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, is no recording, or is one of a newer twtrace.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        recording::Reader::open(path.as_ref()).map(Self::of)
    }

    /// Reads a recording from anywhere, a pipe for instance. The name is for error messages. Reads
    /// are small: a file is best given in a [`BufReader`](std::io::BufReader).
    ///
    /// # Errors
    ///
    /// It cannot be read, is no recording, or is one of a newer twtrace.
    pub fn new(name: impl Into<String>, input: impl Read + Send + 'static) -> Result<Self> {
        recording::Reader::new(name.into(), Box::new(input)).map(Self::of)
    }

    fn of(recording: recording::Reader) -> Self {
        Self {
            tally: Tally::new(recording.meta(), Detail::Records),
            recording,
            state: State::Reading,
        }
    }

    /// How and where it was made.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        self.recording.meta()
    }

    /// The summary of what was read so far. It is [`cut`](Summary::cut) unless all was read and the
    /// recording has its end.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let whole = self.state == State::Over && !self.recording.truncated();
        self.tally.summary(!whole)
    }

    /// The next item that is for callers, decoded and counted.
    fn read(&mut self) -> Result<Option<Item>> {
        loop {
            let item = match self.recording.next() {
                Ok(Some(item)) => item,
                Ok(None) => {
                    self.state = State::Over;
                    return Ok(None);
                }
                Err(error) => {
                    self.state = State::Damaged;
                    return Err(error);
                }
            };
            return Ok(Some(match item {
                recording::Item::Record(record) => match decode(record) {
                    Ok(event) => {
                        self.tally.event(event);
                        Item::Event(event)
                    }
                    Err(_) => {
                        self.tally.undecoded();
                        continue;
                    }
                },
                recording::Item::Snapshot(totals) => {
                    self.tally.snapshot(totals.clone());
                    Item::Totals(totals)
                }
                recording::Item::Names(named) => Item::Names(named),
                recording::Item::Found(Found::Clock(set)) => Item::Clock(set),
                // What was listed and surveyed is for the views.
                recording::Item::Found(_) => continue,
            }));
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Result<Item>> {
        match self.state {
            State::Reading => self.read().transpose(),
            State::Damaged | State::Over => None,
        }
    }
}

#[cfg(test)]
mod tests;
