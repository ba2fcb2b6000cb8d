//! What is known of runs beyond what the runtime sees: what their probes came to, where their postStart hooks are, what they said at
//! their end; and which probes are to be asked. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus as ApiStatus, Pod, Probe};

use super::history::{History, SPEC_HASH, container_hash, is_sidecar};
use super::plan::{containers, init_containers};
use crate::probe::{Check, ProbeKind, Results, plan_check};
use crate::runtime::{ContainerId, ContainerState, ContainerStatus, SandboxStatus};
use crate::status::container_id;

/// Where a run's postStart hook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostStart {
    /// It runs: until it is done the container does not count as running.
    Runs,
    /// It failed: the container has to end.
    Failed,
    /// It has succeeded.
    Done,
}

/// What is known of runs. Losing it with the node costs a few checks: until there are new results the pod's status tells the old ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// What probes came to.
    pub results: Results,
    /// Where postStart hooks are, of runs of which that is known (`post_start`).
    pub post_start: BTreeMap<ContainerId, PostStart>,
    /// What runs said when they ended; read again by another node.
    pub messages: BTreeMap<ContainerId, String>,
}

impl Health {
    /// Keeps these runs' probes and hooks, and forgets others'.
    pub fn retain(&mut self, mut keep: impl FnMut(&ContainerId) -> bool) {
        self.results.retain(&mut keep);
        self.post_start.retain(|run, _| keep(run));
    }

    /// Whether a run's postStart hook has not succeeded yet, or will not.
    fn is_in_post_start(&self, run: &ContainerId) -> bool {
        match self.post_start.get(run) {
            Some(PostStart::Runs | PostStart::Failed) => true,
            Some(PostStart::Done) | None => false,
        }
    }

    /// Whether a running run of a container has started: its postStart hook is done and its startup probe passed (kubelet
    /// `isContainerStarted`).
    pub fn has_started(&self, pod: &Pod, container: &Container, run: &ContainerStatus) -> bool {
        if self.is_in_post_start(&run.id) {
            return false;
        }
        let told = || status_of(pod, run).is_some_and(|status| status.started == Some(true));
        container.startup_probe.is_none() || self.results.get(&run.id, ProbeKind::Startup).unwrap_or_else(told)
    }

    /// Whether it can be given work.
    pub fn is_ready(&self, pod: &Pod, container: &Container, run: &ContainerStatus) -> bool {
        let told = || status_of(pod, run).is_some_and(|status| status.ready);
        let is_ready = || {
            container.readiness_probe.is_none() || self.results.get(&run.id, ProbeKind::Readiness).unwrap_or_else(told)
        };
        self.has_started(pod, container, run) && is_ready()
    }
}

/// What the pod's status says of this very run.
fn status_of<'p>(pod: &'p Pod, run: &ContainerStatus) -> Option<&'p ApiStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let id = container_id(run);
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|status| status.container_id.as_ref() == Some(&id))
}

/// A probe that is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedProbe {
    /// What it asks.
    pub check: Check,
    /// Time to its first check.
    pub first: Duration,
    /// What everybody takes for granted until then.
    pub known: Option<bool>,
}

/// The probes that are to be asked now, by run and kind (kubelet `prober.worker.doProbe`). With `is_ending` the pod is asked only
/// whether it can still be given work.
pub fn plan_probes(
    pod: &Pod,
    sandbox: &SandboxStatus,
    health: &Health,
    is_ending: bool,
    now: Timestamp,
) -> BTreeMap<(ContainerId, ProbeKind), PlannedProbe> {
    let sidecars = init_containers(pod).iter().filter(|c| is_sidecar(c));
    let mut planned = BTreeMap::new();
    for container in containers(pod).iter().chain(sidecars) {
        let Some(run) = History::of(&container.name, Some(sandbox)).latest() else {
            continue;
        };
        let ContainerState::Running { started_at } = run.state else {
            continue;
        };
        let is_current = || run.annotations.get(SPEC_HASH) == Some(&container_hash(container));
        for (kind, probe) in probes(container) {
            if needs_asking(pod, container, run, health, kind)
                && !(is_ending && kind != ProbeKind::Readiness)
                && is_current()
            {
                let check = plan_check(kind, probe, container);
                let known = match kind {
                    ProbeKind::Startup => None,
                    ProbeKind::Liveness => Some(true),
                    ProbeKind::Readiness => Some(health.is_ready(pod, container, run)),
                };
                let probe = PlannedProbe {
                    first: first_check(&check, started_at, known == Some(true), now),
                    check,
                    known,
                };
                planned.insert((run.id.clone(), kind), probe);
            }
        }
    }
    planned
}

fn probes(container: &Container) -> impl Iterator<Item = (ProbeKind, &Probe)> {
    let of = |kind| match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
    };
    ProbeKind::ALL
        .into_iter()
        .filter_map(move |kind| of(kind).map(|probe| (kind, probe)))
}

fn needs_asking(pod: &Pod, container: &Container, run: &ContainerStatus, health: &Health, kind: ProbeKind) -> bool {
    let result = health.results.get(&run.id, kind);
    let has_started = health.has_started(pod, container, run);
    match kind {
        ProbeKind::Startup => !has_started && result.is_none() && !health.is_in_post_start(&run.id),
        ProbeKind::Liveness => has_started && result != Some(false),
        ProbeKind::Readiness => has_started,
    }
}

/// Time to the first check: when the initial delay has passed. A run that is older, because the node is new or the startup probe took
/// its time, keeps its rhythm, so that a node that starts does not ask all its pods at once; but one that waits to be
/// found ready is asked at once.
fn first_check(check: &Check, started_at: Timestamp, is_settled: bool, now: Timestamp) -> Duration {
    let age = Duration::try_from(now.duration_since(started_at)).unwrap_or_default();
    let Some(past) = age.checked_sub(check.initial_delay) else {
        return check.initial_delay - age;
    };
    if !is_settled || past < check.period {
        return Duration::ZERO;
    }
    let period = check.period.as_millis().max(1);
    let into = u64::try_from(past.as_millis() % period).expect("less than a period");
    check.period - Duration::from_millis(into)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_check_waits_for_its_delay_and_then_keeps_its_rhythm() {
        let probe = json!({"exec": {"command": ["x"]}, "initialDelaySeconds": 5, "periodSeconds": 10});
        let probe: Probe = serde_json::from_value(probe).expect("a probe");
        let check = plan_check(ProbeKind::Liveness, &probe, &Container::default());
        let start = Timestamp::UNIX_EPOCH;
        let first = |age: u64, is_settled| {
            let now = start
                .saturating_add(Duration::from_secs(age))
                .expect("no calendar units");
            first_check(&check, start, is_settled, now).as_secs()
        };
        for (age, is_settled, expected) in [
            (0, true, 5),
            (2, true, 3),
            (5, true, 0),
            (14, true, 0),
            (15, true, 10),
            (27, true, 8),
            (27, false, 0),
            (2, false, 3),
        ] {
            assert_eq!(first(age, is_settled), expected, "at the age of {age} s");
        }
        let before = start.saturating_sub(Duration::from_secs(9)).expect("no calendar units");
        assert_eq!(
            first_check(&check, start, true, before),
            Duration::from_secs(5),
            "a clock that was set back"
        );
    }
}
