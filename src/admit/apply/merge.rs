//! Merging, comparing and pruning values by their schema.

use std::collections::{HashMap, HashSet};

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
    let before = Parts::of(old, schema.shape(new));
    let mut set = FieldSet::default();
    for_each_part(new, schema, |element, part, at, is_item| {
        let Some(before) = before.get(&element) else {
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
    let before: Vec<String> = live.iter().map(|item| shape.element(item)).collect();
    let mut old: HashMap<&str, &Value> = HashMap::with_capacity(live.len());
    for (element, item) in before.iter().zip(live) {
        old.entry(element).or_insert(item);
    }
    let names: Vec<String> = config.iter().map(|item| shape.element(item)).collect();
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    let mut to_come = names.iter().zip(config);
    let mut laid: HashSet<&str> = HashSet::with_capacity(config.len());
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let lay = |element: &str, item: &Value| merge(old.get(element).unwrap_or(&&Value::Null), item, schema);
    for (element, item) in before.iter().zip(live) {
        if !wanted.contains(element.as_str()) {
            merged.push(item.clone());
            continue;
        }
        while !laid.contains(element.as_str()) {
            let Some((next, item)) = to_come.next() else { break };
            merged.push(lay(next, item));
            laid.insert(next);
        }
    }
    merged.extend(to_come.map(|(element, item)| lay(element, item)));
    merged
}

/// Takes out of `value` what is in `dropped` and not in `kept`. A field that is dropped goes with all that is in it, because
/// what others did not claim there (defaults) has lost its reason; only in metadata, where the node's controllers
/// write beside the author, nothing goes but the fields named.
pub fn prune(value: &mut Value, dropped: &FieldSet, kept: &FieldSet, schema: &Schema) {
    prune_level(value, dropped, kept, schema, false);
}

fn prune_level(value: &mut Value, dropped: &FieldSet, kept: &FieldSet, schema: &Schema, is_metadata: bool) {
    let none = FieldSet::default();
    if dropped.is_empty() {
        return;
    }
    let mut parts = PartsMut::of(value, schema.shape(value));
    for (element, inside) in dropped.elements() {
        let keeps = kept.inside(element);
        let is_metadata = is_metadata || element == "f:metadata";
        let goes_whole = keeps.is_none() && (!is_metadata || inside.is_empty());
        if goes_whole {
            parts.remove(element);
            continue;
        }
        let Some(part) = parts.get(element) else {
            continue;
        };
        prune_level(
            part,
            inside,
            keeps.unwrap_or(&none),
            &below(schema, element),
            is_metadata,
        );
        if is_metadata && keeps.is_none() && is_empty(part) {
            parts.remove(element);
        }
    }
    parts.finish();
}

/// The place of a part.
fn below(schema: &Schema, element: &str) -> Schema {
    match element.strip_prefix("f:") {
        Some(name) => schema.field(name),
        None => schema.item(),
    }
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

/// A value's parts by their elements. Items of lists are found by an index: lists may be as long as a body is large.
enum Parts<'v> {
    None,
    Fields(&'v Map<String, Value>),
    Items(HashMap<String, &'v Value>),
}

impl<'v> Parts<'v> {
    fn of(value: &'v Value, shape: Shape) -> Self {
        match value {
            Value::Object(fields) => Self::Fields(fields),
            Value::Array(items) => {
                let mut index = HashMap::with_capacity(items.len());
                for item in items {
                    index.entry(shape.element(item)).or_insert(item);
                }
                Self::Items(index)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Self::None,
        }
    }

    fn get(&self, element: &str) -> Option<&'v Value> {
        match (element.strip_prefix("f:"), self) {
            (Some(name), Self::Fields(fields)) => fields.get(name),
            (None, Self::Items(index)) => index.get(element).copied(),
            _ => None,
        }
    }
}

/// The same to change them. Items that are removed go at the end, so that the index holds until then.
enum PartsMut<'v> {
    None,
    Fields(&'v mut Map<String, Value>),
    Items {
        items: &'v mut Vec<Value>,
        index: HashMap<String, Vec<usize>>,
        removed: HashSet<usize>,
    },
}

impl<'v> PartsMut<'v> {
    fn of(value: &'v mut Value, shape: Shape) -> Self {
        match value {
            Value::Object(fields) => Self::Fields(fields),
            Value::Array(items) => {
                let mut index: HashMap<String, Vec<usize>> = HashMap::with_capacity(items.len());
                for (place, item) in items.iter().enumerate() {
                    index.entry(shape.element(item)).or_default().push(place);
                }
                let removed = HashSet::new();
                Self::Items { items, index, removed }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Self::None,
        }
    }

    fn get(&mut self, element: &str) -> Option<&mut Value> {
        match (element.strip_prefix("f:"), self) {
            (Some(name), Self::Fields(fields)) => fields.get_mut(name),
            (None, Self::Items { items, index, .. }) => {
                let place = *index.get(element)?.first()?;
                items.get_mut(place)
            }
            _ => None,
        }
    }

    fn remove(&mut self, element: &str) {
        match (element.strip_prefix("f:"), self) {
            (Some(name), Self::Fields(fields)) => drop(fields.remove(name)),
            (None, Self::Items { index, removed, .. }) => removed.extend(index.remove(element).into_iter().flatten()),
            _ => {}
        }
    }

    fn finish(self) {
        if let Self::Items { items, removed, .. } = self
            && !removed.is_empty()
        {
            let mut place = 0..;
            items.retain(|_| !place.next().is_some_and(|place| removed.contains(&place)));
        }
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
