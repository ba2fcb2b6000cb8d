//! How a shortage is told: conditions of the node, taints that keep pods away, events; and what becomes of pods that come all the same.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::settings::Pressure;
use crate::event::EventKind;
use crate::model::{Condition, Key, Object, condition_of, kind, list_at, qos_class, set_condition, text_at};
use crate::pod::Rooms;
use crate::pod::shutdown::Stage;

/// A condition, its taint, and reason, message and event with it and without.
struct Words {
    pressure: Pressure,
    condition: &'static str,
    taint: &'static str,
    with: (&'static str, &'static str, &'static str),
    without: (&'static str, &'static str, &'static str),
}

/// In the kubelet's words (`nodestatus/setters.go`).
const WORDS: [Words; 3] = [
    Words {
        pressure: Pressure::Memory,
        condition: "MemoryPressure",
        taint: "node.kubernetes.io/memory-pressure",
        with: (
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
            "NodeHasInsufficientMemory",
        ),
        without: (
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
            "NodeHasSufficientMemory",
        ),
    },
    Words {
        pressure: Pressure::Disk,
        condition: "DiskPressure",
        taint: "node.kubernetes.io/disk-pressure",
        with: (
            "KubeletHasDiskPressure",
            "kubelet has disk pressure",
            "NodeHasDiskPressure",
        ),
        without: (
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
            "NodeHasNoDiskPressure",
        ),
    },
    Words {
        pressure: Pressure::Pid,
        condition: "PIDPressure",
        taint: "node.kubernetes.io/pid-pressure",
        with: (
            "KubeletHasInsufficientPID",
            "kubelet has insufficient PID available",
            "NodeHasInsufficientPID",
        ),
        without: (
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
            "NodeHasSufficientPID",
        ),
    },
];

/// The conditions of a node that is short of nothing: type, reason and message.
pub fn conditions() -> impl Iterator<Item = [&'static str; 3]> {
    WORDS
        .iter()
        .map(|words| [words.condition, words.without.0, words.without.1])
}

fn node_of(rooms: &Rooms) -> Key {
    Key::new(kind("v1", "Node").expect("in the table"), "", &rooms.host.node_name)
}

fn holds(node: &Object, condition: &str) -> bool {
    condition_of(node, condition).is_some_and(|found| text_at(found, "/status") == "True")
}

/// Has the node say what it is short of, and nothing else.
pub(super) fn tell_node(rooms: &Rooms, pressures: &BTreeSet<Pressure>, now: Timestamp) {
    let key = node_of(rooms);
    let Some(node) = rooms.store.get(&key) else { return };
    for words in &WORDS {
        let is_short = pressures.contains(&words.pressure);
        if holds(&node, words.condition) != is_short {
            let (reason, message, event) = if is_short { words.with } else { words.without };
            let condition = Condition {
                kind: words.condition,
                holds: is_short,
                reason,
                message,
            };
            // There is always a node while this runs.
            let _ = rooms
                .store
                .update_status(&key, |node| set_condition(node, condition, now));
            let text = format!("Node {} status is now: {event}", key.name);
            rooms.recorder.event(&node, EventKind::Normal, event, &text);
        }
    }
    let taints = plan_taints(list_at(node.value(), "/spec/taints"), pressures);
    if let Some(taints) = taints {
        let _ = rooms
            .store
            .update(&key, |node| node.value_mut()["spec"]["taints"] = taints.into());
    }
}

/// The node's taints as they are to be, where they are not (upstream's node life cycle controller). Those of others stay.
fn plan_taints(present: &[Value], pressures: &BTreeSet<Pressure>) -> Option<Vec<Value>> {
    let is_ours = |taint: &&Value| WORDS.iter().any(|words| words.taint == text_at(taint, "/key"));
    let short = WORDS.iter().filter(|words| pressures.contains(&words.pressure));
    let wanted: Vec<_> = short
        .map(|words| json!({"key": words.taint, "effect": "NoSchedule"}))
        .collect();
    let own: Vec<_> = present.iter().filter(is_ours).cloned().collect();
    let is_same = own.len() == wanted.len() && wanted.iter().all(|taint| own.contains(taint));
    let others = present.iter().filter(|taint| !is_ours(taint)).cloned();
    (!is_same).then(|| others.chain(wanted).collect())
}

/// Tells that something is done about it.
pub(super) fn tell_attempt(rooms: &Rooms, resource: &str) {
    if let Some(node) = rooms.store.get(&node_of(rooms)) {
        let text = format!("Attempting to reclaim {resource}");
        rooms
            .recorder
            .event(&node, EventKind::Warning, "EvictionThresholdMet", &text);
    }
}

/// Whether a pod may be put on a node with such a taint though it does not say so: one that asked for memory gets it before those that
/// did not, who are evicted first.
pub(in crate::pod) fn is_borne(pod: &Object, taint: &Value) -> bool {
    text_at(taint, "/key") == WORDS[0].taint && !is_best_effort(pod)
}

fn is_best_effort(pod: &Object) -> bool {
    pod.typed().is_ok_and(|pod| qos_class(&pod) == "BestEffort")
}

/// Why a pod that was put on the node by name may not run there now (kubelet `managerImpl.Admit`): what little there is, is for critical
/// pods, and of memory also for those that asked for it.
pub(in crate::pod) fn plan_refusal(
    pod: &Object,
    node: Option<&Object>,
    priority: impl FnOnce() -> i64,
) -> Option<String> {
    let node = node?;
    let short = WORDS.iter().filter(|words| holds(node, words.condition));
    let short: Vec<_> = short.collect();
    let is_memory = matches!(short[..], [words] if words.pressure == Pressure::Memory);
    if short.is_empty() || Stage::with(priority()) == Stage::Critical || (is_memory && !is_best_effort(pod)) {
        return None;
    }
    let names: Vec<_> = short.iter().map(|words| words.condition).collect();
    Some(format!("The node had condition: [{}]. ", names.join(" ")))
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn node(short: &[&str]) -> Object {
        let conditions = WORDS.iter().map(|words| {
            let status = if short.contains(&words.condition) {
                "True"
            } else {
                "False"
            };
            json!({"type": words.condition, "status": status})
        });
        let conditions: Vec<_> = conditions.collect();
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {"conditions": conditions}});
        Object::new(node).expect("a node")
    }

    fn pod(request: Value) -> Object {
        let container = json!({"name": "c", "resources": {"requests": request}});
        let spec = json!({"containers": [container]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": spec});
        Object::new(pod).expect("a pod")
    }

    #[test]
    fn what_little_there_is_is_for_critical_pods_and_for_those_that_asked_for_memory() {
        let (plain, asked) = (json!({}), json!({"memory": "1Mi"}));
        let critical = 2_000_000_000;
        for (short, request, priority, expected) in [
            (&[][..], &plain, 0, None),
            (
                &["MemoryPressure"],
                &plain,
                0,
                Some("The node had condition: [MemoryPressure]. "),
            ),
            (&["MemoryPressure"], &asked, 0, None),
            (
                &["DiskPressure"],
                &asked,
                0,
                Some("The node had condition: [DiskPressure]. "),
            ),
            (&["DiskPressure"], &plain, critical, None),
            (
                &["MemoryPressure", "PIDPressure"],
                &asked,
                critical - 1,
                Some("The node had condition: [MemoryPressure PIDPressure]. "),
            ),
        ] {
            let found = plan_refusal(&pod(request.clone()), Some(&node(short)), || priority);
            assert_eq!(found.as_deref(), expected, "{short:?} {request} {priority}");
        }
        assert_eq!(plan_refusal(&pod(plain), None, || 0), None);
    }

    #[test]
    fn taints_follow_what_is_short_and_those_of_others_stay() {
        let other = json!({"key": "mine", "effect": "NoExecute"});
        let of = |name: &str| json!({"key": format!("node.kubernetes.io/{name}-pressure"), "effect": "NoSchedule"});
        let short = |pressures: &[Pressure]| pressures.iter().copied().collect::<BTreeSet<_>>();
        let disk = short(&[Pressure::Disk]);
        assert_eq!(plan_taints(from_ref(&other), &short(&[])), None);
        assert_eq!(
            plan_taints(from_ref(&other), &disk),
            Some(vec![other.clone(), of("disk")])
        );
        assert_eq!(plan_taints(&[of("disk"), other.clone()], &disk), None);
        assert_eq!(
            plan_taints(&[of("memory"), other.clone()], &short(&[])),
            Some(vec![other])
        );
    }

    #[test]
    fn a_pod_that_asked_for_memory_bears_that_it_is_short() {
        let taint = |name: &str| json!({"key": format!("node.kubernetes.io/{name}-pressure"), "effect": "NoSchedule"});
        let asked = pod(json!({"memory": "1Mi"}));
        assert!(is_borne(&asked, &taint("memory")) && !is_borne(&asked, &taint("disk")));
        assert!(!is_borne(&pod(json!({})), &taint("memory")));
    }
}
