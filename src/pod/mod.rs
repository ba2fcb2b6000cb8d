//! The kubelet's heart: one worker per pod brings what runs to what is asked.
//!
//! ```text
//!  store ─ newest pod ─┐                 ┌─ status ─► store
//!                      ├─► worker ─► plan ─► execute ─► runtime, volume, image
//!  runtime ─ hint ─────┘      ▲                            │
//!                             └────────── observe ◄────────┘
//! ```
//!
//! [`plan_pod`] decides and is pure; `execute` does; the worker repeats until the plan is settled and then sleeps until the pod
//! changes, the runtime hints, a probe or hook has something to say or the plan's time comes. The room does not know where pods come from, nor how containers
//! are run.

mod admission;
mod back_off;
mod care;
mod config;
mod deadline;
mod devices;
mod ending;
mod env;
mod ephemeral;
mod etc;
mod evict;
mod execute;
mod health;
mod history;
mod images;
mod links;
mod lsm;
mod manager;
mod memory;
mod message;
mod plan;
mod ports;
mod post_start;
mod pressure;
mod pull;
mod reject;
mod resize;
mod resources;
mod schedule;
mod shutdown;
mod sysctls;
mod taints;
mod tasks;
#[cfg(test)]
mod tests;
mod tokens;
mod worker;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::access::token::TokenKey;
use crate::device::Ledger;
use crate::event::EventRecorder;
use crate::image::{ImageStore, Puller};
use crate::model::{Clock, Quantity};
use crate::runtime::{PodUid, Runtime, SandboxStatus};
use crate::store::Store;

pub use back_off::next_start;
pub use deadline::{MESSAGE as DEADLINE_MESSAGE, REASON as DEADLINE_REASON, is_exceeded as is_past_deadline};
pub use ending::{EndStep, Ending};
pub use env::ConfigError;
pub use ephemeral::ephemeral_containers;
pub use evict::run_evictor;
pub use health::{Health, PlannedProbe, PostStart, plan_probes};
pub use history::{History, RestartPolicy, SANDBOX, SPEC_HASH, container_hash, has_sidecar, restarts};
pub use images::{images_in_use, run_collector, whole_image_name};
pub use lsm::Modules;
pub use manager::{Bells, Ends, run};
pub use plan::{
    Converge, Draining, Facts, Failure, Plan, SANDBOX_FAILURE, Start, container, containers, init_containers,
    is_finished, plan_pod,
};
pub use pressure::{Said as EvictionSettings, Thresholds, conditions as calm_conditions, run_pressure};
pub use pull::{back_off_message as pull_back_off_message, is_backing_off as is_pull_backing_off};
pub use resize::{PendingResize, RESIZE_FAILURE, RESOURCES, is_due as is_resize_due, resources_of};
pub use resources::{Given, container_limits, needed_controllers, pod_limits, unenforced};
pub use shutdown::{Drain, Graces};
pub use taints::run_taints;

/// What workers need of the node.
#[derive(Clone)]
pub struct Rooms {
    /// Where pods, ConfigMaps and Secrets are.
    pub store: Store,
    /// What runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// Where images are.
    pub images: ImageStore,
    /// What fetches those that are not.
    pub puller: Puller,
    /// Where events go.
    pub recorder: EventRecorder,
    /// What signs pods' tokens.
    pub tokens: Arc<TokenKey>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Up to which version of the store connections follow it; `None` where nobody leads any.
    pub served: Option<watch::Receiver<u64>>,
    /// Devices of the machine, and who has them.
    pub devices: Arc<Ledger>,
    /// The machine.
    pub host: Host,
}

/// The machine as pods see it.
#[derive(Debug, Clone)]
pub struct Host {
    /// The node's name.
    pub node_name: String,
    /// Its addresses, the main one first, whatever they are by now.
    pub addresses: watch::Receiver<Vec<String>>,
    /// Who answers pods' questions for names of the cluster; `None` if nobody does.
    pub dns: Option<IpAddr>,
    /// The port on its loopback where the API listens, for pods on its network.
    pub api_port: u16,
    /// How many CPUs it has.
    pub cpus: i64,
    /// How many bytes of memory it has.
    pub memory: i64,
    /// How many bytes the disk that pods write to holds.
    pub storage: i64,
    /// How many processes and threads a pod may have.
    pub pod_pids: Option<u64>,
    /// Pods' directories: `<pods_dir>/<uid>/`.
    pub pods_dir: PathBuf,
    /// Sysctls beyond the safe ones that pods may set: names, or beginnings followed by `*`.
    pub allowed_sysctls: Vec<String>,
    /// What confines containers in its kernel beside what every kernel has.
    pub modules: Modules,
}

impl Host {
    /// What it has of a resource.
    pub fn allocatable(&self, resource: &str) -> Option<Quantity> {
        match resource {
            "cpu" => Some(Quantity::whole(self.cpus)),
            "memory" => Some(Quantity::whole(self.memory)),
            "ephemeral-storage" => Some(Quantity::whole(self.storage)),
            // Memory is given in pages of the common size alone.
            _ if resource.starts_with("hugepages-") => Some(Quantity::whole(0)),
            _ => None,
        }
    }

    /// What it gives pods besides what they ask.
    pub fn given(&self) -> Given {
        Given {
            memory: u64::try_from(self.memory).unwrap_or(0),
            pids: self.pod_pids,
        }
    }

    /// Its addresses now, the main one first.
    pub fn ips(&self) -> Vec<String> {
        self.addresses.borrow().clone()
    }

    /// The addresses of a pod, the main one first: on the host's network those of the host.
    pub fn ips_of(&self, sandbox: &SandboxStatus) -> Vec<String> {
        if sandbox.config.host_network {
            return self.ips();
        }
        sandbox.ips.iter().map(IpAddr::to_string).collect()
    }

    /// Where the node asks a pod; `None` if it has its loopback only.
    pub fn ip_of(&self, sandbox: &SandboxStatus) -> Option<IpAddr> {
        self.ips_of(sandbox).first()?.parse().ok()
    }
}

/// The number of the signal that asks a run to end.
fn stop_signal_of(run: &crate::runtime::ContainerStatus) -> i32 {
    run.annotations
        .get(history::STOP_SIGNAL)
        .and_then(|text| text.parse().ok())
        .unwrap_or(libc::SIGTERM)
}

/// The name of a pod's sandbox.
pub fn uid(pod: &Pod) -> PodUid {
    PodUid(pod.metadata.uid.clone().unwrap_or_default())
}

/// What is said of a container that waits to run again.
pub fn back_off_message(pod: &Pod, container: &str, delay: std::time::Duration) -> String {
    let (minutes, seconds) = (delay.as_secs() / 60, delay.as_secs() % 60);
    let delay = if minutes > 0 {
        format!("{minutes}m{seconds}s")
    } else {
        format!("{seconds}s")
    };
    format!(
        "back-off {delay} restarting failed container={container} pod={}",
        full_name(pod)
    )
}

/// The event that goes with it.
fn back_off_event(pod: &Pod, container: &str) -> String {
    format!(
        "Back-off restarting failed container {container} in pod {}",
        full_name(pod)
    )
}

/// Name, namespace and uid, as kubelet's messages have them (`format.Pod`).
fn full_name(pod: &Pod) -> String {
    let metadata = &pod.metadata;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (name, namespace, uid) = (text(&metadata.name), text(&metadata.namespace), text(&metadata.uid));
    format!("{name}_{namespace}({uid})")
}
