//! A walk's knowledge of where it is in an object: which list merges by which keys, from the table of types.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::schema::{self, Field, Message};

/// The place of a value in an object of some kind.
#[derive(Debug, Clone, Copy)]
pub struct Schema(Place);

#[derive(Debug, Clone, Copy)]
enum Place {
    /// The object itself; of our own kinds nothing is known but what every object has.
    Root(Option<Message>),
    /// All of a field's value.
    Field(Field),
    /// One of a field's values: an item of a list, or what stands under a key of a map.
    Item(Field),
    /// Nothing is known.
    Unknown,
}

impl Schema {
    /// The root of an object.
    pub fn of(object: &Value) -> Self {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let api_version = text("apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self(Place::Root(Message::of_version(group, version, text("kind"))))
    }

    /// A field of this value.
    pub fn field(self, name: &str) -> Self {
        let of_message = |message: Option<Message>| {
            let field = message.and_then(|message| message.field(name));
            field.map_or(Place::Unknown, Place::Field)
        };
        Self(match self.0 {
            Place::Root(None) if name == "metadata" => of_message(Message::named("k8s.io.api.core.v1.Pod")),
            Place::Root(message) => of_message(message),
            Place::Field(field) if field.shape == schema::Shape::Map => Place::Item(field),
            Place::Field(field) | Place::Item(field) => of_message(field.message()),
            Place::Unknown => Place::Unknown,
        })
    }

    /// An item of this list.
    pub fn item(self) -> Self {
        Self(match self.0 {
            Place::Field(field) => Place::Item(field),
            Place::Root(_) | Place::Item(_) | Place::Unknown => Place::Unknown,
        })
    }

    /// How this value is merged: maps by field and lists as a whole where the table says nothing.
    pub fn shape(self, value: &Value) -> Shape {
        match (self.0, value) {
            (Place::Field(field), Value::Array(_)) => match (field.list_type(), field.list_keys()) {
                (Some("map"), Some(keys)) => Shape::Keyed(keys),
                (Some("set"), _) => Shape::Set,
                _ => Shape::Leaf,
            },
            (Place::Field(field), Value::Object(_)) if field.is_atomic() => Shape::Leaf,
            (Place::Item(field), Value::Object(_)) if field.message().is_some_and(Message::is_atomic) => Shape::Leaf,
            (_, Value::Object(_)) => Shape::Fields,
            _ => Shape::Leaf,
        }
    }
}

/// How a value is taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Not at all.
    Leaf,
    /// Into its fields.
    Fields,
    /// Into items with keys, whose names are joined by `+`.
    Keyed(&'static str),
    /// Into scalars.
    Set,
}

impl Shape {
    /// The path element of an item of a list of this shape.
    pub fn element(self, item: &Value) -> String {
        match self {
            Shape::Keyed(keys) => {
                let key: BTreeMap<&str, Value> = keys.split('+').map(|key| (key, key_value(item, key))).collect();
                format!("k:{}", serde_json::to_string(&key).expect("keys are text"))
            }
            Shape::Leaf | Shape::Fields | Shape::Set => format!("v:{item}"),
        }
    }
}

/// A key field's value. Where an item does not name it, the type's default holds, without which one item would have two keys.
fn key_value(item: &Value, key: &str) -> Value {
    match item.get(key) {
        Some(value) => value.clone(),
        None if key == "protocol" => "TCP".into(),
        None => Value::Null,
    }
}

/// The path element of a field.
pub fn field_element(name: &str) -> String {
    format!("f:{name}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The shape of what is at a path of fields of a Deployment; `[]` is an item.
    fn shape(path: &str, value: &Value) -> Shape {
        let root = Schema::of(&json!({"apiVersion": "apps/v1", "kind": "Deployment"}));
        let place = path.split('.').fold(root, |place, step| match step {
            "[]" => place.item(),
            name => place.field(name),
        });
        place.shape(value)
    }

    #[test]
    fn lists_and_maps_merge_as_their_types_say() {
        let (list, map) = (json!([]), json!({}));
        let container = "spec.template.spec.containers.[]";
        for (path, value, wanted) in [
            ("spec.template.spec.containers", &list, Shape::Keyed("name")),
            (
                &format!("{container}.ports"),
                &list,
                Shape::Keyed("containerPort+protocol"),
            ),
            (&format!("{container}.args"), &list, Shape::Leaf),
            (&format!("{container}.env.[].valueFrom.fieldRef"), &map, Shape::Leaf),
            (&format!("{container}.resources.limits"), &map, Shape::Fields),
            (container, &map, Shape::Fields),
            ("metadata.finalizers", &list, Shape::Set),
            ("metadata.ownerReferences", &list, Shape::Keyed("uid")),
            ("metadata.ownerReferences.[]", &map, Shape::Leaf),
            ("metadata.labels", &map, Shape::Fields),
            ("spec.selector", &map, Shape::Leaf),
            ("spec.template.spec.nodeSelector", &map, Shape::Leaf),
            ("spec.template.spec.tolerations", &list, Shape::Leaf),
            ("spec.unheard.of", &map, Shape::Fields),
        ] {
            assert_eq!(shape(path, value), wanted, "{path}");
        }
    }

    #[test]
    fn of_our_own_kinds_the_metadata_is_known() {
        let root = Schema::of(&json!({"apiVersion": "kubelocal.dev/v1alpha1", "kind": "ManifestSource"}));
        assert_eq!(root.field("metadata").field("finalizers").shape(&json!([])), Shape::Set);
        assert_eq!(root.field("spec").shape(&json!({})), Shape::Fields);
    }
}
