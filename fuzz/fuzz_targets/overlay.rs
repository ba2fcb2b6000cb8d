//! See `kubelocal_fuzz::overlay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::overlay(bytes));
