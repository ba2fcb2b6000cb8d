//! Which objects a controller manages: those that name it as their controller and still match its selector; it adopts those that
//! match and have none (`k8s.io/kubernetes/pkg/controller`: `ControllerRefManager`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::plan::Write;
use crate::model::{Key, Kind, LabelSelector, Object};
use crate::store::{Change, Store};

/// The outcome of a claim.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Claims {
    /// What the owner manages now, adopted objects included, released ones not.
    pub(super) owned: Vec<Arc<Object>>,
    /// Adoptions and releases.
    pub(super) writes: Vec<Write>,
}

/// Sorts `candidates` (all objects of a kind in the owner's namespace) into those that `owner` manages and others.
pub(super) fn plan_claims(owner: &Object, selector: &LabelSelector, candidates: &[Arc<Object>]) -> Claims {
    let mut claims = Claims::default();
    for candidate in candidates {
        let is_mine = match controller_uid(candidate) {
            Some(uid) if uid != owner.uid() => continue,
            Some(_) => true,
            None => false,
        };
        match (is_mine, selector.matches(&candidate.labels())) {
            (true, true) => claims.owned.push(candidate.clone()),
            // What ends neither takes nor gives: its garbage collection needs the references.
            (true, false) if owner.is_deleting() => {}
            (true, false) => claims.writes.push(Write::Update(released(candidate, owner))),
            (false, true) if !owner.is_deleting() && !candidate.is_deleting() => {
                claims.owned.push(candidate.clone());
                claims.writes.push(Write::Update(adopted(candidate, owner)));
            }
            (false, _) => {}
        }
    }
    claims
}

/// A controller's entry in the ownerReferences of what it makes (`metav1.NewControllerRef`).
pub(super) fn controller_reference(owner: &Object) -> Value {
    json!({
        "apiVersion": owner.kind().api_version(),
        "kind": owner.kind().kind,
        "name": owner.key().name,
        "uid": owner.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The uid of the owner that manages an object. Cheaper than [`Object::controller`]: every claim asks every candidate.
pub(super) fn controller_uid(object: &Object) -> Option<&str> {
    let owners = object.at("/metadata/ownerReferences")?.as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}

/// The key of an object's controller, if that is of `kind`.
pub(super) fn controller_key(object: &Object, kind: &'static Kind) -> Option<Key> {
    let owner = object.controller().filter(|owner| owner.kind == kind.kind)?;
    Some(Key::new(kind, object.key().namespace.as_str(), owner.name))
}

/// The keys of `kind` that manage the object of a change, managed it before it, or may adopt it now.
pub(super) fn claimants(store: &Store, change: &Change, kind: &'static Kind) -> Vec<Key> {
    let object = &change.object;
    let states = [Some(object), change.old.as_ref()];
    let mut keys: Vec<_> = states
        .into_iter()
        .flatten()
        .filter_map(|o| controller_key(o, kind))
        .collect();
    keys.dedup();
    if controller_uid(object).is_none() {
        let labels = object.labels();
        let may_adopt = |o: &&Arc<Object>| selector(o).is_some_and(|s| s.matches(&labels));
        let namesakes = store.list(kind, Some(&object.key().namespace)).items;
        keys.extend(namesakes.iter().filter(may_adopt).map(|o| o.key().clone()));
    }
    keys
}

/// The selector of a controller. One that can't be read, or would match everything, manages nothing; nor does one that does not
/// match the controller's own template: what it makes would never be its own, and it would make more of it for ever.
pub(super) fn selector(controller: &Object) -> Option<LabelSelector> {
    let selector = LabelSelector::from_json(controller.at("/spec/selector")?).ok()?;
    let is_sound = !selector.is_empty() && selector.matches(&template_labels(controller));
    is_sound.then_some(selector)
}

/// The labels of what a controller makes.
pub(super) fn template_labels(controller: &Object) -> BTreeMap<&str, &str> {
    let labels = controller
        .at("/spec/template/metadata/labels")
        .and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect()
}

fn adopted(object: &Object, owner: &Object) -> Object {
    let mut adopted = object.clone();
    let owners = adopted
        .metadata_mut()
        .entry("ownerReferences")
        .or_insert_with(|| json!([]));
    if let Some(owners) = owners.as_array_mut() {
        // It may be there already as an owner that does not manage it.
        owners.retain(|reference| reference["uid"] != owner.uid());
        owners.push(controller_reference(owner));
    }
    adopted
}

/// The object without its reference to `owner`.
pub(super) fn released(object: &Object, owner: &Object) -> Object {
    let mut released = object.clone();
    let metadata = released.metadata_mut();
    if let Some(owners) = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut) {
        owners.retain(|reference| reference["uid"] != owner.uid());
        if owners.is_empty() {
            metadata.remove("ownerReferences");
        }
    }
    released
}
