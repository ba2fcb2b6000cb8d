//! `metadata` of any kind (V1 to V7).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::names;
use crate::model::Kind;

/// The most that all annotations of an object may hold together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Checks names, namespace, labels, annotations, finalizers and owners.
pub fn validate_metadata(kind: &Kind, metadata: &ObjectMeta, errors: &mut ErrorList) {
    let path = FieldPath::of(&["metadata"]);
    validate_name(kind, metadata, &path, errors);
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    if kind.namespaced && namespace.is_empty() {
        errors.push(FieldError::required(&path.field("namespace"), ""));
    } else if kind.namespaced {
        for message in names::dns_label(namespace) {
            errors.push(FieldError::invalid(&path.field("namespace"), &namespace, message));
        }
    } else if !namespace.is_empty() {
        errors.push(FieldError::forbidden(
            &path.field("namespace"),
            "not allowed on this type",
        ));
    }
    validate_labels_and_annotations(metadata, &path, errors);
    for (index, finalizer) in metadata.finalizers.iter().flatten().enumerate() {
        let at = path.field("finalizers").index(index);
        for message in names::qualified_name(finalizer) {
            errors.push(FieldError::invalid(&at, finalizer, message));
        }
        if !finalizer.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer.as_str()) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&at, finalizer, detail));
        }
    }
    validate_owners(metadata, &path.field("ownerReferences"), errors);
}

/// Checks the labels and annotations of an object or of a template.
pub fn validate_labels_and_annotations(metadata: &ObjectMeta, path: &FieldPath, errors: &mut ErrorList) {
    validate_labels(metadata.labels.as_ref(), &path.field("labels"), errors);
    let annotations = path.field("annotations");
    let mut size = 0;
    for (key, value) in metadata.annotations.iter().flatten() {
        size += key.len() + value.len();
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid(&annotations, key, message));
        }
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(&annotations, MAX_ANNOTATIONS));
    }
}

/// Checks a map of labels.
pub fn validate_labels(labels: Option<&BTreeMap<String, String>>, path: &FieldPath, errors: &mut ErrorList) {
    for (key, value) in labels.into_iter().flatten() {
        for message in names::qualified_name(key) {
            errors.push(FieldError::invalid(path, key, message));
        }
        for message in names::label_value(value) {
            errors.push(FieldError::invalid(path, value, message));
        }
    }
}

/// Checks a label selector (`ValidateLabelSelector`).
pub fn validate_selector(selector: &LabelSelector, path: &FieldPath, errors: &mut ErrorList) {
    validate_labels(selector.match_labels.as_ref(), &path.field("matchLabels"), errors);
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let at = path.field("matchExpressions").index(index);
        let has_values = requirement.values.as_ref().is_some_and(|values| !values.is_empty());
        match requirement.operator.as_str() {
            "In" | "NotIn" if !has_values => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&at.field("values"), detail));
            }
            "Exists" | "DoesNotExist" if has_values => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&at.field("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                &at.field("operator"),
                &other,
                "not a valid selector operator",
            )),
        }
        for message in names::qualified_name(&requirement.key) {
            errors.push(FieldError::invalid(&at.field("key"), &requirement.key, message));
        }
        for (place, value) in requirement.values.iter().flatten().enumerate() {
            for message in names::label_value(value) {
                errors.push(FieldError::invalid(&at.field("values").index(place), value, message));
            }
        }
    }
}

fn validate_name(kind: &Kind, metadata: &ObjectMeta, path: &FieldPath, errors: &mut ErrorList) {
    let check: fn(&str) -> Vec<String> = match kind.kind {
        "Namespace" => names::dns_label,
        // Relaxed to RFC 1123 only behind a gate.
        "Service" => names::dns_1035_label,
        _ if kind.group == "rbac.authorization.k8s.io" => names::path_segment,
        _ => names::dns_subdomain,
    };
    let name = metadata.name.as_deref().unwrap_or_default();
    let base = metadata.generate_name.as_deref().unwrap_or_default();
    if name.is_empty() && base.is_empty() {
        errors.push(FieldError::required(
            &path.field("name"),
            "name or generateName is required",
        ));
    } else if name.is_empty() {
        // Five random letters will follow, so a dash at the end is fine.
        for message in check(base.strip_suffix('-').unwrap_or(base)) {
            errors.push(FieldError::invalid(&path.field("generateName"), &base, message));
        }
    } else {
        for message in check(name) {
            errors.push(FieldError::invalid(&path.field("name"), &name, message));
        }
    }
}

fn validate_owners(metadata: &ObjectMeta, path: &FieldPath, errors: &mut ErrorList) {
    let mut controllers = 0;
    for (index, owner) in metadata.owner_references.iter().flatten().enumerate() {
        let at = path.index(index);
        for (field, value, text) in [
            ("apiVersion", &owner.api_version, "version must not be empty"),
            ("kind", &owner.kind, "must not be empty"),
            ("name", &owner.name, "must not be empty"),
            ("uid", &owner.uid, "must not be empty"),
        ] {
            if value.is_empty() {
                errors.push(FieldError::invalid(&at.field(field), value, text));
            }
        }
        controllers += usize::from(owner.controller == Some(true));
    }
    if controllers > 1 {
        let detail = "Only one reference can have Controller set to true";
        errors.push(FieldError::invalid(path, &metadata.owner_references, detail));
    }
}
