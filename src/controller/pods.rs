//! What controllers see in pods: whether they count, are ready, are available, and which go first.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub(super) use crate::model::is_terminal;
use crate::model::{Kind, Object, kind};
use crate::store::{Change, ChangeKind};

/// Lower goes first when pods are too many (`controller.kubernetes.io/pod-deletion-cost`).
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(super) fn kind_of_pods() -> &'static Kind {
    kind("v1", "Pod").expect("in the table")
}

/// Whether it counts as a replica (`controller.IsPodActive`).
pub(super) fn is_active(pod: &Object) -> bool {
    !is_terminal(pod) && !pod.is_deleting()
}

/// Since when it has been ready, if it is.
pub(super) fn ready_since(pod: &Object) -> Option<Timestamp> {
    let conditions = pod.at("/status/conditions")?.as_array()?;
    let ready = conditions
        .iter()
        .find(|c| c["type"] == "Ready" && c["status"] == "True")?;
    let since = ready["lastTransitionTime"].as_str().and_then(|time| time.parse().ok());
    Some(since.unwrap_or(Timestamp::UNIX_EPOCH))
}

/// From when on it counts as available (`podutil.IsPodAvailable`), if it is ready: perhaps in the future.
pub(super) fn available_from(pod: &Object, min_ready_seconds: i64) -> Option<Timestamp> {
    let since = ready_since(pod)?;
    Some(
        since
            .saturating_add(SignedDuration::from_secs(min_ready_seconds))
            .unwrap_or(since),
    )
}

/// Whether a change of a pod is one that controllers look at. Most are not: addresses, container states, probes.
pub(super) fn matters(change: &Change) -> bool {
    let Some(old) = change.old.as_deref().filter(|_| change.kind == ChangeKind::Modified) else {
        return true;
    };
    let new = &change.object;
    let same = |at: &str| old.at(at) == new.at(at);
    let is_same_pod = same("/metadata/labels") && same("/metadata/ownerReferences") && same("/metadata/annotations");
    let is_same_state = old.is_deleting() == new.is_deleting() && same("/status/phase");
    !(is_same_pod && is_same_state && ready_since(old) == ready_since(new))
}

/// Orders pods by how little is lost with them (`controller.ActivePodsWithRanks`). Upstream's first and fifth rule, about nodes,
/// don't apply to one node; where upstream compares ages by their order of magnitude and then at random, the younger goes.
pub(super) fn deletion_rank(pod: &Object) -> impl Ord + use<> {
    let phase = match pod.text("/status/phase") {
        "Running" => 2,
        "Unknown" => 1,
        // A pod that was just made has no phase yet.
        _ => 0,
    };
    let ready = ready_since(pod);
    let annotations = pod.annotations();
    let cost: i32 = annotations.get(DELETION_COST).and_then(|c| c.parse().ok()).unwrap_or(0);
    (
        phase,
        ready.is_some(),
        cost,
        Reverse(ready),
        Reverse(most_restarts(pod)),
        Reverse(pod.creation_timestamp()),
        // Any order, so that the same pods always give the same plan.
        pod.key().name.clone(),
    )
}

fn most_restarts(pod: &Object) -> i64 {
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let all = statuses.into_iter().filter_map(|at| pod.at(at)?.as_array()).flatten();
    all.filter_map(|status| status.get("restartCount").and_then(Value::as_i64))
        .max()
        .unwrap_or(0)
}
