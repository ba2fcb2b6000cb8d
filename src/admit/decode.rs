//! A document becomes an object of a known kind, or is refused by name.
//!
//! Holds the kind's recognition, the strict decoding's texts, and what a written object is cleaned of (nulls, `stringData`,
//! what only a server writes). Knows the kinds' table and not what their fields mean.

use serde_json::{Map, Value};

use super::fields::FieldNote;
use super::path::FieldPath;
use super::strict::{Mismatch, Unknown};
use super::suggest::nearest;
use super::typed::Typed;
use crate::model::{Honoured, KINDS, Kind, kind};

/// Something wrong with an object, at a path of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The field, or the root.
    pub path: FieldPath,
    /// Why, with the path in it where that helps.
    pub message: String,
    /// Whether `path` is a field that should not be there (its key is shown) or one with a bad value.
    pub at_key: bool,
}

impl Refusal {
    /// A refusal of what is at `path`.
    pub fn new(path: impl Into<FieldPath>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            at_key: false,
        }
    }
}

/// Finds the kind of a document by its `apiVersion` and `kind`.
///
/// # Errors
/// What is missing, or which kinds are near or known instead.
pub fn kind_of(value: &Value) -> Result<&'static Kind, Refusal> {
    let Value::Object(fields) = value else {
        return Err(Refusal::new("", "an object with apiVersion and kind was expected"));
    };
    let text = |field: &str| match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(Refusal::new(field, format!("{field} must be a string"))),
    };
    match (text("apiVersion")?, text("kind")?) {
        (Some(version), Some(name)) => match kind(version, name) {
            Some(kind) if kind.honoured == Honoured::Reported => Err(Refusal::new(
                "kind",
                format!("objects of kind {name} are the node's own reports and can't be written"),
            )),
            Some(kind) => Ok(kind),
            None => Err(unknown_kind(version, name)),
        },
        (None, Some(_)) => Err(Refusal::new("", "apiVersion not set")),
        (Some(_), None) => Err(Refusal::new("", "kind not set")),
        (None, None) => Err(Refusal::new("", "apiVersion and kind not set: not a Kubernetes object")),
    }
}

fn unknown_kind(version: &str, name: &str) -> Refusal {
    let writable = || KINDS.iter().filter(|kind| kind.honoured.is_for_files());
    let message = format!("no matches for kind \"{name}\" in version \"{version}\"");
    if let Some(same) = writable().find(|kind| kind.kind == name) {
        return Refusal::new(
            "apiVersion",
            format!("{message}; {name} is known in {}", same.api_version()),
        );
    }
    if let Some(near) = nearest(name, writable().map(|kind| kind.kind)) {
        return Refusal::new("kind", format!("{message}; did you mean \"{near}\"?"));
    }
    let known: Vec<&str> = writable().map(|kind| kind.kind).collect();
    Refusal::new("kind", format!("{message}; known kinds: {}", known.join(", ")))
}

/// Finds the kind of a document of a file.
///
/// # Errors
/// As [`kind_of`]; and for what is not for files.
pub fn kind_for_files(value: &Value) -> Result<&'static Kind, Refusal> {
    let kind = kind_of(value)?;
    if kind.honoured.is_for_files() {
        return Ok(kind);
    }
    let message = format!("objects of kind {} are not made by files", kind.kind);
    Err(Refusal::new("kind", message))
}

/// Decodes a document of a known kind strictly.
///
/// # Errors
/// Every unknown field, or the first value of a wrong type.
pub fn decode_typed(kind: &Kind, value: &Value) -> Result<Typed, Vec<Refusal>> {
    match Typed::decode(kind, value) {
        None => Err(vec![Refusal::new(
            "kind",
            format!("objects of kind {} can't be written", kind.kind),
        )]),
        Some(Err(mismatch)) => Err(vec![wrong_type(mismatch)]),
        Some(Ok((typed, unknown))) if unknown.is_empty() => Ok(typed),
        Some(Ok((_, unknown))) => Err(unknown.into_iter().map(unknown_field).collect()),
    }
}

fn wrong_type(mismatch: Mismatch) -> Refusal {
    let path = mismatch.path.unwrap_or_default();
    let message = format!("{path}: {}", mismatch.message);
    Refusal {
        path,
        message,
        at_key: false,
    }
}

fn unknown_field(unknown: Unknown) -> Refusal {
    let hint = unknown
        .suggestion
        .map(|near| format!("; did you mean \"{near}\"?"))
        .unwrap_or_default();
    let message = format!("unknown field \"{}\"{hint}", unknown.path);
    Refusal {
        path: unknown.path,
        message,
        at_key: true,
    }
}

/// Fields of `metadata` that only a server writes. Files exported from a cluster carry them; they mean nothing here.
const SERVER_METADATA: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
];

/// Cleans a decoded document to what its author asks for: no nulls, `stringData` folded into `data`, the namespace filled
/// in, nothing that only a server writes. Returns a note for each thing that was taken away and said something.
pub fn to_config(kind: &Kind, value: &mut Value, namespace: &str) -> Vec<FieldNote> {
    let mut notes = Vec::new();
    drop_nulls(value);
    let Value::Object(fields) = value else { return notes };
    let status = fields.remove("status");
    if status.is_some_and(|status| status.as_object().is_none_or(|status| !status.is_empty())) {
        let text = "ignored: the node writes the status";
        notes.push(FieldNote::warning(FieldPath::of(&["status"]), text));
    }
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(metadata) = metadata {
        for field in SERVER_METADATA {
            if metadata.remove(field).is_some() {
                notes.push(FieldNote::warning(
                    FieldPath::of(&["metadata", field]),
                    "ignored: the node writes this field",
                ));
            }
        }
        let written = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        if kind.namespaced && written.is_empty() {
            metadata.insert("namespace".into(), Value::String(namespace.to_owned()));
        }
    }
    if kind.kind == "Secret" {
        fold_string_data(fields);
    }
    notes
}

/// `stringData` is write-only and wins over `data` (`pkg/registry/core/secret/strategy.go`). Where either has values of another type,
/// both stay as they are, for the gate to refuse.
pub fn fold_string_data(fields: &mut Map<String, Value>) {
    use base64::Engine as _;
    let is_foldable = match (fields.get("stringData"), fields.get("data")) {
        (Some(Value::Null), _) => true,
        (Some(Value::Object(texts)), None | Some(Value::Null | Value::Object(_))) => {
            texts.values().all(|text| text.is_string() || text.is_null())
        }
        _ => false,
    };
    let Some(Value::Object(texts)) = is_foldable.then(|| fields.remove("stringData")).flatten() else {
        return;
    };
    let data = fields.entry("data").or_insert(Value::Null);
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    for (key, text) in texts {
        // Go reads a null as the empty text.
        let text = text.as_str().unwrap_or_default();
        data[key] = base64::engine::general_purpose::STANDARD.encode(text).into();
    }
}

/// Maps whose values are text, where Go reads a null as the empty text and not as absence.
const TEXT_MAPS: [&str; 6] = [
    "data",
    "stringData",
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
];

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, value) in fields.iter_mut() {
                if let (true, Value::Object(texts)) = (TEXT_MAPS.contains(&name.as_str()), &mut *value) {
                    texts
                        .values_mut()
                        .filter(|text| text.is_null())
                        .for_each(|text| *text = Value::String(String::new()));
                }
                drop_nulls(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(value: Value) -> String {
        kind_of(&value).expect_err("refused").message
    }

    #[test]
    fn unknown_kinds_are_refused_by_name() {
        let table = [
            (
                json!({"apiVersion": "apps/v1", "kind": "Deploymnt"}),
                "no matches for kind \"Deploymnt\" in version \"apps/v1\"; did you mean \"Deployment\"?",
            ),
            (
                json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment"}),
                "no matches for kind \"Deployment\" in version \"extensions/v1beta1\"; Deployment is known in apps/v1",
            ),
            (json!({"apiVersion": "v1"}), "kind not set"),
            (json!({"kind": "Pod"}), "apiVersion not set"),
            (json!({"a": 1}), "apiVersion and kind not set: not a Kubernetes object"),
            (json!([1]), "an object with apiVersion and kind was expected"),
            (json!({"apiVersion": 1, "kind": "Pod"}), "apiVersion must be a string"),
            (
                json!({"apiVersion": "kubelocal.dev/v1alpha1", "kind": "ManifestSource"}),
                "objects of kind ManifestSource are the node's own reports and can't be written",
            ),
        ];
        for (value, message) in table {
            assert_eq!(refused(value), message);
        }
        assert!(
            refused(json!({"apiVersion": "x.io/v1", "kind": "Unheard"}))
                .contains("known kinds: Pod, Service, Deployment")
        );
    }

    #[test]
    fn every_writable_kind_of_the_table_can_be_decoded() {
        for kind in KINDS.iter().filter(|kind| kind.honoured != Honoured::Reported) {
            let value = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a"}});
            assert!(decode_typed(kind, &value).is_ok(), "{}", kind.kind);
        }
    }

    #[test]
    fn an_exported_object_is_cleaned_of_what_a_server_wrote() {
        let mut value = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": null, "b": "x"}, "status": {},
            "metadata": {"name": "c", "creationTimestamp": null, "uid": "1", "labels": {"l": null}},
        });
        let notes = to_config(kind("v1", "ConfigMap").expect("known"), &mut value, "team");
        assert_eq!(
            value,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "", "b": "x"},
                "metadata": {"name": "c", "namespace": "team", "labels": {"l": ""}},
            })
        );
        assert_eq!(
            notes.iter().map(|note| note.path.to_string()).collect::<Vec<_>>(),
            ["metadata.uid"]
        );
    }

    #[test]
    fn string_data_becomes_data_and_wins() {
        let mut value = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA==", "b": "eQ=="}, "stringData": {"a": "hi"}});
        to_config(kind("v1", "Secret").expect("known"), &mut value, "default");
        assert_eq!(value["data"], json!({"a": "aGk=", "b": "eQ=="}));
        assert_eq!(value.get("stringData"), None);
    }

    #[test]
    fn string_data_of_another_type_is_left_to_be_refused() {
        let base = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}});
        let table = [
            (json!({"stringData": {"a": 8080}}), Err(())),
            (json!({"stringData": "x"}), Err(())),
            (json!({"stringData": {"a": "x"}, "data": "x"}), Err(())),
            (
                json!({"stringData": {"a": "x", "b": null}, "data": null}),
                Ok(json!({"a": "eA==", "b": ""})),
            ),
            (
                json!({"stringData": null, "data": {"a": "eA=="}}),
                Ok(json!({"a": "eA=="})),
            ),
            (json!({"data": {"a": "eA=="}}), Ok(json!({"a": "eA=="}))),
        ];
        for (fields, wanted) in table {
            let mut secret = base.clone();
            for (name, value) in fields.as_object().expect("a map") {
                secret[name] = value.clone();
            }
            let plain = crate::admit::admit(&secret, None);
            fold_string_data(secret.as_object_mut().expect("a map"));
            let folded = crate::admit::admit(&secret, None);
            for admitted in [plain, folded] {
                let data = admitted.map(|secret| secret.value()["data"].clone()).map_err(drop);
                assert_eq!(data, wanted, "{fields}");
            }
        }
    }
}
