//! Many short connections that end as they like.

use crate::check::lab::Lab;
use crate::check::lab::step::Step;
use crate::check::life::Made;

/// Each end closes first in turn, nobody waits for anybody.
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
