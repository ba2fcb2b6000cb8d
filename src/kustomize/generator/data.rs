//! The data of ConfigMaps and Secrets: `key=value` from literals, files and lines, and how it stands in an object.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kustomize::error::{Context, Error, Result};
use crate::kustomize::graph::{Graph, Id, Put};
use crate::kustomize::kustomization::{Entry, GeneratorSpec};
use crate::kustomize::loader::Loader;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Form, Kind, Pos, Style, Tag};

/// Base 64 in lines of this many characters, as the reference writes it into objects.
const LINE: usize = 70;

/// A key's value and where both come from.
pub struct Pair {
    pub key: String,
    pub value: Vec<u8>,
    pub pos: Pos,
}

/// All that a generator names, in the reference's order: lines of files, literals, files.
pub fn pairs_of(world: &mut World<'_>, loader: &Loader, spec: &GeneratorSpec) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for env in &spec.envs {
        let file = loader
            .load(world, &env.text)
            .within(|| format!("env source files: [{}]", env.text));
        let file = file.at(env.pos)?;
        pairs_of_lines(&file.bytes, file.id, &mut pairs).within(|| format!("env source files: [{}]", env.text))?;
    }
    for literal in &spec.literals {
        pairs.push(pair_of_literal(literal)?);
    }
    for source in &spec.files {
        let (key, path) = key_and_path(source)?;
        let file = loader
            .load(world, path)
            .within(|| format!("file sources: [{}]", source.text))
            .at(source.pos)?;
        let pos = Pos {
            file: file.id,
            line: 1,
            column: 1,
        };
        pairs.push(Pair {
            key: key.to_owned(),
            value: file.bytes.to_vec(),
            pos,
        });
    }
    Ok(pairs)
}

fn pair_of_literal(literal: &Entry) -> Result<Pair> {
    let text = literal.text.as_str();
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        let why = format!("literal sources [{text}]: invalid literal source {text}, expected key=value");
        return Err(Error::kustomization(why).at(literal.pos));
    };
    Ok(Pair {
        key: key.to_owned(),
        value: without_quotes(value).as_bytes().to_vec(),
        pos: literal.pos,
    })
}

fn without_quotes(text: &str) -> &str {
    let bytes = text.as_bytes();
    match bytes {
        [first @ (b'"' | b'\''), .., last] if first == last => &text[1..text.len() - 1],
        _ => text,
    }
}

fn key_and_path(source: &Entry) -> Result<(&str, &str)> {
    let text = source.text.as_str();
    let wrong = |why: String| Err(Error::kustomization(format!("file sources: [{text}]: {why}")).at(source.pos));
    let base = || {
        let trimmed = text.trim_end_matches('/');
        let name = trimmed.rsplit('/').next().unwrap_or_default();
        if name.is_empty() {
            if text.is_empty() { "." } else { "/" }
        } else {
            name
        }
    };
    match text.matches('=').count() {
        0 => Ok((base(), text)),
        1 => match text.split_once('=').unwrap_or_default() {
            ("", path) => wrong(format!("missing key name for file path {path:?} in source {text:?}")),
            (key, "") => wrong(format!("missing file path for key name {key:?} in source {text:?}")),
            found => Ok(found),
        },
        _ => wrong(format!("source {text:?} key name or file path contains '='")),
    }
}

/// A line without `=` has an empty value; what begins with `#` and what is empty is no line.
fn pairs_of_lines(bytes: &[u8], file: crate::kustomize::yaml::FileId, pairs: &mut Vec<Pair>) -> Result<()> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    for (at, line) in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let pos = Pos {
            file,
            line: u32::try_from(at + 1).unwrap_or(u32::MAX),
            column: 1,
        };
        // The reference's scanner gives up at this length.
        if line.len() >= 64 * 1024 {
            return Err(Error::yaml("bufio.Scanner: token too long").at(pos));
        }
        let text = std::str::from_utf8(line)
            .map_err(|_| Error::yaml(format!("line {} has invalid utf8 bytes", at + 1)).at(pos))?;
        let text = if at == 0 {
            text.trim_start_matches('\u{feff}')
        } else {
            text
        };
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if !key.is_empty() {
            pairs.push(Pair {
                key: key.to_owned(),
                value: value.as_bytes().to_vec(),
                pos,
            });
        }
    }
    Ok(())
}

/// Base 64 as it stands in objects: one line if it is short.
pub fn encode_base64(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    if text.len() < LINE {
        return text;
    }
    let mut lines = String::with_capacity(text.len() + text.len() / LINE + 1);
    for line in text.as_bytes().chunks(LINE) {
        lines.extend(line.iter().map(|byte| char::from(*byte)));
        lines.push('\n');
    }
    lines
}

/// A string as data holds it: a block if it has lines.
fn data_node(graph: &mut Graph, text: &str, pos: Pos) -> Id {
    let id = graph.add_scalar(text, Tag::Str);
    let cell = graph.cell_mut(id);
    cell.pos = pos;
    if text.contains('\n') {
        cell.style = Style::of(Form::Literal);
    }
    id
}

/// Sets a key of an object's data.
pub fn set_data(graph: &mut Graph, root: Id, field: &str, key: &str, text: &str, pos: Pos) -> Result<()> {
    let value = data_node(graph, text, pos);
    match graph.lookup_create(root, &[field], Kind::Mapping)? {
        Some(map) => graph.set_field(map, key, Some(value), Put::default()),
        None => Ok(()),
    }
}

/// Puts the data of an object below another's own.
///
/// # Errors
/// If there is something else where data should be.
pub fn merge_data(graph: &mut Graph, root: Id, below: Id, field: &str) -> Result<()> {
    let mut all: BTreeMap<String, (String, Pos)> = BTreeMap::new();
    for from in [below, root] {
        let Some(map) = graph.find(from, field)? else { continue };
        graph.expect_kind(map, Kind::Mapping)?;
        // Of a key that stands there twice the first one counts: it is inserted last.
        let fields: Vec<_> = graph.fields(map).collect();
        for (key, value) in fields.into_iter().rev() {
            let text = graph.value_text(value).to_owned();
            all.insert(graph.value_text(key).to_owned(), (text, graph.pos(value)));
        }
    }
    graph.clear(root, field)?;
    for (key, (text, pos)) in all {
        set_data(graph, root, field, &key, &text, pos)?;
    }
    Ok(())
}
