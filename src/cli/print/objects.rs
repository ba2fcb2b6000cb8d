//! Whole objects as text.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::error::{CliError, Result};
use crate::model::{self, Kind};

/// The beginning of a digest by which people tell images and layers apart, as docker and podman show it.
#[must_use]
pub fn short_id(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}

/// `pod/web`, `deployment.apps/web`: how kubectl names an object in messages.
#[must_use]
pub fn full_name(kind: &Kind, name: &str) -> String {
    match kind.group {
        "" => format!("{}/{name}", kind.singular),
        group => format!("{}.{group}/{name}", kind.singular),
    }
}

/// The same for an object at hand.
#[must_use]
pub fn name_line(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = text("/metadata/name");
    match model::kind(text("/apiVersion"), text("/kind")) {
        Some(kind) => full_name(kind, name),
        None => format!("{}/{name}", text("/kind").to_lowercase()),
    }
}

/// One object, or a `List` of several, ready to print: items of a list get the type that lists leave out, and
/// `managedFields` go unless they are asked for.
#[must_use]
pub fn prepare(mut objects: Vec<Value>, is_list: bool, show_managed_fields: bool) -> Value {
    if !show_managed_fields {
        for object in &mut objects {
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
        }
    }
    match (is_list, objects.len()) {
        (false, 1) => objects.remove(0),
        _ => json!({"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {"resourceVersion": ""}}),
    }
}

/// As JSON, indented by four as kubectl's.
///
/// # Errors
/// Never in practice: the value is JSON already.
pub fn json(value: &Value) -> Result<String> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
    bytes.push(b'\n');
    String::from_utf8(bytes).map_err(CliError::local)
}
