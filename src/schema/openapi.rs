//! OpenAPI v3 documents: one per group and version, with the schemas of its kinds and one path each.
//!
//! Written piece by piece into the answer's bytes; what a document needs besides (the descriptions, half a megabyte) is unpacked for as
//! long as that takes. Clients keep documents by their fingerprint, so this happens once for each of them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::{FIELDS, Field, Message, Shape};
use crate::model::{KINDS, Kind};

const DESCRIPTIONS: &[u8] = include_bytes!("descriptions.zst");

/// What changes when any document changes: a part of their addresses.
pub fn fingerprint() -> &'static str {
    // A binary's documents are always the same, and what they are made of is large.
    static FINGERPRINT: LazyLock<String> = LazyLock::new(|| fingerprint_of(KINDS));
    &FINGERPRINT
}

fn fingerprint_of(kinds: &[Kind]) -> String {
    let mut hasher = DefaultHasher::new();
    FIELDS.hash(&mut hasher);
    DESCRIPTIONS.hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    for kind in kinds {
        (kind.group, kind.version, kind.kind, kind.plural).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// The document of these kinds, which are of one group and version. `version` is the API server's.
pub fn openapi_document<'k>(kinds: impl Iterator<Item = &'k Kind> + Clone, version: &str) -> Vec<u8> {
    let info = json!({"title": "Kubernetes", "version": version});
    let paths: Map<String, Value> = kinds.clone().map(path).collect();
    let mut document = format!(r#"{{"openapi":"3.0.0","info":{info},"paths":"#).into_bytes();
    write(&mut document, &Value::Object(paths));
    document.extend_from_slice(br#","components":{"schemas":{"#);
    let mut is_first = true;
    let mut add = |name: &str, schema: &Value| {
        if !std::mem::replace(&mut is_first, false) {
            document.push(b',');
        }
        write(&mut document, &name.into());
        document.push(b':');
        write(&mut document, schema);
    };
    for kind in kinds.clone().filter(|kind| Message::of(kind).is_none()) {
        // What is not in the table of types is described in words only.
        let schema = json!({
            "type": "object",
            "description": format!("{}: its fields are not described here.", kind.kind),
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-group-version-kind": [gvk(kind)],
        });
        add(
            &format!("{}.{}.{}", reversed(kind.group), kind.version, kind.kind),
            &schema,
        );
    }
    add_messages(kinds, &mut add);
    document.extend_from_slice(b"}}}");
    document
}

fn write(document: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(document, value).expect("JSON values have string keys, and memory takes all");
}

fn add_messages<'k>(kinds: impl Iterator<Item = &'k Kind> + Clone, add: &mut impl FnMut(&str, &Value)) {
    let unpacked = zstd::decode_all(DESCRIPTIONS).expect("was packed when it was made");
    let texts = Texts(std::str::from_utf8(&unpacked).expect("is text").lines().collect());
    let roots: Vec<_> = kinds.filter_map(|kind| Some((Message::of(kind)?, kind))).collect();
    for (name, message) in reachable(roots.iter().map(|(root, _)| *root)) {
        let kind = roots.iter().find(|(root, _)| *root == message).map(|(_, kind)| *kind);
        let mut schema = message_schema(message, kind, &texts.at(message.line));
        if schema.get("type") == Some(&json!("object")) {
            add_fields(&mut schema, message, &texts);
        }
        add(&public_name(name), &Value::Object(schema));
    }
}

/// Descriptions, by the line that they describe.
struct Texts<'t>(Vec<&'t str>);

impl<'t> Texts<'t> {
    fn at(&self, line: usize) -> String {
        let text = self.0.get(line).copied().unwrap_or_default();
        text.replace("\\n", "\n").replace("\\\\", "\\")
    }

    fn of_fields(&self, message: Message) -> impl Iterator<Item = (Field, String)> {
        (message.line + 1..)
            .zip(message.fields())
            .map(|(line, field)| (field, self.at(line)))
    }
}

/// The messages, and all that their fields name, by their names.
fn reachable(roots: impl Iterator<Item = Message>) -> BTreeMap<&'static str, Message> {
    let (mut found, mut todo) = (BTreeMap::new(), roots.collect::<Vec<_>>());
    while let Some(message) = todo.pop() {
        if found.insert(message.name, message).is_none() {
            todo.extend(message.fields().filter_map(Field::message));
        }
    }
    found
}

/// A type's schema without its fields.
fn message_schema(message: Message, kind: Option<&Kind>, description: &str) -> Map<String, Value> {
    let short = message.name.rsplit('.').next().unwrap_or_default();
    let mut schema = match short {
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "Quantity" => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "IntOrString" => json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
        "Duration" => json!({"type": "string"}),
        "ExtraValue" => json!({"type": "array", "items": {"type": "string", "default": ""}}),
        _ => json!({"type": "object"}),
    };
    if !description.is_empty() {
        schema["description"] = description.into();
    }
    if message.is_atomic() {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    let Value::Object(mut schema) = schema else {
        unreachable!("made above")
    };
    if let Some(kind) = kind {
        let text = |description: &str| json!({"type": "string", "description": description});
        let fields = json!({
            "apiVersion": text("APIVersion defines the versioned schema of this representation of an object. Servers should \
                convert recognized schemas to the latest internal value, and may reject unrecognized values."),
            "kind": text("Kind is a string value representing the REST resource this object represents. Cannot be updated. \
                In CamelCase."),
        });
        schema.insert("properties".to_owned(), fields);
        schema.insert("x-kubernetes-group-version-kind".to_owned(), json!([gvk(kind)]));
    }
    schema
}

fn add_fields(schema: &mut Map<String, Value>, message: Message, texts: &Texts<'_>) {
    for (field, description) in texts.of_fields(message) {
        if let (true, Some(inlined)) = (field.is_inline(), field.message()) {
            // Its fields stand in its place, as they do in JSON.
            add_fields(schema, inlined, texts);
            continue;
        }
        if field.is_required() {
            let required = schema.entry("required").or_insert_with(|| json!([]));
            let required = required.as_array_mut().expect("lists are only made here");
            required.push(field.name.into());
        }
        let properties = schema.entry("properties").or_insert_with(|| json!({}));
        properties[field.name] = field_schema(field, &description);
    }
}

fn field_schema(field: Field, description: &str) -> Value {
    let item = match field.value {
        "string" => json!({"type": "string"}),
        "bool" => json!({"type": "boolean"}),
        "bytes" => json!({"type": "string", "format": "byte"}),
        "double" => json!({"type": "number", "format": "double"}),
        "int32" | "int64" => json!({"type": "integer", "format": field.value}),
        name => json!({"$ref": format!("#/components/schemas/{}", public_name(name))}),
    };
    let mut schema = match field.shape {
        Shape::One if item.get("$ref").is_some() => json!({"allOf": [item]}),
        Shape::One => item,
        Shape::List => json!({"type": "array", "items": wrapped(item)}),
        Shape::Map => json!({"type": "object", "additionalProperties": wrapped(item)}),
    };
    if !description.is_empty() {
        schema["description"] = description.into();
    }
    let marks = [
        ("x-kubernetes-list-type", field.list_type()),
        (
            "x-kubernetes-map-type",
            field
                .is_atomic()
                .then_some("atomic")
                .filter(|_| field.shape != Shape::List),
        ),
        ("x-kubernetes-patch-merge-key", field.merge_key()),
    ];
    for (extension, value) in marks {
        if let Some(value) = value {
            schema[extension] = value.into();
        }
    }
    if let Some(keys) = field.list_keys() {
        schema["x-kubernetes-list-map-keys"] = keys.split('+').collect();
    }
    if !field.patch_strategy().is_empty() {
        schema["x-kubernetes-patch-strategy"] = field.patch_strategy().replace('+', ",").into();
    }
    schema
}

/// A reference as an item; clients follow those in `allOf` alone.
fn wrapped(item: Value) -> Value {
    match item.get("$ref") {
        Some(_) => json!({"allOf": [item]}),
        None => item,
    }
}

/// `k8s.io.api.core.v1.Pod` as upstream's documents call it.
fn public_name(name: &str) -> String {
    name.strip_prefix("k8s.io.")
        .map_or_else(|| name.to_owned(), |rest| format!("io.k8s.{rest}"))
}

fn reversed(group: &str) -> String {
    group.split('.').rev().collect::<Vec<_>>().join(".")
}

fn gvk(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

/// The one path of a kind: by it clients learn that the server checks fields itself and merges strategically.
fn path(kind: &Kind) -> (String, Value) {
    let prefix = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let place = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let bodies = [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    let content: Map<String, Value> = bodies
        .iter()
        .map(|body| ((*body).to_owned(), json!({"schema": {"type": "object"}})))
        .collect();
    let patch = json!({
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": gvk(kind),
        "parameters": [parameter("fieldValidation"), parameter("dryRun"), parameter("fieldManager"), parameter("force")],
        "requestBody": {"content": content},
        "responses": {"200": {"description": "OK"}},
    });
    (
        format!("{prefix}{place}/{}/{{name}}", kind.plural),
        json!({"patch": patch}),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::kind;

    #[test]
    fn descriptions_stand_beside_the_lines_that_they_describe() {
        let texts = String::from_utf8(zstd::decode_all(DESCRIPTIONS).expect("unpacks")).expect("text");
        assert_eq!(texts.lines().count(), FIELDS.lines().count());
        let at = FIELDS.lines().position(|line| line == "k8s.io.api.core.v1.Pod");
        let text = texts.lines().nth(at.expect("in the table"));
        assert!(text.is_some_and(|text| text.starts_with("Pod is a collection of containers")));
    }

    #[test]
    fn every_reference_of_a_document_is_in_it() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let groups: BTreeSet<_> = KINDS.iter().map(|kind| (kind.group, kind.version)).collect();
        for group in groups {
            let of_group = KINDS.iter().filter(move |kind| (kind.group, kind.version) == group);
            let document: Value = serde_json::from_slice(&openapi_document(of_group, "v1")).expect("is JSON");
            let mut found = BTreeSet::new();
            references(&document, &mut found);
            for reference in found {
                let pointer = reference.trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{group:?}: {reference}");
            }
        }
    }

    #[test]
    fn schemas_say_how_fields_merge_and_which_are_required() {
        let deployment = kind("apps/v1", "Deployment").expect("known");
        let bytes = openapi_document(std::iter::once(deployment), "v1.37.0");
        let document: Value = serde_json::from_slice(&bytes).expect("is JSON");
        let schemas = &document["components"]["schemas"];
        let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        assert_eq!(
            ports["x-kubernetes-list-map-keys"],
            json!(["containerPort", "protocol"])
        );
        assert_eq!(
            schemas["io.k8s.api.apps.v1.DeploymentSpec"]["required"],
            json!(["selector", "template"])
        );
        let volume = &schemas["io.k8s.api.core.v1.Volume"]["properties"];
        assert!(volume["emptyDir"]["description"].is_string() && volume["volumeSource"].is_null());
        let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(path["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    }
}
