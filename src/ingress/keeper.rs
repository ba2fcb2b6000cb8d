//! Follows Ingresses and what they name, and passes on what changed: to the proxy, to the doors, to the Ingresses' status, and to people.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::doors::{Doors, OpenDoors};
use super::plan::{Objects, Plan, Trouble, plan_routes};
use super::routes::Routes;
use super::tls;
use crate::event::{EventKind, EventRecorder};
use crate::model::{Key, Object, known_kind};
use crate::service::service_of;
use crate::store::{Change, Expired, Store, Watcher};

/// How long it rests after a look at everything, as a multiple of what that took: a tenth of one core at most, whatever changes. An endpoint
/// that is gone meanwhile is left for another one when it refuses, so a rest may be as long as a blink.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_millis(100);

/// A Secret's certificate, or why there is none; as of a version of the Secret.
type Known = (u64, Result<Arc<CertifiedKey>, String>);

pub(super) struct Keeper {
    store: Store,
    recorder: EventRecorder,
    newest: watch::Sender<Arc<Routes>>,
    doors: Doors,
    open: OpenDoors,
    certificates: HashMap<Key, Known>,
    /// What was told of each Ingress, by its uid.
    told: BTreeMap<String, Vec<Trouble>>,
}

impl Keeper {
    pub(super) fn new(
        store: Store,
        recorder: EventRecorder,
        newest: watch::Sender<Arc<Routes>>,
        doors: Doors,
        open: OpenDoors,
    ) -> Keeper {
        Keeper {
            store,
            recorder,
            newest,
            doors,
            open,
            certificates: HashMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Works until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let Err(expired) = self.follow().await;
            tracing::debug!(%expired, "changes were lost; looking at all Ingresses again");
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Expired> {
        let mut changes = self.store.watch(self.store.resource_version())?;
        self.settle().await;
        loop {
            let change = changes.next().await?;
            if is_about_ingresses(&change, &mut changes)? {
                let begun = Instant::now();
                self.settle().await;
                // What comes meanwhile is taken in one look: a look is at all there is.
                sleep((begun.elapsed() * REST).min(LONGEST_REST)).await;
            }
        }
    }

    async fn settle(&mut self) {
        let objects = self.objects();
        let (store, known) = (self.store.clone(), &mut self.certificates);
        let plan = plan_routes(&objects, |secret| certificate(&store, known, secret));
        let Plan {
            routes,
            served,
            foreign,
        } = plan;
        self.newest.send_replace(Arc::new(routes));
        self.doors.proxy().forget_endpoints();
        self.doors.settle(!served.is_empty()).await;
        for ingress in &objects.ingresses {
            if let Some(troubles) = served.get(ingress.key()) {
                self.write_status(ingress, self.open.status());
                self.tell(ingress, troubles, true);
            } else if let Some(trouble) = foreign.get(ingress.key()) {
                // What another controller says stays.
                if ingress.at("/status/loadBalancer") == Some(&self.open.status()) {
                    self.write_status(ingress, json!({}));
                }
                self.tell(ingress, std::slice::from_ref(trouble), false);
            }
        }
        self.told
            .retain(|uid, _| objects.ingresses.iter().any(|ingress| ingress.uid() == uid));
    }

    fn objects(&self) -> Objects {
        let list = |api_version: &str, name: &str| self.store.list(known_kind(api_version, name), None).items;
        let mut slices: BTreeMap<Key, Vec<Arc<Object>>> = BTreeMap::new();
        for slice in list("discovery.k8s.io/v1", "EndpointSlice") {
            if let Some(service) = service_of(&slice).filter(|_| !slice.is_deleting()) {
                slices.entry(service).or_default().push(slice);
            }
        }
        let services = list("v1", "Service").into_iter();
        Objects {
            ingresses: list("networking.k8s.io/v1", "Ingress"),
            classes: list("networking.k8s.io/v1", "IngressClass"),
            services: services.map(|service| (service.key().clone(), service)).collect(),
            slices,
        }
    }

    /// Tells what is wrong, or that all is well, once.
    fn tell(&mut self, ingress: &Object, troubles: &[Trouble], is_served: bool) {
        let mut said = troubles.to_vec();
        if is_served && troubles.is_empty() {
            let message = format!("served at {}", self.open.list().join(" and "));
            said.push(Trouble {
                reason: "Serving",
                message,
            });
        }
        let told = self.told.entry(ingress.uid().to_owned()).or_default();
        for one in said.iter().filter(|one| !told.contains(one)) {
            let kind = match one.reason {
                "Serving" | "NotServed" => EventKind::Normal,
                _ => EventKind::Warning,
            };
            self.recorder.event(ingress, kind, one.reason, &one.message);
        }
        *told = said;
    }

    fn write_status(&self, ingress: &Object, wanted: Value) {
        let present = ingress.at("/status/loadBalancer").cloned().unwrap_or(json!({}));
        if present == wanted || ingress.is_deleting() {
            return;
        }
        let written = self.store.update_status(ingress.key(), |present| {
            if present.uid() == ingress.uid() {
                present.value_mut()["status"]["loadBalancer"] = wanted.clone();
            }
        });
        if let Err(error) = written {
            tracing::debug!(ingress = %ingress.key(), %error, "where it is served can't be told");
        }
    }
}

/// Reads a Secret's certificate, unless it is the one that was read before.
fn certificate(store: &Store, known: &mut HashMap<Key, Known>, secret: &Key) -> Result<Arc<CertifiedKey>, String> {
    let Some(object) = store.get(secret) else {
        known.remove(secret);
        return Err("is not there".to_owned());
    };
    let version = object.resource_version();
    if let Some((_, read)) = known.get(secret).filter(|(of, _)| *of == version) {
        return read.clone();
    }
    let read = tls::of_secret(&object);
    known.insert(secret.clone(), (version, read.clone()));
    read
}

/// Whether a change, or one that is there already with it, may alter what is served.
fn is_about_ingresses(first: &Change, changes: &mut Watcher) -> Result<bool, Expired> {
    let is_one = |change: &Change| {
        let kind = change.object.kind().kind;
        matches!(
            kind,
            "Ingress" | "IngressClass" | "Service" | "EndpointSlice" | "Secret"
        )
    };
    let mut is_due = false;
    changes.drain(first, |change| is_due |= is_one(change))?;
    Ok(is_due)
}
