//! JSON patches (RFC 6902) on JSON values, with the liberties of the library that the reference uses: indices from the end,
//! missing values that are null, fields that are replaced without being there, and tests of what is not there against null.

use serde_json::{Map, Value};

use crate::kustomize::error::{Error, Result};
use crate::kustomize::graph::MAX_DEPTH;
use crate::kustomize::yaml::Pos;

/// Operations in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JsonPatch {
    operations: Vec<Map<String, Value>>,
    /// Where each of them stands, as far as that is known.
    places: Vec<Pos>,
}

impl JsonPatch {
    /// Reads operations from a value.
    ///
    /// # Errors
    /// If it is no list of objects. Null is an empty list.
    pub fn new(value: Value) -> Result<Self> {
        let wrong = || Error::yaml("json: cannot unmarshal into a JSON patch, which is a list of operations");
        match value {
            Value::Null => Ok(Self::default()),
            Value::Array(items) => {
                let operation = |item| match item {
                    Value::Object(fields) => Ok(fields),
                    Value::Null => Ok(Map::new()),
                    _ => Err(wrong()),
                };
                let operations = items.into_iter().map(operation).collect::<Result<_>>()?;
                let places = Vec::new();
                Ok(Self { operations, places })
            }
            _ => Err(wrong()),
        }
    }

    /// The same patch, whose operations stand at these places.
    pub fn standing_at(self, places: Vec<Pos>) -> Self {
        Self { places, ..self }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// What the operations write, and where they stand, as far as that is known: the parts of a path, the last operation last.
    pub fn written(&self) -> impl Iterator<Item = (Vec<String>, Pos)> {
        let known = self.operations.iter().zip(&self.places);
        known.filter_map(|(operation, pos)| {
            let (_, path) = operation.get("path")?.as_str()?.split_once('/')?;
            Some((path.split('/').map(unescape).collect(), *pos))
        })
    }

    /// Applies all operations.
    ///
    /// # Errors
    /// If one of them does not apply; the value is then half changed.
    pub fn apply(&self, value: &mut Value) -> Result<()> {
        let mut room = Room(MAX_COPIED);
        self.operations
            .iter()
            .try_for_each(|operation| apply(operation, value, &mut room))
    }
}

/// How much may be copied while one patch is applied to one object: what is larger than five times what the API takes of an
/// object can't be applied anywhere, and a few dozen copies of a value into itself would outgrow any memory.
const MAX_COPIED: usize = 16 << 20;

/// What a value costs beside its text.
const VALUE: usize = 16;

/// What is left of what may be copied.
struct Room(usize);

impl Room {
    /// Fails unless a value may be put at a path: there is room for it, and it does not nest too deep there.
    fn take(&mut self, value: &Value, path: &str) -> Result<()> {
        let depth = path.matches('/').count();
        let left = MAX_DEPTH
            .checked_sub(depth)
            .ok_or_else(|| Error::limit(format!("a path of {depth} fields exceeds the limit of {MAX_DEPTH}")))?;
        self.0 = take_from(self.0, value, left)?;
        Ok(())
    }
}

/// What is left of a budget after a value was copied that may nest so deep.
fn take_from(budget: usize, value: &Value, levels: usize) -> Result<usize> {
    let levels_below = || {
        let left = levels.checked_sub(1);
        left.ok_or_else(|| Error::limit(format!("objects nest deeper than {MAX_DEPTH}")))
    };
    let own = |text: usize| {
        let left = budget.checked_sub(VALUE + text);
        left.ok_or_else(|| Error::limit(format!("a JSON patch copies more than {MAX_COPIED} bytes")))
    };
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => own(0),
        Value::String(text) => own(text.len()),
        Value::Array(items) => {
            let levels = levels_below()?;
            items
                .iter()
                .try_fold(own(0)?, |budget, item| take_from(budget, item, levels))
        }
        Value::Object(fields) => {
            let levels = levels_below()?;
            fields.iter().try_fold(own(0)?, |budget, (name, value)| {
                take_from(budget.saturating_sub(name.len()), value, levels)
            })
        }
    }
}

fn apply(operation: &Map<String, Value>, value: &mut Value, room: &mut Room) -> Result<()> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let kind = text("op").unwrap_or("unknown");
    let path =
        || text("path").ok_or_else(|| Error::object(format!("{kind} operation failed to decode path: missing value")));
    let from =
        || text("from").ok_or_else(|| Error::object(format!("{kind} operation failed to decode from: missing value")));
    let given = operation.get("value").unwrap_or(&Value::Null);
    let mut new = |path: &str| room.take(given, path).map(|()| given.clone());
    match kind {
        "add" => place(value, path()?, kind)?.add(new(path()?)?),
        "remove" => place(value, path()?, kind)?.remove().map(|_| ()),
        "replace" if path()?.is_empty() => {
            *value = new("")?;
            Ok(())
        }
        "replace" => place(value, path()?, kind)?.set(new(path()?)?),
        "move" => {
            let moved = place(value, from()?, kind)?.remove()?;
            room.take(&moved, path()?)?;
            place(value, path()?, kind)?.add(moved)
        }
        "copy" => {
            let copied = match place(value, from()?, kind)?.get()? {
                Some(copied) => {
                    room.take(copied, path()?)?;
                    copied.clone()
                }
                None => Value::Null,
            };
            place(value, path()?, kind)?.add(copied)
        }
        "test" => {
            let found = place(value, path()?, kind)?.get().ok().flatten();
            match found.as_deref().unwrap_or(&Value::Null) == given {
                true => Ok(()),
                false => Err(Error::object(format!("testing value {} failed: test failed", path()?))),
            }
        }
        other => Err(Error::object(format!("Unexpected kind: {other}"))),
    }
}

/// A place in a value: what contains it, and its key or index there.
struct Place<'a> {
    parent: &'a mut Value,
    key: String,
}

fn unescape(part: &str) -> String {
    // One pass from left to right: `~01` is `~1`.
    let mut text = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(at) = rest.find('~') {
        text.push_str(&rest[..at]);
        let (c, length) = match rest.as_bytes().get(at + 1) {
            Some(b'1') => ('/', 2),
            Some(b'0') => ('~', 2),
            _ => ('~', 1),
        };
        text.push(c);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    text
}

fn place<'a>(value: &'a mut Value, path: &str, kind: &str) -> Result<Place<'a>> {
    let missing = || {
        Error::object(format!(
            "{kind} operation does not apply: doc is missing path: \"{path}\": missing value"
        ))
    };
    let Some((_, below)) = path.split_once('/') else {
        return Err(missing());
    };
    let (parents, last) = below
        .rsplit_once('/')
        .map_or((None, below), |(parents, last)| (Some(parents), last));
    let mut at = value;
    for part in parents.into_iter().flat_map(|parents| parents.split('/')) {
        let key = unescape(part);
        let next = Place { parent: at, key }.get().map_err(|_| missing())?;
        at = next
            .filter(|next| next.is_object() || next.is_array())
            .ok_or_else(missing)?;
    }
    match at.is_object() || at.is_array() {
        true => Ok(Place {
            parent: at,
            key: unescape(last),
        }),
        false => Err(missing()),
    }
}

/// An index in a list of `length` places; negative ones count from its end.
fn index(key: &str, length: usize) -> Result<usize> {
    let number: i64 = key
        .parse()
        .map_err(|_| Error::object(format!("value was not a proper array index: '{key}'")))?;
    let length = i64::try_from(length).expect("lists are limited by memory");
    let from_start = if number < 0 { number + length } else { number };
    usize::try_from(from_start)
        .ok()
        .filter(|_| from_start < length)
        .ok_or_else(|| {
            Error::object(format!(
                "Unable to access invalid index: {number}: invalid index referenced"
            ))
        })
}

impl<'a> Place<'a> {
    fn get(self) -> Result<Option<&'a mut Value>> {
        match self.parent {
            Value::Object(fields) => Ok(fields.get_mut(&self.key)),
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                Ok(items.get_mut(at))
            }
            _ => Ok(None),
        }
    }

    fn add(self, value: Value) -> Result<()> {
        match self.parent {
            Value::Object(fields) => {
                fields.insert(self.key, value);
            }
            Value::Array(items) if self.key == "-" => items.push(value),
            Value::Array(items) => {
                let at = index(&self.key, items.len() + 1)?;
                items.insert(at, value);
            }
            _ => {}
        }
        Ok(())
    }

    /// Sets what may not be there in an object, but must be in a list.
    fn set(self, value: Value) -> Result<()> {
        match self.parent {
            Value::Object(fields) => {
                fields.insert(self.key, value);
            }
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                items[at] = value;
            }
            _ => {}
        }
        Ok(())
    }

    fn remove(self) -> Result<Value> {
        match self.parent {
            Value::Object(fields) => fields.remove(&self.key).ok_or_else(|| {
                Error::object(format!(
                    "remove operation does not apply: unable to remove nonexistent key: {}: missing value",
                    self.key
                ))
            }),
            Value::Array(items) => {
                let at = index(&self.key, items.len())?;
                Ok(items.remove(at))
            }
            _ => Ok(Value::Null),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patched(value: Value, patch: Value) -> Result<Value> {
        let mut value = value;
        JsonPatch::new(patch)?.apply(&mut value)?;
        Ok(value)
    }

    #[test]
    fn operations_do_what_the_standard_says() {
        let object = || json!({"a": {"b": [1, 2, 3]}, "x/y": 1, "t~": 2});
        for (patch, result) in [
            (
                json!([{"op": "add", "path": "/a/b/1", "value": 9}]),
                json!({"a": {"b": [1, 9, 2, 3]}, "x/y": 1, "t~": 2}),
            ),
            (
                json!([{"op": "add", "path": "/a/b/-", "value": 9}]),
                json!({"a": {"b": [1, 2, 3, 9]}, "x/y": 1, "t~": 2}),
            ),
            (
                json!([{"op": "remove", "path": "/x~1y"}]),
                json!({"a": {"b": [1, 2, 3]}, "t~": 2}),
            ),
            (
                json!([{"op": "replace", "path": "/t~0", "value": null}]),
                json!({"a": {"b": [1, 2, 3]}, "x/y": 1, "t~": null}),
            ),
            (
                json!([{"op": "move", "from": "/a/b", "path": "/c"}]),
                json!({"a": {}, "c": [1, 2, 3], "x/y": 1, "t~": 2}),
            ),
            (
                json!([{"op": "copy", "from": "/t~0", "path": "/c"}]),
                json!({"a": {"b": [1, 2, 3]}, "c": 2, "x/y": 1, "t~": 2}),
            ),
            (json!([{"op": "test", "path": "/a/b/-1", "value": 3}]), object()),
            (json!([{"op": "test", "path": "/none", "value": null}]), object()),
            (
                json!([{"op": "remove", "path": "/a/b/-3"}]),
                json!({"a": {"b": [2, 3]}, "x/y": 1, "t~": 2}),
            ),
        ] {
            assert_eq!(patched(object(), patch.clone()), Ok(result), "{patch}");
        }
    }

    #[test]
    fn operations_that_do_not_apply_say_so() {
        for patch in [
            json!([{"op": "add", "path": "/none/x", "value": 1}]),
            json!([{"op": "add", "path": "/a/5", "value": 1}]),
            json!([{"op": "add", "path": "/a/x", "value": 1}]),
            json!([{"op": "remove", "path": "/none"}]),
            json!([{"op": "replace", "path": "/a/1", "value": 1}]),
            json!([{"op": "test", "path": "/a/0", "value": 2}]),
            json!([{"op": "shuffle", "path": "/a"}]),
            json!([{"op": "add", "value": 1}]),
            json!([{"path": "/a"}]),
            json!({"op": "add"}),
        ] {
            assert!(patched(json!({"a": [1]}), patch.clone()).is_err(), "{patch}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c~/]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_path_makes_a_patch_panic(
            value in any_value(),
            op in "add|remove|replace|move|copy|test|x",
            path in "(/([a-c]|~0|~1|~|-|-?[0-9]{1,2}|)){0,4}|[a-z/]{0,3}",
            from in "(/([a-c]|-?[0-9])){0,3}",
            new in any_value(),
        ) {
            let patch = json!([{"op": op, "path": path, "from": from, "value": new}]);
            let _ = patched(value, patch);
        }

        #[test]
        fn what_is_added_is_found_and_can_be_removed(value in any_value(), key in "[a-c~/]{0,3}") {
            prop_assume!(value.is_object());
            let path = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
            let added = patched(value.clone(), json!([
                {"op": "add", "path": path, "value": 1},
                {"op": "test", "path": path, "value": 1},
            ]));
            prop_assert!(added.is_ok());
            let removed = patched(added.expect("just checked"), json!([{"op": "remove", "path": path}]));
            let mut expected = value;
            expected.as_object_mut().expect("assumed").remove(&key);
            prop_assert_eq!(removed, Ok(expected));
        }
    }
}
