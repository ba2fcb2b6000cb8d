//! What to do next with a pod: a pure function of what is asked, what is there and what time it is (kubelet `computePodActions`,
//! `syncPod`, `syncTerminatingPod`). The answer is a value; `execute` carries it out, then the pod is observed and planned anew.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::ending::{EndStep, Ending, plan_ends, plan_run_end, reason_to_end, spec_grace};
use super::ephemeral::ephemeral_containers;
use super::health::{Health, PostStart};
use super::history::{self, History, is_sidecar};
use super::{back_off, deadline, evict, pull, resize};
use crate::model::as_container;
use crate::runtime::{ContainerId, ContainerState, SandboxStatus};

/// Everything a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What is asked.
    pub pod: &'a Pod,
    /// Whether the object is gone from the store: whoever deleted it did not want to wait.
    pub is_gone: bool,
    /// Set when the pod is to end now, and to start again when the next node comes.
    pub draining: Option<Draining>,
    /// What is there.
    pub observed: Option<&'a SandboxStatus>,
    /// What could not be started, by container name; [`SANDBOX_FAILURE`] for the sandbox itself.
    pub failures: &'a BTreeMap<String, Failure>,
    /// What is known of runs from their probes and hooks.
    pub health: &'a Health,
    /// Runs that were told to end.
    pub endings: &'a BTreeMap<ContainerId, Ending>,
    /// Containers whose images are on their way: they wait, and whoever looks at the pod is woken.
    pub pulling: &'a BTreeSet<String>,
    /// The time.
    pub now: Timestamp,
}

impl Facts<'_> {
    /// Whether all of the pod's containers end now, for whichever reason.
    pub fn is_ending(&self) -> bool {
        self.is_gone
            || self.draining.is_some()
            || self.pod.metadata.deletion_timestamp.is_some()
            || is_finished(self.pod, self.observed)
            || deadline::is_exceeded(self.pod, self.now)
    }
}

/// The node ends, and the pod before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Draining {
    /// The most that the pod gets, where that is less than it says itself.
    pub most: Option<SignedDuration>,
}

/// The name under which a failure to make the sandbox is kept; no container can be called so.
pub const SANDBOX_FAILURE: &str = "";

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
    /// Bring every running container nearer to its end.
    End(Vec<EndStep>),
    /// Every container has ended for good and the pod stays as a record: end the sandbox.
    StopSandbox,
    /// Nothing of it runs, and nothing is to be started by this node.
    Rest,
    /// The pod was deleted and nothing runs: remove what is left of it, the object last.
    Finish,
}

/// Steps within a living sandbox. Done in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Converge {
    /// Runs that must end: their spec changed, a probe or a hook failed.
    pub end: Vec<EndStep>,
    /// Runs to forget.
    pub forget: Vec<ContainerId>,
    /// Runs that get other resources.
    pub resize: Vec<ContainerId>,
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
        return plan_deletion(facts);
    }
    let living = facts.observed.filter(|s| s.alive);
    if let Some(Draining { most }) = facts.draining {
        let grace = spec_grace(facts.pod);
        let grace = most.map_or(grace, |most| grace.min(most));
        return match living {
            Some(sandbox) => plan_ends(facts, sandbox, grace, Plan::StopSandbox),
            None => Plan::Rest,
        };
    }
    if is_finished(facts.pod, facts.observed) || deadline::is_exceeded(facts.pod, facts.now) {
        return match living {
            // What still runs are sidecars, or all when their time is up.
            Some(sandbox) => {
                let grace = evict::grace_of(facts.pod).unwrap_or_else(|| spec_grace(facts.pod));
                plan_ends(facts, sandbox, grace, Plan::StopSandbox)
            }
            None => Plan::Settled { recheck: None },
        };
    }
    let plan = match living {
        Some(sandbox) => plan_containers(facts, sandbox),
        None => plan_sandbox(facts),
    };
    deadline::with_recheck(plan, facts.pod)
}

/// Whether the pod has ended for good: no container will run again (kubelet `isTerminal`, `getPhase`). A pod that was once seen so
/// stays so, whatever became of the records.
pub fn is_finished(pod: &Pod, observed: Option<&SandboxStatus>) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return true;
    }
    let exit = |c: &Container| History::of(&c.name, observed).exit();
    let is_over = |c: &Container| exit(c).is_some_and(|exit| !history::restarts(pod, c, exit));
    let mut inits = init_containers(pod).iter().filter(|c| !is_sidecar(c));
    let init_failed = inits.any(|c| exit(c).is_some_and(|exit| exit.code != 0) && is_over(c));
    init_failed || (!containers(pod).is_empty() && containers(pod).iter().all(is_over))
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

/// The pod's container of that name, of whichever sort.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let mut all = init_containers(pod).iter().chain(containers(pod));
    let ephemeral = || ephemeral_containers(pod).iter().find(|c| c.name == name);
    let own = all.find(|c| c.name == name).map(Cow::Borrowed);
    own.or_else(|| ephemeral().map(|c| Cow::Owned(as_container(c))))
}

fn plan_deletion(facts: Facts<'_>) -> Plan {
    let Some(sandbox) = facts.observed.filter(|s| s.alive) else {
        return Plan::Finish;
    };
    let seconds = facts.pod.metadata.deletion_grace_period_seconds;
    let grace = SignedDuration::from_secs(seconds.filter(|_| !facts.is_gone).unwrap_or(0));
    plan_ends(facts, sandbox, grace, Plan::Finish)
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
    let mut steps = Steps::default();
    for container in ephemeral_containers(facts.pod) {
        plan_once(facts, sandbox, &as_container(container), &mut steps);
    }
    if plan_inits(facts, sandbox, &mut steps) {
        for container in containers(facts.pod) {
            plan_container(facts, sandbox, container, &mut steps);
        }
    }
    let mut steps = steps.converge;
    for container in init_containers(facts.pod).iter().chain(containers(facts.pod)) {
        steps.forget.extend(
            History::of(&container.name, Some(sandbox))
                .superfluous()
                .map(|run| run.id.clone()),
        );
    }
    let is_idle = steps.end.is_empty() && steps.forget.is_empty() && steps.resize.is_empty() && steps.start.is_empty();
    if is_idle {
        Plan::Settled { recheck: steps.recheck }
    } else {
        Plan::Converge(steps)
    }
}

/// Steps while they are collected.
#[derive(Default)]
struct Steps {
    converge: Converge,
    /// A postStart hook is not done yet: what stands after its container waits.
    is_held: bool,
}

/// Plans the init containers, one after the other, and says whether all are done: those that run to their end have, and sidecars have
/// started. Once a container of the pod itself ran in this sandbox they are, for their records may be gone; from then on
/// only sidecars are looked after (kubelet `computeInitContainerActions`).
fn plan_inits(facts: Facts<'_>, sandbox: &SandboxStatus, steps: &mut Steps) -> bool {
    let here = |name: &str| {
        let latest = History::of(name, Some(sandbox)).latest();
        latest.filter(|run| history::is_of_sandbox(run, sandbox))
    };
    let has_run = |c: &Container| here(&c.name).is_some_and(|run| run.state != ContainerState::Created);
    let was_initialized = containers(facts.pod).iter().any(has_run);
    for container in init_containers(facts.pod) {
        let run = here(&container.name);
        let state = run.map(|run| &run.state);
        if is_sidecar(container) {
            plan_container(facts, sandbox, container, steps);
            let is_up = matches!(state, Some(ContainerState::Running { .. }))
                && run.is_some_and(|run| facts.health.has_started(facts.pod, container, run));
            if !is_up && !was_initialized {
                return false;
            }
        } else if !was_initialized && !matches!(state, Some(ContainerState::Exited(exit)) if exit.code == 0) {
            plan_container(facts, sandbox, container, steps);
            return false;
        }
    }
    true
}

fn plan_container(facts: Facts<'_>, sandbox: &SandboxStatus, container: &Container, steps: &mut Steps) {
    let history = History::of(&container.name, Some(sandbox));
    let Some(latest) = history.latest() else {
        return plan_start(facts, container, 0, Duration::ZERO, steps);
    };
    match &latest.state {
        ContainerState::Running { .. } => {
            steps.is_held |= facts.health.post_start.get(&latest.id) == Some(&PostStart::Runs);
            if let Some(reason) = reason_to_end(facts, container, latest) {
                let (step, again) = plan_run_end(facts, latest, &reason, true);
                steps.converge.end.extend(step);
                again.into_iter().for_each(|at| steps.look_again(at));
            } else if resize::is_due(container, latest) {
                plan_resize(facts, latest, steps);
            }
        }
        // Made but never started: we died in between. Its place is taken by a fresh one.
        ContainerState::Created => {
            steps.converge.forget.push(latest.id.clone());
            plan_start(facts, container, latest.attempt, delay_kept(latest), steps);
        }
        ContainerState::Exited(_) => plan_restart(facts, sandbox, container, &history, steps),
    }
}

/// Plans other resources for a run, again some time after that could not be done.
fn plan_resize(facts: Facts<'_>, run: &crate::runtime::ContainerStatus, steps: &mut Steps) {
    let failure = facts.failures.get(resize::RESIZE_FAILURE);
    match failure.map(|f| back_off::next_try(f.at, f.tries)) {
        Some(again) if again > facts.now => steps.look_again(again),
        _ => steps.converge.resize.push(run.id.clone()),
    }
}

/// Plans a container that is started once, and left alone then. One that was made and not started is as good as none.
fn plan_once(facts: Facts<'_>, sandbox: &SandboxStatus, container: &Container, steps: &mut Steps) {
    match History::of(&container.name, Some(sandbox)).latest() {
        None => plan_start(facts, container, 0, Duration::ZERO, steps),
        Some(run) if run.state == ContainerState::Created => {
            steps.converge.forget.push(run.id.clone());
            plan_start(facts, container, run.attempt, Duration::ZERO, steps);
        }
        Some(_) => {}
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
    steps: &mut Steps,
) {
    let (Some(latest), Some(exit), Some((start, _))) =
        (history.latest(), history.exit(), back_off::next_start(history))
    else {
        return;
    };
    // An init container that succeeded in an earlier sandbox runs again in this one.
    let is_again = history::is_init(facts.pod, container) && !history::is_of_sandbox(latest, sandbox);
    if !is_again && !history::restarts(facts.pod, container, exit) {
        return;
    }
    if start > facts.now {
        steps.look_again(start);
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

fn plan_start(facts: Facts<'_>, container: &Container, attempt: u32, back_off: Duration, steps: &mut Steps) {
    if steps.is_held {
        return;
    }
    let has_hook = container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
    if facts.pulling.contains(&container.name) {
        steps.is_held = has_hook;
        return;
    }
    let failure = facts.failures.get(&container.name);
    match failure.map(|f| (f, back_off::next_try(f.at, f.tries))) {
        Some((failure, again)) if again > facts.now => {
            steps.look_again(again);
            let shown = pull::shown_until(failure);
            if failure.reason == pull::PULL_FAILURE && shown > facts.now {
                steps.look_again(shown);
            }
        }
        _ => {
            steps.is_held = has_hook;
            steps.converge.start.push(Start {
                name: container.name.clone(),
                attempt,
                back_off,
            });
        }
    }
}

impl Steps {
    fn look_again(&mut self, at: Timestamp) {
        let recheck = &mut self.converge.recheck;
        *recheck = Some(recheck.map_or(at, |other| other.min(at)));
    }
}
