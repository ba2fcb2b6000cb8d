//! ConfigMaps and Secrets (V64, V65).

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::names;

/// The most that the values of one object may hold together (`MaxSecretSize`).
const MAX_DATA: usize = 1 << 20;

/// The type of Secrets that hold a service account's token, and the annotation that names it.
const ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// Checks a ConfigMap.
pub fn validate_config_map(map: &ConfigMap, errors: &mut ErrorList) {
    let (data, binary) = (FieldPath::of(&["data"]), FieldPath::of(&["binaryData"]));
    let texts = map.data.iter().flatten();
    let bytes = map.binary_data.iter().flatten();
    for (path, key) in texts
        .clone()
        .map(|(key, _)| (&data, key))
        .chain(bytes.clone().map(|(key, _)| (&binary, key)))
    {
        validate_key(path, key, errors);
    }
    for (key, _) in texts.clone() {
        if map.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
            errors.push(FieldError::invalid(
                &data.key(key),
                key,
                "duplicate of key present in binaryData",
            ));
        }
    }
    let size = texts
        .map(|(_, value)| value.len())
        .chain(bytes.map(|(_, value)| value.0.len()))
        .sum::<usize>();
    if size > MAX_DATA {
        errors.push(FieldError::too_long(&FieldPath::root(), MAX_DATA));
    }
}

/// Checks a Secret.
pub fn validate_secret(secret: &Secret, errors: &mut ErrorList) {
    let path = FieldPath::of(&["data"]);
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    for key in data.keys() {
        validate_key(&path, key, errors);
    }
    if data.values().map(|value| value.0.len()).sum::<usize>() > MAX_DATA {
        errors.push(FieldError::too_long(&path, MAX_DATA));
    }
    let kind = secret.type_.as_deref().unwrap_or_default();
    validate_secret_type(kind, data, &path, errors);
    let annotations = secret.metadata.annotations.as_ref();
    let account = annotations.and_then(|annotations| annotations.get(ACCOUNT));
    if kind == ACCOUNT_TOKEN && account.is_none_or(String::is_empty) {
        let path = FieldPath::of(&["metadata", "annotations"]).key(ACCOUNT);
        errors.push(FieldError::required(&path, ""));
    }
}

fn validate_secret_type(kind: &str, data: &BTreeMap<String, ByteString>, path: &FieldPath, errors: &mut ErrorList) {
    let needed: &[&str] = match kind {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|key| !data.contains_key(**key)) {
        errors.push(FieldError::required(&path.key(key), ""));
    }
    let is_docker = kind.starts_with("kubernetes.io/dockerc");
    for (key, value) in data
        .iter()
        .filter(|(key, _)| is_docker && needed.contains(&key.as_str()))
    {
        if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&value.0).is_err() {
            errors.push(FieldError::invalid(
                &path.key(key),
                &"<secret contents redacted>",
                "must be valid json",
            ));
        }
    }
    if kind == "kubernetes.io/basic-auth" && !data.contains_key("username") && !data.contains_key("password") {
        errors.push(FieldError::required(&path.key("username"), ""));
        errors.push(FieldError::required(&path.key("password"), ""));
    }
}

/// Checks a ConfigMap's change.
pub fn validate_config_map_update(new: &ConfigMap, old: &ConfigMap, errors: &mut ErrorList) {
    if old.immutable != Some(true) {
        return;
    }
    for (field, changed) in [
        ("immutable", new.immutable != Some(true)),
        ("data", new.data != old.data),
        ("binaryData", new.binary_data != old.binary_data),
    ] {
        forbid_immutable(field, changed, errors);
    }
}

/// Checks a Secret's change.
pub fn validate_secret_update(new: &Secret, old: &Secret, errors: &mut ErrorList) {
    if new.type_ != old.type_ {
        errors.push(FieldError::invalid(
            &FieldPath::of(&["type"]),
            &new.type_,
            "field is immutable",
        ));
    }
    if old.immutable == Some(true) {
        forbid_immutable("immutable", new.immutable != Some(true), errors);
        forbid_immutable("data", new.data != old.data, errors);
    }
}

fn forbid_immutable(field: &str, changed: bool, errors: &mut ErrorList) {
    if changed {
        errors.push(FieldError::forbidden(
            &FieldPath::of(&[field]),
            "field is immutable when `immutable` is set",
        ));
    }
}

fn validate_key(path: &FieldPath, key: &str, errors: &mut ErrorList) {
    for message in names::config_key(key) {
        errors.push(FieldError::invalid(&path.key(key), &key, message));
    }
}
