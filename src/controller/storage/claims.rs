//! A claim's way to its volume: one that fits, or one made for it; then the claim names it, and is bound (`syncClaim`).
//!
//! A step at a time: each is a write of its own, and the change that it makes calls for the next.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::IS_DEFAULT;
use super::volumes::claim_of;
use crate::controller::Controller;
use crate::controller::plan::{Plan, Write};
use crate::controller::pods::{is_terminal, kind_of_pods};
use crate::event::EventKind;
use crate::model::storage::{
    DATA_FINALIZER, DEFAULT_CLASS, PROVISIONED_BY, PROVISIONER, VOLUME_PROTECTION, claims_of, kind_of_claims,
    kind_of_classes, kind_of_volumes, provisioned_path, volume_name, volume_path,
};
use crate::model::{Key, LabelSelector, Object, Quantity, list_at};
use crate::store::{Change, Store};

/// Holds a claim while a pod uses it.
const PROTECTION: &str = "kubernetes.io/pvc-protection";
/// On a claim: it was bound, so that a volume that is missing was lost and not late.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";

pub(in crate::controller) struct Claims;

impl Controller for Claims {
    fn name(&self) -> &'static str {
        "persistentvolume-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let claims = store.list(kind_of_claims(), None).items;
        claims.iter().map(|claim| claim.key().clone()).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        match object.kind() {
            kind if kind == kind_of_claims() => vec![object.key().clone()],
            kind if kind == kind_of_pods() => {
                let names: BTreeSet<String> = [Some(object), change.old.as_ref()]
                    .into_iter()
                    .flatten()
                    .flat_map(|pod| claims_of(pod))
                    .collect();
                let key = |name| Key::new(kind_of_claims(), &object.key().namespace, name);
                names.into_iter().map(key).collect()
            }
            kind if kind == kind_of_volumes() && claim_of(object).is_some() => claim_of(object).into_iter().collect(),
            // What is new may be what somebody waits for.
            kind if kind == kind_of_volumes() || kind == kind_of_classes() => self.all(store),
            _ => Vec::new(),
        }
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let Some(claim) = store.get(key) else {
            return Plan::default();
        };
        let pods = store.list(kind_of_pods(), Some(&key.namespace)).items;
        let around = Around {
            volumes: store.list(kind_of_volumes(), None).items,
            classes: store.list(kind_of_classes(), None).items,
            is_used: pods
                .iter()
                .any(|pod| !is_terminal(pod) && claims_of(pod).contains(&key.name)),
        };
        plan_claim(&claim, &around)
    }
}

/// What a claim finds.
#[derive(Debug, Default)]
pub(super) struct Around {
    pub(super) volumes: Vec<Arc<Object>>,
    pub(super) classes: Vec<Arc<Object>>,
    /// Whether a pod names it that has not ended.
    pub(super) is_used: bool,
}

impl Around {
    fn volume(&self, name: &str) -> Option<&Object> {
        let found = self.volumes.iter().find(|volume| volume.key().name == name);
        found.map(AsRef::as_ref)
    }

    fn class(&self, name: &str) -> Option<&Object> {
        let found = self.classes.iter().find(|class| class.key().name == name);
        found.map(AsRef::as_ref)
    }

    /// Where the volumes of a class of ours lie: with those of the node's own, if it does not say.
    fn directory<'a>(&'a self, class: &'a Object) -> &'a Path {
        let own = || {
            self.class(DEFAULT_CLASS)
                .map_or("", |class| class.text("/parameters/path"))
        };
        match class.text("/parameters/path") {
            "" => Path::new(own()),
            path => Path::new(path),
        }
    }

    /// The class of claims that name none: the newest of those that say they are.
    fn default_class(&self) -> Option<&Object> {
        let is_default = |class: &&Arc<Object>| class.annotations().get(IS_DEFAULT) == Some(&"true");
        let defaults = self.classes.iter().filter(is_default);
        let newest = defaults.max_by_key(|class| (class.creation_timestamp(), Reverse(class.key().name.clone())));
        newest.map(AsRef::as_ref)
    }
}

pub(super) fn plan_claim(claim: &Object, around: &Around) -> Plan {
    let is_protected = claim.finalizers().contains(&PROTECTION);
    if claim.is_deleting() {
        return match is_protected && !around.is_used {
            true => vec![Write::release(claim, PROTECTION)].into(),
            false => Plan::default(),
        };
    }
    if !is_protected {
        return vec![Write::hold(claim, PROTECTION)].into();
    }
    match claim.text("/spec/volumeName") {
        "" => plan_unbound(claim, around),
        name => plan_named(claim, name, around),
    }
}

/// A claim without a volume: it takes the one that is kept for it or fits it best, or gets one made.
fn plan_unbound(claim: &Object, around: &Around) -> Plan {
    if claim.at("/spec/storageClassName").is_none_or(Value::is_null)
        && let Some(class) = around.default_class()
    {
        let mut wanted = claim.clone();
        wanted.value_mut()["spec"]["storageClassName"] = class.key().name.as_str().into();
        return vec![Write::Update(wanted)].into();
    }
    let candidates = around.volumes.iter().filter(|volume| fits(volume, claim));
    let is_kept = |volume: &Object| claim_of(volume).is_some();
    let best = candidates.min_by_key(|volume| (!is_kept(volume), capacity(volume), volume.key().name.clone()));
    match best {
        Some(volume) if volume.text("/spec/claimRef/uid") == claim.uid() => named(claim, volume),
        Some(volume) => promised(claim, volume),
        None => plan_provision(claim, around),
    }
}

/// A claim that names its volume: taken if nobody else has it, and then bound.
fn plan_named(claim: &Object, name: &str, around: &Around) -> Plan {
    let Some(volume) = around.volume(name) else {
        let was_bound = claim.annotations().contains_key(BIND_COMPLETED);
        let phase = if was_bound { "Lost" } else { "Pending" };
        let mut plan = plan_phase(claim, phase);
        if was_bound && !plan.steps.is_empty() {
            let message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!".to_owned();
            plan.tell(EventKind::Warning, "ClaimLost", message);
        }
        return plan;
    };
    let owner = (claim_of(volume), volume.text("/spec/claimRef/uid"));
    match owner {
        (Some(key), uid) if key == *claim.key() && uid == claim.uid() => plan_bound(claim, volume, around),
        (Some(key), "") if key == *claim.key() => promised(claim, volume),
        (None, _) => promised(claim, volume),
        (Some(_), _) => {
            let mut plan = plan_phase(claim, "Pending");
            let message = format!("volume {name:?} already bound to a different claim.");
            plan.tell(EventKind::Warning, "FailedBinding", message);
            plan
        }
    }
}

/// The claim's status is what its volume is; a volume of ours grows with what is asked for.
fn plan_bound(claim: &Object, volume: &Object, around: &Around) -> Plan {
    if !claim.annotations().contains_key(BIND_COMPLETED) {
        return named(claim, volume);
    }
    let (asked, has) = (request(claim), capacity(volume));
    let mut plan = Plan::default();
    if asked > has {
        let class = around.class(claim.text("/spec/storageClassName"));
        let may_grow = class.and_then(|class| class.at("/allowVolumeExpansion")) == Some(&Value::Bool(true));
        if may_grow && provisioned_path(volume).is_some() {
            let mut wanted = volume.clone();
            wanted.value_mut()["spec"]["capacity"]["storage"] = claim.text(REQUEST).into();
            return vec![Write::Update(wanted)].into();
        }
        let message = "only dynamically provisioned volumes of a class that allows it can be resized".to_owned();
        plan.tell(EventKind::Warning, "VolumeResizeFailed", message);
    }
    let mut wanted = claim.clone();
    let status = &mut wanted.value_mut()["status"];
    status["phase"] = "Bound".into();
    status["accessModes"] = volume.value()["spec"]["accessModes"].clone();
    status["capacity"] = volume.value()["spec"]["capacity"].clone();
    plan.write_status(claim, wanted);
    plan
}

const REQUEST: &str = "/spec/resources/requests/storage";

fn request(claim: &Object) -> Option<Quantity> {
    Quantity::parse(claim.text(REQUEST))
}

fn capacity(volume: &Object) -> Option<Quantity> {
    Quantity::parse(volume.text("/spec/capacity/storage"))
}

/// Whether a volume can be a claim's (`volume.FindMatchingVolume`).
fn fits(volume: &Object, claim: &Object) -> bool {
    let uid = volume.text("/spec/claimRef/uid");
    let is_free = match claim_of(volume) {
        Some(key) => key == *claim.key() && (uid.is_empty() || uid == claim.uid()),
        None => true,
    };
    let modes = list_at(volume.value(), "/spec/accessModes");
    let has_modes = list_at(claim.value(), "/spec/accessModes")
        .iter()
        .all(|mode| modes.contains(mode));
    let mode = |object: &Object| match object.text("/spec/volumeMode") {
        "" => "Filesystem".to_owned(),
        mode => mode.to_owned(),
    };
    let selector = claim.at("/spec/selector").map(LabelSelector::from_json);
    let is_chosen = selector.is_none_or(|selector| selector.is_ok_and(|selector| selector.matches(&volume.labels())));
    is_free
        && !volume.is_deleting()
        && volume.text("/spec/storageClassName") == claim.text("/spec/storageClassName")
        && mode(volume) == mode(claim)
        && has_modes
        && is_chosen
        && capacity(volume) >= request(claim)
}

/// The volume is the claim's, which it does not know yet.
fn promised(claim: &Object, volume: &Object) -> Plan {
    let mut wanted = volume.clone();
    wanted.value_mut()["spec"]["claimRef"] = reference(claim);
    vec![Write::Update(wanted)].into()
}

fn reference(claim: &Object) -> Value {
    let key = claim.key();
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "namespace": key.namespace, "name": key.name, "uid": claim.uid(),
    })
}

/// The claim knows its volume.
fn named(claim: &Object, volume: &Object) -> Plan {
    let mut wanted = claim.clone();
    wanted.value_mut()["spec"]["volumeName"] = volume.key().name.as_str().into();
    let annotations = wanted.metadata_mut().entry("annotations").or_insert_with(|| json!({}));
    annotations[BIND_COMPLETED] = "yes".into();
    if claim.text("/spec/volumeName").is_empty() {
        annotations["pv.kubernetes.io/bound-by-controller"] = "yes".into();
    }
    vec![Write::Update(wanted)].into()
}

/// Makes a volume, if its class is one of the node's; else says what the claim waits for.
fn plan_provision(claim: &Object, around: &Around) -> Plan {
    let mut plan = plan_phase(claim, "Pending");
    let name = claim.text("/spec/storageClassName");
    let (kind, reason, message) = match around.class(name) {
        _ if name.is_empty() => (
            EventKind::Normal,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set".to_owned(),
        ),
        None => (
            EventKind::Warning,
            "ProvisioningFailed",
            format!("storageclass.storage.k8s.io {name:?} not found"),
        ),
        Some(class) if class.text("/provisioner") != PROVISIONER => (
            EventKind::Normal,
            "ExternalProvisioning",
            format!(
                "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system \
                 administrator; this node makes volumes of classes whose provisioner is {PROVISIONER}",
                class.text("/provisioner")
            ),
        ),
        Some(class) if class.text("/volumeBindingMode") == "WaitForFirstConsumer" && !around.is_used => (
            EventKind::Normal,
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding".to_owned(),
        ),
        Some(class) => match new_volume(claim, class, around.directory(class)) {
            Ok(volume) => {
                let message = format!("Successfully provisioned volume {}", volume.key().name);
                plan.write(Write::Create(volume));
                (EventKind::Normal, "ProvisioningSucceeded", message)
            }
            Err(why) => (
                EventKind::Warning,
                "ProvisioningFailed",
                format!("failed to provision volume with StorageClass {name:?}: {why}"),
            ),
        },
    };
    plan.tell(kind, reason, message);
    plan
}

/// A directory for a claim, below that of its class.
fn new_volume(claim: &Object, class: &Object, directory: &Path) -> Result<Object, &'static str> {
    if !directory.is_absolute() {
        return Err("parameters.path of the class is no absolute path");
    }
    if claim.text("/spec/volumeMode") == "Block" {
        return Err("block volume provisioning is not supported");
    }
    if claim.at("/spec/selector").is_some() {
        return Err("claim.Spec.Selector is not supported");
    }
    let policy = match class.text("/reclaimPolicy") {
        "" => "Delete",
        policy => policy,
    };
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [VOLUME_PROTECTION, DATA_FINALIZER],
        },
        "spec": {
            "capacity": {"storage": claim.text(REQUEST)},
            "accessModes": claim.value()["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": class.key().name,
            "volumeMode": "Filesystem",
            "hostPath": {"path": volume_path(directory, claim), "type": "DirectoryOrCreate"},
            "claimRef": reference(claim),
        },
        "status": {"phase": "Pending"},
    });
    Ok(Object::new(volume).expect("a volume with a name"))
}

fn plan_phase(claim: &Object, phase: &str) -> Plan {
    let mut wanted = claim.clone();
    wanted.value_mut()["status"]["phase"] = phase.into();
    let mut plan = Plan::default();
    plan.write_status(claim, wanted);
    plan
}
