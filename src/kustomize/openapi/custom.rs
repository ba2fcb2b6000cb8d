//! Schemas from files: OpenAPI v2 documents with definitions, as `kustomize openapi fetch` writes them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Field, Schema, Type, TypeId};
use crate::kustomize::error::{Error, Result};

const GVK: &str = "x-kubernetes-group-version-kind";

/// Types under construction: those with names first, then those that are written in place.
struct Reading<'a> {
    names: HashMap<&'a str, TypeId>,
    types: Vec<Type>,
}

/// Reads a document with `definitions`.
///
/// # Errors
/// If it has not the shape of one.
pub fn read_definitions(document: &Value) -> Result<Schema> {
    let empty = Map::new();
    let definitions = match document.as_object().and_then(|document| document.get("definitions")) {
        None => &empty,
        Some(definitions) => definitions
            .as_object()
            .ok_or_else(|| Error::kustomization("invalid schema file: definitions is no object"))?,
    };
    let mut reading = Reading {
        names: HashMap::new(),
        types: vec![Type::default(); definitions.len()],
    };
    reading.names = definitions
        .keys()
        .enumerate()
        .map(|(at, name)| (name.as_str(), TypeId(at)))
        .collect();
    let mut by_kind = HashMap::new();
    for (at, definition) in definitions.values().enumerate() {
        reading.types[at] = reading.read_type(definition);
        for kind in gvks(definition.as_object().and_then(|definition| definition.get(GVK))) {
            by_kind.insert(kind, TypeId(at));
        }
    }
    Ok(Schema::new(reading.types, by_kind, scopes(document)))
}

impl Reading<'_> {
    fn read_type(&mut self, definition: &Value) -> Type {
        let mut read = Type::default();
        let Some(definition) = definition.as_object() else {
            return read;
        };
        let properties = definition.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let field = self.read_field(property);
            read.fields.insert(name.clone(), field);
        }
        read.others = definition
            .get("additionalProperties")
            .filter(|others| others.as_object().is_some())
            .map(|others| self.read_field(others));
        read
    }

    fn read_field(&mut self, property: &Value) -> Field {
        let Some(property) = property.as_object() else {
            return Field::default();
        };
        let text = |name: &str| property.get(name).and_then(Value::as_str);
        if let Some(target) = text("$ref") {
            let name = target.rsplit('/').next().unwrap_or_default();
            return Field {
                target: self.names.get(name).copied(),
                ..Field::default()
            };
        }
        let merges =
            text("x-kubernetes-patch-strategy").is_some_and(|word| word.split(',').any(|word| word == "merge"));
        let merge_keys = merges.then(|| match property.get("x-kubernetes-list-map-keys") {
            Some(Value::Array(keys)) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => text("x-kubernetes-patch-merge-key")
                .map(str::to_owned)
                .into_iter()
                .collect(),
        });
        let is_list = text("type") == Some("array");
        let target = match property.get("items").filter(|_| is_list) {
            Some(items) => self.read_field(items).target,
            None if property.contains_key("properties") || property.contains_key("additionalProperties") => {
                let made = self.read_type(&Value::Object(property.clone()));
                self.types.push(made);
                Some(TypeId(self.types.len() - 1))
            }
            None => None,
        };
        Field {
            merge_keys,
            target,
            is_list,
        }
    }
}

fn gvks(value: Option<&Value>) -> Vec<(String, String)> {
    let one = |value: &Value| {
        let fields = value.as_object()?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let (version, kind) = (text("version")?, text("kind")?);
        let api_version = match text("group") {
            None | Some("") => version.to_owned(),
            Some(group) => format!("{group}/{version}"),
        };
        Some((api_version, kind.to_owned()))
    };
    match value {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(one).collect(),
        Some(kind) => one(kind).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A type has a namespace if one of its paths has.
fn scopes(document: &Value) -> HashMap<(String, String), bool> {
    let mut scopes = HashMap::new();
    let paths = document
        .as_object()
        .and_then(|document| document.get("paths"))
        .and_then(Value::as_object);
    for (path, operations) in paths.into_iter().flatten() {
        let get = operations
            .as_object()
            .and_then(|operations| operations.get("get"))
            .and_then(Value::as_object);
        for kind in gvks(get.and_then(|get| get.get(GVK))) {
            let has_namespace = scopes.entry(kind).or_insert(false);
            *has_namespace |= path.contains("namespaces/{namespace}");
        }
    }
    scopes
}
