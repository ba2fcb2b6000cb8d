//! The store's directory: where things lie, temporary names, atomic writes, locks.
//!
//! ```text
//!  blobs/sha256/<hex>           documents and packed layers; a name here means that the digest was verified
//!  layers/<short>/fs            an unpacked layer
//!  layers/<short>/layer.json    what it is (see `layer`); the directory appears whole, by one rename
//!  records/<hex>.json           an image by the digest of its config (see `record`)
//!  names/<hash>.json            one name each, and the id it points at
//!  partial/<hex>                what came of a blob before its download broke off (see `partial`)
//!  tmp/                         whatever is in the making
//!  lock, names.lock             see [`Disk::work`] and [`Disk::edit`]
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::amount::Amount;
use super::digest::Digest;
use super::error::ImageError;

/// Files that this process has under temporary names, over all stores: makes those names differ.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The layer of images that have none: overlay wants a lower directory.
pub(super) const EMPTY_LAYER: &str = "empty";

/// The store's directory. Paths only; nothing is cached, so that several processes may share it.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
}

/// A lock that is held for as long as this lives, by `flock`: the kernel gives it back when the process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Disk {
    /// Makes the directories. Only the owner may enter: images hold setuid programs, which are the image's affair and
    /// not this machine's other users'.
    pub(super) fn create(root: &Path) -> Result<Disk, ImageError> {
        for dir in [
            "",
            "blobs/sha256",
            "layers",
            "records",
            "names",
            "tmp",
            super::partial::PARTIALS,
        ] {
            let path = root.join(dir);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(ImageError::io(&path))?;
        }
        let empty = root.join("layers").join(EMPTY_LAYER).join("fs");
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&empty)
            .map_err(ImageError::io(&empty))?;
        let root = root.canonicalize().map_err(ImageError::io(root))?;
        Ok(Disk { root })
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Held by whoever makes something under `tmp/`, or relies on blobs and layers that no record names yet. Many may
    /// work at once; the sweep waits for none of them and runs only when there are none.
    pub(super) fn work(&self) -> Result<Lock, ImageError> {
        self.lock("lock", FlockOperation::LockShared)
    }

    /// The sweep's lock, if nobody works.
    pub(super) fn try_sweep(&self) -> Result<Option<Lock>, ImageError> {
        match self.lock("lock", FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Held for the instant in which records and names change, so that a name never points at a record that goes.
    pub(super) fn edit(&self) -> Result<Lock, ImageError> {
        self.lock("names.lock", FlockOperation::LockExclusive)
    }

    fn lock(&self, name: &str, operation: FlockOperation) -> Result<Lock, ImageError> {
        let path = self.path(name);
        // A description of its own for every holder: flock then tells threads apart as well as processes.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(ImageError::io(&path))?;
        loop {
            match rustix::fs::flock(&file, operation) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(ImageError::errno(&path)(errno)),
                Ok(()) => return Ok(Lock { _file: file }),
            }
        }
    }

    /// A file under a temporary name, removed when dropped unless it was moved to its place.
    pub(super) fn temporary_file(&self) -> Result<(File, Temporary), ImageError> {
        self.temporary(|path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        })
    }

    /// The same for a directory.
    pub(super) fn temporary_dir(&self) -> Result<Temporary, ImageError> {
        self.temporary(|path| DirBuilder::new().mode(0o700).create(path))
            .map(|((), temporary)| temporary)
    }

    fn temporary<T>(&self, make: impl Fn(&Path) -> io::Result<T>) -> Result<(T, Temporary), ImageError> {
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join("tmp").join(format!("{}-{count}", std::process::id()));
            match make(&path) {
                Ok(made) => return Ok((made, Temporary { path })),
                // A process of the same id, dead or in another pid namespace, was here.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ImageError::io(&path)(error)),
            }
        }
    }

    /// Writes a small file so that it is there whole or not at all, also after a power cut. Its directory is not
    /// synced: journaling file systems keep the order of renames, and to lose the last of them is to have the old state.
    pub(super) fn write_json<T: Serialize>(&self, path: &Path, value: &T) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec(value).map_err(|error| ImageError::io(path)(error.into()))?;
        let (mut file, temporary) = self.temporary_file()?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_data())
            .map_err(ImageError::io(&temporary.path))?;
        temporary.move_to(path).map_err(ImageError::io(path))
    }

    /// Bytes of the file system that we may still use.
    pub(super) fn free(&self) -> Result<u64, ImageError> {
        let stat = rustix::fs::statvfs(&self.root).map_err(ImageError::errno(&self.root))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The whole file system. It has no inodes to speak of where there are as many as there is room for (btrfs).
    pub(super) fn size(&self) -> Result<Amount, ImageError> {
        let stat = rustix::fs::statvfs(&self.root).map_err(ImageError::errno(&self.root))?;
        Ok(Amount::new(stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_files))
    }

    /// Writes everything to the disk that was made so far. One call for a whole image costs less than one for each of
    /// its files, and without it a power cut could leave a record of files that are empty.
    pub(super) fn sync(&self) -> Result<(), ImageError> {
        let root = File::open(&self.root).map_err(ImageError::io(&self.root))?;
        rustix::fs::syncfs(&root).map_err(ImageError::errno(&self.root))
    }
}

/// Reads a small file of the store; `None` if it is not there.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ImageError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ImageError::io(path)(error)),
    };
    super::document::parse(&path.display().to_string(), &bytes).map(Some)
}

/// Removes a file; that it is not there is no error.
pub(super) fn remove_file(path: &Path) -> Result<(), ImageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImageError::io(path)(error)),
        _ => Ok(()),
    }
}

/// The file names in a directory.
pub(super) fn entries(dir: &Path) -> Result<Vec<String>, ImageError> {
    let names = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let names: Vec<std::ffi::OsString> = names.map_err(ImageError::io(dir))?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Something under a temporary name; it goes when this is dropped.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its final name. On failure it is gone.
    pub(super) fn move_to(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename neither is there; what cannot be removed now is found by the next sweep.
        if fs::remove_file(&self.path).is_err() {
            let _swept_later = fs::remove_dir_all(&self.path);
        }
    }
}
