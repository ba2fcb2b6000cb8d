//! Which pods may run on the node, and which wait: the decisions of kube-scheduler's default plugins where there is one node to choose
//! from. Pure: `bind` carries them out.

mod affinity;
mod bind;
mod claims;
mod preempt;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::ports;
use super::pressure::is_borne;
use crate::model::{Key, Object, Quantity, class_priority, is_terminal, list_at, text_at};
pub(super) use bind::run_schedule;
pub(super) use requests::{Requests, given_to, read, requests_of};
use requests::{add, held_by};

/// Everything that decisions are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct World<'a> {
    /// The node as its object says it is. Without one every pod fits.
    pub node: Option<&'a Object>,
    /// All pods that there are.
    pub pods: &'a [Arc<Object>],
    /// All PriorityClasses.
    pub classes: &'a [Arc<Object>],
    /// All namespaces.
    pub namespaces: &'a [Arc<Object>],
    /// All PersistentVolumeClaims.
    pub claims: &'a [Arc<Object>],
    /// All StorageClasses.
    pub storage_classes: &'a [Arc<Object>],
}

/// What becomes of a pod that is on no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It runs here.
    Bind,
    /// It waits until somebody takes its gates away (`spec.schedulingGates`).
    Gated,
    /// It waits; why, as upstream's `FitError` says it.
    Wait(String),
    /// It waits for these to give way.
    Preempt {
        /// Less important pods.
        victims: Vec<Key>,
        /// Why it waits.
        message: String,
    },
}

/// A pod, what becomes of it, and how important it is.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub pod: Arc<Object>,
    pub decision: Decision,
    pub priority: i64,
}

/// Why a pod does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    text: String,
    /// Whether it could if others were not there.
    is_resolvable: bool,
    /// Whether it is about the pod, whatever node: nodes are then not counted (`PreFilterMsg`).
    is_of_pod: bool,
}

impl Refusal {
    fn resolvable(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_resolvable: true,
            is_of_pod: false,
        }
    }

    fn lasting(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_resolvable: false,
            is_of_pod: false,
        }
    }

    fn of_pod(text: String) -> Self {
        Self {
            text,
            is_resolvable: false,
            is_of_pod: true,
        }
    }
}

/// The decisions about all pods that are on no node, the most important first, the older before the younger.
pub(super) fn plan_schedule(world: World<'_>) -> Vec<Verdict> {
    let is_waiting =
        |pod: &&Arc<Object>| pod.text("/spec/nodeName").is_empty() && !pod.is_deleting() && !is_terminal(pod);
    let mut waiting: Vec<_> = world.pods.iter().filter(is_waiting).collect();
    let priority = |pod: &Object| priority_of(pod, world.classes);
    waiting.sort_by_cached_key(|pod| {
        (
            std::cmp::Reverse(priority(pod)),
            pod.creation_timestamp(),
            pod.uid().to_owned(),
        )
    });
    let mut place = Place::of(world);
    let mut verdicts = Vec::new();
    for pod in waiting {
        verdicts.push(Verdict {
            pod: pod.clone(),
            decision: place.decide(pod, world),
            priority: priority(pod),
        });
    }
    verdicts
}

/// How important a pod is: by its class, or as it was told when it came in.
pub(super) fn priority_of(pod: &Object, classes: &[Arc<Object>]) -> i64 {
    let named = pod.text("/spec/priorityClassName");
    let own = pod.number("/spec/priority").filter(|own| named.is_empty() && *own != 0);
    own.unwrap_or_else(|| class_priority(named, classes))
}

/// Whether a pod is this node's: it is bound to it, or it ran here when the machine had another name.
pub(super) fn is_of(pod: &Object, node: &str) -> bool {
    match pod.text("/spec/nodeName") {
        "" => false,
        named => named == node || pod.at("/status/startTime").is_some(),
    }
}

/// The node while pods are put on it.
struct Place<'a> {
    /// Those that are there, or will be.
    placed: Vec<&'a Arc<Object>>,
    /// What they ask for together.
    used: Requests,
}

impl<'a> Place<'a> {
    fn of(world: World<'a>) -> Self {
        let is_on = |pod: &Object| world.node.is_some_and(|node| is_of(pod, &node.key().name));
        let is_here = |pod: &&Arc<Object>| is_on(pod) && !is_terminal(pod);
        let mut place = Self {
            placed: Vec::new(),
            used: Requests::new(),
        };
        world.pods.iter().filter(is_here).for_each(|pod| place.put(pod));
        place
    }

    fn put(&mut self, pod: &'a Arc<Object>) {
        add(&mut self.used, &held_by(pod));
        self.placed.push(pod);
    }

    fn decide(&mut self, pod: &'a Arc<Object>, world: World<'a>) -> Decision {
        if !list_at(pod.value(), "/spec/schedulingGates").is_empty() {
            return Decision::Gated;
        }
        let Some(node) = world.node else {
            return Decision::Bind;
        };
        let refusals = refusals(pod, node, self, world);
        if refusals.is_empty() {
            self.put(pod);
            return Decision::Bind;
        }
        let decision = preempt::plan(pod, node, self, world, &refusals);
        // What is being freed for it, those after it do not get.
        if matches!(decision, Decision::Preempt { .. }) || !pod.text("/status/nominatedNodeName").is_empty() {
            self.put(pod);
        }
        decision
    }
}

/// Why a pod can't be on the node, by the first plugin that says no.
fn refusals(pod: &Arc<Object>, node: &Object, place: &Place<'_>, world: World<'_>) -> Vec<Refusal> {
    if let Some(refusal) = claims::refusal(pod, place, world).or_else(|| node_refusal(pod, node)) {
        return vec![refusal];
    }
    if let Some(clash) = ports::plan_clash(pod, || place.placed.iter().map(|pod| Arc::clone(pod)).collect()) {
        let text = format!("node(s) didn't have free ports for the requested pod ports ({clash})");
        return vec![Refusal::resolvable(&text)];
    }
    let lacking = lacking(pod, node, place);
    if !lacking.is_empty() {
        return lacking;
    }
    if let Some(refusal) = affinity::spread(pod, node, &place.placed) {
        return vec![refusal];
    }
    let labels = world.namespaces.iter().map(|ns| (ns.key().name.as_str(), ns.labels()));
    let namespaces = labels.collect();
    affinity::pod_affinity(pod, node, &place.placed, &namespaces)
        .into_iter()
        .collect()
}

/// What the node itself has against the pod, or the pod against it.
fn node_refusal(pod: &Object, node: &Object) -> Option<Refusal> {
    let tolerations = list_at(pod.value(), "/spec/tolerations");
    let is_shut = node.at("/spec/unschedulable") == Some(&Value::Bool(true));
    let shut = serde_json::json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    if is_shut && !tolerations.iter().any(|t| tolerates(t, &shut)) {
        return Some(Refusal::lasting("node(s) were unschedulable"));
    }
    let taints = list_at(node.value(), "/spec/taints").iter();
    let hard = taints.filter(|taint| ["NoSchedule", "NoExecute"].contains(&text_at(taint, "/effect")));
    let untolerated = hard
        .into_iter()
        .find(|taint| !tolerations.iter().any(|t| tolerates(t, taint)) && !is_borne(pod, taint));
    if let Some(taint) = untolerated {
        let (key, value) = (text_at(taint, "/key"), text_at(taint, "/value"));
        let text = format!("node(s) had untolerated taint {{{key}: {value}}}");
        return Some(Refusal::lasting(&text));
    }
    let is_wanted = affinity::is_node_wanted(pod, node);
    (!is_wanted).then(|| Refusal::lasting("node(s) didn't match Pod's node affinity/selector"))
}

/// Whether a toleration covers a taint (`Toleration.ToleratesTaint`).
pub(super) fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (text_at(toleration, "/key"), text_at(toleration, "/effect"));
    let is_about =
        (key.is_empty() || key == text_at(taint, "/key")) && (effect.is_empty() || effect == text_at(taint, "/effect"));
    let is_equal = || text_at(toleration, "/value") == text_at(taint, "/value");
    is_about && (text_at(toleration, "/operator") == "Exists" || is_equal())
}

/// What the node has too little of (plugin `NodeResourcesFit`).
fn lacking(pod: &Object, node: &Object, place: &Place<'_>) -> Vec<Refusal> {
    let allocatable = read(node.at("/status/allocatable"));
    let has = |name: &str| allocatable.get(name).copied().unwrap_or(Quantity::ZERO);
    let mut found = Vec::new();
    let count = i64::try_from(place.placed.len() + 1).unwrap_or(i64::MAX);
    if allocatable.contains_key("pods") && Quantity::whole(count) > has("pods") {
        found.push(Refusal::resolvable("Too many pods"));
    }
    for (name, wanted) in requests_of(pod) {
        // The node says nothing of disk space and huge pages; then nobody counts them.
        let is_unknown = !allocatable.contains_key(&name) && !name.contains('/');
        if wanted == Quantity::ZERO || is_unknown {
            continue;
        }
        let used = place.used.get(&name).copied().unwrap_or(Quantity::ZERO);
        if used + wanted > has(&name) {
            found.push(Refusal {
                text: format!("Insufficient {name}"),
                is_resolvable: wanted <= has(&name),
                is_of_pod: false,
            });
        }
    }
    found
}

/// `0/1 nodes are available: 1 Insufficient cpu. preemption: …` (`FitError.Error`).
fn message(refusals: &[Refusal], preemption: &str) -> String {
    let counted = |r: &Refusal| {
        if r.is_of_pod {
            r.text.clone()
        } else {
            format!("1 {}", r.text)
        }
    };
    let reasons: BTreeSet<String> = refusals.iter().map(counted).collect();
    let reasons: Vec<_> = reasons.into_iter().collect();
    let text = format!("0/1 nodes are available: {}.", reasons.join(", "));
    if preemption.is_empty() {
        text
    } else {
        format!("{text} preemption: {preemption}")
    }
}
