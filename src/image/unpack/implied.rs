//! Directories that exist only because something lies in them, noted until the layers below are known.
//!
//! The names of those that a hostile layer wants are hundreds of megabytes, so they lie in an unnamed file; in memory there is
//! a number for each.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::os::fd::BorrowedFd;

use super::error::UnpackError;
use super::path::TreePath;
use super::times::scratch_file;
use crate::image::limits::Limits;

/// A list of directories without an entry, parents before what lies in them.
#[derive(Debug)]
pub struct Implied {
    /// All that were ever noted, each ended by a zero byte, which no path contains.
    list: BufWriter<File>,
    bytes: usize,
    /// Hashes of those that no entry has described since; keyed at random, so that no archive can make two of them the same.
    open: HashSet<u64>,
    noted: usize,
    hasher: RandomState,
}

impl Implied {
    /// An empty list on the file system of this directory.
    pub(super) fn new(dir: BorrowedFd<'_>) -> Result<Implied, UnpackError> {
        Ok(Implied {
            list: BufWriter::new(scratch_file(dir)?),
            bytes: 0,
            open: HashSet::new(),
            noted: 0,
            hasher: RandomState::new(),
        })
    }

    /// Notes a directory that is about to be made.
    pub(super) fn note(&mut self, path: &TreePath, limits: &Limits) -> Result<(), UnpackError> {
        let over = |what: &str, limit: usize| UnpackError::OverLimit {
            what: format!("{what} of directories without an entry"),
            limit: limit.to_string(),
        };
        if !self.open.insert(self.hasher.hash_one(path.as_bytes())) {
            return Ok(());
        }
        self.noted += 1;
        self.bytes += path.as_bytes().len() + 1;
        if self.noted > limits.implied_dirs {
            return Err(over("the number", limits.implied_dirs));
        }
        if self.bytes > limits.implied_bytes {
            return Err(over("the length of the paths", limits.implied_bytes));
        }
        self.list.write_all(path.as_bytes())?;
        Ok(self.list.write_all(&[0])?)
    }

    /// An entry has described it.
    pub(super) fn forget(&mut self, path: &TreePath) {
        self.open.remove(&self.hasher.hash_one(path.as_bytes()));
    }

    /// Whether entries described all directories.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Writes the paths, each ended by a zero byte. Some may be gone again, or be something else by now.
    ///
    /// # Errors
    /// If either file can't be read or written.
    pub fn write_to(self, target: &mut impl Write) -> io::Result<()> {
        let mut list = self.list.into_inner().map_err(io::IntoInnerError::into_error)?;
        list.rewind()?;
        let mut list = BufReader::new(list);
        let mut path = Vec::new();
        while list.read_until(0, &mut path)? > 0 {
            if self.open.contains(&self.hasher.hash_one(&path[..path.len() - 1])) {
                target.write_all(&path)?;
            }
            path.clear();
        }
        Ok(())
    }
}
