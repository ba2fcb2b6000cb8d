//! Which pod an address is, and whether it may leave: follows pods and namespaces in the store.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::plan::{Room, Settings, Verdict, is_cut_off, plan_destination};
use crate::model::{Object, known_kind};
use crate::net::NodeNetwork;
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
pub(super) struct Passes {
    network: Arc<NodeNetwork>,
    settings: Settings,
    of_one: Room,
    // Held for a look-up or a change, never across an await.
    known: Mutex<Known>,
}

impl Passes {
    pub(super) fn new(network: Arc<NodeNetwork>, settings: Settings, of_one: Room) -> Passes {
        Passes {
            network,
            settings,
            of_one,
            known: Mutex::default(),
        }
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

    /// Follows the store until it is dropped.
    pub(super) async fn follow(&self, store: &Store) {
        loop {
            let Err(expired) = self.follow_once(store).await;
            tracing::debug!(%expired, "changes were lost; looking at all pods again");
        }
    }

    /// Takes all pods and namespaces in. What is said here holds before the first packet is heard.
    pub(super) fn take_all(&self, store: &Store) {
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
            known.set_cut_off(&namespace.key().name, is_cut_off(namespace));
        }
        pods.iter().for_each(|pod| known.enter(pod, self.of_one));
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
                let is_cut_off = !is_gone && is_cut_off(object);
                self.known().set_cut_off(&object.key().name, is_cut_off);
            }
            "Pod" if is_gone => {
                if let Some(entry) = self.known().pods.remove(object.uid()) {
                    entry.pass.ended.cancel();
                }
            }
            "Pod" => self.known().enter(object, self.of_one),
            _ => {}
        }
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
