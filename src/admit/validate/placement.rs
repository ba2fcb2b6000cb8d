//! Where a pod may be put: affinity, spread, and the names of other hosts (`ValidateAffinity`, `validateTopologySpreadConstraints`,
//! `ValidateHostAliases`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Affinity, HostAlias, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec,
    TopologySpreadConstraint,
};

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use super::{meta, names};

const OPERATORS: [&str; 6] = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];

/// Checks all that a pod's spec says about where it may be, and about other hosts.
pub fn validate_placement(spec: &PodSpec, path: &FieldPath, errors: &mut ErrorList) {
    if let Some(affinity) = &spec.affinity {
        validate_affinity(affinity, &path.field("affinity"), errors);
    }
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        validate_spread(
            constraint,
            &path.field("topologySpreadConstraints").index(index),
            errors,
        );
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        validate_alias(alias, &path.field("hostAliases").index(index), errors);
    }
}

fn validate_affinity(affinity: &Affinity, path: &FieldPath, errors: &mut ErrorList) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    if let Some(node) = &affinity.node_affinity {
        let path = path.field("nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            validate_node_selector(required, &path.field(REQUIRED), errors);
        }
        let preferred = node.preferred_during_scheduling_ignored_during_execution.iter();
        for (index, term) in preferred.flatten().enumerate() {
            let at = path.field(PREFERRED).index(index);
            validate_weight(term.weight, &at, errors);
            validate_node_term(&term.preference, &at.field("preference"), errors);
        }
    }
    let both = [
        (
            "podAffinity",
            affinity.pod_affinity.as_ref().map(|of| {
                (
                    &of.required_during_scheduling_ignored_during_execution,
                    &of.preferred_during_scheduling_ignored_during_execution,
                )
            }),
        ),
        (
            "podAntiAffinity",
            affinity.pod_anti_affinity.as_ref().map(|of| {
                (
                    &of.required_during_scheduling_ignored_during_execution,
                    &of.preferred_during_scheduling_ignored_during_execution,
                )
            }),
        ),
    ];
    for (field, of) in both {
        let path = path.field(field);
        let Some((required, preferred)) = of else { continue };
        for (index, term) in required.iter().flatten().enumerate() {
            validate_pod_term(term, &path.field(REQUIRED).index(index), errors);
        }
        for (index, term) in preferred.iter().flatten().enumerate() {
            let at = path.field(PREFERRED).index(index);
            validate_weight(term.weight, &at, errors);
            validate_pod_term(&term.pod_affinity_term, &at.field("podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(weight: i32, path: &FieldPath, errors: &mut ErrorList) {
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(
            &path.field("weight"),
            &weight,
            "must be in the range 1-100",
        ));
    }
}

fn validate_node_selector(selector: &NodeSelector, path: &FieldPath, errors: &mut ErrorList) {
    let path = path.field("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        validate_node_term(term, &path.index(index), errors);
    }
}

fn validate_node_term(term: &NodeSelectorTerm, path: &FieldPath, errors: &mut ErrorList) {
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let at = path.field("matchExpressions").index(index);
        validate_requirement(requirement, &at, errors);
        for message in names::qualified_name(&requirement.key) {
            errors.push(FieldError::invalid(&at.field("key"), &requirement.key, message));
        }
    }
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        let at = path.field("matchFields").index(index);
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        if !["In", "NotIn"].contains(&requirement.operator.as_str()) {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(
                &at.field("operator"),
                &requirement.operator,
                detail,
            ));
        } else if values != 1 {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(&at.field("values"), detail));
        }
        if requirement.key != "metadata.name" {
            let detail = "not a valid field selector key";
            errors.push(FieldError::invalid(&at.field("key"), &requirement.key, detail));
        }
    }
}

fn validate_requirement(requirement: &NodeSelectorRequirement, path: &FieldPath, errors: &mut ErrorList) {
    let values = requirement.values.as_ref().map_or(0, Vec::len);
    let at = path.field("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values == 0 => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&at, detail));
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&at, detail));
        }
        "Gt" | "Lt" if values != 1 => {
            let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&at, detail));
        }
        known if OPERATORS.contains(&known) => {}
        other => {
            let detail = "not a valid selector operator";
            errors.push(FieldError::invalid(&path.field("operator"), &other, detail));
        }
    }
}

fn validate_pod_term(term: &PodAffinityTerm, path: &FieldPath, errors: &mut ErrorList) {
    for (field, selector) in [
        ("labelSelector", &term.label_selector),
        ("namespaceSelector", &term.namespace_selector),
    ] {
        if let Some(selector) = selector {
            meta::validate_selector(selector, &path.field(field), errors);
        }
    }
    for (index, namespace) in term.namespaces.iter().flatten().enumerate() {
        for message in names::dns_label(namespace) {
            errors.push(FieldError::invalid(
                &path.field("namespaces").index(index),
                namespace,
                message,
            ));
        }
    }
    let at = path.field("topologyKey");
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(&at, "can not be empty"));
    }
    validate_topology_key(&term.topology_key, &at, errors);
}

fn validate_topology_key(key: &str, path: &FieldPath, errors: &mut ErrorList) {
    for message in names::qualified_name(key) {
        errors.push(FieldError::invalid(path, &key, message));
    }
}

fn validate_spread(constraint: &TopologySpreadConstraint, path: &FieldPath, errors: &mut ErrorList) {
    let positive = |number: i32, field: &str, errors: &mut ErrorList| {
        if number <= 0 {
            errors.push(FieldError::invalid(
                &path.field(field),
                &number,
                "must be greater than zero",
            ));
        }
    };
    positive(constraint.max_skew, "maxSkew", errors);
    if let Some(least) = constraint.min_domains {
        positive(least, "minDomains", errors);
    }
    let key = path.field("topologyKey");
    if constraint.topology_key.is_empty() {
        errors.push(FieldError::required(&key, "can not be empty"));
    } else {
        validate_topology_key(&constraint.topology_key, &key, errors);
    }
    let action = constraint.when_unsatisfiable.as_str();
    if !["DoNotSchedule", "ScheduleAnyway"].contains(&action) {
        let at = path.field("whenUnsatisfiable");
        errors.push(FieldError::not_supported(
            &at,
            action,
            &["DoNotSchedule", "ScheduleAnyway"],
        ));
    }
    for (field, policy) in [
        ("nodeAffinityPolicy", &constraint.node_affinity_policy),
        ("nodeTaintsPolicy", &constraint.node_taints_policy),
    ] {
        if let Some(policy) = policy.as_deref().filter(|policy| !["Honor", "Ignore"].contains(policy)) {
            errors.push(FieldError::not_supported(
                &path.field(field),
                policy,
                &["Honor", "Ignore"],
            ));
        }
    }
    if let Some(selector) = &constraint.label_selector {
        meta::validate_selector(selector, &path.field("labelSelector"), errors);
    }
}

/// What stands here becomes lines of `/etc/hosts`.
fn validate_alias(alias: &HostAlias, path: &FieldPath, errors: &mut ErrorList) {
    if alias.ip.parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(&path.field("ip"), &alias.ip, detail));
    }
    for (index, name) in alias.hostnames.iter().flatten().enumerate() {
        for message in names::dns_subdomain(name) {
            errors.push(FieldError::invalid(
                &path.field("hostnames").index(index),
                name,
                message,
            ));
        }
    }
}
