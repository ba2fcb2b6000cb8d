//! Starting sandboxes: one start at a time for a pod, and none that is abandoned half-way because its caller was cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;

use super::external::Program;
use super::living::Living;
use super::record::{self, NetworkRecord, PodDir, SandboxRecord};
use super::spawn::{self, Process};
use crate::runtime::{PodUid, RuntimeError, SandboxConfig};

/// Starts supervisors, and hands them to the others that live.
pub(super) struct Births {
    living: Arc<Living>,
    oci_runtime: Option<Program>,
    /// Pods that someone starts or ends now. The outer lock is held for a look-up, never across an await.
    turns: Mutex<HashMap<PodUid, Arc<tokio::sync::Mutex<()>>>>,
}

/// Held while a pod's supervisor is started or ended.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Births {
    pub fn new(living: Arc<Living>, oci_runtime: Option<Program>) -> Arc<Births> {
        Arc::new(Births {
            living,
            oci_runtime,
            turns: Mutex::default(),
        })
    }

    /// Waits until nobody else starts or ends this pod's supervisor.
    pub async fn turn(&self, pod: &PodUid) -> Turn {
        let turn = self.turns().entry(pod.clone()).or_default().clone();
        turn.lock_owned().await
    }

    /// Starts a pod's supervisor if it has none. Goes on to the end whatever becomes of the caller.
    pub async fn run(self: &Arc<Births>, dir: PodDir, config: SandboxConfig) -> Result<(), RuntimeError> {
        let births = self.clone();
        let task = tokio::spawn(async move {
            let turn = births.turn(&config.uid).await;
            let outcome = births.begin(&dir, &config).await;
            drop(turn);
            births.turns().retain(|_, turn| Arc::strong_count(turn) > 1);
            outcome
        });
        task.await
            .unwrap_or_else(|error| Err(RuntimeError::Sandbox(error.to_string())))
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<PodUid, Arc<tokio::sync::Mutex<()>>>> {
        self.turns
            .lock()
            .expect("nothing panics while it holds the map of turns")
    }

    /// The pod's place in the pods' network. Its addresses are given back when its supervisor is gone and its records are settled.
    fn network(&self, config: &SandboxConfig) -> Result<Option<NetworkRecord>, RuntimeError> {
        let Some(network) = &self.living.network else {
            return Ok(None);
        };
        let failed = |error: &dyn ToString| RuntimeError::Sandbox(error.to_string());
        let ips = if config.host_network {
            None
        } else {
            let leased = network.addresses().lease(&config.uid.0);
            Some(leased.map_err(|e| failed(&e))?)
        };
        Ok(Some(NetworkRecord {
            node: network.path(),
            identity: network.identity().map_err(|e| failed(&e))?,
            address: ips.map(|ips| ips.first),
            second: ips.and_then(|ips| ips.second),
        }))
    }

    async fn begin(&self, dir: &PodDir, config: &SandboxConfig) -> Result<(), RuntimeError> {
        if self.living.is_alive(&config.uid, dir).await? {
            return Ok(());
        }
        match self.start(dir, config).await {
            Ok(process) => {
                self.living.watch(config.uid.clone(), dir.clone(), process);
                Ok(())
            }
            Err(error) => {
                // Gives its address back, too.
                self.living.settle(&config.uid, dir)?;
                if !dir.containers().exists() {
                    // Nothing ever ran in it: nobody has to be told how it ended.
                    record::remove_pod(dir).map_err(|source| RuntimeError::Io {
                        path: dir.sandbox(),
                        source,
                    })?;
                }
                Err(error)
            }
        }
    }

    /// The OCI runtime that a pod asks for. One that is chosen by name is asked who it is each time: it may have been replaced.
    async fn oci_runtime(&self, handler: &str) -> Result<Option<Program>, RuntimeError> {
        if handler.is_empty() {
            return Ok(self.oci_runtime.clone());
        }
        // The words of containerd, by which people find what is wrong.
        let unknown = || {
            let why = format!("failed to get sandbox runtime: no runtime for {handler:?} is configured");
            RuntimeError::Sandbox(why)
        };
        let Some(path) = self.living.options.handlers.get(handler).ok_or_else(unknown)?.clone() else {
            return Ok(None);
        };
        let detected = tokio::task::spawn_blocking(move || Program::detect(&path)).await;
        let detected = detected.map_err(|e| RuntimeError::Sandbox(e.to_string()))?;
        detected.map(Some).map_err(RuntimeError::Sandbox)
    }

    async fn start(&self, dir: &PodDir, config: &SandboxConfig) -> Result<Process, RuntimeError> {
        let record = SandboxRecord {
            config: config.clone(),
            created_at: Timestamp::now(),
            oci_runtime: self.oci_runtime(&config.runtime_handler).await?,
            run_dir: self.living.options.run_dir.clone(),
            network: self.network(config)?,
            cgroups: self.living.options.cgroups.clone(),
        };
        let written = record::make_dir(dir.path()).and_then(|()| record::write_json(&dir.sandbox(), &record, false));
        written.map_err(|source| RuntimeError::Io {
            path: dir.sandbox(),
            source,
        })?;
        let started = spawn::start(&self.living.options, dir, config).await;
        started.map_err(RuntimeError::Sandbox)
    }
}
