//! See `kubelocal_fuzz::patches`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::patches(bytes));
