//! What is read: a file, or stdin where its name is `-`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use crate::error::{Error, Result};
use crate::recording::Reader;

/// The name of stdin and stdout.
const DASH: &str = "-";

/// Whether stdin or stdout is meant.
pub(super) fn is_dash(path: &Path) -> bool {
    path == Path::new(DASH)
}

/// Opens a file, or takes stdin unless a person would have to type it. `what` is for the message.
pub(super) fn open(path: &Path, what: &str) -> Result<io::Result<Box<dyn Read>>> {
    if !is_dash(path) {
        return Ok(File::open(path).map(|file| Box::new(file) as Box<dyn Read>));
    }
    refuse_terminal(what)?;
    Ok(Ok(Box::new(io::stdin().lock())))
}

/// Opens a recording.
pub(super) fn recording(path: &Path) -> Result<Reader> {
    if !is_dash(path) {
        return Reader::open(path);
    }
    refuse_terminal("recording")?;
    Reader::new("stdin".to_owned(), Box::new(io::stdin()))
}

fn refuse_terminal(what: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let from = match what {
        "recording" => "twtrace record - | twtrace report -",
        _ => "twtrace doctor --facts | twtrace doctor --read -",
    };
    Err(
        Error::new(format!("cannot read the {what}: stdin is a terminal"))
            .hint(format!("name a file, or pipe it in: {from}")),
    )
}
