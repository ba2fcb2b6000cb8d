//! The OCI runtimes, behind one small trait. All of it runs in a short-lived child that the supervisor forks for one call: a
//! runtime may hang, leak, change its directory or its oom score, and the supervisor stays as it was.
//!
//! State of containers (pid, how they ended) is the supervisor's, which is their parent; a runtime is asked to make processes and
//! for nothing else. Signals go by pidfd, and what a runtime kept is removed as a directory.

mod cli;
mod console;
mod embedded;
mod enter;
mod executor;
mod filter;
mod trace;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::external::Program;

/// One call's subject.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    /// The container's id.
    pub id: String,
    /// The OCI bundle; `config.json` is in it.
    pub path: PathBuf,
    /// Where runtimes keep their state, for all containers of the pod.
    pub state: PathBuf,
    /// Where translated seccomp profiles are kept, for all pods.
    pub seccomp_cache: PathBuf,
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// Whether the config names a control group.
    pub has_cgroup: bool,
}

impl Bundle {
    /// Where its root file system is mounted.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Where what is mounted from inside of volumes is pinned.
    pub fn parts(&self) -> PathBuf {
        self.state.with_file_name("parts").join(&self.id)
    }

    /// What the runtime keeps of this container.
    pub fn state_dir(&self) -> PathBuf {
        self.state.join(&self.id)
    }
}

/// Where a shared pid namespace is seen, if the pod has one, beside the directory in which runtimes keep their state.
pub(super) fn view_of_shared(state: &Path) -> PathBuf {
    state.with_file_name("processes")
}

/// A process that a runtime made. It is the supervisor's child.
#[derive(Debug)]
pub(super) struct Launched {
    pub pid: i32,
    /// The inode of the mount namespace it was made in; for a container's first process.
    pub mount_namespace: Option<u64>,
    /// The master side of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// The inode of a process's mount namespace; to be asked while it waits for its start, for afterwards it may be gone.
fn mount_namespace(pid: i32) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino())
}

/// Makes processes in containers. Standard streams of the process are 0, 1 and 2 of the caller (unless it has a terminal).
/// An error is for people: what failed, and the system's reason.
pub(super) trait OciRuntime {
    /// Creates and starts the bundle's container.
    fn run(&self, bundle: &Bundle) -> Result<Launched, String>;

    /// Starts the process described in the file `process` (an OCI `process` object) in a running container, whose first process is `first`.
    fn exec(&self, bundle: &Bundle, process: &Path, first: i32) -> Result<Launched, String>;
}

/// The runtime that was chosen; `None` is the embedded one.
pub(super) fn chosen(program: Option<&Program>) -> Box<dyn OciRuntime> {
    match program {
        Some(program) => Box::new(cli::Cli(program.clone())),
        None => Box::new(embedded::Embedded),
    }
}
