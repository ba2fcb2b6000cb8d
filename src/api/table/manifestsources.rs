//! ManifestSources, our own kind: what is watched and whether it is well.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, list, or, text as text_at};
use super::{AGE, Cell, KindTable, NAME, kind_table, number, text};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        text("Status"),
        number("Objects"),
        number("Errors"),
        number("Warnings"),
        text("Paths"),
        AGE,
    ],
    row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let problems = |severity: &str| {
        let all = list(object, "/status/problems").iter();
        all.filter(|problem| text_at(problem, "/severity") == severity).count()
    };
    let paths: Vec<&str> = list(object, "/spec/paths").iter().filter_map(Value::as_str).collect();
    vec![
        cells::name(object),
        status(object).into(),
        list(object, "/status/objects").len().into(),
        problems("error").into(),
        problems("warning").into(),
        or(&paths.join(","), "-").into(),
        cells::age(object, now),
    ]
}

fn status(object: &Value) -> &str {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating";
    }
    let mut conditions = list(object, "/status/conditions").iter();
    match conditions.find(|c| text_at(c, "/type") == "Synced") {
        Some(synced) if text_at(synced, "/status") == "True" => "Synced",
        Some(synced) => or(text_at(synced, "/reason"), "NotSynced"),
        None => "Pending",
    }
}
