//! Gives each pod in the store its worker, wakes workers, and clears away what no pod in the store accounts for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::execute::remove_directory;
use super::schedule::{is_of, run_schedule};
use super::shutdown::{Stage, plan_stage};
use super::worker::{Bell, Desired, Worker, images_of};
use super::{Drain, Draining, Graces, Rooms};
use crate::image::Lease;
use crate::model::{self, Key, Kind, Object, is_terminal, list_at, storage};
use crate::runtime::{PodUid, RuntimeError, SandboxConfig};
use crate::store::{Change, ChangeKind, Watcher};

/// How often every worker looks at its pod without being asked: any hint may be lost (law 4), and this bounds for how long.
const SAFETY_PASS: Duration = Duration::from_secs(300);

/// Wakes workers from outside.
#[derive(Debug, Clone)]
pub struct Bells {
    images: mpsc::UnboundedSender<()>,
}

impl Bells {
    /// Images were added: whoever waits for one may try.
    pub fn images_changed(&self) {
        // No receiver means that the node is ending.
        let _ = self.images.send(());
    }
}

struct Entry {
    key: Key,
    desired: watch::Sender<Desired>,
    bell: Arc<Bell>,
    inputs: BTreeSet<Key>,
    draining: Arc<OnceLock<Draining>>,
}

impl Entry {
    /// Whether it asks for more than it has, and others have that.
    fn waits_for_room(&self) -> bool {
        let pod = &self.desired.borrow().object;
        let mut conditions = list_at(pod.value(), "/status/conditions").iter();
        conditions.any(|c| c["type"] == "PodResizePending" && c["reason"] == "Deferred")
    }

    /// When it has its turn to end with the node.
    fn stage(&self) -> Stage {
        Stage::of(&self.desired.borrow().object)
    }

    /// Ends it with the node, now.
    fn drain(&self, graces: Graces) {
        let most = graces.of(self.stage());
        if self.draining.set(Draining { most }).is_ok() {
            self.bell.ring();
        }
    }

    /// Whether it may have been refused for lack of a port of the host.
    fn may_wait_for_ports(&self) -> bool {
        let pod = &self.desired.borrow().object;
        pod.text("/status/podIP").is_empty() && !model::host_ports(pod).is_empty()
    }
}

struct Manager {
    rooms: Arc<Rooms>,
    ends: Ends,
    entries: HashMap<PodUid, Entry>,
    workers: JoinSet<PodUid>,
    /// How many pods wait to be put on the node.
    waiting: usize,
    /// What keeps the images of runs that were there before us, until their pods have workers.
    leases: HashMap<PodUid, BTreeMap<String, Lease>>,
}

/// How the room ends.
#[derive(Debug, Clone, Default)]
pub struct Ends {
    /// All containers end, gracefully, and with the last of them the room. Their pods stay wanted.
    pub drain: Drain,
    /// The room ends at once; containers run on.
    pub stop: CancellationToken,
}

/// Looks after every pod until it is told to end; it ends when all workers have come to rest. When this returns,
/// the images of all that runs are held: from then on others may ask for some to be removed.
///
/// # Errors
/// If the runtime can't tell what runs.
pub async fn run(rooms: Arc<Rooms>, ends: Ends) -> Result<(Bells, impl Future<Output = ()>), RuntimeError> {
    let mut leases = HashMap::new();
    for sandbox in rooms.runtime.list().await? {
        let held = images_of(Some(&sandbox)).into_iter();
        let held = held.filter_map(|id| Some((id.to_owned(), rooms.images.lease(id)?)));
        leases.insert(sandbox.config.uid.clone(), held.collect());
    }
    let (images, images_changed) = mpsc::unbounded_channel();
    let manager = Manager {
        rooms,
        ends,
        entries: HashMap::new(),
        workers: JoinSet::new(),
        waiting: 0,
        leases,
    };
    Ok((Bells { images }, manager.run(images_changed)))
}

fn pod_kind() -> &'static Kind {
    model::kind("v1", "Pod").expect("in the table")
}

impl Manager {
    async fn run(mut self, mut images_changed: mpsc::UnboundedReceiver<()>) {
        let mut hints = self
            .rooms
            .runtime
            .changes()
            .expect("the manager is the first and only one to ask");
        let mut changes = self.list();
        self.adopt().await;
        let mut safety = tokio::time::interval_at(tokio::time::Instant::now() + SAFETY_PASS, SAFETY_PASS);
        let Ends { drain, stop } = self.ends.clone();
        let mut draining = None;
        let mut addresses = self.rooms.host.addresses.clone();
        while !(draining.is_some() && self.workers.is_empty()) {
            tokio::select! {
                () = stop.cancelled() => break,
                graces = drain.begins(), if draining.is_none() => draining = Some(graces),
                change = changes.next() => match change {
                    Ok(change) => self.take(&change),
                    Err(_) => changes = self.list(),
                },
                Some(uid) = hints.recv() => self.ring(&uid),
                Some(()) = images_changed.recv() => self.entries.values().for_each(|entry| entry.bell.ring_inputs()),
                // Statuses tell them.
                Ok(()) = addresses.changed() => self.entries.values().for_each(|entry| entry.bell.ring()),
                Some(ended) = self.workers.join_next() => self.reap(ended),
                _ = safety.tick() => self.entries.values().for_each(|entry| entry.bell.ring()),
            }
            if let Some(graces) = draining {
                self.drain(graces);
            }
        }
        while self.workers.join_next().await.is_some() {}
    }

    /// Ends those pods whose turn has come.
    fn drain(&self, graces: Graces) {
        let stage = plan_stage(self.entries.values().map(Entry::stage));
        let due = self.entries.values().filter(|entry| Some(entry.stage()) == stage);
        due.for_each(|entry| entry.drain(graces));
    }

    /// Takes all pods in and follows them from there.
    fn list(&mut self) -> Watcher {
        loop {
            let version = self.take_all();
            // A burst of writes may have pushed even that out of the ring.
            if let Ok(watcher) = self.rooms.store.watch(version) {
                return watcher;
            }
        }
    }

    /// Takes all pods in; returns the version of which they are.
    fn take_all(&mut self) -> u64 {
        let pods = self.rooms.store.list(pod_kind(), None);
        let present: BTreeSet<_> = pods.items.iter().map(|pod| PodUid(pod.uid().to_owned())).collect();
        for pod in &pods.items {
            self.want(pod, false);
        }
        let gone: Vec<_> = self
            .entries
            .keys()
            .filter(|uid| !present.contains(uid))
            .cloned()
            .collect();
        for uid in gone {
            self.entries[&uid].desired.send_modify(|desired| desired.is_gone = true);
        }
        self.schedule();
        pods.resource_version
    }

    /// Ends sandboxes of pods that are not in the store: we died between their deletion and their end.
    async fn adopt(&mut self) {
        match self.rooms.runtime.list().await {
            Ok(sandboxes) => {
                let orphans = sandboxes
                    .into_iter()
                    .filter(|s| !self.entries.contains_key(&s.config.uid));
                for config in orphans.map(|s| s.config).collect::<Vec<_>>() {
                    tracing::info!(pod = %config.uid, name = %config.name, "removing what is left of a deleted pod");
                    // It is gone, so nobody but us asks for it: what users write in their pods does not make one.
                    let object = Arc::new(stand_in(&config));
                    self.spawn(config.uid.clone(), Desired { object, is_gone: true });
                }
                self.remove_strays().await;
            }
            Err(error) => tracing::error!(%error, "the runtime can't list its sandboxes"),
        }
    }

    /// Removes directories of pods that are neither in the store nor known to the runtime: we died while we removed them.
    async fn remove_strays(&self) {
        let Ok(entries) = std::fs::read_dir(&self.rooms.host.pods_dir) else {
            return;
        };
        let named = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_stray = |uid: &PodUid| !self.entries.contains_key(uid);
        for uid in named.map(PodUid).filter(is_stray).collect::<Vec<_>>() {
            remove_directory(self.rooms.host.pods_dir.join(uid.0)).await;
        }
    }

    fn take(&mut self, change: &Change) {
        match change.object.kind().kind {
            "Pod" => {
                let is_gone = change.kind == ChangeKind::Deleted;
                let is_new = self.want(&change.object, is_gone);
                if !is_gone && !self.is_placed(&change.object) {
                    self.schedule();
                } else if is_new || is_gone || change.object.is_deleting() || is_terminal(&change.object) {
                    self.schedule_waiting();
                }
                if is_gone || is_terminal(&change.object) {
                    let waiting = self.entries.values().filter(|entry| entry.waits_for_room());
                    waiting.for_each(|entry| entry.bell.ring());
                }
                if super::ports::frees_ports(change) {
                    let waiting = self.entries.values().filter(|entry| entry.may_wait_for_ports());
                    waiting.for_each(|entry| entry.bell.ring_inputs());
                }
            }
            "Node" | "PriorityClass" | "Namespace" => self.schedule_waiting(),
            "ConfigMap" | "Secret" | "PersistentVolumeClaim" | "ServiceAccount" | "RuntimeClass" => {
                let key = change.object.key();
                self.entries
                    .values()
                    .filter(|e| e.inputs.contains(key))
                    .for_each(|e| e.bell.ring_inputs());
                if change.object.kind() == storage::kind_of_claims() {
                    self.schedule_waiting();
                }
            }
            _ => {}
        }
    }

    /// Puts on the node what fits, which then comes back as a change.
    fn schedule(&mut self) {
        self.waiting = run_schedule(&self.rooms);
    }

    /// Something changed that those who wait may have waited for.
    fn schedule_waiting(&mut self) {
        if self.waiting > 0 {
            self.schedule();
        }
    }

    /// Takes the newest word on a pod; says whether it has got a worker by it.
    fn want(&mut self, pod: &Arc<Object>, is_gone: bool) -> bool {
        let uid = PodUid(pod.uid().to_owned());
        let desired = Desired {
            object: pod.clone(),
            is_gone,
        };
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.inputs = inputs(pod);
            entry.desired.send_replace(desired);
            return false;
        }
        let is_new = !is_gone && self.is_placed(pod);
        if is_new {
            self.spawn(uid, desired);
        }
        is_new
    }

    fn spawn(&mut self, uid: PodUid, desired: Desired) {
        let key = desired.object.key().clone();
        // The same name under a new uid waits until the old one is gone (law 6).
        let old = self
            .entries
            .values()
            .find(|entry| entry.key == key)
            .map(|entry| entry.desired.clone());
        let inputs = inputs(&desired.object);
        let (sender, receiver) = watch::channel(desired);
        let (bell, draining) = (Arc::new(Bell::default()), Arc::default());
        let worker = Worker::new(
            self.rooms.clone(),
            uid.clone(),
            receiver,
            bell.clone(),
            Arc::clone(&draining),
            self.ends.stop.clone(),
            self.leases.remove(&uid).unwrap_or_default(),
        );
        self.entries.insert(
            uid.clone(),
            Entry {
                key,
                desired: sender,
                bell,
                inputs,
                draining,
            },
        );
        let stop = self.ends.stop.clone();
        self.workers.spawn(async move {
            if let Some(old) = old {
                // The old worker holds the receiver until it ends.
                tokio::select! { () = old.closed() => {}, () = stop.cancelled() => {} }
            }
            worker.run().await;
            uid
        });
    }

    /// Whether somebody has to look after a pod: it is on the node, or it ends without ever having been there.
    fn is_placed(&self, pod: &Object) -> bool {
        is_of(pod, &self.rooms.host.node_name) || pod.is_deleting() || is_terminal(pod)
    }

    fn ring(&self, uid: &PodUid) {
        if let Some(entry) = self.entries.get(uid) {
            entry.bell.ring();
        }
    }

    fn reap(&mut self, ended: Result<PodUid, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => drop(self.entries.remove(&uid)),
            Err(error) => tracing::error!(%error, "a pod's worker failed"),
        }
    }
}

/// The ConfigMaps, Secrets, claims, the account and the class that a pod names.
fn inputs(pod: &Object) -> BTreeSet<Key> {
    let mut found = BTreeSet::new();
    let Some(spec) = pod.at("/spec") else { return found };
    let namespace = &pod.key().namespace;
    let mut add = |kind: &str, name: Option<&serde_json::Value>| {
        let kind = model::kind("v1", kind).expect("in the table");
        found.extend(
            name.and_then(|n| n.as_str())
                .map(|name| Key::new(kind, namespace, name)),
        );
    };
    visit(spec, &mut |field, value| match field {
        "configMapKeyRef" | "configMapRef" | "configMap" => add("ConfigMap", value.get("name")),
        "secretKeyRef" | "secretRef" => add("Secret", value.get("name")),
        "serviceAccountToken" => add("ServiceAccount", spec.get("serviceAccountName")),
        "secret" => add("Secret", value.get("secretName").or_else(|| value.get("name"))),
        "imagePullSecrets" => {
            for secret in value.as_array().into_iter().flatten() {
                add("Secret", secret.get("name"));
            }
        }
        _ => {}
    });
    let class = spec.get("runtimeClassName").and_then(|name| name.as_str());
    let classes = model::kind("node.k8s.io/v1", "RuntimeClass").expect("in the table");
    found.extend(class.map(|name| Key::new(classes, "", name)));
    let claim = |name| Key::new(storage::kind_of_claims(), namespace, name);
    found.extend(storage::claims_of(pod).into_iter().map(claim));
    found
}

/// Calls `see` with every field below `value`.
fn visit(value: &serde_json::Value, see: &mut impl FnMut(&str, &serde_json::Value)) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                see(name, value);
                visit(value, see);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| visit(item, see)),
        _ => {}
    }
}

/// The stand-in for a pod of which only the sandbox is left.
fn stand_in(config: &SandboxConfig) -> Object {
    let metadata = json!({
        "name": config.name,
        "namespace": config.namespace,
        "uid": config.uid.0,
    });
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}});
    Object::new(pod).expect("a pod of the table, with a name")
}
