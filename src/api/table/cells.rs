//! What several kinds' rows are made of: reading objects by JSON pointer, and cells that more than one kind shows.

use jiff::Timestamp;
use serde_json::Value;

use super::Cell;
use super::age::age_of;
use crate::model::value_at;
pub(super) use crate::model::{list_at as list, number_at as number, text_at as text};

/// How many entries the map at a JSON pointer has.
pub(super) fn entries(object: &Value, pointer: &str) -> usize {
    value_at(object, pointer)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

pub(super) fn name(object: &Value) -> Cell {
    text(object, "/metadata/name").into()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Cell {
    age_of(text(object, "/metadata/creationTimestamp"), now).into()
}

/// The text, or the word that stands for its absence.
pub(super) fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// Whether a condition of this type says `True`.
pub(super) fn is_condition_true(object: &Value, condition: &str) -> bool {
    condition_status(object, condition) == Some("True")
}

/// The status of a condition, if it is there.
pub(super) fn condition_status<'a>(object: &'a Value, condition: &str) -> Option<&'a str> {
    list(object, "/status/conditions")
        .iter()
        .find(|c| text(c, "/type") == condition)
        .map(|c| text(c, "/status"))
}

/// Names and images of the containers of a workload's template, each joined by commas.
pub(super) fn containers_and_images(object: &Value) -> [Cell; 2] {
    ["/name", "/image"].map(|field| {
        let containers = list(object, "/spec/template/spec/containers").iter();
        containers.map(|c| text(c, field)).collect::<Vec<_>>().join(",").into()
    })
}

/// A label selector as a cell; `<none>` where there is none or it is empty.
pub(super) fn selector(selector: Option<&Value>) -> Cell {
    or(&selector.map(selector_text).unwrap_or_default(), "<none>").into()
}

/// A label selector as people and queries write it: `app=web,tier in (a,b)` (`metav1.FormatLabelSelector`).
#[must_use]
pub fn selector_text(selector: &Value) -> String {
    let labels = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut terms: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    terms.extend(list(selector, "/matchExpressions").iter().map(expression));
    terms.sort();
    terms.join(",")
}

fn expression(expression: &Value) -> String {
    let key = text(expression, "/key");
    let mut values: Vec<&str> = list(expression, "/values").iter().filter_map(Value::as_str).collect();
    values.sort_unstable();
    let values = values.join(",");
    match text(expression, "/operator") {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

/// Plain labels, as in `Service.spec.selector`: `app=web,tier=a`, or `<none>`.
pub(super) fn labels(labels: Option<&Value>) -> Cell {
    let entries = labels.and_then(Value::as_object).into_iter().flatten();
    let mut terms: Vec<String> = entries
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    terms.sort();
    or(&terms.join(","), "<none>").into()
}
