//! Aliases replaced by what they stand for, and merge keys merged, as the reference does with every resource it reads.
//!
//! Where a merged field stands is visible in the output's comments only, but which of several merged mappings wins is
//! visible in the values: the fields of the mapping itself, then those of the first mapping in the list.

use std::collections::HashMap;

use super::error::{Problem, YamlError};
use super::node::{Data, Entry, Node, Pos, Tag};
use super::{MAX_DEPTH, MAX_EXPANDED_NODES};

/// What an anchor's name stands for at one point of the document.
enum Anchored {
    /// The walk is still inside of the value.
    Open,
    Value(Box<Node>, Size),
}

struct Expander {
    anchors: HashMap<String, Anchored>,
    /// What was copied so far, as [`Size::weight`] counts.
    copied: usize,
    depth: usize,
    merges: bool,
}

impl Expander {
    fn new(merges: bool) -> Self {
        Self {
            anchors: HashMap::new(),
            copied: 0,
            depth: 0,
            merges,
        }
    }
}

/// Replaces aliases, merges merge keys and removes anchors.
///
/// # Errors
/// If an anchor contains itself, if the copies exceed [`MAX_EXPANDED_NODES`] or lie too deep, or if a merge key has no
/// mappings.
pub fn expand(root: &mut Node) -> Result<(), YamlError> {
    Expander::new(true).walk(root)
}

/// Replaces aliases and removes anchors; merge keys stay.
///
/// # Errors
/// As `expand`, merge keys aside.
pub fn expand_aliases(root: &mut Node) -> Result<(), YamlError> {
    Expander::new(false).walk(root)
}

impl Expander {
    fn walk(&mut self, node: &mut Node) -> Result<(), YamlError> {
        if let Data::Alias(name) = &node.data {
            *node = self.copy_of(name, node)?;
            return Ok(());
        }
        let anchor = node.anchor().to_owned();
        if !anchor.is_empty() {
            node.set_anchor("");
            self.anchors.insert(anchor.clone(), Anchored::Open);
        }
        self.depth += 1;
        self.walk_content(node)?;
        self.depth -= 1;
        if !anchor.is_empty() {
            let size = Size::of(node);
            self.spend(size, node.pos)?;
            self.anchors
                .insert(anchor, Anchored::Value(Box::new(node.clone()), size));
        }
        Ok(())
    }

    fn walk_content(&mut self, node: &mut Node) -> Result<(), YamlError> {
        match &mut node.data {
            Data::Sequence(items) => items.iter_mut().try_for_each(|item| self.walk(item)),
            Data::Mapping(entries) => {
                for entry in entries.iter_mut() {
                    self.walk(&mut entry.key)?;
                    self.walk(&mut entry.value)?;
                }
                if self.merges { merge_keys(entries) } else { Ok(()) }
            }
            Data::Scalar(_) | Data::Alias(_) => Ok(()),
        }
    }

    fn copy_of(&mut self, name: &str, alias: &Node) -> Result<Node, YamlError> {
        let (value, size) = match self.anchors.get(name) {
            None => return Err(Problem::UnknownAnchor(name.to_owned()).at(alias.pos)),
            Some(Anchored::Open) => return Err(Problem::AnchorContainsItself(name.to_owned()).at(alias.pos)),
            Some(Anchored::Value(value, size)) => (value, *size),
        };
        if self.depth + size.height > MAX_DEPTH {
            return Err(Problem::TooDeep.at(alias.pos));
        }
        let copy = (**value).clone();
        self.spend(size, alias.pos)?;
        Ok(copy)
    }

    fn spend(&mut self, size: Size, pos: Pos) -> Result<(), YamlError> {
        self.copied += size.weight;
        if self.copied > MAX_EXPANDED_NODES {
            Err(Problem::ExcessiveAliasing.at(pos))
        } else {
            Ok(())
        }
    }
}

/// What a copy of a node costs.
#[derive(Clone, Copy)]
struct Size {
    /// Its nodes; a long text counts as several.
    weight: usize,
    height: usize,
}

impl Size {
    /// A text of so many bytes costs as much memory as a node.
    const TEXT: usize = 64;

    fn of(node: &Node) -> Self {
        let mut size = Self {
            weight: 1 + node.text().len() / Self::TEXT,
            height: 1,
        };
        let parts = node
            .items()
            .iter()
            .chain(node.entries().iter().flat_map(|entry| [&entry.key, &entry.value]));
        for part in parts.map(Self::of) {
            size.weight += part.weight;
            size.height = size.height.max(part.height + 1);
        }
        size
    }
}

/// Merges the value of the merge key, if there is one, into the mapping that holds it.
///
/// The reference sets every field of a mapping once more even if there is nothing to merge.
fn merge_keys(entries: &mut Vec<Entry>) -> Result<(), YamlError> {
    let mut merge_values = entries.iter().filter(|entry| entry.key.tag == Tag::Merge);
    let value = merge_values.next().map(|entry| entry.value.clone());
    if let Some(second) = merge_values.next() {
        return Err(Problem::DuplicateMergeKey.at(second.key.pos));
    }
    // The key is removed by its text, so that one in quotes goes, too, though it merges nothing.
    if let Some(at) = entries.iter().position(|entry| entry.key.text() == "<<") {
        entries.remove(at);
    }
    let merged = value.map_or(Ok(Vec::new()), mappings_of)?;
    if merged.is_empty() && !entries.iter().any(|entry| entry.key.is_null()) {
        return Ok(());
    }
    let own = entries.clone();
    let mut at = HashMap::new();
    for (position, entry) in entries.iter().enumerate() {
        at.entry(entry.key.text().to_owned()).or_insert(position);
    }
    for entry in merged.into_iter().flatten().chain(own) {
        // The reference looks for a null key by an empty text. One that is written out is not found and comes twice,
        // which is refused later.
        let name = if entry.key.is_null() { "" } else { entry.key.text() };
        match at.get(name) {
            Some(position) => entries[*position] = entry,
            None => {
                at.insert(entry.key.text().to_owned(), entries.len());
                entries.push(entry);
            }
        }
    }
    Ok(())
}

/// The mappings to merge, those that win last.
fn mappings_of(value: Node) -> Result<Vec<Vec<Entry>>, YamlError> {
    let pos = value.pos;
    match value.data {
        Data::Mapping(entries) => Ok(vec![entries]),
        Data::Sequence(items) => items
            .into_iter()
            .rev()
            .map(|item| match item.data {
                Data::Mapping(entries) => Ok(entries),
                _ => Err(Problem::MergeOfNonMapping.at(item.pos)),
            })
            .collect(),
        Data::Scalar(_) | Data::Alias(_) => Err(Problem::MergeOfNonMapping.at(pos)),
    }
}
