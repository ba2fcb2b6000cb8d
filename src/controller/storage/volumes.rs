//! A volume's phase and its end: it is there for anybody, somebody's, or what became of it once its claim went
//! (`syncVolume`, `reclaimVolume`).

use crate::controller::Controller;
use crate::controller::plan::{Plan, Write};
use crate::event::EventKind;
use crate::model::storage::{VOLUME_PROTECTION, kind_of_claims, kind_of_volumes, provisioned_path};
use crate::model::{Key, Object, whole_second};
use crate::store::{Change, Store};
use jiff::Timestamp;

pub(in crate::controller) struct Volumes;

impl Controller for Volumes {
    fn name(&self) -> &'static str {
        "persistentvolume-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let volumes = store.list(kind_of_volumes(), None).items;
        volumes.iter().map(|volume| volume.key().clone()).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if object.kind() == kind_of_volumes() {
            return vec![object.key().clone()];
        }
        if object.kind() != kind_of_claims() {
            return Vec::new();
        }
        let volumes = store.list(kind_of_volumes(), None).items;
        let is_its = |volume: &&std::sync::Arc<Object>| claim_of(volume).as_ref() == Some(object.key());
        volumes
            .iter()
            .filter(is_its)
            .map(|volume| volume.key().clone())
            .collect()
    }

    fn plan(&self, store: &Store, key: &Key, now: Timestamp) -> Plan {
        let Some(volume) = store.get(key) else {
            return Plan::default();
        };
        let claim = claim_of(&volume).and_then(|key| store.get(&key));
        plan_volume(&volume, claim.as_deref(), now)
    }
}

/// The claim that a volume is for.
pub(super) fn claim_of(volume: &Object) -> Option<Key> {
    let name = volume.text("/spec/claimRef/name");
    let claim = || Key::new(kind_of_claims(), volume.text("/spec/claimRef/namespace"), name);
    (!name.is_empty()).then(claim)
}

/// What a volume is to somebody who looks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Anybody's, or kept for a claim that has not come.
    Free,
    /// A claim is about to take it.
    Promised,
    /// A claim has it.
    Taken,
    /// The claim that had it is gone, or took another.
    Left,
}

fn standing(volume: &Object, claim: Option<&Object>) -> Standing {
    let uid = volume.text("/spec/claimRef/uid");
    if uid.is_empty() {
        return Standing::Free;
    }
    match claim
        .filter(|claim| claim.uid() == uid)
        .map(|claim| claim.text("/spec/volumeName"))
    {
        Some(name) if name == volume.key().name => Standing::Taken,
        Some("") => Standing::Promised,
        Some(_) | None => Standing::Left,
    }
}

/// Keeps a volume's phase true, and ends it when it was made for a claim that is gone.
pub(super) fn plan_volume(volume: &Object, claim: Option<&Object>, now: Timestamp) -> Plan {
    let standing = standing(volume, claim);
    let is_protected = volume.finalizers().contains(&VOLUME_PROTECTION);
    if volume.is_deleting() {
        return match is_protected && !matches!(standing, Standing::Taken | Standing::Promised) {
            true => vec![Write::release(volume, VOLUME_PROTECTION)].into(),
            false => Plan::default(),
        };
    }
    if !is_protected {
        return vec![Write::hold(volume, VOLUME_PROTECTION)].into();
    }
    let is_removed = volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete";
    let mut plan = Plan::default();
    let phase = match standing {
        Standing::Free => "Available",
        // The claim is next; until then it looks as it did.
        Standing::Promised => return plan,
        Standing::Taken => "Bound",
        Standing::Left if is_removed && provisioned_path(volume).is_some() => {
            plan.write(Write::delete(volume));
            return plan;
        }
        Standing::Left if is_removed => "Failed",
        Standing::Left => "Released",
    };
    if volume.text("/status/phase") != phase {
        plan.write_status(volume, in_phase(volume, phase, now));
        if phase == "Failed" {
            let message = "it was not made by this node, which therefore removes nothing of it".to_owned();
            plan.tell(EventKind::Warning, "VolumeFailedDelete", message);
        }
    }
    plan
}

fn in_phase(volume: &Object, phase: &str, now: Timestamp) -> Object {
    let mut wanted = volume.clone();
    let status = &mut wanted.value_mut()["status"];
    status["phase"] = phase.into();
    status["lastPhaseTransitionTime"] = whole_second(now).to_string().into();
    wanted
}
