//! `twtrace check`: what [`crate::check`] is asked for, and where it writes.

use std::io::{self, Write};

use super::charset;
use super::output::say;
use super::{attached, files, manner};
use crate::check::{self, Format, Outside};
use crate::cli::{CheckArgs, CheckOutput};
use crate::error::{Exit, Result};
use crate::kernel::GivenBtf;

pub(super) fn run(args: CheckArgs) -> Result<Exit> {
    let reports = args.reports.into_iter();
    let asked = check::Args {
        scenarios: args.scenarios,
        list: args.list,
        format: match (args.ktap, args.json) {
            (true, _) => Format::Ktap,
            (_, true) => Format::Json,
            _ => args.output.into(),
        },
        reports: reports
            .map(|(format, file)| (format.into(), file))
            .collect(),
        colour: manner::colour(),
        quiet: manner::is_quiet(),
        save: args.save,
        baseline: args.baseline,
        against: args.against,
        attach: args.attach.into(),
        btf: args.btf.map(GivenBtf::new).transpose()?,
    };
    let mut stdout = io::stdout().lock();
    let ascii = asked.format == Format::Text && charset::is_ascii();
    let mut outside = Outside {
        out: match ascii {
            true => &mut Ascii(&mut stdout),
            false => &mut stdout,
        },
        say,
        create: files::create,
        started: |session, asked| {
            if manner::is_verbose() {
                attached::tell(session, asked);
            }
        },
    };
    check::run(&asked, &mut outside)
}

impl From<CheckOutput> for Format {
    fn from(output: CheckOutput) -> Self {
        match output {
            CheckOutput::Text => Self::Text,
            CheckOutput::Json => Self::Json,
            CheckOutput::Ktap => Self::Ktap,
            CheckOutput::Junit => Self::Junit,
        }
    }
}

/// Writes text as ASCII; whole characters must come at once, as they do from `write!`.
struct Ascii<W>(W);

impl<W: Write> Write for Ascii<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match str::from_utf8(bytes) {
            Ok(text) => self.0.write_all(charset::to_ascii(text).as_bytes())?,
            Err(_) => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_text_become_ascii() {
        let mut out = Ascii(Vec::new());
        write!(out, "{} · →", 3).unwrap();
        assert_eq!(out.0, b"3 | >");
    }
}
