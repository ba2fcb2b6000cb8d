//! Ephemeral containers: added to a pod that is there already, to look around in it. They are started once and never again, whatever
//! becomes of them, and the pod neither waits for them nor counts how they end (kubelet `computePodActions`). Pure.

use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};

use super::history::History;
use crate::runtime::{ContainerId, SandboxStatus};

/// `spec.ephemeralContainers`.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    let spec = pod.spec.as_ref();
    spec.and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or_default()
}

/// Whether the pod has an ephemeral container of that name.
pub fn is_ephemeral(pod: &Pod, name: &str) -> bool {
    ephemeral_containers(pod).iter().any(|c| c.name == name)
}

/// The run whose processes an ephemeral container wants to see (`targetContainerName`), if it wants any.
///
/// # Errors
/// That container does not run.
pub(super) fn target(pod: &Pod, name: &str, sandbox: &SandboxStatus) -> Result<Option<ContainerId>, String> {
    let own = ephemeral_containers(pod).iter().find(|c| c.name == name);
    let wanted = own.and_then(|c| c.target_container_name.as_deref()).unwrap_or_default();
    if wanted.is_empty() {
        return Ok(None);
    }
    let latest = History::of(wanted, Some(sandbox)).latest();
    let found = latest.filter(|run| run.is_running()).map(|run| run.id.clone());
    found
        .map(Some)
        .ok_or_else(|| format!("unable to find target container {wanted:?}: it does not run"))
}
