//! From trees that were read to nodes of the graph, and back for printing.

use std::sync::Arc;

use serde_json::Value;

use super::{Cell, Graph, Id};
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::yaml::{self, Data, Entry, FileId, Kind, Node, Pos};

impl Graph {
    /// Adds a document's value, in which aliases are expanded.
    ///
    /// # Errors
    /// If the build becomes too large.
    pub fn import(&mut self, node: Node) -> Result<Id> {
        self.check_room().at(node.pos)?;
        let comments = node.comments().cloned().map(Box::new);
        let mut cell = Cell {
            tag: node.tag,
            style: node.style,
            pos: node.pos,
            comments,
            ..Cell::new(Kind::Scalar)
        };
        match node.data {
            Data::Alias(text) => {
                cell.kind = Kind::Alias;
                cell.text = Arc::from(text);
            }
            Data::Scalar(text) => cell.text = Arc::from(text),
            Data::Sequence(items) => {
                cell.kind = Kind::Sequence;
                cell.content.reserve_exact(items.len());
                for item in items {
                    cell.content.push(self.import(item)?);
                }
            }
            Data::Mapping(entries) => {
                cell.kind = Kind::Mapping;
                cell.content.reserve_exact(entries.len() * 2);
                for Entry { key, value } in entries {
                    cell.content.push(self.import(key)?);
                    cell.content.push(self.import(value)?);
                }
            }
        }
        Ok(self.add(cell))
    }

    /// A node and all below it as a tree.
    pub fn export(&self, id: Id) -> Node {
        let cell = self.cell(id);
        let data = match cell.kind {
            Kind::Scalar => Data::Scalar(cell.text.to_string()),
            Kind::Alias => Data::Alias(cell.text.to_string()),
            Kind::Sequence => Data::Sequence(cell.content.iter().map(|item| self.export(*item)).collect()),
            Kind::Mapping => {
                let entry = |(key, value)| Entry {
                    key: self.export(key),
                    value: self.export(value),
                };
                Data::Mapping(self.fields(id).map(entry).collect())
            }
        };
        let mut node = Node::new(data);
        node.tag = cell.tag.clone();
        node.style = cell.style;
        node.pos = cell.pos;
        if let Some(comments) = &cell.comments {
            node.set_comments((**comments).clone());
        }
        node
    }

    /// A node as YAML text.
    pub fn to_text(&self, id: Id) -> String {
        yaml::print_node(&self.export(id))
    }

    /// What a node means, as JSON.
    ///
    /// # Errors
    /// If it means nothing that JSON can say, or contradicts itself.
    pub fn to_json(&self, id: Id) -> Result<Value> {
        yaml::to_json(&self.export(id))
            .map_err(Error::from)
            .map_err(|error| error.at(self.pos(id)))
    }

    /// What a node means to the legacy reader, as JSON.
    ///
    /// # Errors
    /// As [`Graph::to_json`].
    pub fn to_legacy_json(&self, id: Id) -> Result<Value> {
        yaml::legacy_to_json(&self.export(id))
            .map_err(Error::from)
            .map_err(|error| error.at(self.pos(id)))
    }

    /// Adds a value that came from JSON; its numbers become what floating point makes of them.
    ///
    /// # Errors
    /// If a text in it can't be printed as YAML so that it is read again.
    pub fn add_json(&mut self, value: &Value) -> Result<Id> {
        self.import(yaml::from_json(value)?)
    }

    /// Adds a value by the text that it is in JSON; its numbers stay as they are.
    ///
    /// # Errors
    /// If the text is no YAML.
    pub fn add_json_text(&mut self, value: &Value, pos: Pos) -> Result<Option<Id>> {
        let text = yaml::go_json(value, yaml::Html::Escaped);
        let mut documents = yaml::parse_documents(&text, FileId::default())?;
        let Some(document) = documents.pop() else {
            return Ok(None);
        };
        let id = self.import(document.root)?;
        self.set_places(id, pos);
        Ok(Some(id))
    }

    /// Moves the places of all nodes from a number on down by some lines: they were read from a text inside a file.
    pub fn shift_places(&mut self, first: usize, lines: u32) {
        for cell in self.cells.iter_mut().skip(first).filter(|cell| cell.pos.is_known()) {
            cell.pos.line += lines;
        }
    }

    /// Says of a node and all below it that they were read at one place.
    pub fn set_places(&mut self, id: Id, pos: Pos) {
        self.cell_mut(id).pos = pos;
        for child in self.content(id).to_vec() {
            self.set_places(child, pos);
        }
    }

    /// Gives a node that was made from another one its places: what did not change keeps its own, the rest gets `pos`.
    pub fn take_places(&mut self, made: Id, from: Id, pos: Pos) {
        if self.kind(made) != self.kind(from) {
            return self.set_places(made, pos);
        }
        let is_same = !self.is_scalar(made) || self.text(made) == self.text(from);
        self.cell_mut(made).pos = if is_same { self.pos(from) } else { pos };
        match self.kind(made) {
            Kind::Mapping => {
                let fields: Vec<_> = self.fields(made).collect();
                for (key, value) in fields {
                    match self.field(from, self.text(key)) {
                        Some((old_key, old)) => {
                            self.cell_mut(key).pos = self.pos(old_key);
                            self.take_places(value, old, pos);
                        }
                        None => {
                            self.cell_mut(key).pos = pos;
                            self.set_places(value, pos);
                        }
                    }
                }
            }
            Kind::Sequence => {
                let old = self.content(from).to_vec();
                for (at, item) in self.content(made).to_vec().into_iter().enumerate() {
                    match old.get(at) {
                        Some(old) => self.take_places(item, *old, pos),
                        None => self.set_places(item, pos),
                    }
                }
            }
            Kind::Scalar | Kind::Alias => {}
        }
    }

    /// Says more exactly where what is at a path was written, if it stands at `from` so far. A last part that is no field is
    /// taken for the last item of a list.
    pub fn move_place(&mut self, root: Id, path: &[String], from: Pos, to: Pos) {
        let mut at = root;
        let mut key = None;
        for part in path {
            let below = match self.kind(at) {
                Kind::Mapping => self.field(at, part).map(|(name, value)| (Some(name), value)),
                Kind::Sequence => {
                    let items = self.content(at);
                    let item = part.parse().map_or(items.last(), |index: usize| items.get(index));
                    item.map(|item| (None, *item))
                }
                Kind::Scalar | Kind::Alias => None,
            };
            let Some(below) = below else { return };
            (key, at) = below;
        }
        if self.pos(at) == from {
            self.set_places(at, to);
        }
        for key in key.into_iter().filter(|key| self.pos(*key) == from).collect::<Vec<_>>() {
            self.cell_mut(key).pos = to;
        }
    }

    /// Adds the document that a text is. `None` if it holds none.
    ///
    /// # Errors
    /// If the text is no YAML.
    pub fn parse_inner(&mut self, text: &str) -> Result<Option<Id>> {
        match yaml::parse_document(text, FileId::default())? {
            Some(document) => self.import(document.root).map(Some),
            None => Ok(None),
        }
    }
}
