//! Names, addresses and counts as they stand in a cell.

use std::net::IpAddr;

use twtrace_common::REASONS;

use super::kept::Texts;
use super::line::Line;
use super::units;
use crate::event::Reason;
use crate::event::found::Found;
use crate::host::{Names, WallClock};
use crate::text::Text;

/// What turns numbers into names and times.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) names: Names,
    pub(super) clock: WallClock,
    pub(super) texts: Texts,
}

impl Host {
    pub(super) fn found(&mut self, found: &Found) {
        if let Found::Clock(set) = found {
            self.clock.set(*set);
        }
    }
}

pub(super) fn name_or_number(name: Option<&Text>, number: u32, out: &mut Line) {
    match name {
        Some(name) => out.text(name),
        None => out.number(number.into()),
    }
}

/// The same as a text of its own.
pub(super) fn name_of(name: Option<&Text>, number: u32) -> String {
    name.map_or_else(|| number.to_string(), ToString::to_string)
}

/// A name with its end left out if it is too long.
pub(super) fn cut(name: &Text, width: usize, out: &mut Line) {
    match name.char_indices().nth(width) {
        None => out.text(name),
        Some(_) => {
            let end = name.char_indices().nth(width.saturating_sub(1));
            out.text(&name[..end.map_or(0, |(end, _)| end)]);
            out.text("…");
        }
    }
}

pub(super) fn endpoint(address: IpAddr, port: u16, width: usize, host: &mut Host, out: &mut Line) {
    if address.is_ipv4() {
        host.texts.address("", address, out);
        out.byte(b':');
    } else {
        out.byte(b'[');
        // What is left beside "[]:" and the longest port, so that ports stay in line.
        shortened(address, width.saturating_sub(8), host, out);
        out.text("]:");
    }
    units::port(port, out);
}

/// An address with its middle left out if it is too long: its ends tell hosts apart best.
pub(super) fn shortened(address: IpAddr, width: usize, host: &mut Host, out: &mut Line) {
    let start = out.length();
    host.texts.address("", address, out);
    let length = out.length() - start;
    if length > width {
        let head = (width - 1) / 2;
        let tail = out.as_bytes()[start + length - (width - 1 - head)..].to_vec();
        out.truncate(start + head);
        out.text("…");
        out.slice(&tail);
    }
}

/// Never shortened, unlike in text.
pub(super) fn whole_endpoint(address: IpAddr, port: u16, host: &mut Host, out: &mut Line) {
    if address.is_ipv4() {
        host.texts.address("", address, out);
        out.byte(b':');
    } else {
        out.byte(b'[');
        host.texts.address("", address, out);
        out.text("]:");
    }
    units::port(port, out);
}

/// Cells that need no quotes.
pub(super) fn row<'a>(cells: impl IntoIterator<Item = &'a str>, out: &mut Line) {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.byte(b',');
        }
        out.text(cell);
    }
    out.byte(b'\n');
}

/// `expired:12 reset:3`, those that happened.
pub(super) fn reasons_apart(ended: &[u64; REASONS], out: &mut Line) {
    let counts = Reason::ALL.into_iter().zip(ended);
    for (index, (reason, count)) in counts.filter(|one| *one.1 > 0).enumerate() {
        let before = if index > 0 { " " } else { "" };
        write!(out, "{before}{}:{count}", reason.name());
    }
}
