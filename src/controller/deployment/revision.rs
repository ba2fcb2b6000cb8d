//! Versions of the pod template: which ReplicaSet is which, what a new one looks like, how they are numbered, and which are old
//! enough to go.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::desired::{Desired, Strategy};
use super::sets::{Set, Sets};
use crate::controller::claim::controller_reference;
use crate::controller::name;
use crate::model::Object;

/// The label that tells the pods of one ReplicaSet from those of another.
const HASH_LABEL: &str = "pod-template-hash";

/// The number of a version; `kubectl rollout history` and `undo` go by it.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";

/// Numbers that a ReplicaSet had before it became the new one again.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";

/// `revision-history` is cut from its old end to this length (`maxRevHistoryLengthInChars`).
const REVISION_HISTORY_LIMIT: usize = 2000;

/// Annotations of a Deployment that are about the Deployment itself and not copied to its ReplicaSets.
const NOT_COPIED: [&str; 7] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    // The mark by which a source knows its own objects (`model::SOURCE`).
    "kubelocal.dev/source",
    REVISION,
    REVISION_HISTORY,
    super::sets::DESIRED,
    super::sets::MAX,
    "deprecated.deployment.rollback.to",
];

/// What making a ReplicaSet for the present template came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewSet {
    /// There is one.
    Found,
    /// One is made in this pass.
    Made,
    /// Its name belongs to another: the hash must change.
    NameTaken,
}

/// Whether a ReplicaSet's template is the Deployment's (`deploymentutil.EqualIgnoreHash`).
pub(super) fn has_template(set: &Object, deployment: &Object) -> bool {
    let template = |object: &Object| object.at("/spec/template").map(without_hash).unwrap_or_default();
    template(set) == template(deployment)
}

/// A template without the hash label and without nulls, which say nothing.
fn without_hash(template: &Value) -> Value {
    let mut plain = without_nulls(template);
    if let Some(labels) = plain.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    plain
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.iter().filter(|(_, value)| !value.is_null());
            said.map(|(name, value)| (name.clone(), without_nulls(value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar.clone(),
    }
}

/// Makes sure that there is a new ReplicaSet. `namesakes` are all ReplicaSets of the namespace.
pub(super) fn ensure_new(deployment: &Object, desired: &Desired, namesakes: &[Arc<Object>], sets: &mut Sets) -> NewSet {
    if sets.new.is_some() {
        return NewSet::Found;
    }
    let set = new_set(deployment);
    if namesakes.iter().any(|other| other.key() == set.key()) {
        return NewSet::NameTaken;
    }
    let mut set = Set::new(set);
    let size = match desired.strategy {
        Strategy::Recreate => desired.replicas,
        Strategy::RollingUpdate { max_surge, .. } => {
            let room = desired.replicas + max_surge - sets.sum(Set::replicas);
            room.clamp(0, desired.replicas)
        }
    };
    set.scale(size, desired);
    sets.new = Some(set);
    NewSet::Made
}

/// A ReplicaSet for the present template, without replicas.
fn new_set(deployment: &Object) -> Object {
    let template = without_nulls(deployment.at("/spec/template").unwrap_or(&Value::Null));
    let hash = name::template_hash(&template, deployment.number("/status/collisionCount"));
    let mut template = template;
    template["metadata"]["labels"][HASH_LABEL] = hash.as_str().into();
    let mut selector = deployment.at("/spec/selector").cloned().unwrap_or_default();
    selector["matchLabels"][HASH_LABEL] = hash.as_str().into();
    let key = deployment.key();
    let mut spec = json!({"replicas": 0, "selector": selector, "template": template});
    if let Some(seconds) = deployment.number("/spec/minReadySeconds").filter(|s| *s != 0) {
        spec["minReadySeconds"] = seconds.into();
    }
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name::hashed(&key.name, &hash),
            "namespace": key.namespace,
            "labels": spec["template"]["metadata"]["labels"],
            "ownerReferences": [controller_reference(deployment)],
        },
        "spec": spec,
        "status": {"replicas": 0},
    });
    Object::new(set).expect("a ReplicaSet with a name")
}

/// Brings the new ReplicaSet up to date with what the Deployment says beside its template: annotations, the next revision number,
/// minReadySeconds (`deploymentutil.SetNewReplicaSetAnnotations`).
pub(super) fn sync_new(deployment: &Object, desired: &Desired, sets: &mut Sets) {
    let newest_old = sets.old.iter().filter_map(|set| set.annotation_number(REVISION)).max();
    let Some(new) = &mut sets.new else {
        return;
    };
    for (name, value) in deployment.annotations() {
        if !NOT_COPIED.contains(&name) {
            new.annotate(name, value);
        }
    }
    let next = newest_old.unwrap_or(0) + 1;
    let before = new.annotation(REVISION).map(str::to_owned);
    if before.as_deref().and_then(|n| n.parse().ok()).unwrap_or(0) < next {
        new.annotate(REVISION, &next.to_string());
        if let Some(before) = before {
            let history = new.annotation(REVISION_HISTORY).unwrap_or_default();
            new.annotate(REVISION_HISTORY, &longer_history(history, &before));
        }
    }
    let min_ready = new.wanted.number("/spec/minReadySeconds").unwrap_or(0);
    if min_ready != desired.min_ready_seconds {
        new.wanted.value_mut()["spec"]["minReadySeconds"] = desired.min_ready_seconds.into();
    }
}

fn longer_history(history: &str, revision: &str) -> String {
    let mut numbers: Vec<_> = history.split(',').filter(|n| !n.is_empty()).collect();
    numbers.push(revision);
    let mut joined = numbers.join(",");
    while joined.len() > REVISION_HISTORY_LIMIT {
        let oldest_end = joined.find(',').map_or(joined.len(), |comma| comma + 1);
        joined.drain(..oldest_end);
    }
    joined
}

/// The old ReplicaSets beyond the history limit that nothing runs in any more (`cleanupDeployment`).
pub(super) fn plan_cleanup(desired: &Desired, sets: &Sets) -> Vec<Object> {
    let mut old: Vec<_> = sets.old.iter().filter(|set| !set.wanted.is_deleting()).collect();
    let surplus = desired.history.map_or(0, |limit| old.len().saturating_sub(limit));
    old.sort_by_key(|set| set.annotation_number(REVISION).unwrap_or(0));
    let is_empty = |set: &&&Set| {
        let is_observed = set.count("observedGeneration") >= set.wanted.generation();
        set.replicas() == 0 && set.count("replicas") == 0 && is_observed
    };
    let outdated = old.iter().take(surplus).filter(is_empty);
    outdated.map(|set| set.wanted.clone()).collect()
}
