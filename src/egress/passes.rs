//! Which pod an address is, and whether it may leave: follows pods and namespaces in the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::plan::{Room, Settings, Verdict, plan_destination, plan_room, plan_room_of_one};
use crate::model::{Object, cut_off, is_inside, known_kind};
use crate::net::NodeNetwork;
use crate::os::descriptors;
use crate::store::{Change, ChangeKind, Expired, Store};

/// What a pod's connections hang on.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    /// They end with it: the pod is gone, or its namespace is cut off.
    pub(super) ended: CancellationToken,
    /// How many there may be.
    pub(super) connections: Arc<Semaphore>,
    /// The same of flows of datagrams.
    pub(super) flows: Arc<Semaphore>,
}

struct Entry {
    namespace: String,
    pass: Pass,
}

#[derive(Default)]
struct Known {
    /// Pods by uid.
    pods: HashMap<String, Entry>,
    /// Namespaces that are cut off.
    cut_off: BTreeSet<String>,
}

/// Knows who may leave.
pub struct Passes {
    network: Arc<NodeNetwork>,
    settings: Settings,
    of_one: Room,
    // Held for a look-up or a change, never across an await.
    known: Mutex<Known>,
    /// Rings when a pod or a namespace may have changed.
    bell: watch::Sender<()>,
}

impl Passes {
    /// Nobody is known before [`take_all`](Self::take_all).
    pub fn new(network: Arc<NodeNetwork>, settings: Settings) -> Passes {
        Passes {
            network,
            settings,
            of_one: plan_room_of_one(plan_room(descriptors())),
            known: Mutex::default(),
            bell: watch::Sender::default(),
        }
    }

    /// Whether the pod with this address may leave for anywhere: the settings let pods out, and its namespace is not cut off. An address of their
    /// network that is no pod's is the node's own; any other one is nobody's.
    pub fn may_leave(&self, source: IpAddr) -> bool {
        if !self.settings.is_on {
            return false;
        }
        let Some(owner) = self.network.addresses().owner(source).map(str::to_owned) else {
            return is_inside(source) || source.is_loopback();
        };
        let known = self.known();
        known
            .pods
            .get(&owner)
            .is_some_and(|entry| !known.cut_off.contains(&entry.namespace))
    }

    /// What becomes of a wish; `None` if the address is no pod's: what it sends is lost.
    pub(super) fn plan(&self, source: IpAddr, destination: SocketAddr) -> Option<(Verdict, Pass)> {
        let owner = self.network.addresses().owner(source)?.to_owned();
        let known = self.known();
        let entry = known.pods.get(&owner)?;
        let is_allowed = !known.cut_off.contains(&entry.namespace);
        let verdict = plan_destination(self.settings, is_allowed, destination);
        Some((verdict, entry.pass.clone()))
    }

    /// Rings when [`leavers`](Self::leavers) may be others.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// The first addresses of all pods that have one, and whether they may leave.
    pub(super) fn leavers(&self) -> BTreeMap<Ipv4Addr, bool> {
        let known = self.known();
        let addresses = self.network.addresses();
        let leaver = |(uid, entry): (&String, &Entry)| {
            let may_leave = self.settings.is_on && !known.cut_off.contains(&entry.namespace);
            Some((addresses.address(uid)?.first, may_leave))
        };
        known.pods.iter().filter_map(leaver).collect()
    }

    /// Follows the store until it is dropped.
    pub async fn follow(&self, store: &Store) {
        loop {
            let Err(expired) = self.follow_once(store).await;
            tracing::debug!(%expired, "changes were lost; looking at all pods again");
        }
    }

    /// Takes all pods and namespaces in. What is said here holds before the first packet is heard.
    pub fn take_all(&self, store: &Store) {
        let namespaces = store.list(known_kind("v1", "Namespace"), None).items;
        let pods = store.list(known_kind("v1", "Pod"), None).items;
        let present: BTreeSet<&str> = pods.iter().map(|pod| pod.uid()).collect();
        let mut known = self.known();
        let names: BTreeSet<String> = namespaces
            .iter()
            .map(|namespace| namespace.key().name.clone())
            .collect();
        let gone: Vec<String> = known.cut_off.difference(&names).cloned().collect();
        gone.iter().for_each(|name| known.set_cut_off(name, false));
        known.pods.retain(|uid, entry| {
            let stays = present.contains(uid.as_str());
            if !stays {
                entry.pass.ended.cancel();
            }
            stays
        });
        for namespace in &namespaces {
            known.set_cut_off(&namespace.key().name, cut_off(namespace).is_some());
        }
        pods.iter().for_each(|pod| known.enter(pod, self.of_one));
        drop(known);
        self.bell.send_replace(());
    }

    async fn follow_once(&self, store: &Store) -> Result<std::convert::Infallible, Expired> {
        let mut changes = store.watch(store.resource_version())?;
        self.take_all(store);
        loop {
            let change = changes.next().await?;
            self.take(&change);
        }
    }

    fn take(&self, change: &Change) {
        let object = &change.object;
        let is_gone = change.kind == ChangeKind::Deleted;
        match object.kind().kind {
            "Namespace" => {
                let is_cut_off = !is_gone && cut_off(object).is_some();
                self.known().set_cut_off(&object.key().name, is_cut_off);
            }
            "Pod" if is_gone => {
                if let Some(entry) = self.known().pods.remove(object.uid()) {
                    entry.pass.ended.cancel();
                }
            }
            "Pod" => self.known().enter(object, self.of_one),
            _ => return,
        }
        self.bell.send_replace(());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while it holds the passes")
    }
}

impl Known {
    fn enter(&mut self, pod: &Object, of_one: Room) {
        if !self.pods.contains_key(pod.uid()) {
            let entry = Entry {
                namespace: pod.key().namespace.clone(),
                pass: Pass {
                    ended: CancellationToken::new(),
                    connections: Arc::new(Semaphore::new(of_one.connections)),
                    flows: Arc::new(Semaphore::new(of_one.flows)),
                },
            };
            self.pods.insert(pod.uid().to_owned(), entry);
        }
    }

    /// What its pods have to the outside ends when a namespace is cut off.
    fn set_cut_off(&mut self, namespace: &str, is_cut_off: bool) {
        if !is_cut_off {
            self.cut_off.remove(namespace);
        } else if self.cut_off.insert(namespace.to_owned()) {
            for entry in self.pods.values_mut().filter(|entry| entry.namespace == namespace) {
                let old = std::mem::take(&mut entry.pass.ended);
                old.cancel();
            }
        }
    }
}
