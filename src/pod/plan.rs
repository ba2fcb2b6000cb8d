//! What to do next with a pod: a pure function of what is asked, what is there and what time it is (kubelet `computePodActions`,
//! `syncPod`, `syncTerminatingPod`). The answer is a value; `execute` carries it out, then the pod is observed and planned anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::back_off;
use super::history::{self, History, RestartPolicy};
use super::pull;
use crate::runtime::{ContainerId, ContainerState, SandboxStatus};

/// Everything a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What is asked.
    pub pod: &'a Pod,
    /// Whether the object is gone from the store: whoever deleted it did not want to wait.
    pub is_gone: bool,
    /// What is there.
    pub observed: Option<&'a SandboxStatus>,
    /// What could not be started, by container name; [`SANDBOX_FAILURE`] for the sandbox itself.
    pub failures: &'a BTreeMap<String, Failure>,
    /// Until when the containers were last told to end.
    pub stop_deadline: Option<Timestamp>,
    /// Runs that were told to end because their spec changed.
    pub stopping: &'a BTreeSet<ContainerId>,
    /// Containers whose images are on their way: they wait, and whoever looks at the pod is woken.
    pub pulling: &'a BTreeSet<String>,
    /// The time.
    pub now: Timestamp,
}

/// The name under which a failure to make the sandbox is kept; no container can be called so.
pub const SANDBOX_FAILURE: &str = "";

/// How long a SIGKILL may take to show before the whole sandbox is ended: far more than the kernel needs even for large processes.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Why something could not be started. Kept by the worker until it was, or until what it needs changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kubernetes' word, as in `containerStatuses[].state.waiting.reason`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// When it last failed.
    pub at: Timestamp,
    /// How often in a row.
    pub tries: u32,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing, until something changes or this time comes.
    Settled {
        /// When to look again even if nothing changes.
        recheck: Option<Timestamp>,
    },
    /// Make the sandbox: there is none, or it died.
    CreateSandbox,
    /// Bring the containers of a living sandbox to what is asked.
    Converge(Converge),
    /// Tell every running container to end by then.
    StopAll {
        /// When SIGKILL follows.
        deadline: Timestamp,
    },
    /// Every container has ended for good and the pod stays as a record: end the sandbox.
    StopSandbox,
    /// The pod was deleted and nothing runs: remove what is left of it, the object last.
    Finish,
}

/// Steps within a living sandbox. Done in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Converge {
    /// Runs that must end because their spec changed.
    pub stop: Vec<ContainerId>,
    /// Runs to forget.
    pub forget: Vec<ContainerId>,
    /// Runs to start.
    pub start: Vec<Start>,
    /// When to look again even if nothing changes.
    pub recheck: Option<Timestamp>,
}

/// A run to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The container's name.
    pub name: String,
    /// Which run this will be.
    pub attempt: u32,
    /// The delay to write on it, see `back_off`.
    pub back_off: Duration,
}

/// The plan for a pod.
pub fn plan_pod(facts: Facts<'_>) -> Plan {
    if facts.is_gone || facts.pod.metadata.deletion_timestamp.is_some() {
        return plan_end(facts);
    }
    let is_alive = facts.observed.is_some_and(|s| s.alive);
    if is_finished(facts.pod, facts.observed) {
        return if is_alive {
            Plan::StopSandbox
        } else {
            Plan::Settled { recheck: None }
        };
    }
    match facts.observed.filter(|s| s.alive) {
        Some(sandbox) => plan_containers(facts, sandbox),
        None => plan_sandbox(facts),
    }
}

/// Whether the pod has ended for good: no container will run again (kubelet `isTerminal`, `getPhase`). A pod that was once seen so
/// stays so, whatever became of the records.
pub fn is_finished(pod: &Pod, observed: Option<&SandboxStatus>) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return true;
    }
    let policy = RestartPolicy::of(pod);
    let is_over = |name: &str| {
        History::of(name, observed)
            .exit()
            .is_some_and(|exit| !policy.restarts_after(exit))
    };
    let init_failed = init_containers(pod).iter().any(|c| {
        let exit = History::of(&c.name, observed).exit();
        exit.is_some_and(|exit| exit.code != 0 && !policy.restarts_init_after(exit))
    });
    init_failed || (!containers(pod).is_empty() && containers(pod).iter().all(|c| is_over(&c.name)))
}

/// `spec.containers`.
pub fn containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map_or(&[], |s| &s.containers)
}

/// `spec.initContainers`.
pub fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec
        .as_ref()
        .and_then(|s| s.init_containers.as_deref())
        .unwrap_or_default()
}

fn plan_end(facts: Facts<'_>) -> Plan {
    let Some(sandbox) = facts.observed.filter(|s| s.alive) else {
        return Plan::Finish;
    };
    let is_running = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
    if !sandbox.containers.iter().any(|run| is_running(&run.state)) {
        return Plan::Finish;
    }
    // Counted from here and not to `deletionTimestamp`, which has lost its fraction of a second: the grace is theirs, whole.
    let seconds = facts
        .pod
        .metadata
        .deletion_grace_period_seconds
        .filter(|_| !facts.is_gone);
    let grace = SignedDuration::from_secs(seconds.unwrap_or(0));
    let deadline = facts.now.saturating_add(grace).expect("no calendar units");
    match facts.stop_deadline {
        Some(told) if told <= deadline => {
            // When their time is up the supervisor kills them; if even that leaves something, the sandbox goes as a whole.
            let patience = told.saturating_add(KILL_PATIENCE).expect("no calendar units");
            if facts.now > patience {
                Plan::Finish
            } else {
                Plan::Settled {
                    recheck: Some(patience),
                }
            }
        }
        _ => Plan::StopAll { deadline },
    }
}

fn plan_sandbox(facts: Facts<'_>) -> Plan {
    match facts
        .failures
        .get(SANDBOX_FAILURE)
        .map(|f| back_off::next_try(f.at, f.tries))
    {
        Some(again) if again > facts.now => Plan::Settled { recheck: Some(again) },
        _ => Plan::CreateSandbox,
    }
}

fn plan_containers(facts: Facts<'_>, sandbox: &SandboxStatus) -> Plan {
    let mut steps = Converge::default();
    let wanted: &[Container] = match next_init(facts.pod, sandbox) {
        Some(init) => std::slice::from_ref(init),
        None => containers(facts.pod),
    };
    for container in wanted {
        plan_container(facts, sandbox, container, &mut steps);
    }
    for container in init_containers(facts.pod).iter().chain(containers(facts.pod)) {
        steps.forget.extend(
            History::of(&container.name, Some(sandbox))
                .superfluous()
                .map(|run| run.id.clone()),
        );
    }
    let is_idle = steps.stop.is_empty() && steps.forget.is_empty() && steps.start.is_empty();
    if is_idle {
        Plan::Settled { recheck: steps.recheck }
    } else {
        Plan::Converge(steps)
    }
}

/// The init container whose turn it is, or `None` when all are done. Once a container of the pod itself ran in this sandbox they
/// are, for their records may be gone (kubelet `findNextInitContainerToRun`).
pub fn next_init<'a>(pod: &'a Pod, sandbox: &SandboxStatus) -> Option<&'a Container> {
    let here = |name: &str| {
        let latest = History::of(name, Some(sandbox)).latest();
        latest
            .filter(|run| history::is_of_sandbox(run, sandbox))
            .map(|run| &run.state)
    };
    let has_run = |state: Option<&ContainerState>| !matches!(state, None | Some(ContainerState::Created));
    if containers(pod).iter().any(|c| has_run(here(&c.name))) {
        return None;
    }
    let is_done = |c: &&Container| matches!(here(&c.name), Some(ContainerState::Exited(exit)) if exit.code == 0);
    init_containers(pod).iter().find(|c| !is_done(c))
}

fn plan_container(facts: Facts<'_>, sandbox: &SandboxStatus, container: &Container, steps: &mut Converge) {
    let history = History::of(&container.name, Some(sandbox));
    let Some(latest) = history.latest() else {
        return plan_start(facts, container, 0, Duration::ZERO, steps);
    };
    match &latest.state {
        ContainerState::Running { .. } => {
            let is_changed = latest.annotations.get(history::SPEC_HASH) != Some(&history::container_hash(container));
            let is_told = facts.stopping.contains(&latest.id);
            steps.stop.extend((is_changed && !is_told).then(|| latest.id.clone()));
        }
        // Made but never started: we died in between. Its place is taken by a fresh one.
        ContainerState::Created => {
            steps.forget.push(latest.id.clone());
            plan_start(facts, container, latest.attempt, delay_kept(latest), steps);
        }
        ContainerState::Exited(_) => plan_restart(facts, sandbox, container, &history, steps),
    }
}

fn delay_kept(run: &crate::runtime::ContainerStatus) -> Duration {
    let seconds = run.annotations.get(history::BACK_OFF).and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

fn plan_restart(
    facts: Facts<'_>,
    sandbox: &SandboxStatus,
    container: &Container,
    history: &History<'_>,
    steps: &mut Converge,
) {
    let (Some(latest), Some(exit), Some((start, _))) =
        (history.latest(), history.exit(), back_off::next_start(history))
    else {
        return;
    };
    let policy = RestartPolicy::of(facts.pod);
    let is_init = init_containers(facts.pod).iter().any(|c| c.name == container.name);
    // An init container that succeeded in an earlier sandbox runs again in this one.
    let is_again = is_init && !history::is_of_sandbox(latest, sandbox);
    let restarts = if is_init {
        policy.restarts_init_after(exit)
    } else {
        policy.restarts_after(exit)
    };
    if !restarts && !is_again {
        return;
    }
    if start > facts.now {
        look_again(steps, start);
        return;
    }
    plan_start(
        facts,
        container,
        latest.attempt + 1,
        back_off::plan_back_off(history),
        steps,
    );
}

fn plan_start(facts: Facts<'_>, container: &Container, attempt: u32, back_off: Duration, steps: &mut Converge) {
    if facts.pulling.contains(&container.name) {
        return;
    }
    let failure = facts.failures.get(&container.name);
    match failure.map(|f| (f, back_off::next_try(f.at, f.tries))) {
        Some((failure, again)) if again > facts.now => {
            look_again(steps, again);
            let shown = pull::shown_until(failure);
            if failure.reason == pull::PULL_FAILURE && shown > facts.now {
                look_again(steps, shown);
            }
        }
        _ => steps.start.push(Start {
            name: container.name.clone(),
            attempt,
            back_off,
        }),
    }
}

fn look_again(steps: &mut Converge, at: Timestamp) {
    steps.recheck = Some(steps.recheck.map_or(at, |other| other.min(at)));
}
