//! Carrying out what the scheduler decided: one write per pod, and what is told of it.

use std::sync::Arc;

use super::{Decision, Verdict, World, is_of, plan_schedule};
use crate::event::{EventKind, EventRecorder};
use crate::model::{self, Condition, Key, Object, condition_of, set_condition, text_at};
use crate::pod::Rooms;
use crate::store::DeleteOptions;

const GATED: &str = "Scheduling is blocked due to non-empty scheduling gates";

/// Puts on the node what fits; tells of the rest why it waits. Returns how many wait.
pub(in crate::pod) fn run_schedule(rooms: &Rooms) -> usize {
    let list = |version: &str, kind: &str| {
        let kind = model::kind(version, kind).expect("in the table");
        rooms.store.list(kind, None).items
    };
    let pods = list("v1", "Pod");
    tell_pending(rooms, &pods);
    if pods.iter().all(|pod| !pod.text("/spec/nodeName").is_empty()) {
        return 0;
    }
    let nodes = list("v1", "Node");
    let (classes, namespaces) = (list("scheduling.k8s.io/v1", "PriorityClass"), list("v1", "Namespace"));
    let (claims, storage_classes) = (
        list("v1", "PersistentVolumeClaim"),
        list("storage.k8s.io/v1", "StorageClass"),
    );
    let verdicts = plan_schedule(World {
        node: nodes
            .iter()
            .find(|node| node.key().name == rooms.host.node_name)
            .map(AsRef::as_ref),
        pods: &pods,
        classes: &classes,
        namespaces: &namespaces,
        claims: &claims,
        storage_classes: &storage_classes,
    });
    let mut waiting = 0;
    for verdict in verdicts {
        set_priority(rooms, &verdict);
        match &verdict.decision {
            Decision::Bind => bind(rooms, &verdict.pod),
            Decision::Gated => {
                waiting += 1;
                wait(rooms, &verdict.pod, "SchedulingGated", GATED, false);
            }
            Decision::Wait(message) => {
                waiting += 1;
                fail(rooms, &verdict.pod, message, false);
            }
            Decision::Preempt { victims, message } => {
                waiting += 1;
                victims.iter().for_each(|victim| preempt(rooms, &verdict.pod, victim));
                fail(rooms, &verdict.pod, message, true);
            }
        }
    }
    waiting
}

/// Pods of nodes that are not here wait for ever, and say so; nobody else tells of them.
fn tell_pending(rooms: &Rooms, pods: &[Arc<Object>]) {
    let is_elsewhere = |pod: &&Arc<Object>| {
        !pod.text("/spec/nodeName").is_empty()
            && !is_of(pod, &rooms.host.node_name)
            && pod.text("/status/phase").is_empty()
    };
    for pod in pods.iter().filter(is_elsewhere) {
        let tell = |pod: &mut Object| pod.value_mut()["status"]["phase"] = "Pending".into();
        let _ = rooms.store.update_status(pod.key(), tell);
    }
}

fn scheduler(rooms: &Rooms) -> EventRecorder {
    rooms.recorder.component("default-scheduler")
}

/// A pod may be gone by the time it is written; whoever looks next sees that.
fn bind(rooms: &Rooms, pod: &Arc<Object>) {
    let node = &rooms.host.node_name;
    if rooms.store.bind(pod.key(), node).is_ok() {
        let Key { namespace, name, .. } = pod.key();
        let message = format!("Successfully assigned {namespace}/{name} to {node}");
        scheduler(rooms).event(pod, EventKind::Normal, "Scheduled", &message);
    }
}

/// The number of the pod's class, which clusters set when the pod comes in.
fn set_priority(rooms: &Rooms, Verdict { pod, priority, .. }: &Verdict) {
    if pod.number("/spec/priority").unwrap_or(0) != *priority {
        let set = |pod: &mut Object| pod.value_mut()["spec"]["priority"] = (*priority).into();
        let _ = rooms.store.update(pod.key(), set);
    }
}

fn fail(rooms: &Rooms, pod: &Arc<Object>, message: &str, is_nominated: bool) {
    if wait(rooms, pod, "Unschedulable", message, is_nominated) {
        scheduler(rooms).event(pod, EventKind::Warning, "FailedScheduling", message);
    }
}

/// Writes why a pod waits; whether that is news.
fn wait(rooms: &Rooms, pod: &Arc<Object>, reason: &str, message: &str, is_nominated: bool) -> bool {
    let present = condition_of(pod, "PodScheduled");
    let is_same = present.is_some_and(|c| text_at(c, "/reason") == reason && text_at(c, "/message") == message);
    if is_same && (!is_nominated || !pod.text("/status/nominatedNodeName").is_empty()) {
        return false;
    }
    let condition = Condition {
        kind: "PodScheduled",
        holds: false,
        reason,
        message,
    };
    let write = |pod: &mut Object| {
        set_condition(pod, condition, rooms.clock.now());
        let status = &mut pod.value_mut()["status"];
        status["phase"] = "Pending".into();
        if is_nominated {
            status["nominatedNodeName"] = rooms.host.node_name.clone().into();
        }
    };
    let _ = rooms.store.update_status(pod.key(), write);
    !is_same
}

/// Ends a pod for a more important one, with all the time that it asks for.
fn preempt(rooms: &Rooms, by: &Object, victim: &Key) {
    let Some(pod) = rooms.store.get(victim).filter(|pod| !pod.is_deleting()) else {
        return;
    };
    let (by_uid, node) = (by.uid(), &rooms.host.node_name);
    let message = format!("Preempted by pod {by_uid} on node {node}");
    scheduler(rooms).event(&pod, EventKind::Normal, "Preempted", &message);
    let condition = Condition {
        kind: "DisruptionTarget",
        holds: true,
        reason: "PreemptionByScheduler",
        message: "default-scheduler: preempting to accommodate a higher priority pod",
    };
    let tell = |pod: &mut Object| set_condition(pod, condition, rooms.clock.now());
    let _ = rooms.store.update_status(victim, tell);
    let _ = rooms.store.delete(victim, &DeleteOptions::default());
}
