#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twtrace_fuzz::targets::recording(bytes));
