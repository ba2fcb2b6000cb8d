//! See `kubelocal_fuzz::protobuf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::protobuf(bytes));
