//! `twtrace check`: what [`crate::check`] is asked for, and where it writes.

use std::io;

use anstream::{AutoStream, ColorChoice};

use super::files;
use super::output::talk;
use crate::check::{self, Format, Outside};
use crate::cli::{CheckArgs, CheckOutput};
use crate::error::{Exit, Result};
use crate::kernel::GivenBtf;

pub(super) fn run(args: CheckArgs) -> Result<Exit> {
    let reports = args.reports.into_iter();
    let asked = check::Args {
        scenarios: args.scenarios,
        list: args.list,
        format: match args.ktap {
            true => Format::Ktap,
            false => args.output.into(),
        },
        reports: reports
            .map(|(format, file)| (format.into(), file))
            .collect(),
        colour: AutoStream::choice(&io::stdout()) != ColorChoice::Never,
        save: args.save,
        baseline: args.baseline,
        against: args.against,
        attach: args.attach.into(),
        btf: args.btf.map(GivenBtf::new).transpose()?,
    };
    let mut outside = Outside {
        out: &mut io::stdout().lock(),
        talk,
        create: files::create,
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
