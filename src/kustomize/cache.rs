//! What a build may reuse of the one before it: the objects of files that are as they were, and the text of documents that
//! came out as they did.
//!
//! What happens between the two is done anew each time: any object may bear on any other.

use std::collections::HashMap;
use std::sync::Arc;

use super::graph::{Fragment, Graph, Id};
use super::resource::Resource;
use super::world::File;

/// What one overlay's builds leave for the next.
#[derive(Debug, Default)]
pub struct Cache {
    files: HashMap<String, Kept>,
    printed: HashMap<u64, Arc<str>>,
    /// What the build at hand printed; the rest goes when it is done.
    printed_now: HashMap<u64, Arc<str>>,
    round: u64,
}

/// A file's objects before anything was done to them.
#[derive(Debug)]
struct Kept {
    bytes: Arc<[u8]>,
    objects: Fragment,
    /// The last build that used it.
    round: u64,
}

impl Cache {
    /// Begins a build.
    pub(super) fn begin(&mut self) {
        self.round += 1;
    }

    /// Forgets what the build that ends did not use.
    pub(super) fn end(&mut self) {
        let round = self.round;
        self.files.retain(|_, kept| kept.round == round);
        self.printed = std::mem::take(&mut self.printed_now);
    }

    /// Adds a file's objects to a graph, if they are known.
    pub(super) fn reuse(&mut self, graph: &mut Graph, name: &str, file: &File) -> Option<Vec<Resource>> {
        let kept = self.files.get_mut(name)?;
        if !Arc::ptr_eq(&kept.bytes, &file.bytes) && kept.bytes != file.bytes {
            return None;
        }
        kept.round = self.round;
        let roots = graph.insert(&kept.objects, file.id);
        Some(roots.into_iter().map(Resource::new).collect())
    }

    /// Keeps a file's objects, which are all that was added to a graph from a number on.
    pub(super) fn keep(&mut self, graph: &Graph, first: usize, name: &str, file: &File, read: &[Resource]) {
        let roots: Vec<Id> = read.iter().filter_map(|resource| resource.root).collect();
        let kept = Kept {
            bytes: Arc::clone(&file.bytes),
            objects: graph.fragment(first, &roots),
            round: self.round,
        };
        self.files.insert(name.to_owned(), kept);
    }

    /// The text of a document, printed if it is not known.
    ///
    /// # Errors
    /// Those of `print`.
    pub(super) fn print<E>(
        &mut self,
        graph: &Graph,
        root: Id,
        print: impl FnOnce() -> Result<Arc<str>, E>,
    ) -> Result<Arc<str>, E> {
        let mut mix = Mix(0);
        hash(graph, root, &mut mix);
        let key = mix.0;
        let text = match self.printed.get(&key) {
            Some(text) => Arc::clone(text),
            None => print()?,
        };
        self.printed_now.insert(key, Arc::clone(&text));
        Ok(text)
    }
}

/// A hash of many short texts. Whoever writes an overlay may find two documents with one hash, and gets one of them twice;
/// that harms nobody but them, so speed is what counts.
struct Mix(u64);

impl Mix {
    fn add(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ 0x9E37_79B9_7F4A_7C15) * u128::from(0xD6E8_FEB8_6659_FD93_u64);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn add_text(&mut self, text: &str) {
        self.add(text.len() as u64);
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }
}

/// All of a node that bears on what is printed of it.
fn hash(graph: &Graph, id: Id, mix: &mut Mix) {
    let cell = graph.cell(id);
    let style = (cell.style.form as u64) << 1 | u64::from(cell.style.tagged);
    mix.add((cell.kind as u64) << 60 | style << 48 | cell.content.len() as u64);
    mix.add_text(cell.tag.as_str());
    mix.add_text(&cell.text);
    for child in &cell.content {
        hash(graph, *child, mix);
    }
}
