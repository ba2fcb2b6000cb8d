//! `status.conditions` (kubelet `status/generate.go`): what holds, why not, and since when.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Phase, StatusFacts};
use crate::model::whole_second;
use crate::pod::{self, PendingResize, has_sidecar, unenforced};
use crate::runtime::ContainerStatus as ContainerRun;

/// Says that limits of a pod are not enforced; it is there for as long as that is so.
const LIMITS_ENFORCED: &str = "kubelocal.dev/LimitsEnforced";

/// These are there for as long as resources change.
const RESIZE_PENDING: &str = "PodResizePending";
const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// A condition without its history.
struct Finding {
    kind: &'static str,
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Finding {
    fn holds(kind: &'static str) -> Self {
        Self {
            kind,
            holds: true,
            reason: None,
            message: None,
        }
    }

    fn fails(kind: &'static str, reason: &'static str, message: Option<String>) -> Self {
        Self {
            kind,
            holds: false,
            reason: Some(reason),
            message,
        }
    }
}

pub(super) fn conditions(
    facts: StatusFacts<'_>,
    phase: Phase,
    init: &[ContainerStatus],
    statuses: &[ContainerStatus],
    old: &PodStatus,
) -> Vec<PodCondition> {
    let sandbox = Finding {
        holds: facts.observed.is_some_and(|s| s.alive),
        ..Finding::holds("PodReadyToStartContainers")
    };
    let present = old.conditions.as_deref().unwrap_or_default();
    let findings = [
        sandbox,
        initialized(facts.pod, phase, init, statuses),
        ready(facts.pod, phase, init, statuses, present),
        containers_ready("ContainersReady", facts.pod, phase, init, statuses),
        Finding::holds("PodScheduled"),
    ];
    let ours: Vec<_> = findings
        .into_iter()
        .chain(limits(facts))
        .chain(pending(facts))
        .chain(in_progress(facts))
        .map(|finding| dated(facts, finding, present))
        .collect();
    // Conditions of others (readiness gates, disruption) are theirs to change.
    let passing = [LIMITS_ENFORCED, RESIZE_PENDING, RESIZE_IN_PROGRESS];
    let is_ours = |kind: &str| passing.contains(&kind) || ours.iter().any(|own| own.type_ == kind);
    let theirs = present.iter().filter(|c| !is_ours(&c.type_)).cloned();
    let theirs: Vec<_> = theirs.collect();
    ours.into_iter().chain(theirs).collect()
}

fn limits(facts: StatusFacts<'_>) -> Option<Finding> {
    let sandbox = facts.observed.filter(|sandbox| sandbox.alive)?;
    let message = unenforced(facts.pod, sandbox)?;
    Some(Finding::fails(LIMITS_ENFORCED, "NoControllers", Some(message)))
}

/// Other resources wait for room, or can't be had (kubelet `PodResizePending`).
fn pending(facts: StatusFacts<'_>) -> Option<Finding> {
    let PendingResize { reason, message } = facts.resize?;
    Some(Finding {
        reason: Some(reason),
        message: Some(message.clone()),
        ..Finding::holds(RESIZE_PENDING)
    })
}

/// Runs do not have yet what was granted them (kubelet `PodResizeInProgress`).
fn in_progress(facts: StatusFacts<'_>) -> Option<Finding> {
    let sandbox = facts.observed.filter(|sandbox| sandbox.alive)?;
    let mut running = sandbox.containers.iter().filter(|run| run.is_running());
    let is_behind = |run: &ContainerRun| {
        pod::container(facts.pod, &run.name).is_some_and(|container| pod::is_resize_due(&container, run))
    };
    if !running.any(is_behind) {
        return None;
    }
    let failure = facts.failures.get(pod::RESIZE_FAILURE);
    Some(Finding {
        reason: failure.map(|_| "Error"),
        message: failure.map(|failure| failure.message.clone()),
        ..Finding::holds(RESIZE_IN_PROGRESS)
    })
}

fn initialized(pod: &Pod, phase: Phase, init: &[ContainerStatus], statuses: &[ContainerStatus]) -> Finding {
    let is_done = |s: &&ContainerStatus| {
        if has_sidecar(pod, &s.name) {
            s.started == Some(true)
        } else {
            s.ready
        }
    };
    let waiting: Vec<_> = init.iter().filter(|s| !is_done(s)).map(|s| s.name.as_str()).collect();
    // Once one of the pod's own containers has run, its init containers are done, whatever a sidecar does now.
    let was_initialized = statuses.iter().any(has_run);
    match phase {
        Phase::Succeeded => Finding {
            reason: Some("PodCompleted"),
            ..Finding::holds("Initialized")
        },
        _ if waiting.is_empty() || was_initialized => Finding::holds("Initialized"),
        _ => {
            let message = format!("containers with incomplete status: [{}]", waiting.join(" "));
            Finding::fails("Initialized", "ContainersNotInitialized", Some(message))
        }
    }
}

/// Whether a container has run at any time (`HasAnyRegularContainerStarted`).
pub(super) fn has_run(status: &ContainerStatus) -> bool {
    let runs_or_ended = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    [&status.state, &status.last_state]
        .into_iter()
        .flatten()
        .any(runs_or_ended)
}

/// `Ready`: all containers are, and all of the pod's readiness gates are open (kubelet `GeneratePodReadyCondition`).
fn ready(
    pod: &Pod,
    phase: Phase,
    init: &[ContainerStatus],
    statuses: &[ContainerStatus],
    present: &[PodCondition],
) -> Finding {
    let finding = containers_ready("Ready", pod, phase, init, statuses);
    let gates = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    let shut: Vec<String> = gates
        .filter_map(|gate| match present.iter().find(|c| c.type_ == gate.condition_type) {
            Some(condition) if condition.status == "True" => None,
            Some(condition) => Some(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, condition.status
            )),
            None => Some(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                gate.condition_type
            )),
        })
        .collect();
    if finding.holds && !shut.is_empty() {
        return Finding::fails("Ready", "ReadinessGatesNotReady", Some(shut.join(", ")));
    }
    finding
}

fn containers_ready(
    kind: &'static str,
    pod: &Pod,
    phase: Phase,
    init: &[ContainerStatus],
    statuses: &[ContainerStatus],
) -> Finding {
    match phase {
        Phase::Succeeded => return Finding::fails(kind, "PodCompleted", None),
        Phase::Failed => return Finding::fails(kind, "PodFailed", None),
        Phase::Pending | Phase::Running => {}
    }
    let sidecars = init.iter().filter(|s| has_sidecar(pod, &s.name));
    let counted = sidecars.chain(statuses);
    let unready: Vec<_> = counted.filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    if unready.is_empty() && !statuses.is_empty() {
        return Finding::holds(kind);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Finding::fails(kind, "ContainersNotReady", Some(message))
}

/// The finding as a condition: its transition time moves only when its status does.
fn dated(facts: StatusFacts<'_>, finding: Finding, present: &[PodCondition]) -> PodCondition {
    let status = if finding.holds { "True" } else { "False" };
    let before = present.iter().find(|c| c.type_ == finding.kind && c.status == status);
    let since = before.and_then(|c| c.last_transition_time.clone());
    PodCondition {
        type_: finding.kind.to_owned(),
        status: status.to_owned(),
        reason: finding.reason.map(str::to_owned),
        message: finding.message,
        last_transition_time: Some(since.unwrap_or_else(|| Time(whole_second(facts.now)))),
        observed_generation: facts.pod.metadata.generation,
        ..PodCondition::default()
    }
}
