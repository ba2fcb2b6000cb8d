//! Pods: the STATUS that everybody reads is no field but this algorithm (`printPod`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::age;
use super::cells::{self, is_condition_true, list, number, or, text as text_at};
use super::{AGE, Cell, KindTable, NAME, text, wide};
use crate::model::value_at;

pub(super) static TABLE: KindTable = KindTable {
    columns: &[
        NAME,
        text("Ready"),
        text("Status"),
        text("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    row,
    conditions,
};

/// A pod in the words of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSummary {
    /// Ready containers.
    pub ready: usize,
    /// Containers that should be ready, sidecars included.
    pub total: usize,
    /// `Running`, `CrashLoopBackOff`, `Init:0/2` …
    pub status: String,
    /// Restarts of all containers that count now.
    pub restarts: i64,
    /// When a container that restarted ended last.
    pub last_restart: Option<Timestamp>,
}

fn row(object: &Value, now: Timestamp) -> Vec<Cell> {
    let summary = summarize(object);
    let restarts = match (summary.restarts, summary.last_restart) {
        (n, Some(last)) if n > 0 => format!("{n} ({} ago)", age(Some(last), now)),
        (n, _) => n.to_string(),
    };
    let first_ip = list(object, "/status/podIPs")
        .first()
        .map_or("", |ip| text_at(ip, "/ip"));
    vec![
        cells::name(object),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.status.into(),
        restarts.into(),
        cells::age(object, now),
        or(or(first_ip, text_at(object, "/status/podIP")), "<none>").into(),
        or(text_at(object, "/spec/nodeName"), "<none>").into(),
        or(text_at(object, "/status/nominatedNodeName"), "<none>").into(),
        readiness_gates(object).into(),
    ]
}

fn readiness_gates(object: &Value) -> String {
    let gates = list(object, "/spec/readinessGates");
    let is_open = |gate: &&Value| is_condition_true(object, text_at(gate, "/conditionType"));
    match gates.len() {
        0 => "<none>".to_owned(),
        total => format!("{}/{total}", gates.iter().filter(is_open).count()),
    }
}

fn conditions(object: &Value) -> Option<Value> {
    let phase = text_at(object, "/status/phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

/// What is counted while containers are walked.
#[derive(Default)]
struct Tally {
    ready: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Tally {
    fn add_restarts(&mut self, container: &Value) {
        self.restarts += number(container, "/restartCount");
        let finished = text_at(container, "/lastState/terminated/finishedAt").parse().ok();
        self.last_restart = self.last_restart.max(finished);
    }
}

/// STATUS, READY and RESTARTS of a pod.
#[must_use]
pub fn summarize(pod: &Value) -> PodSummary {
    let phase = text_at(pod, "/status/phase");
    let mut status = or(text_at(pod, "/status/reason"), phase).to_owned();
    let scheduled = list(pod, "/status/conditions")
        .iter()
        .find(|c| text_at(c, "/type") == "PodScheduled");
    if scheduled.is_some_and(|c| text_at(c, "/reason") == "SchedulingGated") {
        status = "SchedulingGated".to_owned();
    }
    let sidecars = list(pod, "/spec/initContainers")
        .iter()
        .filter(|c| is_restartable(c))
        .count();
    let (initializing, mut tally, sidecar_tally) = walk_init_containers(pod);
    let is_initializing = initializing.is_some();
    if let Some(reason) = initializing {
        status = reason;
    }
    if !is_initializing || is_condition_true(pod, "Initialized") {
        let ready = tally.ready;
        tally = Tally { ready, ..sidecar_tally };
        walk_containers(pod, &mut status, &mut tally);
    }
    if value_at(pod, "/metadata/deletionTimestamp").is_some() {
        if text_at(pod, "/status/reason") == "NodeLost" {
            status = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            status = "Terminating".to_owned();
        }
    }
    PodSummary {
        ready: tally.ready,
        total: list(pod, "/spec/containers").len() + sidecars,
        status,
        restarts: tally.restarts,
        last_restart: tally.last_restart,
    }
}

fn is_restartable(container: &Value) -> bool {
    text_at(container, "/restartPolicy") == "Always"
}

/// Up to the first init container that is not done: why it is not, if there is one, the tally of all and that of sidecars.
fn walk_init_containers(pod: &Value) -> (Option<String>, Tally, Tally) {
    let specs = list(pod, "/spec/initContainers");
    let (mut all, mut sidecars) = (Tally::default(), Tally::default());
    for (place, container) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        let spec = specs.iter().find(|spec| spec.get("name") == container.get("name"));
        let is_sidecar = spec.is_some_and(is_restartable);
        all.add_restarts(container);
        if is_sidecar {
            sidecars.add_restarts(container);
        }
        let terminated = value_at(container, "/state/terminated");
        if terminated.is_some_and(|t| number(t, "/exitCode") == 0) {
            continue;
        }
        if is_sidecar && container.get("started") == Some(&Value::Bool(true)) {
            all.ready += usize::from(is_ready(container));
            continue;
        }
        let waiting = text_at(container, "/state/waiting/reason");
        let reason = match terminated {
            Some(terminated) => format!("Init:{}", ended(terminated)),
            None if !matches!(waiting, "" | "PodInitializing") => format!("Init:{waiting}"),
            None => format!("Init:{place}/{}", specs.len()),
        };
        return (Some(reason), all, sidecars);
    }
    (None, all, sidecars)
}

/// Backwards, so that the first container's trouble is the one that shows.
fn walk_containers(pod: &Value, status: &mut String, tally: &mut Tally) {
    let mut has_running = false;
    for container in list(pod, "/status/containerStatuses").iter().rev() {
        tally.add_restarts(container);
        let waiting = text_at(container, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(status);
        } else if let Some(terminated) = value_at(container, "/state/terminated") {
            *status = ended(terminated);
        } else if is_ready(container) && value_at(container, "/state/running").is_some() {
            has_running = true;
            tally.ready += 1;
        }
    }
    if status == "Completed" && has_running {
        let word = if is_condition_true(pod, "Ready") {
            "Running"
        } else {
            "NotReady"
        };
        word.clone_into(status);
    }
}

fn is_ready(container: &Value) -> bool {
    container.get("ready") == Some(&Value::Bool(true))
}

/// `Error`, `OOMKilled`, `Signal:9`, `ExitCode:3`.
fn ended(terminated: &Value) -> String {
    match (text_at(terminated, "/reason"), number(terminated, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}
