//! Follows pods, Services and slices, and keeps the ports as they are planned: opens, closes, tells who does not get one, tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::claim::{claims_of_pod, claims_of_service, is_balanced, node_ports};
use super::plan::{Claim, Field, Held, Published, PublishedPort, plan_ports};
use super::trouble::Trouble;
use crate::carry::{Doors, Place};
use crate::event::{EventKind, EventRecorder};
use crate::model::{Family, Key, Object, known_kind, list_at};
use crate::net::Protocol;
use crate::service::Slices;
use crate::store::{Change, ChangeKind, Expired, Store, Watcher};

/// How often a port is tried again that the machine refuses. Nothing tells us when another process ends; while there is no such port
/// nothing wakes up.
const AGAIN: Duration = Duration::from_secs(3);

/// What is told once: a port of an object, at whichever addresses; or at each of those that a Service names.
type Asked = (Key, Field, Protocol, u16, Option<IpAddr>);

fn asked(claim: &Claim) -> Asked {
    let Claim {
        owner, field, place, ..
    } = claim;
    let at = (*field == Field::ExternalIp).then_some(place.ip);
    (owner.clone(), *field, place.protocol, place.port, at)
}

pub(super) struct Keeper {
    store: Store,
    recorder: EventRecorder,
    doors: Doors,
    published: Published,
    /// What is asked for, by whom. Without those that ask for nothing.
    claims: BTreeMap<Key, Vec<Claim>>,
    slices: Slices,
    /// Whose the places are.
    holders: BTreeMap<Place, Key>,
    /// Places that the machine refuses.
    refused: BTreeMap<Place, Trouble>,
    told: BTreeMap<Asked, String>,
    /// Services whose status has not been looked at since they changed.
    stale: BTreeSet<Key>,
    retry_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(store: Store, recorder: EventRecorder, doors: Doors, published: Published) -> Keeper {
        Keeper {
            store,
            recorder,
            doors,
            published,
            claims: BTreeMap::new(),
            slices: Slices::default(),
            holders: BTreeMap::new(),
            refused: BTreeMap::new(),
            told: BTreeMap::new(),
            stale: BTreeSet::new(),
            retry_at: None,
        }
    }

    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let follow = async {
            loop {
                let Err(expired) = self.follow().await;
                tracing::debug!(%expired, "changes were lost; looking at all ports again");
            }
        };
        stop.run_until_cancelled(follow).await;
        self.doors.end().await;
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Expired> {
        let mut changes = self.store.watch(self.store.resource_version())?;
        self.take_all();
        self.settle().await;
        self.write_statuses();
        loop {
            let retry_at = self.retry_at;
            let is_due = tokio::select! {
                change = changes.next() => self.take_batch(&change?, &mut changes)?,
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => true,
            };
            if is_due {
                self.settle().await;
            }
            self.write_statuses();
        }
    }

    fn take_all(&mut self) {
        self.claims.clear();
        self.slices = Slices::of_store(&self.store);
        for service in self.store.list(known_kind("v1", "Service"), None).items {
            let slices = self.slices.of(service.key());
            self.claim(service.key(), claims_of_service(&service, &slices));
            self.stale.insert(service.key().clone());
        }
        for pod in self.store.list(known_kind("v1", "Pod"), None).items {
            self.claim(pod.key(), claims_of_pod(&pod));
        }
    }

    /// Takes a change and all that are there already with it; says whether anything has to be done.
    fn take_batch(&mut self, first: &Change, changes: &mut Watcher) -> Result<bool, Expired> {
        let (mut services, mut is_due) = (BTreeSet::new(), false);
        changes.drain(first, |change| is_due |= self.take(change, &mut services))?;
        for key in services {
            is_due |= self.look_at(&key);
        }
        Ok(is_due)
    }

    fn take(&mut self, change: &Change, services: &mut BTreeSet<Key>) -> bool {
        let object = &change.object;
        match object.kind().kind {
            "Service" => drop(services.insert(object.key().clone())),
            "EndpointSlice" => services.extend(self.slices.take(change)),
            "Pod" => {
                let is_gone = change.kind == ChangeKind::Deleted;
                let claims = if is_gone { Vec::new() } else { claims_of_pod(object) };
                return self.claim(object.key(), claims);
            }
            _ => {}
        }
        false
    }

    fn look_at(&mut self, key: &Key) -> bool {
        let Some(service) = self.store.get(key) else {
            return self.claim(key, Vec::new());
        };
        self.stale.insert(key.clone());
        self.claim(key, claims_of_service(&service, &self.slices.of(key)))
    }

    /// Notes what an object asks for; says whether that is something else than before.
    fn claim(&mut self, key: &Key, claims: Vec<Claim>) -> bool {
        let is_same = self.claims.get(key).map_or(&[][..], Vec::as_slice) == claims;
        if is_same {
            return false;
        }
        if claims.is_empty() {
            self.claims.remove(key);
        } else {
            self.claims.insert(key.clone(), claims);
        }
        true
    }

    /// Makes the ports be as they are asked for.
    async fn settle(&mut self) {
        let claims = std::mem::take(&mut self.claims);
        let ports = plan_ports(claims.values().flatten(), |claim| {
            self.holders.get(&claim.place) == Some(&claim.owner)
        });
        let is_gone = |at: &&Place| !ports.held.contains_key(at);
        let gone: Vec<Place> = self.doors.places().filter(is_gone).copied().collect();
        for place in gone {
            self.doors.close(&place).await;
        }
        self.refused.retain(|place, _| ports.held.contains_key(place));
        let mut troubles: Vec<(&Claim, Trouble)> = Vec::new();
        for (place, Held { claim, target }) in &ports.held {
            match self.doors.lead(place, target).await {
                Ok(()) => drop(self.refused.remove(place)),
                Err(error) if claim.is_extra && is_no_address(&error) => {}
                Err(error) => {
                    let trouble = self.trouble_of(place, error).await;
                    self.refused.insert(*place, trouble.clone());
                    troubles.push((claim, trouble));
                }
            }
        }
        // A pod that waits for another one's port is told by its worker.
        let lost = ports.lost.iter().filter(|(claim, _)| claim.standing.has_begun);
        troubles.extend(lost.map(|(claim, other)| (*claim, Trouble::of_claim(other))));
        self.retry_at = (!self.refused.is_empty()).then(|| Instant::now() + AGAIN);
        self.tell(&ports.held, &troubles);
        self.publish(&ports.held, &troubles);
        let holders = ports
            .held
            .iter()
            .map(|(place, held)| (*place, held.claim.owner.clone()));
        self.holders = holders.collect();
        let services = claims.keys().filter(|key| key.kind().kind == "Service");
        self.stale.extend(services.cloned());
        self.claims = claims;
    }

    /// Looking for who has a port takes a while, so it is done once for each.
    async fn trouble_of(&self, place: &Place, error: io::Error) -> Trouble {
        if let Some(known @ Trouble::InUse(holder)) = self.refused.get(place)
            && error.kind() == io::ErrorKind::AddrInUse
            && holder.may_hold()
        {
            return known.clone();
        }
        let (place, words) = (*place, error.to_string());
        let found = tokio::task::spawn_blocking(move || Trouble::find(&place, &error)).await;
        found.unwrap_or(Trouble::Other(words))
    }

    /// Tells each trouble once, and its end.
    fn tell(&mut self, held: &BTreeMap<Place, Held<'_>>, troubles: &[(&Claim, Trouble)]) {
        let mut present: BTreeMap<Asked, String> = BTreeMap::new();
        for (claim, trouble) in troubles {
            let asked = asked(claim);
            // At other addresses it is the same story, unless each of them was asked for.
            if present.contains_key(&asked) {
                continue;
            }
            let story = trouble.tell(claim);
            let object = self.store.get(&claim.owner);
            if let Some(object) = object.filter(|_| self.told.get(&asked) != Some(&story)) {
                // Where it answers meanwhile is no news by itself: its node port may come later.
                let meanwhile = match (claim.field, node_ports(&object).first()) {
                    (Field::Port, Some(port)) => format!("; meanwhile the Service answers at localhost:{port}"),
                    _ => String::new(),
                };
                let message = format!("{story}{meanwhile}");
                self.recorder
                    .event(&object, EventKind::Warning, trouble.reason(), &message);
            }
            present.insert(asked, story);
        }
        let opened: BTreeSet<Asked> = held
            .iter()
            .filter(|(place, _)| self.doors.is_open(place))
            .map(|(_, held)| asked(held.claim))
            .collect();
        // A trouble may also end because nobody asks for the port any more.
        let ended = self.told.keys().filter(|asked| !present.contains_key(*asked));
        for (key, field, _, port, _) in ended.filter(|asked| opened.contains(*asked)) {
            if let Some(object) = self.store.get(key).filter(|object| !object.is_deleting()) {
                let message = format!("{} {port} is open", field.as_str());
                self.recorder.event(&object, EventKind::Normal, "PortOpened", &message);
            }
        }
        self.told = present;
    }

    fn publish(&self, held: &BTreeMap<Place, Held<'_>>, troubles: &[(&Claim, Trouble)]) {
        let port = |claim: &Claim, problem: Option<String>| PublishedPort {
            address: claim.place.to_string(),
            namespace: claim.owner.namespace.clone(),
            name: claim.owner.to_string(),
            problem,
        };
        let open = held.iter().filter(|(place, _)| self.doors.is_open(place));
        let mut list: Vec<_> = open.map(|(_, held)| port(held.claim, None)).collect();
        list.extend(
            troubles
                .iter()
                .map(|(claim, trouble)| port(claim, Some(trouble.to_string()))),
        );
        self.published.set(list);
    }

    fn write_statuses(&mut self) {
        for key in std::mem::take(&mut self.stale) {
            if let Some(service) = self.store.get(&key) {
                self.write_status(&service);
            }
        }
    }

    /// Says at a load balancer where it is reached (`status.loadBalancer`), and at others nothing.
    fn write_status(&self, service: &Object) {
        let claims = self.claims.get(service.key()).map_or(&[][..], Vec::as_slice);
        // The place may be open for another one.
        let is_held = |place: &Place| self.holders.get(place) == Some(service.key());
        let is_open = |place: &Place| self.doors.is_open(place) && is_held(place);
        let wanted = match is_balanced(service) {
            true => plan_ingress(&loopbacks(service), claims, is_open, |place| self.refused.get(place)),
            false => json!({}),
        };
        let present = service.at("/status/loadBalancer").cloned().unwrap_or(json!({}));
        if present == wanted {
            return;
        }
        let written = self.store.update_status(service.key(), |present| {
            if present.uid() == service.uid() {
                present.value_mut()["status"]["loadBalancer"] = wanted.clone();
            }
        });
        if let Err(error) = written {
            tracing::debug!(service = %service.key(), %error, "its load balancer can't be told");
        }
    }
}

/// The machine's loopback in each of a Service's families.
fn loopbacks(service: &Object) -> Vec<&'static str> {
    let families = list_at(service.value(), "/spec/ipFamilies").iter();
    let loopback = |family: &Value| match family.as_str().and_then(Family::named) {
        Some(Family::V6) => "::1",
        Some(Family::V4) | None => "127.0.0.1",
    };
    let all: Vec<_> = families.map(loopback).collect();
    if all.is_empty() { vec!["127.0.0.1"] } else { all }
}

/// `status.loadBalancer`: loopback if any of the Service's ports is open there, and which are not.
fn plan_ingress<'a>(
    loopbacks: &[&str],
    claims: &[Claim],
    is_open: impl Fn(&Place) -> bool,
    trouble: impl Fn(&Place) -> Option<&'a Trouble>,
) -> Value {
    let main: Vec<&Claim> = claims
        .iter()
        .filter(|c| c.field == Field::Port && !c.is_extra)
        .collect();
    if !main.iter().any(|claim| is_open(&claim.place)) {
        return json!({});
    }
    let mut ports = None;
    if !main.iter().all(|claim| is_open(&claim.place)) {
        let port = |claim: &&Claim| {
            let protocol = match claim.place.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
            };
            let mut port = json!({"port": claim.place.port, "protocol": protocol});
            if !is_open(&claim.place) {
                // A port that it has no trouble with is another one's.
                port["error"] = trouble(&claim.place).map_or("PortInUse", Trouble::reason).into();
            }
            port
        };
        ports = Some(main.iter().map(port).collect::<Value>());
    }
    let ingress = loopbacks.iter().map(|ip| {
        let mut ingress = json!({"ip": ip, "ipMode": "Proxy"});
        if let Some(ports) = &ports {
            ingress["ports"] = ports.clone();
        }
        ingress
    });
    json!({"ingress": ingress.collect::<Value>()})
}

/// Whether the machine has no such address, or not the family at all.
fn is_no_address(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}
