//! Pods and the templates of pods (V10 to V45).

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec, Toleration};

use super::super::path::FieldPath;
use super::container::{Place, validate_containers};
use super::errors::{ErrorList, FieldError};
use super::{ephemeral, meta, names, placement, resize, security, volume};

/// Checks a pod.
pub fn validate_pod(pod: &Pod, errors: &mut ErrorList) {
    let path = FieldPath::of(&["spec"]);
    let Some(spec) = &pod.spec else {
        errors.push(FieldError::required(&path.field("containers"), ""));
        return;
    };
    validate_pod_spec(spec, &path, errors);
}

/// Checks what a pod may not be born with.
pub fn validate_new_pod(pod: &Pod, errors: &mut ErrorList) {
    let ephemeral = pod
        .spec
        .iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    if ephemeral.count() > 0 {
        let at = FieldPath::of(&["spec", "ephemeralContainers"]);
        errors.push(FieldError::forbidden(&at, "cannot be set on create"));
    }
}

/// Checks the template of a workload whose pods are always restarted.
pub fn validate_template(template: &PodTemplateSpec, path: &FieldPath, errors: &mut ErrorList) {
    if let Some(metadata) = &template.metadata {
        meta::validate_labels_and_annotations(metadata, &path.field("metadata"), errors);
    }
    let at = path.field("spec");
    let Some(spec) = &template.spec else {
        errors.push(FieldError::required(&at.field("containers"), ""));
        return;
    };
    validate_pod_spec(spec, &at, errors);
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    if matches!(policy, "OnFailure" | "Never") {
        errors.push(FieldError::not_supported(
            &at.field("restartPolicy"),
            policy,
            &["Always"],
        ));
    }
    if spec.active_deadline_seconds.is_some() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden(&at.field("activeDeadlineSeconds"), detail));
    }
    if spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty()) {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&at.field("ephemeralContainers"), detail));
    }
}

fn validate_pod_spec(spec: &PodSpec, path: &FieldPath, errors: &mut ErrorList) {
    let volumes: HashSet<&str> = volume::validate_volumes(spec.volumes.as_deref().unwrap_or_default(), path, errors);
    let place = Place {
        volumes: &volumes,
        host_network: spec.host_network == Some(true),
        grace: spec.termination_grace_period_seconds.unwrap_or(30),
        names_os: spec.os.as_ref().is_some_and(|os| !os.name.is_empty()),
    };
    validate_containers(spec, &place, path, errors);
    ephemeral::validate(spec, &place, path, errors);
    validate_choices(spec, path, errors);
    validate_pod_names(spec, path, errors);
    if let Some(grace) = spec.termination_grace_period_seconds.filter(|grace| *grace < 0) {
        let at = path.field("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(&at, &grace, "must be greater than or equal to 0"));
    }
    if let Some(deadline) = spec
        .active_deadline_seconds
        .filter(|d| !(1..=i64::from(i32::MAX)).contains(d))
    {
        let at = path.field("activeDeadlineSeconds");
        errors.push(FieldError::invalid(
            &at,
            &deadline,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    resize::validate_policies(spec, path, errors);
    placement::validate_placement(spec, path, errors);
    if let Some(context) = &spec.security_context {
        security::validate_pod_context(context, &path.field("securityContext"), errors);
    }
    if spec.host_pid == Some(true) && spec.share_process_namespace == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        let at = path.field("shareProcessNamespace");
        errors.push(FieldError::invalid(&at, &true, detail));
    }
    for (index, toleration) in spec.tolerations.iter().flatten().enumerate() {
        validate_toleration(toleration, &path.field("tolerations").index(index), errors);
    }
}

fn validate_choices(spec: &PodSpec, path: &FieldPath, errors: &mut ErrorList) {
    let policy = spec.restart_policy.as_deref().unwrap_or_default();
    if policy.is_empty() {
        errors.push(FieldError::required(&path.field("restartPolicy"), ""));
    } else if !["Always", "OnFailure", "Never"].contains(&policy) {
        errors.push(FieldError::not_supported(
            &path.field("restartPolicy"),
            policy,
            &["Always", "OnFailure", "Never"],
        ));
    }
    const DNS: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    let dns = spec.dns_policy.as_deref().unwrap_or_default();
    let config = spec.dns_config.as_ref();
    let servers = config
        .and_then(|config| config.nameservers.as_ref())
        .map_or(0, Vec::len);
    if !dns.is_empty() && !DNS.contains(&dns) {
        errors.push(FieldError::not_supported(&path.field("dnsPolicy"), dns, &DNS));
    } else if dns == "None" && servers == 0 {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(
            &path.field("dnsConfig").field("nameservers"),
            detail,
        ));
    }
    if let Some(config) = config.filter(|_| servers > 3) {
        let at = path.field("dnsConfig").field("nameservers");
        errors.push(FieldError::invalid(
            &at,
            &config.nameservers,
            "must not have more than 3 nameservers",
        ));
    }
}

fn validate_pod_names(spec: &PodSpec, path: &FieldPath, errors: &mut ErrorList) {
    let subdomain: fn(&str) -> Vec<String> = names::dns_subdomain;
    for (field, value, check) in [
        ("serviceAccountName", &spec.service_account_name, subdomain),
        ("nodeName", &spec.node_name, subdomain),
        ("hostname", &spec.hostname, names::dns_label),
        ("subdomain", &spec.subdomain, names::dns_label),
    ] {
        let value = value.as_deref().unwrap_or_default();
        if !value.is_empty() {
            for message in check(value) {
                errors.push(FieldError::invalid(&path.field(field), &value, message));
            }
        }
    }
    meta::validate_labels(spec.node_selector.as_ref(), &path.field("nodeSelector"), errors);
}

/// Checks one toleration, of a pod or of a class that gives it.
pub(super) fn validate_toleration(toleration: &Toleration, path: &FieldPath, errors: &mut ErrorList) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, operator, effect) = (
        text(&toleration.key),
        text(&toleration.operator),
        text(&toleration.effect),
    );
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&path.field("operator"), &operator, detail));
    }
    if operator == "Exists" && !text(&toleration.value).is_empty() {
        let detail = "value must be empty when `operator` is 'Exists'";
        errors.push(FieldError::invalid(&path.field("operator"), &toleration.value, detail));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(&path.field("effect"), &effect, detail));
    }
    if !["", "Exists", "Equal", "Lt", "Gt"].contains(&operator.as_str()) {
        errors.push(FieldError::not_supported(
            &path.field("operator"),
            &operator,
            &["Equal", "Exists"],
        ));
    }
    if !["", "NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect.as_str()) {
        let supported = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        errors.push(FieldError::not_supported(&path.field("effect"), &effect, &supported));
    }
}
