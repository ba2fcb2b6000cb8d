//! Strategic merge: a patch in the shape of the object that it changes.
//!
//! Mappings merge field by field; lists merge item by item where the schema says by which keys, and are replaced elsewhere.
//! What is new comes before what was there. Null removes a field, `$patch` replaces or deletes a mapping or list.

mod directive;
mod list;

use super::error::{Error, Result};
use super::graph::{Graph, Id, Put};
use super::openapi::{Place, Schema};
use super::yaml::{Comments, Kind, Style, Tag};

/// How deep a merge goes down. What is read nests no deeper; this holds against stacks, not against users.
const MAX_DEPTH: usize = 500;

/// Merges a patch into an object, whose nodes then share the patch's. Returns whether anything is left of the object.
///
/// # Errors
/// If the patch has another shape than the object.
pub fn merge(graph: &mut Graph, schema: &Schema, object: Id, patch: Id) -> Result<bool> {
    let mut merge = Merge {
        graph,
        schema,
        depth: 0,
    };
    Ok(merge.walk(Place::Unknown, Some(object), Some(patch))?.is_some())
}

/// What a walk returns: the node that a place then holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    id: Id,
    /// Whether it is a null that stays.
    is_null_to_keep: bool,
}

impl From<Id> for Kept {
    fn from(id: Id) -> Self {
        Self {
            id,
            is_null_to_keep: false,
        }
    }
}

/// One merge.
struct Merge<'a> {
    graph: &'a mut Graph,
    schema: &'a Schema,
    depth: usize,
}

impl Merge<'_> {
    fn is_missing_or_null(&self, node: Option<Id>) -> bool {
        node.is_none_or(|node| self.graph.is_null(node))
    }

    /// Merges what is at a place; `None` removes it.
    fn walk(&mut self, place: Place, dest: Option<Id>, origin: Option<Id>) -> Result<Option<Kept>> {
        let some = |node: Option<Id>| node.filter(|node| !self.graph.is_null(*node));
        let Some(first) = some(dest).or(some(origin)) else {
            return self.walk_map(&place, dest, origin);
        };
        let kind = self.graph.kind(first);
        for node in [dest, origin].into_iter().flatten() {
            self.graph.expect_kind(node, kind)?;
        }
        if self.depth > MAX_DEPTH {
            return Err(Error::limit(format!("objects nest deeper than {MAX_DEPTH}")).at(self.graph.pos(first)));
        }
        let place = match place {
            Place::Unknown => self
                .place_by_type(dest)
                .or_else(|| self.place_by_type(origin))
                .unwrap_or(place),
            known => known,
        };
        self.depth += 1;
        let result = match (kind, &place) {
            (Kind::Mapping, _) => self.walk_map(&place, dest, origin),
            (Kind::Sequence, Place::List(field)) if field.merge_keys.is_some() => self.walk_list(&place, dest, origin),
            (Kind::Sequence | Kind::Scalar, _) => {
                self.take_presentation(dest, origin);
                Ok(origin.or(dest).map(Kept::from))
            }
            (Kind::Alias, _) => Ok(None),
        };
        self.depth -= 1;
        result
    }

    /// An object inside an object of unknown type may say its own.
    fn place_by_type(&self, node: Option<Id>) -> Option<Place> {
        let node = node.filter(|node| self.graph.is_mapping(*node))?;
        let (api_version, kind) = (self.graph.api_version(node), self.graph.kind_name(node));
        match self.schema.of(api_version, kind) {
            Place::Unknown => None,
            known => Some(known),
        }
    }

    fn walk_map(&mut self, place: &Place, dest: Option<Id>, origin: Option<Id>) -> Result<Option<Kept>> {
        let Some(kept) = self.visit_map(dest, origin)? else {
            return Ok(None);
        };
        let dest = kept.id;
        let mut names: Vec<String> = Vec::new();
        for source in [Some(dest), origin].into_iter().flatten() {
            names.extend(
                self.graph
                    .fields(source)
                    .map(|(key, _)| self.graph.text(key).to_owned()),
            );
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let ours = self.graph.field(dest, &name);
            let theirs = origin.and_then(|origin| self.graph.field(origin, &name));
            let inner = self.schema.field(place, &name);
            let merged = self.walk(inner, ours.map(|(_, value)| value), theirs.map(|(_, value)| value))?;
            let key_style = [ours, theirs].into_iter().flatten().rev().find_map(|(key, value)| {
                merged
                    .filter(|merged| merged.id == value)
                    .map(|_| self.graph.cell(key).style)
            });
            let put = Put {
                keep_null: merged.is_some_and(|merged| merged.is_null_to_keep),
                key_style: key_style.unwrap_or_else(Style::default),
            };
            self.graph.set_field(dest, &name, merged.map(|merged| merged.id), put)?;
        }
        Ok(Some(kept))
    }

    fn visit_map(&mut self, dest: Option<Id>, origin: Option<Id>) -> Result<Option<Kept>> {
        self.take_presentation(dest, origin);
        let Some(there) = dest.filter(|dest| !self.graph.is_null(*dest)) else {
            return self.visit_new_map(dest, origin);
        };
        if origin.is_some() && self.is_missing_or_null(origin) {
            return Ok(None);
        }
        let Some(origin) = origin else {
            return Ok(Some(there.into()));
        };
        Ok(match self.directive(origin)? {
            directive::Directive::Delete => None,
            directive::Directive::Replace => Some(origin.into()),
            directive::Directive::Merge => Some(there.into()),
        })
    }

    /// There is nothing yet, or null.
    fn visit_new_map(&mut self, dest: Option<Id>, origin: Option<Id>) -> Result<Option<Kept>> {
        let Some(origin) = origin else {
            // A null that is spelled out stays one; one that is left empty goes.
            let spelled = dest.filter(|dest| !self.graph.text(*dest).is_empty());
            return Ok(spelled.map(|dest| {
                let text = self.graph.text(dest).to_owned();
                let pos = self.graph.pos(dest);
                let id = self.graph.add_scalar(&text, Tag::Null);
                self.graph.cell_mut(id).pos = pos;
                Kept {
                    id,
                    is_null_to_keep: true,
                }
            }));
        };
        // A directive that can't be understood is not an error here, in the reference's way.
        let deletes = matches!(self.directive(origin), Ok(directive::Directive::Delete));
        Ok((!deletes).then(|| origin.into()))
    }

    /// The patch's comments win, and an empty collection is written as the patch writes it.
    fn take_presentation(&mut self, dest: Option<Id>, origin: Option<Id>) {
        let (Some(dest), Some(origin)) = (dest, origin) else {
            return;
        };
        if let Some(comments) = self.graph.cell(origin).comments.clone().filter(|_| dest != origin) {
            take_comments(self.graph.cell_mut(dest).comments.get_or_insert_default(), &comments);
        }
        if !self.graph.is_scalar(dest) && self.graph.content(dest).is_empty() {
            self.graph.cell_mut(dest).style = self.graph.cell(origin).style;
        }
    }
}

fn take_comments(to: &mut Comments, from: &Comments) {
    for (to, from) in [
        (&mut to.head, &from.head),
        (&mut to.line, &from.line),
        (&mut to.foot, &from.foot),
    ] {
        if !from.is_empty() {
            to.clone_from(from);
        }
    }
}
