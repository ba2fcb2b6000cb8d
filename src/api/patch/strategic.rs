//! Strategic merges (`k8s.io/apimachinery/pkg/util/strategicpatch`): as a merge patch, but lists of objects merge item by item where
//! the type says by which field, and directives say what merging alone can't.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::schema::{Field, Message, Shape};

/// Why a patch can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// The patch is no object.
    #[error("a strategic merge patch is an object")]
    NotAnObject,
    /// `$patch` says something else.
    #[error("Unknown patch type found: {0}")]
    UnknownDirective(String),
    /// An item can't be told from others.
    #[error("map: {item} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The item.
        item: String,
        /// What it lacks.
        key: &'static str,
    },
    /// A directive holds something of another type.
    #[error("{0} must be a list")]
    NotAList(String),
}

type Result<T = ()> = std::result::Result<T, StrategicError>;
type Fields = Map<String, Value>;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `value`, which is shaped as `message`.
///
/// # Errors
/// See [`StrategicError`].
pub fn merge(value: &mut Value, patch: Value, message: Message) -> Result {
    let Value::Object(patch) = patch else {
        return Err(StrategicError::NotAnObject);
    };
    if !value.is_object() {
        *value = json!({});
    }
    let fields = value.as_object_mut().expect("made one above");
    merge_fields(fields, patch, Some(message))
}

/// Merges a struct's fields, or, without a message, a free map's.
fn merge_fields(present: &mut Fields, mut patch: Fields, message: Option<Message>) -> Result {
    match patch.remove(PATCH) {
        None => {}
        Some(directive) => match directive.as_str() {
            Some("merge") => {}
            Some("replace") => {
                *present = patch;
                return Ok(());
            }
            Some("delete") => {
                present.clear();
                return Ok(());
            }
            _ => return Err(StrategicError::UnknownDirective(directive.to_string())),
        },
    }
    if let Some(retained) = patch.remove(RETAIN) {
        let retained = list(retained, RETAIN)?;
        let retained: HashSet<&str> = retained.iter().filter_map(Value::as_str).collect();
        present.retain(|name, _| retained.contains(name.as_str()));
    }
    let mut directives = Directives::default();
    patch = directives.take_from(patch)?;
    for (name, value) in patch {
        let field = message.and_then(|message| message.field(&name));
        let order = directives.orders.remove(&name);
        merge_field(present, name, value, field, order)?;
    }
    // Lists that the patch only orders, or takes from.
    for (name, items) in directives.deletions {
        if let Some(Value::Array(present)) = present.get_mut(&name) {
            let items: HashSet<Value> = items.into_iter().collect();
            present.retain(|item| !items.contains(item));
        }
    }
    for (name, order) in directives.orders {
        let key = message.and_then(|m| m.field(&name)).and_then(Field::merge_key);
        if let Some(Value::Array(present)) = present.get_mut(&name) {
            let before = places_of(present, key);
            *present = ordered(std::mem::take(present), &before, &order, key);
        }
    }
    Ok(())
}

/// What a patch says about its lists.
#[derive(Default)]
struct Directives {
    orders: BTreeMap<String, Vec<Value>>,
    deletions: Vec<(String, Vec<Value>)>,
}

impl Directives {
    /// Takes the directives out of the patch.
    fn take_from(&mut self, patch: Fields) -> Result<Fields> {
        let mut rest = Fields::new();
        for (name, value) in patch {
            if let Some(of) = name.strip_prefix(ORDER) {
                self.orders.insert(of.to_owned(), list(value, &name)?);
            } else if let Some(of) = name.strip_prefix(DELETE_FROM) {
                self.deletions.push((of.to_owned(), list(value, &name)?));
            } else {
                rest.insert(name, value);
            }
        }
        Ok(rest)
    }
}

fn list(value: Value, name: &str) -> Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(StrategicError::NotAList(name.to_owned())),
    }
}

fn merge_field(
    present: &mut Fields,
    name: String,
    value: Value,
    field: Option<Field>,
    order: Option<Vec<Value>>,
) -> Result {
    let is_merged = |strategy: &str| field.is_some_and(|f| f.patch_strategy().split('+').any(|word| word == strategy));
    match value {
        Value::Null => {
            present.remove(&name);
        }
        Value::Object(patch) if !is_merged("replace") => {
            let slot = present.entry(name).or_insert_with(|| json!({}));
            if !slot.is_object() {
                *slot = json!({});
            }
            let inner = slot.as_object_mut().expect("made one above");
            // No map of Kubernetes' has structs for values, so what stands in one is merged as it is.
            let message = field.filter(|field| field.shape == Shape::One).and_then(Field::message);
            merge_fields(inner, patch, message)?;
        }
        Value::Array(items) if is_merged("merge") => {
            let before = match present.remove(&name) {
                Some(Value::Array(before)) => before,
                _ => Vec::new(),
            };
            let key = field.and_then(Field::merge_key);
            let order = order.map(|order| (places_of(&before, key), order));
            let mut merged = match key {
                Some(key) => merge_items(before, items, key, field.and_then(Field::message))?,
                None => merge_scalars(before, items),
            };
            if let Some((places, order)) = order {
                merged = ordered(merged, &places, &order, key);
            }
            present.insert(name, Value::Array(merged));
        }
        other => {
            present.insert(name, other);
        }
    }
    Ok(())
}

fn merge_scalars(mut present: Vec<Value>, items: Vec<Value>) -> Vec<Value> {
    let mut known: HashSet<Value> = present.iter().cloned().collect();
    for item in items {
        if known.insert(item.clone()) {
            present.push(item);
        }
    }
    present
}

/// Items with one key; lists may be as long as a body is large, so none is walked for each item of another.
fn merge_items(
    present: Vec<Value>,
    items: Vec<Value>,
    key: &'static str,
    message: Option<Message>,
) -> Result<Vec<Value>> {
    let is_replacement = |item: &Value| item.get(PATCH) == Some(&json!("replace"));
    if items.iter().any(is_replacement) {
        return Ok(items.into_iter().filter(|item| !is_replacement(item)).collect());
    }
    let mut places: HashMap<Value, Vec<usize>> = HashMap::new();
    for (place, item) in present.iter().enumerate() {
        if let Some(id) = item.get(key) {
            places.entry(id.clone()).or_default().push(place);
        }
    }
    let mut slots: Vec<Option<Value>> = present.into_iter().map(Some).collect();
    for item in items {
        let Some(id) = item.get(key).cloned() else {
            return Err(StrategicError::NoMergeKey {
                item: item.to_string(),
                key,
            });
        };
        let Value::Object(mut patch) = item else {
            return Err(StrategicError::NotAnObject);
        };
        if patch.get(PATCH) == Some(&json!("delete")) {
            for place in places.remove(&id).into_iter().flatten() {
                slots[place] = None;
            }
            continue;
        }
        let place = places.get(&id).and_then(|places| places.first());
        match place.and_then(|place| slots[*place].as_mut()) {
            Some(Value::Object(other)) => merge_fields(other, patch, message)?,
            _ => {
                patch.remove(PATCH);
                let mut added = Fields::new();
                merge_fields(&mut added, patch, message)?;
                places.entry(id).or_default().push(slots.len());
                slots.push(Some(Value::Object(added)));
            }
        }
    }
    Ok(slots.into_iter().flatten().collect())
}

/// By what an item is told from others.
fn id_of<'i>(item: &'i Value, key: Option<&str>) -> &'i Value {
    key.and_then(|key| item.get(key)).unwrap_or(item)
}

/// Where each item stands, or stands first.
fn places_of(items: &[Value], key: Option<&str>) -> HashMap<Value, usize> {
    let mut places = HashMap::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        places.entry(id_of(item, key).clone()).or_insert(place);
    }
    places
}

/// Brings items into the order that the patch wants. Those that it does not name stay before what they stood before.
fn ordered(items: Vec<Value>, before: &HashMap<Value, usize>, order: &[Value], key: Option<&str>) -> Vec<Value> {
    let wanted = places_of(order, key);
    let place_before = |item: &Value| before.get(id_of(item, key));
    let (mut named, others): (Vec<_>, Vec<_>) = items
        .into_iter()
        .partition(|item| wanted.contains_key(id_of(item, key)));
    named.sort_by_key(|item| wanted.get(id_of(item, key)));
    let mut merged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        while let Some(other) = others.peek() {
            let stood_before = place_before(other).zip(place_before(&item)).is_some_and(|(a, b)| a < b);
            if !stood_before {
                break;
            }
            merged.extend(others.next());
        }
        merged.push(item);
    }
    merged.extend(others);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod_spec(present: Value, patch: Value) -> Result<Value> {
        let mut value = present;
        merge(
            &mut value,
            patch,
            Message::named("k8s.io.api.core.v1.PodSpec").expect("in the table"),
        )
        .map(|()| value)
    }

    /// Names of containers, in order.
    fn containers(names: &[&str]) -> Value {
        json!({"containers": names.iter().map(|name| json!({"name": name, "image": "i"})).collect::<Vec<_>>()})
    }

    fn names(spec: &Value) -> Vec<&str> {
        let list = spec["containers"].as_array().expect("a list");
        list.iter().map(|c| c["name"].as_str().expect("text")).collect()
    }

    #[test]
    fn lists_merge_by_the_key_of_their_type() {
        let spec = json!({"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "web"}]}, {"name": "b"}]});
        let patch = json!({"containers": [{"name": "a", "image": "2", "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "args": ["x"]}]});
        let wanted = json!({"containers": [{"name": "a", "image": "2", "args": ["x"],
            "ports": [{"containerPort": 80, "name": "web", "protocol": "TCP"}]}, {"name": "b"}]});
        assert_eq!(pod_spec(spec, patch), Ok(wanted));
    }

    #[test]
    fn lists_without_a_key_are_replaced() {
        let spec = json!({"tolerations": [{"key": "a"}], "nodeSelector": {"a": "1", "b": "2"}});
        let patch = json!({"tolerations": [{"key": "b"}], "nodeSelector": {"a": null, "c": "3"}});
        let wanted = json!({"tolerations": [{"key": "b"}], "nodeSelector": {"b": "2", "c": "3"}});
        assert_eq!(pod_spec(spec, patch), Ok(wanted));
    }

    #[test]
    fn directives_delete_and_replace() {
        let delete = json!({"containers": [{"$patch": "delete", "name": "a"}]});
        assert_eq!(pod_spec(containers(&["a", "b"]), delete), Ok(containers(&["b"])));
        let replace = json!({"containers": [{"name": "c"}, {"$patch": "replace"}]});
        let only = json!({"containers": [{"name": "c"}]});
        assert_eq!(pod_spec(containers(&["a", "b"]), replace), Ok(only));
        let emptied = json!({"securityContext": {"$patch": "replace", "runAsUser": 1}});
        let context = json!({"securityContext": {"runAsGroup": 2}});
        assert_eq!(
            pod_spec(context, emptied),
            Ok(json!({"securityContext": {"runAsUser": 1}}))
        );
        let unheard = json!({"$patch": "burn"});
        assert!(matches!(
            pod_spec(json!({}), unheard),
            Err(StrategicError::UnknownDirective(_))
        ));
    }

    #[test]
    fn directives_hold_in_maps_of_any_names_too() {
        let present = json!({"limits": {"cpu": "2", "memory": "1Gi"}});
        let patch = json!({"limits": {"$patch": "replace", "cpu": "1"}});
        let container = Message::named("k8s.io.api.core.v1.ResourceRequirements").expect("in the table");
        let mut merged = present;
        merge(&mut merged, patch, container).expect("merges");
        assert_eq!(merged, json!({"limits": {"cpu": "1"}}));
    }

    #[test]
    fn a_volume_that_changes_its_source_keeps_what_is_retained() {
        let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch =
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]});
        let wanted = json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]});
        assert_eq!(pod_spec(spec, patch), Ok(wanted));
    }

    #[test]
    fn the_order_is_the_patchs_and_strangers_keep_their_place() {
        for (present, patch, wanted) in [
            (&["side", "a", "b"][..], &["b", "a"][..], &["side", "b", "a"][..]),
            (&["a", "side"], &["a", "new"], &["a", "new", "side"]),
            (&["a", "side", "b"], &["a", "b"], &["a", "side", "b"]),
        ] {
            let order: Vec<_> = patch.iter().map(|name| json!({"name": name})).collect();
            let mut with = containers(patch);
            with["$setElementOrder/containers"] = order.into();
            let merged = pod_spec(containers(present), with).expect("merges");
            assert_eq!(names(&merged), wanted, "{present:?} {patch:?}");
        }
        let only_order = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]});
        let merged = pod_spec(containers(&["a", "b"]), only_order).expect("merges");
        assert_eq!(names(&merged), ["b", "a"]);
    }

    #[test]
    fn scalars_are_added_once_and_taken_away_by_name() {
        let mut value = json!({"finalizers": ["a", "b"]});
        let patch = json!({"finalizers": ["b", "c"], "$deleteFromPrimitiveList/finalizers": ["a"]});
        let message = Message::named("k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("in the table");
        merge(&mut value, patch, message).expect("merges");
        assert_eq!(value, json!({"finalizers": ["b", "c"]}));
    }

    #[test]
    fn items_without_their_key_are_refused() {
        let patch = json!({"containers": [{"image": "x"}]});
        let error = pod_spec(containers(&["a"]), patch)
            .expect_err("has no name")
            .to_string();
        assert!(error.contains("does not contain declared merge key: name"), "{error}");
    }

    #[test]
    fn lists_as_long_as_a_body_may_be_are_merged_before_anybody_notices() {
        // Compared each with each, these would take hours.
        const MANY: usize = 200_000;
        let list = |value: &str| -> Vec<Value> {
            (0..MANY)
                .map(|n| json!({"name": format!("E{n}"), "value": value}))
                .collect()
        };
        let mut patch = json!({"env": list("2")});
        patch["$setElementOrder/env"] = (0..MANY).rev().map(|n| json!({"name": format!("E{n}")})).collect();
        let container = Message::named("k8s.io.api.core.v1.Container").expect("in the table");
        let mut value = json!({"env": list("1")});
        merge(&mut value, patch, container).expect("merges");
        let env = value["env"].as_array().expect("a list");
        assert_eq!(
            (env.len(), &env[0]),
            (MANY, &json!({"name": format!("E{}", MANY - 1), "value": "2"}))
        );
        let names = |from: usize| -> Vec<String> { (from..from + MANY).map(|n| format!("f{n}")).collect() };
        let mut value = json!({"finalizers": names(0)});
        let patch = json!({"finalizers": names(MANY), "$deleteFromPrimitiveList/finalizers": names(0)});
        let message = Message::named("k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("in the table");
        merge(&mut value, patch, message).expect("merges");
        assert_eq!(value, json!({"finalizers": names(MANY)}));
    }
}
