//! Pods that a taint with the effect NoExecute drives from the node (upstream's taint eviction controller): at once, or when the time is
//! over for which they tolerate it.
//!
//! While there is no such taint nothing is looked at but the node. Since when a pod is unwelcome is known for as long as this process
//! lives, as upstream's controller knows it: a node that starts anew gives everyone their time again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Rooms;
use super::schedule::{is_of, tolerates};
use crate::event::EventKind;
use crate::model::{Condition, Key, Object, is_terminal, kind, later, list_at, set_condition, text_at};
use crate::store::{DeleteOptions, Watcher};

/// Works until `stop`.
pub async fn run_taints(rooms: Arc<Rooms>, stop: CancellationToken) {
    let mut unwelcome = BTreeMap::new();
    loop {
        // Followed from before it is looked, so that nothing comes unseen in between.
        let changes = rooms.store.watch(rooms.store.resource_version());
        let taints = taints(&rooms);
        let next = drive_out(&rooms, &taints, &mut unwelcome);
        let wait = next.map(|at| Duration::try_from(at.duration_since(rooms.clock.now())).unwrap_or_default());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            () = changed(changes.ok(), !taints.is_empty()) => {}
        }
    }
}

/// Returns when the node has changed, or when pods count one of them.
async fn changed(changes: Option<Watcher>, pods_count: bool) {
    let Some(mut changes) = changes else { return };
    while let Ok(change) = changes.next().await {
        match change.object.key().kind().kind {
            "Node" => return,
            "Pod" if pods_count => return,
            _ => {}
        }
    }
}

/// The node's taints that drive pods out.
fn taints(rooms: &Rooms) -> Vec<Value> {
    let node = Key::new(kind("v1", "Node").expect("in the table"), "", &rooms.host.node_name);
    let node = rooms.store.get(&node);
    let taints = node.iter().flat_map(|node| list_at(node.value(), "/spec/taints"));
    taints
        .filter(|taint| text_at(taint, "/effect") == "NoExecute")
        .cloned()
        .collect()
}

/// Deletes those whose time is over; returns when the next one's is. `unwelcome` is since when pods are, by their uid.
fn drive_out(rooms: &Rooms, taints: &[Value], unwelcome: &mut BTreeMap<String, Timestamp>) -> Option<Timestamp> {
    if taints.is_empty() {
        unwelcome.clear();
        return None;
    }
    let now = rooms.clock.now();
    let pods = rooms.store.list(kind("v1", "Pod").expect("in the table"), None).items;
    let mut still = BTreeMap::new();
    let mut next = None;
    for pod in pods.iter().filter(|pod| is_here(pod, &rooms.host.node_name)) {
        let Some(patience) = plan_patience(pod, taints) else {
            continue;
        };
        let since = unwelcome.get(pod.uid()).copied().unwrap_or(now);
        let ends = later(since, patience);
        if ends <= now {
            evict(rooms, pod, now);
        } else {
            still.insert(pod.uid().to_owned(), since);
            next = next.into_iter().chain([ends]).min();
        }
    }
    *unwelcome = still;
    next
}

fn is_here(pod: &Object, node: &str) -> bool {
    is_of(pod, node) && !pod.is_deleting() && !is_terminal(pod)
}

/// How long a pod may stay beside these taints; `None` is for ever. Of several tolerations with a time the shortest counts
/// (`getMinTolerationTime`), and a taint that none covers leaves no time at all.
fn plan_patience(pod: &Object, taints: &[Value]) -> Option<SignedDuration> {
    let tolerations = list_at(pod.value(), "/spec/tolerations");
    let patience = |taint: &Value| match tolerations.iter().find(|toleration| tolerates(toleration, taint)) {
        None => Some(0),
        Some(toleration) => toleration.get("tolerationSeconds").and_then(Value::as_i64),
    };
    let shortest = taints.iter().filter_map(patience).min()?;
    Some(SignedDuration::from_secs(shortest.max(0)))
}

fn evict(rooms: &Rooms, pod: &Arc<Object>, now: Timestamp) {
    let Key { namespace, name, .. } = pod.key();
    let message = format!("Marking for deletion Pod {namespace}/{name}");
    let recorder = rooms.recorder.component("taint-eviction-controller");
    recorder.event(pod, EventKind::Normal, "TaintManagerEviction", &message);
    let condition = Condition {
        kind: "DisruptionTarget",
        holds: true,
        reason: "DeletionByTaintManager",
        message: "Taint manager: deleting due to NoExecute taint",
    };
    let tell = |present: &mut Object| set_condition(present, condition, now);
    // It may be gone meanwhile.
    let _ = rooms.store.update_status(pod.key(), tell);
    let _ = rooms.store.delete(pod.key(), &DeleteOptions::default());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patience(tolerations: Value) -> Option<i64> {
        let spec = json!({"containers": [], "tolerations": tolerations});
        let pod = Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}));
        let taint = |key: &str| json!({"key": key, "value": "v", "effect": "NoExecute"});
        plan_patience(&pod.expect("a pod"), &[taint("a"), taint("b")]).map(|time| time.as_secs())
    }

    #[test]
    fn a_pod_stays_for_as_long_as_it_tolerates_every_taint() {
        let covers = |key: &str, seconds: Option<i64>| {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
            match seconds {
                Some(seconds) => {
                    let mut timed = toleration;
                    timed["tolerationSeconds"] = seconds.into();
                    timed
                }
                None => toleration,
            }
        };
        for (tolerations, expected) in [
            (json!([]), Some(0)),
            (json!([covers("a", None)]), Some(0)),
            (json!([covers("a", None), covers("b", None)]), None),
            (json!([covers("a", Some(30)), covers("b", None)]), Some(30)),
            (json!([covers("a", Some(30)), covers("b", Some(3))]), Some(3)),
            (json!([covers("a", Some(-1)), covers("b", None)]), Some(0)),
            (json!([{"operator": "Exists"}]), None),
            (json!([{"operator": "Exists", "effect": "NoSchedule"}]), Some(0)),
        ] {
            assert_eq!(patience(tolerations.clone()), expected, "{tolerations}");
        }
    }
}
