//! What a build may reuse of the one before it: the objects of files that are as they were, and the text of documents that
//! came out as they did; and the build itself, for the changes that can be worked into it.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::Result;
use super::graph::{Fragment, Graph, Id};
use super::replay::Record;
use super::resource::Resource;
use super::world::File;

/// What one overlay's builds leave for the next.
#[derive(Debug, Default)]
pub struct Cache {
    files: HashMap<String, Kept>,
    /// Texts by all that bears on them.
    printed: HashMap<Vec<u8>, Arc<str>>,
    /// What the build at hand printed; the rest goes when it is done.
    printed_now: HashMap<Vec<u8>, Arc<str>>,
    round: u64,
    /// The build before, and how it came about.
    pub(super) record: Option<Record>,
}

/// A file's objects before anything was done to them.
#[derive(Debug)]
struct Kept {
    bytes: Arc<[u8]>,
    objects: Arc<Fragment>,
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
    ///
    /// # Errors
    /// If the build becomes too large.
    pub(super) fn reuse(&mut self, graph: &mut Graph, name: &str, file: &File) -> Result<Option<Vec<Resource>>> {
        let Some(kept) = self.files.get_mut(name) else {
            return Ok(None);
        };
        if !Arc::ptr_eq(&kept.bytes, &file.bytes) && kept.bytes != file.bytes {
            return Ok(None);
        }
        kept.round = self.round;
        let roots = graph.insert(&kept.objects, file.id)?;
        Ok(Some(roots.into_iter().map(Resource::new).collect()))
    }

    /// What was last kept of a file.
    pub(super) fn kept(&self, name: &str) -> Option<Arc<Fragment>> {
        self.files.get(name).map(|kept| Arc::clone(&kept.objects))
    }

    /// Keeps a file's objects, which are all that was added to a graph from a number on.
    pub(super) fn keep(&mut self, graph: &Graph, first: usize, name: &str, file: &File, read: &[Resource]) {
        let roots: Vec<Id> = read.iter().filter_map(|resource| resource.root).collect();
        let kept = Kept {
            bytes: Arc::clone(&file.bytes),
            objects: Arc::new(graph.fragment(first, &roots)),
            round: self.round,
        };
        self.files.insert(name.to_owned(), kept);
    }

    /// The text of a document, printed if it is not known.
    ///
    /// # Errors
    /// Those of `print`.
    pub(super) fn print(
        &mut self,
        graph: &Graph,
        root: Id,
        print: impl FnOnce() -> Result<Arc<str>>,
    ) -> Result<Arc<str>> {
        let mut key = Vec::new();
        write_key(graph, root, &mut key);
        let text = match self.printed.get(&key) {
            Some(text) => Arc::clone(text),
            None => print()?,
        };
        self.printed_now.insert(key, Arc::clone(&text));
        Ok(text)
    }
}

/// Writes all of a node that bears on what is printed of it. Lengths come before what they are the lengths of, so that no two
/// nodes have one key.
fn write_key(graph: &Graph, id: Id, key: &mut Vec<u8>) {
    let cell = graph.cell(id);
    key.extend([cell.kind as u8, cell.style.form as u8, u8::from(cell.style.tagged)]);
    for text in [cell.tag.as_str(), &cell.text] {
        key.extend(text.len().to_le_bytes());
        key.extend(text.as_bytes());
    }
    key.extend(cell.content.len().to_le_bytes());
    for child in &cell.content {
        write_key(graph, *child, key);
    }
}
