//! Full sockets in FIN_WAIT2 that a process holds: they wait without a limit, and no setting of
//! TIME_WAIT or FIN_WAIT2 touches them.

use super::{Finding, Severity, What};
use crate::event::facts::Namespace;

/// From so many on they are no passing state: a server that lingers after shutdown() has some.
const MANY: u64 = 100;

pub(super) fn find(namespace: &Namespace, findings: &mut Vec<Finding>) {
    let Some(full) = namespace.fin_wait_2.as_ref().filter(|full| full.held > 0) else {
        return;
    };
    let severity = if full.held >= MANY {
        Severity::Warning
    } else {
        Severity::Note
    };
    let what = What::FinWait2Held(full.clone());
    findings.push(Finding::new(severity, Some(namespace.netns), what));
}
