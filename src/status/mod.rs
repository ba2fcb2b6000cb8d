//! What the API says of a pod: `PodStatus` from what is asked, what is there and what failed (kubelet `generateAPIPodStatus`). Pure:
//! whoever writes it to the store compares first, so an unchanged pod costs nothing.

mod conditions;
mod containers;
mod phase;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, Pod, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use containers::container_id;
pub use phase::Phase;

use crate::model::{qos_class, whole_second};
use crate::pod::{self, Failure, Health, PendingResize};
use crate::runtime::SandboxStatus;

/// What a status is made from.
#[derive(Debug, Clone, Copy)]
pub struct StatusFacts<'a> {
    /// The pod with its present status, from which transition times are kept.
    pub pod: &'a Pod,
    /// What is there.
    pub observed: Option<&'a SandboxStatus>,
    /// What could not be started, by container name.
    pub failures: &'a BTreeMap<String, Failure>,
    /// Why other resources that the pod asks for wait; the pod at hand is then the one with those that it has.
    pub resize: Option<&'a PendingResize>,
    /// What is known of runs from their probes and hooks.
    pub health: &'a Health,
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// The time.
    pub now: Timestamp,
}

/// The status of a pod.
pub fn pod_status(facts: StatusFacts<'_>) -> PodStatus {
    let old = facts.pod.status.clone().unwrap_or_default();
    if is_rejected(facts, &old) {
        return old;
    }
    let init_statuses = containers::init_statuses(facts, &old);
    let statuses = containers::statuses(facts, &old);
    let ephemeral = containers::ephemeral_statuses(facts, &old);
    let phase = phase::phase(facts, &init_statuses, &statuses, &old);
    let conditions = conditions::conditions(facts, phase, &init_statuses, &statuses, &old);
    let pod_ips = pod_ips(facts, phase, &old);
    let is_late = pod::is_past_deadline(facts.pod, facts.now) && !pod::is_finished(facts.pod, facts.observed);
    let late = |text: &str, old: &Option<String>| if is_late { Some(text.to_owned()) } else { old.clone() };
    PodStatus {
        reason: late(pod::DEADLINE_REASON, &old.reason),
        message: late(pod::DEADLINE_MESSAGE, &old.message),
        phase: Some(phase.as_str().to_owned()),
        conditions: Some(conditions),
        container_statuses: Some(statuses).filter(|s| !s.is_empty()),
        ephemeral_container_statuses: Some(ephemeral).filter(|s| !s.is_empty()),
        init_container_statuses: Some(init_statuses).filter(|s| !s.is_empty()),
        observed_generation: facts.pod.metadata.generation,
        host_ip: facts.host_ips.first().cloned(),
        host_ips: Some(facts.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: pod_ips.first().map(|p| p.ip.clone()),
        pod_ips: Some(pod_ips).filter(|ips| !ips.is_empty()),
        qos_class: Some(qos_class(facts.pod).to_owned()),
        start_time: Some(old.start_time.clone().unwrap_or_else(|| Time(whole_second(facts.now)))),
        ..old
    }
}

/// Whether the pod ended for good before anything of it was made.
fn is_rejected(facts: StatusFacts<'_>, old: &PodStatus) -> bool {
    let has_failed = old.phase.as_deref() == Some(Phase::Failed.as_str());
    has_failed && facts.observed.is_none() && old.container_statuses.is_none()
}

/// A pod on the host's network has the host's addresses; others get theirs from the network while their sandbox lives, and keep
/// showing the last when they have ended for good.
fn pod_ips(facts: StatusFacts<'_>, phase: Phase, old: &PodStatus) -> Vec<PodIP> {
    let is_on_host = facts.pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let own = facts.observed.map(|sandbox| &sandbox.ips[..]).unwrap_or_default();
    match phase {
        _ if is_on_host => facts.host_ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect(),
        Phase::Succeeded | Phase::Failed if own.is_empty() => old.pod_ips.clone().unwrap_or_default(),
        Phase::Succeeded | Phase::Failed | Phase::Pending | Phase::Running => {
            own.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()
        }
    }
}
