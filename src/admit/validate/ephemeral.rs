//! Ephemeral containers (`validateEphemeralContainers`, `ValidatePodEphemeralContainersUpdate`).

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

use super::super::path::FieldPath;
use super::container::{Place, validate_container};
use super::errors::{ErrorList, FieldError};
use crate::model::as_container;

const NOT_HERE: &str = "cannot be set for an Ephemeral Container";

/// Checks a pod's ephemeral containers.
pub fn validate(spec: &PodSpec, place: &Place<'_>, path: &FieldPath, errors: &mut ErrorList) {
    let inits = spec.init_containers.iter().flatten();
    let others: HashSet<&str> = spec.containers.iter().chain(inits).map(|c| c.name.as_str()).collect();
    let mut seen = others.clone();
    for (index, ephemeral) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let at = path.field("ephemeralContainers").index(index);
        let container = as_container(ephemeral);
        validate_container(&container, place, &at, errors);
        if !ephemeral.name.is_empty() && !seen.insert(ephemeral.name.as_str()) {
            errors.push(FieldError::duplicate(&at.field("name"), &ephemeral.name));
        }
        let target = ephemeral.target_container_name.as_deref().unwrap_or_default();
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(&at.field("targetContainerName"), &target));
        }
        forbid_what_serves(&container, &at, errors);
    }
}

/// Nobody relies on a container that is not started again: it has no part in what the pod is for.
fn forbid_what_serves(container: &Container, path: &FieldPath, errors: &mut ErrorList) {
    let resources = container.resources.as_ref();
    let asks = |r: &k8s_openapi::api::core::v1::ResourceRequirements| {
        r.limits.iter().flatten().count() + r.requests.iter().flatten().count() + r.claims.iter().flatten().count() > 0
    };
    for (field, is_set) in [
        ("ports", container.ports.iter().flatten().count() > 0),
        ("resources", resources.is_some_and(asks)),
        ("resizePolicy", container.resize_policy.iter().flatten().count() > 0),
        ("restartPolicy", container.restart_policy.is_some()),
        (
            "restartPolicyRules",
            container.restart_policy_rules.iter().flatten().count() > 0,
        ),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ] {
        if is_set {
            errors.push(FieldError::forbidden(&path.field(field), NOT_HERE));
        }
    }
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = path.field("volumeMounts").index(index);
        for (field, text) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            if text.as_deref().is_some_and(|text| !text.is_empty()) {
                errors.push(FieldError::forbidden(&at.field(field), NOT_HERE));
            }
        }
    }
}

/// What may not have happened to ephemeral containers that were there: they stay as they are.
pub fn changes(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let at = FieldPath::of(&["spec", "ephemeralContainers"]);
    for before in list(old) {
        let why = match list(new).find(|now| now.name == before.name) {
            None => "removed",
            Some(now) if now != before => "changed",
            Some(_) => continue,
        };
        let detail = format!("existing ephemeral containers {:?} may not be {why}\n", before.name);
        errors.push(FieldError::forbidden(&at, detail));
    }
    errors
}

fn list(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    pod.spec
        .iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
}
