//! A Deployment whose size changes: the change goes to the one active ReplicaSet, or to all of them in proportion when it comes in
//! the middle of a rollout (`deployment/sync.go`: `scale`).

use std::cmp::Reverse;

use super::desired::{Desired, Strategy};
use super::sets::{DESIRED, MAX, Set, Sets};
use crate::model::Object;

/// Whether the ReplicaSets were fitted to another size of the Deployment.
pub(super) fn is_resized(desired: &Desired, sets: &Sets) -> bool {
    let fitted = |set: &Set| {
        set.annotation_number(DESIRED)
            .is_none_or(|size| size == desired.replicas)
    };
    sets.all().filter(|set| set.replicas() > 0).any(|set| !fitted(set))
}

/// Fits the ReplicaSets to the Deployment's size.
pub(super) fn plan_scale(deployment: &Object, desired: &Desired, sets: &mut Sets) {
    if let Some(set) = active_or_latest(sets) {
        set.scale(desired.replicas, desired);
        return;
    }
    if is_saturated(desired, sets) {
        for set in sets.old.iter_mut().filter(|set| set.replicas() > 0) {
            set.scale(0, desired);
        }
        return;
    }
    match desired.strategy {
        Strategy::RollingUpdate { .. } => plan_proportions(deployment, desired, sets),
        // Its rollout never has two active ReplicaSets for long.
        Strategy::Recreate => {}
    }
}

/// The only ReplicaSet with replicas; if none has any, the new or else the youngest (`FindActiveOrLatest`).
fn active_or_latest(sets: &mut Sets) -> Option<&mut Set> {
    let active = sets.all().filter(|set| set.replicas() > 0).count();
    match active {
        0 => sets.new.as_mut().or(sets.old.last_mut()),
        1 => sets.all_mut().find(|set| set.replicas() > 0),
        _ => None,
    }
}

/// Whether the new ReplicaSet is all that the Deployment needs (`deploymentutil.IsSaturated`).
fn is_saturated(desired: &Desired, sets: &Sets) -> bool {
    let wanted = desired.replicas;
    let fits = |new: &Set| {
        let was_fitted = new.annotation_number(DESIRED) == Some(wanted);
        was_fitted && new.replicas() == wanted && new.count("availableReplicas") == wanted
    };
    sets.new.as_ref().is_some_and(fits)
}

/// Shares growth or shrinking among the active ReplicaSets in proportion to their sizes; the largest takes what rounding leaves.
fn plan_proportions(deployment: &Object, desired: &Desired, sets: &mut Sets) {
    let allowed = match desired.replicas {
        0 => 0,
        replicas => replicas + desired.max_surge(),
    };
    let to_add = allowed - sets.sum(Set::replicas);
    let before = deployment.number("/status/replicas").unwrap_or(0);
    let mut active: Vec<_> = sets.all_mut().filter(|set| set.replicas() > 0).collect();
    // Growth favours the newer of two equals, shrinking takes from the older.
    active.sort_by_cached_key(|set| set.wanted.creation_timestamp());
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|set| Reverse(set.replicas()));
    let mut added = 0;
    let mut sizes = Vec::new();
    for set in &active {
        let share = plan_share(set, desired, before, to_add - added);
        added += share;
        sizes.push(set.replicas() + share);
    }
    if let Some(largest) = sizes.first_mut() {
        *largest += to_add - added;
    }
    for (set, size) in active.into_iter().zip(sizes) {
        set.scale(size, desired);
    }
}

/// What one ReplicaSet gets or gives (`GetReplicaSetProportion`), of `left` at most.
fn plan_share(set: &Set, desired: &Desired, replicas_before: i64, left: i64) -> i64 {
    let share = match desired.replicas {
        0 => -set.replicas(),
        replicas => {
            let base = set
                .annotation_number(MAX)
                .filter(|max| *max > 0)
                .unwrap_or(replicas_before);
            let grown = set.replicas() * (replicas + desired.max_surge());
            // Rounded to the nearest, half up: both are positive.
            let target = (2 * grown + base).checked_div(2 * base).unwrap_or(set.replicas());
            target - set.replicas()
        }
    };
    if left > 0 {
        share.clamp(0, left)
    } else {
        share.clamp(left, 0)
    }
}
