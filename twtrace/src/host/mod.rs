//! What only this host knows: the wall clock, and names for numbers.

mod clock;
mod names;

pub use clock::WallClock;
pub use names::Names;
