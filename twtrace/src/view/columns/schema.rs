//! What the JSON schema has of each kind of event.

use super::table::walk;
use super::{Of, Show};
use crate::model::Report;

/// Shows what the schema has for this event.
#[inline(always)]
pub(in crate::view) fn each_of_schema(report: &Report, show: &mut impl Show) {
    match report {
        Report::End(_) => walk::<{ Of::END.0 }>(report, show),
        Report::Overflow(_) => walk_apart::<{ Of::OVERFLOW.0 }>(report, show),
        Report::Refusal(_) => walk_apart::<{ Of::REFUSAL.0 }>(report, show),
        Report::PortFailure(_) => walk_apart::<{ Of::PORT_FAILURE.0 }>(report, show),
        Report::Reopen(_) => walk_apart::<{ Of::REOPEN.0 }>(report, show),
        Report::Conflict(_) => walk_apart::<{ Of::CONFLICT.0 }>(report, show),
    }
}

/// Out of the way of the ends, which are many more: with `dyn`, nothing of it is inlined there.
#[inline(never)]
fn walk_apart<const EVENT: u8>(report: &Report, show: &mut dyn Show) {
    walk::<EVENT>(report, show);
}
