//! The readers of foreign bytes as a fuzzer sees them: each takes any bytes, and may answer or refuse but not panic.
//!
//! Only for `fuzz/` and `tests/fuzz.rs`; they are here because what they call is nobody else's.

use std::path::Path;

use super::digest::Digest;
use super::document::Descriptor;
use super::limits::Limits;
use super::manifest::{Next, plan_layers, plan_next};
use super::registry::Keyring;
use super::unpack::{Memory, Need, Owners, Source, SpaceAccount, UnpackError, Windows, extract, open_root, stream};

/// Limits that a run of thousands per second stays within.
fn limits() -> Limits {
    Limits {
        entries: 1000,
        unpacked: 1 << 20,
        extended_header: 1 << 16,
        implied_dirs: 100,
        segments: 1000,
        ..Limits::default()
    }
}

/// What one layer may take of memory, in KiB: what is promised for images of any size.
const MEMORY: u64 = 64 << 10;

/// A packed layer. It may not panic, nor touch what lies beside its tree, nor take more memory than any layer may.
pub fn archive(bytes: &[u8]) {
    let memory = Path::new("/dev/shm");
    let dir = memory.join(format!("kubelocal-fuzz-{}", std::process::id()));
    let _is_first = std::fs::remove_dir_all(&dir);
    let tree = dir.join("beside/tree");
    std::fs::create_dir_all(dir.join("beside")).expect("memory");
    std::fs::write(dir.join("beside/canary"), "canary").expect("memory");
    // 5 has the kernel forget the peak (proc(5)); where it may not, there is none to hold against.
    let is_measured = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = kibibytes("VmRSS:");
    if let Some(need) = unpack(bytes, &tree, Need::Spare) {
        // As a pull does: again, with as much as it asked for.
        std::fs::remove_dir_all(&tree).expect("is ours");
        let _either = unpack(bytes, &tree, need);
    }
    let taken = kibibytes("VmHWM:").saturating_sub(before);
    assert!(!is_measured || taken <= MEMORY, "{taken} KiB");
    let canary = std::fs::read_to_string(dir.join("beside/canary")).expect("nobody may remove it");
    assert_eq!(canary, "canary");
    assert_eq!(std::fs::read_dir(dir.join("beside")).expect("is there").count(), 2);
    assert_eq!(std::fs::read_dir(&dir).expect("is there").count(), 1);
    std::fs::remove_dir_all(&dir).expect("is ours");
}

/// How much more memory it wants, if that is all that is missing.
fn unpack(bytes: &[u8], tree: &Path, need: Need) -> Option<Need> {
    std::fs::create_dir(tree).expect("memory");
    let root = open_root(tree).expect("was just made");
    let source = Source {
        reader: bytes,
        max_size: 1 << 20,
        keep: None,
    };
    let limits = limits();
    let windows = Windows::default();
    let memory = Memory {
        windows: &windows,
        need,
        is_given_up: &|| false,
    };
    let streamed = stream(source, &memory, &limits, |data| {
        extract(data, root, (&Owners::here(), &SpaceAccount::default()), &limits)
    });
    match streamed.ok()?.unpacked {
        Err(UnpackError::Postponed(need)) => Some(need),
        Ok(_) | Err(_) => None,
    }
}

/// A line of `/proc/self/status`.
fn kibibytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

/// A manifest or an index, and behind a zero byte, which no JSON has, its config.
pub fn manifest(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (manifest, config) = (&bytes[..end], bytes.get(end + 1..).unwrap_or(bytes));
    let digest = Digest::of(manifest);
    let descriptor = Descriptor::new("", digest.clone(), manifest.len() as u64);
    let blobs = match plan_next(&descriptor, manifest, &limits()) {
        Ok(Next::Image(parts)) => parts.blobs,
        Ok(Next::Entry(_)) | Err(_) => Vec::new(),
    };
    let _either = plan_layers(&digest, blobs, &digest, config);
}

/// A file of credentials.
pub fn credentials(bytes: &[u8]) {
    if let Ok(keyring) = Keyring::parse(bytes, "fuzz") {
        let _found = keyring.find("docker.io", "library/nginx").count();
    }
    let _either = Keyring::parse_legacy(bytes, "fuzz");
}
