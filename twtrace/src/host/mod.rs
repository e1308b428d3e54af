//! What only this host knows: the wall clock, and names for numbers.

mod cgroups;
mod clock;
mod names;
mod owner;
mod roll;

pub(crate) use cgroups::{Cgroup, mount as cgroup2_mount};
pub(crate) use clock::WallClock;
pub use names::Names;
pub use owner::Owner;
pub(crate) use roll::Roll;
