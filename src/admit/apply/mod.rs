//! Server-side apply as a pure function, and the bookkeeping of every other write.
//!
//! Who wrote a field owns it (`metadata.managedFields`). A manager that applies says all that it wants: fields that it stops
//! naming are removed when nobody else owns them, and a field that another manager set otherwise is a conflict. Sources
//! apply through here, each as a manager of its own, and so do clients of the API. Holds no defaults and no validation:
//! what comes out passes `admit` next.

mod fieldset;
mod managers;
mod merge;
mod schema;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

pub use managers::shown;

use fieldset::FieldSet;
use managers::{Manager, Operation, managers_of, set_managers, told_managers};
use merge::{changed, fields_of, metadata_of, prune};
use schema::Schema;

/// Fields that nobody owns: they name the object, or only the server writes them.
const NOT_OWNED: [&[&str]; 13] = [
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "generateName"],
    &["metadata", "namespace"],
    &["metadata", "uid"],
    &["metadata", "creationTimestamp"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
    &["metadata", "generation"],
    &["metadata", "resourceVersion"],
    &["metadata", "selfLink"],
    &["metadata", "managedFields"],
];

/// Whose it is what was there before anybody applied anything.
const BEFORE_FIRST: &str = "before-first-apply";

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager's name.
    pub manager: String,
    /// `conflict with "kubectl-edit" using apps/v1 at 2026-01-01T00:00:00Z`.
    pub message: String,
    /// The field: `.spec.replicas`.
    pub field: String,
}

/// Everything that stands against an apply without force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Conflicts(pub Vec<Conflict>);

impl fmt::Display for Conflicts {
    /// The message of the 409 (`apimachinery/pkg/util/managedfields/internal/conflict.go`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.0.as_slice() {
            return write!(f, "Apply failed with 1 conflict: {}: {}", one.message, one.field);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut last = "";
        for (index, conflict) in self.0.iter().enumerate() {
            if conflict.message != last {
                let line = if index == 0 { "" } else { "\n" };
                write!(f, "{line}{}:", conflict.message.replacen("conflict", "conflicts", 1))?;
                last = &conflict.message;
            }
            write!(f, "\n- {}", conflict.field)?;
        }
        Ok(())
    }
}

/// Applies `config` to the object as it is, for a manager: its name, and the subresource by which it writes (`status`, or none).
///
/// # Guarantees
/// Applying the same again returns `live` unchanged, times included.
///
/// # Errors
/// Fields that other managers own with other values, unless `force`, which takes them over.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    (manager, subresource): (&str, &str),
    force: bool,
    now: Timestamp,
) -> Result<Value, Conflicts> {
    let mut config = config.clone();
    if let Some(metadata) = metadata_of(&mut config) {
        metadata.remove("managedFields");
    }
    let empty = Value::Object(serde_json::Map::new());
    let (live, schema) = (live.unwrap_or(&empty), Schema::of(&config));
    let mut mine = Manager::new(manager, Operation::Apply, &config, subresource, now);
    mine.fields = owned(fields_of(&config, &schema));
    let managers = managers_for_apply(live, &schema, now);
    let (before, mut others): (Vec<Manager>, Vec<Manager>) = managers.into_iter().partition(|other| {
        // A manager that applies in another version of the API is still the same one.
        (other.name.as_str(), other.operation, other.subresource.as_str()) == (manager, Operation::Apply, subresource)
    });
    let mut merged = merge::merge(live, &config, &schema);
    let taken = owned(changed(live, &merged, &schema));
    settle_conflicts(&mut others, &taken, force)?;
    let mut dropped = FieldSet::default();
    before.iter().for_each(|entry| dropped.add(entry.fields.clone()));
    let mut kept = mine.fields.clone();
    others.iter().for_each(|other| kept.add(other.fields.clone()));
    prune(&mut merged, &dropped, &kept, &schema);
    let existing = fields_of(&merged, &schema);
    others
        .iter_mut()
        .for_each(|other| other.fields.retain_within(&existing));
    if let Some(same) = before
        .iter()
        .find(|entry| entry.is_same(&mine) && entry.fields == mine.fields)
    {
        mine.time.clone_from(&same.time);
    }
    others.push(mine);
    set_managers(&mut merged, others);
    Ok(merged)
}

/// Whether an object, as clients are shown it, is what `config` says, and the manager owns just the fields that it names: then applying it
/// would write nothing.
pub fn is_applied(live: &Value, config: &Value, manager: &str, now: Timestamp) -> bool {
    apply(Some(live), config, (manager, ""), true, now).is_ok_and(|merged| shown(merged) == *live)
}

/// Who owns what before an apply. What nobody owns was there before the first apply, and so it is said
/// (`managedfields.NewSkipNonAppliedManager`).
fn managers_for_apply(live: &Value, schema: &Schema, now: Timestamp) -> Vec<Manager> {
    let managers = managers_of(live);
    if !managers.is_empty() {
        return managers;
    }
    let mut before = Manager::new(BEFORE_FIRST, Operation::Update, live, "", now);
    before.fields = owned(fields_of(live, schema));
    vec![before]
}

/// Takes the fields that change away from the others, or says whose they are.
fn settle_conflicts(others: &mut [Manager], taken: &FieldSet, force: bool) -> Result<(), Conflicts> {
    let mut conflicts = Vec::new();
    for other in others {
        let disputed = other.fields.common(taken);
        if disputed.is_empty() {
            continue;
        }
        if force {
            other.fields = other.fields.without(&disputed);
            continue;
        }
        let message = format!("conflict with {other}");
        conflicts.extend(disputed.paths().into_iter().map(|field| Conflict {
            manager: other.name.clone(),
            message: message.clone(),
            field,
        }));
    }
    if conflicts.is_empty() {
        Ok(())
    } else {
        Err(Conflicts(conflicts))
    }
}

/// Keeps the books for a write that is no apply: what it changed is the manager's, and no one else's.
///
/// `subresource` is empty for the object itself, else `status` or `scale`. Who owned what before, a write of the object itself may say:
/// that is how clients hand ownership over.
pub fn track_update(old: Option<&Value>, new: &Value, manager: &str, subresource: &str, now: Timestamp) -> Value {
    let empty = Value::Object(serde_json::Map::new());
    let old = old.unwrap_or(&empty);
    let mut managers = managers_before(old, new, subresource);
    let mut new = new.clone();
    if let Some(metadata) = metadata_of(&mut new) {
        metadata.remove("managedFields");
    }
    let schema = Schema::of(&new);
    let written = owned(changed(old, &new, &schema));
    let mut mine = Manager::new(manager, Operation::Update, &new, subresource, now);
    let existing = fields_of(&new, &schema);
    managers
        .iter_mut()
        .for_each(|other| other.fields.retain_within(&existing));
    if !written.is_empty() {
        managers
            .iter_mut()
            .for_each(|other| other.fields = other.fields.without(&written));
        if let Some(place) = managers.iter().position(|other| other.is_same(&mine)) {
            mine.fields = managers.remove(place).fields;
        }
        mine.fields.add(written);
        managers.push(mine);
    }
    set_managers(&mut new, managers);
    new
}

/// Who owned what before a write (`managedfields.decodeLiveOrNew`): what the write says, if it can be read. An empty list says nothing, as
/// clients send it that know nothing of owners; a list of one empty entry says that nobody owns anything.
fn managers_before(old: &Value, new: &Value, subresource: &str) -> Vec<Manager> {
    if !subresource.is_empty() {
        return managers_of(old);
    }
    if new.pointer("/metadata/managedFields") == Some(&serde_json::json!([{}])) {
        return Vec::new();
    }
    let told = told_managers(new).filter(|told| !told.is_empty());
    let mut managers = told.unwrap_or_else(|| managers_of(old));
    for manager in &mut managers {
        manager.fields = owned(std::mem::take(&mut manager.fields));
    }
    managers
}

fn owned(mut fields: FieldSet) -> FieldSet {
    for path in NOT_OWNED {
        fields.remove_path(path);
    }
    // A bare `metadata: {}` is named by every object.
    if fields.inside("f:metadata").is_some_and(FieldSet::is_empty) {
        fields.remove("f:metadata");
    }
    fields
}
