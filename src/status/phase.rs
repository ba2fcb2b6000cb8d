//! `status.phase`, in one word (kubelet `getPhase`).

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::StatusFacts;
use super::conditions::has_run;
use crate::pod::{has_sidecar, is_finished, is_past_deadline};

/// The pod's stage. It only moves forward: what has ended for good stays ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Something has yet to run for the first time.
    Pending,
    /// Something runs, or will again.
    Running,
    /// All ended well.
    Succeeded,
    /// All ended, something not well.
    Failed,
}

impl Phase {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

pub(super) fn phase(
    facts: StatusFacts<'_>,
    init: &[ContainerStatus],
    statuses: &[ContainerStatus],
    old: &PodStatus,
) -> Phase {
    match old.phase.as_deref() {
        Some("Succeeded") => return Phase::Succeeded,
        Some("Failed") => return Phase::Failed,
        _ => {}
    }
    let has_failed = |s: &ContainerStatus| exit_code(s).is_some_and(|code| code != 0);
    // Sidecars do not count, but the pod is not over before they are (kubelet `mergePodStatus`).
    let is_sidecar = |s: &ContainerStatus| has_sidecar(facts.pod, &s.name);
    let has_runs = facts
        .observed
        .is_some_and(|s| s.alive && s.containers.iter().any(|run| run.is_running()));
    let is_finished = is_finished(facts.pod, facts.observed);
    if !has_runs && is_finished {
        let failed = init.iter().filter(|s| !is_sidecar(s)).chain(statuses).any(has_failed);
        return if failed { Phase::Failed } else { Phase::Succeeded };
    }
    if !has_runs && is_past_deadline(facts.pod, facts.now) {
        return Phase::Failed;
    }
    // Whoever holds a deleted pod waits for a phase that is the last one (kubelet `TerminatePod`).
    if !has_runs && facts.pod.metadata.deletion_timestamp.is_some() {
        let all_succeeded = !statuses.is_empty() && statuses.iter().all(|s| exit_code(s) == Some(0));
        return if all_succeeded { Phase::Succeeded } else { Phase::Failed };
    }
    // Once one of the pod's own containers has run, a sidecar may come and go.
    let was_initialized = is_finished || statuses.iter().any(has_run);
    let is_init_done = |s: &ContainerStatus| match is_sidecar(s) {
        true => s.started == Some(true) || was_initialized,
        false => exit_code(s) == Some(0),
    };
    if init.iter().all(is_init_done) && statuses.iter().all(has_run) && !statuses.is_empty() {
        return Phase::Running;
    }
    // What ran once does not go back to waiting for its first run.
    if old.phase.as_deref() == Some("Running") {
        Phase::Running
    } else {
        Phase::Pending
    }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}
