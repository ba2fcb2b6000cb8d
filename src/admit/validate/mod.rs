//! Whether an object may be stored, with upstream's messages and field paths (`pkg/apis/*/validation`).
//!
//! One file per kind; pure functions of typed, defaulted objects. The rules' numbers (V10, V47, …) are those of the project's
//! notes on the API. Holds nothing about what the node can honour: that is the field table's.

mod claim;
mod config;
mod container;
mod endpoints;
mod env;
mod ephemeral;
mod errors;
mod ingress;
mod kept;
mod meta;
mod names;
mod network_policy;
mod placement;
mod pod;
mod pod_update;
mod probe;
mod resize;
mod runtime_class;
mod security;
mod service;
mod storage;
#[cfg(test)]
mod tests;
mod volume;
mod workload;

pub use errors::{ErrorKind, ErrorList, FieldError};
pub use service::check_node_ports;
pub use volume::has_source as has_volume_source;

use super::path::FieldPath;
use super::typed::Typed;
use crate::model::Kind;

/// Checks an object that is to be created. It has been defaulted.
pub fn validate(kind: &Kind, object: &Typed) -> ErrorList {
    let mut errors = ErrorList::default();
    meta::validate_metadata(kind, object.metadata(), &mut errors);
    let spec = FieldPath::of(&["spec"]);
    match object {
        Typed::Pod(pod) => pod::validate_pod(pod, &mut errors),
        Typed::Deployment(deployment) => workload::validate_deployment(deployment, &mut errors),
        Typed::ReplicaSet(set) => workload::validate_replica_set(set, &mut errors),
        Typed::ConfigMap(map) => config::validate_config_map(map, &mut errors),
        Typed::Secret(secret) => config::validate_secret(secret, &mut errors),
        Typed::Namespace(_) => {}
        Typed::Stored(stored) => kept::validate_kept(kind, stored.value(), &mut errors),
        Typed::Service(service) => service::validate_service(service, &spec, &mut errors),
        Typed::Endpoints(object) => endpoints::validate_endpoints(object, &mut errors),
        Typed::EndpointSlice(slice) => endpoints::validate_slice(slice, &mut errors),
        Typed::PersistentVolumeClaim(claim) => claim::validate_claim(claim, &spec, &mut errors),
        Typed::PersistentVolume(volume) => storage::validate_volume(volume, &spec, &mut errors),
        Typed::StorageClass(class) => storage::validate_class(class, &mut errors),
        Typed::Ingress(ingress) => ingress::validate_ingress(ingress, &spec, &mut errors),
        Typed::IngressClass(class) => ingress::validate_class(class, &spec, &mut errors),
        Typed::RuntimeClass(class) => runtime_class::validate_class(class, &mut errors),
        Typed::NetworkPolicy(policy) => network_policy::validate_policy(policy, &spec, &mut errors),
    }
    errors
}

/// Checks an object that does not exist yet for what only changes may bring. It has been defaulted.
pub fn validate_new(object: &Typed) -> ErrorList {
    let mut errors = ErrorList::default();
    if let Typed::Pod(pod) = object {
        pod::validate_new_pod(pod, &mut errors);
    }
    errors
}

/// Checks that a pod differs from the old one by more ephemeral containers only, and is valid by itself.
///
/// # Errors
/// Those that were there and have changed or are gone.
pub fn validate_ephemeral_update(new: &Typed, old: &Typed) -> Result<Change, ErrorList> {
    let (Typed::Pod(new), Typed::Pod(old)) = (new, old) else {
        return validate_update(new, old);
    };
    let errors = ephemeral::changes(new, old);
    if errors.is_empty() {
        Ok(Change::Update)
    } else {
        Err(errors)
    }
}

/// Checks that a pod differs from the old one by resources only, and is valid by itself.
///
/// # Errors
/// What else differs, or what may not change so.
pub fn validate_resize(new: &Typed, old: &Typed) -> Result<Change, ErrorList> {
    let (Typed::Pod(new), Typed::Pod(old)) = (new, old) else {
        return validate_update(new, old);
    };
    let errors = resize::changes(new, old);
    if errors.is_empty() {
        Ok(Change::Update)
    } else {
        Err(errors)
    }
}

/// How an object may become another.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// By an update in place.
    Update,
    /// Only by deleting the old one and creating the new one: a pod whose unchangeable fields differ. An API update answers
    /// these errors; a source replaces the pod gracefully.
    Replace(ErrorList),
}

/// Checks that the old object may become the new one, which is valid by itself.
///
/// # Errors
/// Fields that may not change.
pub fn validate_update(new: &Typed, old: &Typed) -> Result<Change, ErrorList> {
    let mut errors = ErrorList::default();
    match (new, old) {
        (Typed::Pod(new), Typed::Pod(old)) => {
            let replace = pod_update::unchangeable(new, old);
            return Ok(if replace.is_empty() {
                Change::Update
            } else {
                Change::Replace(replace)
            });
        }
        (Typed::Deployment(new), Typed::Deployment(old)) => {
            workload::validate_selector_update(&new.spec.selector, &old.spec.selector, &mut errors);
        }
        (Typed::ReplicaSet(new), Typed::ReplicaSet(old)) => {
            workload::validate_selector_update(&new.spec.selector, &old.spec.selector, &mut errors);
        }
        (Typed::ConfigMap(new), Typed::ConfigMap(old)) => config::validate_config_map_update(new, old, &mut errors),
        (Typed::Secret(new), Typed::Secret(old)) => config::validate_secret_update(new, old, &mut errors),
        (Typed::PersistentVolumeClaim(new), Typed::PersistentVolumeClaim(old)) => {
            claim::validate_claim_update(new, old, &mut errors);
        }
        (Typed::PersistentVolume(new), Typed::PersistentVolume(old)) => {
            storage::validate_volume_update(new, old, &mut errors);
        }
        (Typed::StorageClass(new), Typed::StorageClass(old)) => storage::validate_class_update(new, old, &mut errors),
        (Typed::IngressClass(new), Typed::IngressClass(old)) => ingress::validate_class_update(new, old, &mut errors),
        (Typed::RuntimeClass(new), Typed::RuntimeClass(old)) => {
            runtime_class::validate_class_update(new, old, &mut errors);
        }
        (Typed::Service(new), Typed::Service(old)) => service::validate_service_update(new, old, &mut errors),
        (Typed::EndpointSlice(new), Typed::EndpointSlice(old)) => {
            endpoints::validate_slice_update(new, old, &mut errors);
        }
        (Typed::Namespace(_), Typed::Namespace(_))
        | (Typed::Endpoints(_), Typed::Endpoints(_))
        | (Typed::NetworkPolicy(_), Typed::NetworkPolicy(_))
        | (Typed::Ingress(_), Typed::Ingress(_)) => {}
        (Typed::Stored(new), Typed::Stored(old)) => kept::validate_kept_update(new.value(), old.value(), &mut errors),
        _ => errors.push(FieldError::invalid(
            &FieldPath::of(&["kind"]),
            &"",
            "field is immutable",
        )),
    }
    if errors.is_empty() {
        Ok(Change::Update)
    } else {
        Err(errors)
    }
}
