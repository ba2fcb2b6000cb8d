//! Kustomization files to JSON values, as the older of the reference's readers does it.
//!
//! It knows more booleans, takes times for strings, lets the last of two equal keys win, and turns keys that are no
//! strings into strings.

use serde_json::{Map, Value};

use super::anchor;
use super::error::{Problem, YamlError};
use super::node::{Data, Entry, FileId, Form, Node, Tag};
use super::number;
use super::reader::parse_document;
use super::resolve::{Dialect, Scalar, resolve};
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

/// Whether a text, as a document of its own, is something else than a string to the older reader (`IsYaml1_1NonString`).
///
/// A text of several lines or none counts as a string, and so does one that cannot be read.
pub fn is_legacy_non_string(text: &str) -> bool {
    if text.is_empty() || text.contains('\n') {
        return false;
    }
    let is_word = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'));
    if is_word && !text.starts_with(['-', '.']) {
        return !matches!(resolve(text, Dialect::Legacy), Scalar::Str | Scalar::Timestamp(_));
    }
    match parse_document(text, FileId::default()) {
        Ok(Some(document)) => legacy_to_json(&document.root).is_ok_and(|value| !value.is_string()),
        // Nothing but a comment is a null.
        Ok(None) => true,
        Err(_) => false,
    }
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
    let Data::Scalar(text) = &node.data else {
        return Err(Problem::CollectionAsKey.at(node.pos));
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Value> {
        legacy_to_json(
            &parse_document(text, FileId::default())?
                .expect("the test's text holds a document")
                .root,
        )
    }

    #[test]
    fn a_text_is_no_string_if_the_older_reader_takes_it_for_something_else() {
        for text in [
            "yes",
            "12",
            "~",
            "1e3",
            "a: b",
            "[a]",
            "- a",
            "# only a comment",
            "null",
            ".5",
            "!!int 1",
            "-",
        ] {
            assert!(is_legacy_non_string(text), "{text}");
        }
        for text in [
            "",
            "a",
            "2001-01-01",
            "a\nb",
            "a: b: c",
            "\"1\"",
            "1:30",
            "*unknown",
            "v1.2",
        ] {
            assert!(!is_legacy_non_string(text), "{text}");
        }
    }

    #[test]
    fn keys_become_strings_and_later_fields_win() {
        let value = read("{yes: 1, 010: a, 1.50: b, a: 1, a: 2}").expect("valid");
        assert_eq!(value, serde_json::json!({"true": 1, "8": "a", "1.5": "b", "a": 2}));
    }

    #[test]
    fn a_merged_field_wins_over_what_stands_before_it() {
        let value = read("k: &k {a: 1, b: 1}\nm:\n  a: 2\n  <<: *k\n  b: 2\n").expect("valid");
        assert_eq!(value["m"], serde_json::json!({"a": 1, "b": 2}));
    }

    #[test]
    fn a_time_stays_a_string_and_a_null_is_no_key() {
        assert_eq!(
            read("a: 2001-01-01").expect("valid"),
            serde_json::json!({"a": "2001-01-01"})
        );
        let error = read("a:\n  ~: 1").expect_err("null is no key");
        assert_eq!(
            (error.problem, error.pos.line, error.pos.column),
            (Problem::NonStringKey("~".into()), 2, 3)
        );
    }
}
