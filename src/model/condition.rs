//! Conditions of a status: one entry per type, whoever writes it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Object, list_at, text_at, whole_second};

/// A condition without its history.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Whether it holds.
    pub holds: bool,
    /// One word for programs.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
}

/// The condition of this type that an object has.
#[must_use]
pub fn condition_of<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    let conditions = list_at(object.value(), "/status/conditions").iter();
    conditions.into_iter().find(|found| text_at(found, "/type") == kind)
}

/// Makes a condition the object's only one of its type. Its transition time moves only when its status does.
pub fn set_condition(
    object: &mut Object,
    Condition {
        kind,
        holds,
        reason,
        message,
    }: Condition<'_>,
    now: Timestamp,
) {
    let status = if holds { "True" } else { "False" };
    let before = condition_of(object, kind).filter(|found| text_at(found, "/status") == status);
    let since = before.and_then(|found| found.get("lastTransitionTime").cloned());
    let condition = json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| whole_second(now).to_string().into()),
    });
    let conditions = list_at(object.value(), "/status/conditions").iter();
    let others = conditions.filter(|found| text_at(found, "/type") != kind).cloned();
    let all: Vec<Value> = others.chain([condition]).collect();
    object.value_mut()["status"]["conditions"] = all.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_one_condition_that_keeps_its_time_while_its_status_stays() {
        let old = json!({"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let other = json!({"type": "Ready", "status": "True"});
        let status = json!({"conditions": [old, other.clone(), old]});
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": status});
        let mut pod = Object::new(value).expect("a pod");
        let condition = Condition {
            kind: "DisruptionTarget",
            holds: true,
            reason: "Why",
            message: "so",
        };
        let now = Timestamp::UNIX_EPOCH;
        set_condition(&mut pod, condition, now);
        let conditions = list_at(pod.value(), "/status/conditions");
        assert_eq!(conditions.len(), 2, "{conditions:?}");
        assert_eq!(conditions[0], other);
        assert_eq!(text_at(&conditions[1], "/lastTransitionTime"), "2026-01-01T00:00:00Z");
        set_condition(
            &mut pod,
            Condition {
                holds: false,
                ..condition
            },
            now,
        );
        let found = condition_of(&pod, "DisruptionTarget").expect("set");
        assert_eq!(text_at(found, "/lastTransitionTime"), "1970-01-01T00:00:00Z");
    }
}
