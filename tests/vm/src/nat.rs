//! The workload: one client behind `MASQUERADE --random-fully`, whose connections reuse the same
//! few ports of the NAT.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, anyhow};
use twtrace::check::net::field::{Field, Way};
use twtrace::error::Error;
use twtrace::kernel::netns::{self, Netns};

/// About half of the NAT's ports, so that half of the SYNs meet another connection's TIME_WAIT.
const AT_ONCE: usize = 53;
const ROUNDS: usize = 4;

pub(crate) fn run() -> Result<()> {
    netns::enter_new().map_err(plain)?;
    let field = field(Way::RandomPorts)?;
    let mut came = 0;
    for _ in 0..ROUNDS {
        came += field.round(AT_ONCE).map_err(plain)?.delays.len();
        field.forget().map_err(plain)?;
    }
    // Stdout belongs to the tracer.
    let of = AT_ONCE * ROUNDS;
    writeln!(io::stderr(), "{came} of {of} came through")?;
    Ok(())
}

/// A server in the current namespace, and its clients.
pub(crate) fn field(way: Way) -> Result<Field> {
    Field::new(way, false, beside)
        .map_err(plain)
        .context("no NAT")
}

/// A new namespace, made from the current one.
fn beside() -> Result<Netns, Error> {
    let own = Netns::current()?;
    netns::enter_new()?;
    netns::bring_up_loopback()?;
    let new = Netns::current();
    own.enter()?;
    new
}

pub(crate) fn plain(error: Error) -> anyhow::Error {
    anyhow!("{error}")
}
