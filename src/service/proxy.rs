//! Follows Services, slices and pods in the store, and passes on what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::SharedZone;
use super::means::Server;
use super::slices::Slices;
use super::view::{Leaving, Names, View, view};
use super::zone::Zone;
use crate::model::{Complaints, Key, Object, Seniority, is_terminal, known_kind, pod_ips};
use crate::net::{Balance, Frontend};
use crate::store::{Change, ChangeKind, Expired, Store, Watcher};

/// After the kernel refused rules: what it lacks now (memory, a module that loads) it may have soon.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Proxy {
    store: Store,
    by: Server,
    zone: SharedZone,
    views: BTreeMap<Key, Served>,
    slices: Slices,
    leaving: Leaving,
    /// Which Services have a frontend. There should be one; of several the eldest has it, whatever the others are called.
    owners: BTreeMap<Frontend, BTreeSet<Seniority>>,
    /// Which Services lead to an address.
    leads_to: BTreeMap<IpAddr, BTreeSet<Key>>,
    /// Frontends that the kernel has not been told of yet.
    changed: BTreeMap<Frontend, Balance>,
    /// When the kernel is told again, if it has refused what it was told last. Until then changes gather.
    retry_at: Option<Instant>,
    /// The newest version of the store that was looked at, and who is told when its rules are the kernel's.
    seen: u64,
    served: watch::Sender<u64>,
    complaints: Complaints,
}

/// What is served of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Served {
    seniority: Seniority,
    view: View,
}

impl Proxy {
    pub(super) fn new(
        store: Store,
        by: Server,
        zone: SharedZone,
        (served, complaints): (watch::Sender<u64>, Complaints),
    ) -> Proxy {
        Proxy {
            store,
            by,
            zone,
            views: BTreeMap::new(),
            slices: Slices::default(),
            leaving: Leaving::default(),
            leads_to: BTreeMap::new(),
            owners: BTreeMap::new(),
            changed: BTreeMap::new(),
            retry_at: None,
            seen: 0,
            served,
            complaints,
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
        self.seen = self.store.resource_version();
        let mut changes = self.store.watch(self.seen)?;
        self.take_all();
        // Also with nothing to say: the rules of an earlier node are replaced.
        self.tell_kernel().await;
        loop {
            let retry_at = self.retry_at;
            let is_due = tokio::select! {
                change = changes.next() => {
                    self.take_batch(&change?, &mut changes)?;
                    retry_at.is_none() && !self.changed.is_empty()
                }
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => true,
            };
            if is_due {
                self.tell_kernel().await;
            } else if self.changed.is_empty() {
                self.served.send_replace(self.seen);
            }
        }
    }

    async fn tell_kernel(&mut self) {
        let told = self.by.apply(std::mem::take(&mut self.changed)).await;
        let Err(why) = told else {
            self.retry_at = None;
            self.complaints.set("services", None);
            self.served.send_replace(self.seen);
            return;
        };
        // Told once: it is tried again for as long as it fails.
        if self.retry_at.is_none() {
            tracing::warn!(%why, "Services are not served as they should be");
            let sentence = format!("Services lead nowhere new: {why}");
            self.complaints.set("services", Some(sentence));
        }
        self.retry_at = Some(Instant::now() + PATIENCE);
    }

    fn take_all(&mut self) {
        let mut keys: BTreeSet<Key> = self.views.keys().cloned().collect();
        let services = self.store.list(known_kind("v1", "Service"), None).items;
        keys.extend(services.iter().map(|service| service.key().clone()));
        self.slices = Slices::of_store(&self.store);
        let pods = self.store.list(known_kind("v1", "Pod"), None).items;
        self.leaving.clear();
        for pod in &pods {
            self.leaving.take(pod, false);
        }
        for key in keys {
            self.look_at(&key);
        }
        // Under one lock, so that nobody sees the zone without pods.
        let mut zone = self.zone.write().expect("no writer panics");
        zone.clear_pods();
        for pod in pods {
            enter_pod(&mut zone, &pod, false);
        }
    }

    /// Takes a change, and all that are there already with it: one transaction tells the kernel of them.
    fn take_batch(&mut self, first: &Change, changes: &mut Watcher) -> Result<(), Expired> {
        let mut touched = BTreeSet::new();
        changes.drain(first, |change| self.take(change, &mut touched))?;
        for key in touched {
            self.look_at(&key);
        }
        Ok(())
    }

    fn take(&mut self, change: &Change, touched: &mut BTreeSet<Key>) {
        self.seen = change.resource_version;
        let object = &change.object;
        match object.kind().kind {
            "Service" => drop(touched.insert(object.key().clone())),
            "EndpointSlice" => touched.extend(self.slices.take(change)),
            "Pod" => {
                let is_gone = change.kind == ChangeKind::Deleted;
                // Its Services learn it here and not from the slices: who ends it waits for us.
                for ip in self.leaving.take(object, is_gone) {
                    touched.extend(self.leads_to.get(&ip).into_iter().flatten().cloned());
                }
                let mut zone = self.zone.write().expect("no writer panics");
                enter_pod(&mut zone, object, is_gone);
            }
            _ => {}
        }
    }

    /// Looks at a Service and its slices anew.
    fn look_at(&mut self, key: &Key) {
        let new = self.store.get(key).map(|service| Served {
            seniority: Seniority::of(&service),
            view: view(&service, &self.slices.of(key), &self.leaving),
        });
        if self.views.get(key) == new.as_ref() {
            return;
        }
        let names: Option<Names> = new.as_ref().map(|served| served.view.names.clone());
        self.zone
            .write()
            .expect("no writer panics")
            .set_service(&key.namespace, &key.name, names);
        let old = match &new {
            Some(served) => self.views.insert(key.clone(), served.clone()),
            None => self.views.remove(key),
        };
        let old_frontends = self.give_up(old);
        let mut touched: BTreeSet<Frontend> = old_frontends;
        if let Some(Served { seniority, view }) = new {
            for (frontend, balance) in &view.frontends {
                let owners = self.owners.entry(*frontend).or_default();
                owners.insert(seniority.clone());
                touched.insert(*frontend);
                for backend in &balance.backends {
                    self.leads_to.entry(backend.ip).or_default().insert(key.clone());
                }
            }
        }
        for frontend in touched {
            let winner = self.owners.get(&frontend).and_then(BTreeSet::first);
            let winner = winner.and_then(|owner| self.views.get(&owner.key)?.view.frontends.get(&frontend));
            self.changed.insert(frontend, winner.cloned().unwrap_or_default());
        }
    }

    /// Forgets where a Service led; says where that was.
    fn give_up(&mut self, old: Option<Served>) -> BTreeSet<Frontend> {
        let Some(Served { seniority, view }) = old else {
            return BTreeSet::new();
        };
        for (frontend, balance) in &view.frontends {
            forget(&mut self.owners, frontend, &seniority);
            for backend in &balance.backends {
                forget(&mut self.leads_to, &backend.ip, &seniority.key);
            }
        }
        view.frontends.into_keys().collect()
    }
}

/// Takes one out of a set of many; a set that is empty then goes.
fn forget<K: Ord, V: Ord>(sets: &mut BTreeMap<K, BTreeSet<V>>, of: &K, one: &V) {
    if let Some(set) = sets.get_mut(of) {
        set.remove(one);
        if set.is_empty() {
            sets.remove(of);
        }
    }
}

fn enter_pod(zone: &mut Zone, pod: &Object, is_gone: bool) {
    let is_there = !is_gone && !is_terminal(pod);
    let ips = if is_there { pod_ips(pod).collect() } else { Vec::new() };
    zone.set_pod(&pod.key().namespace, &pod.key().name, ips);
}
