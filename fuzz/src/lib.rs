//! The readers of foreign bytes as a fuzzer sees them: each takes any bytes, and may answer or refuse but not panic.

use std::path::Path;

use kubelocal::admit::{admit_file, decode_body};
use kubelocal::kustomize::{MemoryFiles, NoTools, Options, build};

pub use kubelocal::api::fuzzing::{patches, protobuf, requests, websocket};
pub use kubelocal::image::fuzzing::{archive, credentials, manifest};

/// A file of manifests, and the body of a request. What may be applied has all that an object has to have.
pub fn documents(bytes: &[u8]) {
    for admitted in admit_file(Path::new("fuzz.yaml"), bytes).objects {
        assert!(!admitted.object.key().name.is_empty());
        assert!(admitted.location.at.line > 0);
    }
    let _either = decode_body(bytes);
}

/// An overlay, its files in the form of `tests/kustomize`: each begins with a line `-- path --`. It is built again to the same.
pub fn overlay(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut files = MemoryFiles::new();
    for file in format!("\n{text}").split("\n-- ").skip(1) {
        if let Some((path, text)) = file.split_once(" --\n") {
            files.put(&format!("/fuzz/{path}"), text);
        }
    }
    let output = || build(&files, &NoTools, "/fuzz", &Options::default()).map(|built| built.text());
    if let (Ok(first), Ok(second)) = (output(), output()) {
        assert_eq!(first, second);
    }
}

/// What a client of `exec` or `port-forward` sends over SPDY.
pub fn streams(bytes: &[u8]) {
    let _either = kubelocal::spdy::decode(bytes);
}
