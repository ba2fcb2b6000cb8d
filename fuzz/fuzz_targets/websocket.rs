//! See `kubelocal_fuzz::websocket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kubelocal_fuzz::websocket(bytes));
