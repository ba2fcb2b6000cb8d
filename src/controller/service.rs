//! Services: an address for each that asks for none, and ports of the host for those whose type has them
//! (`pkg/registry/core/service/ipallocator`, `.../portallocator`, `.../storage/alloc.go`).

mod ports;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::Controller;
use super::name::hash_of;
use super::plan::{Plan, Write};
use crate::event::EventKind;
use crate::model::{Key, Kind, Object, SERVICE_PREFIX, SERVICES, is_service, kind, mask};
use crate::store::{Change, Store};

/// The lowest addresses of the range are for those who ask for one by number, as upstream's static band.
const FIRST: u32 = SERVICES.to_bits() + 256;
/// The last one before the range's broadcast address.
const LAST: u32 = SERVICES.to_bits() + !mask(SERVICE_PREFIX).to_bits() - 1;

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
        let all = || store.list(kind_of_services(), None).items;
        let plan = plan_address(&service, all);
        if plan.steps.is_empty() {
            // The address comes first; the write of it brings the Service here again.
            return ports::plan_ports(&service, all);
        }
        plan
    }
}

pub(super) fn kind_of_services() -> &'static Kind {
    kind("v1", "Service").expect("in the table")
}

/// Gives a Service its address. `all` lists every Service there is; it is called only if needed.
fn plan_address(service: &Object, all: impl FnOnce() -> Vec<Arc<Object>>) -> Plan {
    let mut plan = Plan::default();
    if service.text("/spec/type") == "ExternalName" || service.is_deleting() {
        return plan;
    }
    let present = service.text("/spec/clusterIP");
    let is_complete = service.at("/spec/clusterIPs").is_some() && service.at("/spec/ipFamilies").is_some();
    if !present.is_empty() && is_complete {
        return plan;
    }
    let others = || {
        let others = all().into_iter().filter(|other| other.uid() != service.uid());
        others
            .filter_map(|other| other.text("/spec/clusterIP").parse().ok())
            .collect::<BTreeSet<Ipv4Addr>>()
    };
    let (address, objection) = match present {
        "None" => ("None".to_owned(), None),
        "" => match free_address(service.uid(), &others()) {
            Some(address) => (address.to_string(), None),
            None => {
                let message = format!("no address is left for it in {SERVICES}/{SERVICE_PREFIX}");
                plan.tell(EventKind::Warning, "ClusterIPNotAllocated", message);
                return plan;
            }
        },
        asked => (asked.to_owned(), objection(asked, &others())),
    };
    let mut wanted = service.clone();
    let spec = &mut wanted.value_mut()["spec"];
    spec["clusterIP"] = address.clone().into();
    spec["clusterIPs"] = json!([address]);
    if spec["ipFamilies"].is_null() {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
    plan.write(Write::Update(wanted));
    if let Some((reason, message)) = objection {
        plan.tell(EventKind::Warning, reason, message);
    }
    plan
}

/// What is wrong with an address that a manifest asks for; the reasons are those of upstream's repair loop.
fn objection(asked: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<(&'static str, String)> {
    let address = asked.parse::<Ipv4Addr>().ok();
    match address {
        Some(address) if taken.contains(&address) => Some((
            "ClusterIPAlreadyAllocated",
            format!("cluster IP {asked} is another Service's, which keeps it"),
        )),
        Some(address) if is_service(address) => None,
        _ => Some((
            "ClusterIPOutOfRange",
            format!(
                "cluster IP {asked} is not within the service CIDR {SERVICES}/{SERVICE_PREFIX}: only pods reach it"
            ),
        )),
    }
}

/// A free address. Where the search begins follows from the Service, so that the same Services get the same addresses again, and an
/// address that was just given back is not the next to be given.
fn free_address(uid: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let count = LAST - FIRST + 1;
    let start = hash_of(uid) % count;
    let mut turn = (0..count).map(|step| Ipv4Addr::from_bits(FIRST + (start + step) % count));
    turn.find(|address| !taken.contains(address))
}
