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

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;

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

/// Refuses a container that waits for its start with something in `/proc` that its bundle does not name: a link in one volume may have led
/// another one there, which is seen once all of them are mounted. See [`super::resolve`] for why.
fn check_proc(named: &Named, pid: i32) -> Result<(), String> {
    let mounts_of = |process: &str| fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
    // Where it sees the processes of others, what is mounted there is theirs.
    let Some(at) = stray_in_proc(&mounts_of(&pid.to_string()), named, || mounts_of("self")) else {
        return Ok(());
    };
    end_waiting(pid);
    Err(format!(
        "a link in a volume leads a mount to {}: nothing can be mounted in /proc",
        at.display()
    ))
}

fn load_spec(bundle: &Bundle) -> Result<Spec, String> {
    Spec::load(bundle.path.join("config.json")).map_err(|e| format!("bundle config: {e}"))
}

/// Ends a process that waits for its start.
fn end_waiting(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have ended meanwhile, which is what is wanted.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Where a bundle says that something is mounted.
#[derive(Debug, Default)]
struct Named {
    masked: BTreeSet<PathBuf>,
    read_only: BTreeSet<PathBuf>,
    asked: BTreeSet<PathBuf>,
}

impl Named {
    fn of(spec: &Spec) -> Named {
        let linux = spec.linux().as_ref();
        let masked = linux.and_then(|linux| linux.masked_paths().clone());
        let read_only = linux.and_then(|linux| linux.readonly_paths().clone());
        let paths = |texts: Option<Vec<String>>| texts.unwrap_or_default().into_iter().map(PathBuf::from).collect();
        let asked = spec.mounts().iter().flatten().map(|mount| mount.destination().clone());
        Named {
            masked: paths(masked),
            read_only: paths(read_only),
            asked: asked.collect(),
        }
    }

    /// Whether a mount in `/proc` is another one. What is covered is so once, and what is read-only is still a view of processes.
    fn is_another(&self, at: &Path, is_proc: bool, count: usize) -> bool {
        if at == Path::new("/proc") {
            return !is_proc;
        }
        let is_masked = self.masked.contains(at) && count == 1;
        let is_read_only = self.read_only.contains(at) && is_proc && count == 1;
        !(self.asked.contains(at) || is_masked || is_read_only)
    }
}

/// The first place in `/proc` of proc_pid_mountinfo(5) where something is mounted that is neither named nor among the `own`; and `/proc` itself,
/// where that is no view of processes.
fn stray_in_proc(mounts: &str, named: &Named, own: impl Fn() -> String) -> Option<PathBuf> {
    let parsed = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let is_proc = after.starts_with("proc ");
        Some((PathBuf::from(before.split(' ').nth(4)?), is_proc))
    };
    let mut all: Vec<_> = mounts.lines().filter_map(parsed).collect();
    all.retain(|(at, _)| at.starts_with("/proc"));
    let count = |at: &Path| all.iter().filter(|(other, _)| other == at).count();
    let mut strays = all
        .iter()
        .filter(|(at, is_proc)| named.is_another(at, *is_proc, count(at)));
    let first = strays.next()?;
    let own: Vec<_> = own().lines().filter_map(parsed).map(|(at, _)| at).collect();
    let mut strays = std::iter::once(first).chain(strays).map(|(at, _)| at);
    strays
        .find(|at| *at == Path::new("/proc") || !own.contains(at))
        .cloned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_has_led_into_proc_is_found() {
        let line = |at: &str, kind: &str| format!("36 35 98:0 / {at} rw,noatime - {kind} none rw\n");
        let usual = line("/", "overlay")
            + &line("/proc", "proc")
            + &line("/proc/kcore", "tmpfs")
            + &line("/proc/sys", "proc")
            + &line("/data", "ext4");
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let named = Named {
            masked: set(&["/proc/kcore"]),
            read_only: set(&["/proc/sys"]),
            asked: set(&["/proc", "/data", "/data/l"]),
        };
        let found = |mounts: &str| stray_in_proc(mounts, &named, || line("/proc/sys/fs/binfmt_misc", "autofs"));
        assert_eq!(found(&usual), None);
        assert_eq!(
            found(&(usual.clone() + &line("/proc/sys/fs/binfmt_misc", "autofs"))),
            None
        );
        assert_eq!(found(&(usual.clone() + &line("/process", "ext4"))), None);
        let plain = usual.replace(&line("/proc/sys", "proc"), &line("/proc/sys", "ext4"));
        assert_eq!(
            found(&plain),
            Some("/proc/sys".into()),
            "it was there before it was made read-only"
        );
        for (at, kind) in [
            ("/proc/kcore", "tmpfs"),
            ("/proc/sys", "ext4"),
            ("/proc", "ext4"),
            ("/proc/1/attr", "tmpfs"),
        ] {
            assert_eq!(found(&(usual.clone() + &line(at, kind))), Some(at.into()), "{at}");
        }
    }
}
