//! Aliases replaced by what they stand for, and merge keys merged, as the reference does with every resource it reads.
//!
//! Where a merged field stands is visible in the output's comments only, but which of several merged mappings wins is
//! visible in the values: the fields of the mapping itself, then those of the first mapping in the list.

use std::collections::HashMap;

use super::MAX_EXPANDED_NODES;
use super::error::{Problem, YamlError};
use super::node::{Data, Entry, Node, Tag};

/// What an anchor's name stands for at one point of the document.
enum Anchored {
    /// The walk is still inside of the value.
    Open,
    Value(Box<Node>),
}

struct Expander {
    anchors: HashMap<String, Anchored>,
    copied: usize,
    merges: bool,
}

/// Replaces aliases, merges merge keys and removes anchors.
///
/// # Errors
/// If an anchor contains itself, if the copies exceed [`MAX_EXPANDED_NODES`], or if a merge key has no mappings.
pub fn expand(root: &mut Node) -> Result<(), YamlError> {
    Expander { anchors: HashMap::new(), copied: 0, merges: true }.walk(root)
}

/// Replaces aliases and removes anchors; merge keys stay.
///
/// # Errors
/// As [`expand`], merge keys aside.
pub fn expand_aliases(root: &mut Node) -> Result<(), YamlError> {
    Expander { anchors: HashMap::new(), copied: 0, merges: false }.walk(root)
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
        self.walk_content(node)?;
        if !anchor.is_empty() {
            self.anchors.insert(anchor, Anchored::Value(Box::new(node.clone())));
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
        match self.anchors.get(name) {
            None => Err(Problem::UnknownAnchor(name.to_owned()).at(alias.pos)),
            Some(Anchored::Open) => Err(Problem::AnchorContainsItself(name.to_owned()).at(alias.pos)),
            Some(Anchored::Value(value)) => {
                self.copied += count(value);
                if self.copied > MAX_EXPANDED_NODES {
                    return Err(Problem::ExcessiveAliasing.at(alias.pos));
                }
                Ok((**value).clone())
            }
        }
    }
}

fn count(node: &Node) -> usize {
    match &node.data {
        Data::Sequence(items) => 1 + items.iter().map(count).sum::<usize>(),
        Data::Mapping(entries) => 1 + entries.iter().map(|entry| count(&entry.key) + count(&entry.value)).sum::<usize>(),
        Data::Scalar(_) | Data::Alias(_) => 1,
    }
}

/// Merges the value of the merge key, if there is one, into the mapping that holds it.
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
    let Some(value) = value else { return Ok(()) };
    let merged = mappings_of(value)?;
    let own: Vec<Entry> = entries.clone();
    for entry in merged.into_iter().flatten().chain(own) {
        match entries.iter_mut().find(|there| there.key.text() == entry.key.text()) {
            Some(there) => *there = entry,
            None => entries.push(entry),
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
