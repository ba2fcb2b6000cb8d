//! A Service's families and cluster addresses (`initIPFamilyFields`, `allocIPs`, `ipallocator`). There is IPv4, and IPv6 where the node has it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::path::FieldPath;
use super::super::validate::{ErrorList, FieldError};
use crate::model::{Family, Fnv, LAST_SERVICE, Object, is_service, is_taken, list_at, may_have};

/// The lowest addresses of the range are for those who ask for one by number, as upstream's static band.
const FIRST: u32 = 256;

/// What upstream says of an address that someone has.
const ALLOCATED: &str = "provided IP is already allocated";
/// What it says of a second address or family without the policy for it.
const SINGLE: &str = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";

/// Takes the second family and address from a Service whose policy does not want it any more (`trimFieldsForDualStackDowngrade`).
pub(super) fn release_second(service: &mut Object, old: Option<&Object>) {
    let policy = |object: &Object| object.text("/spec/ipFamilyPolicy").to_owned();
    let Some(old) = old.filter(|old| policy(old).ends_with("DualStack") && policy(service) == "SingleStack") else {
        return;
    };
    for field in ["clusterIPs", "ipFamilies"] {
        let at = format!("/spec/{field}");
        let own = list_at(service.value(), &at).to_vec();
        // What the writer changed is for the gate to judge.
        if own.len() > 1 && own == list_at(old.value(), &at) {
            service.value_mut()["spec"][field] = json!([own[0]]);
        }
    }
}

/// Fills in `ipFamilyPolicy` and `ipFamilies`, or says why they can't be had; `present` are the families that the node has.
pub(super) fn give_families(service: &mut Object, old: Option<&Object>, present: &[Family]) -> ErrorList {
    if prefers_as_before(service, old) {
        return ErrorList::default();
    }
    let is_bare =
        service.text("/spec/clusterIP") == "None" && service.at("/spec/selector").is_none_or(|s| s == &json!({}));
    let policy = policy_of(service, old, is_bare);
    let mut families = list_at(service.value(), "/spec/ipFamilies").to_vec();
    let mut errors = infer_families(service, &policy, &mut families, present);
    if errors.is_empty() && !is_bare {
        errors = missing_families(&policy, &families, present);
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
    // Nobody looks for endpoints of a bare one: whoever writes them knows of which families they are.
    if policy != "SingleStack" && families.len() == 1 && (is_bare || present.len() == 2) {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.into());
    }
    let spec = &mut service.value_mut()["spec"];
    spec["ipFamilyPolicy"] = policy.into();
    spec["ipFamilies"] = families.into();
    errors
}

/// Whether a Service that prefers both stays as it is, though the node may have another number of families by now: it is changed when its
/// writer says so (`isMatchingPreferDualStackClusterIPFields`).
fn prefers_as_before(service: &Object, old: Option<&Object>) -> bool {
    let policy = |object: &Object| object.text("/spec/ipFamilyPolicy") == "PreferDualStack";
    old.is_some_and(|old| {
        let same = |at: &str| old.at(at) == service.at(at);
        policy(old) && policy(service) && same("/spec/clusterIPs") && same("/spec/ipFamilies")
    }) && !list_at(service.value(), "/spec/ipFamilies").is_empty()
}

fn policy_of(service: &Object, old: Option<&Object>, is_bare: bool) -> String {
    let policy = match service.text("/spec/ipFamilyPolicy") {
        "" => match old.map(|old| old.text("/spec/ipFamilyPolicy")).unwrap_or_default() {
            // Nobody looks for its endpoints, so they may be of any family.
            "" if is_bare => "RequireDualStack",
            "" => "SingleStack",
            before => before,
        },
        asked => asked,
    };
    policy.to_owned()
}

/// Adds the families of addresses that are asked for, or says what does not fit.
fn infer_families(service: &Object, policy: &str, families: &mut Vec<Value>, present: &[Family]) -> ErrorList {
    let mut errors = ErrorList::default();
    let spec = |field: &str| FieldPath::of(&["spec", field]);
    let addresses = addresses_of(service);
    if policy == "SingleStack" {
        for (count, what) in [(addresses.len(), "cluster IPs"), (families.len(), "IP families")] {
            if count > 1 {
                let detail = format!("{SINGLE} {what} are specified");
                errors.push(FieldError::invalid(&spec("ipFamilyPolicy"), &policy, detail));
            }
        }
    }
    for (place, address) in addresses.iter().enumerate().skip(families.len()) {
        let Ok(ip) = address.parse::<IpAddr>() else { continue };
        let family = Family::of(ip);
        if present.contains(&family) {
            families.push(family.as_str().into());
        } else {
            let detail = format!("{family} is not configured on this cluster");
            let at = spec("clusterIPs").index(place);
            errors.push(FieldError::invalid(&at, &addresses, detail));
        }
    }
    errors
}

fn missing_families(policy: &str, families: &[Value], present: &[Family]) -> ErrorList {
    let mut errors = ErrorList::default();
    let spec = |field: &str| FieldPath::of(&["spec", field]);
    if policy == "RequireDualStack" && present.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid(&spec("ipFamilyPolicy"), &policy, detail));
    }
    let is_there = |family: &Value| {
        family
            .as_str()
            .and_then(Family::named)
            .is_some_and(|f| present.contains(&f))
    };
    for (place, family) in families.iter().enumerate().filter(|(_, family)| !is_there(family)) {
        let detail = "not configured on this cluster";
        errors.push(FieldError::invalid(&spec("ipFamilies").index(place), family, detail));
    }
    errors
}

/// Fills in `clusterIP` and `clusterIPs`, or says why an address that is asked for can't be had. Addresses that `old` has stay.
pub(super) fn give(service: &mut Object, old: Option<&Object>, others: impl Fn() -> Vec<Arc<Object>>) -> ErrorList {
    let mut errors = ErrorList::default();
    let at = FieldPath::of(&["spec", "clusterIPs"]);
    let asked = texts_at(service, "/spec/clusterIPs");
    let first = service.text("/spec/clusterIP").to_owned();
    if first == "None" {
        set(service, vec![first]);
        return errors;
    }
    let old = old.filter(|old| old.text("/spec/type") != "ExternalName");
    let had = old.map(addresses_of).unwrap_or_default();
    let mut given: Vec<String> = Vec::new();
    let mut taken: Option<BTreeSet<IpAddr>> = None;
    let families = texts_at(service, "/spec/ipFamilies");
    let families: Vec<Family> = families.iter().filter_map(|family| Family::named(family)).collect();
    for (place, family) in families.into_iter().enumerate() {
        let asked = if place == 0 { Some(&first) } else { asked.get(place) };
        let asked = asked.filter(|asked| !asked.is_empty());
        if let Some(asked) = asked.filter(|asked| had.get(place) == Some(asked)) {
            given.push(asked.clone());
            continue;
        }
        let taken = taken.get_or_insert_with(|| {
            let others = others().into_iter().filter(|other| other.key() != service.key());
            let texts: Vec<String> = others.flat_map(|other| addresses_of(&other)).collect();
            texts.iter().filter_map(|text| text.parse().ok()).collect()
        });
        let Some(asked) = asked else {
            let Some(free) = free_address(&seed(service), family, taken) else {
                let detail = "failed to allocate a serviceIP: range is full";
                errors.push(FieldError::invalid(&at, &Vec::<Value>::new(), detail));
                return errors;
            };
            given.push(free.to_string());
            continue;
        };
        if let Some(why) = objection(service, asked, family, taken) {
            let detail = format!("failed to allocate IP {asked}: {why}");
            errors.push(FieldError::invalid(&at, &[asked], detail));
            return errors;
        }
        given.push(asked.clone());
    }
    set(service, given);
    errors
}

fn set(service: &mut Object, addresses: Vec<String>) {
    let spec = &mut service.value_mut()["spec"];
    spec["clusterIP"] = addresses.first().map_or("", String::as_str).into();
    spec["clusterIPs"] = addresses.into();
}

fn texts_at(object: &Object, at: &str) -> Vec<String> {
    let all = list_at(object.value(), at).iter();
    all.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// The addresses of a Service as they are written; in an object of an older node the list may lack.
fn addresses_of(service: &Object) -> Vec<String> {
    let mut all = texts_at(service, "/spec/clusterIPs");
    if all.is_empty() {
        all.push(service.text("/spec/clusterIP").to_owned());
    }
    all
}

/// Why an address can't be had, in upstream's words.
fn objection(service: &Object, asked: &str, family: Family, taken: &BTreeSet<IpAddr>) -> Option<String> {
    let address = asked.parse::<IpAddr>().ok().filter(|ip| Family::of(*ip) == family);
    match address {
        Some(address) if taken.contains(&address) => Some(ALLOCATED.to_owned()),
        Some(address) if is_service(address) && is_taken(service.key(), address) => Some(ALLOCATED.to_owned()),
        Some(address) if may_have(service.key(), address) => None,
        _ => Some(format!(
            "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {}",
            family.services()
        )),
    }
}

/// Where the search for what is free begins follows from the Service's name, so that the same Services get the same again, also after a
/// dry run, and what was just given back is not the next to be given.
pub(super) fn seed(service: &Object) -> String {
    let key = service.key();
    format!("{}/{}", key.namespace, key.name)
}

fn free_address(seed: &str, family: Family, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let count = LAST_SERVICE - FIRST + 1;
    let start = Fnv::of(seed) % count;
    let mut turn = (0..count).map(|step| family.services().at(FIRST + (start + step) % count));
    turn.find(|address| !taken.contains(address))
}
