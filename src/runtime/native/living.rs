//! The supervisors that live: found, watched by a task each, and settled when they end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Connection, socket_of};
use super::record::{self, PodDir, SandboxRecord};
use super::spawn::Process;
use super::supervisor::{kill_rooted, remove_left_cgroup};
use super::wire::{Reply, Request};
use crate::net::NodeNetwork;
use crate::runtime::{PodUid, RuntimeError, RuntimeOptions};

/// A supervisor that was asked to go and has not gone by then is killed. Longer than it waits itself.
const STOP_PATIENCE: Duration = Duration::from_secs(8);
/// A supervisor's birth takes milliseconds.
const BIRTH: Duration = Duration::from_secs(2);
/// Between attempts to reach a supervisor that lives and does not answer.
const RECONNECT: Duration = Duration::from_millis(200);

/// The supervisors of this node.
pub(super) struct Living {
    pub options: RuntimeOptions,
    /// The pods' network; `None` where there can be none, and pods have their loopback only.
    pub network: Option<Arc<NodeNetwork>>,
    // Held for a look-up or an insertion, never across an await.
    map: Mutex<HashMap<PodUid, Live>>,
    hints: mpsc::UnboundedSender<PodUid>,
}

/// One of them.
struct Live {
    process: Arc<Process>,
    /// Closes when it is gone and its records are settled.
    gone: watch::Receiver<()>,
    watcher: AbortHandle,
}

impl Drop for Living {
    fn drop(&mut self) {
        for live in self.map().values() {
            live.watcher.abort();
        }
    }
}

impl Living {
    pub fn new(
        options: RuntimeOptions,
        network: Option<Arc<NodeNetwork>>,
        hints: mpsc::UnboundedSender<PodUid>,
    ) -> Arc<Living> {
        Arc::new(Living {
            options,
            network,
            map: Mutex::default(),
            hints,
        })
    }

    fn map(&self) -> MutexGuard<'_, HashMap<PodUid, Live>> {
        self.map
            .lock()
            .expect("nothing panics while it holds the map of supervisors")
    }

    /// The process of a pod's supervisor, if it lives.
    pub fn process(&self, pod: &PodUid) -> Option<Arc<Process>> {
        self.map().get(pod).map(|live| live.process.clone())
    }

    /// The pods whose supervisors live.
    pub fn pods(&self) -> Vec<PodUid> {
        self.map().keys().cloned().collect()
    }

    /// Says that something changed in a pod.
    pub fn hint(&self, pod: &PodUid) {
        // Nobody may be listening, which is what a hint allows.
        let _ = self.hints.send(pod.clone());
    }

    /// Takes over what an earlier node left of a pod: its supervisor, or what that has left.
    pub async fn adopt(self: &Arc<Living>, pod: PodUid, dir: PodDir) -> Result<(), RuntimeError> {
        if !dir.sandbox().exists() {
            return Ok(());
        }
        let Some(process) = find_settled(&dir).await else {
            return self.settle(&pod, &dir);
        };
        let asked = Connection::ask(&self.options.run_dir, &pod, &Request::Watch, &[]).await;
        let lost = if asked.is_err() {
            // Nobody can ever ask it anything again.
            Some("its socket is gone")
        } else if !self.adopt_address(&pod, &dir) {
            Some("it is in the network of a node that is gone")
        } else {
            None
        };
        if let Some(why) = lost {
            tracing::warn!(%pod, why, "the pod's supervisor lives and can't be adopted; killing it");
            process.kill();
            process.ended().await;
            return self.settle(&pod, &dir);
        }
        self.watch(pod, dir, process);
        Ok(())
    }

    /// Notes which addresses an adopted pod has. False if it is in another network than this node's: it was being born when its node
    /// died, so that this one did not find that network.
    fn adopt_address(&self, pod: &PodUid, dir: &PodDir) -> bool {
        let Some(network) = &self.network else { return true };
        let record = record::read_json::<SandboxRecord>(&dir.sandbox()).and_then(|record| record.network);
        let Some(record) = record.filter(|record| network.identity().is_ok_and(|own| own == record.identity)) else {
            return false;
        };
        if let Some(ips) = record.ips() {
            network.addresses().take(&pod.0, ips);
        }
        true
    }

    /// Adds a supervisor, and watches it until it ends.
    pub fn watch(self: &Arc<Living>, pod: PodUid, dir: PodDir, process: Process) {
        let process = Arc::new(process);
        let (alive, gone) = watch::channel(());
        let watcher = Watcher {
            pod: pod.clone(),
            dir,
            process: process.clone(),
            _alive: alive,
        };
        // Weak: a runtime that is dropped ends its watchers, which must not keep it.
        let task = tokio::spawn(watcher.run(Arc::downgrade(self)));
        self.map().insert(
            pod.clone(),
            Live {
                process,
                gone,
                watcher: task.abort_handle(),
            },
        );
        self.hint(&pod);
    }

    /// Whether a pod has a supervisor, be it one that nobody here knows: a call that was to start it may have been cancelled
    /// half-way.
    pub async fn is_alive(self: &Arc<Living>, pod: &PodUid, dir: &PodDir) -> Result<bool, RuntimeError> {
        if self.process(pod).is_none() {
            self.adopt(pod.clone(), dir.clone()).await?;
        }
        Ok(self.process(pod).is_some())
    }

    /// Ends a pod's supervisor and everything in the pod. Returns when it is gone and its records are settled.
    pub async fn stop(self: &Arc<Living>, pod: &PodUid, dir: &PodDir) -> Result<(), RuntimeError> {
        if !self.is_alive(pod, dir).await? {
            return Ok(());
        }
        let found = self
            .map()
            .get(pod)
            .map(|live| (live.process.clone(), live.gone.clone()));
        let Some((process, mut gone)) = found else {
            return Ok(());
        };
        let ask = async {
            let mut connection = Connection::ask(&self.options.run_dir, pod, &Request::Shutdown, &[]).await?;
            connection.receive().await
        };
        if !matches!(timeout(STOP_PATIENCE, ask).await, Ok(Ok(_))) {
            process.kill();
        }
        if timeout(STOP_PATIENCE, gone.changed()).await.is_ok() {
            return Ok(());
        }
        process.kill();
        // An error is what is waited for: the watcher has let go of its end.
        let _ = gone.changed().await;
        Ok(())
    }

    /// Completes the records of a pod whose supervisor is gone, and removes what the kernel does not.
    pub fn settle(&self, pod: &PodUid, dir: &PodDir) -> Result<(), RuntimeError> {
        remove_left_cgroup(dir);
        if let Some(pod) = record::read_pod(dir, false).filter(|pod| pod.config.host_pid) {
            kill_rooted(&pod.containers.iter().map(|run| run.id.0.as_str()).collect());
        }
        if let Some(network) = &self.network {
            network.addresses().release(&pod.0);
        }
        if let Ok(socket) = socket_of(&self.options.run_dir, pod) {
            let _ = std::fs::remove_file(socket.path());
        }
        let settled = record::settle(dir, Timestamp::now());
        settled.map_err(|source| RuntimeError::Io {
            path: dir.path().to_owned(),
            source,
        })
    }
}

/// Finds a pod's supervisor. One that was being born when the last node died has locked the pod but is not on record yet; it
/// will be in a moment, or will be gone.
async fn find_settled(dir: &PodDir) -> Option<Process> {
    let until = Instant::now() + BIRTH;
    loop {
        let found = Process::find(dir);
        if found.is_some() || !dir.is_locked() || Instant::now() >= until {
            return found;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// The task that watches one supervisor.
struct Watcher {
    pod: PodUid,
    dir: PodDir,
    process: Arc<Process>,
    _alive: watch::Sender<()>,
}

impl Watcher {
    async fn run(self, living: std::sync::Weak<Living>) {
        let Some(options) = living.upgrade().map(|living| living.options.clone()) else {
            return;
        };
        tokio::select! {
            () = self.process.ended() => {}
            () = self.pass_hints(&options, &living) => {}
        }
        let Some(living) = living.upgrade() else { return };
        if let Err(error) = living.settle(&self.pod, &self.dir) {
            tracing::warn!(pod = %self.pod, %error, "the records of a pod without supervisor could not be completed");
        }
        living.map().remove(&self.pod);
        living.hint(&self.pod);
    }

    /// Passes on what the supervisor says, for as long as there is someone to pass it to.
    async fn pass_hints(&self, options: &RuntimeOptions, living: &std::sync::Weak<Living>) {
        loop {
            if let Ok(mut connection) = Connection::ask(&options.run_dir, &self.pod, &Request::Watch, &[]).await {
                // Whatever changed before there was a connection.
                let mut said = Ok(Some(Reply::Changed));
                while let Ok(Some(_)) = said {
                    let Some(living) = living.upgrade() else {
                        return std::future::pending().await;
                    };
                    living.hint(&self.pod);
                    drop(living);
                    said = connection.receive().await;
                }
            }
            // It is ending, which `ended` will tell, or it hung up on this node for some reason.
            sleep(RECONNECT).await;
        }
    }
}
