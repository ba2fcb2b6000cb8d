//! Merging, comparing and pruning values by their schema.

use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use super::schema::{Schema, Shape, field_element};

/// Every field that a value names.
pub fn fields_of(value: &Value, schema: &Schema) -> FieldSet {
    let mut set = FieldSet::default();
    for_each_part(value, schema, |element, part, at, is_item| {
        let inside = fields_of(part, &at);
        if is_item || inside.is_empty() {
            set.insert(element.clone());
        }
        set.insert_inside(element, inside);
    });
    set
}

/// The fields of `new` that `old` does not have, or has with another value.
pub fn changed(old: &Value, new: &Value, schema: &Schema) -> FieldSet {
    let shape = schema.shape(new);
    let mut set = FieldSet::default();
    for_each_part(new, schema, |element, part, at, is_item| {
        let Some(before) = part_of(old, &element, shape) else {
            let inside = fields_of(part, &at);
            if is_item || inside.is_empty() {
                set.insert(element.clone());
            }
            set.insert_inside(element, inside);
            return;
        };
        if at.shape(part) == Shape::Leaf || at.shape(part) != at.shape(before) || is_empty(part) != is_empty(before) {
            if before != part {
                let inside = fields_of(part, &at);
                if inside.is_empty() {
                    set.insert(element.clone());
                }
                set.insert_inside(element, inside);
            }
        } else {
            set.insert_inside(element, changed(before, part, &at));
        }
    });
    set
}

/// Lays `config` over `live`: what it names is set, what it does not name stays.
pub fn merge(live: &Value, config: &Value, schema: &Schema) -> Value {
    match (schema.shape(config), live, config) {
        (Shape::Fields, Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let before = live.get(name).unwrap_or(&Value::Null);
                merged.insert(name.clone(), merge(before, value, &schema.field(name)));
            }
            Value::Object(merged)
        }
        (shape @ (Shape::Keyed(_) | Shape::Set), Value::Array(live), Value::Array(config)) => {
            Value::Array(merge_lists(live, config, shape, &schema.item()))
        }
        _ => config.clone(),
    }
}

/// Items in the order of `config`; items that only `live` has stay behind the ones they stood behind.
fn merge_lists(live: &[Value], config: &[Value], shape: Shape, schema: &Schema) -> Vec<Value> {
    let before: Vec<(String, &Value)> = live.iter().map(|item| (shape.element(item), item)).collect();
    let mut wanted = config.iter().map(|item| (shape.element(item), item)).peekable();
    let names: Vec<String> = config.iter().map(|item| shape.element(item)).collect();
    let mut merged: Vec<(String, Value)> = Vec::new();
    let lay = |element: &String, item: &Value| {
        let old = before
            .iter()
            .find(|(other, _)| other == element)
            .map_or(&Value::Null, |(_, item)| *item);
        merge(old, item, schema)
    };
    for (element, item) in &before {
        if !names.contains(element) {
            merged.push((element.clone(), (*item).clone()));
            continue;
        }
        while !merged.iter().any(|(other, _)| other == element) {
            let Some((next, item)) = wanted.next() else { break };
            let item = lay(&next, item);
            merged.push((next, item));
        }
    }
    for (element, item) in wanted {
        let item = lay(&element, item);
        merged.push((element, item));
    }
    merged.into_iter().map(|(_, item)| item).collect()
}

/// Takes out of `value` what is in `dropped` and not in `kept`. A field that is dropped goes with all that is in it, because
/// what others did not claim there (defaults) has lost its reason; only in metadata, where the node's controllers
/// write beside the author, nothing goes but the fields named.
pub fn prune(value: &mut Value, dropped: &FieldSet, kept: &FieldSet, schema: &Schema) {
    prune_level(value, dropped, kept, schema, false);
}

fn prune_level(value: &mut Value, dropped: &FieldSet, kept: &FieldSet, schema: &Schema, is_metadata: bool) {
    let none = FieldSet::default();
    let shape = schema.shape(value);
    for (element, inside) in dropped.elements() {
        let keeps = kept.inside(element);
        let is_metadata = is_metadata || element == "f:metadata";
        let goes_whole = keeps.is_none() && (!is_metadata || inside.is_empty());
        if goes_whole {
            remove_part(value, element, shape);
            continue;
        }
        let at = if let Some(name) = element.strip_prefix("f:") {
            schema.field(name)
        } else {
            schema.item()
        };
        let Some(part) = part_of_mut(value, element, shape) else {
            continue;
        };
        prune_level(part, inside, keeps.unwrap_or(&none), &at, is_metadata);
        if is_metadata && keeps.is_none() && is_empty(part) {
            remove_part(value, element, shape);
        }
    }
}

/// Takes out of the set what the value no longer has.
pub fn retain_existing(set: &mut FieldSet, value: &Value, schema: &Schema) {
    let shape = schema.shape(value);
    set.retain(|element, inside| {
        let Some(part) = part_of(value, element, shape) else {
            return false;
        };
        let at = if let Some(name) = element.strip_prefix("f:") {
            schema.field(name)
        } else {
            schema.item()
        };
        retain_existing(inside, part, &at);
        true
    });
}

/// Calls the function with each part of a value: its element, itself, its place, and whether it is an item of a list.
fn for_each_part<'v>(value: &'v Value, schema: &Schema, mut each: impl FnMut(String, &'v Value, Schema, bool)) {
    match (schema.shape(value), value) {
        (Shape::Fields, Value::Object(fields)) => {
            for (name, part) in fields {
                each(field_element(name), part, schema.field(name), false);
            }
        }
        (shape @ (Shape::Keyed(_) | Shape::Set), Value::Array(items)) => {
            for item in items {
                each(shape.element(item), item, schema.item(), true);
            }
        }
        _ => {}
    }
}

fn part_of<'v>(value: &'v Value, element: &str, shape: Shape) -> Option<&'v Value> {
    match (element.strip_prefix("f:"), value) {
        (Some(name), Value::Object(fields)) => fields.get(name),
        (None, Value::Array(items)) => items.iter().find(|item| shape.element(item) == element),
        _ => None,
    }
}

fn part_of_mut<'v>(value: &'v mut Value, element: &str, shape: Shape) -> Option<&'v mut Value> {
    match (element.strip_prefix("f:"), value) {
        (Some(name), Value::Object(fields)) => fields.get_mut(name),
        (None, Value::Array(items)) => items.iter_mut().find(|item| shape.element(item) == element),
        _ => None,
    }
}

fn remove_part(value: &mut Value, element: &str, shape: Shape) {
    match (element.strip_prefix("f:"), value) {
        (Some(name), Value::Object(fields)) => {
            fields.remove(name);
        }
        (None, Value::Array(items)) => items.retain(|item| shape.element(item) != element),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A value's metadata, made if it is not there.
pub fn metadata_of(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let metadata = value
        .as_object_mut()?
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    metadata.as_object_mut()
}
