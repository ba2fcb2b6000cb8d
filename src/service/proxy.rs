//! Follows Services, slices and pods in the store, and passes on what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep_until};

use super::SharedZone;
use super::view::{Names, View, view};
use super::zone::Zone;
use crate::model::{Key, Kind, Object, SERVICE_NAME, is_terminal, kind};
use crate::net::{Balance, Balancer, Frontend, NodeNetwork};
use crate::store::{Change, ChangeKind, Expired, Store, Watcher};

/// After the kernel refused rules: what it lacks now (memory, a module that loads) it may have soon.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Proxy {
    store: Store,
    balancer: Balancer,
    zone: SharedZone,
    views: BTreeMap<Key, View>,
    /// Which Services have a frontend. There should be one; of several the first has it.
    owners: BTreeMap<Frontend, BTreeSet<Key>>,
    /// Frontends that the kernel has not been told of yet.
    changed: BTreeMap<Frontend, Balance>,
    /// When the kernel is told again, if it has refused what it was told last. Until then changes gather.
    retry_at: Option<Instant>,
}

impl Proxy {
    pub(super) fn new(store: Store, network: Arc<NodeNetwork>, zone: SharedZone) -> Proxy {
        Proxy {
            store,
            balancer: Balancer::new(network),
            zone,
            views: BTreeMap::new(),
            owners: BTreeMap::new(),
            changed: BTreeMap::new(),
            retry_at: None,
        }
    }

    /// Works until it is dropped: everything once, then what changes.
    pub(super) async fn run(&mut self) {
        loop {
            let Err(expired) = self.follow().await;
            tracing::debug!(%expired, "changes were lost; looking at all Services again");
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Expired> {
        let mut changes = self.store.watch(self.store.resource_version())?;
        self.take_all();
        // Also with nothing to say: the rules of an earlier node are replaced.
        self.tell_kernel().await;
        loop {
            let retry_at = self.retry_at;
            let retry = async {
                match retry_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let is_due = tokio::select! {
                change = changes.next() => {
                    self.take_batch(&change?, &mut changes)?;
                    retry_at.is_none() && !self.changed.is_empty()
                }
                () = retry => true,
            };
            if is_due {
                self.tell_kernel().await;
            }
        }
    }

    async fn tell_kernel(&mut self) {
        let told = self.balancer.apply(std::mem::take(&mut self.changed)).await;
        let Err(error) = told else {
            self.retry_at = None;
            return;
        };
        // Told once: it is tried again for as long as the kernel does not take it.
        if self.retry_at.is_none() {
            tracing::warn!(%error, "the kernel refuses the rules of Services");
        }
        self.retry_at = Some(Instant::now() + PATIENCE);
    }

    fn take_all(&mut self) {
        let mut keys: BTreeSet<Key> = self.views.keys().cloned().collect();
        let services = self.store.list(kind_of("v1", "Service"), None).items;
        keys.extend(services.iter().map(|service| service.key().clone()));
        let mut slices: BTreeMap<Key, Vec<Arc<Object>>> = BTreeMap::new();
        for slice in self.store.list(kind_of_slices(), None).items {
            if let Some(service) = service_of(&slice) {
                slices.entry(service).or_default().push(slice);
            }
        }
        for key in keys {
            self.look_at(&key, &slices.remove(&key).unwrap_or_default());
        }
        // Under one lock, so that nobody sees the zone without pods.
        let zone = self.zone.clone();
        let mut zone = zone.write().expect("no writer panics");
        zone.clear_pods();
        for pod in self.store.list(kind_of("v1", "Pod"), None).items {
            enter_pod(&mut zone, &pod, false);
        }
    }

    /// Takes a change, and all that are there already with it: one transaction tells the kernel of them.
    fn take_batch(&mut self, first: &Change, changes: &mut Watcher) -> Result<(), Expired> {
        let mut touched = BTreeSet::new();
        self.take(first, &mut touched);
        while let Some(change) = changes.next().now_or_never() {
            self.take(&change?, &mut touched);
        }
        for key in touched {
            let mut slices = self.store.list(kind_of_slices(), Some(&key.namespace)).items;
            slices.retain(|slice| service_of(slice).as_ref() == Some(&key));
            self.look_at(&key, &slices);
        }
        Ok(())
    }

    fn take(&mut self, change: &Change, touched: &mut BTreeSet<Key>) {
        let object = &change.object;
        match object.kind().kind {
            "Service" => drop(touched.insert(object.key().clone())),
            "EndpointSlice" => {
                let slices = [Some(object), change.old.as_ref()].into_iter().flatten();
                touched.extend(slices.filter_map(|slice| service_of(slice)));
            }
            "Pod" => {
                let mut zone = self.zone.write().expect("no writer panics");
                enter_pod(&mut zone, object, change.kind == ChangeKind::Deleted);
            }
            _ => {}
        }
    }

    /// Looks at a Service and its slices anew.
    fn look_at(&mut self, key: &Key, slices: &[Arc<Object>]) {
        let service = self.store.get(key);
        let slices: Vec<_> = slices.iter().filter(|slice| !slice.is_deleting()).cloned().collect();
        let new = service.map(|service| view(&service, &slices));
        if self.views.get(key) == new.as_ref() {
            return;
        }
        let names: Option<Names> = new.as_ref().map(|view| view.names.clone());
        self.zone
            .write()
            .expect("no writer panics")
            .set_service(&key.namespace, &key.name, names);
        let old = match &new {
            Some(view) => self.views.insert(key.clone(), view.clone()),
            None => self.views.remove(key),
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        for frontend in old.frontends.keys().chain(new.frontends.keys()) {
            let owners = self.owners.entry(*frontend).or_default();
            if new.frontends.contains_key(frontend) {
                owners.insert(key.clone());
            } else {
                owners.remove(key);
            }
            let winner = owners
                .first()
                .and_then(|owner| self.views.get(owner)?.frontends.get(frontend));
            self.changed.insert(*frontend, winner.cloned().unwrap_or_default());
            if owners.is_empty() {
                self.owners.remove(frontend);
            }
        }
    }
}

fn enter_pod(zone: &mut Zone, pod: &Object, is_gone: bool) {
    let ip = pod.text("/status/podIP").parse().ok();
    let ip = ip.filter(|_| !is_gone && !is_terminal(pod));
    zone.set_pod(&pod.key().namespace, &pod.key().name, ip);
}

/// The Service of a slice.
pub fn service_of(slice: &Object) -> Option<Key> {
    let label = slice.at("/metadata/labels")?.get(SERVICE_NAME)?;
    let name = label.as_str().filter(|name| !name.is_empty())?;
    Some(Key::new(kind_of("v1", "Service"), &slice.key().namespace, name))
}

fn kind_of_slices() -> &'static Kind {
    kind_of("discovery.k8s.io/v1", "EndpointSlice")
}

fn kind_of(api_version: &str, name: &str) -> &'static Kind {
    kind(api_version, name).expect("in the table")
}
