//! Kustomizations and the configurations that they name, from YAML nodes to values, strictly.
//!
//! Follows what Go's JSON decoder does after the legacy YAML reader: names of fields are compared without regard to case,
//! unknown ones are errors, null leaves a field as it is, and a bare `yes` or `5` is no string.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Error, Result};
use super::graph::{Graph, Id};
use super::yaml::{Dialect, Form, Kind, Pos, Problem, Scalar, Tag, float_as_legacy_key, float_in_yaml, resolve};

/// Where floating-point numbers stop to fit into an integer: 2^63.
const MAX_INTEGER: f64 = 9_223_372_036_854_775_808.0;

/// A value in a document, with what it is called for errors.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The document's graph.
    pub graph: &'a Graph,
    /// The value's node.
    pub id: Id,
    /// The field's name.
    pub name: &'a str,
    /// Whether numbers and booleans are accepted as strings.
    pub coerces: bool,
    /// Whether fields that are not known are passed over.
    pub is_lenient: bool,
}

/// What can be decoded.
pub trait Decode: Sized {
    /// Decodes a value that is not null.
    ///
    /// # Errors
    /// If the value has another shape.
    fn decode(at: At<'_>) -> Result<Self>;
}

impl Decode for String {
    fn decode(at: At<'_>) -> Result<Self> {
        at.text()
    }
}

/// A scalar's value as the legacy reader has it.
fn scalar(graph: &Graph, id: Id) -> Scalar {
    let cell = graph.cell(id);
    match (&cell.tag, cell.style.form) {
        (Tag::Str, _) if cell.style.tagged => Scalar::Str,
        (_, Form::DoubleQuoted | Form::SingleQuoted | Form::Literal | Form::Folded) if !cell.style.tagged => {
            Scalar::Str
        }
        (Tag::Null, _) if cell.text.is_empty() => Scalar::Null,
        _ => resolve(&cell.text, Dialect::Legacy),
    }
}

impl<'a> At<'a> {
    /// A document's value.
    pub fn root(graph: &'a Graph, id: Id) -> Self {
        Self {
            graph,
            id,
            name: "",
            coerces: false,
            is_lenient: false,
        }
    }

    /// The same, accepting numbers and booleans as strings: so are files of field specs read.
    pub fn coercing(self) -> Self {
        Self { coerces: true, ..self }
    }

    /// The same, passing over what is not known, too: so are configurations of plugins read.
    pub fn lenient(self) -> Self {
        Self {
            coerces: true,
            is_lenient: true,
            ..self
        }
    }

    /// The same, accepting no other strings than those that are: what the reference embeds in other records is not
    /// converted.
    pub fn strictly(self) -> Self {
        Self { coerces: false, ..self }
    }

    /// Fails if a mapping in it has a key twice.
    ///
    /// # Errors
    /// If one has, at the second.
    pub fn check_keys(&self) -> Result<()> {
        let graph = self.graph;
        let mut seen = BTreeSet::new();
        for (key, _) in graph.fields(self.id) {
            let name = key_text(graph, key);
            if !seen.insert(name.clone()) {
                return Err(Error::yaml(format!("key {name:?} already set in map")).at(graph.pos(key)));
            }
        }
        let mut children = graph.content(self.id).iter();
        children.try_for_each(|id| Self { id: *id, ..*self }.check_keys())
    }

    /// Where it stands.
    pub fn pos(&self) -> Pos {
        self.graph.pos(self.id)
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.graph.is_scalar(self.id) && scalar(self.graph, self.id) == Scalar::Null
    }

    /// An error about it.
    pub fn wrong(&self, wanted: &str) -> Error {
        let is = match self.graph.kind(self.id) {
            Kind::Mapping => "object",
            Kind::Sequence => "array",
            Kind::Alias => "alias",
            Kind::Scalar => match scalar(self.graph, self.id) {
                Scalar::Bool(_) => "bool",
                Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_) => "number",
                Scalar::Null => "null",
                Scalar::Timestamp(_) | Scalar::Str => "string",
            },
        };
        let of = if self.name.is_empty() {
            String::new()
        } else {
            format!(" into field {}", self.name)
        };
        Error::kustomization(format!("json: cannot unmarshal {is}{of} of type {wanted}")).at(self.pos())
    }

    /// A string; empty for null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self) -> Result<String> {
        if !self.graph.is_scalar(self.id) {
            return Err(self.wrong("string"));
        }
        let text = self.graph.text(self.id);
        match scalar(self.graph, self.id) {
            Scalar::Str | Scalar::Timestamp(_) => Ok(text.to_owned()),
            Scalar::Null => Ok(String::new()),
            Scalar::Bool(value) if self.coerces => Ok(value.to_string()),
            Scalar::Int(value) if self.coerces => Ok(value.to_string()),
            Scalar::Uint(value) if self.coerces => Ok(value.to_string()),
            Scalar::Float(value) if self.coerces => Ok(float_in_yaml(value)),
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_) => Err(self.wrong("string")),
        }
    }

    /// A boolean; false for null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn boolean(&self) -> Result<bool> {
        match self.graph.is_scalar(self.id).then(|| scalar(self.graph, self.id)) {
            Some(Scalar::Bool(value)) => Ok(value),
            Some(Scalar::Null) => Ok(false),
            _ => Err(self.wrong("bool")),
        }
    }

    /// An integer; zero for null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn integer(&self) -> Result<i64> {
        match self.graph.is_scalar(self.id).then(|| scalar(self.graph, self.id)) {
            Some(Scalar::Int(value)) => Ok(value),
            // Go's JSON has no fraction where there is none.
            Some(Scalar::Float(value)) if value.fract() == 0.0 && value.abs() < MAX_INTEGER => Ok(value as i64),
            Some(Scalar::Null) => Ok(0),
            _ => Err(self.wrong("int64")),
        }
    }

    /// The items of a list; none for null.
    ///
    /// # Errors
    /// If it is something else.
    pub fn items(&self) -> Result<Vec<At<'a>>> {
        if self.is_null() {
            return Ok(Vec::new());
        }
        if !self.graph.is_sequence(self.id) {
            return Err(self.wrong("list"));
        }
        Ok(self
            .graph
            .content(self.id)
            .iter()
            .map(|id| Self { id: *id, ..*self })
            .collect())
    }

    /// A list of values; items that are null have their default.
    ///
    /// # Errors
    /// If it or an item has another shape.
    pub fn list<T: Decode + Default>(&self) -> Result<Vec<T>> {
        self.items()?.into_iter().map(|item| item.or_default()).collect()
    }

    /// The value, or its default for null.
    ///
    /// # Errors
    /// If it has another shape.
    pub fn or_default<T: Decode + Default>(&self) -> Result<T> {
        if self.is_null() {
            Ok(T::default())
        } else {
            T::decode(*self)
        }
    }

    /// The value, unless it is null.
    ///
    /// # Errors
    /// If it has another shape.
    pub fn optional<T: Decode>(&self) -> Result<Option<T>> {
        if self.is_null() {
            Ok(None)
        } else {
            T::decode(*self).map(Some)
        }
    }

    /// A mapping of strings.
    ///
    /// # Errors
    /// If it is something else.
    pub fn texts(&self) -> Result<BTreeMap<String, String>> {
        self.entries("map")?
            .into_iter()
            .map(|(key, value)| Ok((key, value.text()?)))
            .collect()
    }

    fn entries(&self, wanted: &str) -> Result<Vec<(String, At<'a>)>> {
        if self.is_null() {
            return Ok(Vec::new());
        }
        if !self.graph.is_mapping(self.id) {
            return Err(self.wrong(wanted));
        }
        let mut entries = Vec::new();
        self.collect_entries(&mut entries)?;
        Ok(entries)
    }

    /// Entries in order; merged ones stand where they are merged, and the last one of a name counts.
    fn collect_entries(&self, entries: &mut Vec<(String, At<'a>)>) -> Result<()> {
        let no_mapping = |id: Id| Error::from(Problem::MergeOfNonMapping.at(self.graph.pos(id)));
        for (key, id) in self.graph.fields(self.id) {
            let name = self.graph.text(key);
            let value = Self { id, name, ..*self };
            if self.graph.cell(key).tag != Tag::Merge {
                entries.push((key_text(self.graph, key), value));
                continue;
            }
            let merged = match self.graph.kind(id) {
                Kind::Mapping => &[id][..],
                Kind::Sequence => self.graph.content(id),
                Kind::Scalar | Kind::Alias => return Err(no_mapping(id)),
            };
            for id in merged.iter().rev() {
                if !self.graph.is_mapping(*id) {
                    return Err(no_mapping(*id));
                }
                Self { id: *id, ..value }.collect_entries(entries)?;
            }
        }
        Ok(())
    }

    /// The fields of a record, in the order of their names, each under the name that it is known by. A field that is written
    /// twice counts as it was written last.
    ///
    /// # Errors
    /// If it is no mapping, or has a field that is not known.
    pub fn record(&self, known: &[&'static str]) -> Result<Vec<(&'static str, At<'a>)>> {
        let (fields, unknown) = self.open_record(known)?;
        match unknown.first() {
            Some((name, value)) if !self.is_lenient => {
                Err(Error::kustomization(format!("json: unknown field \"{name}\"")).at(self.key_pos(name, *value)))
            }
            _ => Ok(fields),
        }
    }

    /// As [`At::record`], returning what is not known instead of refusing it.
    ///
    /// # Errors
    /// If it is no mapping.
    #[expect(
        clippy::type_complexity,
        reason = "two lists of named values; a type for them would say no more"
    )]
    pub fn open_record(&self, known: &[&'static str]) -> Result<(Vec<(&'static str, At<'a>)>, Vec<(String, At<'a>)>)> {
        let entries: BTreeMap<String, At<'a>> = self.entries("object")?.into_iter().collect();
        let (mut fields, mut unknown) = (Vec::new(), Vec::new());
        for (name, value) in entries {
            let exact = known.iter().find(|known| **known == name);
            match exact.or_else(|| known.iter().find(|known| is_folded(&name, known))) {
                Some(known) => fields.push((*known, value)),
                None => unknown.push((name, value)),
            }
        }
        Ok((fields, unknown))
    }

    fn key_pos(&self, name: &str, value: At<'_>) -> Pos {
        let key = self.graph.field(self.id, name).map(|(key, _)| self.graph.pos(key));
        key.filter(Pos::is_known).unwrap_or_else(|| value.pos())
    }
}

/// Whether Go takes a name for a field's: letters are compared without regard to case, and two of its small ones are also
/// letters outside of ASCII (the long s and the sign of Kelvin).
fn is_folded(name: &str, known: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).eq(known.chars().map(fold))
}

/// A key as JSON has it: numbers and booleans in their shortest form.
fn key_text(graph: &Graph, key: Id) -> String {
    match scalar(graph, key) {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Uint(value) => value.to_string(),
        Scalar::Float(value) => float_as_legacy_key(value),
        Scalar::Null | Scalar::Timestamp(_) | Scalar::Str => graph.text(key).to_owned(),
    }
}
