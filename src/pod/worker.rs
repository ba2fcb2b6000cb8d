//! One pod's loop: observe, plan, execute, until the plan is settled; then sleep. A worker is the only one that touches its pod,
//! so there is at most one sync per pod at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::ending::Ending;
use super::execute::{Execution, Refusal};
use super::health::Health;
use super::history::VOLUME_IMAGES;
use super::plan::{Converge, Facts, Failure, Plan, SANDBOX_FAILURE, plan_pod};
use super::pull::Pulls;
use super::resize::{self, PendingResize, RESIZE_FAILURE};
use super::tasks::Tasks;
use super::tokens::Tokens;
use super::{Draining, History, Rooms, back_off_event, message};
use crate::event::EventKind;
use crate::image::Lease;
use crate::model::{Key, Object, kind, later};
use crate::runtime::{ContainerId, ContainerState, ContainerStatus as RunStatus, PodUid, SandboxStatus};
use crate::status::{StatusFacts, pod_status};

/// How long a worker waits when the runtime does not answer, before it asks again.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(1);

/// The newest word on a pod.
#[derive(Debug, Clone)]
pub(super) struct Desired {
    pub(super) object: Arc<Object>,
    /// Whether the object is no longer in the store.
    pub(super) is_gone: bool,
}

/// Wakes a worker. Rings are hints: many count as one.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Notify,
    /// Something that a failure may have been for lack of has changed: try at once.
    has_inputs: AtomicBool,
}

impl Bell {
    /// Something happened to the pod's processes.
    pub(super) fn ring(&self) {
        self.rung.notify_one();
    }

    /// A ConfigMap, a Secret or an image changed.
    pub(super) fn ring_inputs(&self) {
        self.has_inputs.store(true, Ordering::Release);
        self.rung.notify_one();
    }
}

/// What a worker is given.
pub(super) struct Worker {
    pub(super) rooms: Arc<Rooms>,
    pub(super) uid: PodUid,
    pub(super) desired: watch::Receiver<Desired>,
    pub(super) bell: Arc<Bell>,
    /// Set when the pod's turn to end with the node has come.
    pub(super) draining: Arc<OnceLock<Draining>>,
    pub(super) stop: CancellationToken,
    pub(super) memory: Memory,
}

/// What a worker remembers beyond what it can observe. Losing it costs a repeated try and nothing else.
#[derive(Default)]
pub(super) struct Memory {
    failures: BTreeMap<String, Failure>,
    pub(super) health: Health,
    /// The containers' names of runs that run.
    pub(super) names: BTreeMap<ContainerId, String>,
    pub(super) endings: BTreeMap<ContainerId, Ending>,
    pub(super) tasks: Tasks,
    /// The generation that the failures belong to: what was changed since is tried at once.
    generation: Option<i64>,
    /// It has been told that the pod's time is over.
    pub(super) is_late: bool,
    /// Runs of which it has been told that the next one waits.
    backing_off: BTreeSet<String>,
    /// Why other resources wait, if they do.
    resize: Option<PendingResize>,
    /// Images on their way. Losing them ends them; what came is kept.
    pulls: Pulls,
    /// What keeps the images of the pod's runs here, by their ids: from before a run is made until it is forgotten. Unlike the
    /// rest this may not be lost while the node works.
    leases: BTreeMap<String, Lease>,
    /// What its volumes were given.
    pub(super) tokens_of_volumes: Arc<Tokens>,
}

/// What a round of work came to.
enum Outcome {
    /// Look again when something changes, or at this time.
    Sleep(Option<Timestamp>),
    /// Something was done: look at what it did.
    Again,
    /// The pod is no more, or rests until the next node comes.
    Done,
}

impl Worker {
    pub(super) fn new(
        rooms: Arc<Rooms>,
        uid: PodUid,
        desired: watch::Receiver<Desired>,
        bell: Arc<Bell>,
        draining: Arc<OnceLock<Draining>>,
        stop: CancellationToken,
        leases: BTreeMap<String, Lease>,
    ) -> Self {
        Self {
            rooms,
            uid,
            desired,
            bell,
            draining,
            stop,
            memory: Memory {
                leases,
                ..Memory::default()
            },
        }
    }

    /// Works until the pod is no more, has been drained, or the node stops; only then containers run on.
    pub(super) async fn run(mut self) {
        loop {
            if self.stop.is_cancelled() {
                // The images of what runs on stay for the rest of this process; the next one holds them before anyone can ask it.
                std::mem::forget(self.memory.leases);
                return;
            }
            match self.round().await {
                Outcome::Again => {}
                Outcome::Done => return,
                Outcome::Sleep(until) => self.sleep(until).await,
            }
        }
    }

    async fn sleep(&mut self, until: Option<Timestamp>) {
        let now = self.rooms.clock.now();
        let wait = until.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        let timer = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let mut timer = std::pin::pin!(timer);
        loop {
            tokio::select! {
                () = &mut timer => break,
                () = self.bell.rung.notified() => break,
                // An error means that the manager is gone, and then `stop` is near.
                _ = self.desired.changed() => break,
                heard = self.memory.tasks.next() => if self.hear(heard) { break },
                () = self.memory.pulls.next_end() => break,
                () = self.stop.cancelled() => break,
            }
        }
        if self.bell.has_inputs.swap(false, Ordering::AcqRel) {
            self.memory.failures.clear();
        }
    }

    async fn round(&mut self) -> Outcome {
        let Desired { object, is_gone } = self.desired.borrow_and_update().clone();
        let Ok(pod) = object.typed::<Pod>() else {
            // `admit` lets only pods in; a journal of another version may hold others.
            tracing::error!(pod = %self.uid, "the stored object is not a pod that this version can read");
            return Outcome::Sleep(None);
        };
        let observed = match self.rooms.runtime.status(&self.uid).await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(pod = %self.uid, %error, "its state can't be read");
                return self.sleep_a_moment();
            }
        };
        let (pod, pending) = self.allocate(&object, pod, observed.as_ref());
        self.tell_pending(&object, pending);
        if self.memory.generation.replace(object.generation()) != Some(object.generation()) {
            self.memory.failures.clear();
        }
        self.forget_settled_failures(observed.as_ref());
        self.forget_unused_images(observed.as_ref());
        self.forget_ended_runs(observed.as_ref());
        message::read_all(
            &self.directory(),
            &pod,
            observed.as_ref(),
            &mut self.memory.health.messages,
        );
        while let Some(heard) = self.memory.tasks.waiting() {
            self.hear(heard);
        }
        self.take_up_post_start(&pod, observed.as_ref(), is_gone || object.is_deleting());
        let (now, pulling) = (self.rooms.clock.now(), self.memory.pulls.under_way());
        let facts = Facts {
            pod: &pod,
            is_gone,
            draining: self.draining.get().copied(),
            observed: observed.as_ref(),
            failures: &self.memory.failures,
            health: &self.memory.health,
            endings: &self.memory.endings,
            pulling: &pulling,
            now,
        };
        let (plan, is_ending) = (plan_pod(facts), facts.is_ending());
        tracing::debug!(pod = %self.uid, ?plan, "planned");
        // A pod that was deleted before it had a node never was here.
        if !is_gone && !object.text("/spec/nodeName").is_empty() {
            self.write_status(&object, &pod, observed.as_ref());
        }
        self.tell_deadline(&object, &pod, observed.as_ref());
        let asked = observed.as_ref().filter(|sandbox| sandbox.alive && !is_gone);
        self.ask_probes(&pod, asked, is_ending, now);
        self.carry_out(plan, &object, &pod, observed).await
    }

    /// The pod as it is to run, with the resources that it has while those that it asks for have no room (kubelet
    /// `UpdatePodFromAllocation`); and why they have none.
    fn allocate(&self, object: &Object, pod: Pod, observed: Option<&SandboxStatus>) -> (Pod, Option<PendingResize>) {
        let Some(given) = resize::as_given(&pod, observed).filter(|_| !object.is_deleting()) else {
            return (pod, None);
        };
        let node = kind("v1", "Node").expect("in the table");
        let node = self.rooms.store.get(&Key::new(node, "", &self.rooms.host.node_name));
        let pods = self.rooms.store.list(object.kind(), None).items;
        match resize::plan_resize(object, node.as_deref(), &pods) {
            Ok(()) => (pod, None),
            Err(pending) => (given, Some(pending)),
        }
    }

    /// Tells once why other resources wait.
    fn tell_pending(&mut self, object: &Object, pending: Option<PendingResize>) {
        if let Some(PendingResize { reason, message }) = pending.as_ref().filter(|_| self.memory.resize != pending) {
            let reason = format!("Resize{reason}");
            self.rooms.recorder.event(object, EventKind::Warning, &reason, message);
        }
        self.memory.resize = pending;
    }

    /// What the runtime did not do now it may do soon.
    fn sleep_a_moment(&self) -> Outcome {
        Outcome::Sleep(Some(later(self.rooms.clock.now(), RUNTIME_PATIENCE)))
    }

    async fn carry_out(&mut self, plan: Plan, object: &Object, pod: &Pod, observed: Option<SandboxStatus>) -> Outcome {
        let rooms = self.rooms.clone();
        let (uid, tokens) = (self.uid.clone(), self.memory.tokens_of_volumes.clone());
        let execution = Execution {
            rooms: &rooms,
            object,
            pod,
            uid: &uid,
            tokens: &tokens,
        };
        if matches!(plan, Plan::End(_) | Plan::StopSandbox | Plan::Finish) {
            execution.end_is_durable().await;
            execution.is_left().await;
        }
        match plan {
            Plan::Settled { recheck } => {
                if observed.as_ref().is_some_and(|s| s.alive) && !object.is_deleting() {
                    execution.refresh_volumes();
                    self.tell_back_off(&execution, observed.as_ref());
                    let now = rooms.clock.now();
                    self.memory.pulls.tell_back_off(&execution, &self.memory.failures, now);
                }
                return Outcome::Sleep(recheck.into_iter().chain(tokens.next_renewal()).min());
            }
            Plan::CreateSandbox => match execution.create_sandbox().await {
                Ok(()) => drop(self.memory.failures.remove(SANDBOX_FAILURE)),
                Err(refusal) => self.remember(&execution, SANDBOX_FAILURE, refusal),
            },
            Plan::Converge(steps) => {
                self.converge(&execution, steps, &observed.expect("converging needs a sandbox"))
                    .await
            }
            Plan::End(steps) => {
                self.end(&execution, &steps, &observed.expect("what is ended was seen"))
                    .await;
            }
            Plan::StopSandbox => {
                if let Err(error) = rooms.runtime.stop_pod_sandbox(&uid).await {
                    tracing::warn!(pod = %uid, %error, "its sandbox can't be stopped");
                    return self.sleep_a_moment();
                }
            }
            Plan::Rest => return Outcome::Done,
            Plan::Finish => match execution.finish().await {
                Ok(()) => return Outcome::Done,
                Err(error) => {
                    tracing::warn!(pod = %uid, %error, "its sandbox can't be removed");
                    return self.sleep_a_moment();
                }
            },
        }
        Outcome::Again
    }

    async fn converge(&mut self, execution: &Execution<'_>, steps: Converge, sandbox: &SandboxStatus) {
        self.end(execution, &steps.end, sandbox).await;
        execution.forget(&steps.forget).await;
        if !steps.resize.is_empty() {
            match execution.resize(sandbox, &steps.resize).await {
                Ok(()) => drop(self.memory.failures.remove(RESIZE_FAILURE)),
                Err(refusal) => self.remember(execution, RESIZE_FAILURE, refusal),
            }
        }
        for start in &steps.start {
            let container = execution
                .container(&start.name)
                .expect("plans name the pod's own containers");
            let images = self.memory.pulls.images(execution, &container).await;
            let started = match images {
                // Some are on their way; the plan takes it up when they are here.
                Ok(None) => continue,
                Ok(Some(images)) => {
                    for image in images.all() {
                        self.memory.leases.insert(image.id.clone(), image.lease.clone());
                    }
                    execution.start(sandbox, start, &container, &images).await
                }
                Err(refusal) => Err(refusal),
            };
            match started {
                Ok(run) => {
                    self.memory.failures.remove(&start.name);
                    let ip = self.rooms.host.ip_of(sandbox);
                    self.begin_post_start(execution, &start.name, run, ip);
                }
                Err(refusal) => self.remember(execution, &start.name, refusal),
            }
        }
    }

    fn remember(&mut self, execution: &Execution<'_>, name: &str, refusal: Refusal) {
        let (reason, message) = refusal.event();
        // Volumes are the pod's, whichever container waits for them.
        let is_of_pod = [SANDBOX_FAILURE, RESIZE_FAILURE].contains(&name) || reason == "FailedMount";
        let container = (!is_of_pod).then_some(name);
        execution.event_of(container, EventKind::Warning, reason, &message);
        let failure = refusal.follow(name, &self.memory.failures, self.rooms.clock.now());
        self.memory.failures.insert(name.to_owned(), failure);
    }

    /// A container that runs has no failure any more, and neither has a sandbox that lives.
    fn forget_settled_failures(&mut self, observed: Option<&SandboxStatus>) {
        let Some(sandbox) = observed.filter(|s| s.alive) else {
            return;
        };
        self.memory.failures.retain(|name, _| {
            let state = History::of(name, Some(sandbox)).latest().map(|run| &run.state);
            name != SANDBOX_FAILURE && !matches!(state, Some(ContainerState::Running { .. }))
        });
    }

    /// Images that no run was made from need not stay.
    fn forget_unused_images(&mut self, observed: Option<&SandboxStatus>) {
        let used = images_of(observed);
        self.memory.leases.retain(|id, _| used.contains(id.as_str()));
    }

    fn status_of(&self, pod: &Pod, observed: Option<&SandboxStatus>, now: Timestamp) -> PodStatus {
        pod_status(StatusFacts {
            pod,
            observed,
            failures: &self.memory.failures,
            resize: self.memory.resize.as_ref(),
            health: &self.memory.health,
            host_ips: &self.rooms.host.ips(),
            now,
        })
    }

    /// Tells once of each run that the next one waits (kubelet `doBackOff`).
    fn tell_back_off(&mut self, execution: &Execution<'_>, observed: Option<&SandboxStatus>) {
        let pod = execution.pod;
        let status = self.status_of(pod, observed, self.rooms.clock.now());
        let lists = [status.init_container_statuses, status.container_statuses];
        let waiting: Vec<ContainerStatus> = lists.into_iter().flatten().flatten().filter(is_backing_off).collect();
        let is_new = |id: &Option<String>| id.as_ref().is_some_and(|id| !self.memory.backing_off.contains(id));
        for container in waiting.iter().filter(|container| is_new(&container.container_id)) {
            let message = back_off_event(pod, &container.name);
            execution.event_of(Some(&container.name), EventKind::Warning, "BackOff", &message);
        }
        self.memory.backing_off = waiting
            .into_iter()
            .filter_map(|container| container.container_id)
            .collect();
    }

    /// Writes the status if it says anything new. The object in the store may be newer than the one at hand: then the status is
    /// made from that.
    fn write_status(&self, object: &Object, pod: &Pod, observed: Option<&SandboxStatus>) {
        let (version, now) = (object.resource_version(), self.rooms.clock.now());
        let status = self.status_value(pod, observed, now);
        if object.value().get("status") == Some(&status) {
            return;
        }
        let mut status = Some(status);
        let write = |stored: &mut Object| {
            if stored.uid() != object.uid() {
                return;
            }
            let at_hand = status.take().filter(|_| stored.resource_version() == version);
            let anew = || {
                let pod = stored.typed::<Pod>().ok()?;
                let (pod, _) = self.allocate(stored, pod, observed);
                Some(self.status_value(&pod, observed, now))
            };
            if let Some(status) = at_hand.or_else(anew) {
                stored.value_mut()["status"] = status;
            }
        };
        // It may have been deleted meanwhile; the next round learns it.
        let _ = self.rooms.store.update_status(object.key(), write);
    }

    fn status_value(&self, pod: &Pod, observed: Option<&SandboxStatus>, now: Timestamp) -> serde_json::Value {
        serde_json::to_value(self.status_of(pod, observed, now)).expect("Kubernetes types have string keys only")
    }
}

/// The ids of the images that a pod's runs were made from, and of those that are mounted into them.
pub(super) fn images_of<'a>(observed: Option<&'a SandboxStatus>) -> BTreeSet<&'a str> {
    let runs = observed.iter().flat_map(|sandbox| &sandbox.containers);
    let mounted = |run: &'a RunStatus| {
        run.annotations
            .get(VOLUME_IMAGES)
            .map(String::as_str)
            .unwrap_or_default()
    };
    runs.flat_map(|run| mounted(run).split_whitespace().chain([run.image_id.as_str()]))
        .collect()
}

fn is_backing_off(container: &ContainerStatus) -> bool {
    let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
}
