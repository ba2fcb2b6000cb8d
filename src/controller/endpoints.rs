//! EndpointSlices and Endpoints: where each Service leads at this moment (`pkg/controller/endpointslice`, `.../endpoint`,
//! `.../endpointslicemirroring`).
//!
//! A Service with a selector leads to its pods; one without leads where a hand-made Endpoints object says, of which slices are made
//! too, or where hand-made slices say, which are left alone.

mod legacy;
mod pods;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Controller;
use super::claim::controller_reference;
use super::name;
use super::plan::{Plan, Write};
use super::pods::{kind_of_pods, ready_since};
use super::service::kind_of_services;
use crate::model::{Family, Key, Kind, LabelSelector, Object, SERVICE_NAME, kind, list_at};
use crate::store::{Change, ChangeKind, Store};

/// Who looks after a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const OURS: &str = "endpointslice-controller.k8s.io";
const MIRRORS: &str = "endpointslicemirroring-controller.k8s.io";
/// On an Endpoints object: no slices are wanted of it.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// On slices of Services without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// How many endpoints a slice has at most (`--max-endpoints-per-slice`).
const MOST: usize = 100;

pub(super) struct EndpointSlices;

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slice-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let services = store.list(kind_of_services(), None).items;
        services.iter().map(|service| service.key().clone()).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        let of_service = |name: &str| Key::new(kind_of_services(), &object.key().namespace, name);
        match object.kind() {
            kind if kind == kind_of_services() => vec![object.key().clone()],
            kind if kind == kind_of_endpoints() => vec![of_service(&object.key().name)],
            kind if kind == kind_of_slices() => {
                let labels = object.labels();
                labels
                    .get(SERVICE_NAME)
                    .map(|name| of_service(name))
                    .into_iter()
                    .collect()
            }
            kind if kind == kind_of_pods() && matters(change) => services_of(store, change),
            _ => Vec::new(),
        }
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let endpoints = store.get(&Key::new(kind_of_endpoints(), &key.namespace, &key.name));
        let Some(service) = store.get(key).filter(|service| !service.is_deleting()) else {
            // Its slices follow it by their owner references; this object has none, as upstream.
            let orphan = endpoints.filter(|endpoints| legacy::is_ours(endpoints));
            return Plan::from(
                orphan
                    .iter()
                    .map(|endpoints| Write::delete(endpoints))
                    .collect::<Vec<_>>(),
            );
        };
        let slices = store.list(kind_of_slices(), Some(&key.namespace)).items;
        let is_of_service = |slice: &Arc<Object>| {
            // Asked of every slice of the namespace, so without a map of its labels.
            slice.value()["metadata"]["labels"][SERVICE_NAME] == key.name.as_str()
        };
        let slices: Vec<_> = slices.into_iter().filter(is_of_service).collect();
        let Some(selector) = selector(&service) else {
            return plan_mirror(&service, endpoints.as_deref(), &slices);
        };
        let pods = store.list(kind_of_pods(), Some(&key.namespace)).items;
        let chosen: Vec<_> = pods.into_iter().filter(|pod| selector.matches(&pod.labels())).collect();
        plan_endpoints(&service, &chosen, endpoints.as_deref(), &slices)
    }
}

fn kind_of_slices() -> &'static Kind {
    kind("discovery.k8s.io/v1", "EndpointSlice").expect("in the table")
}

fn kind_of_endpoints() -> &'static Kind {
    kind("v1", "Endpoints").expect("in the table")
}

/// What a Service chooses its pods by, if it does.
fn selector(service: &Object) -> Option<LabelSelector> {
    let labels = service.at("/spec/selector")?.as_object()?;
    let labels = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
    let is_external = service.text("/spec/type") == "ExternalName";
    let selector = LabelSelector::from_map(&labels.collect());
    (!is_external && !selector.is_empty()).then_some(selector)
}

/// Whether a change of a pod may change an endpoint.
fn matters(change: &Change) -> bool {
    let Some(old) = change.old.as_deref().filter(|_| change.kind == ChangeKind::Modified) else {
        return true;
    };
    let new = &change.object;
    let same = |at: &str| old.at(at) == new.at(at);
    !(same("/metadata/labels")
        && same("/status/podIPs")
        && same("/status/phase")
        && same("/spec/nodeName")
        && old.is_deleting() == new.is_deleting()
        && ready_since(old).is_some() == ready_since(new).is_some())
}

/// The Services that choose a pod, or did before.
fn services_of(store: &Store, change: &Change) -> Vec<Key> {
    let services = store
        .list(kind_of_services(), Some(&change.object.key().namespace))
        .items;
    let pods = [Some(&change.object), change.old.as_ref()];
    let chooses = |service: &Object| {
        selector(service).is_some_and(|selector| pods.into_iter().flatten().any(|pod| selector.matches(&pod.labels())))
    };
    let chosen = services.iter().filter(|service| chooses(service));
    chosen.map(|service| service.key().clone()).collect()
}

/// Slices and Endpoints of a Service with these pods.
fn plan_endpoints(service: &Object, pods: &[Arc<Object>], endpoints: Option<&Object>, slices: &[Arc<Object>]) -> Plan {
    let families = families_of(service);
    let groups = families.iter().map(|family| pods::plan_groups(service, pods, *family));
    let groups: Vec<Vec<Group>> = groups.collect();
    let mut plan = Plan::default();
    plan_slices(service, &groups.concat(), OURS, slices, &mut plan);
    // That object is of the first family.
    legacy::plan(service, &groups[0], endpoints, &mut plan);
    plan
}

/// The families of a Service, never none; IPv4 where an object of an older node says nothing.
fn families_of(service: &Object) -> Vec<Family> {
    let named = list_at(service.value(), "/spec/ipFamilies").iter();
    let families: Vec<Family> = named.filter_map(|name| Family::named(name.as_str()?)).collect();
    if families.is_empty() {
        vec![Family::V4]
    } else {
        families
    }
}

/// Slices of a Service without a selector, from its Endpoints object.
fn plan_mirror(service: &Object, endpoints: Option<&Object>, slices: &[Arc<Object>]) -> Plan {
    let is_wanted = |endpoints: &&Object| {
        endpoints.labels().get(SKIP_MIRROR) != Some(&"true") && !legacy::is_ours(endpoints) && !endpoints.is_deleting()
    };
    let mut plan = Plan::default();
    let groups = endpoints.filter(is_wanted).map(legacy::groups).unwrap_or_default();
    plan_slices(service, &groups, MIRRORS, slices, &mut plan);
    plan
}

/// Endpoints of a family that have the same ports.
#[derive(Debug, Clone, PartialEq)]
struct Group {
    family: Family,
    ports: Vec<Value>,
    endpoints: Vec<Value>,
}

impl Group {
    fn of(family: Family) -> Group {
        Group {
            family,
            ports: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

/// Makes the slices of one manager be those of the groups.
fn plan_slices(service: &Object, groups: &[Group], manager: &str, present: &[Arc<Object>], plan: &mut Plan) {
    let is_managed = |slice: &&Arc<Object>| slice.labels().get(MANAGED_BY) == Some(&manager) && !slice.is_deleting();
    let parts = groups.iter().flat_map(|group| {
        let none: &[Value] = &[];
        let chunks: Vec<&[Value]> = if group.endpoints.is_empty() {
            vec![none]
        } else {
            group.endpoints.chunks(MOST).collect()
        };
        chunks.into_iter().map(move |part| (group, part))
    });
    let mut places = BTreeMap::new();
    let wanted: Vec<Object> = parts
        .map(|(group, part)| {
            let place = places.entry(group.family).or_insert(0_usize);
            *place += 1;
            slice(service, manager, *place - 1, group, part)
        })
        .collect();
    for wanted in &wanted {
        match present.iter().find(|slice| slice.key() == wanted.key()) {
            None => plan.write(Write::Create(wanted.clone())),
            Some(slice) => {
                let mut changed = Object::clone(slice);
                for field in ["endpoints", "ports"] {
                    changed.value_mut()[field] = wanted.value()[field].clone();
                }
                let labels = wanted.value()["metadata"]["labels"].clone();
                changed.metadata_mut().insert("labels".into(), labels);
                if changed != **slice {
                    plan.write(Write::Update(changed));
                }
            }
        }
    }
    let is_wanted = |slice: &Arc<Object>| wanted.iter().any(|wanted| wanted.key() == slice.key());
    for slice in present.iter().filter(is_managed).filter(|slice| !is_wanted(slice)) {
        plan.write(Write::delete(slice));
    }
}

fn slice(service: &Object, manager: &str, place: usize, group: &Group, endpoints: &[Value]) -> Object {
    let service_name = &service.key().name;
    let mut labels = json!(service.labels());
    labels[SERVICE_NAME] = service_name.as_str().into();
    labels[MANAGED_BY] = manager.into();
    if service.text("/spec/clusterIP") == "None" {
        labels[HEADLESS] = "".into();
    }
    // A slice's family can't change, so those of each have names of their own; those of IPv4 as they were when there was no other.
    let family = match group.family {
        Family::V4 => String::new(),
        Family::V6 => format!("/{}", group.family),
    };
    let seed = format!("{}/{manager}{family}/{place}", service.uid());
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name::hashed(service_name, &name::suffix_of(&seed)),
            "namespace": service.key().namespace,
            "labels": labels,
            "ownerReferences": [controller_reference(service)],
        },
        "addressType": group.family.as_str(),
        "endpoints": endpoints,
        "ports": group.ports,
    });
    Object::new(value).expect("a kind of the table, with a name")
}
