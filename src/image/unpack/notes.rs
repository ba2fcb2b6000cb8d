//! What could not be unpacked as the archive wanted it: counted, with the first path as an example.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::path::{TreePath, printable};

/// One kind of thing that an archive wanted and did not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What happened, as the beginning of a sentence.
    pub what: String,
    /// How often.
    pub count: u64,
    /// Where it happened first.
    pub first: String,
}

impl Note {
    /// One that has not happened yet, with the place where it does first.
    pub fn of(what: &str, first: &Path) -> Note {
        Note {
            what: what.to_owned(),
            count: 0,
            first: printable::text(first.as_os_str().as_bytes()),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (first: {})", self.what, self.count, self.first)
    }
}

/// The notes of several archives as those of one.
pub fn merge(notes: impl Iterator<Item = Note>) -> Vec<Note> {
    let mut merged: Vec<Note> = Vec::new();
    for note in notes {
        match merged.iter_mut().find(|known| known.what == note.what) {
            Some(known) => known.count += note.count,
            None => merged.push(note),
        }
    }
    merged
}

/// The notes of one archive in the making.
#[derive(Debug, Default)]
pub(super) struct Notes {
    notes: Vec<Note>,
}

impl Notes {
    pub(super) fn device(&mut self, path: &TreePath) {
        self.add("device nodes were left out", || path.to_string());
    }

    pub(super) fn squashed(&mut self, path: &TreePath) {
        self.add("owners that do not exist in this user namespace became root", || {
            path.to_string()
        });
    }

    pub(super) fn xattr(&mut self, path: &TreePath, name: &[u8]) {
        self.add("extended attributes were left out", || {
            format!("{} of {path}", printable::text(name))
        });
    }

    pub(super) fn finish(self) -> Vec<Note> {
        self.notes
    }

    fn add(&mut self, what: &str, place: impl FnOnce() -> String) {
        match self.notes.iter_mut().find(|note| note.what == what) {
            Some(note) => note.count += 1,
            None => self.notes.push(Note {
                what: what.to_owned(),
                count: 1,
                first: place(),
            }),
        }
    }
}
