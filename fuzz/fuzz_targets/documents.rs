//! See `kubelocal_fuzz::documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::documents(bytes));
