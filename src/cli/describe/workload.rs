//! Deployments and ReplicaSets.

use serde_json::Value;

use super::pod::template;
use super::sheet::{Sheet, date, plain, text};
use crate::api::table::selector_text;
use crate::model::REVISION;

/// `sets` are the Deployment's own.
pub(super) fn describe_deployment(deployment: &Value, sets: &[Value], sheet: &mut Sheet) {
    sheet.field(0, "Name", text(deployment, "/metadata/name"));
    sheet.field(0, "Namespace", text(deployment, "/metadata/namespace"));
    let created = date(text(deployment, "/metadata/creationTimestamp"));
    sheet.field(0, "CreationTimestamp", &created);
    sheet.labels(deployment);
    sheet.field(0, "Selector", &selector(deployment));
    sheet.controller(deployment);
    let replicas = format!(
        "{} desired | {} updated | {} total | {} available | {} unavailable",
        count(deployment, "/spec/replicas"),
        count(deployment, "/status/updatedReplicas"),
        count(deployment, "/status/replicas"),
        count(deployment, "/status/availableReplicas"),
        count(deployment, "/status/unavailableReplicas"),
    );
    sheet.field(0, "Replicas", &replicas);
    sheet.field(0, "StrategyType", text(deployment, "/spec/strategy/type"));
    sheet.field(0, "MinReadySeconds", &count(deployment, "/spec/minReadySeconds"));
    if let Some(rolling) = deployment.pointer("/spec/strategy/rollingUpdate") {
        let bound = |field: &str| rolling.get(field).map(plain).unwrap_or_default();
        let (unavailable, surge) = (bound("maxUnavailable"), bound("maxSurge"));
        let words = format!("{unavailable} max unavailable, {surge} max surge");
        sheet.field(0, "RollingUpdateStrategy", &words);
    }
    template(deployment, sheet);
    sheet.conditions(deployment);
    let revision = |object: &Value| object.pointer("/metadata/annotations")?.get(REVISION).cloned();
    let newest = revision(deployment);
    let (new, old): (Vec<_>, Vec<_>) = sets.iter().partition(|set| newest.is_some() && revision(set) == newest);
    sheet.field(0, "OldReplicaSets", &replica_sets(&old));
    sheet.field(0, "NewReplicaSet", &replica_sets(&new));
}

/// `web-5d8 (2/2 replicas created)`.
fn replica_sets(sets: &[&Value]) -> String {
    let words = |set: &&Value| {
        let (made, wanted) = (count(set, "/status/replicas"), count(set, "/spec/replicas"));
        format!("{} ({made}/{wanted} replicas created)", text(set, "/metadata/name"))
    };
    match sets {
        [] => "<none>".to_owned(),
        sets => sets.iter().map(words).collect::<Vec<_>>().join(", "),
    }
}

/// `pods` are the ReplicaSet's own.
pub(super) fn describe_replica_set(set: &Value, pods: &[Value], sheet: &mut Sheet) {
    sheet.field(0, "Name", text(set, "/metadata/name"));
    sheet.field(0, "Namespace", text(set, "/metadata/namespace"));
    sheet.field(0, "Selector", &selector(set));
    sheet.labels(set);
    sheet.controller(set);
    let (current, desired) = (count(set, "/status/replicas"), count(set, "/spec/replicas"));
    sheet.field(0, "Replicas", &format!("{current} current / {desired} desired"));
    let in_phase = |phase: &str| pods.iter().filter(|pod| text(pod, "/status/phase") == phase).count();
    let words = format!(
        "{} Running / {} Waiting / {} Succeeded / {} Failed",
        in_phase("Running"),
        in_phase("Pending"),
        in_phase("Succeeded"),
        in_phase("Failed")
    );
    sheet.field(0, "Pods Status", &words);
    template(set, sheet);
    sheet.conditions(set);
}

fn selector(object: &Value) -> String {
    object.pointer("/spec/selector").map(selector_text).unwrap_or_default()
}

fn count(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).map_or_else(|| "0".to_owned(), plain)
}
