//! Network namespaces that come and go like those of containers: each has a name, makes a few
//! connections and leaves TIME_WAIT sockets behind.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, Write as _};

use anyhow::{Context as _, Result};

use crate::load::{self, Churn};
use crate::namespace::{self, Namespace};

/// Connections per namespace, each from a different port.
pub(crate) const CONNECTIONS: u32 = 7;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of namespaces at a time.
    at_once: usize,
}

/// Prints `ready`; for each number on stdin, adds that many namespaces, removes the oldest beyond
/// the limit, and prints how many mini-sockets the remaining ones have. Removes all when stdin
/// ends.
pub(crate) fn serve(args: &Args) -> Result<()> {
    let mut guests = VecDeque::new();
    let mut came = 0..;
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let more: usize = line?.trim().parse().context("not a number of guests")?;
        for number in came.by_ref().take(more) {
            guests.push_back(Guest::new(number)?);
            if guests.len() > args.at_once
                && let Some(oldest) = guests.pop_front()
            {
                oldest.leave()?;
            }
        }
        let alive = guests
            .iter()
            .map(Guest::mini_sockets)
            .sum::<Result<u64>>()?;
        writeln!(stdout, "{alive}")?;
    }
    guests.into_iter().try_for_each(Guest::leave)
}

/// One namespace, which needs no open file descriptor.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) namespace: Namespace,
}

impl Guest {
    /// Makes the namespace and its connections.
    pub(crate) fn new(number: u32) -> Result<Self> {
        let guest = Self {
            namespace: Namespace::make(&format!("guest-{number}"))?,
        };
        guest.connect(CONNECTIONS)?;
        Ok(guest)
    }

    /// Makes up to [`CONNECTIONS`] connections, from the same ports each time, so that each ends
    /// the TIME_WAIT of the one before.
    pub(crate) fn connect(&self, connections: u32) -> Result<()> {
        let args = load::Args {
            ports: u16::try_from(CONNECTIONS)?,
            hosts: 1,
        };
        self.namespace.run(|| Churn::new(args)?.run(connections))?;
        Ok(())
    }

    fn mini_sockets(&self) -> Result<u64> {
        self.namespace.run(namespace::mini_sockets)
    }

    pub(crate) fn leave(self) -> Result<()> {
        self.namespace.end()
    }
}
