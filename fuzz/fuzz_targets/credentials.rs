//! See `kubelocal::image::fuzzing::credentials`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal::image::fuzzing::credentials(bytes));
