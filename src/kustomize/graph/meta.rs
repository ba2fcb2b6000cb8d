//! What every Kubernetes object has: apiVersion, kind, and under `metadata` name, namespace, labels and annotations.

use std::collections::BTreeMap;

use super::{Graph, Id, Put};
use crate::kustomize::error::Result;
use crate::kustomize::yaml::{Form, Kind, Style, Tag};

/// Labels or annotations.
pub type Texts = BTreeMap<String, String>;

impl Graph {
    /// The text of a field at the top, whatever it is; empty if it is missing.
    pub fn top_text(&self, root: Id, name: &str) -> &str {
        self.get(root, name).map_or("", |value| self.text(value))
    }

    /// The kind.
    pub fn kind_name(&self, root: Id) -> &str {
        self.top_text(root, "kind")
    }

    /// The apiVersion.
    pub fn api_version(&self, root: Id) -> &str {
        self.top_text(root, "apiVersion")
    }

    /// `metadata`, if there is something in it.
    pub fn metadata(&self, root: Id) -> Option<Id> {
        self.get(root, "metadata").filter(|metadata| !self.is_hollow(*metadata))
    }

    fn meta_text(&self, root: Id, name: &str) -> &str {
        let value = self.metadata(root).and_then(|metadata| self.get(metadata, name));
        value
            .filter(|value| !self.is_hollow(*value))
            .map_or("", |value| self.text(value))
    }

    /// The name; empty if it is missing or null.
    pub fn name(&self, root: Id) -> &str {
        self.meta_text(root, "name")
    }

    /// The namespace; empty if it is missing or null.
    pub fn namespace(&self, root: Id) -> &str {
        self.meta_text(root, "namespace")
    }

    /// One annotation's text.
    pub fn annotation(&self, root: Id, name: &str) -> Option<&str> {
        let annotations = self.get(self.metadata(root)?, "annotations")?;
        self.get(annotations, name).map(|value| self.text(value))
    }

    /// The labels, or the annotations.
    pub fn meta_texts(&self, root: Id, field: &str) -> Texts {
        let map = self.metadata(root).and_then(|metadata| self.get(metadata, field));
        let fields = map.into_iter().flat_map(|map| self.fields(map));
        fields
            .map(|(key, value)| (self.text(key).to_owned(), self.text(value).to_owned()))
            .collect()
    }

    /// Sets labels or annotations as a whole: afterwards all are strings, in order; none leaves no field.
    ///
    /// # Errors
    /// If `metadata` is no mapping.
    pub fn set_meta_texts(&mut self, root: Id, field: &str, texts: &Texts) -> Result<()> {
        let Some(metadata) = self.lookup_create(root, &["metadata"], Kind::Mapping)? else {
            return Ok(());
        };
        let places: BTreeMap<String, _> = self
            .get(metadata, field)
            .into_iter()
            .flat_map(|map| self.fields(map))
            .map(|(key, value)| (self.text(key).to_owned(), self.pos(value)))
            .collect();
        self.clear(metadata, field)?;
        if texts.is_empty() {
            return Ok(());
        }
        let Some(map) = self.lookup_create(metadata, &[field], Kind::Mapping)? else {
            return Ok(());
        };
        for (key, text) in texts {
            let form = if text.contains('\n') {
                Form::Literal
            } else {
                Form::Default
            };
            let value = self.add_scalar(text, Tag::Str);
            self.cell_mut(value).style = Style::of(form);
            self.cell_mut(value).pos = places.get(key).copied().unwrap_or_default();
            self.set_field(map, key, Some(value), Put::default())?;
        }
        Ok(())
    }

    /// Sets one annotation. Annotations that are empty are removed first, as is an empty `metadata`.
    ///
    /// # Errors
    /// If `metadata` or its annotations are no mappings.
    pub fn set_annotation(&mut self, root: Id, key: &str, text: &str) -> Result<()> {
        // What is noted on the way is noted often: where there are annotations, nothing needs to be looked for.
        let there = self
            .get(root, "metadata")
            .and_then(|metadata| self.get(metadata, "annotations"));
        if let Some(map) = there.filter(|map| self.is_mapping(*map) && !self.content(*map).is_empty()) {
            return self.set_quoted(map, key, text);
        }
        if let Some(metadata) = self.find(root, "metadata")? {
            self.clear_if_empty(metadata, "annotations")?;
        }
        self.clear_if_empty(root, "metadata")?;
        self.set_meta_text(root, "annotations", key, text)
    }

    /// Sets one label or annotation, quoted.
    ///
    /// # Errors
    /// If `metadata` or the field in it is no mapping.
    pub fn set_meta_text(&mut self, root: Id, field: &str, key: &str, text: &str) -> Result<()> {
        let Some(map) = self.lookup_create(root, &["metadata", field], Kind::Mapping)? else {
            return Ok(());
        };
        self.set_quoted(map, key, text)
    }

    fn set_quoted(&mut self, map: Id, key: &str, text: &str) -> Result<()> {
        let value = self.add_scalar(text, Tag::Str);
        self.cell_mut(value).style = Style::of(Form::SingleQuoted);
        self.set_field(map, key, Some(value), Put::default())
    }

    fn clear_if_empty(&mut self, map: Id, name: &str) -> Result<()> {
        let is_empty = self
            .find(map, name)?
            .is_some_and(|value| self.content(value).is_empty());
        if is_empty {
            self.clear(map, name)?;
        }
        Ok(())
    }

    /// Sets a field at the top to a made text.
    ///
    /// # Errors
    /// If the object is no mapping.
    pub fn set_top_text(&mut self, root: Id, name: &str, text: &str) -> Result<()> {
        self.set_text_field(root, name, text, Tag::None)
    }

    /// Sets the name.
    ///
    /// # Errors
    /// If `metadata` is no mapping.
    pub fn set_name(&mut self, root: Id, name: &str) -> Result<()> {
        match self.lookup_create(root, &["metadata"], Kind::Mapping)? {
            Some(metadata) => self.set_text_field(metadata, "name", name, Tag::None),
            None => Ok(()),
        }
    }

    /// Sets the namespace; an empty one removes it.
    ///
    /// # Errors
    /// If `metadata` is no mapping.
    pub fn set_namespace(&mut self, root: Id, namespace: &str) -> Result<()> {
        if namespace.is_empty() {
            if let Some(metadata) = self.lookup(root, &["metadata"])? {
                self.clear(metadata, "namespace")?;
            }
            return Ok(());
        }
        match self.lookup_create(root, &["metadata"], Kind::Mapping)? {
            Some(metadata) => self.set_text_field(metadata, "namespace", namespace, Tag::None),
            None => Ok(()),
        }
    }
}
