//! The pod's control groups as its supervisor uses them; and a view of cgroup v2 that OCI runtimes can live with.
//!
//! Limits are written before anything runs. Who makes a container's process enters its groups of version 1 itself, before it calls the OCI
//! runtime, which sees none of them; into the group of version 2 the runtime puts the process. Where there are no groups
//! containers run in the supervisor's own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use rustix::thread::UnshareFlags;

use super::super::record::{PodDir, SandboxRecord};
use super::super::sys;
use super::super::wire::Fault;
use super::container::{Container, Stage};
use super::{Supervisor, note, processes};
use crate::cgroup::{self, Group};
use crate::runtime::{ContainerId, Resize, Resized, Usage};

/// Where runtimes look for control groups.
const ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of statfs(2).
const CGROUP2_MAGIC: libc::__fsword_t = 0x6367_7270;

/// Makes the pod's group, and writes its paths down first, so that whoever cleans up after a killed supervisor finds it. `None`
/// if the pod is to have none.
///
/// # Errors
/// The text is for people.
pub(super) fn make(dir: &PodDir, record: &SandboxRecord) -> Result<Option<Group>, String> {
    let Some(tree) = &record.cgroups else {
        return Ok(None);
    };
    let failed = |e: io::Error| format!("control group: {e}");
    let name = format!("kubelocal-{}", record.config.uid);
    let paths = Group::paths(tree, &name);
    let lines: Vec<&[u8]> = paths.iter().map(|path| path.as_os_str().as_bytes()).collect();
    fs::write(dir.cgroup(), lines.join(&b'\n')).map_err(failed)?;
    let made = Group::make(tree, &name, &record.config.limits);
    if made.is_err() {
        remove_left(dir);
    }
    made.map(Some).map_err(failed)
}

/// Removes the groups that a dead supervisor has left, if it made some.
pub(in crate::runtime::native) fn remove_left(dir: &PodDir) {
    let Ok(lines) = fs::read(dir.cgroup()) else { return };
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let paths: Vec<PathBuf> = lines.map(|line| OsStr::from_bytes(line).into()).collect();
    cgroup::remove_left(&paths);
    let _ = fs::remove_file(dir.cgroup());
}

/// Moves this process, which is to make a container's, into its groups of version 1.
///
/// # Errors
/// The text is for people.
pub(super) fn enter(group: Option<&Group>, id: &ContainerId) -> Result<(), String> {
    let entered = group.map(|group| group.enter(&id.0)).transpose();
    entered.map(drop).map_err(|e| format!("control group: {e}"))
}

impl Supervisor {
    /// Makes a container's group with its limits; undoes the container if that can't be done.
    pub(super) fn limit(&self, container: &Container) -> Result<(), Fault> {
        let (Some(group), config) = (&self.cgroup, &container.config) else {
            return Ok(());
        };
        let Err(refused) = group.make_leaf(&config.id.0, &config.limits) else {
            return Ok(());
        };
        group.remove_leaf(&config.id.0);
        if let Err(error) = container.remove() {
            note(&format!("undoing {}: {error}", config.id));
        }
        Err(Fault::Create(format!("limits: {refused}")))
    }

    /// Changes the limits of the pod and of runs, and the runs' records with them. What is half done when it fails is done again by
    /// whoever tries again.
    pub(super) fn resize(&mut self, resize: &Resize) -> Result<(), Fault> {
        if let Some(group) = &self.cgroup {
            for one in &resize.containers {
                let container = self.containers.get(&one.id);
                let container = container.ok_or_else(|| Fault::NoContainer(one.id.clone()))?;
                check_usage(group, &container.config.name, one)?;
            }
            let failed = |e: io::Error| Fault::Resize(format!("limits: {e}"));
            // The kernel may want the pod to have no less than its containers: this write is in order when they grow,
            let pods_first = group.limit(None, &resize.limits);
            for one in &resize.containers {
                group.limit(Some(&one.id.0), &one.limits).map_err(failed)?;
            }
            // and this one when they shrink.
            if pods_first.is_err() {
                group.limit(None, &resize.limits).map_err(failed)?;
            }
        }
        for one in &resize.containers {
            if let Some(container) = self.containers.get_mut(&one.id) {
                let recorded = container.resize(one);
                recorded.map_err(|e| Fault::Resize(format!("record of {}: {e}", one.id)))?;
            }
        }
        self.tell_watchers();
        Ok(())
    }

    /// Whether the kernel killed something of a container for want of memory.
    pub(super) fn was_out_of_memory(&self, id: &ContainerId) -> bool {
        self.cgroup.as_ref().is_some_and(|group| group.oom_kills(&id.0) > 0)
    }

    /// What the containers that run have used: by their groups' accounts, or by those of their processes.
    pub(super) fn usage(&self) -> Vec<(ContainerId, Usage)> {
        let namespaces = self
            .containers
            .iter()
            .filter_map(|(id, container)| match &container.stage {
                Stage::Running(running) => Some((id, running.mount_namespace)),
                Stage::Created | Stage::Starting | Stage::Exited => None,
            });
        let (mut used, mut unaccounted) = (Vec::new(), BTreeMap::new());
        for (id, namespace) in namespaces {
            match self.cgroup.as_ref().and_then(|group| group.usage(&id.0)) {
                Some(usage) => used.push((id.clone(), usage)),
                None => drop(namespace.map(|namespace| unaccounted.insert(namespace, id.clone()))),
            }
        }
        if !unaccounted.is_empty() {
            let mut sums = processes::usage();
            used.extend(
                unaccounted
                    .into_iter()
                    .map(|(namespace, id)| (id, sums.remove(&namespace).unwrap_or_default())),
            );
        }
        used
    }
}

/// A limit below what is used would be enforced by killing (kubelet `validateMemoryResizeAction`).
fn check_usage(group: &Group, name: &str, resized: &Resized) -> Result<(), Fault> {
    let used = group.usage(&resized.id.0).map(|usage| usage.memory_bytes);
    match (resized.limits.memory, used) {
        (Some(limit), Some(used)) if limit <= used => Err(Fault::Resize(format!(
            "attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
        ))),
        _ => Ok(()),
    }
}

/// Makes `/sys/fs/cgroup` of this mount namespace a cgroup v2 tree, which the embedded runtime can use or tolerate without
/// permissions; v1 it can not.
pub(super) fn present_unified() -> io::Result<()> {
    let hybrid = Path::new(ROOT).join("unified");
    if is_cgroup2(Path::new(ROOT)) {
        return Ok(());
    }
    if is_cgroup2(&hybrid) {
        return Ok(rustix::mount::mount_bind(&hybrid, ROOT)?);
    }
    // Version 1 alone: a tree that begins at this process's group may be mounted by anyone who owns a cgroup namespace.
    sys::unshare(UnshareFlags::NEWCGROUP)?;
    Ok(rustix::mount::mount(
        "cgroup2",
        ROOT,
        "cgroup2",
        MountFlags::empty(),
        None,
    )?)
}

fn is_cgroup2(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC)
}
