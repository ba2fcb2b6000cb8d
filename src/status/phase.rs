//! `status.phase`, in one word (kubelet `getPhase`).

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::StatusFacts;
use crate::pod::{RestartPolicy, is_finished};

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
    if is_finished(facts.pod, facts.observed) {
        let failed = init.iter().chain(statuses).any(has_failed);
        return if failed { Phase::Failed } else { Phase::Succeeded };
    }
    let has_run = |s: &ContainerStatus| {
        let state = s.state.as_ref();
        let ended_before = s.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some()) || ended_before
    };
    let is_init_done = |s: &ContainerStatus| exit_code(s) == Some(0);
    let restarts = RestartPolicy::of(facts.pod) != RestartPolicy::Never;
    if init.iter().all(is_init_done) && statuses.iter().all(has_run) && !statuses.is_empty() {
        return Phase::Running;
    }
    // What ran once does not go back to waiting for its first run.
    if restarts && old.phase.as_deref() == Some("Running") {
        Phase::Running
    } else {
        Phase::Pending
    }
}

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}
