//! See `kubelocal_fuzz::credentials`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::credentials(bytes));
