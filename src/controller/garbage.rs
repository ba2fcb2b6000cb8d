//! The garbage collector: what has lost all its owners goes; what is deleted waits for its dependents, or lets go of them, as the
//! deletion asked (`k8s.io/kubernetes/pkg/controller/garbagecollector`). Owners are known by uid: another object of the same name
//! is no owner.
//!
//! The store is whole from the moment it opens, so nothing can look ownerless only because its owner was not read yet.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Controller;
use super::claim::released;
use super::plan::{Plan, Write};
use crate::model::{KINDS, Key, Object, kind};
use crate::store::{Change, ChangeKind, Propagation, Store};

/// Holds an object until its dependents are gone (`metav1.FinalizerDeleteDependents`).
const FOREGROUND: &str = "foregroundDeletion";

/// Holds an object until its dependents have forgotten it (`metav1.FinalizerOrphanDependents`).
const ORPHAN: &str = "orphan";

pub(super) struct Garbage;

impl Controller for Garbage {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let objects = KINDS.iter().flat_map(|kind| store.list(kind, None).items);
        let concerned = objects.filter(|o| has_owners(o) || is_waiting(o, FOREGROUND) || is_waiting(o, ORPHAN));
        concerned.map(|o| o.key().clone()).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        let mut keys = Vec::new();
        if change.kind != ChangeKind::Deleted && matters(change) {
            keys.push(object.key().clone());
        }
        let begins_to_wait = || {
            let was_waiting = change.old.as_ref().is_some_and(|old| is_waiting(old, FOREGROUND));
            is_waiting(object, FOREGROUND) && !was_waiting
        };
        if change.kind == ChangeKind::Deleted || begins_to_wait() {
            keys.extend(store.dependents(object.uid()).iter().map(|o| o.key().clone()));
        }
        // An owner may have waited for it.
        if change.kind == ChangeKind::Deleted || loses_owners(change) {
            let before = change.old.as_deref().unwrap_or(object);
            keys.extend(references(before).iter().filter_map(|owner| owner_key(before, owner)));
        }
        keys.retain(|key| store.get(key).is_some_and(|o| is_concerned(&o)));
        keys
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let Some(object) = store.get(key) else {
            return Plan::default();
        };
        let owners: Vec<_> = references(&object)
            .iter()
            .map(|reference| observe_owner(store, &object, reference))
            .collect();
        plan_garbage(&object, &owners, &store.dependents(object.uid()))
    }
}

/// What has become of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// It is there, or of a kind or place that the node can't look up: not a reason to delete.
    Solid,
    /// It is gone; the name may belong to another by now.
    Gone { uid: String },
    /// It is being deleted and waits for its dependents.
    Waiting { uid: String },
}

/// What is to be done about an object, given its owners in the order of its references, and its dependents.
fn plan_garbage(object: &Object, owners: &[Owner], dependents: &[Arc<Object>]) -> Plan {
    if is_waiting(object, ORPHAN) {
        let mut writes: Vec<_> = dependents.iter().map(|d| Write::Update(released(d, object))).collect();
        writes.push(Write::release(object, ORPHAN));
        return writes.into();
    }
    if is_waiting(object, FOREGROUND) {
        let is_blocked = dependents.iter().any(|d| is_blocking(d, object));
        return match is_blocked {
            true => plan_unblocking(object, owners, dependents),
            false => vec![Write::release(object, FOREGROUND)].into(),
        };
    }
    if object.is_deleting() || owners.is_empty() {
        return Plan::default();
    }
    plan_dependent(object, owners, dependents)
}

/// What is to be done about an object that nobody asked to delete.
fn plan_dependent(object: &Object, owners: &[Owner], dependents: &[Arc<Object>]) -> Plan {
    let lost = |owner: &Owner| match owner {
        Owner::Solid => None,
        Owner::Gone { uid } | Owner::Waiting { uid } => Some(uid.clone()),
    };
    let lost: Vec<_> = owners.iter().filter_map(lost).collect();
    if lost.is_empty() {
        return Plan::default();
    }
    if lost.len() < owners.len() {
        // Someone still owns it: it only forgets the others.
        return vec![Write::Update(without_owners(object, &lost))].into();
    }
    let is_awaited = owners.iter().any(|owner| matches!(owner, Owner::Waiting { .. }));
    let propagation = match (is_awaited && !dependents.is_empty(), object.finalizers()) {
        (true, _) => Propagation::Foreground,
        (false, finalizers) if finalizers.contains(&ORPHAN) => Propagation::Orphan,
        (false, finalizers) if finalizers.contains(&FOREGROUND) => Propagation::Foreground,
        (false, _) => Propagation::Background,
    };
    vec![Write::delete_with(object, propagation)].into()
}

/// Objects that own each other and wait for each other would wait for ever: the one that sees the circle stops blocking.
fn plan_unblocking(object: &Object, owners: &[Owner], dependents: &[Arc<Object>]) -> Plan {
    let waits_for_me = owners.iter().any(|owner| matches!(owner, Owner::Waiting { .. }));
    let waits_too = dependents.iter().any(|d| is_waiting(d, FOREGROUND));
    let mut unblocking = object.clone();
    if waits_for_me && waits_too {
        let owners = unblocking.metadata_mut().get_mut("ownerReferences");
        for owner in owners.and_then(Value::as_array_mut).into_iter().flatten() {
            owner["blockOwnerDeletion"] = json!(false);
        }
    }
    match unblocking == *object {
        true => Plan::default(),
        false => vec![Write::Update(unblocking)].into(),
    }
}

fn observe_owner(store: &Store, object: &Object, reference: &Value) -> Owner {
    let Some(key) = owner_key(object, reference) else {
        return Owner::Solid;
    };
    let uid = reference["uid"].as_str().unwrap_or_default().to_owned();
    match store.get(&key).filter(|owner| owner.uid() == uid) {
        None => Owner::Gone { uid },
        Some(owner) if is_waiting(&owner, FOREGROUND) => Owner::Waiting { uid },
        Some(_) => Owner::Solid,
    }
}

/// Where an owner is to be found; `None` when its kind is not known here, or would need a namespace that `object` does not have.
fn owner_key(object: &Object, reference: &Value) -> Option<Key> {
    let kind = kind(reference["apiVersion"].as_str()?, reference["kind"].as_str()?)?;
    let namespace = object.key().namespace.as_str();
    let is_findable = !kind.namespaced || !namespace.is_empty();
    is_findable.then(|| Key::new(kind, namespace, reference["name"].as_str().unwrap_or_default()))
}

fn references(object: &Object) -> &[Value] {
    let owners = object.at("/metadata/ownerReferences").and_then(Value::as_array);
    owners.map_or(&[], Vec::as_slice)
}

fn has_owners(object: &Object) -> bool {
    !references(object).is_empty()
}

fn is_concerned(object: &Object) -> bool {
    has_owners(object) || is_waiting(object, FOREGROUND) || is_waiting(object, ORPHAN)
}

/// Whether a deletion of it is under way that `finalizer` stands for.
fn is_waiting(object: &Object, finalizer: &str) -> bool {
    object.is_deleting() && object.finalizers().contains(&finalizer)
}

fn is_blocking(dependent: &Object, owner: &Object) -> bool {
    let blocks = |r: &&Value| r["uid"] == owner.uid() && r["blockOwnerDeletion"] == true;
    references(dependent).iter().any(|r| blocks(&r))
}

/// Whether a change is one of owners, deletion or finalizers. Most are not.
fn matters(change: &Change) -> bool {
    let object = &change.object;
    let is_same = |old: &Object| {
        references(old) == references(object)
            && old.is_deleting() == object.is_deleting()
            && old.finalizers() == object.finalizers()
    };
    !change.old.as_deref().is_some_and(is_same)
}

fn loses_owners(change: &Change) -> bool {
    let old = change.old.as_deref();
    old.is_some_and(|old| references(old) != references(&change.object))
}

fn without_owners(object: &Object, lost: &[String]) -> Object {
    let mut kept = object.clone();
    let owners = kept.metadata_mut().get_mut("ownerReferences");
    if let Some(owners) = owners.and_then(Value::as_array_mut) {
        owners.retain(|owner| !lost.iter().any(|uid| owner["uid"] == uid.as_str()));
    }
    kept
}
