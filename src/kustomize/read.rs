//! Files and texts to objects: documents, lists taken apart, what is no object refused.

use std::collections::VecDeque;

use serde_json::Value;

use super::error::{Context, Error, Result};
use super::graph::{Graph, Id};
use super::resource::Resource;
use super::yaml::{self, FileId, Form, Pos};

/// Reads the objects of a text.
///
/// # Errors
/// If the text is no YAML, or a document is no Kubernetes object.
pub fn read_resources(graph: &mut Graph, text: &str, file: FileId) -> Result<Vec<Resource>> {
    let documents = yaml::parse_documents(text, file).map_err(|error| {
        let error = Error::from(error);
        Error {
            why: super::error::Why::Yaml(format!("MalformedYAMLError: yaml: {}", error.why)),
            ..error
        }
    })?;
    let is_single = count_parts(text) == 1;
    let mut roots = Vec::with_capacity(documents.len());
    for document in documents {
        let root = graph.import(document.root)?;
        match items_of_list(graph, root).filter(|_| is_single) {
            Some(items) => roots.extend(items),
            None => roots.push(root),
        }
    }
    let roots = with_lists_apart(graph, check_all(graph, roots)?)?;
    Ok(roots.into_iter().map(Resource::new).collect())
}

/// How many documents a text is split into; a `List` is only taken apart as a whole if it is the only one.
fn count_parts(text: &str) -> usize {
    let mut lines = text.split_inclusive('\n').skip(1);
    1 + lines
        .by_ref()
        .filter(|line| line.starts_with("---") && line.ends_with('\n'))
        .count()
}

/// The items of a `List` or `ResourceList`.
fn items_of_list(graph: &Graph, root: Id) -> Option<Vec<Id>> {
    if !matches!(graph.kind_name(root), "List" | "ResourceList") {
        return None;
    }
    match graph.get(root, "items") {
        Some(items) => Some(graph.content(items).to_vec()),
        None => graph.get(root, "functionConfig").map(|_| Vec::new()),
    }
}

fn check_all(graph: &Graph, roots: Vec<Id>) -> Result<Vec<Id>> {
    let mut good = Vec::with_capacity(roots.len());
    for root in roots.into_iter().filter(|root| !graph.is_hollow(*root)) {
        check(graph, root)?;
        good.push(root);
    }
    Ok(good)
}

/// Checks that something is an object: it has a kind, and unless it is a list a name.
pub(super) fn check(graph: &Graph, root: Id) -> Result<()> {
    let text = |name: &str| {
        graph
            .get(root, name)
            .filter(|value| !graph.is_hollow(*value))
            .map(|value| graph.text(value))
    };
    let has_meta = graph.metadata(root).is_some_and(|metadata| {
        ["name", "namespace", "labels", "annotations"]
            .iter()
            .any(|name| graph.get(metadata, name).is_some_and(|value| !graph.is_hollow(value)))
    });
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_none() && kind.is_none() && !has_meta {
        return Err(Error::yaml("missing Resource metadata").at(graph.pos(root)));
    }
    let shown = || {
        let (name, namespace) = (graph.name(root), graph.namespace(root));
        format!(
            "{{{{{} {}}} {{{{{name} {namespace}}} map[] map[]}}}}",
            api_version.unwrap_or_default(),
            kind.unwrap_or_default()
        )
    };
    match kind.unwrap_or_default() {
        "" => Err(Error::yaml(format!("missing kind in object {}", shown())).at(graph.pos(root))),
        kind if kind.ends_with("List") => Ok(()),
        _ if graph.name(root).is_empty() => {
            Err(Error::yaml(format!("missing metadata.name in object {}", shown())).at(graph.pos(root)))
        }
        _ => Ok(()),
    }
}

/// Takes lists of objects (`FooList`) apart; their items come after everything else.
fn with_lists_apart(graph: &mut Graph, roots: Vec<Id>) -> Result<Vec<Id>> {
    let mut queue = VecDeque::from(roots);
    let mut apart = Vec::with_capacity(queue.len());
    while let Some(root) = queue.pop_front() {
        let kind = graph.kind_name(root).to_owned();
        let items = graph.get(root, "items").filter(|_| kind.ends_with("List"));
        let Some(items) = items else {
            apart.push(root);
            continue;
        };
        if graph.is_null(items) {
            continue;
        }
        if !graph.is_sequence(items) {
            let why = format!("expected array in {kind}/items, but found another type");
            return Err(Error::yaml(why).at(graph.pos(items)));
        }
        let whole = graph.to_json(root);
        let whole = whole.within(|| format!("trouble expanding list of {kind}"))?;
        let values = whole.get("items").and_then(Value::as_array).into_iter().flatten();
        let mut inner = Vec::new();
        for (item, value) in graph.content(items).to_vec().into_iter().zip(values) {
            let pos = graph.pos(item);
            inner.extend(graph.add_json_text(value, pos)?);
        }
        queue.extend(check_all(graph, inner)?);
    }
    Ok(apart)
}

/// Where the text of a scalar begins: a block begins on the line after its mark.
pub fn text_pos(graph: &Graph, id: Id) -> Pos {
    let cell = graph.cell(id);
    let is_block = matches!(cell.style.form, Form::Literal | Form::Folded);
    Pos {
        line: cell.pos.line + u32::from(is_block && cell.pos.is_known()),
        ..cell.pos
    }
}
