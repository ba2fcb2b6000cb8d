//! Hashes of content at the end of generated names, so that what uses them is rolled when they change.

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::kustomize::error::{Error, Result};
use crate::kustomize::graph::{Graph, Id};
use crate::kustomize::resmap::ResMap;
use crate::kustomize::resource::note;
use crate::kustomize::world::World;
use crate::kustomize::yaml::{Html, Tag, go_json};

/// How many characters of the hash a name gets.
const LENGTH: usize = 10;

/// Adds hashes to the names that are to have one.
///
/// # Errors
/// If data is not of strings.
pub fn add_hashes(world: &mut World<'_>, map: &mut ResMap) -> Result<()> {
    let graph = &mut world.graph;
    for root in map.roots() {
        if !graph.is_enabled(root, note::NEEDS_HASH) {
            continue;
        }
        let hash = hash(graph, root)?;
        graph.store_previous_id(root)?;
        let name = format!("{}-{hash}", graph.name(root));
        graph.set_name(root, &name)?;
    }
    map.list_mut();
    Ok(())
}

fn hash(graph: &Graph, root: Id) -> Result<String> {
    let fields: &[&str] = match graph.kind_name(root) {
        "ConfigMap" => &["data", "binaryData"],
        "Secret" => &["type", "data", "stringData"],
        other => {
            let why = format!("names of {other} objects get no hash here: only those of ConfigMaps and Secrets do");
            return Err(Error::object(why).at(graph.pos(root)));
        }
    };
    let mut encoded = Map::new();
    encoded.insert("kind".to_owned(), json!(graph.kind_name(root)));
    // The reference looks for a field that is called `metadata/name` and never finds it.
    encoded.insert("name".to_owned(), json!(""));
    for field in fields {
        let value = value_of(graph, root, field)?;
        if !matches!(*field, "binaryData" | "stringData") || value.is_object() {
            encoded.insert((*field).to_owned(), value);
        }
    }
    Ok(encode(&go_json(&as_floats(Value::Object(encoded)), Html::Escaped)))
}

fn value_of(graph: &Graph, root: Id, field: &str) -> Result<Value> {
    let Some(node) = graph.find(root, field)? else {
        return Ok(json!(""));
    };
    if graph.is_scalar(node) {
        let text = graph.text(node);
        return Ok(json!(text));
    }
    debug_assert!(
        graph.cell(node).tag != Tag::Merge,
        "merge keys were merged when the document was read"
    );
    let value = graph.to_json(node)?;
    Ok(if value.is_object() { value } else { Value::Null })
}

/// Numbers as Go's decoder has them without being told better.
fn as_floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(Value::Null, |number| json!(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(as_floats).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name, as_floats(value)))
                .collect(),
        ),
        other => other,
    }
}

/// The first characters of the hash in hexadecimal, without those that could make a word.
fn encode(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let safe = |c| match c {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        c => c,
    };
    hex.chars().take(LENGTH).map(safe).collect()
}
