//! Follows Services, slices and pods in the store, and passes on what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::SharedZone;
use super::view::{Names, View, view};
use crate::model::{Key, Kind, Object, kind};
use crate::net::{Balance, Balancer, Frontend, NodeNetwork};
use crate::store::{Change, ChangeKind, Expired, Store, Watcher};

/// After the kernel refused rules: what it lacks now (memory, a module that loads) it may have soon.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub(super) struct Proxy {
    store: Store,
    balancer: Balancer,
    zone: SharedZone,
    views: BTreeMap<Key, View>,
    /// Which Services have a frontend. There should be one; of several the first has it.
    owners: BTreeMap<Frontend, BTreeSet<Key>>,
    /// Frontends that the kernel has not been told of yet.
    changed: BTreeMap<Frontend, Balance>,
    /// Whether the kernel has refused what it was told last.
    has_failed: bool,
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
            has_failed: false,
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
            let retry = async {
                match self.has_failed {
                    true => tokio::time::sleep(PATIENCE).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.next() => self.take_batch(&change?, &mut changes)?,
                () = retry => {}
            }
            if self.has_failed || !self.changed.is_empty() {
                self.tell_kernel().await;
            }
        }
    }

    async fn tell_kernel(&mut self) {
        let told = self.balancer.apply(std::mem::take(&mut self.changed)).await;
        if let Err(error) = &told {
            tracing::warn!(%error, "the kernel refuses the rules of Services");
        }
        self.has_failed = told.is_err();
    }

    fn take_all(&mut self) {
        let mut keys: BTreeSet<Key> = self.views.keys().cloned().collect();
        let services = self.store.list(kind_of("v1", "Service"), None).items;
        keys.extend(services.iter().map(|service| service.key().clone()));
        for key in keys {
            self.look_at(&key);
        }
        for pod in self.store.list(kind_of("v1", "Pod"), None).items {
            self.take_pod(&pod, false);
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
            self.look_at(&key);
        }
        Ok(())
    }

    fn take(&mut self, change: &Change, touched: &mut BTreeSet<Key>) {
        let object = &change.object;
        match object.kind().kind {
            "Service" => drop(touched.insert(object.key().clone())),
            "EndpointSlice" => {
                let named = [Some(object), change.old.as_ref()].into_iter().flatten();
                let service = |slice: &Arc<Object>| {
                    let name = service_name(slice);
                    (!name.is_empty()).then(|| Key::new(kind_of("v1", "Service"), &slice.key().namespace, name))
                };
                touched.extend(named.filter_map(service));
            }
            "Pod" => self.take_pod(object, change.kind == ChangeKind::Deleted),
            _ => {}
        }
    }

    fn take_pod(&self, pod: &Object, is_gone: bool) {
        let has_ended = matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
        let ip = pod
            .text("/status/podIP")
            .parse()
            .ok()
            .filter(|_| !is_gone && !has_ended);
        let mut zone = self.zone.write().expect("no writer panics");
        zone.set_pod(&pod.key().namespace, &pod.key().name, ip);
    }

    /// Looks at a Service anew.
    fn look_at(&mut self, key: &Key) {
        let service = self.store.get(key);
        let new = service.map(|service| view(&service, &self.slices_of(key)));
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

    fn slices_of(&self, service: &Key) -> Vec<Arc<Object>> {
        let slices = self.store.list(
            kind_of("discovery.k8s.io/v1", "EndpointSlice"),
            Some(&service.namespace),
        );
        let mut slices = slices.items;
        slices.retain(|slice| service_name(slice) == service.name && !slice.is_deleting());
        slices
    }
}

/// The Service of a slice; empty if it has none.
fn service_name(slice: &Object) -> &str {
    let label = slice.at("/metadata/labels").and_then(|labels| labels.get(SERVICE_NAME));
    label.and_then(|label| label.as_str()).unwrap_or_default()
}

fn kind_of(api_version: &str, name: &str) -> &'static Kind {
    kind(api_version, name).expect("in the table")
}
