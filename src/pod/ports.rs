//! Ports of the host that another pod has: whoever comes second waits (plugin `NodePorts`).
//!
//! The scheduler asks first, and whoever makes a sandbox asks again: after a start of the machine all pods are on the node and none has begun.
//! Upstream's kubelet fails such a pod for good; here it waits. Pods of one Deployment that replace each other may run side by side: each has an address of its own, and the
//! host's port moves from one to the other. An ending pod is in nobody's way.

use std::sync::Arc;

use crate::model::{HostPort, Object, host_ports, is_terminal, rollout_of};
use crate::store::{Change, ChangeKind};

/// Who is in the way.
pub(super) fn plan_clash(pod: &Object, all: impl FnOnce() -> Vec<Arc<Object>>) -> Option<String> {
    let wanted = host_ports(pod);
    if wanted.is_empty() {
        return None;
    }
    let all = all();
    let others = all
        .iter()
        .filter(|other| is_before(other, pod) && !replaces(pod, other));
    let (holder, port) = others
        .filter_map(|other| Some((other, clash(&wanted, other)?)))
        .next()?;
    let (HostPort { port, protocol, .. }, key) = (port, holder.key());
    Some(format!(
        "pod {}/{} has hostPort {port}/{protocol}; this one starts when that one ends, or choose another hostPort",
        key.namespace, key.name
    ))
}

fn clash<'a>(wanted: &'a [HostPort], other: &Object) -> Option<&'a HostPort> {
    let present = host_ports(other);
    wanted
        .iter()
        .find(|port| present.iter().any(|other| port.clashes_with(other)))
}

/// Whether a pod has its ports before another: one that runs, or else the older.
fn is_before(other: &Object, pod: &Object) -> bool {
    let rank = |pod: &Object| {
        let has_begun = !pod.text("/status/podIP").is_empty();
        (!has_begun, pod.creation_timestamp(), pod.uid().to_owned())
    };
    let has_ended = is_terminal(other) || other.is_deleting();
    other.uid() != pod.uid() && !has_ended && rank(other) < rank(pod)
}

fn replaces(pod: &Object, other: &Object) -> bool {
    match (rollout_of(pod), rollout_of(other)) {
        (Some((mine, new)), Some((its, old))) => mine == its && new != old,
        _ => false,
    }
}

/// Whether a change of a pod may leave ports of the host to others.
pub(super) fn frees_ports(change: &Change) -> bool {
    let pod = &change.object;
    let is_over = change.kind == ChangeKind::Deleted || pod.is_deleting() || is_terminal(pod);
    is_over && !host_ports(pod).is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pod with a hostPort that was created at a second of a minute; one of a ReplicaSet if that is named.
    fn pod(name: &str, second: u8, port: u16, set: &str, status: Value) -> Arc<Object> {
        let hash = set.rsplit('-').next().unwrap_or_default();
        let owners = match set {
            "" => json!([]),
            set => {
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true}])
            }
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"pod-template-hash": hash},
                "ownerReferences": owners, "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "hostPort": port}]}]},
            "status": status,
        });
        Arc::new(Object::new(pod).expect("a pod"))
    }

    fn running() -> Value {
        json!({"phase": "Running", "podIP": "10.244.0.2"})
    }

    #[test]
    fn the_second_pod_with_a_port_waits_for_the_first() {
        let me = |set: &str| pod("me", 5, 8080, set, json!({}));
        let mut ending = Object::clone(&pod("other", 1, 8080, "", running()));
        ending
            .metadata_mut()
            .insert("deletionTimestamp".into(), "2026-01-01T00:00:30Z".into());
        for (mine, other, waits) in [
            (me(""), pod("other", 1, 8080, "", json!({})), true),
            (me(""), pod("other", 9, 8080, "", json!({})), false),
            (me(""), pod("other", 9, 8080, "", running()), true),
            (me(""), pod("other", 1, 8081, "", running()), false),
            (
                me(""),
                pod("other", 1, 8080, "", json!({"phase": "Failed", "podIP": "10.244.0.2"})),
                false,
            ),
            (me(""), Arc::new(ending), false),
            // Of one template there can be one; of the next one may come up beside it.
            (me("web-a"), pod("other", 1, 8080, "web-a", running()), true),
            (me("web-b"), pod("other", 1, 8080, "web-a", running()), false),
            (me("web-b"), pod("other", 1, 8080, "api-a", running()), true),
        ] {
            let clash = plan_clash(&mine, || vec![mine.clone(), other.clone()]);
            assert_eq!(clash.is_some(), waits, "{other:?}");
            assert!(clash.is_none_or(|clash| clash.contains("pod default/other has hostPort 8080/TCP")));
        }
    }
}
