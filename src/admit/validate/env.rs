//! Environment of containers (V19 to V23).

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::names;

/// Paths of a pod's fields that a variable may hold.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Checks `env` and `envFrom`.
pub fn validate_env(container: &Container, path: &FieldPath, errors: &mut ErrorList) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let at = path.field("env").index(index);
        if variable.name.is_empty() {
            errors.push(FieldError::required(&at.field("name"), ""));
        } else if let Some(message) = names::env_name(&variable.name) {
            errors.push(FieldError::invalid(&at.field("name"), &variable.name, message));
        }
        if let Some(source) = &variable.value_from {
            validate_source(variable, source, &at.field("valueFrom"), errors);
        }
    }
    for (index, from) in container.env_from.iter().flatten().enumerate() {
        validate_from(from, &path.field("envFrom").index(index), errors);
    }
}

fn validate_source(variable: &EnvVar, source: &EnvVarSource, path: &FieldPath, errors: &mut ErrorList) {
    let set = usize::from(source.field_ref.is_some())
        + usize::from(source.resource_field_ref.is_some())
        + usize::from(source.config_map_key_ref.is_some())
        + usize::from(source.secret_key_ref.is_some())
        + usize::from(source.file_key_ref.is_some());
    if set == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.push(FieldError::invalid(path, &"", detail));
    } else if !variable.value.as_deref().unwrap_or_default().is_empty() {
        errors.push(FieldError::invalid(
            path,
            &"",
            "may not be specified when `value` is not empty",
        ));
    } else if set > 1 {
        errors.push(FieldError::invalid(
            path,
            &"",
            "may not have more than one field specified at a time",
        ));
    }
    if let Some(field) = &source.field_ref {
        validate_field(field, &FIELDS, &path.field("fieldRef"), errors);
    }
    if let Some(field) = &source.resource_field_ref {
        validate_resource(field, &path.field("resourceFieldRef"), errors);
    }
    let keys = [
        (
            "configMapKeyRef",
            source.config_map_key_ref.as_ref().map(|s| (&s.name, &s.key)),
        ),
        (
            "secretKeyRef",
            source.secret_key_ref.as_ref().map(|s| (&s.name, &s.key)),
        ),
    ];
    for (field, reference) in keys {
        if let Some((name, key)) = reference {
            validate_key(name, key, &path.field(field), errors);
        }
    }
}

fn validate_key(name: &str, key: &str, path: &FieldPath, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(FieldError::required(&path.field("name"), ""));
    }
    if key.is_empty() {
        errors.push(FieldError::required(&path.field("key"), ""));
        return;
    }
    for message in names::config_key(key) {
        errors.push(FieldError::invalid(&path.field("key"), &key, message));
    }
}

/// Checks a reference to one of these fields of the pod, or to an entry of its labels or annotations.
pub fn validate_field(field: &ObjectFieldSelector, fields: &[&str], path: &FieldPath, errors: &mut ErrorList) {
    let at = path.field("fieldPath");
    let subscripted = ["metadata.labels", "metadata.annotations"]
        .iter()
        .find_map(|map| field.field_path.strip_prefix(map));
    let key = subscripted.and_then(|rest| rest.strip_prefix("['")?.strip_suffix("']"));
    if field.field_path.is_empty() {
        errors.push(FieldError::required(&at, ""));
    } else if let Some(key) = key {
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(path, &key, message));
        }
    } else if !fields.contains(&field.field_path.as_str()) {
        errors.push(FieldError::not_supported(&at, &field.field_path, fields));
    }
}

/// Checks a reference to a container's resources.
pub fn validate_resource(field: &ResourceFieldSelector, path: &FieldPath, errors: &mut ErrorList) {
    const RESOURCES: [&str; 6] = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    let is_huge = field.resource.starts_with("limits.hugepages-") || field.resource.starts_with("requests.hugepages-");
    if field.resource.is_empty() {
        errors.push(FieldError::required(&path.field("resource"), ""));
    } else if !RESOURCES.contains(&field.resource.as_str()) && !is_huge {
        errors.push(FieldError::not_supported(
            &path.field("resource"),
            &field.resource,
            &RESOURCES,
        ));
    }
}

fn validate_from(from: &EnvFromSource, path: &FieldPath, errors: &mut ErrorList) {
    let prefix = from.prefix.as_deref().unwrap_or_default();
    if let Some(message) = names::env_name(prefix).filter(|_| !prefix.is_empty()) {
        errors.push(FieldError::invalid(&path.field("prefix"), &prefix, message));
    }
    match (&from.config_map_ref, &from.secret_ref) {
        (None, None) => {
            errors.push(FieldError::invalid(
                path,
                &"",
                "must specify one of: `configMapRef` or `secretRef`",
            ));
        }
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(
                path,
                &"",
                "may not have more than one field specified at a time",
            ));
        }
        (Some(map), None) if map.name.is_empty() => {
            errors.push(FieldError::required(&path.field("configMapRef").field("name"), ""));
        }
        (None, Some(secret)) if secret.name.is_empty() => {
            errors.push(FieldError::required(&path.field("secretRef").field("name"), ""));
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
}
