//! Carrying out a plan, step by step. Nothing here decides: what fails is reported back and planned again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, ServiceAccountTokenProjection};
use tokio::time::timeout;

use super::config::{self, ConfigFacts};
use super::env::Environment;
use super::ephemeral::is_ephemeral;
use super::etc;
use super::links::{links_on_host, service_links};
use super::plan::{Failure, Start, container};
use super::pull::{Images, PULL_FAILURE};
use super::resize::{RESOURCES, resources_text};
use super::resources::{self, needs_controllers, unenforced};
use super::tokens::Tokens;
use super::{Rooms, devices, evict, init_containers, lsm, memory, message, sysctls};
use crate::event::EventKind;
use crate::model::{Key, Lookup, Object, Resolver};
use crate::runtime::{ContainerId, ContainerStatus, Mount, PodUid, Resize, Resized, RuntimeError, SandboxStatus, Stop};
use crate::volume;

/// Profiles list the kernel's few hundred system calls; one that is larger is none.
const MAX_PROFILE: u64 = 1 << 20;

/// A failure before it is dated and counted.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, message: impl ToString) -> Self {
        Self {
            reason,
            message: message.to_string(),
        }
    }

    /// As the worker keeps it: the next in a row of failures of `name`.
    pub(super) fn follow(self, name: &str, before: &BTreeMap<String, Failure>, at: Timestamp) -> Failure {
        let tries = before.get(name).map_or(1, |failure| failure.tries.saturating_add(1));
        Failure {
            reason: self.reason,
            message: self.message,
            at,
            tries,
        }
    }

    /// The event that tells it (kubelet `events`).
    pub(super) fn event(&self) -> (&'static str, String) {
        let reason = match self.reason {
            "FailedMount"
            | "FailedCreatePodSandBox"
            | "BackOff"
            | "NodePorts"
            | "ResizeError"
            | evict::REASON
            | sysctls::FORBIDDEN
            | devices::UNEXPECTED
            | lsm::NOT_ADMITTED => self.reason,
            "InvalidImageName" => "InspectFailed",
            "ErrImageNeverPull" => "ErrImageNeverPull",
            _ => "Failed",
        };
        let message = match self.reason {
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                format!("Error: {}", self.message)
            }
            // The registry's words were told by the pull.
            PULL_FAILURE => format!("Error: {PULL_FAILURE}"),
            _ => self.message.clone(),
        };
        (reason, message)
    }
}

/// Removes a pod's directory: its volumes, its logs, its own files of `/etc`. Whatever was mounted there was mounted for its
/// supervisor only and went with it.
pub(super) async fn remove_directory(path: PathBuf) {
    let shown = path.display().to_string();
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(path)).await;
    match removed.map_err(std::io::Error::other).flatten() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = shown, %error, "a pod's directory can't be removed; the next start of the node tries again");
        }
        _ => {}
    }
}

/// A pod while its plan is carried out.
pub(super) struct Execution<'a> {
    pub(super) rooms: &'a Rooms,
    pub(super) object: &'a Object,
    pub(super) pod: &'a Pod,
    pub(super) uid: &'a PodUid,
    pub(super) tokens: &'a Tokens,
}

impl Execution<'_> {
    /// Where all that belongs to the pod lies.
    pub(super) fn directory(&self) -> PathBuf {
        self.rooms.host.pods_dir.join(&self.uid.0)
    }

    /// Makes the sandbox. The pod is on disk before the first of its processes is there, so that no crash leaves a
    /// process that nobody knows.
    pub(super) async fn create_sandbox(&self) -> Result<(), Refusal> {
        let durable = self.rooms.store.durable(self.object.resource_version()).await;
        durable.map_err(|why| Refusal::new("FailedCreatePodSandBox", why))?;
        self.admit()?;
        let failed = |error: &dyn ToString| {
            let why = format!("Failed to create pod sandbox: {}", error.to_string());
            Refusal::new("FailedCreatePodSandBox", why)
        };
        let handler = self.runtime_handler().map_err(|e| failed(&e))?;
        let mut config = config::sandbox_config(self.pod, self.rooms.host.given(), handler).map_err(|e| failed(&e))?;
        let volumes = self.directory().join("volumes");
        config.memory_dirs = memory::memory_dirs(self.pod, &volumes, self.rooms.host.memory);
        let made = self.rooms.runtime.run_pod_sandbox(&config).await;
        made.map_err(|e| failed(&e))?;
        self.tell_limits().await;
        Ok(())
    }

    /// What the pod's class calls the runtime that is to make its containers (kubelet `LookupRuntimeHandler`).
    fn runtime_handler(&self) -> Result<String, String> {
        let spec = self.pod.spec.as_ref();
        let Some(name) = spec
            .and_then(|spec| spec.runtime_class_name.as_ref())
            .filter(|name| !name.is_empty())
        else {
            return Ok(String::new());
        };
        let kind = crate::model::kind("node.k8s.io/v1", "RuntimeClass").expect("in the table");
        let class = self.rooms.store.get(&Key::new(kind, "", name));
        let class = class.ok_or_else(|| format!("{} {name:?} not found", kind.resource()))?;
        Ok(class.text("/handler").to_owned())
    }

    /// Tells of limits that nothing enforces. Of a pod without limits there is nothing to look up.
    async fn tell_limits(&self) {
        if !needs_controllers(self.pod) {
            return;
        }
        let Ok(Some(sandbox)) = self.rooms.runtime.status(self.uid).await else {
            return;
        };
        if let Some(message) = unenforced(self.pod, &sandbox) {
            self.event_of(None, EventKind::Warning, "LimitsNotEnforced", &message);
        }
    }

    /// Gives runs the resources that their containers ask for by now.
    pub(super) async fn resize(&self, sandbox: &SandboxStatus, runs: &[ContainerId]) -> Result<(), Refusal> {
        let given = self.rooms.host.given();
        let of_run = |id: &ContainerId| {
            let run = sandbox.containers.iter().find(|run| run.id == *id)?;
            let container = self.container(&run.name)?;
            Some(Resized {
                id: id.clone(),
                limits: resources::container_limits(self.pod, &container, given),
                annotations: [(RESOURCES.to_owned(), resources_text(&container))].into(),
            })
        };
        let resize = Resize {
            limits: resources::pod_limits(self.pod, given),
            containers: runs.iter().filter_map(of_run).collect(),
        };
        let done = self.rooms.runtime.resize(self.uid, &resize).await;
        done.map_err(|e| Refusal::new("ResizeError", e))?;
        let names = sandbox.containers.iter().filter(|run| runs.contains(&run.id));
        let names: Vec<&str> = names.map(|run| run.name.as_str()).collect();
        let message = format!("Pod resize completed: {}", names.join(", "));
        self.event_of(None, EventKind::Normal, "ResizeCompleted", &message);
        self.tell_limits().await;
        Ok(())
    }

    /// The text of the seccomp profile that a container names, from `seccomp/` beside the pods' directories.
    fn seccomp_profile(&self, container: &Container) -> Result<Option<String>, Refusal> {
        let of_pod = self.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.seccomp_profile.as_ref());
        let profile = own.or_else(|| of_pod?.seccomp_profile.as_ref());
        let Some(name) = profile
            .filter(|p| p.type_ == "Localhost")
            .and_then(|p| p.localhost_profile.as_ref())
        else {
            return Ok(None);
        };
        let path = self.rooms.host.pods_dir.with_file_name("seccomp").join(name);
        let read = fs::metadata(&path).and_then(|meta| match meta.is_file() && meta.len() <= MAX_PROFILE {
            true => fs::read_to_string(&path),
            false => Err(std::io::Error::other("it is no file of at most a mebibyte")),
        });
        read.map(Some).map_err(|error| {
            Refusal::new(
                "CreateContainerError",
                format!("seccomp profile {}: {error}", path.display()),
            )
        })
    }

    /// To be awaited before anything of the pod is ended: a node that dies then and forgets why would start it anew, with its
    /// attempts counted from 0 again. A disk that takes nothing keeps nothing from ending.
    pub(super) async fn end_is_durable(&self) {
        let store = &self.rooms.store;
        if let Err(why) = store.durable(store.resource_version()).await {
            tracing::debug!(pod = %self.uid, %why, "ends nevertheless");
        }
    }

    /// Waits until no new connection is led to a pod that is to end: whoever stops listening at once would refuse those. Not for long: a node
    /// whose rules can't be changed must be able to end pods.
    pub(super) async fn is_left(&self) {
        let Some(mut served) = self.rooms.served.clone().filter(|_| self.object.is_deleting()) else {
            return;
        };
        let version = self.object.resource_version();
        let left = served.wait_for(|served| *served >= version);
        if timeout(LEAVE, left).await.is_err() {
            tracing::debug!(pod = %self.uid, "ends while connections may still be led to it");
        }
    }

    /// Sends a run the signal to end, perhaps only to run again. That it is already gone is fine.
    pub(super) async fn stop(&self, run: &ContainerStatus, grace: Duration, is_drain: bool) {
        let stop = Stop {
            signal: super::stop_signal_of(run),
            grace,
            is_drain,
        };
        if let Err(error) = self.rooms.runtime.stop_container(self.uid, &run.id, stop).await {
            tracing::debug!(pod = %self.uid, container = %run.name, %error, "can't be stopped");
        }
    }

    /// Forgets runs; whatever is left of one goes with the pod.
    pub(super) async fn forget(&self, runs: &[ContainerId]) {
        for run in runs {
            if let Err(error) = self.rooms.runtime.remove_container(self.uid, run).await {
                tracing::warn!(pod = %self.uid, %run, %error, "can't be removed");
            }
        }
    }

    /// One of the pod's containers, if it still has one of that name.
    pub(super) fn container(&self, name: &str) -> Option<Cow<'_, Container>> {
        container(self.pod, name)
    }

    /// Starts one run of a container.
    pub(super) async fn start(
        &self,
        sandbox: &SandboxStatus,
        start: &Start,
        container: &Container,
        images: &Images,
    ) -> Result<ContainerId, Refusal> {
        let image = &images.own;
        let volumes = self.volumes().map_err(|e| Refusal::new("FailedMount", e))?;
        let ips = self.rooms.host.ips_of(sandbox);
        let env = self.with_lookup(&ips, &self.links(), |lookup| {
            Environment::of(self.pod, container, &image.config.env, lookup)
        });
        let env = env.map_err(|e| Refusal::new("CreateContainerConfigError", e))?;
        let message = message::prepare(&self.directory(), container, start.attempt);
        let message = message.map_err(|e| Refusal::new("CreateContainerError", format!("termination message: {e}")))?;
        let dns = self.rooms.host.dns;
        write_pod_files(&self.directory(), self.pod, sandbox, dns)
            .map_err(|e| Refusal::new("CreateContainerError", format!("files of /etc: {e}")))?;
        let files: Vec<_> = pod_files(&self.directory()).into_iter().chain([message]).collect();
        let id = ContainerId(format!(
            "{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        ));
        let facts = ConfigFacts {
            pod: self.pod,
            container,
            start,
            sandbox,
            image,
            env,
            volumes: &volumes,
            images: &images.volumes,
            profile: self.seccomp_profile(container)?,
            files: &files,
            logs: &self.directory().join("logs"),
            given: self.rooms.host.given(),
            modules: self.rooms.host.modules,
            id: id.clone(),
        };
        let config = config::container_config(facts).map_err(|e| Refusal::new("CreateContainerConfigError", e));
        let mut config = config?;
        self.add_devices(&mut config)?;
        let runtime = &self.rooms.runtime;
        let created = runtime.create_container(self.uid, &config).await;
        created.map_err(|error| match error {
            RuntimeError::Config(why) => Refusal::new("CreateContainerConfigError", why),
            other => Refusal::new("CreateContainerError", other),
        })?;
        self.event_of(
            Some(&container.name),
            EventKind::Normal,
            "Created",
            &format!("Created container: {}", container.name),
        );
        let started = runtime.start_container(self.uid, &id).await;
        started.map_err(|e| Refusal::new("RunContainerError", e))?;
        self.event_of(
            Some(&container.name),
            EventKind::Normal,
            "Started",
            &format!("Started container {}", container.name),
        );
        Ok(id)
    }

    /// Brings the files of ConfigMaps and Secrets up to date in a pod that runs.
    pub(super) fn refresh_volumes(&self) {
        if let Err(error) = self.volumes() {
            self.event_of(None, EventKind::Warning, "FailedMount", &error.to_string());
        }
    }

    /// Removes all that is left of a pod, its object last: for as long as something of it may run, its name is taken.
    pub(super) async fn finish(&self) -> Result<(), RuntimeError> {
        self.rooms.runtime.remove_pod_sandbox(self.uid).await?;
        remove_directory(self.directory()).await;
        self.rooms.devices.release(&self.uid.0);
        // It may be gone already, or its name may belong to another pod by now: both are what we want.
        let _ = self.rooms.store.remove(self.object.key(), self.object.uid());
        Ok(())
    }

    /// Tells everyone who looks at the pod's events.
    pub(super) fn event_of(&self, container: Option<&str>, kind: EventKind, reason: &str, message: &str) {
        let is_init = |name: &str| init_containers(self.pod).iter().any(|c| c.name == name);
        let list = |name: &str| match is_init(name) {
            true => "initContainers",
            false if is_ephemeral(self.pod, name) => "ephemeralContainers",
            false => "containers",
        };
        let path = container.map(|name| format!("spec.{}{{{name}}}", list(name)));
        self.rooms
            .recorder
            .event_at(self.object, path.as_deref(), kind, reason, message);
    }

    fn volumes(&self) -> Result<BTreeMap<String, PathBuf>, volume::VolumeError> {
        let plans = self.with_lookup(&[], &[], |lookup| volume::plan_volumes(self.pod, lookup))?;
        volume::set_up(&self.directory().join("volumes"), &plans)
    }

    /// The variables of the namespace's Services, unless the pod wants none or can't reach them; those by which programs find the API in any
    /// case.
    fn links(&self) -> Vec<(String, String)> {
        let kind = crate::model::kind("v1", "Service").expect("in the table");
        let api = self.rooms.store.get(&Key::new(kind, "default", "kubernetes"));
        let spec = self.pod.spec.as_ref();
        if spec.and_then(|s| s.host_network) == Some(true) {
            let port = self.rooms.host.api_port;
            return api.map(|api| links_on_host(&api, port)).unwrap_or_default();
        }
        let mut services: Vec<_> = api.into_iter().collect();
        if spec.and_then(|s| s.enable_service_links) != Some(false) {
            let others = self.rooms.store.list(kind, Some(&self.object.key().namespace)).items;
            services.extend(others.into_iter().filter(|other| other.key().name != "kubernetes"));
        }
        service_links(&services)
    }

    /// Volumes know nothing of addresses and Services: those are for variables only.
    fn with_lookup<T>(&self, pod_ips: &[String], links: &[(String, String)], ask: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let (store, host) = (&self.rooms.store, &self.rooms.host);
        let find = |kind: &str, namespace: &str, name: &str| {
            let kind = crate::model::kind("v1", kind)?;
            store.get(&crate::model::Key::new(kind, namespace, name))
        };
        let allocatable = |resource: &str| host.allocatable(resource);
        let token = |wanted: &ServiceAccountTokenProjection| self.tokens.get(self.rooms, self.object, wanted);
        ask(&Lookup {
            find: &find,
            node_name: &host.node_name,
            host_ips: &host.ips(),
            pod_ips,
            links,
            allocatable: &allocatable,
            token: &token,
        })
    }
}

/// How long the rules of Services may take to leave a pod out before it ends all the same: some thousand times what they take.
const LEAVE: Duration = Duration::from_secs(1);

/// Files that each container of a pod gets: name, hosts and resolver (kubelet `ensureHostsFile`, `makeMounts`).
const POD_FILES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

fn pod_files(directory: &Path) -> Vec<Mount> {
    let mount = |name: &str| Mount::of_host(format!("/etc/{name}"), directory.join("etc").join(name), false);
    POD_FILES.iter().map(|name| mount(name)).collect()
}

/// Writes those files, in place: they are mounted. Each start does it anew, as kubelet does, because a new sandbox has a new address.
fn write_pod_files(directory: &Path, pod: &Pod, sandbox: &SandboxStatus, dns: Option<IpAddr>) -> std::io::Result<()> {
    let etc = directory.join("etc");
    fs::create_dir_all(&etc)?;
    let (hosts, hostname) = if sandbox.config.host_network {
        let hosts = etc::hosts_file(pod, &[], Some(&fs::read_to_string("/etc/hosts")?));
        (hosts, fs::read_to_string("/etc/hostname").unwrap_or_default())
    } else {
        let hosts = etc::hosts_file(pod, &sandbox.ips, None);
        (hosts, format!("{}\n", sandbox.config.hostname))
    };
    // A host without a resolver is a host without a resolver: the pod then has none either.
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let resolver = Resolver::of(pod, &resolver, dns).to_text();
    for (name, text) in POD_FILES.into_iter().zip([hostname, hosts, resolver]) {
        fs::write(etc.join(name), text)?;
    }
    Ok(())
}
