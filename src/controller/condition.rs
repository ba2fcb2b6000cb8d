//! Conditions: statements in a status that carry since when they hold.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::{Object, object_time};

/// A statement about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The conditions in an object's status.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conditions {
    list: Vec<Value>,
    /// Whether the kind keeps `lastUpdateTime`: when a condition was last stated, changed or not.
    keeps_update_time: bool,
}

impl Conditions {
    pub(super) fn of(object: &Object) -> Self {
        let list = object.at("/status/conditions").and_then(Value::as_array);
        Self {
            list: list.cloned().unwrap_or_default(),
            keeps_update_time: false,
        }
    }

    /// For kinds whose conditions have a `lastUpdateTime`.
    pub(super) fn with_update_time(object: &Object) -> Self {
        Self {
            keeps_update_time: true,
            ..Self::of(object)
        }
    }

    /// The condition of a kind, if it was ever stated.
    pub(super) fn get(&self, kind: &str) -> Option<&Value> {
        self.list.iter().find(|condition| condition["type"] == kind)
    }

    /// Its reason; empty if it was never stated.
    pub(super) fn reason(&self, kind: &str) -> &str {
        self.get(kind).and_then(|c| c["reason"].as_str()).unwrap_or_default()
    }

    /// A time of a condition.
    pub(super) fn time(&self, kind: &str, field: &str) -> Option<Timestamp> {
        self.get(kind)?[field].as_str()?.parse().ok()
    }

    /// States a condition. One with the same status and reason stays as it is, whatever its message; one with the same status
    /// keeps its transition time (`deploymentutil.SetDeploymentCondition`).
    pub(super) fn set(&mut self, condition: Condition, now: Timestamp) {
        let unchanged = |c: &&Value| c["status"] == condition.status && c["reason"] == condition.reason;
        if self.get(condition.kind).filter(unchanged).is_none() {
            self.put(condition, now);
        }
    }

    /// States a condition again, as of now; with the same status it keeps its transition time.
    pub(super) fn renew(&mut self, condition: Condition, now: Timestamp) {
        self.put(condition, now);
    }

    /// Takes a condition back.
    pub(super) fn remove(&mut self, kind: &str) {
        self.list.retain(|condition| condition["type"] != kind);
    }

    /// Copies another object's condition as it is.
    pub(super) fn copy(&mut self, condition: &Value) {
        let same = |c: &&Value| c["status"] == condition["status"] && c["reason"] == condition["reason"];
        let kind = condition["type"].as_str().unwrap_or_default();
        if self.get(kind).filter(same).is_none() {
            self.remove(kind);
            self.list.push(condition.clone());
        }
    }

    /// As JSON; nothing when there are none.
    pub(super) fn into_json(self) -> Option<Value> {
        (!self.list.is_empty()).then_some(Value::Array(self.list))
    }

    fn put(&mut self, condition: Condition, now: Timestamp) {
        let now = json!(object_time(now));
        let present = self.get(condition.kind).filter(|c| c["status"] == condition.status);
        let since = present.map_or_else(|| now.clone(), |c| c["lastTransitionTime"].clone());
        let mut stated = json!({
            "type": condition.kind,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": since,
        });
        if self.keeps_update_time {
            stated["lastUpdateTime"] = now;
        }
        self.remove(condition.kind);
        self.list.push(stated);
    }
}
