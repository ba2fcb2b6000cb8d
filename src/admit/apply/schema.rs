//! A walk's knowledge of where it is in an object: which list merges by which keys.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::lists::{self, Apply, key_default};

/// The place of a value in an object of some kind, as the table of lists names it.
#[derive(Debug, Clone)]
pub struct Schema<'a> {
    group: &'a str,
    kind: &'a str,
    pattern: String,
}

impl<'a> Schema<'a> {
    /// The root of an object.
    pub fn of(object: &'a Value) -> Self {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        Self {
            group,
            kind: text("kind"),
            pattern: String::new(),
        }
    }

    /// A field of this value.
    pub fn field(&self, name: &str) -> Self {
        let pattern = if self.pattern.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.pattern)
        };
        Self { pattern, ..*self }
    }

    /// An item of this list.
    pub fn item(&self) -> Self {
        Self {
            pattern: format!("{}[]", self.pattern),
            ..*self
        }
    }

    /// How this value is merged: maps by field and lists as a whole where the table says nothing.
    pub fn shape(&self, value: &Value) -> Shape {
        match (lists::strategy(self.group, self.kind, &self.pattern).apply, value) {
            (Some(Apply::Atomic), _) => Shape::Leaf,
            (Some(Apply::Map(keys)), Value::Array(_)) => Shape::Keyed(keys),
            (Some(Apply::Set), Value::Array(_)) => Shape::Set,
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
    /// Into items with keys.
    Keyed(&'static [&'static str]),
    /// Into scalars.
    Set,
}

impl Shape {
    /// The path element of an item of a list of this shape.
    pub fn element(self, item: &Value) -> String {
        match self {
            Shape::Keyed(keys) => {
                let key: BTreeMap<&str, Value> = keys.iter().map(|key| (*key, key_value(item, key))).collect();
                format!("k:{}", serde_json::to_string(&key).expect("keys are text"))
            }
            Shape::Leaf | Shape::Fields | Shape::Set => format!("v:{item}"),
        }
    }
}

fn key_value(item: &Value, key: &str) -> Value {
    match item.get(key) {
        Some(value) => value.clone(),
        None => key_default(key).map_or(Value::Null, Value::from),
    }
}

/// The path element of a field.
pub fn field_element(name: &str) -> String {
    format!("f:{name}")
}
