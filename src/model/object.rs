//! Objects as the node keeps them: the JSON that clients see, with its key beside it. Typed views are made on demand, so that
//! fields which a type does not know survive.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::kinds::{self, Kind};

/// Names an object: its kind, namespace (empty where the kind has none) and name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `apiVersion` and `kind` in one word: the kind's place in [`kinds::KINDS`].
    kind: usize,
    /// The namespace; empty for kinds without.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of an object of `kind`; the namespace is dropped where the kind has none.
    pub fn new(kind: &'static Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let place = kinds::KINDS
            .iter()
            .position(|k| k == kind)
            .expect("kinds come from the table");
        let namespace = if kind.namespaced {
            namespace.into()
        } else {
            String::new()
        };
        Self {
            kind: place,
            namespace,
            name: name.into(),
        }
    }

    /// The kind.
    pub fn kind(&self) -> &'static Kind {
        &kinds::KINDS[self.kind]
    }
}

impl fmt::Display for Key {
    /// `pod/web` or `deployment.apps/web`: as kubectl names objects.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match kind.group {
            "" => write!(f, "{}/{}", kind.singular, self.name),
            group => write!(f, "{}.{}/{}", kind.singular, group, self.name),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} in {:?}", self.namespace)
    }
}

/// Who of several was there first: by creation, and by name where that is the same second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    /// As written: in UTC and whole seconds, so that text is in the order of time.
    since: String,
    /// Whose it is.
    pub key: Key,
}

impl Seniority {
    /// An object's.
    pub fn of(object: &Object) -> Self {
        Self {
            since: object.text("/metadata/creationTimestamp").to_owned(),
            key: object.key().clone(),
        }
    }
}

/// An object: whole, as JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    key: Key,
    value: Value,
}

impl AsRef<Object> for Object {
    fn as_ref(&self) -> &Object {
        self
    }
}

/// An entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerRef {
    /// The owner's kind name.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// The owner's uid: what counts.
    pub uid: String,
    /// Whether this owner manages the object.
    pub controller: bool,
    /// Whether the owner waits for it in a foreground deletion.
    pub block_owner_deletion: bool,
}

impl Object {
    /// Wraps JSON whose kind the node knows and that has a name.
    pub fn new(value: Value) -> Option<Self> {
        let kind = kinds::kind(value.get("apiVersion")?.as_str()?, value.get("kind")?.as_str()?)?;
        let metadata = value.get("metadata")?;
        let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default();
        let key = Key::new(kind, namespace, metadata.get("name")?.as_str()?);
        Some(Self { key, value })
    }

    /// Wraps a typed object; its `apiVersion` and `kind` are written by `k8s-openapi`.
    pub fn from_typed<T: serde::Serialize>(typed: &T) -> Self {
        let value = serde_json::to_value(typed).expect("Kubernetes types have string keys only");
        Self::new(value).expect("typed objects of the table, with a name")
    }

    /// What names it.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its kind.
    pub fn kind(&self) -> &'static Kind {
        self.key.kind()
    }

    /// The whole object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The whole object, to change it. Kind, namespace and name must stay.
    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }

    /// The whole object, by value.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// A typed view.
    ///
    /// # Errors
    /// When the JSON does not fit the type; what passed `admit` does.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.value)
    }

    /// The value at a JSON pointer such as `/spec/replicas`; as [`value_at`].
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        value_at(&self.value, pointer)
    }

    /// Text at a JSON pointer; empty when it is not there.
    pub fn text(&self, pointer: &str) -> &str {
        text_at(&self.value, pointer)
    }

    /// Number at a JSON pointer.
    pub fn number(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    /// `metadata.uid`; empty before it was stored.
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// `metadata.resourceVersion`; 0 before it was stored.
    pub fn resource_version(&self) -> u64 {
        self.text("/metadata/resourceVersion").parse().unwrap_or(0)
    }

    /// `metadata.generation`; 0 where the kind keeps none.
    pub fn generation(&self) -> i64 {
        self.number("/metadata/generation").unwrap_or(0)
    }

    /// `metadata.deletionTimestamp`.
    pub fn deletion_timestamp(&self) -> Option<Timestamp> {
        self.text("/metadata/deletionTimestamp").parse().ok()
    }

    /// `metadata.creationTimestamp`.
    pub fn creation_timestamp(&self) -> Option<Timestamp> {
        self.text("/metadata/creationTimestamp").parse().ok()
    }

    /// Whether someone asked to delete it.
    pub fn is_deleting(&self) -> bool {
        self.at("/metadata/deletionTimestamp").is_some()
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> Vec<&str> {
        self.at("/metadata/finalizers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// Has it held by a finalizer.
    pub fn add_finalizer(&mut self, finalizer: &str) {
        let list = self
            .metadata_mut()
            .entry("finalizers")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut()
            && !list.iter().any(|present| present == finalizer)
        {
            list.push(finalizer.into());
        }
    }

    /// Lets it go as far as this finalizer is concerned.
    pub fn remove_finalizer(&mut self, finalizer: &str) {
        let metadata = self.metadata_mut();
        if let Some(list) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
            list.retain(|present| present != finalizer);
            if list.is_empty() {
                metadata.remove("finalizers");
            }
        }
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        text_map(self.at("/metadata/labels"))
    }

    /// `metadata.annotations`.
    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        text_map(self.at("/metadata/annotations"))
    }

    /// `metadata.ownerReferences`.
    pub fn owners(&self) -> Vec<OwnerRef> {
        let owners = self.at("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().map(OwnerRef::from_json).collect()
    }

    /// The owner that manages it (`metav1.GetControllerOf`).
    pub fn controller(&self) -> Option<OwnerRef> {
        self.owners().into_iter().find(|o| o.controller)
    }

    /// `metadata`, to change it.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        let metadata = self.value.get_mut("metadata").and_then(Value::as_object_mut);
        metadata.expect("an object has metadata: checked when it was made")
    }
}

/// Whether a pod has ended for good (`IsPodTerminal`).
#[must_use]
pub fn is_terminal(pod: &Object) -> bool {
    matches!(pod.text("/status/phase"), "Succeeded" | "Failed")
}

/// The value at a JSON pointer such as `/spec/replicas`, without escapes: fields of types have names that need none.
/// `Value::pointer` allocates twice for every step, and this is asked of every pod at every turn.
#[must_use]
pub fn value_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut steps = pointer.split('/').skip(1);
    steps.try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// Text at a JSON pointer; empty when it is not there.
#[must_use]
pub fn text_at<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value_at(value, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Number at a JSON pointer; 0 when it is not there, as Go's zero value.
#[must_use]
pub fn number_at(value: &Value, pointer: &str) -> i64 {
    value_at(value, pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// List at a JSON pointer; empty when it is not there.
#[must_use]
pub fn list_at<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value_at(value, pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

impl OwnerRef {
    fn from_json(value: &Value) -> Self {
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let flag = |field: &str| value.get(field).and_then(Value::as_bool).unwrap_or_default();
        Self {
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            controller: flag("controller"),
            block_owner_deletion: flag("blockOwnerDeletion"),
        }
    }
}

fn text_map(value: Option<&Value>) -> BTreeMap<&str, &str> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(k, v)| Some((k.as_str(), v.as_str()?))).collect()
}
