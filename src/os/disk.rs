//! What takes the disk.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes on disk below a directory, as du(1) counts them on one file system. What goes meanwhile counts for nothing.
pub fn size_of(dir: &Path) -> u64 {
    let mut bytes = 0;
    // Blocks are of 512 bytes whatever the file system has (stat(2)).
    walk(dir, |meta| bytes += meta.blocks() * 512);
    bytes
}

/// How many inodes there are below a directory, on one file system.
pub fn entries_of(dir: &Path) -> u64 {
    let mut entries = 0;
    walk(dir, |_| entries += 1);
    entries
}

/// Calls `see` with every inode below a directory, once.
fn walk(dir: &Path, mut see: impl FnMut(&Metadata)) {
    let Ok(device) = fs::metadata(dir).map(|meta| meta.dev()) else {
        return;
    };
    let (mut left, mut counted) = (vec![dir.to_owned()], HashSet::new());
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let is_known = !meta.is_dir() && meta.nlink() > 1 && !counted.insert(meta.ino());
            if meta.dev() != device || is_known {
                continue;
            }
            see(&meta);
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
}
