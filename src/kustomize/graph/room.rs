//! How large a build may become. What is read is bounded by its files; what transformers make of it is not: a patch of a
//! kilobyte can double an object a hundred times, or nest it as deep as it is long.

use std::sync::Arc;

use super::{Graph, Id};
use crate::kustomize::error::{Error, Result};
use crate::kustomize::yaml;

/// How many nodes one build may have. A real overlay of 500 resources has 50,000.
const MAX_NODES: usize = 4_000_000;

/// How many bytes of text one build may make. An overlay of 500 resources has one megabyte, the largest bundles of
/// definitions ten; what the API takes of one object is three.
const MAX_BYTES: usize = 128 << 20;

/// How many parts a path of fields may have. What has more leads deeper than any text that can be read.
const MAX_PATH: usize = yaml::MAX_DEPTH;

/// How deep objects may nest: as deep as what can be read, below a path as long as can be given. Walks through objects
/// recurse, on threads with stacks of two megabytes.
pub const MAX_DEPTH: usize = 2 * yaml::MAX_DEPTH;

/// Fails if a path of fields is longer than any that leads somewhere.
///
/// # Errors
/// If it is.
pub fn check_path<S>(path: &[S]) -> Result<()> {
    match path.len() > MAX_PATH {
        true => Err(Error::limit(format!(
            "a path of {} fields exceeds the limit of {MAX_PATH}",
            path.len()
        ))),
        false => Ok(()),
    }
}

/// What a text costs beside its bytes while a build is laid out: its line in the output.
const LINE: usize = 2;

impl Graph {
    /// Fails once the build has become too large.
    ///
    /// # Errors
    /// If it has.
    pub fn check_room(&self) -> Result<()> {
        self.check_room_for(0)
    }

    /// Fails if a text of so many bytes would make the build too large.
    ///
    /// # Errors
    /// If it would.
    pub fn check_room_for(&self, bytes: usize) -> Result<()> {
        if self.cells.len() > MAX_NODES {
            return Err(Error::limit(format!("more than {MAX_NODES} YAML nodes in one build")));
        }
        if self.bytes.saturating_add(bytes) > MAX_BYTES {
            return Err(Error::limit(format!(
                "more than {MAX_BYTES} bytes of text in one build"
            )));
        }
        Ok(())
    }

    /// Fails if an object nests deeper than walks may recurse.
    ///
    /// # Errors
    /// If it does.
    pub fn check_depth(&self, root: Id) -> Result<()> {
        match self.is_within(root, MAX_DEPTH) {
            true => Ok(()),
            false => Err(Error::limit(format!("objects nest deeper than {MAX_DEPTH}"))),
        }
    }

    fn is_within(&self, id: Id, levels: usize) -> bool {
        let children = self.content(id);
        children.is_empty() || (levels > 0 && children.iter().all(|child| self.is_within(*child, levels - 1)))
    }

    /// Fails if the text of an object would be too large to be printed: each level of nesting indents each line.
    ///
    /// # Errors
    /// If it would.
    pub fn check_printable(&self, root: Id) -> Result<()> {
        match self.take_from(MAX_BYTES, root, 0) {
            Some(_) => Ok(()),
            None => Err(Error::limit(format!("an object of more than {MAX_BYTES} bytes")).at(self.pos(root))),
        }
    }

    /// What is left of a budget after a node was printed with this indentation.
    fn take_from(&self, budget: usize, id: Id, indent: usize) -> Option<usize> {
        let cell = self.cell(id);
        let own = cell.text.len() + indent + LINE;
        let left = budget.checked_sub(own)?;
        cell.content
            .iter()
            .try_fold(left, |left, child| self.take_from(left, *child, indent + LINE))
    }

    /// Gives a node another text.
    pub fn set_text(&mut self, id: Id, text: impl Into<Arc<str>>) {
        let text = text.into();
        self.bytes += text.len();
        self.cell_mut(id).text = text;
    }

    /// How many bytes of text were ever made.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
