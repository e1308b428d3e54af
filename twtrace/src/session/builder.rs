//! What a session traces, and with how much room.

use std::time::Duration;

use super::{Filter, Session};
use crate::error::Result;
use crate::kernel::{Attach, Options};

/// Options of a [`Session`]. What is not set is as `twtrace record` has it, except that births and
/// failures to get a port are not traced unless asked for.
#[derive(Clone, Debug)]
#[must_use = "nothing is traced before `start`"]
pub struct Builder {
    options: Options,
    filter: Filter,
    duration: Option<Duration>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            options: Options::default(),
            filter: Filter::new(),
            duration: None,
        }
    }

    /// Traces only connections that pass. With a filter the kernel's own counters prove nothing and
    /// are not compared. Default: all connections in all network namespaces.
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// Ends the trace so long after it began, or when events are next asked for after that. Default:
    /// when a [`Stopper`](crate::Stopper) is used.
    pub fn duration(self, duration: Duration) -> Self {
        Self {
            duration: Some(duration),
            ..self
        }
    }

    /// How to attach to the kernel's functions. Default: [`Attach::Auto`].
    pub fn attach(self, attach: Attach) -> Self {
        self.with(|options| options.attach = attach)
    }

    /// An event for each thing that happens. Without, there are only totals, which cost less and need
    /// no ring buffer: the iterator then yields nothing until the trace is over. Default: yes.
    pub fn events(self, wanted: bool) -> Self {
        self.with(|options| options.records = wanted)
    }

    /// [`Event::Refusal`](crate::Event::Refusal): segments that were refused because of an old
    /// connection. Default: yes.
    pub fn refusals(self, wanted: bool) -> Self {
        self.with(|options| {
            options.refusals = wanted;
            options.drops = wanted;
        })
    }

    /// Refusals reported per second and CPU, at least 10; others are only counted
    /// (`limited` in the books). Default: 10,000.
    pub fn refusal_rate(self, per_second: u32) -> Self {
        self.with(|options| options.refusal_rate = per_second)
    }

    /// [`Event::Birth`](crate::Event::Birth): each mini-socket that is made. Those that are there
    /// when tracing begins are not listed. Default: no.
    pub fn births(self, wanted: bool) -> Self {
        self.with(|options| options.births = wanted)
    }

    /// [`Event::PortFailure`](crate::Event::PortFailure): connect() and bind() calls that got no
    /// port. Default: no.
    pub fn port_failures(self, wanted: bool) -> Self {
        self.with(|options| options.ports = wanted)
    }

    /// uid and cgroup of the socket that became a mini-socket. Default: yes.
    pub fn owners(self, wanted: bool) -> Self {
        self.with(|options| options.owners = wanted)
    }

    /// Counts restarts of the timer in TIME_WAIT. Default: yes.
    pub fn rearms(self, wanted: bool) -> Self {
        self.with(|options| options.rearms = wanted)
    }

    /// Size of the ring buffer in bytes, from 4 KiB to 1 GiB, rounded up to a power of two. An event
    /// takes up to 120 bytes. Default: 2 MiB.
    pub fn ring_bytes(self, bytes: u32) -> Self {
        self.with(|options| options.ring_bytes = bytes)
    }

    /// Room in the kernel for so many live mini-sockets, 64 bytes each. An end that found none is
    /// reported without its times. Default: what `tcp_max_tw_buckets` allows.
    pub fn max_sockets(self, most: u32) -> Self {
        self.with(|options| options.max_sockets = Some(most))
    }

    /// Loads the eBPF programs, attaches them and reads the opening totals. Takes 0.1 s to 2 s.
    ///
    /// # Errors
    ///
    /// The filter asks for what there is not, privileges are lacking, or this kernel has no BTF or
    /// lacks a function or field without which no end can be told. See [`Session`] for the
    /// privileges; the error says what is lacking, and as a rule what to do.
    pub fn start(self) -> Result<Session> {
        let Self {
            options,
            filter,
            duration,
        } = self;
        let options = Options {
            filter: filter.build()?,
            ..options
        };
        Session::start(&options, duration)
    }

    fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }
}
