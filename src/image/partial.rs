//! What came of a blob before its download broke off, kept so that the next one goes on from there.
//!
//! Nobody vouches for such a file: a power cut may have left zeros in it. The digest of the whole blob decides, and then it is
//! a blob; or it goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::digest::Digest;
use super::disk::{Disk, entries, remove_file};
use super::error::ImageError;

/// The directory.
pub(super) const PARTIALS: &str = "partial";
/// How long the beginning of a blob waits for its rest. A pull that failed is tried again within minutes; what is a day old
/// was given up.
pub(super) const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The file of a blob that is on its way, for one download alone. When dropped it goes, unless it is left or moved.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    /// Holds the lock.
    file: File,
    goes: bool,
}

impl Disk {
    /// The file of this blob, if nobody else, in this process or another, is at it.
    pub(super) fn partial(&self, digest: &Digest) -> Result<Option<Partial>, ImageError> {
        let path = self.path(PARTIALS).join(digest.hex());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(ImageError::io(&path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(ImageError::errno(&path)(errno)),
        }
        // Whoever had it before us may have moved it to its place between our opening and locking it.
        let is_there = match (fs::metadata(&path), file.metadata()) {
            (Ok(named), Ok(opened)) => named.ino() == opened.ino(),
            _ => false,
        };
        Ok(is_there.then_some(Partial { path, file, goes: true }))
    }
}

impl Partial {
    /// What is there, and how much it is; no more than `size`.
    pub(super) fn read(&self, size: u64) -> Result<(io::Take<File>, u64), ImageError> {
        let read = || -> io::Result<(io::Take<File>, u64)> {
            let already = self.file.metadata()?.len().min(size);
            // A description of its own, for reader and writer have different places in it.
            Ok((File::open(&self.path)?.take(already), already))
        };
        read().map_err(ImageError::io(&self.path))
    }

    /// The file, to be written from this byte on.
    pub(super) fn append(&self, already: u64) -> Result<File, ImageError> {
        let append = || -> io::Result<File> {
            self.file.set_len(already)?;
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(already))?;
            Ok(file)
        };
        append().map_err(ImageError::io(&self.path))
    }

    /// It stays for the next download.
    pub(super) fn leave(mut self) {
        // An empty one is worth nothing.
        self.goes = self.file.metadata().is_ok_and(|meta| meta.len() == 0);
    }

    /// It is the blob.
    pub(super) fn move_to(mut self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        self.goes = false;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.goes {
            // What can't be removed now is found by a later sweep.
            let _swept_later = fs::remove_file(&self.path);
        }
    }
}

/// Removes what was given up: what is older than `kept`. Nobody is at work in the store.
pub(super) fn sweep_partials(disk: &Disk, now: SystemTime, kept: Duration) -> Result<(), ImageError> {
    let dir = disk.path(PARTIALS);
    for name in entries(&dir)? {
        let path = dir.join(name);
        let written = fs::metadata(&path).and_then(|meta| meta.modified());
        let is_old = written.is_ok_and(|written| now.duration_since(written).is_ok_and(|age| age > kept));
        if is_old {
            remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_left_is_found_again_and_one_download_has_it_at_a_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Disk::create(dir.path()).expect("a store");
        let digest = Digest::of(b"hello world");
        let first = disk.partial(&digest).expect("a file").expect("nobody else");
        assert!(disk.partial(&digest).expect("a file").is_none(), "it is taken");
        let mut file = first.append(0).expect("writable");
        file.write_all(b"hello").expect("writes");
        drop(file);
        first.leave();
        let second = disk.partial(&digest).expect("a file").expect("nobody else");
        let (mut before, already) = second.read(11).expect("readable");
        let mut text = String::new();
        before.read_to_string(&mut text).expect("readable");
        assert_eq!((text.as_str(), already), ("hello", 5));
        second
            .append(5)
            .expect("writable")
            .write_all(b" world")
            .expect("writes");
        second.move_to(&disk.blob(&digest)).expect("moves");
        assert_eq!(fs::read(disk.blob(&digest)).expect("readable"), b"hello world");
        assert!(entries(&disk.path(PARTIALS)).expect("readable").is_empty());
    }

    #[test]
    fn what_is_wrong_or_empty_or_old_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Disk::create(dir.path()).expect("a store");
        let digest = Digest::of(b"x");
        drop(disk.partial(&digest).expect("a file"));
        disk.partial(&digest).expect("a file").expect("nobody else").leave();
        assert!(entries(&disk.path(PARTIALS)).expect("readable").is_empty());
        fs::write(disk.path(PARTIALS).join("a"), "b").expect("writes");
        sweep_partials(&disk, SystemTime::now(), KEPT).expect("sweeps");
        assert_eq!(entries(&disk.path(PARTIALS)).expect("readable"), ["a"]);
        sweep_partials(&disk, SystemTime::now() + KEPT * 2, KEPT).expect("sweeps");
        assert!(entries(&disk.path(PARTIALS)).expect("readable").is_empty());
    }
}
