//! What a pod's claims have against its running now (plugins `VolumeBinding` and `VolumeRestrictions`). Pure.

use std::sync::Arc;

use super::{Place, Refusal, World};
use crate::model::{Object, list_at, text_at};

/// Why the claims that a pod names keep it from the node. Those that are made for it are made when they are looked for.
pub(super) fn refusal(pod: &Object, place: &Place<'_>, world: World<'_>) -> Option<Refusal> {
    named(pod).find_map(|name| {
        let is_it = |claim: &&Arc<Object>| claim.key().name == name && claim.key().namespace == pod.key().namespace;
        match world.claims.iter().find(is_it) {
            None => Some(Refusal::of_pod(format!("persistentvolumeclaim {name:?} not found"))),
            Some(claim) => unusable(claim, world).or_else(|| taken(pod, claim, place)),
        }
    })
}

fn named(pod: &Object) -> impl Iterator<Item = &str> {
    let volumes = list_at(pod.value(), "/spec/volumes").iter();
    volumes
        .map(|volume| text_at(volume, "/persistentVolumeClaim/claimName"))
        .filter(|name| !name.is_empty())
}

/// A claim of a class that binds at once waits for its volume before any pod does; of another it waits for the pod.
fn unusable(claim: &Object, world: World<'_>) -> Option<Refusal> {
    let name = &claim.key().name;
    if claim.is_deleting() {
        return Some(Refusal::of_pod(format!(
            "persistentvolumeclaim {name:?} is being deleted"
        )));
    }
    let class = claim.text("/spec/storageClassName");
    let is_late =
        |found: &&Arc<Object>| found.key().name == class && found.text("/volumeBindingMode") == "WaitForFirstConsumer";
    match claim.text("/status/phase") {
        "Bound" => None,
        "Lost" => {
            let volume = claim.text("/spec/volumeName");
            let text = format!("persistentvolumeclaim {name:?} bound to non-existing persistentvolume {volume:?}");
            Some(Refusal::of_pod(text))
        }
        _ if world.storage_classes.iter().any(|found| is_late(&found)) => None,
        _ => Some(Refusal::of_pod(
            "pod has unbound immediate PersistentVolumeClaims".to_owned(),
        )),
    }
}

/// A claim that one pod may use at a time.
fn taken(pod: &Object, claim: &Object, place: &Place<'_>) -> Option<Refusal> {
    let modes = list_at(claim.value(), "/spec/accessModes");
    let uses = |other: &&Arc<Object>| {
        other.key().namespace == pod.key().namespace && named(other).any(|name| name == claim.key().name)
    };
    let is_taken =
        modes.iter().any(|mode| mode == "ReadWriteOncePod") && place.placed.iter().copied().any(|o| uses(&o));
    is_taken.then(|| {
        Refusal::resolvable(
            "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
        )
    })
}
