//! Events as aligned columns, a line each.

use std::net::IpAddr;

use super::columns::{Align, Column, Value};
use super::render::Host;
use super::units;
use crate::model::Report;

/// Widest "[address]:port" of IPv6.
const WIDE: usize = 47;

/// Columns of text.
#[derive(Debug)]
pub(super) struct Text {
    columns: Vec<&'static Column>,
    wide: bool,
    cell: Vec<u8>,
}

impl Text {
    pub(super) fn new(columns: Vec<&'static Column>, wide: bool) -> Self {
        Self {
            columns,
            wide,
            cell: Vec::new(),
        }
    }

    pub(super) fn header(&self, out: &mut Vec<u8>) {
        let end = out.len();
        for column in &self.columns {
            if out.len() > end {
                out.push(b' ');
            }
            align(
                column.header.as_bytes(),
                width(column, self.wide),
                column.align,
                out,
            );
        }
        finish_line(out);
    }

    pub(super) fn event(&mut self, report: &Report, host: &mut Host, out: &mut Vec<u8>) {
        let end = out.len();
        for column in &self.columns {
            if out.len() > end {
                out.push(b' ');
            }
            let width = width(column, self.wide);
            self.cell.clear();
            cell((column.get)(report), width, host, &mut self.cell);
            align(&self.cell, width, column.align, out);
        }
        finish_line(out);
    }
}

fn width(column: &Column, wide: bool) -> usize {
    match column.key {
        "local" | "remote" | "laddr" | "raddr" if wide => WIDE,
        _ => column.width,
    }
}

/// Longer cells push the rest of their line: better askew than wrong.
fn align(cell: &[u8], width: usize, align: Align, out: &mut Vec<u8>) {
    let padding = width.saturating_sub(units::width(cell));
    if align == Align::Right {
        out.extend(std::iter::repeat_n(b' ', padding));
    }
    out.extend_from_slice(cell);
    if align == Align::Left {
        out.extend(std::iter::repeat_n(b' ', padding));
    }
}

fn finish_line(out: &mut Vec<u8>) {
    out.truncate(out.trim_ascii_end().len());
    out.push(b'\n');
}

fn cell(value: Value, width: usize, host: &mut Host, out: &mut Vec<u8>) {
    match value {
        Value::Unknown => out.extend_from_slice("–".as_bytes()),
        Value::Word(word) => out.extend_from_slice(word.as_bytes()),
        Value::Flag(true) => out.extend_from_slice(b"yes"),
        Value::Flag(false) => out.extend_from_slice(b"no"),
        Value::Number(number) => units::number(number, out),
        Value::Duration(ns) => units::duration(ns, out),
        Value::Address(address) => shortened(address, width, host, out),
        Value::Endpoint(address, port) => endpoint(address, port, width, host, out),
        Value::Moment(ns) => host.clock.time(ns, out),
        Value::Netns(inode) => name_or_number(host.names.netns(inode), inode, out),
        Value::User(uid) => name_or_number(host.names.user(uid), uid, out),
        Value::Note(note) => note.put(out),
    }
}

pub(super) fn name_or_number(name: Option<&str>, number: u32, out: &mut Vec<u8>) {
    match name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => units::number(number.into(), out),
    }
}

fn endpoint(address: IpAddr, port: u16, width: usize, host: &mut Host, out: &mut Vec<u8>) {
    if address.is_ipv4() {
        host.addresses.put(address, out);
        out.push(b':');
    } else {
        out.push(b'[');
        // What is left beside "[]:" and the longest port, so that ports stay in line.
        shortened(address, width.saturating_sub(8), host, out);
        out.extend_from_slice(b"]:");
    }
    units::number(port.into(), out);
}

/// An address with its middle left out if it is too long: its ends tell hosts apart best.
fn shortened(address: IpAddr, width: usize, host: &mut Host, out: &mut Vec<u8>) {
    let start = out.len();
    host.addresses.put(address, out);
    let length = out.len() - start;
    if length > width {
        let head = (width - 1) / 2;
        let tail = width - 1 - head;
        out.splice(start + head..start + length - tail, "…".bytes());
    }
}
