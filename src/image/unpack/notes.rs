//! What could not be unpacked as the archive wanted it: counted, with the first path as an example.

use super::path::{TreePath, printable};

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    first: String,
}

impl Tally {
    fn add(&mut self, first: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = first();
        }
        self.count += 1;
    }

    fn sentence(&self, words: &str) -> Option<String> {
        (self.count > 0).then(|| format!("{words}: {} (first: {})", self.count, self.first))
    }
}

/// The notes of one archive.
#[derive(Debug, Default)]
pub(super) struct Notes {
    devices: Tally,
    squashed: Tally,
    xattrs: Tally,
}

impl Notes {
    pub(super) fn device(&mut self, path: &TreePath) {
        self.devices.add(|| path.to_string());
    }

    pub(super) fn squashed(&mut self, path: &TreePath) {
        self.squashed.add(|| path.to_string());
    }

    pub(super) fn xattr(&mut self, path: &TreePath, name: &[u8]) {
        self.xattrs.add(|| format!("{} of {path}", printable::text(name)));
    }

    pub(super) fn into_sentences(self) -> Vec<String> {
        [
            self.devices.sentence("device nodes were left out"),
            self.squashed
                .sentence("owners that do not exist in this user namespace became root"),
            self.xattrs.sentence("extended attributes were left out"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
