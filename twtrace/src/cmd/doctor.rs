//! `twtrace doctor`: what can be traced here, what is set to no use or to harm, what to do.

use std::io::Read;
use std::path::Path;

use super::output::Output;
use super::{input, manner};
use crate::cli::{DoctorArgs, PlainOutput};
use crate::error::{Error, Exit, Result, why};
use crate::event::facts::Facts;
use crate::host::Names;
use crate::kernel::{GivenBtf, probe};
use crate::model::doctor::{Severity, diagnose};
use crate::view::doctor;
use crate::view::paint::Paint;

/// Facts about a thousand namespaces are 2 MB.
const MOST_BYTES: u64 = 16 << 20;

pub(super) fn run(args: &DoctorArgs) -> Result<Exit> {
    let json = args.json || args.output == PlainOutput::Json;
    let mut out = Output::stdout().text(!json && !args.facts);
    let facts = match &args.read {
        Some(file) => read(file)?,
        None => {
            let btf = args.btf.clone().map(GivenBtf::new).transpose()?;
            probe::look(btf.as_ref())?
        }
    };
    if args.facts {
        put(&mut out, &format!("{}\n", to_json(&facts)?))?;
        return Ok(Exit::Done);
    }
    let diagnosis = diagnose(&facts);
    let text = if json {
        doctor::json(&facts, &diagnosis)
    } else {
        let mut names = match args.read {
            // They may come from another host.
            Some(_) => Names::none(),
            None => Names::of_this_host(),
        };
        let paint = Paint::new(manner::colour());
        doctor::text(&facts, &diagnosis, paint, &mut names)
    };
    put(&mut out, &text)?;
    Ok(match diagnosis.verdict() {
        Severity::Danger => Exit::Finding,
        Severity::Warning | Severity::Note | Severity::Ok => Exit::Done,
    })
}

fn put(out: &mut Output, text: &str) -> Result<()> {
    out.buffer().extend_from_slice(text.as_bytes());
    out.flush()
}

fn to_json(facts: &Facts) -> Result<String> {
    serde_json::to_string(facts)
        .map_err(|error| Error::new(format!("cannot write the facts as JSON: {error}")))
}

fn read(file: &Path) -> Result<Facts> {
    let cannot = |why: String| {
        Error::new(format!(
            "cannot read the facts in {}: {why}",
            file.display()
        ))
        .hint("such a file is written by: twtrace doctor --facts > FILE")
    };
    let mut text = Vec::new();
    let read = input::open(file, "facts")?;
    let read = read.and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    read.map_err(|error| cannot(why(&error)))?;
    if text.len() as u64 == MOST_BYTES {
        return Err(cannot("it is longer than any facts are".to_owned()));
    }
    serde_json::from_slice(&text).map_err(|error| cannot(error.to_string()))
}
