//! SIGINT at any time after the ready file appears ends a trace properly, with its summary.

use std::path::Path;

use anyhow::Result;

use crate::checks::Checks;
use crate::tracer::{Tracer, Written};

const TIMES: usize = 5;

pub(crate) fn run(attach: &str) -> Result<String> {
    let stdout = Path::new("/tmp/interrupt.json");
    let mut checks = Checks::default();
    for _ in 0..TIMES {
        let tracer = Tracer::start(&["trace", "-o", "json", "--attach", attach], stdout)?;
        checks.equal("exit code", tracer.stop()?, 0);
        let written = Written::read(stdout)?;
        checks.equal("ends seen", written.number("/seen")?, 0);
    }
    checks.end(format!("{TIMES} times right after attaching"))
}
