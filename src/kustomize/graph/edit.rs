//! Setting and clearing fields as the reference does, styles and all.

use super::{Cell, Graph, Id};
use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::yaml::{Dialect, Form, Kind, Scalar, Style, Tag, resolve};

/// What may be said about how a field is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Put {
    /// Whether a null is kept as a value; otherwise setting null removes the field.
    pub keep_null: bool,
    /// The style of the key if the field is appended.
    pub key_style: Style,
}

/// Whether YAML 1.1 reads something else than a string from a bare text. Points in time count as strings there.
fn is_other_in_yaml11(text: &str) -> bool {
    let is_one_line = !text.is_empty() && !text.contains('\n');
    is_one_line && !matches!(resolve(text, Dialect::Legacy), Scalar::Str | Scalar::Timestamp(_))
}

impl Graph {
    /// Fails unless the node is null or of this kind.
    pub fn expect_kind(&self, id: Id, kind: Kind) -> Result<()> {
        if self.is_null(id) || self.kind(id) == kind {
            return Ok(());
        }
        let name = |kind| match kind {
            Kind::Scalar => "ScalarNode",
            Kind::Mapping => "MappingNode",
            Kind::Sequence => "SequenceNode",
            Kind::Alias => "AliasNode",
        };
        let why = format!(
            "wrong node kind: expected {} but got {}: node contents:\n{}",
            name(kind),
            name(self.kind(id)),
            self.to_text(id)
        );
        Err(Error::object(why).at(self.pos(id)))
    }

    /// Gives a made string quotes if YAML 1.1 would read something else from its bare text.
    fn guard(&mut self, value: Id) {
        if !self.is_string(value) {
            return;
        }
        let cell = self.cell_mut(value);
        if cell.style.is_default() && is_other_in_yaml11(&cell.text) {
            cell.style = Style::of(Form::DoubleQuoted);
        }
    }

    /// Overwrites a scalar with another one, whose style becomes that of what was there.
    ///
    /// # Errors
    /// If what is there is neither a scalar nor null.
    pub fn set_scalar(&mut self, at: Id, value: Id) -> Result<()> {
        self.guard(value);
        self.expect_kind(at, Kind::Scalar)?;
        if self.is_null(value) {
            return Ok(());
        }
        self.cell_mut(value).style = self.cell(at).style;
        self.assign_keeping_place(at, value);
        Ok(())
    }

    /// Overwrites a node; where the new one has no place of its own, the old one's still tells most.
    fn assign_keeping_place(&mut self, to: Id, from: Id) {
        let pos = self.pos(to);
        self.assign(to, from);
        if !self.pos(to).is_known() {
            self.cell_mut(to).pos = pos;
        }
    }

    /// Sets a field. What is there is overwritten in place, so that all who share it see it; a new field shares `value`.
    /// Setting null removes the field.
    ///
    /// # Errors
    /// If the node is neither a mapping nor null, or the build becomes too large.
    pub fn set_field(&mut self, map: Id, name: &str, value: Option<Id>, put: Put) -> Result<()> {
        self.check_room().at(self.pos(map))?;
        if let Some(value) = value {
            self.guard(value);
        }
        let Some(value) = value.filter(|value| !self.is_null(*value) || put.keep_null) else {
            return self.clear(map, name).map(|_| ());
        };
        if let Some(there) = self.find(map, name)? {
            if there != value {
                self.cell_mut(value).style = self.cell(there).style;
            }
            self.assign_keeping_place(there, value);
            return Ok(());
        }
        let key = self.add(Cell {
            style: put.key_style,
            pos: self.pos(value),
            ..Cell::scalar(name, Tag::None)
        });
        self.cell_mut(map).content.extend([key, value]);
        Ok(())
    }

    /// Sets a field to a made scalar of this text and type.
    ///
    /// # Errors
    /// If the node is neither a mapping nor null.
    pub fn set_text_field(&mut self, map: Id, name: &str, text: &str, tag: Tag) -> Result<()> {
        let value = self.add_scalar(text, tag);
        self.set_field(map, name, Some(value), Put::default())
    }

    /// Removes the first field with this name and returns its value.
    ///
    /// # Errors
    /// If the node is neither a mapping nor null.
    pub fn clear(&mut self, map: Id, name: &str) -> Result<Option<Id>> {
        self.expect_kind(map, Kind::Mapping)?;
        let keys = self.content(map).iter().step_by(2);
        let Some(at) = keys.into_iter().position(|key| self.text(*key) == name) else {
            return Ok(None);
        };
        let removed = self.content(map).get(at * 2 + 1).copied();
        let content = &mut self.cell_mut(map).content;
        content.drain(at * 2..(at * 2 + 2).min(content.len()));
        Ok(removed)
    }

    /// A field of a mapping; nothing in null.
    ///
    /// # Errors
    /// If the node is neither a mapping nor null.
    pub fn find(&self, map: Id, name: &str) -> Result<Option<Id>> {
        if self.is_null(map) {
            return Ok(None);
        }
        self.expect_kind(map, Kind::Mapping)?;
        Ok(self.get(map, name))
    }

    /// Appends an item.
    ///
    /// # Errors
    /// If the node is neither a sequence nor null.
    pub fn append(&mut self, list: Id, item: Id) -> Result<()> {
        self.expect_kind(list, Kind::Sequence)?;
        self.cell_mut(list).content.push(item);
        Ok(())
    }
}
