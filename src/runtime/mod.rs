//! What runs pods: the only room that touches processes, mounts and namespaces.
//!
//! [`Runtime`] is shaped like the CRI (`RuntimeService` of `k8s.io/cri-api`): sandboxes hold a pod's namespaces, containers
//! live in sandboxes. It knows nothing of Kubernetes objects, restart policies or back-off: whoever calls it
//! (`pod/`) has already decided. Two implementations: [`native`] (one supervisor process per pod) and, for tests,
//! [`fake`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

#[doc(hidden)]
pub mod fake;
pub mod native;
mod types;

use crate::cgroup::Tree;
pub use types::*;

/// The answer of a runtime call.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RuntimeError>>;

/// Runs sandboxes and containers. Every method may be repeated: asking for what is already so succeeds and changes nothing.
pub trait Runtime: Send + Sync + 'static {
    /// Starts the sandbox of a pod (CRI `RunPodSandbox`): its namespaces exist when this returns.
    fn run_pod_sandbox<'a>(&'a self, config: &'a SandboxConfig) -> Answer<'a, ()>;

    /// Kills whatever still runs in the sandbox and ends it (CRI `StopPodSandbox`). Its records on disk stay.
    fn stop_pod_sandbox<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, ()>;

    /// Removes everything the sandbox kept on disk but its volumes (CRI `RemovePodSandbox`); stops it first if needed.
    fn remove_pod_sandbox<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, ()>;

    /// Prepares a container: root file system mounted, bundle written (CRI `CreateContainer`). Nothing runs yet.
    fn create_container<'a>(&'a self, pod: &'a PodUid, config: &'a ContainerConfig) -> Answer<'a, ()>;

    /// Starts a created container (CRI `StartContainer`).
    fn start_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Sends `signal` now and SIGKILL when `grace` is over (CRI `StopContainer`), and returns at once: the end shows in the
    /// status. Asked again, the earlier of the two deadlines holds. The grace goes on while the node is down.
    fn stop_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, stop: Stop) -> Answer<'a, ()>;

    /// Changes limits while containers run, those of all or of none that are told apart; their records say so when this returns.
    fn resize<'a>(&'a self, pod: &'a PodUid, resize: &'a Resize) -> Answer<'a, ()>;

    /// Forgets an ended container and its root file system (CRI `RemoveContainer`); its logs stay.
    fn remove_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId) -> Answer<'a, ()>;

    /// Runs a command in a running container (CRI `Exec`).
    fn exec<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, exec: &'a ExecConfig) -> Answer<'a, Session>;

    /// Joins the streams of a running container (CRI `Attach`).
    fn attach<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, attach: &'a AttachConfig) -> Answer<'a, Session>;

    /// Connects to an address as the pod's own processes would (CRI `PortForward`).
    fn connect<'a>(&'a self, pod: &'a PodUid, address: SocketAddr) -> Answer<'a, TcpStream>;

    /// Connects as the node itself does (kubelet, kube-proxy): by the pods' network to what is in it, and from the host to anything else.
    fn dial(&self, address: SocketAddr) -> Answer<'_, TcpStream>;

    /// What is there now, from the supervisors and the disk (CRI `ListPodSandbox` + `ListContainers`).
    fn list(&self) -> Answer<'_, Vec<SandboxStatus>>;

    /// What everything that runs has used (CRI `ListPodSandboxStats`). A pod that does not answer is left out.
    fn usage(&self) -> Answer<'_, Vec<PodUsage>>;

    /// One sandbox, or `None` if there is neither process nor record of it.
    fn status<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, Option<SandboxStatus>>;

    /// Pods in which something changed. A hint only: any of them may be lost, and [`Runtime::list`] is the truth.
    /// The first caller gets the receiver.
    fn changes(&self) -> Option<mpsc::UnboundedReceiver<PodUid>>;
}

/// Why the runtime could not do it.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There is no such sandbox.
    #[error("no sandbox for pod {0}")]
    NoSandbox(PodUid),
    /// There is no such container in the sandbox.
    #[error("no container {0}")]
    NoContainer(ContainerId),
    /// The container is not in a state that allows it.
    #[error("container {id} is {state}")]
    WrongState {
        /// The container.
        id: ContainerId,
        /// Its state in a word.
        state: &'static str,
    },
    /// The container could not be created; the reason is for people and stands in the pod's events
    /// (`CreateContainerError`).
    #[error("{0}")]
    Create(String),
    /// What the container asks for can't be had; the reason is for people (`CreateContainerConfigError`).
    #[error("{0}")]
    Config(String),
    /// The container could not be started; the reason is for people (`RunContainerError`).
    #[error("{0}")]
    Start(String),
    /// Limits could not be changed; the reason is for people.
    #[error("{0}")]
    Resize(String),
    /// The sandbox could not be made (`FailedCreatePodSandBox`).
    #[error("{0}")]
    Sandbox(String),
    /// The supervisor went away while it was asked.
    #[error("the supervisor of pod {pod} did not answer: {source}")]
    Lost {
        /// The pod.
        pod: PodUid,
        /// What the socket said.
        source: std::io::Error,
    },
    /// Nobody could be reached at that address in the pod.
    #[error("connect: {0}")]
    Connect(std::io::Error),
    /// Something on disk could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// An error of the system as Go says it, which people search for: `connection refused`.
pub fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

/// Extra words about a host that a runtime needs; written by the node, read by `native`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RuntimeOptions {
    /// Pods' directories: `<pods_dir>/<uid>/`.
    pub pods_dir: PathBuf,
    /// Where sockets go, and what all pods share.
    pub run_dir: PathBuf,
    /// Where pods' control groups are made; `None` where none can be, and limits are not enforced.
    pub cgroups: Option<Tree>,
    /// An external OCI runtime (`crun`, `runc`, `youki`) by path; `None` is the embedded one.
    pub oci_runtime: Option<PathBuf>,
    /// Those that pods may choose by name; `None` is the embedded one.
    pub handlers: BTreeMap<String, Option<PathBuf>>,
    /// The program that is run as `<program> pod-supervisor …`: this very binary, `/proc/self/exe`. Only tests, whose
    /// process is another program, name one.
    pub supervisor_exe: PathBuf,
}
