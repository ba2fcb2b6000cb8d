//! See `kubelocal_fuzz::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::requests(bytes));
