//! `metadata.managedFields`: who owns what.
//!
//! At rest `fieldsV1` is a text of JSON: as a tree its many maps of one entry would take ten times the memory of the rest of the
//! object. Clients are shown the tree ([`shown`]).

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fieldset::FieldSet;
use super::merge::metadata_of;

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By anything else.
    Update,
}

/// An entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manager {
    /// Its name.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version in which it wrote.
    pub api_version: String,
    /// When it last changed what it owns.
    pub time: String,
    /// The subresource through which it writes; empty for the object itself.
    pub subresource: String,
    /// What it owns.
    pub fields: FieldSet,
}

impl Manager {
    /// Whether two entries are the same manager's: name, operation, version and subresource tell them apart.
    pub fn is_same(&self, other: &Manager) -> bool {
        (&self.name, self.operation, &self.api_version, &self.subresource)
            == (&other.name, other.operation, &other.api_version, &other.subresource)
    }

    /// A manager that owns nothing yet.
    pub fn new(name: &str, operation: Operation, object: &Value, subresource: &str, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            operation,
            api_version: object
                .get("apiVersion")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            // Kubernetes keeps whole seconds.
            time: Timestamp::from_second(now.as_second()).unwrap_or(now).to_string(),
            subresource: subresource.to_owned(),
            fields: FieldSet::default(),
        }
    }

    fn to_json(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut entry = json!({
            "manager": self.name,
            "operation": operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.to_json().to_string(),
        });
        if let (false, Value::Object(entry)) = (self.subresource.is_empty(), &mut entry) {
            entry.insert("subresource".into(), json!(self.subresource));
        }
        entry
    }

    fn from_json(entry: &Map<String, Value>) -> Self {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            name: text("manager"),
            operation: if text("operation") == "Apply" {
                Operation::Apply
            } else {
                Operation::Update
            },
            api_version: text("apiVersion"),
            time: text("time"),
            subresource: text("subresource"),
            fields: entry.get("fieldsV1").map(fields_of).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Manager {
    /// As messages name it: `"kubectl" with subresource "scale" using apps/v1 at 2026-01-01T00:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        if self.operation == Operation::Update {
            write!(f, " using {}", self.api_version)?;
            if !self.time.is_empty() {
                write!(f, " at {}", self.time)?;
            }
        }
        Ok(())
    }
}

/// The fields of an entry, at rest or as clients write them.
fn fields_of(fields: &Value) -> FieldSet {
    match fields {
        Value::String(text) => FieldSet::from_json(&serde_json::from_str(text).unwrap_or_default()),
        tree => FieldSet::from_json(tree),
    }
}

/// An object as clients see it: who owns what is a tree.
pub fn shown(mut object: Value) -> Value {
    let entries = object
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut);
    for fields in entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get_mut("fieldsV1"))
    {
        if let Value::String(text) = fields {
            *fields = serde_json::from_str(text).unwrap_or_default();
        }
    }
    object
}

/// The managers of an object.
pub fn managers_of(object: &Value) -> Vec<Manager> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let entries = entries.into_iter().flatten().filter_map(Value::as_object);
    entries
        .filter(|entry| !entry.is_empty())
        .map(Manager::from_json)
        .collect()
}

/// The managers that a client itself tells of, if all of them can be read (`managedfields.DecodeManagedFields`). What it says of one twice
/// it says the second time.
pub fn told_managers(object: &Value) -> Option<Vec<Manager>> {
    let entries = object.pointer("/metadata/managedFields")?.as_array()?;
    let mut managers = BTreeMap::new();
    for entry in entries {
        let entry = entry.as_object()?;
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let fields = entry.get("fieldsV1")?;
        let is_readable = matches!(text("operation"), "Apply" | "Update")
            && !text("apiVersion").is_empty()
            && text("fieldsType") == "FieldsV1"
            && (fields.is_object() || fields.is_string());
        if !is_readable {
            return None;
        }
        let manager = Manager::from_json(entry);
        let of = ["manager", "operation", "apiVersion", "subresource"].map(|field| text(field).to_owned());
        managers.insert(of, manager);
    }
    Some(managers.into_values().collect())
}

/// How many managers that update an object keeps; older ones are merged into one (`--max-updates` upstream).
const MAX_UPDATERS: usize = 10;

/// Writes the managers into an object; those that own nothing are left out.
pub fn set_managers(object: &mut Value, mut managers: Vec<Manager>) {
    managers.retain(|manager| !manager.fields.is_empty());
    cap_updaters(&mut managers);
    // Upstream's order: by operation, then by time, then by name.
    managers.sort_by(|a, b| (a.operation, &a.time, &a.name).cmp(&(b.operation, &b.time, &b.name)));
    let Some(metadata) = metadata_of(object) else { return };
    if managers.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), managers.iter().map(Manager::to_json).collect());
    }
}

fn cap_updaters(managers: &mut Vec<Manager>) {
    let mut updaters: Vec<Manager> = Vec::new();
    managers.retain(|manager| {
        let is_capped = manager.operation == Operation::Update && manager.subresource.is_empty();
        if is_capped {
            updaters.push(manager.clone());
        }
        !is_capped
    });
    updaters.sort_by(|a, b| a.time.cmp(&b.time));
    let surplus = updaters.len().saturating_sub(MAX_UPDATERS);
    if surplus > 0 {
        let ancient: Vec<_> = updaters.drain(..surplus).collect();
        let oldest = &mut updaters[0];
        oldest.name = "ancient-changes".into();
        ancient
            .into_iter()
            .for_each(|manager| oldest.fields.add(manager.fields));
    }
    managers.extend(updaters);
}
