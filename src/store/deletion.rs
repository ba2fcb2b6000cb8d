//! What a deletion comes to: refused, done at once, or a mark and a wait. Pure.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::state::State;
use super::verbs::{DeleteOptions, Precondition, Propagation, StoreError, keeps_generation};
use crate::model::{Key, Object, object_time};

/// Namespaces that stay (`NamespaceLifecycle` admission, `immortalNamespaces`).
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The object that a deletion is about, if it may be deleted.
pub(super) fn deletable(state: &State, key: &Key, options: &DeleteOptions) -> Result<Arc<Object>, StoreError> {
    if key.kind().kind == "Namespace" && IMMORTAL.contains(&key.name.as_str()) {
        return Err(StoreError::Immortal(key.clone()));
    }
    let old = state.get(key).ok_or_else(|| StoreError::NotFound(key.clone()))?;
    check_precondition(&old, &options.precondition)?;
    Ok(old)
}

fn check_precondition(object: &Object, wanted: &Precondition) -> Result<(), StoreError> {
    let checks = [("UID", &wanted.uid, object.uid()), {
        let have = object.text("/metadata/resourceVersion");
        ("ResourceVersion", &wanted.resource_version, have)
    }];
    for (what, wanted, have) in checks {
        if let Some(wanted) = wanted.as_deref().filter(|w| *w != have) {
            let why = format!("the {what} in the precondition ({wanted}) does not match the {what} in record ({have})");
            return Err(StoreError::Conflict {
                key: object.key().clone(),
                why,
            });
        }
    }
    Ok(())
}

/// What a deletion makes of the object: marked, or `None` when it is to go at once.
pub(super) fn plan_deletion(old: &Object, options: &DeleteOptions, now: Timestamp) -> Option<Object> {
    let grace = plan_grace(old, options);
    let finalizer = match options.propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some("foregroundDeletion"),
        Propagation::Orphan => Some("orphan"),
    };
    let mut marked = Object::clone(old);
    if let Some(finalizer) = finalizer.filter(|f| !old.is_deleting() && !old.finalizers().contains(f)) {
        marked.add_finalizer(finalizer);
    }
    if grace == 0 && !is_held(&marked) {
        return None;
    }
    mark(&mut marked, old, grace, now);
    Some(marked)
}

/// Seconds until a deletion takes effect. It only shrinks.
fn plan_grace(old: &Object, options: &DeleteOptions) -> i64 {
    if !waits_for_containers(old) {
        return 0;
    }
    let own = old.number("/spec/terminationGracePeriodSeconds").unwrap_or(30);
    let asked = options.grace_seconds.map_or(own, |s| if s < 0 { 1 } else { s });
    old.number("/metadata/deletionGracePeriodSeconds")
        .map_or(asked, |present| present.min(asked))
}

/// Whether it is a pod that the node may have started: its end takes time. Every pod is on this node, so every pod is.
pub(super) fn waits_for_containers(object: &Object) -> bool {
    object.kind().kind == "Pod"
}

/// Whether something must let go of it before it can be removed. Finalizers stand in `metadata`, but for kinds older than those
/// there (Namespace) in `spec`.
pub(super) fn is_held(object: &Object) -> bool {
    let in_spec = object.at("/spec/finalizers").and_then(Value::as_array);
    !object.finalizers().is_empty() || in_spec.is_some_and(|list| !list.is_empty())
}

fn mark(marked: &mut Object, old: &Object, grace: i64, now: Timestamp) {
    let deadline = now
        .saturating_add(SignedDuration::from_secs(grace))
        .expect("a duration of seconds has no units to refuse");
    let deadline = old
        .deletion_timestamp()
        .map_or(deadline, |present| present.min(deadline));
    let is_shorter = old
        .number("/metadata/deletionGracePeriodSeconds")
        .is_none_or(|present| grace < present);
    if is_shorter {
        let generation = old.generation();
        let counts = !old.is_deleting() && keeps_generation(old);
        let metadata = marked.metadata_mut();
        metadata.insert("deletionTimestamp".into(), object_time(deadline).into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if counts {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
}
