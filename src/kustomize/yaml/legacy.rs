//! Kustomization files to JSON values, as the older of the reference's readers does it.
//!
//! It knows more booleans, takes times for strings, lets the last of two equal keys win, and turns keys that are no
//! strings into strings.

use serde_json::{Map, Value};

use super::anchor;
use super::error::{Problem, YamlError};
use super::node::{Data, Entry, Form, Node, Tag};
use super::number;
use super::resolve::{Dialect, Scalar};
use super::typed::{binary_text, scalar_of, scalar_to_json};

type Result<T> = std::result::Result<T, YamlError>;

/// The JSON value of a kustomization file's tree (`YAMLToJSON` of `sigs.k8s.io/yaml`).
///
/// # Errors
/// If aliases multiply too often, if a scalar contradicts its tag, or if JSON cannot say a key or a number.
pub fn legacy_to_json(root: &Node) -> Result<Value> {
    let mut expanded = root.clone();
    anchor::expand_aliases(&mut expanded)?;
    convert(&expanded)
}

fn convert(node: &Node) -> Result<Value> {
    match &node.data {
        Data::Scalar(_) => match typed(node)? {
            Scalar::Timestamp(_) => Ok(Value::String(node.text().to_owned())),
            scalar => scalar_to_json(scalar, node),
        },
        Data::Sequence(items) => items.iter().map(convert).collect::<Result<_>>().map(Value::Array),
        Data::Mapping(entries) => {
            let mut fields = Map::new();
            fill(&mut fields, entries)?;
            Ok(Value::Object(fields))
        }
        Data::Alias(name) => Err(Problem::UnknownAnchor(name.clone()).at(node.pos)),
    }
}

fn fill(fields: &mut Map<String, Value>, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        if entry.key.tag == Tag::Merge {
            // What was set before is overwritten: the order of the fields counts, not whose they are.
            merge(fields, &entry.value)?;
        } else {
            fields.insert(key(&entry.key)?, convert(&entry.value)?);
        }
    }
    Ok(())
}

fn merge(fields: &mut Map<String, Value>, value: &Node) -> Result<()> {
    match &value.data {
        Data::Mapping(entries) => fill(fields, entries),
        Data::Sequence(items) => items.iter().rev().try_for_each(|item| match &item.data {
            Data::Mapping(entries) => fill(fields, entries),
            _ => Err(Problem::MergeOfNonMapping.at(item.pos)),
        }),
        Data::Scalar(_) | Data::Alias(_) => Err(Problem::MergeOfNonMapping.at(value.pos)),
    }
}

fn key(node: &Node) -> Result<String> {
    let Data::Scalar(text) = &node.data else { return Err(Problem::CollectionAsKey.at(node.pos)) };
    match typed(node)? {
        Scalar::Str if node.tag == Tag::Binary => binary_text(node),
        Scalar::Str | Scalar::Timestamp(_) => Ok(text.clone()),
        Scalar::Bool(value) => Ok(value.to_string()),
        Scalar::Int(value) => Ok(value.to_string()),
        Scalar::Float(value) => Ok(number::as_legacy_key(value)),
        Scalar::Null | Scalar::Uint(_) => Err(Problem::NonStringKey(text.clone()).at(node.pos)),
    }
}

fn typed(node: &Node) -> Result<Scalar> {
    if node.style.tagged {
        return scalar_of(&node.tag, node, Dialect::Legacy);
    }
    match node.style.form {
        Form::Default | Form::Flow => scalar_of(&Tag::None, node, Dialect::Legacy),
        Form::DoubleQuoted | Form::SingleQuoted | Form::Literal | Form::Folded => Ok(Scalar::Str),
    }
}
