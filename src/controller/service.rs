//! Services that are stored already: what they lack is given to them, and an address that is another's is told (upstream's repair loop,
//! `pkg/registry/core/service/ipallocator/controller`). New ones get all of it from the gate, which refuses such addresses.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::Controller;
use super::plan::{Plan, Write};
use crate::admit;
use crate::event::EventKind;
use crate::model::{Family, Key, Kind, Object, Seniority, is_service, is_taken, kind, list_at, may_have};
use crate::store::{Change, Store};

pub(super) struct Services;

impl Controller for Services {
    fn name(&self) -> &'static str {
        "service-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let services = store.list(kind_of_services(), None).items;
        services.iter().map(|service| service.key().clone()).collect()
    }

    fn touched(&self, _store: &Store, change: &Change) -> Vec<Key> {
        let is_service = change.object.kind() == kind_of_services();
        is_service.then(|| change.object.key().clone()).into_iter().collect()
    }

    fn plan(&self, store: &Store, key: &Key, _now: Timestamp) -> Plan {
        let Some(service) = store.get(key) else {
            return Plan::default();
        };
        plan_service(&service, |kind| store.list(kind, None).items)
    }
}

pub(super) fn kind_of_services() -> &'static Kind {
    kind("v1", "Service").expect("in the table")
}

/// Completes a Service, or says what is wrong with it. `list` has all objects of a kind.
fn plan_service(service: &Object, list: impl Fn(&'static Kind) -> Vec<Arc<Object>>) -> Plan {
    let mut plan = Plan::default();
    if service.text("/spec/type") == "ExternalName" || service.is_deleting() {
        return plan;
    }
    match admit::allocate(service.clone(), Some(service), &list) {
        Ok(whole) if whole != *service => plan.write(Write::Update(whole)),
        Ok(_) => {
            if let Some((reason, message)) = objection(service, &list(kind_of_services())) {
                plan.tell(EventKind::Warning, reason, message);
            }
        }
        Err(refused) => plan.tell(EventKind::Warning, "AllocationFailed", refused.to_string()),
    }
    plan
}

/// What is wrong with the addresses of a Service, if anything; the reasons are those of upstream's repair loop.
fn objection(service: &Object, all: &[Arc<Object>]) -> Option<(&'static str, String)> {
    let asked = addresses_of(service);
    if asked.first() == Some(&"None") {
        return None;
    }
    let mut problems = asked.into_iter().filter_map(|asked| objection_to(service, asked, all));
    problems.next()
}

/// As they are written; there is one entry in any case.
fn addresses_of(service: &Object) -> Vec<&str> {
    let others = list_at(service.value(), "/spec/clusterIPs").iter().skip(1);
    let first = service.text("/spec/clusterIP");
    [first].into_iter().chain(others.filter_map(|ip| ip.as_str())).collect()
}

fn objection_to(service: &Object, asked: &str, all: &[Arc<Object>]) -> Option<(&'static str, String)> {
    let address = asked.parse::<IpAddr>().ok();
    let allocated = |whose: &str| {
        let message = format!("cluster IP {asked} is {whose}, which keeps it: no connection leads here by it");
        Some(("ClusterIPAlreadyAllocated", message))
    };
    match address {
        Some(address) if is_service(address) && is_taken(service.key(), address) => allocated("the node's own"),
        Some(address) if may_have(service.key(), address) => {
            let own = Seniority::of(service);
            let others = all.iter().filter(|other| addresses_of(other).contains(&asked));
            let elder = others
                .map(|other| Seniority::of(other))
                .min()
                .filter(|first| *first < own)?;
            allocated(&format!("that of Service {}/{}", elder.key.namespace, elder.key.name))
        }
        _ => Some((
            "ClusterIPOutOfRange",
            format!(
                "cluster IP {asked} is not within the service CIDR {}: no connection leads here by it",
                address.map_or(Family::V4, Family::of).services()
            ),
        )),
    }
}
