//! `activeDeadlineSeconds`: a pod may be active for so long and then has failed, whatever its containers do (kubelet
//! `activeDeadlineHandler`). Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::plan::Plan;

/// Why such a pod has failed, in its status and its event.
pub const REASON: &str = "DeadlineExceeded";

/// The same for people.
pub const MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// When the pod's time is over, if it has an end.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Whether the pod's time is over, or once was.
pub fn is_exceeded(pod: &Pod, now: Timestamp) -> bool {
    let was_told = pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some(REASON);
    was_told || deadline(pod).is_some_and(|end| end <= now)
}

/// The plan, with a look at the pod when its time is over.
pub(super) fn with_recheck(mut plan: Plan, pod: &Pod) -> Plan {
    let Some(end) = deadline(pod) else { return plan };
    let recheck = match &mut plan {
        Plan::Settled { recheck } => recheck,
        Plan::Converge(steps) => &mut steps.recheck,
        Plan::CreateSandbox | Plan::End(_) | Plan::StopSandbox | Plan::Rest | Plan::Finish => return plan,
    };
    *recheck = Some(recheck.map_or(end, |other| other.min(end)));
    plan
}
