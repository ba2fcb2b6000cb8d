//! Trees to JSON values and back, with what gets lost or changes on the reference's way.
//!
//! The reference prints a tree and reads the text again to get at its values. [`to_json`] computes what that yields
//! without printing, but keeps to its surprises: an empty value in brackets is read back as an empty string, a folded
//! text may gain or lose empty lines, and a block that begins with a tab is not read back at all.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::compose::compose;
use super::error::{Problem, YamlError};
use super::node::{Data, Document, Entry, Form, Node, Pos, Tag};
use super::resolve::{Dialect, Scalar, resolve};
use super::scan::Origin;
use super::typed::{scalar_of, scalar_to_json};
use super::{anchor, number, print};

type Result<T> = std::result::Result<T, YamlError>;

/// The JSON value of a tree, as the reference's `MarshalJSON` yields it.
///
/// # Errors
/// If a scalar contradicts its tag, if a key is defined twice, or if JSON cannot say a key or a number.
pub fn to_json(root: &Node) -> Result<Value> {
    if has_aliases(root) {
        let mut expanded = root.clone();
        anchor::expand(&mut expanded)?;
        return convert_root(&expanded);
    }
    convert_root(root)
}

/// The JSON value of a document, as the reference's `MarshalJSON` yields it.
///
/// It differs from its root's in one case: a block that keeps its empty lines (`|+`) and ends the document gains one if
/// the document ends with a comment, because the printer sets that comment apart by an empty line.
///
/// # Errors
/// As [`to_json`].
pub fn document_to_json(document: &Document) -> Result<Value> {
    if !document.comments.foot.is_empty() {
        let mut root = document.root.clone();
        if let Some(text) = kept_block_at_end(&mut root) {
            text.push('\n');
            return to_json(&root);
        }
    }
    to_json(&document.root)
}

/// The text of such a block, if no other comment stands between it and the document's.
fn kept_block_at_end(node: &mut Node) -> Option<&mut String> {
    let has_foot = |node: &Node| node.comments().is_some_and(|comments| !comments.foot.is_empty());
    if node.style.form == Form::Flow || has_foot(node) || node.entries().last().is_some_and(|last| has_foot(&last.key))
    {
        return None;
    }
    let form = node.style.form;
    match &mut node.data {
        Data::Mapping(entries) => kept_block_at_end(&mut entries.last_mut()?.value),
        Data::Sequence(items) => kept_block_at_end(items.last_mut()?),
        Data::Scalar(text) => {
            let is_block = matches!(print::form_of(text, form, false), Form::Literal | Form::Folded);
            (is_block && (text.ends_with("\n\n") || text == "\n")).then_some(text)
        }
        Data::Alias(_) => None,
    }
}

fn has_aliases(node: &Node) -> bool {
    match &node.data {
        Data::Alias(_) => true,
        Data::Scalar(_) => false,
        Data::Sequence(items) => items.iter().any(has_aliases),
        Data::Mapping(entries) => entries
            .iter()
            .any(|entry| entry.key.tag == Tag::Merge || has_aliases(&entry.key) || has_aliases(&entry.value)),
    }
}

fn convert_root(root: &Node) -> Result<Value> {
    match &root.data {
        Data::Mapping(entries) => {
            check_unique(entries)?;
            let in_flow = root.style.form == Form::Flow;
            let mut fields = Map::new();
            for entry in entries {
                if let Some(key) = root_key(&entry.key, in_flow)? {
                    fields.insert(key, convert(&entry.value, in_flow)?);
                }
            }
            Ok(Value::Object(fields))
        }
        Data::Sequence(_) => convert(root, false),
        Data::Scalar(_) if root.short_tag() == Tag::Null => Ok(Value::Null),
        Data::Scalar(text) => {
            let problem = Problem::NotAMapping(format!("{} `{text}`", root.short_tag()));
            Err(problem.at(root.pos))
        }
        Data::Alias(name) => Err(Problem::UnknownAnchor(name.clone()).at(root.pos)),
    }
}

/// On the first level any scalar is a key by its text, except that a null is none and its field is left out.
fn root_key(key: &Node, in_flow: bool) -> Result<Option<String>> {
    match key_scalar(key, in_flow)? {
        Scalar::Null => Ok(None),
        Scalar::Str => Ok(Some(text_of(key, Scalar::Str)?)),
        _ => Ok(Some(key.text().to_owned())),
    }
}

fn key_scalar(key: &Node, in_flow: bool) -> Result<Scalar> {
    match key.data {
        // Written as '' so that it can be a key at all.
        Data::Scalar(ref text) if text.is_empty() && !key.style.tagged => Ok(Scalar::Str),
        Data::Scalar(_) => read_back(key, in_flow),
        Data::Mapping(_) | Data::Sequence(_) | Data::Alias(_) => Err(Problem::CollectionAsKey.at(key.pos)),
    }
}

/// Whether the tag makes the key something else than a string, though its value is one.
fn has_foreign_tag(key: &Node) -> bool {
    matches!(key.tag, Tag::Binary | Tag::Seq | Tag::Map | Tag::Merge | Tag::Other(_))
}

fn text_of(node: &Node, scalar: Scalar) -> Result<String> {
    match scalar_to_json(scalar, node)? {
        Value::String(text) => Ok(text),
        other => Ok(other.to_string()),
    }
}

fn convert(node: &Node, in_flow: bool) -> Result<Value> {
    let in_flow = in_flow || node.style.form == Form::Flow;
    match &node.data {
        Data::Scalar(text) if node.style.form == Form::Folded && !in_flow => match read_back(node, in_flow)? {
            Scalar::Str if node.tag != Tag::Binary => Ok(Value::String(fold_and_unfold(text)?)),
            scalar => scalar_to_json(scalar, node),
        },
        Data::Scalar(_) => scalar_to_json(read_back(node, in_flow)?, node),
        Data::Sequence(items) => items
            .iter()
            .map(|item| convert(item, in_flow))
            .collect::<Result<_>>()
            .map(Value::Array),
        Data::Mapping(entries) => {
            check_unique(entries)?;
            let mut fields = Map::new();
            for entry in entries {
                let key = match key_scalar(&entry.key, in_flow)? {
                    Scalar::Str if !has_foreign_tag(&entry.key) => entry.key.text().to_owned(),
                    _ => return Err(Problem::NonStringKey(entry.key.text().to_owned()).at(entry.key.pos)),
                };
                fields.insert(key, convert(&entry.value, in_flow)?);
            }
            Ok(Value::Object(fields))
        }
        Data::Alias(name) => Err(Problem::UnknownAnchor(name.clone()).at(node.pos)),
    }
}

/// What a scalar is when it was printed and read again.
fn read_back(node: &Node, in_flow: bool) -> Result<Scalar> {
    let text = node.text();
    if !in_flow {
        check_block(text, print::form_of(text, node.style.form, false), node.pos)?;
    }
    if node.style.tagged {
        return scalar_of(&node.tag, node, Dialect::Node);
    }
    let is_quoted = !matches!(node.style.form, Form::Default | Form::Flow)
        || text.contains('\n')
        || in_flow && print::quotes_in_flow(text);
    match &node.tag {
        Tag::Str => Ok(Scalar::Str),
        Tag::None if is_quoted => Ok(Scalar::Str),
        tag => {
            let resolved = resolve(text, Dialect::Node);
            match resolved.tag() {
                found if *tag == Tag::None || found == *tag => Ok(if is_quoted { Scalar::Str } else { resolved }),
                // The tag is written, because the text alone would not say it.
                _ => scalar_of(tag, node, Dialect::Node),
            }
        }
    }
}

/// A block that begins with a tab is printed but not read.
fn check_block(text: &str, form: Form, pos: Pos) -> Result<()> {
    if matches!(form, Form::Literal | Form::Folded) && text.starts_with('\t') {
        let problem = Problem::Syntax("found a tab character where an indentation space is expected");
        return Err(problem.at(pos));
    }
    Ok(())
}

/// What a folded scalar is when it was printed and read again.
fn fold_and_unfold(text: &str) -> Result<String> {
    let printed = print::print_node(&Node::string(text).with_form(Form::Folded));
    let read = compose(&printed, Origin::default())?;
    Ok(read.map_or_else(String::new, |(document, _)| document.root.text().to_owned()))
}

/// # Errors
/// If two keys of the same kind have the same text.
fn check_unique(entries: &[Entry]) -> Result<()> {
    // Comparing all pairs is faster than hashing for the mappings that there are.
    if entries.len() <= 16 {
        for (at, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..at].iter().find(|first| is_same_key(&first.key, &entry.key)) {
                return Err(duplicate(first, entry));
            }
        }
        return Ok(());
    }
    let mut seen = HashSet::new();
    for entry in entries {
        if !seen.insert((entry.key.kind(), entry.key.text())) {
            let first = entries
                .iter()
                .find(|first| is_same_key(&first.key, &entry.key))
                .unwrap_or(entry);
            return Err(duplicate(first, entry));
        }
    }
    Ok(())
}

fn is_same_key(a: &Node, b: &Node) -> bool {
    a.kind() == b.kind() && a.text() == b.text()
}

fn duplicate(first: &Entry, second: &Entry) -> YamlError {
    Problem::DuplicateKey {
        key: second.key.text().to_owned(),
        line: first.key.pos.line,
    }
    .at(second.key.pos)
}

/// A tree of a JSON value, with sorted keys and the styles that the reference gives it.
///
/// Numbers go through floating point, as they do there: whole ones beyond 2^53 lose their last digits.
///
/// # Errors
/// If a text of several lines begins with a tab, which the reference prints as a block that it cannot read.
pub fn from_json(value: &Value) -> Result<Node> {
    Ok(match value {
        Value::Null => Node::null(),
        Value::Bool(value) => Node::bool(*value),
        Value::Number(number) => {
            let node = Node::scalar(number::in_yaml(number.as_f64().unwrap_or(f64::NAN)));
            let tag = node.short_tag();
            node.with_tag(tag)
        }
        Value::String(text) => string_from_json(text, false)?,
        Value::Array(items) => {
            let form = if items.is_empty() { Form::Flow } else { Form::Default };
            Node::sequence(items.iter().map(from_json).collect::<Result<Vec<_>>>()?).with_form(form)
        }
        Value::Object(fields) => {
            let form = if fields.is_empty() { Form::Flow } else { Form::Default };
            let mut sorted: Vec<(&str, &Value)> = fields.iter().map(|(key, value)| (key.as_str(), value)).collect();
            print::sort_keys(&mut sorted);
            let entries = sorted.into_iter().map(|(key, value)| {
                Ok(Entry {
                    key: string_from_json(key, true)?,
                    value: from_json(value)?,
                })
            });
            Node::new(Data::Mapping(entries.collect::<Result<_>>()?))
                .with_tag(Tag::Map)
                .with_form(form)
        }
    })
}

/// A string in the style in which it is printed: in quotes where the older reader would take it for something else.
fn string_from_json(text: &str, is_key: bool) -> Result<Node> {
    let form = print::form_of(text, print::asked_form(text), is_key);
    check_block(text, form, Pos::default())?;
    Ok(Node::string(text).with_form(form))
}
