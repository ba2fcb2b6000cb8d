//! The node's side: [`Runtime`] by supervisors. Knows which of them live; everything else is asked or read.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::births::Births;
use super::client::Connection;
use super::door;
use super::external;
use super::living::Living;
use super::program::Program;
use super::record::{self, PodDir};
use super::rootfs;
use super::session;
use super::wire::{Reply, Request};
use crate::model::is_inside;
use crate::net::NodeNetwork;
use crate::runtime::{
    Answer, AttachConfig, ContainerConfig, ContainerId, ExecConfig, PodUid, PodUsage, Resize, Runtime, RuntimeError,
    RuntimeOptions, SandboxConfig, SandboxStatus, Session, Stop,
};

/// How long is waited for a pod's account of what it used, which takes its supervisor less than a millisecond.
const ACCOUNT: Duration = Duration::from_secs(2);

/// The runtime that runs pods itself.
pub struct NativeRuntime {
    living: Arc<Living>,
    births: Arc<Births>,
    hints: Mutex<Option<mpsc::UnboundedReceiver<PodUid>>>,
    /// Supervisors are started by its descriptor.
    _program: Program,
}

impl NativeRuntime {
    /// Opens the runtime: adopts the supervisors that live, and settles the records of those that do not. Without a `network` pods have
    /// their loopback only.
    ///
    /// Makes the calling process the one to which orphaned supervisors come (`PR_SET_CHILD_SUBREAPER`). To be called in
    /// a tokio runtime with IO and time.
    ///
    /// # Errors
    /// The directories cannot be made, or the external OCI runtime cannot be run.
    pub async fn open(
        mut options: RuntimeOptions,
        network: Option<Arc<NodeNetwork>>,
    ) -> Result<NativeRuntime, RuntimeError> {
        for dir in [&options.pods_dir, &options.run_dir] {
            record::make_dir(dir).map_err(|source| RuntimeError::Io {
                path: dir.clone(),
                source,
            })?;
        }
        let program = Program::protect(&options.supervisor_exe).map_err(|source| RuntimeError::Io {
            path: options.supervisor_exe.clone(),
            source,
        })?;
        options.supervisor_exe = program.path();
        let mount_points = rootfs::mount_points(&options.run_dir);
        rootfs::make_mount_points(&mount_points).map_err(|source| RuntimeError::Io {
            path: mount_points,
            source,
        })?;
        let subreaper = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        subreaper.map_err(|e| RuntimeError::Sandbox(format!("child subreaper: {e}")))?;
        let oci_runtime = options
            .oci_runtime
            .as_deref()
            .map(external::Program::detect)
            .transpose();
        let oci_runtime = oci_runtime.map_err(RuntimeError::Sandbox)?;
        let (hints, receiver) = mpsc::unbounded_channel();
        let living = Living::new(options, network, hints);
        let pods = record::pod_dirs(&living.options.pods_dir);
        let adopted = pods.into_iter().map(async |(pod, dir)| {
            // The others are not to wait for it, nor what makes room on a full disk. Its next sandbox settles it, or says why not.
            if let Err(error) = living.adopt(pod.clone(), dir).await {
                tracing::warn!(%pod, %error, "the records of a pod without supervisor could not be completed");
            }
        });
        join_all(adopted).await;
        let births = Births::new(living.clone(), oci_runtime);
        Ok(NativeRuntime {
            living,
            births,
            hints: Mutex::new(Some(receiver)),
            _program: program,
        })
    }

    /// The supervisor of a pod as this process sees it: its namespaces are the pod's (`/proc/<pid>/ns/net`).
    pub fn supervisor_pid(&self, pod: &PodUid) -> Option<i32> {
        self.living.process(pod).map(|process| process.pid())
    }

    fn dir(&self, pod: &PodUid) -> Result<PodDir, RuntimeError> {
        let dir = PodDir::of(&self.living.options.pods_dir, pod);
        dir.ok_or_else(|| RuntimeError::Sandbox(format!("pod uid {:?} cannot name a directory", pod.0)))
    }

    async fn stop_sandbox(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        let dir = self.dir(pod)?;
        let _turn = self.births.turn(pod).await;
        self.living.stop(pod, &dir).await
    }

    async fn remove_sandbox(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        let dir = self.dir(pod)?;
        let _turn = self.births.turn(pod).await;
        self.living.stop(pod, &dir).await?;
        let path = dir.path().to_owned();
        let removed = tokio::task::spawn_blocking(move || record::remove_pod(&dir)).await;
        removed
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|source| RuntimeError::Io { path, source })?;
        self.living.hint(pod);
        Ok(())
    }

    /// Asks the pod's supervisor, and takes "done" for an answer.
    async fn request(&self, pod: &PodUid, request: Request) -> Result<(), RuntimeError> {
        if self.living.process(pod).is_none() {
            return Err(RuntimeError::NoSandbox(pod.clone()));
        }
        let lost = |source| RuntimeError::Lost {
            pod: pod.clone(),
            source,
        };
        let asked = Connection::ask(&self.living.options.run_dir, pod, &request, &[]).await;
        match asked.map_err(lost)?.answer().await.map_err(lost)? {
            Reply::Done => Ok(()),
            Reply::Failed(fault) => Err(fault.into()),
            other => Err(lost(std::io::Error::other(format!("unexpected answer {other:?}")))),
        }
    }

    /// What a pod has used; `None` if its supervisor does not say.
    async fn usage_of(&self, pod: PodUid) -> Option<PodUsage> {
        let ask = async {
            let mut connection = Connection::ask(&self.living.options.run_dir, &pod, &Request::Usage, &[]).await?;
            connection.answer().await
        };
        match timeout(ACCOUNT, ask).await {
            Ok(Ok(Reply::Used(containers))) => Some(PodUsage { pod, containers }),
            // It is ending, or is one of an older version.
            _ => None,
        }
    }

    async fn remove_run(&self, pod: &PodUid, id: &ContainerId) -> Result<(), RuntimeError> {
        let dir = self.dir(pod)?;
        match self.request(pod, Request::Remove(id.clone())).await {
            // Not of this supervisor's life: then nobody has it mounted.
            Err(RuntimeError::NoSandbox(_) | RuntimeError::NoContainer(_)) => {}
            other => return other,
        }
        let wanted = id.clone();
        let removed = tokio::task::spawn_blocking(move || record::remove_run(&dir, &wanted)).await;
        removed.map_err(std::io::Error::other).flatten().map_err(|source| {
            let path = self.living.options.pods_dir.join(&pod.0);
            RuntimeError::Io { path, source }
        })?;
        self.living.hint(pod);
        Ok(())
    }

    async fn read(&self, pods: Vec<(PodUid, PodDir)>) -> Vec<SandboxStatus> {
        let alive: Vec<bool> = pods.iter().map(|(pod, _)| self.living.process(pod).is_some()).collect();
        let read = move || {
            let dirs = pods.iter().zip(alive);
            dirs.filter_map(|((_, dir), alive)| record::read_pod(dir, alive))
                .collect()
        };
        // Reading files does not panic, so the task ends with a value.
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    fn needs_sandbox(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        self.living
            .process(pod)
            .map(drop)
            .ok_or_else(|| RuntimeError::NoSandbox(pod.clone()))
    }
}

impl Runtime for NativeRuntime {
    fn run_pod_sandbox<'a>(&'a self, config: &'a SandboxConfig) -> Answer<'a, ()> {
        Box::pin(async move { self.births.run(self.dir(&config.uid)?, config.clone()).await })
    }

    fn stop_pod_sandbox<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, ()> {
        Box::pin(self.stop_sandbox(pod))
    }

    fn remove_pod_sandbox<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, ()> {
        Box::pin(self.remove_sandbox(pod))
    }

    fn create_container<'a>(&'a self, pod: &'a PodUid, config: &'a ContainerConfig) -> Answer<'a, ()> {
        Box::pin(self.request(pod, Request::Create(Box::new(config.clone()))))
    }

    fn start_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId) -> Answer<'a, ()> {
        Box::pin(self.request(pod, Request::Start(id.clone())))
    }

    fn stop_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, stop: Stop) -> Answer<'a, ()> {
        let grace_ms = u64::try_from(stop.grace.as_millis()).unwrap_or(u64::MAX);
        Box::pin(self.request(
            pod,
            Request::Stop {
                id: id.clone(),
                signal: stop.signal,
                grace_ms,
                is_drain: stop.is_drain,
            },
        ))
    }

    fn resize<'a>(&'a self, pod: &'a PodUid, resize: &'a Resize) -> Answer<'a, ()> {
        Box::pin(self.request(pod, Request::Resize(resize.clone())))
    }

    fn remove_container<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId) -> Answer<'a, ()> {
        Box::pin(self.remove_run(pod, id))
    }

    fn exec<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, exec: &'a ExecConfig) -> Answer<'a, Session> {
        Box::pin(async move {
            self.needs_sandbox(pod)?;
            session::exec(&self.living.options.run_dir, pod, id, exec).await
        })
    }

    fn attach<'a>(&'a self, pod: &'a PodUid, id: &'a ContainerId, attach: &'a AttachConfig) -> Answer<'a, Session> {
        Box::pin(async move {
            self.needs_sandbox(pod)?;
            session::attach(&self.living.options.run_dir, pod, id, attach).await
        })
    }

    fn connect<'a>(&'a self, pod: &'a PodUid, address: SocketAddr) -> Answer<'a, TcpStream> {
        Box::pin(async move {
            let process = self.living.process(pod);
            let process = process.ok_or_else(|| RuntimeError::NoSandbox(pod.clone()))?;
            let connected = door::connect(process, self.dir(pod)?, address).await;
            connected.map_err(RuntimeError::Connect)
        })
    }

    fn dial(&self, address: SocketAddr) -> Answer<'_, TcpStream> {
        Box::pin(async move {
            let network = self.living.network.as_ref().filter(|_| is_inside(address.ip()));
            let connected = match network {
                Some(network) => network.connect(address).await,
                None => TcpStream::connect(address).await,
            };
            connected.map_err(RuntimeError::Connect)
        })
    }

    fn list(&self) -> Answer<'_, Vec<SandboxStatus>> {
        Box::pin(async { Ok(self.read(record::pod_dirs(&self.living.options.pods_dir)).await) })
    }

    fn usage(&self) -> Answer<'_, Vec<PodUsage>> {
        Box::pin(async {
            let asked = self.living.pods().into_iter().map(|pod| self.usage_of(pod));
            Ok(join_all(asked).await.into_iter().flatten().collect())
        })
    }

    fn status<'a>(&'a self, pod: &'a PodUid) -> Answer<'a, Option<SandboxStatus>> {
        Box::pin(async move {
            let dir = self.dir(pod)?;
            Ok(self.read(vec![(pod.clone(), dir)]).await.pop())
        })
    }

    fn changes(&self) -> Option<mpsc::UnboundedReceiver<PodUid>> {
        self.hints
            .lock()
            .expect("nothing panics while it takes the receiver")
            .take()
    }
}
