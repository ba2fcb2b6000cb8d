//! Who gives way to a more important pod (plugin `DefaultPreemption`), on one node.

use std::sync::Arc;

use super::{Decision, Place, Refusal, World, message, priority_of, refusals};
use crate::model::{Key, Object};

/// What a pod does that does not fit: it waits, or others end for it; of those the fewest, and the least important.
pub(super) fn plan(
    pod: &Arc<Object>,
    node: &Object,
    place: &Place<'_>,
    world: World<'_>,
    found: &[Refusal],
) -> Decision {
    let wait = |why: &str| Decision::Wait(message(found, why));
    let class = pod.text("/spec/priorityClassName");
    let of_class = world.classes.iter().find(|found| found.key().name == class);
    let policies = [
        Some(pod.text("/spec/preemptionPolicy")),
        of_class.map(|class| class.text("/preemptionPolicy")),
    ];
    if policies.contains(&Some("Never")) {
        return wait("not eligible due to preemptionPolicy=Never.");
    }
    if found.iter().any(|refusal| !refusal.is_resolvable) {
        return wait("0/1 nodes are available: 1 Preemption is not helpful for scheduling.");
    }
    let own = priority_of(pod, world.classes);
    let is_lesser = |other: &Object| priority_of(other, world.classes) < own;
    if !pod.text("/status/nominatedNodeName").is_empty()
        && place.placed.iter().any(|other| other.is_deleting() && is_lesser(other))
    {
        return wait("not eligible due to a terminating pod on the nominated node.");
    }
    let (mut lesser, mut kept): (Vec<_>, Vec<_>) = place.placed.iter().copied().partition(|other| is_lesser(other));
    let fits = |kept: &[&Arc<Object>]| refusals(pod, node, &place_with(kept), world).is_empty();
    if lesser.is_empty() || !fits(&kept) {
        return wait("0/1 nodes are available: 1 No preemption victims found for incoming pod.");
    }
    // Spared first are the most important, and of those the oldest.
    lesser.sort_by_cached_key(|other| {
        (
            std::cmp::Reverse(priority_of(other, world.classes)),
            other.creation_timestamp(),
        )
    });
    let mut victims: Vec<Key> = Vec::new();
    for other in lesser {
        kept.push(other);
        if !fits(&kept) {
            kept.pop();
            victims.push(other.key().clone());
        }
    }
    Decision::Preempt {
        victims,
        message: message(found, ""),
    }
}

fn place_with<'a>(pods: &[&'a Arc<Object>]) -> Place<'a> {
    let mut place = Place {
        placed: Vec::new(),
        used: super::Requests::new(),
    };
    pods.iter().for_each(|pod| place.put(pod));
    place
}
