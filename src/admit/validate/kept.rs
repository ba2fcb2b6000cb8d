//! Kinds that have no type of their own here: roles, priorities, autoscalers, budgets, events, quotas (`pkg/apis/{rbac,scheduling,
//! autoscaling,policy,core}/validation`). Read by their fields, which the table of types has checked.

use serde_json::Value;

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::names;
use crate::model::{Kind, Quantity, list_at, text_at};

/// What a PriorityClass of somebody's own may say at most (`scheduling.HighestUserDefinablePriority`).
const HIGHEST_PRIORITY: i64 = 1_000_000_000;

/// Checks an object of one of these kinds.
pub fn validate_kept(kind: &Kind, object: &Value, errors: &mut ErrorList) {
    match kind.kind {
        "Role" | "ClusterRole" => validate_rules(kind, object, errors),
        "RoleBinding" | "ClusterRoleBinding" => validate_binding(kind, object, errors),
        "PriorityClass" => validate_priority(object, errors),
        "HorizontalPodAutoscaler" => validate_autoscaler(object, errors),
        "PodDisruptionBudget" => validate_budget(object, errors),
        "ResourceQuota" => validate_quota(object, errors),
        _ => {}
    }
}

/// Checks that an object of one of these kinds may become another.
pub fn validate_kept_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    match text_at(new, "/kind") {
        "RoleBinding" | "ClusterRoleBinding" if new.get("roleRef") != old.get("roleRef") => {
            let at = FieldPath::of(&["roleRef"]);
            errors.push(FieldError::invalid(&at, &new.get("roleRef"), "cannot change roleRef"));
        }
        "PriorityClass" if new.get("value") != old.get("value") => {
            let at = FieldPath::of(&["value"]);
            errors.push(FieldError::forbidden(&at, "may not be changed in an update."));
        }
        _ => {}
    }
}

fn validate_rules(kind: &Kind, role: &Value, errors: &mut ErrorList) {
    let has = |rule: &Value, field: &str| !list_at(rule, &format!("/{field}")).is_empty();
    for (index, rule) in list_at(role, "/rules").iter().enumerate() {
        let at = FieldPath::of(&["rules"]).index(index);
        if !has(rule, "verbs") {
            errors.push(FieldError::required(
                &at.field("verbs"),
                "verbs must contain at least one value",
            ));
        }
        if has(rule, "nonResourceURLs") {
            let urls = at.field("nonResourceURLs");
            if kind.namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&urls, &rule.get("nonResourceURLs"), detail));
            }
            if ["apiGroups", "resources", "resourceNames"]
                .iter()
                .any(|field| has(rule, field))
            {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&urls, &rule.get("nonResourceURLs"), detail));
            }
            continue;
        }
        if !has(rule, "apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&at.field("apiGroups"), detail));
        }
        if !has(rule, "resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&at.field("resources"), detail));
        }
    }
}

fn validate_binding(kind: &Kind, binding: &Value, errors: &mut ErrorList) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let at = FieldPath::of(&["roleRef"]);
    let group = text_at(binding, "/roleRef/apiGroup");
    // What is left out is the only group there is, by default.
    if !["", GROUP].contains(&group) {
        errors.push(FieldError::not_supported(&at.field("apiGroup"), group, &[GROUP]));
    }
    let roles: &[&str] = if kind.namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    let role = text_at(binding, "/roleRef/kind");
    if !roles.contains(&role) {
        errors.push(FieldError::not_supported(&at.field("kind"), role, roles));
    }
    let name = text_at(binding, "/roleRef/name");
    if name.is_empty() {
        errors.push(FieldError::required(&at.field("name"), ""));
    } else {
        for message in names::path_segment(name) {
            errors.push(FieldError::invalid(&at.field("name"), &name, message));
        }
    }
    for (index, subject) in list_at(binding, "/subjects").iter().enumerate() {
        validate_subject(subject, &FieldPath::of(&["subjects"]).index(index), errors);
    }
}

fn validate_subject(subject: &Value, path: &FieldPath, errors: &mut ErrorList) {
    const KINDS: [&str; 3] = ["ServiceAccount", "User", "Group"];
    let text = |field: &str| text_at(subject, &format!("/{field}"));
    if text("name").is_empty() {
        errors.push(FieldError::required(&path.field("name"), ""));
    }
    match text("kind") {
        "ServiceAccount" => {
            if !text("name").is_empty() {
                for message in names::dns_subdomain(text("name")) {
                    errors.push(FieldError::invalid(&path.field("name"), &text("name"), message));
                }
            }
            if !text("apiGroup").is_empty() {
                errors.push(FieldError::not_supported(
                    &path.field("apiGroup"),
                    text("apiGroup"),
                    &[""],
                ));
            }
            if text("namespace").is_empty() {
                errors.push(FieldError::required(&path.field("namespace"), ""));
            }
        }
        "User" | "Group" => {}
        other => errors.push(FieldError::not_supported(&path.field("kind"), other, &KINDS)),
    }
}

fn validate_priority(class: &Value, errors: &mut ErrorList) {
    let value = class.get("value").and_then(Value::as_i64).unwrap_or(0);
    let is_system = text_at(class, "/metadata/name").starts_with("system-");
    if is_system {
        let detail = "priority class names with 'system-' prefix are reserved for system use only";
        errors.push(FieldError::forbidden(&FieldPath::of(&["metadata", "name"]), detail));
    } else if value > HIGHEST_PRIORITY {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}");
        errors.push(FieldError::forbidden(&FieldPath::of(&["value"]), detail));
    }
    let policy = text_at(class, "/preemptionPolicy");
    if !["", "PreemptLowerPriority", "Never"].contains(&policy) {
        let at = FieldPath::of(&["preemptionPolicy"]);
        errors.push(FieldError::not_supported(
            &at,
            policy,
            &["PreemptLowerPriority", "Never"],
        ));
    }
}

fn validate_autoscaler(scaler: &Value, errors: &mut ErrorList) {
    let spec = FieldPath::of(&["spec"]);
    let number = |field: &str| scaler.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
    let (least, most) = (number("minReplicas"), number("maxReplicas").unwrap_or(0));
    if let Some(least) = least.filter(|least| *least < 1) {
        let at = spec.field("minReplicas");
        errors.push(FieldError::invalid(&at, &least, "must be greater than or equal to 1"));
    }
    if most < 1 {
        errors.push(FieldError::invalid(
            &spec.field("maxReplicas"),
            &most,
            "must be greater than 0",
        ));
    }
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&spec.field("maxReplicas"), &most, detail));
    }
    for field in ["kind", "name"] {
        if text_at(scaler, &format!("/spec/scaleTargetRef/{field}")).is_empty() {
            errors.push(FieldError::required(&spec.field("scaleTargetRef").field(field), ""));
        }
    }
}

fn validate_budget(budget: &Value, errors: &mut ErrorList) {
    let spec = FieldPath::of(&["spec"]);
    let of = |field: &str| budget.pointer(&format!("/spec/{field}"));
    if of("minAvailable").is_some() && of("maxUnavailable").is_some() {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(&spec, &budget.get("spec"), detail));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let Some(value) = of(field) else { continue };
        let at = spec.field(field);
        if value.as_i64().is_some_and(|number| number < 0) {
            errors.push(FieldError::invalid(&at, value, "must be greater than or equal to 0"));
        }
        let Some(text) = value.as_str() else { continue };
        match text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok()) {
            None => {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                              regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(&at, &text, detail));
            }
            Some(percent) if percent > 100 => {
                errors.push(FieldError::invalid(&at, &text, "must not be greater than 100%"));
            }
            Some(_) => {}
        }
    }
}

fn validate_quota(quota: &Value, errors: &mut ErrorList) {
    let hard = quota.pointer("/spec/hard").and_then(Value::as_object);
    for (resource, amount) in hard.into_iter().flatten() {
        let text = amount.as_str().map_or_else(|| amount.to_string(), str::to_owned);
        let at = FieldPath::of(&["spec", "hard"]).key(resource);
        match Quantity::parse(&text) {
            None => {
                let detail =
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                errors.push(FieldError::invalid(&at, &text, detail));
            }
            Some(_) if text.starts_with('-') => {
                errors.push(FieldError::invalid(&at, &text, "must be greater than or equal to 0"));
            }
            Some(_) => {}
        }
    }
}
