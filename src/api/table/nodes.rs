//! Nodes.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{self, list, or, text as text_at};
use super::{AGE, Cell, KindTable, NAME, kind_table, text, wide};

pub(super) static TABLE: KindTable = kind_table(
    &[
        NAME,
        text("Status"),
        text("Roles"),
        AGE,
        text("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    row,
);

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let info = |field: &str| or(text_at(object, &format!("/status/nodeInfo/{field}")), "<unknown>").into();
    vec![
        cells::name(object),
        status(object).into(),
        roles(object).into(),
        cells::age(object, now),
        text_at(object, "/status/nodeInfo/kubeletVersion").into(),
        address(object, "InternalIP").into(),
        address(object, "ExternalIP").into(),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn status(object: &Value) -> String {
    let ready = match cells::condition_status(object, "Ready") {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match object.pointer("/spec/unschedulable") {
        Some(Value::Bool(true)) => format!("{ready},SchedulingDisabled"),
        _ => ready.to_owned(),
    }
}

/// A node's roles, by its labels.
pub fn roles(object: &Value) -> String {
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(label, value)| match label.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if label == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    or(&roles.join(","), "<none>").to_owned()
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    let mut addresses = list(object, "/status/addresses").iter();
    addresses
        .find(|a| text_at(a, "/type") == kind)
        .map_or("<none>", |a| text_at(a, "/address"))
}
