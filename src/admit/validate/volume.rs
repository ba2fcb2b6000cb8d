//! Volumes of pods (V26 to V28).

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume};
use serde_json::Value;

use super::super::path::FieldPath;
use super::container::one_of;
use super::errors::{ErrorList, FieldError};
use super::{env, names};

/// Fields of a pod that a file may hold.
const OWN_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Whether a volume says where it comes from.
pub fn has_source(volume: &Volume) -> bool {
    !sources(volume).is_empty()
}

/// The sources that a volume names: every field of it but its name.
fn sources(volume: &Volume) -> Vec<String> {
    match serde_json::to_value(volume) {
        Ok(Value::Object(fields)) => fields
            .into_iter()
            .map(|(field, _)| field)
            .filter(|field| field != "name")
            .collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Checks a pod's volumes and returns their names.
pub fn validate_volumes<'a>(volumes: &'a [Volume], path: &FieldPath, errors: &mut ErrorList) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = path.field("volumes").index(index);
        if volume.name.is_empty() {
            errors.push(FieldError::required(&at.field("name"), ""));
        } else {
            for message in names::dns_label(&volume.name) {
                errors.push(FieldError::invalid(&at.field("name"), &volume.name, message));
            }
            if !seen.insert(volume.name.as_str()) {
                errors.push(FieldError::duplicate(&at.field("name"), &volume.name));
            }
        }
        match sources(volume).as_slice() {
            [] => errors.push(FieldError::required(&at, "must specify a volume type")),
            [_] => validate_source(volume, &at, errors),
            [_, others @ ..] => {
                for other in others {
                    errors.push(FieldError::forbidden(
                        &at.field(other),
                        "may not specify more than 1 volume type",
                    ));
                }
            }
        }
    }
    seen
}

fn validate_source(volume: &Volume, path: &FieldPath, errors: &mut ErrorList) {
    if let Some(secret) = &volume.secret {
        let at = path.field("secret");
        if secret.secret_name.as_deref().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&at.field("secretName"), ""));
        }
        validate_mode(secret.default_mode, &at.field("defaultMode"), errors);
        validate_items(secret.items.as_deref().unwrap_or_default(), &at.field("items"), errors);
    }
    if let Some(map) = &volume.config_map {
        let at = path.field("configMap");
        if map.name.is_empty() {
            errors.push(FieldError::required(&at.field("name"), ""));
        }
        validate_mode(map.default_mode, &at.field("defaultMode"), errors);
        validate_items(map.items.as_deref().unwrap_or_default(), &at.field("items"), errors);
    }
    if let Some(own) = &volume.downward_api {
        let at = path.field("downwardAPI");
        validate_mode(own.default_mode, &at.field("defaultMode"), errors);
        validate_own_fields(own.items.as_deref().unwrap_or_default(), &at.field("items"), errors);
    }
    if let Some(projected) = &volume.projected {
        validate_projected(projected, &path.field("projected"), errors);
    }
    if let Some(host) = &volume.host_path {
        validate_host_path(
            &host.path,
            host.type_.as_deref().unwrap_or_default(),
            &path.field("hostPath"),
            errors,
        );
    }
    if let Some(image) = &volume.image {
        let at = path.field("image");
        if image.reference.as_deref().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&at.field("reference"), ""));
        }
        let policies = ["Always", "IfNotPresent", "Never"];
        one_of(&image.pull_policy, &policies, &at.field("pullPolicy"), errors);
    }
    if volume
        .persistent_volume_claim
        .as_ref()
        .is_some_and(|claim| claim.claim_name.is_empty())
    {
        errors.push(FieldError::required(
            &path.field("persistentVolumeClaim").field("claimName"),
            "",
        ));
    }
}

/// Checks the parts of a projected volume, and that no two of them name the same path.
fn validate_projected(projected: &ProjectedVolumeSource, path: &FieldPath, errors: &mut ErrorList) {
    validate_mode(projected.default_mode, &path.field("defaultMode"), errors);
    let mut seen = HashSet::new();
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        let at = path.field("sources").index(index);
        let set = [
            source.config_map.is_some(),
            source.secret.is_some(),
            source.downward_api.is_some(),
            source.service_account_token.is_some(),
            source.cluster_trust_bundle.is_some(),
            source.pod_certificate.is_some(),
        ];
        if set.iter().filter(|is_set| **is_set).count() > 1 {
            let detail = "may not specify more than 1 volume type";
            errors.push(FieldError::forbidden(&at, detail));
        }
        let objects = [
            ("configMap", source.config_map.as_ref().map(|s| (&s.name, &s.items))),
            ("secret", source.secret.as_ref().map(|s| (&s.name, &s.items))),
        ];
        for (field, object) in objects {
            let Some((name, items)) = object else { continue };
            let items = items.as_deref().unwrap_or_default();
            if name.is_empty() {
                errors.push(FieldError::required(&at.field(field).field("name"), ""));
            }
            validate_items(items, &at.field(field).field("items"), errors);
            validate_unique(items.iter().map(|i| i.path.as_str()), &mut seen, path, errors);
        }
        if let Some(own) = &source.downward_api {
            let items = own.items.as_deref().unwrap_or_default();
            validate_own_fields(items, &at.field("downwardAPI"), errors);
            validate_unique(items.iter().map(|i| i.path.as_str()), &mut seen, path, errors);
        }
    }
}

fn validate_unique<'p>(
    paths: impl Iterator<Item = &'p str>,
    seen: &mut HashSet<&'p str>,
    at: &FieldPath,
    errors: &mut ErrorList,
) {
    for path in paths.filter(|path| !path.is_empty()) {
        if !seen.insert(path) {
            errors.push(FieldError::invalid(at, &path, "conflicting duplicate paths"));
        }
    }
}

/// Checks files with the pod's own fields.
fn validate_own_fields(items: &[DownwardAPIVolumeFile], path: &FieldPath, errors: &mut ErrorList) {
    for (index, item) in items.iter().enumerate() {
        let at = path.index(index);
        validate_file_path(&item.path, &at.field("path"), errors);
        validate_mode(item.mode, &at.field("mode"), errors);
        match (&item.field_ref, &item.resource_field_ref) {
            (None, None) => {
                let detail = "one of fieldRef and resourceFieldRef is required";
                errors.push(FieldError::required(&at, detail));
            }
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(&at, &"resource", detail));
            }
            (Some(field), None) => env::validate_field(field, &OWN_FIELDS, &at.field("fieldRef"), errors),
            (None, Some(field)) => {
                let at = at.field("resourceFieldRef");
                if field.container_name.as_deref().unwrap_or_default().is_empty() {
                    errors.push(FieldError::required(&at.field("containerName"), ""));
                }
                env::validate_resource(field, &at, errors);
            }
        }
    }
}

pub fn validate_host_path(host: &str, kind: &str, path: &FieldPath, errors: &mut ErrorList) {
    const KINDS: [&str; 8] = [
        "",
        "DirectoryOrCreate",
        "Directory",
        "FileOrCreate",
        "File",
        "Socket",
        "CharDevice",
        "BlockDevice",
    ];
    if host.is_empty() {
        errors.push(FieldError::required(&path.field("path"), ""));
    } else if has_back_step(host) {
        errors.push(FieldError::invalid(&path.field("path"), &host, "must not contain '..'"));
    }
    if !KINDS.contains(&kind) {
        errors.push(FieldError::not_supported(&path.field("type"), kind, &KINDS));
    }
}

fn validate_items(items: &[KeyToPath], path: &FieldPath, errors: &mut ErrorList) {
    for (index, item) in items.iter().enumerate() {
        let at = path.index(index);
        if item.key.is_empty() {
            errors.push(FieldError::required(&at.field("key"), ""));
        }
        validate_file_path(&item.path, &at.field("path"), errors);
        validate_mode(item.mode, &at.field("mode"), errors);
    }
}

/// Checks where a file of ours goes in its volume.
fn validate_file_path(file: &str, path: &FieldPath, errors: &mut ErrorList) {
    if file.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    validate_relative_path(file, path, errors);
    if file.starts_with("..") && !has_back_step(file) {
        errors.push(FieldError::invalid(path, &file, "must not start with '..'"));
    }
}

fn validate_mode(mode: Option<i32>, path: &FieldPath, errors: &mut ErrorList) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, &mode, detail));
    }
}

/// Checks a path that must stay below where it starts.
pub fn validate_relative_path(text: &str, path: &FieldPath, errors: &mut ErrorList) {
    if text.starts_with('/') {
        errors.push(FieldError::invalid(path, &text, "must be a relative path"));
    }
    if has_back_step(text) {
        errors.push(FieldError::invalid(path, &text, "must not contain '..'"));
    }
}

fn has_back_step(text: &str) -> bool {
    text.split('/').any(|part| part == "..")
}
