//! Events as comma-separated values (RFC 4180), unknown ones empty.

use csv_core::WriteResult;

use super::columns::{Column, Value};
use super::render::Host;
use super::text::name_or_number;
use super::units;
use crate::model::Report;

/// Columns of CSV.
#[derive(Debug)]
pub(super) struct Csv {
    columns: Vec<&'static Column>,
    cell: Vec<u8>,
}

impl Csv {
    pub(super) fn new(columns: Vec<&'static Column>) -> Self {
        Self {
            columns,
            cell: Vec::new(),
        }
    }

    pub(super) fn header(&self, out: &mut Vec<u8>) {
        let mut line = Line::new(out);
        for column in &self.columns {
            line.cell(column.key.as_bytes());
        }
        line.end();
    }

    pub(super) fn event(&mut self, report: &Report, host: &mut Host, out: &mut Vec<u8>) {
        let mut line = Line::new(out);
        for column in &self.columns {
            self.cell.clear();
            cell((column.get)(report), host, &mut self.cell);
            line.cell(&self.cell);
        }
        line.end();
    }
}

fn cell(value: Value, host: &mut Host, out: &mut Vec<u8>) {
    match value {
        Value::Unknown => {}
        Value::Word(word) => out.extend_from_slice(word.as_bytes()),
        Value::Flag(true) => out.extend_from_slice(b"true"),
        Value::Flag(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => units::number(number, out),
        Value::Duration(ns) => units::milliseconds(ns, out),
        Value::Address(address) => host.addresses.put(address, out),
        Value::Endpoint(address, port) => endpoint(address, port, host, out),
        Value::Moment(ns) => host.clock.timestamp(ns, out),
        Value::Netns(inode) => name_or_number(host.names.netns(inode), inode, out),
        Value::User(uid) => name_or_number(host.names.user(uid), uid, out),
        Value::Note(note) => note.put(out),
    }
}

/// Never shortened, unlike in text.
pub(super) fn endpoint(address: std::net::IpAddr, port: u16, host: &mut Host, out: &mut Vec<u8>) {
    if address.is_ipv4() {
        host.addresses.put(address, out);
        out.push(b':');
    } else {
        out.push(b'[');
        host.addresses.put(address, out);
        out.extend_from_slice(b"]:");
    }
    units::number(port.into(), out);
}

/// One record, quoted where it must be.
pub(super) struct Line<'a> {
    writer: csv_core::Writer,
    first: bool,
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            writer: csv_core::Writer::new(),
            first: true,
            out,
        }
    }

    pub(super) fn cell(&mut self, mut cell: &[u8]) {
        if !self.first {
            self.write(csv_core::Writer::delimiter);
        }
        self.first = false;
        loop {
            let mut part = [0; 128];
            let (result, read, written) = self.writer.field(cell, &mut part);
            self.out.extend_from_slice(&part[..written]);
            cell = &cell[read..];
            if matches!(result, WriteResult::InputEmpty) {
                break;
            }
        }
    }

    pub(super) fn end(mut self) {
        self.write(csv_core::Writer::terminator);
    }

    /// A delimiter or terminator, with a closing quote before it: a few bytes at most.
    fn write(
        &mut self,
        what: impl FnOnce(&mut csv_core::Writer, &mut [u8]) -> (WriteResult, usize),
    ) {
        let mut part = [0; 8];
        let (_, written) = what(&mut self.writer, &mut part);
        self.out.extend_from_slice(&part[..written]);
    }
}
