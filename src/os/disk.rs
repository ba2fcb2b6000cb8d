//! What takes the disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes on disk below a directory, as du(1) counts them on one file system. What goes meanwhile counts for nothing.
pub fn size_of(dir: &Path) -> u64 {
    let Ok(device) = fs::metadata(dir).map(|meta| meta.dev()) else {
        return 0;
    };
    let (mut bytes, mut left, mut counted) = (0, vec![dir.to_owned()], HashSet::new());
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let is_known = !meta.is_dir() && meta.nlink() > 1 && !counted.insert(meta.ino());
            if meta.dev() != device || is_known {
                continue;
            }
            // Blocks are of 512 bytes whatever the file system has (stat(2)).
            bytes += meta.blocks() * 512;
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    bytes
}
