//! postStart hooks over the node's deaths. A hook that was under way when the node died is sent anew by the next one: "Hook delivery is intended
//! to be at least once, which means that a hook may be called multiple times" (Kubernetes, Container Lifecycle Hooks). That one was done is
//! written in the pod's directory; nothing of it outlives the container, so nobody waits for the disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::health::Health;
use super::history::{History, SPEC_HASH, container_hash, is_sidecar};
use super::plan::{containers, init_containers};
use crate::runtime::{ContainerId, ContainerState, SandboxStatus};

/// Running runs whose containers have a postStart hook of which nothing is known.
pub(super) fn plan_unknown<'p>(
    pod: &'p Pod,
    sandbox: &SandboxStatus,
    health: &Health,
) -> Vec<(&'p Container, ContainerId)> {
    let sidecars = init_containers(pod).iter().filter(|c| is_sidecar(c));
    let hooked = containers(pod).iter().chain(sidecars).filter(|container| {
        let lifecycle = container.lifecycle.as_ref();
        lifecycle.is_some_and(|lifecycle| lifecycle.post_start.is_some())
    });
    let unknown = hooked.filter_map(|container| {
        let run = History::of(&container.name, Some(sandbox)).latest()?;
        let runs = matches!(run.state, ContainerState::Running { .. });
        // Another spec's run is about to end.
        let is_current = || run.annotations.get(SPEC_HASH) == Some(&container_hash(container));
        (runs && !health.post_start.contains_key(&run.id) && is_current()).then(|| (container, run.id.clone()))
    });
    unknown.collect()
}

/// Whether a run's hook is known to be done, from before.
pub(super) fn is_done(directory: &Path, container: &str, run: &ContainerId) -> bool {
    fs::read_to_string(path(directory, container)).is_ok_and(|done| done == run.0)
}

/// Writes down that a run's hook is done.
///
/// # Errors
/// When the disk does not do it; the hook is sent once more then, should the node die while the run lives.
pub(super) fn note_done(directory: &Path, container: &str, run: &ContainerId) -> io::Result<()> {
    let file = path(directory, container);
    fs::create_dir_all(file.parent().expect("it lies in a directory"))?;
    fs::write(file, &run.0)
}

fn path(directory: &Path, container: &str) -> PathBuf {
    directory.join("post-start").join(container)
}
