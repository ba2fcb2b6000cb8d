//! What a pod keeps on disk, and how it is read when nobody is there to be asked.
//!
//! The files are the truth about a run: a supervisor writes a change here before it tells anyone, so the node lists pods
//! by reading, and a node or supervisor that was killed has lost nothing. Every file is written to a temporary name
//! and renamed. Nothing here knows about processes' lives; whoever calls says whether the supervisor is alive.
//!
//! ```text
//! <pods_dir>/<uid>/sandbox.json                        what was asked, when
//!                 /supervisor.json                     which process serves it
//!                 /supervisor.log                      its last words
//!                 /cgroup                              where its control groups are, one a line, if it has some
//!                 /run/                                tmpfs in the supervisor's own mount namespace: OCI bundles with
//!                                                      root file systems, and what the OCI runtime keeps
//!                 /containers/<name>/<attempt>/config.json      what was asked
//!                                             /status.json      what it does, or how it ended
//!                                             /upper/ work/     its writes
//! ```

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::external::Program;
use crate::cgroup::Tree;
use crate::model::PodIps;
use crate::runtime::{
    ContainerConfig, ContainerId, ContainerState, ContainerStatus, Exit, PodUid, SandboxConfig, SandboxStatus,
};

/// `sandbox.json`: written by the node before the supervisor starts, never changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SandboxRecord {
    pub config: SandboxConfig,
    pub created_at: Timestamp,
    /// Which OCI runtime the pod's containers use for all of its life; `None` is the embedded one.
    pub oci_runtime: Option<Program>,
    /// Where the node keeps what all its pods use: translated seccomp profiles, the lowest layer of their roots.
    pub run_dir: PathBuf,
    /// The pods' network; `None` where the node has none.
    #[serde(default)]
    pub network: Option<NetworkRecord>,
    /// Where the pod's control group is made; `None` if it has none.
    #[serde(default)]
    pub cgroups: Option<Tree>,
}

/// How a supervisor finds the pods' network, which it holds open whether its pod is on it or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NetworkRecord {
    /// Where the node's namespace was opened when the supervisor started.
    pub node: PathBuf,
    /// Which one that was.
    pub identity: u64,
    /// The pod's address; `None` with the host's network.
    pub address: Option<Ipv4Addr>,
    /// Its second address; `None` where there is one family, as in records of older nodes.
    #[serde(default)]
    pub second: Option<Ipv6Addr>,
}

impl NetworkRecord {
    /// The pod's addresses in the pods' network.
    pub fn ips(&self) -> Option<PodIps> {
        let second = self.second;
        self.address.map(|first| PodIps { first, second })
    }
}

impl SandboxRecord {
    /// The pod's addresses in the pods' network.
    pub fn ips(&self) -> Option<PodIps> {
        self.network.as_ref()?.ips()
    }
}

/// `supervisor.json`: which process it is. A pid alone may have been reused, and after a reboot a start time too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SupervisorRecord {
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks after boot.
    pub start_time: u64,
    pub boot_id: String,
}

impl SupervisorRecord {
    /// Describes a live process.
    pub fn of(pid: i32) -> io::Result<SupervisorRecord> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let start_time = start_time_in(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(SupervisorRecord {
            pid,
            start_time,
            boot_id,
        })
    }
}

/// A supervisor that lives, by the records below `pods_dir`. Needs no async runtime: a node that starts looks for the namespaces
/// of its predecessor before it has one.
pub fn find_supervisor(pods_dir: &Path) -> Option<i32> {
    pod_dirs(pods_dir).into_iter().find_map(|(_, dir)| {
        let record: SupervisorRecord = read_json(&dir.supervisor())?;
        (SupervisorRecord::of(record.pid).ok()? == record).then_some(record.pid)
    })
}

/// The start time in a line of `/proc/<pid>/stat` (proc_pid_stat(5), field 22); the name before it may hold anything, spaces and
/// parentheses too. `None` for a process that has ended and that nobody has waited for yet.
fn start_time_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    fields.nth(18)?.parse().ok().filter(|_| !matches!(state, "Z" | "X"))
}

/// The directory of a pod.
#[derive(Debug, Clone)]
pub(super) struct PodDir(PathBuf);

impl PodDir {
    /// `None` if the uid cannot name a directory.
    pub fn of(pods_dir: &Path, pod: &PodUid) -> Option<PodDir> {
        is_file_name(&pod.0).then(|| PodDir(pods_dir.join(&pod.0)))
    }

    pub fn at(path: PathBuf) -> PodDir {
        PodDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Opens the supervisor's log, and takes the pod for one supervisor by it: the lock is held for as long as any process has
    /// this descriptor, which the supervisor gets as its standard error. `None` if another supervisor lives.
    pub fn lock(&self) -> io::Result<Option<fs::File>> {
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.log())?;
        match rustix::fs::flock(&log, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(log)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a supervisor lives, or is about to.
    pub fn is_locked(&self) -> bool {
        self.log().exists() && matches!(self.lock(), Ok(None))
    }

    pub fn sandbox(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    pub fn supervisor(&self) -> PathBuf {
        self.0.join("supervisor.json")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("supervisor.log")
    }

    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// The paths of the pod's control groups, if its supervisor was to make some.
    pub fn cgroup(&self) -> PathBuf {
        self.0.join("cgroup")
    }

    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// The directory of one run of a container; `None` if its name cannot name a directory.
    pub fn container(&self, name: &str, attempt: u32) -> Option<RunDir> {
        is_file_name(name).then(|| RunDir(self.containers().join(name).join(attempt.to_string())))
    }
}

/// The directory of one run of a container.
#[derive(Debug, Clone)]
pub(super) struct RunDir(PathBuf);

impl RunDir {
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }

    pub fn status(&self) -> PathBuf {
        self.0.join("status.json")
    }

    pub fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }

    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }
}

/// Whether a word from outside may be a directory's name.
pub(super) fn is_file_name(word: &str) -> bool {
    !word.is_empty() && word.len() <= 253 && word != "." && word != ".." && !word.contains(['/', '\0'])
}

/// Makes a directory, and those above it, for this user alone.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a file so that a reader sees the old or the new one. `durable` waits for the disk too: only how a run ended is
/// worth that, everything else dies with the machine anyway.
pub(super) fn write_json(path: &Path, value: &impl Serialize, durable: bool) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    let temporary = path.with_extension("tmp");
    let mut file = fs::File::create(&temporary)?;
    file.write_all(&bytes)?;
    if durable {
        file.sync_data()?;
    }
    fs::rename(&temporary, path)
}

/// Reads a file written by [`write_json`]; `None` if it is not there or was never completed.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Reads what is on record about a pod; `None` if it has no sandbox. Half-made runs (no config yet) are not there.
pub(super) fn read_pod(dir: &PodDir, alive: bool) -> Option<SandboxStatus> {
    let record: SandboxRecord = read_json(&dir.sandbox())?;
    let ips = record.ips().filter(|_| alive);
    let mut containers: Vec<(Timestamp, ContainerStatus)> = run_dirs(dir)
        .into_iter()
        .filter_map(|run| {
            let config: ContainerConfig = read_json(&run.config())?;
            let state: ContainerState = read_json(&run.status())?;
            // While the end can't be written down, as on a full disk, it is told all the same: nothing runs without a supervisor.
            let end = || plan_settled(&state, modified(&run.status()));
            let state = (!alive)
                .then(end)
                .flatten()
                .map_or(state.clone(), ContainerState::Exited);
            Some((modified(&run.config()), config.status(state)))
        })
        .collect();
    containers.sort_by(|(a, x), (b, y)| (a, x.attempt, &x.name).cmp(&(b, y.attempt, &y.name)));
    let containers = containers.into_iter().map(|(_, status)| status).collect();
    Some(SandboxStatus {
        config: record.config,
        alive,
        ips: ips.into_iter().flat_map(PodIps::iter).collect(),
        controllers: record.cgroups.as_ref().map(Tree::controllers).unwrap_or_default(),
        created_at: record.created_at,
        containers,
    })
}

/// Writes down that whatever the dead supervisor left unfinished is over, so that every later reader sees the same end.
/// To be called only when the supervisor is known to be gone, for then nobody else writes.
pub(super) fn settle(dir: &PodDir, now: Timestamp) -> io::Result<()> {
    for run in run_dirs(dir) {
        let Some(state) = read_json::<ContainerState>(&run.status()) else {
            if !run.config().exists() {
                fs::remove_dir_all(run.path())?;
            }
            continue;
        };
        if let Some(end) = plan_settled(&state, now) {
            write_json(&run.status(), &ContainerState::Exited(end), true)?;
        }
    }
    Ok(())
}

/// How a run ended whose supervisor was gone before it could say.
fn plan_settled(state: &ContainerState, now: Timestamp) -> Option<Exit> {
    let started_at = match state {
        ContainerState::Exited(_) => return None,
        ContainerState::Created => None,
        ContainerState::Running { started_at } => Some(*started_at),
    };
    Some(Exit {
        started_at,
        finished_at: now,
        code: 137,
        signal: None,
        reason: "ContainerStatusUnknown".to_owned(),
        message: "the pod's supervisor was gone before it could record how the container ended".to_owned(),
        was_drained: false,
    })
}

/// Removes what the sandbox kept, its volumes excepted, and the pod's directory if that leaves it empty.
pub(super) fn remove_pod(dir: &PodDir) -> io::Result<()> {
    remove_tree(&dir.containers())?;
    remove_tree(&dir.run())?;
    for file in [dir.supervisor(), dir.log(), dir.cgroup(), dir.sandbox()] {
        ignore_absent(fs::remove_file(file))?;
    }
    // What is left belongs to others, who remove it themselves.
    let _ = fs::remove_dir(dir.path());
    Ok(())
}

/// Removes one run of a container that no supervisor knows; none is as good as removed.
pub(super) fn remove_run(dir: &PodDir, id: &ContainerId) -> io::Result<()> {
    let is_it = |run: &RunDir| read_json::<ContainerConfig>(&run.config()).is_some_and(|config| config.id == *id);
    run_dirs(dir)
        .iter()
        .filter(|run| is_it(run))
        .try_for_each(|run| remove_tree(run.path()))
}

/// Removes a directory and all below it, if it is there.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    ignore_absent(fs::remove_dir_all(path))
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| {
        if e.kind() == io::ErrorKind::NotFound {
            Ok(())
        } else {
            Err(e)
        }
    })
}

/// The pods that have a directory.
pub(super) fn pod_dirs(pods_dir: &Path) -> Vec<(PodUid, PodDir)> {
    let named = |path: PathBuf| Some((PodUid(path.file_name()?.to_str()?.to_owned()), PodDir(path)));
    children(pods_dir).into_iter().filter_map(named).collect()
}

fn run_dirs(dir: &PodDir) -> Vec<RunDir> {
    children(&dir.containers())
        .iter()
        .flat_map(|name| children(name))
        .map(RunDir)
        .collect()
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn modified(path: &Path) -> Timestamp {
    let modified = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    modified
        .and_then(|time| Timestamp::try_from(time).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_start_time_is_found_whatever_the_process_is_called() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 8192 1 18446744073709551615";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in(&stat.replace(") S", ") Z")), None, "it has ended");
        assert_eq!(start_time_in("17 (x"), None);
    }

    #[test]
    fn words_that_would_leave_the_directory_are_no_file_names() {
        for word in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(!is_file_name(word), "{word:?}");
        }
        assert!(is_file_name("0d5f7c5e-95c3-4b1f-bb0c-2f5f8b0f1d3e"));
    }

    #[test]
    fn only_unfinished_runs_are_settled() {
        let now = Timestamp::UNIX_EPOCH;
        let running = ContainerState::Running { started_at: now };
        assert_eq!(
            plan_settled(&running, now).map(|e| (e.code, e.started_at)),
            Some((137, Some(now)))
        );
        assert_eq!(
            plan_settled(&ContainerState::Created, now).map(|e| e.started_at),
            Some(None)
        );
        let over = plan_settled(&running, now)
            .map(ContainerState::Exited)
            .expect("a running container is settled");
        assert_eq!(plan_settled(&over, now), None);
    }

    #[test]
    fn a_dead_pod_whose_end_cannot_be_written_down_runs_no_more() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let dir = PodDir::at(home.path().to_owned());
        let run = dir.container("c", 0).expect("a name");
        make_dir(run.path()).expect("the directory is writable");
        let put = |path: PathBuf, value: serde_json::Value| write_json(&path, &value, false).expect("is writable");
        let config = json!({"uid": "u", "namespace": "n", "name": "p", "hostname": "p", "host_network": false, "share_pid": false});
        let sandbox =
            json!({"config": config, "created_at": Timestamp::UNIX_EPOCH, "oci_runtime": null, "run_dir": "/r"});
        put(dir.sandbox(), sandbox);
        put(
            run.config(),
            serde_json::to_value(crate::runtime::native::spec::tests::config()).expect("is data"),
        );
        let running = ContainerState::Running {
            started_at: Timestamp::UNIX_EPOCH,
        };
        put(run.status(), serde_json::to_value(running).expect("is data"));
        // As a full disk does.
        fs::create_dir(run.status().with_extension("tmp")).expect("the directory is writable");
        settle(&dir, Timestamp::UNIX_EPOCH).expect_err("the end can't be written");
        let is_over = |alive| {
            let status = read_pod(&dir, alive).expect("is on record");
            matches!(status.containers[0].state, ContainerState::Exited(_))
        };
        assert_eq!((is_over(true), is_over(false)), (false, true));
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_torn_one_is_not_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("status.json");
        write_json(&path, &ContainerState::Created, true).expect("the directory is writable");
        assert_eq!(read_json::<ContainerState>(&path), Some(ContainerState::Created));
        fs::write(&path, b"{\"Running\":{").expect("the directory is writable");
        assert_eq!(read_json::<ContainerState>(&path), None);
    }
}
