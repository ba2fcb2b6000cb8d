//! Modification times of directories, which can only be set when nothing more is written into them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, OFlags, futimens, openat, unlinkat};
use rustix::io::Errno;

use super::error::UnpackError;
use super::extract::timestamps;
use super::path::TreePath;
use super::tarball::Time;
use super::tree::{Tree, failed};

/// The name of such a file for the instant between its creation and its removal.
const NAME: &str = ".kubelocal-scratch";

/// A list of directories and times in an unnamed file: a layer may have a million directories, and memory is bounded.
pub(super) struct DirTimes {
    list: BufWriter<File>,
    count: u64,
}

impl DirTimes {
    /// Makes an empty list on the file system of `dir`, which is empty too.
    pub(super) fn new(dir: BorrowedFd<'_>) -> Result<DirTimes, UnpackError> {
        Ok(DirTimes {
            list: BufWriter::new(scratch_file(dir)?),
            count: 0,
        })
    }

    /// Notes when a directory was modified; of two times for one directory the later noted counts.
    pub(super) fn add(&mut self, path: &TreePath, time: Time) -> Result<(), UnpackError> {
        let bytes = path.as_bytes();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.list.write_all(&time.seconds.to_ne_bytes())?;
        self.list.write_all(&time.nanos.to_ne_bytes())?;
        self.list.write_all(&length.to_ne_bytes())?;
        self.list.write_all(bytes)?;
        self.count += 1;
        Ok(())
    }

    /// Sets them all. Directories that a later entry replaced are passed over.
    pub(super) fn apply(self, tree: &mut Tree<'_>) -> Result<(), UnpackError> {
        let mut file = self.list.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut list = BufReader::new(file);
        for _ in 0..self.count {
            let seconds = i64::from_ne_bytes(read(&mut list)?);
            let nanos = u32::from_ne_bytes(read(&mut list)?);
            let mut path = vec![0; u32::from_ne_bytes(read(&mut list)?) as usize];
            list.read_exact(&mut path)?;
            set(tree, &TreePath::from_clean(&path), Time { seconds, nanos })?;
        }
        Ok(())
    }
}

/// An unnamed file on the file system of a directory that is empty.
pub(super) fn scratch_file(dir: BorrowedFd<'_>) -> Result<File, UnpackError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(dir, NAME, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?;
    unlinkat(dir, NAME, AtFlags::empty()).map_err(io::Error::from)?;
    Ok(file.into())
}

fn set(tree: &mut Tree<'_>, path: &TreePath, time: Time) -> Result<(), UnpackError> {
    let (parent, name) = match path.split() {
        Some((parent, name)) => (parent, name),
        None => (path.clone(), b".".as_slice()),
    };
    let Some(parent) = tree.find(&parent)? else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&parent, name, flags, Mode::empty()) {
        Ok(dir) => futimens(&dir, &timestamps(time)).map_err(|errno| failed("setting times of", path, errno)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(failed("opening", path, errno)),
    }
}

fn read<const N: usize>(list: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    list.read_exact(&mut bytes)?;
    Ok(bytes)
}
