//! What a container did so far, read from the runtime's records.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::ephemeral::is_ephemeral;
use crate::runtime::{ContainerState, ContainerStatus, Exit, SandboxStatus};

/// Annotation on a run: a hash of the container's spec it was started from.
pub const SPEC_HASH: &str = "kubelocal.dev/container-hash";

/// Annotation on a run: seconds that pass after its end before the next one (kubelet's back-off entry, kept where it survives).
pub const BACK_OFF: &str = "kubelocal.dev/back-off-seconds";

/// Annotation on a run: when its sandbox was made, for runs of an earlier sandbox count differently.
pub const SANDBOX: &str = "kubelocal.dev/sandbox";

/// Annotation on a run: the number of the signal that asks it to end.
pub const STOP_SIGNAL: &str = "kubelocal.dev/stop-signal";

/// Annotation on a run: the ids of the images that are mounted into it.
pub const VOLUME_IMAGES: &str = "kubelocal.dev/volume-images";

/// The newest runs of one container, newest first. At most what the runtime keeps: the last and the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History<'a> {
    runs: Vec<&'a ContainerStatus>,
}

impl<'a> History<'a> {
    /// The runs of the container called `name`.
    pub fn of(name: &str, sandbox: Option<&'a SandboxStatus>) -> Self {
        let all = sandbox.into_iter().flat_map(|s| &s.containers);
        let mut runs: Vec<_> = all.filter(|run| run.name == name).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.attempt));
        Self { runs }
    }

    /// The last run.
    pub fn latest(&self) -> Option<&'a ContainerStatus> {
        self.runs.first().copied()
    }

    /// How the last run that ended before the latest one ended.
    pub fn previous_exit(&self) -> Option<(&'a ContainerStatus, &'a Exit)> {
        self.runs
            .iter()
            .skip(1)
            .find_map(|run| exit_of(run).map(|exit| (*run, exit)))
    }

    /// How the last run ended, if it did.
    pub fn exit(&self) -> Option<&'a Exit> {
        self.latest().and_then(exit_of)
    }

    /// Since when it runs, if it does.
    pub fn running_since(&self) -> Option<Timestamp> {
        match self.latest()?.state {
            ContainerState::Running { started_at } => Some(started_at),
            ContainerState::Created | ContainerState::Exited(_) => None,
        }
    }

    /// `restartCount`: runs after the first.
    pub fn restarts(&self) -> u32 {
        self.latest().map_or(0, |run| run.attempt)
    }

    /// Runs that nobody needs: older than the last and the one before, which `logs -p` and `lastState` show.
    pub fn superfluous(&self) -> impl Iterator<Item = &'a ContainerStatus> + '_ {
        self.runs.iter().skip(2).copied()
    }
}

fn exit_of(run: &ContainerStatus) -> Option<&Exit> {
    match &run.state {
        ContainerState::Exited(exit) => Some(exit),
        ContainerState::Created | ContainerState::Running { .. } => None,
    }
}

/// Whether this run belongs to the sandbox as it is now.
pub fn is_of_sandbox(run: &ContainerStatus, sandbox: &SandboxStatus) -> bool {
    run.annotations
        .get(SANDBOX)
        .is_some_and(|made| *made == sandbox.created_at.to_string())
}

/// A hash of what a container was asked to be; it changes when the container must be started anew (kubelet `HashContainer`). Resources
/// change while it runs.
pub fn container_hash(container: &Container) -> String {
    let lasting = Container {
        resources: None,
        ..container.clone()
    };
    let text = serde_json::to_vec(&lasting).expect("Kubernetes types have string keys only");
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether an init container is one that goes on running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether the pod has a sidecar of that name.
pub fn has_sidecar(pod: &Pod, name: &str) -> bool {
    let mut inits = super::init_containers(pod).iter();
    inits.any(|c| c.name == name && is_sidecar(c))
}

/// Whether it is one that has to run to its end before the pod's own containers start.
pub(super) fn is_init(pod: &Pod, container: &Container) -> bool {
    let is_among = super::init_containers(pod).iter().any(|c| c.name == container.name);
    is_among && !is_sidecar(container)
}

/// Whether a container that ended so is started again.
pub fn restarts(pod: &Pod, container: &Container, exit: &Exit) -> bool {
    if is_ephemeral(pod, &container.name) {
        return false;
    }
    if exit.was_drained {
        return true;
    }
    let policy = RestartPolicy::of_container(pod, container);
    let by_rule = container.restart_policy.is_some() && is_restarted_by_rule(container, exit);
    if is_init(pod, container) {
        exit.code != 0 && (by_rule || policy.restarts_init_after(exit))
    } else {
        by_rule || policy.restarts_after(exit)
    }
}

/// Whether one of the container's own rules wants it again after this code (`restartPolicyRules`, kubelet
/// `podutil.FindMatchingContainerRestartRule`).
fn is_restarted_by_rule(container: &Container, exit: &Exit) -> bool {
    let mut rules = container.restart_policy_rules.iter().flatten();
    rules.any(|rule| {
        let Some(codes) = &rule.exit_codes else { return false };
        let is_among = codes.values.iter().flatten().any(|code| *code == exit.code);
        match codes.operator.as_str() {
            "In" => is_among,
            "NotIn" => !is_among,
            _ => false,
        }
    })
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever happened, again.
    Always,
    /// Again after a failure.
    OnFailure,
    /// Once.
    Never,
}

impl RestartPolicy {
    /// The pod's policy; `admit` lets no other word through.
    pub fn of(pod: &Pod) -> Self {
        let word = pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref());
        Self::parse(word.unwrap_or_default())
    }

    fn parse(word: &str) -> Self {
        match word {
            "Never" => Self::Never,
            "OnFailure" => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// The policy of one of the pod's containers: its own, as sidecars have it, else the pod's.
    pub fn of_container(pod: &Pod, container: &Container) -> Self {
        container
            .restart_policy
            .as_deref()
            .map_or_else(|| Self::of(pod), Self::parse)
    }

    /// Whether a container that failed is started again.
    pub fn restarts_failed(self) -> bool {
        self != Self::Never
    }

    /// Whether a container that ended so is started again (kubelet `ShouldContainerBeRestarted`).
    pub fn restarts_after(self, exit: &Exit) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit.code != 0,
            Self::Never => false,
        }
    }

    /// The same for an init container, which is done once it succeeded.
    pub fn restarts_init_after(self, exit: &Exit) -> bool {
        exit.code != 0 && self.restarts_failed()
    }
}
