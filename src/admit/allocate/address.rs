//! A Service's families and cluster address (`initIPFamilyFields`, `allocIPs`, `ipallocator`). There is one family, IPv4.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::path::FieldPath;
use super::super::validate::{ErrorList, FieldError};
use crate::model::{Fnv, Object, SERVICE_PREFIX, SERVICES, is_service, is_taken, list_at, mask, may_have};

/// The lowest addresses of the range are for those who ask for one by number, as upstream's static band.
const FIRST: u32 = SERVICES.to_bits() + 256;
/// The last one before the range's broadcast address.
const LAST: u32 = SERVICES.to_bits() + !mask(SERVICE_PREFIX).to_bits() - 1;

/// What upstream says of an address that someone has.
const ALLOCATED: &str = "provided IP is already allocated";
/// What it says of a second address or family without the policy for it.
const SINGLE: &str = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";

/// Fills in `ipFamilyPolicy` and `ipFamilies`, or says why they can't be had.
pub(super) fn give_families(service: &mut Object, old: Option<&Object>) -> ErrorList {
    let mut errors = ErrorList::default();
    let spec = |field: &str| FieldPath::of(&["spec", field]);
    let is_bare =
        service.text("/spec/clusterIP") == "None" && service.at("/spec/selector").is_none_or(|s| s == &json!({}));
    let policy = match service.text("/spec/ipFamilyPolicy") {
        "" => match old.map(|old| old.text("/spec/ipFamilyPolicy")).unwrap_or_default() {
            // Nobody looks for its endpoints, so they may be of any family.
            "" if is_bare => "RequireDualStack",
            "" => "SingleStack",
            before => before,
        },
        asked => asked,
    }
    .to_owned();
    let mut families = list_at(service.value(), "/spec/ipFamilies").to_vec();
    let addresses = list_at(service.value(), "/spec/clusterIPs").to_vec();
    if policy == "SingleStack" {
        for (list, what) in [(&addresses, "cluster IPs"), (&families, "IP families")] {
            if list.len() > 1 {
                let detail = format!("{SINGLE} {what} are specified");
                errors.push(FieldError::invalid(&spec("ipFamilyPolicy"), &policy, detail));
            }
        }
    }
    for (place, address) in addresses.iter().enumerate().skip(families.len()) {
        if address.as_str().is_some_and(|address| address.contains(':')) {
            let detail = "IPv6 is not configured on this cluster";
            errors.push(FieldError::invalid(
                &spec("clusterIPs").index(place),
                &addresses,
                detail,
            ));
        }
    }
    if errors.is_empty() && !is_bare {
        if policy == "RequireDualStack" {
            let detail = "this cluster is not configured for dual-stack services";
            errors.push(FieldError::invalid(&spec("ipFamilyPolicy"), &policy, detail));
        }
        for (place, family) in families.iter().enumerate().filter(|(_, family)| **family != "IPv4") {
            let detail = "not configured on this cluster";
            errors.push(FieldError::invalid(&spec("ipFamilies").index(place), family, detail));
        }
    }
    // What was stored so before is not refused for it: its writer may want to change something else.
    let is_as_before = old.is_some_and(|old| {
        ["/spec/ipFamilies", "/spec/ipFamilyPolicy", "/spec/clusterIPs"]
            .iter()
            .all(|field| old.at(field) == service.at(field))
    });
    if is_as_before && old.is_some_and(|old| old.at("/spec/ipFamilyPolicy").is_some()) {
        return ErrorList::default();
    }
    if !errors.is_empty() {
        return errors;
    }
    if families.is_empty() {
        families.push("IPv4".into());
    }
    if is_bare && policy != "SingleStack" && families.len() == 1 {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
    let spec = &mut service.value_mut()["spec"];
    spec["ipFamilyPolicy"] = policy.into();
    spec["ipFamilies"] = families.into();
    errors
}

/// Fills in `clusterIP` and `clusterIPs`, or says why the address that is asked for can't be had. An address that `old` has stays.
pub(super) fn give(service: &mut Object, old: Option<&Object>, others: impl Fn() -> Vec<Arc<Object>>) -> ErrorList {
    let mut errors = ErrorList::default();
    let at = FieldPath::of(&["spec", "clusterIPs"]);
    let asked = service.text("/spec/clusterIP").to_owned();
    let had = old.filter(|old| old.text("/spec/type") != "ExternalName");
    let had = had.map(|old| old.text("/spec/clusterIP")).unwrap_or_default();
    let address = if asked == "None" || (!asked.is_empty() && asked == had) {
        asked
    } else {
        let others = others().into_iter().filter(|other| other.key() != service.key());
        let taken: BTreeSet<Ipv4Addr> = others.filter_map(|other| address_of(&other)).collect();
        if asked.is_empty() {
            let Some(free) = free_address(&seed(service), &taken) else {
                let detail = "failed to allocate a serviceIP: range is full";
                errors.push(FieldError::invalid(&at, &Vec::<Value>::new(), detail));
                return errors;
            };
            free.to_string()
        } else {
            if let Some(why) = objection(service, &asked, &taken) {
                let detail = format!("failed to allocate IP {asked}: {why}");
                errors.push(FieldError::invalid(&at, &[&asked], detail));
                return errors;
            }
            asked
        }
    };
    let spec = &mut service.value_mut()["spec"];
    if spec["clusterIPs"][0] != address.as_str() {
        spec["clusterIPs"] = json!([address]);
    }
    spec["clusterIP"] = address.into();
    errors
}

fn address_of(service: &Object) -> Option<Ipv4Addr> {
    service.text("/spec/clusterIP").parse().ok()
}

/// Why an address can't be had, in upstream's words.
fn objection(service: &Object, asked: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<String> {
    let address = asked.parse::<Ipv4Addr>().ok();
    match address {
        Some(address) if taken.contains(&address) => Some(ALLOCATED.to_owned()),
        Some(address) if is_service(address) && is_taken(service.key(), address) => Some(ALLOCATED.to_owned()),
        Some(address) if may_have(service.key(), address) => None,
        _ => Some(format!(
            "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {SERVICES}/{SERVICE_PREFIX}"
        )),
    }
}

/// Where the search for what is free begins follows from the Service's name, so that the same Services get the same again, also after a
/// dry run, and what was just given back is not the next to be given.
pub(super) fn seed(service: &Object) -> String {
    let key = service.key();
    format!("{}/{}", key.namespace, key.name)
}

fn free_address(seed: &str, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let count = LAST - FIRST + 1;
    let start = Fnv::of(seed) % count;
    let mut turn = (0..count).map(|step| Ipv4Addr::from_bits(FIRST + (start + step) % count));
    turn.find(|address| !taken.contains(address))
}
