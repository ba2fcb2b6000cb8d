//! Bytes of a file in, documents out: values as kubectl reads them, and a place for every node.
//!
//! Holds splitting into documents, `List` flattening, and through `compose` and `scalar` the reading itself. Knows that
//! objects may come in lists, and nothing else of Kubernetes. The scalars' rules are kubectl's own (YAML 1.1 as Go reads
//! it), which no YAML crate offers with places: hence events from the parser, and a composer of our own.

mod compose;
mod scalar;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::problem::{Place, Problem, SourceText};
use super::spans::{Children, SpanTree};
use compose::{Composed, Duplicate, Fault};

/// The largest file that is read: a thousand times the largest object that Kubernetes stores (1.5 MiB in etcd) would be
/// a mistake, not a manifest; 32 MiB holds 50,000 pods.
pub const MAX_FILE_BYTES: usize = 32 << 20;

/// One object of a file, before anything is known about its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The file as the user named it.
    pub file: Arc<Path>,
    /// What it says. Not always an object: `- a` is a document too.
    pub value: Value,
    /// Where it says it.
    pub spans: SpanTree,
}

/// Reads a file: every document of it that can be read, and a problem for each that can't.
///
/// Documents are independent, because they are split at `---` lines first, as kubectl does: a fault in one hides no other.
pub fn documents(source: &SourceText<'_>, text: &str) -> (Vec<Document>, Vec<Problem>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for piece in split(text) {
        match read(piece) {
            Ok(Composed { documents, duplicates }) if duplicates.is_empty() => {
                for (value, spans) in documents {
                    flatten(value, spans, source, &mut found, &mut problems);
                }
            }
            Ok(Composed { duplicates, .. }) => {
                problems.extend(duplicates.into_iter().map(|Duplicate { at, path, first }| {
                    let Place { line, column } = first;
                    source.error(
                        at,
                        format!("duplicate field \"{path}\", first given at {line}:{column}"),
                    )
                }));
            }
            Err(fault) => problems.push(source.error(fault.at, fault.message)),
        }
    }
    (found, problems)
}

/// The one value of a text, in which of two values of one key the later stands; and the keys that are given once more.
///
/// # Errors
/// What is wrong with it, and where; or that there is not exactly one.
pub fn only_value(source: &SourceText<'_>, text: &str) -> Result<(Value, Vec<String>), String> {
    let (mut values, mut repeated) = (Vec::new(), Vec::new());
    for piece in split(text) {
        let composed = read(piece).map_err(|fault| source.error(fault.at, fault.message).to_line())?;
        let read = composed.documents.into_iter().map(|(value, _)| value);
        values.extend(read.filter(|value| !value.is_null()));
        repeated.extend(composed.duplicates.into_iter().map(|duplicate| duplicate.path));
    }
    match (values.pop(), values.is_empty()) {
        (Some(value), true) => Ok((value, repeated)),
        (_, _) => Err("the body must hold one object".to_owned()),
    }
}

/// The values of a YAML file that is no manifest, without places; what can't be read is left out.
pub fn values(bytes: &[u8]) -> Vec<Value> {
    let Ok(text) = text_of(bytes) else { return Vec::new() };
    let source = SourceText::new(Path::new("").into(), text);
    documents(&source, text)
        .0
        .into_iter()
        .map(|document| document.value)
        .collect()
}

/// The text of a file's bytes.
///
/// # Errors
/// The place of what is not UTF-8, or the start of a file that is too large.
pub fn text_of(bytes: &[u8]) -> Result<&str, (Place, String)> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err((
            Place::START,
            format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", bytes.len()),
        ));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = valid.matches('\n').count() + 1;
            let column = valid.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let place = Place {
                line: u32::try_from(line).unwrap_or(u32::MAX),
                column: u32::try_from(column).unwrap_or(u32::MAX),
            };
            Err((place, "the file is not UTF-8 text".into()))
        }
    }
}

/// A piece of a file that is parsed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece<'a> {
    text: &'a str,
    first_line: u32,
}

/// Splits at lines that begin with `---` and a blank. No scalar can have such a line inside: block scalars are
/// indented, and YAML forbids it in quoted ones. A separator stays with what follows it, for it may carry content (`--- {}`).
fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut start, mut first_line, mut offset, mut has_content) = (0, 1_u32, 0, false);
    let mut number = 1_u32;
    for line in text.split_inclusive('\n') {
        let is_separator = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        // Directives and comments above a separator belong to the document below it.
        if is_separator && has_content {
            pieces.push(Piece {
                text: &text[start..offset],
                first_line,
            });
            (start, first_line, has_content) = (offset, number, false);
        }
        let is_quiet = line.trim().is_empty() || line.starts_with(['#', '%']) || line.trim_start().starts_with('#');
        has_content |= !is_quiet;
        offset += line.len();
        number = number.saturating_add(1);
    }
    pieces.push(Piece {
        text: &text[start..],
        first_line,
    });
    pieces
}

fn read(piece: Piece<'_>) -> Result<Composed, Fault> {
    let fault = match compose::compose(piece.text, piece.first_line) {
        Ok(composed) => return Ok(composed),
        Err(fault) => fault,
    };
    // What JSON allows and YAML does not (`{..}{..}` in a row, surrogate pairs, tabs) is read as JSON, at the price of places.
    if piece.text.trim_start().starts_with('{') {
        let place = Place {
            line: piece.first_line,
            column: 1,
        };
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(piece.text).into_iter().collect();
        if let Ok(values) = values {
            let documents = values.into_iter().map(|value| (value, SpanTree::leaf(place))).collect();
            return Ok(Composed {
                documents,
                ..Composed::default()
            });
        }
    }
    Err(fault)
}

/// Takes lists apart. Empty documents (only comments) are nothing, as for kubectl.
fn flatten(
    value: Value,
    spans: SpanTree,
    source: &SourceText<'_>,
    found: &mut Vec<Document>,
    problems: &mut Vec<Problem>,
) {
    if value.is_null() {
        return;
    }
    let Some((item_kind, version)) = list_of(&value) else {
        found.push(Document {
            file: Arc::clone(source.file()),
            value,
            spans,
        });
        return;
    };
    let Value::Object(mut list) = value else { return };
    let at = spans.at;
    let items = match list.remove("items") {
        Some(Value::Array(items)) => items,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => {
            problems.push(source.error(spans.locate(&"items".into()), "items: must be a list"));
            return;
        }
    };
    let mut places = spans.take_items("items");
    places.resize_with(items.len(), || SpanTree {
        at,
        key: None,
        children: Children::None,
    });
    for (mut item, spans) in items.into_iter().zip(places) {
        if let (Some(kind), Value::Object(fields)) = (&item_kind, &mut item) {
            fill_type(fields, kind, &version);
        }
        flatten(item, spans, source, found, problems);
    }
}

/// Items of `PodList` do not repeat their kind; those of `List` must.
fn fill_type(fields: &mut Map<String, Value>, kind: &str, version: &str) {
    fields.entry("kind").or_insert_with(|| Value::String(kind.to_owned()));
    fields
        .entry("apiVersion")
        .or_insert_with(|| Value::String(version.to_owned()));
}

/// For a list: the kind of its items where its own kind tells it (`PodList`), and its apiVersion.
fn list_of(value: &Value) -> Option<(Option<String>, String)> {
    let kind = value.get("kind")?.as_str()?;
    let version = value
        .get("apiVersion")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let item_kind = kind.strip_suffix("List")?;
    value.get("items")?;
    Some(((!item_kind.is_empty()).then(|| item_kind.to_owned()), version))
}
