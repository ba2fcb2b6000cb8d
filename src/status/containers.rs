//! `containerStatuses` and `initContainerStatuses` (kubelet `convertToAPIContainerStatuses`).

use jiff::Timestamp;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus as ApiStatus, ContainerUser, LinuxContainerUser, PodStatus, ResourceRequirements,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::StatusFacts;
use crate::model::{as_container, whole_second};
use crate::pod::{self, History, PostStart};
use crate::runtime::{ContainerState, ContainerStatus, Exit, RUN_USER};

/// `containerID` as the API spells it: the runtime's name and the id.
pub fn container_id(run: &ContainerStatus) -> String {
    format!("kubelocal://{}", run.id)
}

pub(super) fn statuses(facts: StatusFacts<'_>, old: &PodStatus) -> Vec<ApiStatus> {
    let old = old.container_statuses.as_deref().unwrap_or_default();
    pod::containers(facts.pod)
        .iter()
        .map(|c| status(facts, c, old, false))
        .collect()
}

pub(super) fn init_statuses(facts: StatusFacts<'_>, old: &PodStatus) -> Vec<ApiStatus> {
    let old = old.init_container_statuses.as_deref().unwrap_or_default();
    pod::init_containers(facts.pod)
        .iter()
        // A sidecar that ended well is not ready: it should run.
        .map(|c| status(facts, c, old, !pod::has_sidecar(facts.pod, &c.name)))
        .collect()
}

/// Ephemeral containers are never ready, and nobody asks whether they have started.
pub(super) fn ephemeral_statuses(facts: StatusFacts<'_>, old: &PodStatus) -> Vec<ApiStatus> {
    let old = old.ephemeral_container_statuses.as_deref().unwrap_or_default();
    let all = pod::ephemeral_containers(facts.pod).iter().map(as_container);
    let statuses = all.map(|container| status(facts, &container, old, false));
    statuses
        .map(|status| ApiStatus {
            ready: false,
            started: None,
            ..status
        })
        .collect()
}

fn status(facts: StatusFacts<'_>, container: &Container, old: &[ApiStatus], is_init: bool) -> ApiStatus {
    let history = History::of(&container.name, facts.observed);
    let Some(run) = history.latest() else {
        return unstarted(facts, container, old);
    };
    let (state, last_state) = states(facts, container, &history, run);
    let is_running = run.is_running();
    let has_started = is_running && facts.health.has_started(facts.pod, container, run);
    let is_ready = is_running && facts.health.is_ready(facts.pod, container, run);
    let has_succeeded = state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    ApiStatus {
        name: container.name.clone(),
        image: pod::whole_image_name(&run.image),
        image_id: run.image_id.clone(),
        container_id: Some(container_id(run)),
        restart_count: i32::try_from(history.restarts()).unwrap_or(i32::MAX),
        ready: is_ready || (is_init && has_succeeded),
        started: Some(has_started),
        state: Some(state),
        last_state: Some(last_state),
        volume_mounts: mounts(container),
        user: user(run),
        allocated_resources: allocated(container),
        resources: given(container, run),
        ..ApiStatus::default()
    }
}

/// What the run was given, whatever is asked by now; nothing and no word are the same, and the container's is shown.
fn given(container: &Container, run: &ContainerStatus) -> Option<ResourceRequirements> {
    let given = pod::resources_of(run).filter(|given| *given != ResourceRequirements::default());
    given.or_else(|| container.resources.clone())
}

/// Who a run's first process is, once its image was looked into; the first of the groups is its own (`SupplementalGroupsPolicy`).
fn user(run: &ContainerStatus) -> Option<ContainerUser> {
    let mut words = run.annotations.get(RUN_USER)?.split(':');
    let mut number = || words.next()?.parse::<i64>().ok();
    let (uid, gid) = (number()?, number()?);
    let others = words.next()?.split(',').filter_map(|word| word.parse().ok());
    let groups = std::iter::once(gid).chain(others.filter(|group| *group != gid));
    Some(ContainerUser {
        linux: Some(LinuxContainerUser {
            gid,
            supplemental_groups: Some(groups.collect()),
            uid,
        }),
    })
}

/// What the node has set apart for a container: what it requests.
fn allocated(container: &Container) -> Option<BTreeMap<String, Quantity>> {
    container.resources.as_ref()?.requests.clone()
}

/// A container with no record: not yet started, or its records are gone with its pod's sandbox; then the last word stays.
fn unstarted(facts: StatusFacts<'_>, container: &Container, old: &[ApiStatus]) -> ApiStatus {
    let kept = old
        .iter()
        .find(|s| s.name == container.name)
        .filter(|s| s.container_id.is_some());
    if let Some(kept) = kept {
        let ended = kept.state.as_ref().is_some_and(|s| s.terminated.is_some());
        return ApiStatus {
            ready: kept.ready && ended,
            started: Some(false),
            ..kept.clone()
        };
    }
    ApiStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        started: Some(false),
        state: Some(ApiState {
            waiting: Some(waiting(facts, container)),
            ..ApiState::default()
        }),
        last_state: Some(ApiState::default()),
        volume_mounts: mounts(container),
        ..ApiStatus::default()
    }
}

/// What could not be done for a container. Volumes that can't be had are told by events alone, as upstream. A failed pull is shown
/// as that first and then as waiting for its next try.
fn failure(facts: StatusFacts<'_>, name: &str, image: &str) -> Option<ContainerStateWaiting> {
    let failure = facts
        .failures
        .get(name)
        .filter(|failure| failure.reason != "FailedMount")?;
    let (reason, message) = if pod::is_pull_backing_off(failure, facts.now) {
        let waits = pod::pull_back_off_message(image);
        let message = format!("{waits}: {}: {}", failure.reason, failure.message);
        ("ImagePullBackOff", message)
    } else {
        (failure.reason, failure.message.clone())
    };
    Some(ContainerStateWaiting {
        reason: Some(reason.into()),
        message: Some(message),
    })
}

/// Why a container without a run waits.
fn waiting(facts: StatusFacts<'_>, container: &Container) -> ContainerStateWaiting {
    if let Some(failure) = failure(facts, &container.name, container.image.as_deref().unwrap_or_default()) {
        return failure;
    }
    let has_init = !pod::init_containers(facts.pod).is_empty();
    let reason = if has_init {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    ContainerStateWaiting {
        reason: Some(reason.into()),
        message: None,
    }
}

/// The present and the last state of a container that has a run.
fn states(
    facts: StatusFacts<'_>,
    container: &Container,
    history: &History<'_>,
    run: &ContainerStatus,
) -> (ApiState, ApiState) {
    let before = history
        .previous_exit()
        .map(|(run, exit)| terminated(facts, run, exit))
        .unwrap_or_default();
    match &run.state {
        // Until its postStart hook is done it does not count as running.
        ContainerState::Running { .. } if facts.health.post_start.get(&run.id) == Some(&PostStart::Runs) => {
            (creating(), before)
        }
        ContainerState::Running { started_at } => (running(*started_at), before),
        ContainerState::Created => (creating(), before),
        ContainerState::Exited(exit) => match back_off(facts, container, history, exit) {
            Some(waiting) => (
                ApiState {
                    waiting: Some(waiting),
                    ..ApiState::default()
                },
                terminated(facts, run, exit),
            ),
            None => (terminated(facts, run, exit), before),
        },
    }
}

/// `CrashLoopBackOff` or why the next run can't start, for a container that ended and is to run again.
fn back_off(
    facts: StatusFacts<'_>,
    container: &Container,
    history: &History<'_>,
    exit: &Exit,
) -> Option<ContainerStateWaiting> {
    let restarts = pod::restarts(facts.pod, container, exit);
    let is_ending = facts.pod.metadata.deletion_timestamp.is_some()
        || pod::is_finished(facts.pod, facts.observed)
        || pod::is_past_deadline(facts.pod, facts.now);
    let run = history.latest().filter(|_| restarts && !is_ending)?;
    if let Some(failure) = failure(facts, &run.name, &run.image) {
        return Some(failure);
    }
    let (_, delay) = pod::next_start(history)?;
    let message = pod::back_off_message(facts.pod, &run.name, delay);
    (!delay.is_zero()).then(|| ContainerStateWaiting {
        reason: Some("CrashLoopBackOff".into()),
        message: Some(message),
    })
}

fn creating() -> ApiState {
    let waiting = ContainerStateWaiting {
        reason: Some("ContainerCreating".into()),
        message: None,
    };
    ApiState {
        waiting: Some(waiting),
        ..ApiState::default()
    }
}

fn running(started_at: jiff::Timestamp) -> ApiState {
    let started_at = Some(Time(whole_second(started_at)));
    ApiState {
        running: Some(ContainerStateRunning { started_at }),
        ..ApiState::default()
    }
}

fn terminated(facts: StatusFacts<'_>, run: &ContainerStatus, exit: &Exit) -> ApiState {
    // The runtime's word first, then the container's own.
    let said = facts
        .health
        .messages
        .get(&run.id)
        .map(String::as_str)
        .unwrap_or_default();
    let words = [exit.message.as_str(), said]
        .into_iter()
        .filter(|text| !text.is_empty());
    let message = words.collect::<Vec<_>>().join(": ");

    let terminated = ContainerStateTerminated {
        container_id: Some(container_id(run)),
        exit_code: exit.code,
        signal: exit.signal,
        reason: Some(exit.reason.clone()),
        message: Some(message).filter(|m| !m.is_empty()),
        started_at: started_at(exit).map(|t| Time(whole_second(t))),
        finished_at: Some(Time(whole_second(exit.finished_at))),
    };
    ApiState {
        terminated: Some(terminated),
        ..ApiState::default()
    }
}

/// When the run began. What could not be started began with all time, as containerd has it.
fn started_at(exit: &Exit) -> Option<Timestamp> {
    let never = (exit.reason == "StartError").then_some(Timestamp::UNIX_EPOCH);
    exit.started_at.or(never)
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let status = |mount: &k8s_openapi::api::core::v1::VolumeMount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.filter(|r| *r).map(|_| {
            let is_below = matches!(mount.recursive_read_only.as_deref(), Some("IfPossible" | "Enabled"));
            if is_below { "Enabled" } else { "Disabled" }.to_owned()
        }),
        ..VolumeMountStatus::default()
    };
    (!mounts.is_empty()).then(|| mounts.iter().map(status).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_started_began_with_all_time() {
        let exit = |reason: &str| Exit {
            started_at: None,
            finished_at: Timestamp::MAX,
            code: 128,
            signal: None,
            reason: reason.to_owned(),
            message: String::new(),
            was_drained: false,
        };
        assert_eq!(started_at(&exit("StartError")), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(started_at(&exit("ContainerStatusUnknown")), None);
    }
}
