//! Deployments and ReplicaSets (V49 to V56).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::{meta, pod};
use crate::model;

/// Checks a Deployment.
pub fn validate_deployment(deployment: &Deployment, errors: &mut ErrorList) {
    let (spec, path) = (&deployment.spec, FieldPath::of(&["spec"]));
    not_negative(spec.replicas, &path.field("replicas"), errors);
    validate_workload_selector(&spec.selector, Some(&spec.template), &path, errors);
    pod::validate_template(&spec.template, &path.field("template"), errors);
    if let Some(strategy) = &spec.strategy {
        validate_strategy(strategy, &path.field("strategy"), errors);
    }
    not_negative(spec.min_ready_seconds, &path.field("minReadySeconds"), errors);
    not_negative(spec.revision_history_limit, &path.field("revisionHistoryLimit"), errors);
    if let Some(deadline) = spec.progress_deadline_seconds {
        let at = path.field("progressDeadlineSeconds");
        not_negative(Some(deadline), &at, errors);
        if deadline <= spec.min_ready_seconds.unwrap_or_default() {
            errors.push(FieldError::invalid(
                &at,
                &deadline,
                "must be greater than minReadySeconds",
            ));
        }
    }
}

/// Checks a ReplicaSet.
pub fn validate_replica_set(set: &ReplicaSet, errors: &mut ErrorList) {
    let (spec, path) = (&set.spec, FieldPath::of(&["spec"]));
    not_negative(spec.replicas, &path.field("replicas"), errors);
    not_negative(spec.min_ready_seconds, &path.field("minReadySeconds"), errors);
    validate_workload_selector(&spec.selector, spec.template.as_ref(), &path, errors);
    match &spec.template {
        None => errors.push(FieldError::required(&path.field("template"), "")),
        Some(template) => pod::validate_template(template, &path.field("template"), errors),
    }
}

/// Checks that the selector stays: pods of the old one would be nobody's.
pub fn validate_selector_update(new: &LabelSelector, old: &LabelSelector, errors: &mut ErrorList) {
    if new != old {
        errors.push(FieldError::invalid(
            &FieldPath::of(&["spec", "selector"]),
            new,
            "field is immutable",
        ));
    }
}

fn validate_workload_selector(
    selector: &LabelSelector,
    template: Option<&PodTemplateSpec>,
    path: &FieldPath,
    errors: &mut ErrorList,
) {
    let at = path.field("selector");
    meta::validate_selector(selector, &at, errors);
    let is_empty = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if is_empty {
        // The types do not tell an empty selector from a missing one; both select nothing that a workload may own.
        errors.push(FieldError::required(&at, ""));
        return;
    }
    let Ok(selector) = model::LabelSelector::from_json(&serde_json::to_value(selector).unwrap_or_default()) else {
        // An operator that does not exist has been reported.
        return;
    };
    let none = BTreeMap::new();
    let labels = template
        .and_then(|template| template.metadata.as_ref()?.labels.as_ref())
        .unwrap_or(&none);
    if !selector.matches(
        &labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
    ) {
        let at = path.field("template").field("metadata").field("labels");
        errors.push(FieldError::invalid(
            &at,
            labels,
            "`selector` does not match template `labels`",
        ));
    }
}

fn validate_strategy(strategy: &DeploymentStrategy, path: &FieldPath, errors: &mut ErrorList) {
    let at = path.field("rollingUpdate");
    match strategy.type_.as_deref().unwrap_or_default() {
        "Recreate" => {
            if strategy.rolling_update.is_some() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(FieldError::forbidden(&at, detail));
            }
        }
        "RollingUpdate" => {
            let Some(rolling) = &strategy.rolling_update else {
                return;
            };
            let surge = validate_share(rolling.max_surge.as_ref(), &at.field("maxSurge"), errors);
            let unavailable_at = at.field("maxUnavailable");
            let unavailable = validate_share(rolling.max_unavailable.as_ref(), &unavailable_at, errors);
            if surge == Some(0) && unavailable == Some(0) {
                errors.push(FieldError::invalid(
                    &unavailable_at,
                    &rolling.max_unavailable,
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
            if matches!(rolling.max_unavailable, Some(IntOrString::String(_)))
                && unavailable.is_some_and(|share| share > 100)
            {
                errors.push(FieldError::invalid(
                    &unavailable_at,
                    &rolling.max_unavailable,
                    "must not be greater than 100%",
                ));
            }
        }
        other => errors.push(FieldError::not_supported(
            &path.field("type"),
            other,
            &["Recreate", "RollingUpdate"],
        )),
    }
}

/// Checks a number or a percentage, and returns it if it is one.
fn validate_share(share: Option<&IntOrString>, path: &FieldPath, errors: &mut ErrorList) -> Option<i32> {
    match share? {
        IntOrString::Int(number) => {
            not_negative(Some(*number), path, errors);
            Some(*number)
        }
        IntOrString::String(text) => {
            let digits = text
                .strip_suffix('%')
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
            let percent = digits.and_then(|digits| digits.parse().ok());
            if percent.is_none() {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                              regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(path, text, detail));
            }
            percent
        }
    }
}

fn not_negative(value: Option<i32>, path: &FieldPath, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.push(FieldError::invalid(path, &value, "must be greater than or equal to 0"));
    }
}
