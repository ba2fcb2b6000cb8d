//! See `kubelocal::image::fuzzing::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal::image::fuzzing::archive(bytes));
