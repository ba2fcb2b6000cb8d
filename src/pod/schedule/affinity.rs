//! Selectors that a pod has of nodes and of other pods, on one node: every topology has one domain, or the node is in none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::Refusal;
use crate::model::{LabelSelector, Object, list_at, text_at};

/// `nodeSelector` and the required part of `nodeAffinity` (plugin `NodeAffinity`).
pub(super) fn is_node_wanted(pod: &Object, node: &Object) -> bool {
    let labels = node.labels();
    let selector = pod.at("/spec/nodeSelector").and_then(Value::as_object);
    let has_all = selector.into_iter().flatten().all(|(label, value)| {
        let wanted = value.as_str().unwrap_or_default();
        labels.get(label.as_str()).is_some_and(|present| *present == wanted)
    });
    let required = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let is_matched = match pod.at(required) {
        Some(terms) => list_at(terms, "/nodeSelectorTerms")
            .iter()
            .any(|term| matches_term(term, node, &labels)),
        None => true,
    };
    has_all && is_matched
}

/// A term without any expression matches nothing.
fn matches_term(term: &Value, node: &Object, labels: &BTreeMap<&str, &str>) -> bool {
    let (expressions, fields) = (list_at(term, "/matchExpressions"), list_at(term, "/matchFields"));
    let own = BTreeMap::from([("metadata.name", node.key().name.as_str())]);
    let is_empty = expressions.is_empty() && fields.is_empty();
    !is_empty && expressions.iter().all(|e| holds(e, labels)) && fields.iter().all(|e| holds(e, &own))
}

fn holds(expression: &Value, labels: &BTreeMap<&str, &str>) -> bool {
    let present = labels.get(text_at(expression, "/key")).copied();
    let values = list_at(expression, "/values");
    let is_among = || present.is_some_and(|present| values.iter().any(|value| value == present));
    let compared = || {
        let number = |text: &str| text.parse::<i64>().ok();
        let wanted = values.first().and_then(Value::as_str).and_then(number)?;
        Some(present.and_then(number)?.cmp(&wanted))
    };
    match text_at(expression, "/operator") {
        "In" => is_among(),
        "NotIn" => !is_among(),
        "Exists" => present.is_some(),
        "DoesNotExist" => present.is_none(),
        "Gt" => compared().is_some_and(|order| order.is_gt()),
        "Lt" => compared().is_some_and(|order| order.is_lt()),
        _ => false,
    }
}

/// Required affinity and anti-affinity to the pods that are there, and theirs to this one (plugin `InterPodAffinity`).
pub(super) fn pod_affinity(
    pod: &Object,
    node: &Object,
    placed: &[&Arc<Object>],
    namespaces: &Namespaces,
) -> Option<Refusal> {
    let on_node = |term: &Value| node.labels().contains_key(text_at(term, "/topologyKey"));
    let is_met = |term: &Value, from: &Object, other: &Object| on_node(term) && selects(term, from, other, namespaces);
    for other in placed {
        if terms(other, "podAntiAffinity")
            .iter()
            .any(|term| is_met(term, other, pod))
        {
            let text = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Some(Refusal::resolvable(text));
        }
    }
    let wanted = terms(pod, "podAffinity");
    let has = |term: &Value| placed.iter().any(|other| is_met(term, pod, other));
    // The first of a group that wants to be together has nobody to be with yet.
    let is_first = || {
        let own = wanted
            .iter()
            .all(|term| on_node(term) && selects(term, pod, pod, namespaces));
        own && !wanted.iter().any(has)
    };
    if !wanted.iter().all(has) && !is_first() {
        return Some(Refusal::lasting("node(s) didn't match pod affinity rules"));
    }
    let shunned = terms(pod, "podAntiAffinity");
    let is_shunned = shunned
        .iter()
        .any(|term| placed.iter().any(|other| is_met(term, pod, other)));
    is_shunned.then(|| Refusal::resolvable("node(s) didn't match pod anti-affinity rules"))
}

fn terms<'p>(pod: &'p Object, kind: &str) -> &'p [Value] {
    list_at(
        pod.value(),
        &format!("/spec/affinity/{kind}/requiredDuringSchedulingIgnoredDuringExecution"),
    )
}

/// The labels of namespaces, by name.
pub(super) type Namespaces<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>;

/// Whether a term of `from` speaks of `other`. One without a selector speaks of nobody.
fn selects(term: &Value, from: &Object, other: &Object, namespaces: &Namespaces) -> bool {
    let selector = term.get("labelSelector").map(LabelSelector::from_json);
    let Some(Ok(selector)) = selector else { return false };
    let named = list_at(term, "/namespaces");
    let by_labels = term.get("namespaceSelector").map(LabelSelector::from_json);
    let place = other.key().namespace.as_str();
    let is_in = match &by_labels {
        None if named.is_empty() => place == from.key().namespace,
        by_labels => {
            let chosen = by_labels.as_ref().and_then(|selector| selector.as_ref().ok());
            let labels = namespaces.get(place).cloned().unwrap_or_default();
            named.iter().any(|name| name == place) || chosen.is_some_and(|selector| selector.matches(&labels))
        }
    };
    is_in && selector.matches(&other.labels())
}

/// `topologySpreadConstraints` that must hold (plugin `PodTopologySpread`). With one domain the fewest pods of any are those of this one, unless
/// more domains are asked for than there are: then they are none.
pub(super) fn spread(pod: &Object, node: &Object, placed: &[&Arc<Object>]) -> Option<Refusal> {
    let constraints = list_at(pod.value(), "/spec/topologySpreadConstraints");
    for constraint in constraints
        .iter()
        .filter(|c| c["whenUnsatisfiable"] != "ScheduleAnyway")
    {
        if !node.labels().contains_key(text_at(constraint, "/topologyKey")) {
            let text = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Some(Refusal::lasting(text));
        }
        let Some(Ok(selector)) = constraint.get("labelSelector").map(LabelSelector::from_json) else {
            continue;
        };
        if constraint["minDomains"].as_i64().unwrap_or(1) <= 1 {
            continue;
        }
        let alike: BTreeSet<&str> = list_at(constraint, "/matchLabelKeys")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let (own, namespace) = (pod.labels(), &pod.key().namespace);
        let is_counted = |other: &&&Arc<Object>| {
            let labels = other.labels();
            let same = alike.iter().all(|key| labels.get(key) == own.get(key));
            other.key().namespace == *namespace && !other.is_deleting() && same && selector.matches(&labels)
        };
        let present = placed.iter().filter(is_counted).count() + usize::from(selector.matches(&own));
        let most = constraint["maxSkew"].as_u64().unwrap_or(1);
        if u64::try_from(present).unwrap_or(u64::MAX) > most {
            return Some(Refusal::resolvable(
                "node(s) didn't match pod topology spread constraints",
            ));
        }
    }
    None
}
