//! See `kubelocal::image::fuzzing::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal::image::fuzzing::manifest(bytes));
