//! What a person or a program reads. Nothing here computes a number: figures come from `model`.

mod advice;
mod books;
mod cell;
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
pub mod paint;
mod ports;
mod render;
mod text;
pub mod top;
mod units;
mod unknown;

pub use columns::Of;
pub use conflicts::WhatIf;
pub use histogram::Scope;
pub use ports::{Block, When, already_there};
pub use render::{Options, Output, Renderer};
pub use units::thousands;
pub use unknown::{Unknown, nearest};
