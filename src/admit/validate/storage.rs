//! PersistentVolumes and StorageClasses (`ValidatePersistentVolume`, `ValidateStorageClass`).

use k8s_openapi::api::core::v1::PersistentVolume;
use k8s_openapi::api::storage::v1::StorageClass;

use super::super::path::FieldPath;
use super::claim::{validate_modes, validate_size};
use super::container::one_of;
use super::errors::{ErrorList, FieldError};
use super::volume::validate_host_path;

/// Checks a volume.
pub fn validate_volume(volume: &PersistentVolume, path: &FieldPath, errors: &mut ErrorList) {
    let spec = volume.spec.clone().unwrap_or_default();
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.push(FieldError::required(&path.field("accessModes"), ""));
    }
    validate_modes(modes, path, errors);
    let at = path.field("capacity").key("storage");
    let size = spec.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
    validate_size(size, &at, errors);
    let policies = ["Delete", "Recycle", "Retain"];
    let policy = path.field("persistentVolumeReclaimPolicy");
    one_of(&spec.persistent_volume_reclaim_policy, &policies, &policy, errors);
    one_of(
        &spec.volume_mode,
        &["Block", "Filesystem"],
        &path.field("volumeMode"),
        errors,
    );
    match (&spec.host_path, &spec.local) {
        (Some(host), None) => {
            let type_ = host.type_.as_deref().unwrap_or_default();
            validate_host_path(&host.path, type_, &path.field("hostPath"), errors);
        }
        (None, Some(local)) => validate_host_path(&local.path, "", &path.field("local"), errors),
        (Some(_), Some(_)) => {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&path.field("local"), detail));
        }
        // A volume of another kind is refused by its field.
        (None, None) => errors.push(FieldError::required(path, "must specify a volume type")),
    }
}

/// Checks a volume's change: where it lies may not.
pub fn validate_volume_update(new: &PersistentVolume, old: &PersistentVolume, errors: &mut ErrorList) {
    let source = |volume: &PersistentVolume| {
        let spec = volume.spec.clone().unwrap_or_default();
        (spec.host_path, spec.local, spec.volume_mode)
    };
    if source(new) != source(old) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden(
            &FieldPath::of(&["spec", "persistentvolumesource"]),
            detail,
        ));
    }
}

/// Checks a class.
pub fn validate_class(class: &StorageClass, errors: &mut ErrorList) {
    let root = FieldPath::root();
    if class.provisioner.is_empty() {
        errors.push(FieldError::required(&root.field("provisioner"), ""));
    }
    one_of(
        &class.reclaim_policy,
        &["Delete", "Retain"],
        &root.field("reclaimPolicy"),
        errors,
    );
    let modes = ["Immediate", "WaitForFirstConsumer"];
    one_of(
        &class.volume_binding_mode,
        &modes,
        &root.field("volumeBindingMode"),
        errors,
    );
}

/// Checks a class's change: what its volumes are made by may not.
pub fn validate_class_update(new: &StorageClass, old: &StorageClass, errors: &mut ErrorList) {
    let changed = [
        ("parameters", new.parameters != old.parameters),
        ("provisioner", new.provisioner != old.provisioner),
        ("reclaimPolicy", new.reclaim_policy != old.reclaim_policy),
        ("volumeBindingMode", new.volume_binding_mode != old.volume_binding_mode),
    ];
    for (field, _) in changed.iter().filter(|(_, changed)| *changed) {
        let detail = format!("updates to {field} are forbidden.");
        errors.push(FieldError::forbidden(&FieldPath::root().field(field), detail));
    }
}
