//! What a person or a program reads. Nothing here computes a number: figures come from `model`.

mod books;
pub mod columns;
mod conflicts;
mod csv;
pub mod docs;
pub mod doctor;
mod evidence;
mod groups;
mod histogram;
mod json;
mod kept;
mod line;
mod note;
mod owners;
mod ports;
mod render;
mod text;
pub mod top;
mod units;

pub use columns::Of;
pub use conflicts::WhatIf;
pub use histogram::Scope;
pub use ports::{Block, When, already_there};
pub use render::{Options, Output, Renderer, Unknown};
pub use units::thousands;
