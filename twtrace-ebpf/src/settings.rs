//! The read-only settings, set by user space before loading.

use twtrace_common::settings::Settings;

#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings {
    offsets: twtrace_common::settings::Offsets::ZERO,
    values: twtrace_common::settings::Values::NONE,
    reserved: 0,
    filter: twtrace_common::settings::Filter::ZERO,
    features: 0,
    slots_mask: 0,
    owners_mask: 0,
    stripes_mask: 0,
    wake_bytes: 0,
    refusal_bytes: 0,
    refusal_budget: 0,
    port_failure_budget: 0,
};

/// Reads one field. Volatile, because the compiler must not fold the zeros above; the verifier
/// folds the real values instead and drops the branches they rule out.
macro_rules! setting {
    ($($field:ident).+ $([$index:expr])?) => {
        // SAFETY: a static of the program itself.
        unsafe {
            core::ptr::read_volatile(&raw const $crate::settings::SETTINGS.$($field).+ $([$index])?)
        }
    };
}
/// Reads one byte offset, ready to be added to a pointer.
macro_rules! offset {
    ($field:ident) => {
        $crate::settings::setting!(offsets.$field) as usize
    };
}
/// Reads one enum value.
macro_rules! value {
    ($field:ident) => {
        $crate::settings::setting!(values.$field)
    };
}
pub(crate) use {offset, setting, value};

/// Whether a feature bit is set.
#[inline(always)]
pub fn enabled(feature: u32) -> bool {
    setting!(features) & feature != 0
}
