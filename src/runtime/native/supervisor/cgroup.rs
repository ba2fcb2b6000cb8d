//! The pod's control group, where one can be made; and a view of cgroup v2 that OCI runtimes can live with.
//!
//! Limits are not this file's business: it only gives each container a leaf below the pod's group, in whatever subtree this
//! process is in and may write. Where that is not possible (cgroup v1 or hybrid without permission) containers run in the
//! supervisor's own group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;
use rustix::thread::UnshareFlags;

use super::super::record::PodDir;
use super::super::sys;

/// Where runtimes look for control groups.
const ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of statfs(2).
const CGROUP2_MAGIC: libc::__fsword_t = 0x6367_7270;

/// The pod's group.
#[derive(Debug)]
pub(super) struct PodCgroup {
    /// From the root of the hierarchy: `/user.slice/…/kubelocal-<uid>`.
    path: PathBuf,
}

impl PodCgroup {
    /// Makes the pod's group, and writes its host path down first, so that whoever cleans up after a killed supervisor finds it.
    /// `None` if this process may not.
    pub fn make(dir: &PodDir, host_mount: &Path, own: &Path) -> Option<PodCgroup> {
        let name = format!("kubelocal-{}", dir.path().file_name()?.to_str()?);
        let path = own.join(&name);
        let relative = path.strip_prefix("/").ok()?;
        let made = fs::write(dir.cgroup(), host_mount.join(relative).as_os_str().as_encoded_bytes())
            .and_then(|()| make_if_absent(&Path::new(ROOT).join(relative)));
        if made.is_err() {
            let _ = fs::remove_file(dir.cgroup());
            return None;
        }
        Some(PodCgroup { path })
    }

    /// A container's group, as OCI's `cgroupsPath` has it.
    pub fn leaf(&self, id: &str) -> PathBuf {
        self.path.join(id)
    }

    /// Whether the kernel killed a process of this group for want of memory.
    pub fn was_out_of_memory(&self, id: &str) -> bool {
        let events = fs::read_to_string(mounted(&self.leaf(id)).join("memory.events")).unwrap_or_default();
        events
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    }

    /// Removes a container's group once it is empty.
    pub fn remove_leaf(&self, id: &str) {
        // One that is still in use, or that no process ever entered, stays or is not there.
        let _ = fs::remove_dir(mounted(&self.leaf(id)));
    }

    /// Removes the pod's group and what is left below it.
    pub fn remove(&self) {
        remove_group(&mounted(&self.path));
    }
}

/// Removes the group that a dead supervisor has left, if it made one.
pub(in crate::runtime::native) fn remove_left(dir: &PodDir) {
    if let Ok(path) = fs::read_to_string(dir.cgroup()) {
        remove_group(Path::new(&path));
        let _ = fs::remove_file(dir.cgroup());
    }
}

/// Groups are removed by rmdir alone, the leaves first.
fn remove_group(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

fn mounted(group: &Path) -> PathBuf {
    Path::new(ROOT).join(group.strip_prefix("/").unwrap_or(group))
}

fn make_if_absent(path: &Path) -> io::Result<()> {
    fs::create_dir(path).or_else(|e| {
        if e.kind() == io::ErrorKind::AlreadyExists {
            Ok(())
        } else {
            Err(e)
        }
    })
}

/// Makes `/sys/fs/cgroup` of this mount namespace a cgroup v2 tree, which the embedded runtime can use or tolerate without
/// permissions; v1 it can not. Returns where the tree is mounted on the host, and this process's group in it.
pub(super) fn present_unified() -> io::Result<(PathBuf, PathBuf)> {
    let own = own_group(&fs::read_to_string("/proc/self/cgroup")?);
    let hybrid = Path::new(ROOT).join("unified");
    if is_cgroup2(Path::new(ROOT)) {
        return Ok((PathBuf::from(ROOT), own));
    }
    if is_cgroup2(&hybrid) {
        rustix::mount::mount_bind(&hybrid, ROOT)?;
        return Ok((hybrid, own));
    }
    // Version 1 alone: a tree that begins at this process's group may be mounted by anyone who owns a cgroup namespace.
    sys::unshare(UnshareFlags::NEWCGROUP)?;
    rustix::mount::mount("cgroup2", ROOT, "cgroup2", MountFlags::empty(), None)?;
    Ok((PathBuf::from(ROOT), PathBuf::from("/")))
}

fn is_cgroup2(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC)
}

/// The v2 line of `/proc/<pid>/cgroup` (cgroups(7)).
fn own_group(text: &str) -> PathBuf {
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    PathBuf::from(line.unwrap_or("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_line_is_found_among_those_of_version_one() {
        assert_eq!(
            own_group("4:memory:/a\n0::/user.slice/x.service\n"),
            Path::new("/user.slice/x.service")
        );
        assert_eq!(own_group("1:name=systemd:/\n"), Path::new("/"));
    }
}
