//! Events as comma-separated values (RFC 4180 with `\n`), unknown ones empty.

use super::cell::{Host, name_or_number, reasons_apart, row, whole_endpoint};
use super::columns::{Column, Value};
use super::evidence::{causes_apart, gaps_apart};
use super::line::Line;
use super::note;
use super::owners::{cgroup, most_telling};
use super::units::{self, tcp_flags};
use crate::model::Report;
use crate::text::Text;

/// Columns of CSV.
#[derive(Debug)]
pub(super) struct Csv {
    columns: Vec<&'static Column>,
    cell: Line,
}

impl Csv {
    pub(super) fn new(columns: Vec<&'static Column>) -> Self {
        Self {
            columns,
            cell: Line::new(),
        }
    }

    pub(super) fn header(&self, out: &mut Line) {
        row(self.columns.iter().map(|column| column.key), out);
    }

    pub(super) fn event(&mut self, report: &Report, host: &mut Host, out: &mut Line) {
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.byte(b',');
            }
            cell((column.get)(report), host, &mut self.cell, out);
        }
        out.byte(b'\n');
    }
}

pub(super) fn cell(value: Value<'_>, host: &mut Host, scratch: &mut Line, out: &mut Line) {
    match value {
        Value::Unknown => {}
        Value::Word(word) | Value::Said { machine: word, .. } => out.text(word),
        Value::Flag(true) => out.text("true"),
        Value::Flag(false) => out.text("false"),
        Value::Number(number) => host.texts.number("", number, out),
        Value::Signed(number) => out.signed(number),
        Value::TcpFlags(flags) => tcp_flags(flags, out),
        Value::Duration(ns) => units::milliseconds("", ns, &mut host.texts, out),
        Value::Address(address) => host.texts.address("", address, out),
        Value::Command(command) => name(Some(&command.text()), scratch, out),
        Value::Endpoint(address, port) => whole_endpoint(address, port, host, out),
        Value::Moment(ns) => out.text(&host.clock.timestamp(ns)),
        Value::Netns(inode) => {
            name_or_number(host.names.netns(inode), inode, scratch);
            quoted(scratch, out);
        }
        Value::Owner(uid, cgroup) => {
            most_telling(uid, cgroup, &mut host.names, |name| match (name, uid) {
                (Some(name), _) => scratch.text(name),
                (None, Some(uid)) => scratch.number(uid.into()),
                (None, None) => {}
            });
            quoted(scratch, out);
        }
        Value::UserName(uid) => name(host.names.user(uid), scratch, out),
        Value::NetnsName(inode) => name(host.names.netns(inode), scratch, out),
        Value::Cgroup(id, fact) => name(cgroup(id, fact, &mut host.names), scratch, out),
        Value::Reasons(ended) => reasons_apart(ended, out),
        Value::Gaps(gaps) => gaps_apart(gaps, out),
        Value::Causes(causes) => causes_apart(causes, out),
        Value::Note(report) => {
            note::put(report, scratch);
            quoted(scratch, out);
        }
    }
}

fn name(name: Option<&Text>, scratch: &mut Line, out: &mut Line) {
    scratch.text(name.map_or("", |name| name));
    quoted(scratch, out);
}

/// Characters with which a spreadsheet takes a cell for a formula. A process or unit may have such
/// a name.
const FORMULA: &[u8] = b"=+-@";

/// Moves a cell that may hold anything, in quotes if it must be. What a spreadsheet would work
/// out has `'` before it, so it is text there.
fn quoted(cell: &mut Line, out: &mut Line) {
    let bytes = cell.as_bytes();
    let formula = bytes.first().is_some_and(|first| FORMULA.contains(first));
    let mark = if formula { "'" } else { "" };
    if bytes.iter().any(|byte| b",\"\r\n".contains(byte)) {
        out.byte(b'"');
        out.text(mark);
        for &byte in bytes {
            if byte == b'"' {
                out.byte(b'"');
            }
            out.byte(byte);
        }
        out.byte(b'"');
    } else {
        out.text(mark);
        out.slice(bytes);
    }
    cell.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_as_other_readers_expect_them() {
        for text in ["plain", "a,b", "say \"hi\"", "two\nlines", "", "\""] {
            let (mut cell, mut out) = (Line::new(), Line::new());
            cell.text(text);
            quoted(&mut cell, &mut out);
            out.text(",end\n");
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false)
                .from_reader(out.as_bytes());
            let record = reader.records().next().unwrap().unwrap();
            assert_eq!(record.iter().collect::<Vec<_>>(), [text, "end"]);
            assert_eq!(cell.length(), 0);
        }
    }

    #[test]
    fn a_spreadsheet_works_nothing_out() {
        for (text, expected) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-.slice", "'-.slice"),
            ("@SUM(A1,A2)", "\"'@SUM(A1,A2)\""),
            ("a=b", "a=b"),
        ] {
            let (mut cell, mut out) = (Line::new(), Line::new());
            cell.text(text);
            quoted(&mut cell, &mut out);
            assert_eq!(String::from_utf8_lossy(out.as_bytes()), expected);
        }
    }
}
