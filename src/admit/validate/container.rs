//! Containers of pods (V10 to V18, V24, V25, V34 to V38).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, ResourceRequirements, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource;

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::{env, names, probe, security, volume};
use crate::model::{Quantity, is_mountable_in_proc};

/// What a container's checks need to know of its pod.
pub struct Place<'a> {
    /// The names of the pod's volumes.
    pub volumes: &'a HashSet<&'a str>,
    /// Whether the pod has the host's network.
    pub host_network: bool,
    /// The pod's grace period in seconds.
    pub grace: i64,
    /// Whether the pod says for which system it is.
    pub names_os: bool,
}

/// Checks all containers of a pod.
pub fn validate_containers(spec: &PodSpec, place: &Place<'_>, path: &FieldPath, errors: &mut ErrorList) {
    let at = path.field("containers");
    if spec.containers.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    let mut seen = HashSet::new();
    let mut host_ports = HashSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let at = at.index(index);
        validate_container(container, place, &at, errors);
        if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
            errors.push(FieldError::duplicate(&at.field("name"), &container.name));
        }
        one_of(
            &container.restart_policy,
            &["Always", "OnFailure", "Never"],
            &at.field("restartPolicy"),
            errors,
        );
        validate_host_ports(container, &mut host_ports, &at, errors);
        probe::validate_hooks_and_probes(container, place, &at, errors);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let at = path.field("initContainers").index(index);
        validate_container(container, place, &at, errors);
        if !container.name.is_empty() && !seen.insert(container.name.as_str()) {
            errors.push(FieldError::duplicate(&at.field("name"), &container.name));
        }
        if container.restart_policy.as_deref() == Some("Always") {
            probe::validate_hooks_and_probes(container, place, &at, errors);
        } else {
            forbid_hooks_and_probes(container, &at, errors);
        }
    }
}

fn forbid_hooks_and_probes(container: &Container, path: &FieldPath, errors: &mut ErrorList) {
    for (field, is_set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if is_set {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(&path.field(field), detail));
        }
    }
}

/// Checks what containers of every sort have.
pub fn validate_container(container: &Container, place: &Place<'_>, path: &FieldPath, errors: &mut ErrorList) {
    validate_name_and_image(container, path, errors);
    one_of(
        &container.image_pull_policy,
        &["Always", "IfNotPresent", "Never"],
        &path.field("imagePullPolicy"),
        errors,
    );
    let message_policies = ["File", "FallbackToLogsOnError"];
    one_of(
        &container.termination_message_policy,
        &message_policies,
        &path.field("terminationMessagePolicy"),
        errors,
    );
    validate_ports(
        container.ports.as_deref().unwrap_or_default(),
        place,
        &path.field("ports"),
        errors,
    );
    env::validate_env(container, path, errors);
    let context = container.security_context.as_ref();
    validate_mounts(
        container.volume_mounts.as_deref().unwrap_or_default(),
        context.is_some_and(|context| context.privileged == Some(true)),
        place,
        &path.field("volumeMounts"),
        errors,
    );
    validate_restart_rules(container, path, errors);
    if let Some(resources) = &container.resources {
        validate_resources(resources, &path.field("resources"), errors);
    }
    if let Some(context) = &container.security_context {
        security::validate_container_context(context, &path.field("securityContext"), errors);
    }
}

/// The most rules and codes of a container (`validateContainerRestartPolicy`).
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;

fn validate_restart_rules(container: &Container, path: &FieldPath, errors: &mut ErrorList) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    let at = path.field("restartPolicyRules");
    if !rules.is_empty() && container.restart_policy.is_none() {
        let detail = "must specify restartPolicy when restart rules are used";
        errors.push(FieldError::required(&path.field("restartPolicy"), detail));
    }
    if rules.len() > MOST_RULES {
        errors.push(FieldError::too_many(&at, MOST_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index);
        if !["Restart", "RestartAllContainers"].contains(&rule.action.as_str()) {
            let actions = ["Restart", "RestartAllContainers"];
            errors.push(FieldError::not_supported(&at.field("action"), &rule.action, &actions));
        }
        let Some(codes) = &rule.exit_codes else {
            errors.push(FieldError::required(&at.field("exitCodes"), "must be specified"));
            continue;
        };
        let at = at.field("exitCodes");
        if !["In", "NotIn"].contains(&codes.operator.as_str()) {
            errors.push(FieldError::not_supported(
                &at.field("operator"),
                &codes.operator,
                &["In", "NotIn"],
            ));
        }
        match codes.values.iter().flatten().count() {
            0 => errors.push(FieldError::invalid(
                &at.field("values"),
                &codes.values,
                "must specify at least one value",
            )),
            count if count > MOST_CODES => errors.push(FieldError::too_many(&at.field("values"), MOST_CODES)),
            _ => {}
        }
    }
}

fn validate_name_and_image(container: &Container, path: &FieldPath, errors: &mut ErrorList) {
    if container.name.is_empty() {
        errors.push(FieldError::required(&path.field("name"), ""));
    } else {
        for message in names::dns_label(&container.name) {
            errors.push(FieldError::invalid(&path.field("name"), &container.name, message));
        }
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.push(FieldError::required(&path.field("image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            &path.field("image"),
            &image,
            "must not have leading or trailing whitespace",
        ));
    }
}

/// Checks that a text, where given, is one of several.
pub fn one_of(value: &Option<String>, supported: &[&str], path: &FieldPath, errors: &mut ErrorList) {
    if let Some(value) = value
        .as_deref()
        .filter(|value| !value.is_empty() && !supported.contains(value))
    {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

fn validate_ports(ports: &[ContainerPort], place: &Place<'_>, path: &FieldPath, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let at = path.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            for message in names::port_name(name) {
                errors.push(FieldError::invalid(&at.field("name"), &name, message));
            }
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.field("name"), &name));
            }
        }
        if port.container_port == 0 {
            errors.push(FieldError::required(&at.field("containerPort"), ""));
        } else if let Some(message) = names::port_number(port.container_port.into()) {
            errors.push(FieldError::invalid(
                &at.field("containerPort"),
                &port.container_port,
                message,
            ));
        }
        let host_port = port.host_port.unwrap_or_default();
        if host_port != 0 {
            if let Some(message) = names::port_number(host_port.into()) {
                errors.push(FieldError::invalid(&at.field("hostPort"), &host_port, message));
            }
            if place.host_network && host_port != port.container_port {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&at.field("hostPort"), &host_port, detail));
            }
        }
        // Upstream takes anything; here it would be opened somewhere else than is meant.
        let host_ip = port.host_ip.as_deref().unwrap_or_default();
        if !host_ip.is_empty() && host_ip.parse::<std::net::IpAddr>().is_err() {
            errors.push(FieldError::invalid(
                &at.field("hostIP"),
                &host_ip,
                super::service::NO_IP,
            ));
        }
        match port.protocol.as_deref().unwrap_or_default() {
            "" => errors.push(FieldError::required(&at.field("protocol"), "")),
            "TCP" | "UDP" | "SCTP" => {}
            other => errors.push(FieldError::not_supported(
                &at.field("protocol"),
                other,
                &["SCTP", "TCP", "UDP"],
            )),
        }
    }
}

fn validate_host_ports(container: &Container, seen: &mut HashSet<String>, path: &FieldPath, errors: &mut ErrorList) {
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let number = port.host_port.unwrap_or_default();
        let protocol = port.protocol.as_deref().unwrap_or_default();
        let place = format!("{protocol}/{}/{number}", port.host_ip.as_deref().unwrap_or_default());
        if number != 0 && !seen.insert(place.clone()) {
            errors.push(FieldError::duplicate(
                &path.field("ports").index(index).field("hostPort"),
                &place,
            ));
        }
    }
}

fn validate_mounts(
    mounts: &[VolumeMount],
    is_privileged: bool,
    place: &Place<'_>,
    path: &FieldPath,
    errors: &mut ErrorList,
) {
    let mut seen = HashSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let at = path.index(index);
        if mount.name.is_empty() {
            errors.push(FieldError::required(&at.field("name"), ""));
        } else if !place.volumes.contains(mount.name.as_str()) {
            errors.push(FieldError::not_found(&at.field("name"), &mount.name));
        }
        if mount.mount_path.is_empty() {
            errors.push(FieldError::required(&at.field("mountPath"), ""));
        } else if !seen.insert(mount.mount_path.as_str()) {
            errors.push(FieldError::invalid(
                &at.field("mountPath"),
                &mount.mount_path,
                "must be unique",
            ));
        }
        // Kubernetes takes it, and its runtimes refuse it.
        if mount.mount_path.trim_end_matches('/') != "/proc"
            && Path::new(&mount.mount_path).starts_with("/proc")
            && !is_mountable_in_proc(&mount.mount_path)
        {
            let why = "nothing can be mounted in /proc";
            errors.push(FieldError::invalid(&at.field("mountPath"), &mount.mount_path, why));
        }
        let sub_path = mount.sub_path.as_deref().unwrap_or_default();
        let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
        if !sub_path.is_empty() && !expression.is_empty() {
            errors.push(FieldError::invalid(
                &at.field("subPathExpr"),
                &expression,
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
        volume::validate_relative_path(sub_path, &at.field("subPath"), errors);
        volume::validate_relative_path(expression, &at.field("subPathExpr"), errors);
        validate_spreading(mount, is_privileged, &at, errors);
    }
}

/// What reaches beyond the mount itself (`validateMountPropagation`, `validateMountRecursiveReadOnly`).
fn validate_spreading(mount: &VolumeMount, is_privileged: bool, path: &FieldPath, errors: &mut ErrorList) {
    let at = path.field("mountPropagation");
    let propagation = mount.mount_propagation.as_deref().unwrap_or_default();
    let known = ["None", "HostToContainer", "Bidirectional"];
    one_of(&mount.mount_propagation, &known, &at, errors);
    if propagation == "Bidirectional" && !is_privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&at, detail));
    }
    let at = path.field("recursiveReadOnly");
    match mount.recursive_read_only.as_deref().unwrap_or_default() {
        "" | "Disabled" => {}
        "IfPossible" | "Enabled" => {
            if mount.read_only != Some(true) {
                errors.push(FieldError::forbidden(
                    &at,
                    "may only be specified when readOnly is true",
                ));
            }
            if !["", "None"].contains(&propagation) {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(&at, detail));
            }
        }
        _ => one_of(
            &mount.recursive_read_only,
            &["Disabled", "IfPossible", "Enabled"],
            &at,
            errors,
        ),
    }
}

/// Checks requests and limits.
pub(super) fn validate_resources(resources: &ResourceRequirements, path: &FieldPath, errors: &mut ErrorList) {
    let limits = quantities(resources.limits.as_ref(), &path.field("limits"), errors);
    let requests = quantities(resources.requests.as_ref(), &path.field("requests"), errors);
    for (name, (text, request)) in &requests {
        if is_extended(name) {
            extended(name, (*text, *request), limits.get(name), path, errors);
        } else if let Some((limit_text, _)) = limits.get(name).filter(|(_, limit)| request > limit) {
            let detail = format!("must be less than or equal to {name} limit of {limit_text}");
            errors.push(FieldError::invalid(&path.field("requests"), text, detail));
        }
    }
}

/// Whether a resource is none of Kubernetes' own (`IsExtendedResourceName`).
fn is_extended(name: &str) -> bool {
    let vendor = name.split_once('/').map(|(vendor, _)| vendor);
    vendor.is_some_and(|vendor| vendor != "kubernetes.io" && !vendor.ends_with(".kubernetes.io"))
}

/// Nobody gets more of such a resource at times: what is asked for is what is had.
fn extended(
    name: &str,
    (text, request): (&str, Quantity),
    limit: Option<&(&str, Quantity)>,
    path: &FieldPath,
    errors: &mut ErrorList,
) {
    match limit {
        None => {
            let detail = "Limit must be set for non overcommitable resources";
            errors.push(FieldError::required(&path.field("limits"), detail));
        }
        Some((limit_text, limit)) if request != *limit => {
            let detail = format!("must be equal to {name} limit of {limit_text}");
            errors.push(FieldError::invalid(&path.field("requests"), &text, detail));
        }
        Some(_) => {}
    }
}

type Quantities<'a> = BTreeMap<&'a str, (&'a str, Quantity)>;

fn quantities<'a>(
    list: Option<&'a BTreeMap<String, resource::Quantity>>,
    path: &FieldPath,
    errors: &mut ErrorList,
) -> Quantities<'a> {
    let mut read = Quantities::new();
    for (name, quantity) in list.into_iter().flatten() {
        let at = path.key(name);
        let is_standard =
            ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) || name.starts_with("hugepages-");
        if !name.contains('/') && !is_standard {
            errors.push(FieldError::invalid(
                &at,
                name,
                "must be a standard resource for containers",
            ));
        }
        match Quantity::parse(&quantity.0) {
            None => {
                let detail =
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                errors.push(FieldError::invalid(&at, &quantity.0, detail));
            }
            Some(value) => {
                if value < Quantity::ZERO {
                    errors.push(FieldError::invalid(
                        &at,
                        &quantity.0,
                        "must be greater than or equal to 0",
                    ));
                }
                if is_extended(name) && !value.is_whole() {
                    errors.push(FieldError::invalid(&at, &quantity.0, "must be an integer"));
                }
                read.insert(name, (&quantity.0, value));
            }
        }
    }
    read
}
