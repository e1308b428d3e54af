//! Events as aligned columns, a line each.

use super::cell::{Host, cut, endpoint, name_or_number, reasons_apart, shortened};
use super::columns::{Align, Column, Value};
use super::evidence::{causes_apart, gaps_apart};
use super::line::Line;
use super::note;
use super::owners::{cgroup, most_telling};
use super::paint::{self, Paint};
use super::units::{self, tcp_flags};
use crate::model::Report;
use crate::text as outside;

/// Widest "[address]:port" of IPv6.
const WIDE: usize = 47;

/// Columns of text.
#[derive(Debug)]
pub(super) struct Text {
    columns: Vec<&'static Column>,
    wide: bool,
    cell: Line,
}

impl Text {
    pub(super) fn new(columns: Vec<&'static Column>, wide: bool) -> Self {
        Self {
            columns,
            wide,
            cell: Line::new(),
        }
    }

    pub(super) fn header(&self, out: &mut Line) {
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.byte(b' ');
            }
            let width = width(column, self.wide);
            align(column.header.as_bytes(), width, column.align, out, plainly);
        }
        finish_line(out);
    }

    pub(super) fn event(&mut self, report: &Report, paint: Paint, host: &mut Host, out: &mut Line) {
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.byte(b' ');
            }
            let width = width(column, self.wide);
            cell((column.get)(report), width, host, &mut self.cell);
            let style = match column.key {
                "reason" | "what" => paint::of_event(report),
                _ => None,
            };
            let cell = self.cell.as_bytes();
            align(cell, width, column.align, out, |cell, out| {
                paint.write(style, out, |out| out.slice(cell));
            });
            self.cell.clear();
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
fn align(
    cell: &[u8],
    width: usize,
    align: Align,
    out: &mut Line,
    write: impl FnOnce(&[u8], &mut Line),
) {
    let padding = width.saturating_sub(units::width(cell));
    if align == Align::Right {
        spaces(padding, out);
    }
    write(cell, out);
    if align == Align::Left {
        spaces(padding, out);
    }
}

fn plainly(cell: &[u8], out: &mut Line) {
    out.slice(cell);
}

fn spaces(count: usize, out: &mut Line) {
    for _ in 0..count {
        out.byte(b' ');
    }
}

fn finish_line(out: &mut Line) {
    out.truncate(out.as_bytes().trim_ascii_end().len());
    out.byte(b'\n');
}

fn cell(value: Value<'_>, width: usize, host: &mut Host, out: &mut Line) {
    match value {
        Value::Unknown => out.text("–"),
        Value::Word(word) | Value::Said { person: word, .. } => out.text(word),
        Value::Flag(true) => out.text("yes"),
        Value::Flag(false) => out.text("no"),
        Value::Number(number) => host.texts.number("", number, out),
        Value::Signed(number) => out.signed(number),
        Value::TcpFlags(flags) => tcp_flags(flags, out),
        Value::Duration(ns) => units::duration(ns, out),
        Value::Address(address) => shortened(address, width, host, out),
        Value::Command(name) => out.text(&name.text()),
        Value::Endpoint(address, port) => endpoint(address, port, width, host, out),
        Value::Moment(ns) => out.slice(&host.clock.time(ns)),
        Value::Netns(inode) => name_or_number(host.names.netns(inode), inode, out),
        Value::Owner(uid, cgroup) => {
            most_telling(uid, cgroup, &mut host.names, |name| match (name, uid) {
                (Some(name), _) => cut(name, width, out),
                (None, Some(uid)) => out.number(uid.into()),
                (None, None) => out.text("–"),
            });
        }
        Value::UserName(uid) => name(host.names.user(uid), out),
        Value::NetnsName(inode) => name(host.names.netns(inode), out),
        Value::Cgroup(id, fact) => name(cgroup(id, fact, &mut host.names), out),
        Value::Reasons(ended) => reasons_apart(ended, out),
        Value::Gaps(gaps) => gaps_apart(gaps, out),
        Value::Causes(causes) => causes_apart(causes, out),
        Value::Note(report) => note::put(report, out),
    }
}

fn name(name: Option<&outside::Text>, out: &mut Line) {
    out.text(name.map_or("–", |name| name));
}
