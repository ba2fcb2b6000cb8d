//! PersistentVolumeClaims (V66).

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as TypedQuantity;

use super::super::path::FieldPath;
use super::container::one_of;
use super::errors::{ErrorList, FieldError};
use crate::model::Quantity;

/// Checks a claim.
pub fn validate_claim(claim: &PersistentVolumeClaim, path: &FieldPath, errors: &mut ErrorList) {
    let none = PersistentVolumeClaimSpec::default();
    let spec = claim.spec.as_ref().unwrap_or(&none);
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.push(FieldError::required(
            &path.field("accessModes"),
            "at least 1 access mode is required",
        ));
    }
    validate_modes(modes, path, errors);
    one_of(
        &spec.volume_mode,
        &["Block", "Filesystem"],
        &path.field("volumeMode"),
        errors,
    );
    let requests = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref());
    let at = path.field("resources").key("storage");
    validate_size(requests.and_then(|requests| requests.get("storage")), &at, errors);
}

/// Checks that there is a size, and that it is one.
pub fn validate_size(size: Option<&TypedQuantity>, path: &FieldPath, errors: &mut ErrorList) {
    match size {
        None => errors.push(FieldError::required(path, "")),
        Some(size) if Quantity::parse(&size.0).is_none_or(|size| size <= Quantity::ZERO) => {
            errors.push(FieldError::invalid(path, &size.0, "must be greater than zero"));
        }
        Some(_) => {}
    }
}

/// Checks the names of access modes.
pub fn validate_modes(modes: &[String], path: &FieldPath, errors: &mut ErrorList) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in modes.iter().filter(|mode| !MODES.contains(&mode.as_str())) {
        errors.push(FieldError::not_supported(&path.field("accessModes"), mode, &MODES));
    }
}

/// Checks a claim's change: only the size that it asks for may.
pub fn validate_claim_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut ErrorList) {
    let spec = |claim: &PersistentVolumeClaim| claim.spec.clone().unwrap_or_default();
    let given = old
        .status
        .as_ref()
        .and_then(|status| status.capacity.as_ref()?.get("storage").cloned());
    let (mut new, old) = (spec(new), spec(old));
    let asked = new
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref()?.get("storage"));
    if let (Some(asked), Some(given)) = (asked, &given)
        && Quantity::parse(&asked.0) < Quantity::parse(&given.0)
    {
        let at = FieldPath::of(&["spec", "resources", "requests", "storage"]);
        errors.push(FieldError::forbidden(&at, "field can not be less than status.capacity"));
    }
    let requests = old.resources.as_ref().and_then(|resources| resources.requests.clone());
    new.resources.get_or_insert_with(Default::default).requests = requests;
    // The binder fills the volume's name in.
    if old.volume_name.is_none() {
        new.volume_name = None;
    }
    // So it does with the default class.
    if old.storage_class_name.is_none() {
        new.storage_class_name = None;
    }
    let mut old = old;
    old.resources.get_or_insert_with(Default::default);
    if new != old {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden(&FieldPath::of(&["spec"]), detail));
    }
}
