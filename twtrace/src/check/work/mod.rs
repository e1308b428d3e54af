//! What each scenario does in its namespace.

pub(super) mod births;
pub(super) mod churn;
pub(super) mod counts;
pub(super) mod elsewhere;
mod forged;
pub(super) mod limits;
pub(super) mod nat;
pub(super) mod owner;
pub(super) mod ports;
pub(super) mod preexisting;
pub(super) mod rearms;
pub(super) mod refusals;
pub(super) mod removal;
pub(super) mod reopens;
pub(super) mod resets;
pub(super) mod reuse;
pub(super) mod takeover;
pub(super) mod timers;
pub(super) mod unexpected;
