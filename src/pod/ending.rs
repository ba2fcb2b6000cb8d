//! How a run is brought to its end: told once, its preStop hook first, then the signal when its turn has come, SIGKILL when its time
//! is up (kubelet `killContainer`, `terminationOrdering`). Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::health::PostStart;
use super::history::{self, is_sidecar};
use super::plan::{Facts, Plan, container, containers, init_containers};
use super::resize;
use crate::model::later;
use crate::probe::ProbeKind;
use crate::runtime::{ContainerId, ContainerStatus, SandboxStatus};

/// How long a SIGKILL may take to show before the whole sandbox is ended: far more than the kernel needs even for large processes.
const KILL_PATIENCE: SignedDuration = SignedDuration::from_secs(5);

/// What a container gets at least between its signal and SIGKILL, whatever its hook has left of the grace (kubelet
/// `minimumGracePeriodInSeconds`).
const LEAST_GRACE: SignedDuration = SignedDuration::from_secs(2);

/// A run that was told to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When its grace is over.
    pub deadline: Timestamp,
    /// Whether its preStop hook still runs.
    pub in_hook: bool,
    /// When SIGKILL follows the signal; `None` while the signal was not sent.
    pub kill_at: Option<Timestamp>,
}

/// A step of a run towards its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndStep {
    /// The run.
    pub run: ContainerId,
    /// It is told now: the event's message.
    pub tell: Option<String>,
    /// Its preStop hook starts now.
    pub runs_hook: bool,
    /// When its grace is over.
    pub deadline: Timestamp,
    /// The signal is sent now, and SIGKILL follows then.
    pub signal: Option<Timestamp>,
}

/// Why a run ends, and how much time it has.
#[derive(Debug, Clone)]
pub(super) struct Reason {
    pub message: String,
    pub grace: SignedDuration,
}

impl Reason {
    fn new(message: String, grace: SignedDuration) -> Self {
        Self { message, grace }
    }
}

/// The plan for a pod whose containers all have to end; `last` is what follows then.
pub(super) fn plan_ends(facts: Facts<'_>, sandbox: &SandboxStatus, grace: SignedDuration, last: Plan) -> Plan {
    let running: Vec<_> = sandbox.containers.iter().filter(|run| run.is_running()).collect();
    if running.is_empty() {
        return last;
    }
    let mut steps = Vec::new();
    let mut recheck = None;
    for run in &running {
        let reason = Reason::new(format!("Stopping container {}", run.name), grace);
        let (step, again) = plan_run_end(facts, run, &reason, is_its_turn(facts.pod, run, &running));
        steps.extend(step);
        recheck = recheck.into_iter().chain(again).min();
    }
    if !steps.is_empty() {
        return Plan::End(steps);
    }
    // When their time is up the supervisor kills them; if even that leaves something, the sandbox goes as a whole.
    let kills = running.iter().map(|run| facts.endings.get(&run.id)?.kill_at);
    match kills
        .collect::<Option<Vec<_>>>()
        .and_then(|kills| kills.into_iter().max())
    {
        Some(killed) if later(killed, KILL_PATIENCE) < facts.now => last,
        Some(killed) => Plan::Settled {
            recheck: Some(later(killed, KILL_PATIENCE)),
        },
        None => Plan::Settled { recheck },
    }
}

/// The next step of a run that has to end, and when to look again if there is none.
pub(super) fn plan_run_end(
    facts: Facts<'_>,
    run: &ContainerStatus,
    reason: &Reason,
    is_its_turn: bool,
) -> (Option<EndStep>, Option<Timestamp>) {
    // Counted from here and not to `deletionTimestamp`, which has lost its fraction of a second: the grace is theirs, whole.
    let asked = later(facts.now, reason.grace);
    let step = |deadline, signal| EndStep {
        run: run.id.clone(),
        tell: None,
        runs_hook: false,
        deadline,
        signal,
    };
    let Some(ending) = facts.endings.get(&run.id) else {
        let runs_hook = has_pre_stop(facts.pod, &run.name) && reason.grace > SignedDuration::ZERO;
        let is_due = !runs_hook && (is_its_turn || reason.grace <= SignedDuration::ZERO);
        let begin = EndStep {
            tell: Some(reason.message.clone()),
            runs_hook,
            ..step(asked, is_due.then_some(asked))
        };
        return (Some(begin), None);
    };
    let deadline = ending.deadline.min(asked);
    let has_shrunk = deadline < ending.deadline;
    let is_due = deadline <= facts.now || (is_its_turn && !ending.in_hook);
    match ending.kill_at {
        None if is_due => {
            let least = if reason.grace > SignedDuration::ZERO {
                LEAST_GRACE
            } else {
                SignedDuration::ZERO
            };
            let kill_at = deadline.max(later(facts.now, least));
            (Some(step(deadline, Some(kill_at))), None)
        }
        Some(_) if has_shrunk => (Some(step(deadline, Some(deadline))), None),
        None if has_shrunk => (Some(step(deadline, None)), None),
        None => (None, Some(deadline)),
        Some(_) => (None, None),
    }
}

/// Why a run that others would leave alone has to end, if it has to.
pub(super) fn reason_to_end(facts: Facts<'_>, container: &Container, run: &ContainerStatus) -> Option<Reason> {
    let (pod, name) = (facts.pod, &container.name);
    let grace = spec_grace(pod);
    let restarts = |message: String, is_certain: bool| {
        let restarts = is_certain || history::RestartPolicy::of_container(pod, container).restarts_failed();
        if restarts {
            format!("{message}, will be restarted")
        } else {
            message
        }
    };
    if run.annotations.get(history::SPEC_HASH) != Some(&history::container_hash(container)) {
        let message = restarts(format!("Container {name} definition changed"), true);
        return Some(Reason::new(message, grace));
    }
    if resize::needs_restart(container, run) {
        let message = format!("Container {name} resize requires restart");
        return Some(Reason::new(message, grace));
    }
    if facts.health.post_start.get(&run.id) == Some(&PostStart::Failed) {
        return Some(Reason::new("FailedPostStartHook".to_owned(), grace));
    }
    for (kind, probe) in [
        (ProbeKind::Liveness, &container.liveness_probe),
        (ProbeKind::Startup, &container.startup_probe),
    ] {
        if facts.health.results.get(&run.id, kind) == Some(false) {
            let own = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
            let word = kind.to_string().to_lowercase();
            let message = restarts(format!("Container {name} failed {word} probe"), false);
            return Some(Reason::new(message, own.map_or(grace, SignedDuration::from_secs)));
        }
    }
    // Whoever was told to end ends, even if the reason is gone.
    let is_told = facts.endings.contains_key(&run.id);
    is_told.then(|| Reason::new(String::new(), grace))
}

/// What the pod's spec gives its containers to end.
pub(super) fn spec_grace(pod: &Pod) -> SignedDuration {
    let seconds = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    SignedDuration::from_secs(seconds.unwrap_or(30).max(1))
}

/// Sidecars serve until the containers that they serve have ended, and end in the reverse order of their start.
fn is_its_turn(pod: &Pod, run: &ContainerStatus, running: &[&ContainerStatus]) -> bool {
    let runs = |name: &str| running.iter().any(|other| other.name == name);
    let inits = init_containers(pod);
    let place = inits.iter().position(|c| c.name == run.name && is_sidecar(c));
    let Some(place) = place else { return true };
    let later = inits[place + 1..].iter().filter(|c| is_sidecar(c));
    !containers(pod).iter().chain(later).any(|c| runs(&c.name))
}

fn has_pre_stop(pod: &Pod, name: &str) -> bool {
    container(pod, name).is_some_and(|c| c.lifecycle.as_ref().is_some_and(|l| l.pre_stop.is_some()))
}
