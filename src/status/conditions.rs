//! `status.conditions` (kubelet `status/generate.go`): what holds, why not, and since when.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Phase, StatusFacts};
use crate::model::whole_second;

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
    let findings = [
        sandbox,
        initialized(phase, init),
        ready("Ready", phase, statuses),
        ready("ContainersReady", phase, statuses),
        Finding::holds("PodScheduled"),
    ];
    let present = old.conditions.as_deref().unwrap_or_default();
    let ours: Vec<_> = findings
        .into_iter()
        .map(|finding| dated(facts, finding, present))
        .collect();
    // Conditions of others (readiness gates, disruption) are theirs to change.
    let theirs = present
        .iter()
        .filter(|c| !ours.iter().any(|o| o.type_ == c.type_))
        .cloned();
    let theirs: Vec<_> = theirs.collect();
    ours.into_iter().chain(theirs).collect()
}

fn initialized(phase: Phase, init: &[ContainerStatus]) -> Finding {
    let is_done = |s: &&ContainerStatus| !s.ready;
    let waiting: Vec<_> = init.iter().filter(is_done).map(|s| s.name.as_str()).collect();
    match phase {
        Phase::Succeeded => Finding {
            reason: Some("PodCompleted"),
            ..Finding::holds("Initialized")
        },
        _ if waiting.is_empty() => Finding::holds("Initialized"),
        _ => {
            let message = format!("containers with incomplete status: [{}]", waiting.join(" "));
            Finding::fails("Initialized", "ContainersNotInitialized", Some(message))
        }
    }
}

fn ready(kind: &'static str, phase: Phase, statuses: &[ContainerStatus]) -> Finding {
    match phase {
        Phase::Succeeded => return Finding::fails(kind, "PodCompleted", None),
        Phase::Failed => return Finding::fails(kind, "PodFailed", None),
        Phase::Pending | Phase::Running => {}
    }
    let unready: Vec<_> = statuses.iter().filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
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
