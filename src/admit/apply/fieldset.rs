//! Sets of fields, as managers own them, in the notation of `FieldsV1` (`structured-merge-diff/fieldpath`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of fields: a tree by path elements.
///
/// An element is written as in `FieldsV1`: `f:<field>`, `k:{"name":"c"}` for the item with that key, `v:<value>` for an item
/// of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<String, Entry>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    /// Whether the field itself is in the set, and not only something in it.
    member: bool,
    inside: FieldSet,
}

impl FieldSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|entry| !entry.member && entry.inside.is_empty())
    }

    /// Adds a field of this level.
    pub fn insert(&mut self, element: String) {
        self.0.entry(element).or_default().member = true;
    }

    /// Adds what is inside a field of this level.
    pub fn insert_inside(&mut self, element: String, inside: FieldSet) {
        if !inside.is_empty() {
            self.0.entry(element).or_default().inside.add(inside);
        }
    }

    /// Adds all of another set.
    pub fn add(&mut self, other: FieldSet) {
        for (element, entry) in other.0 {
            let mine = self.0.entry(element).or_default();
            mine.member |= entry.member;
            mine.inside.add(entry.inside);
        }
    }

    /// The fields that are not in the other set.
    pub fn without(&self, other: &FieldSet) -> FieldSet {
        self.filter(other, |mine, theirs| mine && !theirs)
    }

    /// The fields that are in both.
    pub fn common(&self, other: &FieldSet) -> FieldSet {
        self.filter(other, |mine, theirs| mine && theirs)
    }

    fn filter(&self, other: &FieldSet, keep: fn(bool, bool) -> bool) -> FieldSet {
        let none = Entry::default();
        let mut kept = FieldSet::default();
        for (element, entry) in &self.0 {
            let theirs = other.0.get(element).unwrap_or(&none);
            let member = keep(entry.member, theirs.member);
            let inside = entry.inside.filter(&theirs.inside, keep);
            if member || !inside.is_empty() {
                kept.0.insert(element.clone(), Entry { member, inside });
            }
        }
        kept
    }

    /// The set inside a field of this level, if the field or anything in it is in the set.
    pub fn inside(&self, element: &str) -> Option<&FieldSet> {
        self.0.get(element).map(|entry| &entry.inside)
    }

    /// The elements of this level.
    pub fn elements(&self) -> impl Iterator<Item = (&str, &FieldSet)> {
        self.0.iter().map(|(element, entry)| (element.as_str(), &entry.inside))
    }

    /// Keeps the elements of this level, and what is inside them, for which the function says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut FieldSet) -> bool) {
        self.0
            .retain(|element, entry| keep(element, &mut entry.inside) && (entry.member || !entry.inside.is_empty()));
    }

    /// Takes a field, with all in it, out of the set.
    pub fn remove(&mut self, element: &str) {
        self.0.remove(element);
    }

    /// Takes what is at a path of fields out of the set.
    pub fn remove_path(&mut self, fields: &[&str]) {
        let Some((first, rest)) = fields.split_first() else {
            return;
        };
        let element = format!("f:{first}");
        if rest.is_empty() {
            self.remove(&element);
        } else if let Some(entry) = self.0.get_mut(&element) {
            entry.inside.remove_path(rest);
            if !entry.member && entry.inside.is_empty() {
                self.remove(&element);
            }
        }
    }

    /// Takes out what the other set has neither by itself nor as the place of something.
    pub fn retain_within(&mut self, other: &FieldSet) {
        self.retain(|element, inside| {
            let theirs = other.inside(element);
            theirs.inspect(|theirs| inside.retain_within(theirs)).is_some()
        });
    }

    /// The paths of all fields, as messages show them: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(String::new(), &mut found);
        found
    }

    fn collect(&self, prefix: String, found: &mut Vec<String>) {
        for (element, entry) in &self.0 {
            let path = format!("{prefix}{}", shown(element));
            if entry.member {
                found.push(path.clone());
            }
            entry.inside.collect(path, found);
        }
    }

    /// The JSON of `fieldsV1`.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        for (element, entry) in &self.0 {
            let mut inside = entry.inside.to_json();
            if let (true, false, Value::Object(inside)) = (entry.member, entry.inside.is_empty(), &mut inside) {
                inside.insert(".".into(), Value::Object(Map::new()));
            }
            fields.insert(element.clone(), inside);
        }
        Value::Object(fields)
    }

    /// Reads the JSON of `fieldsV1`; what is not of its form is left out.
    pub fn from_json(value: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        for (element, inside) in value.as_object().into_iter().flatten() {
            let Value::Object(entries) = inside else { continue };
            if element == "." {
                continue;
            }
            let member = entries.is_empty() || entries.contains_key(".");
            set.0.insert(
                element.clone(),
                Entry {
                    member,
                    inside: FieldSet::from_json(inside),
                },
            );
        }
        set
    }
}

fn shown(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", field)) => format!(".{field}"),
        Some(("k", key)) => {
            let keys: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(field, value)| format!("{field}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        Some(_) | None => format!("[{element}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_read_and_write_fields_v1() {
        let json = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}}});
        let set = FieldSet::from_json(&json);
        assert_eq!(set.to_json(), json);
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image"
            ]
        );
        assert!(set.without(&set).is_empty());
        assert_eq!(set.common(&set), set);
    }

    #[test]
    fn foreign_json_is_read_without_panic() {
        for value in [
            json!(null),
            json!([]),
            json!({"f:a": 1}),
            json!({"": {}}),
            json!({"k:{": {}}),
            json!({".": {}}),
        ] {
            let _ = FieldSet::from_json(&value).paths();
        }
    }
}
