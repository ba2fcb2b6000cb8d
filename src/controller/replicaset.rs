//! ReplicaSets: as many pods as asked for, no more and no fewer (`k8s.io/kubernetes/pkg/controller/replicaset`).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Controller;
use super::apply::ApplyError;
use super::claim::{claimants, controller_reference, plan_claims, selector, template_labels};
use super::condition::{Condition, Conditions};
use super::plan::{Plan, Write};
use super::pods::{available_from, deletion_rank, is_active, is_terminal, kind_of_pods, matters, ready_since};
use crate::event::EventKind;
use crate::model::{Key, Kind, LabelSelector, Object, kind, names};
use crate::store::{Change, Store};

/// How many pods one pass makes or deletes at most (`replicaset.BurstReplicas`): others get their turn in between.
const BURST: usize = 500;

/// The condition that says why pods can't be made.
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

pub(super) struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let sets = store.list(kind_of_replica_sets(), None).items;
        sets.iter().map(|set| set.key().clone()).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        match change.object.kind() {
            kind if kind == kind_of_replica_sets() => vec![change.object.key().clone()],
            kind if kind == kind_of_pods() && matters(change) => claimants(store, change, kind_of_replica_sets()),
            _ => Vec::new(),
        }
    }

    fn plan(&self, store: &Store, key: &Key, now: Timestamp) -> Plan {
        let Some(set) = store.get(key) else {
            return Plan::default();
        };
        let pods = store.list(kind_of_pods(), Some(&key.namespace)).items;
        plan_replica_set(&set, &pods, now, &mut names::random_suffix)
    }

    fn plan_failure(&self, store: &Store, key: &Key, error: &ApplyError, now: Timestamp) -> Plan {
        let set = store.get(key);
        set.map_or_else(Plan::default, |set| plan_create_failure(&set, error, now))
    }
}

pub(super) fn kind_of_replica_sets() -> &'static Kind {
    kind("apps/v1", "ReplicaSet").expect("in the table")
}

/// What a ReplicaSet wants, given all pods of its namespace. `random` makes name suffixes.
fn plan_replica_set(set: &Object, pods: &[Arc<Object>], now: Timestamp, random: &mut dyn FnMut() -> String) -> Plan {
    let Some(selector) = selector(set) else {
        return Plan::default();
    };
    let claims = plan_claims(set, &selector, pods);
    let mut plan = Plan::from(claims.writes);
    let active: Vec<_> = claims.owned.iter().filter(|pod| is_active(pod)).cloned().collect();
    let is_ending = |pod: &&Arc<Object>| pod.is_deleting() && !is_terminal(pod);
    let terminating = claims.owned.iter().filter(is_ending).count();
    if !set.is_deleting() {
        plan_replicas(set, &active, pods, random, &mut plan);
    }
    plan_status(set, &active, terminating, now, &mut plan);
    plan
}

/// Makes what is missing, deletes what is too much.
fn plan_replicas(
    set: &Object,
    active: &[Arc<Object>],
    namesakes: &[Arc<Object>],
    random: &mut dyn FnMut() -> String,
    plan: &mut Plan,
) {
    let wanted = usize::try_from(replicas(set)).unwrap_or(0);
    let missing = wanted.saturating_sub(active.len()).min(BURST);
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    if missing > 0 {
        let mut taken: BTreeSet<_> = namesakes.iter().map(|pod| pod.key().name.clone()).collect();
        for _ in 0..missing {
            let pod = new_pod(set, &mut taken, random);
            let message = format!("Created pod: {}", pod.key().name);
            plan.write(Write::Create(pod));
            plan.tell(EventKind::Normal, "SuccessfulCreate", message);
        }
    }
    let mut ranked: Vec<_> = active.iter().collect();
    ranked.sort_by_cached_key(|pod| deletion_rank(pod));
    for pod in ranked.into_iter().take(surplus) {
        plan.write(Write::delete(pod));
        let message = format!("Deleted pod: {}", pod.key().name);
        plan.tell(EventKind::Normal, "SuccessfulDelete", message);
    }
}

/// `spec.replicas`; 1 is its default.
pub(super) fn replicas(set: &Object) -> i64 {
    set.number("/spec/replicas").unwrap_or(1)
}

/// A pod from the template (`controller.GetPodFromTemplate`), under a free name.
fn new_pod(set: &Object, taken: &mut BTreeSet<String>, random: &mut dyn FnMut() -> String) -> Object {
    let base = format!("{}-", set.key().name);
    let name = loop {
        let name = names::generated(&base, &random());
        if taken.insert(name.clone()) {
            break name;
        }
    };
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        let template = set.at("/spec/template/metadata").and_then(|m| m.get(field));
        if let Some(value) = template.filter(|value| !value.is_null()) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    metadata.insert("name".to_owned(), name.into());
    metadata.insert("generateName".to_owned(), base.into());
    metadata.insert("namespace".to_owned(), set.key().namespace.as_str().into());
    metadata.insert("ownerReferences".to_owned(), json!([controller_reference(set)]));
    let spec = set.at("/spec/template/spec").cloned().unwrap_or_else(|| json!({}));
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {"phase": "Pending"},
    });
    Object::new(pod).expect("a Pod with a name")
}

/// The status (`replicaset.calculateStatus`), and when a pod that is ready becomes available.
fn plan_status(set: &Object, active: &[Arc<Object>], terminating: usize, now: Timestamp, plan: &mut Plan) {
    let min_ready_seconds = set.number("/spec/minReadySeconds").unwrap_or(0);
    let template = LabelSelector::from_map(&template_labels(set));
    let count = |is: &dyn Fn(&Object) -> bool| active.iter().filter(|pod| is(pod)).count();
    let is_available = |pod: &Object| available_from(pod, min_ready_seconds).is_some_and(|from| from <= now);
    let mut conditions = Conditions::of(set);
    // The status stands last in the plan: it is written only when nothing before it was refused.
    conditions.remove(REPLICA_FAILURE);
    let counts = [
        ("fullyLabeledReplicas", count(&|pod| template.matches(&pod.labels()))),
        ("readyReplicas", count(&|pod| ready_since(pod).is_some())),
        ("availableReplicas", count(&is_available)),
        ("terminatingReplicas", terminating),
    ];
    let mut status = status_json(set, conditions);
    status.insert("replicas".to_owned(), active.len().into());
    // As upstream's JSON: what is zero is not there.
    for (field, number) in counts.into_iter().filter(|(_, number)| *number > 0) {
        status.insert(field.to_owned(), number.into());
    }
    let mut wanted = set.clone();
    wanted.value_mut()["status"] = status.into();
    plan.write_status(set, wanted);
    let becoming = active.iter().filter_map(|pod| available_from(pod, min_ready_seconds));
    if let Some(next) = becoming.filter(|from| *from > now).min() {
        plan.recheck_at(next);
    }
}

fn status_json(set: &Object, conditions: Conditions) -> Map<String, Value> {
    let mut status = Map::new();
    status.insert("observedGeneration".to_owned(), set.generation().into());
    if let Some(conditions) = conditions.into_json() {
        status.insert("conditions".to_owned(), conditions);
    }
    status
}

/// Tells that a pod could not be made.
fn plan_create_failure(set: &Object, error: &ApplyError, now: Timestamp) -> Plan {
    let mut conditions = Conditions::of(set);
    let failure = Condition {
        kind: REPLICA_FAILURE,
        status: "True",
        reason: "FailedCreate",
        message: error.to_string(),
    };
    conditions.set(failure, now);
    let mut wanted = set.clone();
    wanted.value_mut()["status"]["conditions"] = conditions.into_json().expect("one was just set");
    let mut plan = Plan::default();
    plan.tell(EventKind::Warning, "FailedCreate", format!("Error creating: {error}"));
    plan.write_status(set, wanted);
    plan
}
