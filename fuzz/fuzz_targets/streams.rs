//! See `kubelocal_fuzz::streams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::streams(bytes));
