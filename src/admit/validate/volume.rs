//! Volumes of pods (V26 to V28).

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{KeyToPath, Volume};
use serde_json::Value;

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::names;

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
    if let Some(host) = &volume.host_path {
        validate_host_path(
            &host.path,
            host.type_.as_deref().unwrap_or_default(),
            &path.field("hostPath"),
            errors,
        );
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

fn validate_host_path(host: &str, kind: &str, path: &FieldPath, errors: &mut ErrorList) {
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
        if item.path.is_empty() {
            errors.push(FieldError::required(&at.field("path"), ""));
        } else {
            validate_relative_path(&item.path, &at.field("path"), errors);
            if item.path.starts_with("..") && !has_back_step(&item.path) {
                errors.push(FieldError::invalid(
                    &at.field("path"),
                    &item.path,
                    "must not start with '..'",
                ));
            }
        }
        validate_mode(item.mode, &at.field("mode"), errors);
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
