//! Many short connections; how they end is left open.

use crate::check::lab::Lab;
use crate::check::lab::step::Step;
use crate::check::life::Made;

/// The two ends take turns in closing first; neither waits for the other.
pub(in super::super) fn churn(lab: &Lab<'_>) -> Step<Made> {
    for turn in 0..lab.count {
        let pair = lab.connect()?;
        if turn % 2 == 0 {
            drop(pair.active);
            drop(pair.passive);
        } else {
            drop(pair.passive);
            drop(pair.active);
        }
    }
    lab.settle()?;
    Ok(Made {
        churned: lab.count,
        ..Made::default()
    })
}
