//! What an object gets from the node in the very write that makes or changes it: addresses and ports that no other Service has,
//! finalizers, the default class (`pkg/registry/core/service/storage`, `StorageObjectInUseProtection`, `DefaultIngressClass`).
//!
//! It stands after the tracking of fields, so that nobody owns what is given here and no later apply takes it away. Pure: the caller lists
//! the objects, and lets nobody else write between that and its own write.

mod address;
mod ports;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use super::gate::Refused;
use super::validate::{ErrorList, check_node_ports};
use crate::model::ingress::{IS_DEFAULT, OLD_CLASS};
use crate::model::{Family, Kind, Object, kind, list_at};

/// Holds a namespace until its content is gone.
const NAMESPACE_FINALIZER: &str = "kubernetes";
/// Holds a claim while pods use it.
const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";

/// Whether objects of a kind get what others of it must not have: then a write must be the only one from its look at the others on.
pub fn is_allocated(kind: &Kind) -> bool {
    kind.kind == "Service"
}

/// Gives an admitted object what it needs before it is stored in place of `old`. `list` has all objects of a kind; it is called only if
/// needed.
///
/// # Errors
/// [`Refused::Invalid`] when a Service asks for what it can't have.
pub fn allocate(
    mut object: Object,
    old: Option<&Object>,
    list: impl Fn(&'static Kind) -> Vec<Arc<Object>>,
) -> Result<Object, Refused> {
    match (object.kind().kind, old) {
        ("Service", _) => {
            let others = || list(kind("v1", "Service").expect("in the table"));
            let families = families_of(&list(kind("v1", "Node").expect("in the table")));
            let errors = serve(&mut object, old, families, others);
            if !errors.is_empty() {
                return Err(Refused::Invalid(object.key().clone(), errors));
            }
        }
        ("Namespace", None) if object.at("/spec/finalizers").is_none() => {
            object.value_mut()["spec"]["finalizers"] = json!([NAMESPACE_FINALIZER]);
        }
        ("PersistentVolumeClaim", None) => object.add_finalizer(CLAIM_FINALIZER),
        ("Ingress", None) => {
            let classes = list(kind("networking.k8s.io/v1", "IngressClass").expect("in the table"));
            give_class(&mut object, &classes);
        }
        _ => {}
    }
    Ok(object)
}

/// The families of addresses that Services may have: those of the node's ranges of pods, and IPv4 in any case.
pub fn families_of(nodes: &[Arc<Object>]) -> &'static [Family] {
    let ranges = |node: &'_ Arc<Object>| list_at(node.value(), "/spec/podCIDRs").to_vec();
    let is_second = |range: &Value| range.as_str().is_some_and(|range| range.contains(':'));
    let is_dual = nodes.iter().any(|node| ranges(node).iter().any(is_second));
    if is_dual { &Family::BOTH } else { &Family::BOTH[..1] }
}

/// Gives a Service its families, addresses and ports.
fn serve(
    service: &mut Object,
    old: Option<&Object>,
    families: &[Family],
    others: impl Fn() -> Vec<Arc<Object>>,
) -> ErrorList {
    if service.text("/spec/type") == "ExternalName" || service.is_deleting() {
        return ErrorList::default();
    }
    // What is another name has no address, whatever it says.
    let old = old.filter(|old| old.text("/spec/type") != "ExternalName");
    address::release_second(service, old);
    let mut errors = address::give_families(service, old, families);
    if errors.is_empty() {
        errors = address::give(service, old, &others);
    }
    let ports = |object: &Object| object.at("/spec/ports").cloned();
    if old.is_none_or(|old| ports(old) != ports(service)) {
        errors.extend(check_node_ports(service, others()));
    }
    if errors.is_empty() {
        errors = ports::give(service, &others);
    }
    errors
}

/// Gives an Ingress that names no class the default one: of several the newest, as upstream.
fn give_class(ingress: &mut Object, classes: &[Arc<Object>]) {
    let is_said = ingress.at("/spec/ingressClassName").is_some() || ingress.annotations().contains_key(OLD_CLASS);
    let defaults = classes
        .iter()
        .filter(|class| class.annotations().get(IS_DEFAULT) == Some(&"true"));
    let newest = defaults.min_by_key(|class| (Reverse(class.creation_timestamp()), class.key().name.clone()));
    if let Some(class) = newest.filter(|_| !is_said) {
        ingress.value_mut()["spec"]["ingressClassName"] = class.key().name.as_str().into();
    }
}
