//! The words of the runtime room: what a sandbox and a container are asked to be, and what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use crate::cgroup::{Controller, Limits, Protection, Usage};

/// The uid of a pod (`metadata.uid`): names its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodUid(pub String);

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of one run of a container: 64 hexadecimal digits, chosen by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerId(pub String);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a sandbox is asked to be (CRI `PodSandboxConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxConfig {
    /// The pod's uid.
    pub uid: PodUid,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// What `hostname` says in the pod; ignored with the host's network, where the host's name stays.
    pub hostname: String,
    /// `spec.hostNetwork`: no network namespace of its own.
    pub host_network: bool,
    /// `spec.shareProcessNamespace`: containers see each other's processes.
    pub share_pid: bool,
    /// `spec.hostIPC`: no IPC namespace of its own.
    #[serde(default)]
    pub host_ipc: bool,
    /// `spec.hostPID`: containers see the host's processes.
    #[serde(default)]
    pub host_pid: bool,
    /// Settings of the kernel for its namespaces (`kernel.shm_rmid_forced`), by name.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Directories in memory, made before anything runs.
    #[serde(default)]
    pub memory_dirs: Vec<MemoryDir>,
    /// What the pod as a whole may use.
    #[serde(default)]
    pub limits: Limits,
    /// Which of the node's OCI runtimes makes its containers, by name (CRI `runtime_handler`); empty is the node's own choice.
    #[serde(default)]
    pub runtime_handler: String,
}

/// What a container is asked to be (CRI `ContainerConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// The id of this run.
    pub id: ContainerId,
    /// The container's name in the pod.
    pub name: String,
    /// 0 for the first run of this container in this pod, then 1, 2, …
    pub attempt: u32,
    /// The image as the pod wrote it.
    pub image: String,
    /// The id of the image's config: `sha256:…`.
    pub image_id: String,
    /// Unpacked layers, the lowest first. Overlay's lower directories; at least one.
    pub layers: Vec<PathBuf>,
    /// The directory whose mode and owner its root has; 0755 and root's if there is none.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// Program and arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value` in order. `PATH` and `HOME` are added where missing.
    pub env: Vec<String>,
    /// Working directory; made if it is not there. Empty means `/`.
    pub cwd: String,
    /// `user`, `uid`, `user:group` or `uid:gid` as in an image's config; names are looked up in the container's own
    /// `/etc/passwd` and `/etc/group`. Empty means root.
    pub user: String,
    /// Groups beside the user's own.
    pub supplemental_groups: Vec<u32>,
    /// Whether the groups of which the container's `/etc/group` says that the user is in them are left out.
    #[serde(default)]
    pub has_strict_groups: bool,
    /// What is mounted into it, in order.
    pub mounts: Vec<Mount>,
    /// Where the CRI-format log goes: an absolute path, its directory is made if needed.
    pub log_path: PathBuf,
    /// Whether it keeps an open standard input.
    pub stdin: bool,
    /// Whether standard input closes after the first attach ended.
    pub stdin_once: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// What it may do.
    pub security: Security,
    /// `oom_score_adj` of its first process (kubelet `GetContainerOOMScoreAdjust`).
    pub oom_score_adj: i32,
    /// A running container of the same sandbox whose processes it sees (CRI `NamespaceMode_TARGET`), where it has a pid namespace of
    /// its own.
    #[serde(default)]
    pub pid_target: Option<ContainerId>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Programs of the host that are run for it.
    #[serde(default)]
    pub hooks: Vec<Hook>,
    /// Copied into the records; lets the owner recognise what it asked for (the container's spec hash).
    pub annotations: BTreeMap<String, String>,
}

impl ContainerConfig {
    /// The run's status, given what it does now.
    pub fn status(&self, state: ContainerState) -> ContainerStatus {
        ContainerStatus {
            id: self.id.clone(),
            name: self.name.clone(),
            attempt: self.attempt,
            image: self.image.clone(),
            image_id: self.image_id.clone(),
            annotations: self.annotations.clone(),
            log_path: self.log_path.clone(),
            state,
        }
    }
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container; made if it is not there (a file if the source is one).
    pub container_path: String,
    /// Absolute path on the host.
    pub host_path: PathBuf,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// What is below it is read-only as well.
    #[serde(default)]
    pub is_read_only_below: bool,
    /// Mounts that appear below it on the host appear in the container too (`HostToContainer`).
    #[serde(default)]
    pub follows_host: bool,
    /// Only this part of it: a relative path, made if it is not there, that may not lead out of it whatever containers do meanwhile.
    #[serde(default)]
    pub sub_path: Option<String>,
    /// Unpacked layers, the lowest first: mounted together, read-only, in place of `host_path`.
    #[serde(default)]
    pub image_layers: Vec<PathBuf>,
    /// `nosuid`, `nodev` and `noexec` (mount(8)), as far as they are wanted.
    #[serde(default)]
    pub options: Vec<String>,
}

impl Mount {
    /// A place of the host.
    pub fn of_host(container_path: String, host_path: PathBuf, read_only: bool) -> Self {
        Self {
            container_path,
            host_path,
            read_only,
            is_read_only_below: false,
            follows_host: false,
            sub_path: None,
            image_layers: Vec::new(),
            options: Vec::new(),
        }
    }
}

/// A program that the OCI runtime runs at some point of a container's making (OCI `Hook`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The point: `createContainer` for example.
    pub name: String,
    /// The program, by its absolute path on the host.
    pub path: PathBuf,
    /// Its arguments, its own name first.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// How many seconds it may take.
    pub timeout: Option<u32>,
}

/// A directory in memory that the containers of a sandbox share. It goes with the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryDir {
    /// Absolute path on the host at which the sandbox has it.
    pub path: PathBuf,
    /// How many bytes fit.
    pub size: u64,
    /// Whose it is, with everything that is made in it.
    pub group: Option<u32>,
}

/// What a container may do (CRI `LinuxContainerSecurityContext`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Everything that the user namespace allows.
    pub privileged: bool,
    /// False sets no_new_privs.
    pub allow_privilege_escalation: bool,
    /// Whether the root file system is read-only.
    pub read_only_rootfs: bool,
    /// Capabilities beyond the default set, without `CAP_`; `ALL` is every one.
    pub add_capabilities: Vec<String>,
    /// Capabilities to leave out of the default set; `ALL` is every one.
    pub drop_capabilities: Vec<String>,
    /// System calls that may be made.
    pub seccomp: Seccomp,
    /// Paths that are hidden; empty with `procMount: Unmasked`.
    pub masked_paths: Vec<String>,
    /// Paths that are made read-only.
    pub read_only_paths: Vec<String>,
    /// The AppArmor profile of the host that it runs under.
    #[serde(default)]
    pub apparmor: Option<String>,
    /// SELinux's labels.
    #[serde(default)]
    pub selinux: Option<Labels>,
}

/// SELinux's labels of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Of its processes.
    pub process: String,
    /// Of what is mounted for it alone.
    pub files: String,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// The built-in profile.
    RuntimeDefault,
    /// A profile of the user's: the JSON of an OCI runtime configuration's `linux.seccomp`.
    Localhost(String),
    /// Any.
    Unconfined,
}

/// Annotation that a runtime puts on a run when it has looked up who its first process is: `uid:gid:` and the groups beside that,
/// with commas between them.
pub const RUN_USER: &str = "kubelocal.dev/run-user";

/// How a container is asked to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The first signal, by number.
    pub signal: i32,
    /// After this SIGKILL follows; zero means at once.
    pub grace: Duration,
    /// It ends because the node does, or for other resources, and runs again afterwards.
    pub is_drain: bool,
}

impl Stop {
    /// At once and for good.
    pub const KILL: Stop = Stop {
        signal: libc::SIGKILL,
        grace: Duration::ZERO,
        is_drain: false,
    };
}

/// Other limits for a sandbox and what runs in it (CRI `UpdatePodSandboxResources` and `UpdateContainerResources` in one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// What the pod as a whole may use.
    pub limits: Limits,
    /// Runs that get others.
    pub containers: Vec<Resized>,
}

/// Other limits for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resized {
    /// The run.
    pub id: ContainerId,
    /// What it may use.
    pub limits: Limits,
    /// What its records say besides, in place of what they said under these names.
    pub annotations: BTreeMap<String, String>,
}

/// A sandbox as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// What was asked.
    pub config: SandboxConfig,
    /// Whether its supervisor lives. When not, every container in `containers` has ended.
    pub alive: bool,
    /// Its addresses in the pods' network, while it lives: none with the host's network.
    pub ips: Vec<IpAddr>,
    /// Whose limits are enforced: not those of controllers that the sandbox was born without.
    pub controllers: BTreeSet<Controller>,
    /// When the sandbox was made.
    pub created_at: Timestamp,
    /// Every run that is on record, oldest first.
    pub containers: Vec<ContainerStatus>,
}

/// One run of a container as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The id of this run.
    pub id: ContainerId,
    /// The container's name in the pod.
    pub name: String,
    /// Which run of it.
    pub attempt: u32,
    /// The image as the pod wrote it.
    pub image: String,
    /// The id of the image's config.
    pub image_id: String,
    /// From the config.
    pub annotations: BTreeMap<String, String>,
    /// Where its log is.
    pub log_path: PathBuf,
    /// What it does now.
    pub state: ContainerState,
}

impl ContainerStatus {
    /// Whether it runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }
}

/// What a run of a container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Prepared, not started.
    Created,
    /// Running since then.
    Running {
        /// When its first process was started.
        started_at: Timestamp,
    },
    /// Ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When its first process was started; `None` if it never was.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The exit code; 128 + the signal's number if a signal ended it (as a shell counts).
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, or `ContainerStatusUnknown` when the supervisor died first.
    pub reason: String,
    /// More for people; often empty.
    pub message: String,
    /// It was asked to end because the node ended, or for other resources: however it did, it has not done its work, and has not failed.
    #[serde(default)]
    pub was_drained: bool,
}

/// What the runs of a pod's containers have used, as far as they still run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodUsage {
    /// The pod.
    pub pod: PodUid,
    /// By run.
    pub containers: Vec<(ContainerId, Usage)>,
}

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecConfig {
    /// Program and arguments; at least one.
    pub args: Vec<String>,
    /// Whether it has a terminal. Then there is no separate standard error.
    pub tty: bool,
    /// Whether its standard input is open.
    pub stdin: bool,
    /// The terminal's first size: columns, rows.
    pub size: Option<(u16, u16)>,
    /// Whether it is killed when its [`Session`] is dropped, or when the node dies: for commands that nobody else would ever end.
    #[serde(default)]
    pub dies_with_session: bool,
}

/// Which streams of a container to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachConfig {
    /// Whether to write to its standard input.
    pub stdin: bool,
}

/// A running exec or attach. Dropping it ends neither the container nor, unless [`ExecConfig::dies_with_session`], the process;
/// closing `stdin` tells the process.
pub struct Session {
    /// Write end of standard input, or of the terminal.
    pub stdin: Option<OwnedFd>,
    /// Read end of standard output, or of the terminal.
    pub stdout: Option<OwnedFd>,
    /// Read end of standard error; none with a terminal.
    pub stderr: Option<OwnedFd>,
    /// The terminal, for its size (`TIOCSWINSZ`).
    pub terminal: Option<OwnedFd>,
    /// Resolves when the process ended: its exit code, or why it could not be run. For attach: when the container ended.
    pub ended: BoxFuture<'static, Result<i32, String>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
