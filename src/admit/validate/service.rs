//! Services (V61 to V63).

use std::collections::HashSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use super::super::path::FieldPath;
use super::container::one_of;
use super::errors::{ErrorList, FieldError};
use super::{meta, names, probe};
use crate::model::{NODE_PORTS, Object, list_at};

/// `IsValidIP`.
pub(super) const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// For how long clients may stay with their endpoint (`MaxClientIPServiceAffinitySeconds`).
const LONGEST_STAY: i32 = 86_400;

/// Checks a Service.
pub fn validate_service(service: &Service, path: &FieldPath, errors: &mut ErrorList) {
    let none = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&none);
    let kind = spec.type_.as_deref().unwrap_or_default();
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(&spec.type_, &kinds, &path.field("type"), errors);
    one_of(
        &spec.session_affinity,
        &["ClientIP", "None"],
        &path.field("sessionAffinity"),
        errors,
    );
    validate_stay(spec, &path.field("sessionAffinityConfig").field("clientIP"), errors);
    one_of(
        &spec.internal_traffic_policy,
        &["Cluster", "Local"],
        &path.field("internalTrafficPolicy"),
        errors,
    );
    one_of(
        &spec.external_traffic_policy,
        &["Cluster", "Local"],
        &path.field("externalTrafficPolicy"),
        errors,
    );
    validate_families(spec, path, errors);
    meta::validate_labels(spec.selector.as_ref(), &path.field("selector"), errors);
    let ports = spec.ports.as_deref().unwrap_or_default();
    let is_headless = spec.cluster_ip.as_deref() == Some("None");
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        errors.push(FieldError::required(&path.field("ports"), ""));
    }
    validate_ports(ports, kind, &path.field("ports"), errors);
    validate_addresses(spec, kind, path, errors);
}

/// `ValidateServiceClusterIPsRelatedFields`; whether the node has the families is asked when they are given.
fn validate_families(spec: &ServiceSpec, path: &FieldPath, errors: &mut ErrorList) {
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of(&spec.ip_family_policy, &policies, &path.field("ipFamilyPolicy"), errors);
    let at = path.field("ipFamilies");
    let families = spec.ip_families.as_deref().unwrap_or_default();
    if families.len() > 2 {
        errors.push(FieldError::invalid(&at, &families, "may only hold up to 2 values"));
    }
    for (index, family) in families.iter().enumerate() {
        if !["IPv4", "IPv6"].contains(&family.as_str()) {
            errors.push(FieldError::not_supported(&at.index(index), family, &["IPv4", "IPv6"]));
        } else if families[..index].contains(family) {
            errors.push(FieldError::duplicate(&at.index(index), family));
        }
    }
    let addresses = spec.cluster_ips.as_deref().unwrap_or_default();
    if addresses.len() > 2 {
        let at = path.field("clusterIPs");
        errors.push(FieldError::invalid(&at, &addresses, "may only hold up to 2 values"));
    }
    let is_v4 = |ip: &String| ip.parse::<IpAddr>().map(|ip| ip.is_ipv4()).ok();
    if let [first, second] = addresses {
        let at = path.field("clusterIPs");
        if second == "None" || first == "None" {
            let detail = "'None' must be the first and only value";
            errors.push(FieldError::invalid(&at.index(1), second, detail));
        } else if is_v4(second).is_none() {
            errors.push(FieldError::invalid(&at.index(1), second, NO_IP));
        } else if is_v4(first) == is_v4(second) {
            let detail = "may specify no more than one IP for each IP family";
            errors.push(FieldError::invalid(&at, &addresses, detail));
        }
    }
    for (index, (family, ip)) in families.iter().zip(addresses).enumerate() {
        let is_other = ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4() != (family == "IPv4"));
        if is_other {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(FieldError::invalid(&path.field("clusterIPs").index(index), ip, detail));
        }
    }
}

fn validate_addresses(spec: &ServiceSpec, kind: &str, path: &FieldPath, errors: &mut ErrorList) {
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let first = spec.cluster_ips.as_ref().and_then(|ips| ips.first());
    if let Some(first) = first.filter(|first| *first != ip) {
        errors.push(FieldError::invalid(
            &path.field("clusterIPs"),
            first,
            "first value must match `clusterIP`",
        ));
    }
    if !matches!(ip, "" | "None") && ip.parse::<IpAddr>().is_err() {
        errors.push(FieldError::invalid(&path.field("clusterIPs").index(0), &ip, NO_IP));
    }
    if ip == "None" && matches!(kind, "NodePort" | "LoadBalancer") {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid(&path.field("clusterIPs").index(0), &ip, detail));
    }
    for (index, ip) in spec.external_ips.iter().flatten().enumerate() {
        if let Some(detail) = external_ip(ip) {
            errors.push(FieldError::invalid(&path.field("externalIPs").index(index), ip, detail));
        }
    }
    if kind == "ExternalName" {
        let name = spec.external_name.as_deref().unwrap_or_default();
        if name.is_empty() {
            errors.push(FieldError::required(&path.field("externalName"), ""));
        } else {
            for message in names::dns_subdomain(name.strip_suffix('.').unwrap_or(name)) {
                errors.push(FieldError::invalid(&path.field("externalName"), &name, message));
            }
        }
        if !ip.is_empty() {
            let detail = "may not be set when `type` is 'ExternalName'";
            errors.push(FieldError::forbidden(&path.field("clusterIPs"), detail));
        }
        let has = [
            (
                "ipFamilies",
                spec.ip_families.as_ref().is_some_and(|all| !all.is_empty()),
            ),
            ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
        ];
        for (field, _) in has.into_iter().filter(|(_, is_set)| *is_set) {
            let detail = "may not be set for ExternalName services";
            errors.push(FieldError::forbidden(&path.field(field), detail));
        }
    }
}

/// What is wrong with an address that is to lead to a Service (`ValidateNonSpecialIP`).
fn external_ip(ip: &str) -> Option<&'static str> {
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return Some(NO_IP);
    };
    // An address of IPv4 that is written as one of IPv6 is that one.
    let ip = ip.to_canonical();
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() {
        Some("may not be unspecified (0.0.0.0 or ::)")
    } else if ip.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else {
        is_link_local.then_some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    }
}

/// Checks the numbers that a Service asks for by itself against those of others (`portallocator.Allocate`).
pub fn check_node_ports(service: &Object, others: impl IntoIterator<Item = impl AsRef<Object>>) -> ErrorList {
    let ports = |service: &Object| -> Vec<(usize, i64)> {
        let ports = list_at(service.value(), "/spec/ports").iter().enumerate();
        let asked = ports.filter_map(|(index, port)| Some((index, port["nodePort"].as_i64()?)));
        asked.filter(|(_, number)| *number != 0).collect()
    };
    let others = others.into_iter().filter(|other| other.as_ref().key() != service.key());
    let taken: HashSet<i64> = others
        .flat_map(|other| ports(other.as_ref()))
        .map(|(_, number)| number)
        .collect();
    let mut errors = ErrorList::default();
    for (index, number) in ports(service).into_iter().filter(|(_, number)| taken.contains(number)) {
        let at = FieldPath::of(&["spec", "ports"]).index(index).field("nodePort");
        errors.push(FieldError::invalid(&at, &number, "provided port is already allocated"));
    }
    errors
}

fn validate_node_port(port: &ServicePort, kind: &str, at: &FieldPath, errors: &mut ErrorList) {
    let number = port.node_port.unwrap_or_default();
    let (first, last) = NODE_PORTS;
    if number == 0 {
        return;
    }
    if matches!(kind, "ClusterIP" | "ExternalName") {
        let detail = format!("may not be used when `type` is '{kind}'");
        errors.push(FieldError::forbidden(at, detail));
    } else if !(i32::from(first)..=i32::from(last)).contains(&number) {
        let detail = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
        errors.push(FieldError::invalid(at, &number, detail));
    }
}

fn validate_ports(ports: &[ServicePort], kind: &str, path: &FieldPath, errors: &mut ErrorList) {
    let (mut seen_names, mut seen_ports, mut seen_node_ports) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let at = path.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(&at.field("name"), ""));
            }
        } else {
            for message in names::dns_label(name) {
                errors.push(FieldError::invalid(&at.field("name"), &name, message));
            }
            if !seen_names.insert(name) {
                errors.push(FieldError::duplicate(&at.field("name"), &name));
            }
        }
        if let Some(message) = names::port_number(port.port.into()) {
            errors.push(FieldError::invalid(&at.field("port"), &port.port, message));
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        one_of(&port.protocol, &["SCTP", "TCP", "UDP"], &at.field("protocol"), errors);
        if !seen_ports.insert((protocol, port.port)) {
            errors.push(FieldError::duplicate(&at, port));
        }
        if let Some(target) = &port.target_port {
            probe::validate_port(target, &at.field("targetPort"), errors);
        }
        let node_port = port.node_port.unwrap_or_default();
        validate_node_port(port, kind, &at.field("nodePort"), errors);
        if node_port != 0 && !seen_node_ports.insert((protocol, node_port)) {
            errors.push(FieldError::duplicate(&at.field("nodePort"), &node_port));
        }
    }
}

/// Checks a Service's change: an address stays once it is given.
pub fn validate_service_update(new: &Service, old: &Service, errors: &mut ErrorList) {
    let spec = |service: &Service| service.spec.clone().unwrap_or_default();
    let (new, old) = (spec(new), spec(old));
    let is_external = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
    if is_external(&new) || is_external(&old) {
        return;
    }
    let (new_ip, old_ip) = (
        new.cluster_ip.clone().unwrap_or_default(),
        old.cluster_ip.clone().unwrap_or_default(),
    );
    if !old_ip.is_empty() && new_ip != old_ip {
        let at = FieldPath::of(&["spec", "clusterIPs"]).index(0);
        errors.push(FieldError::invalid(&at, &new_ip, "may not change once set"));
        return;
    }
    let is_single = new.ip_family_policy.as_deref() == Some("SingleStack");
    let changes = [
        ("clusterIPs", "clusterIP", &new.cluster_ips, &old.cluster_ips),
        ("ipFamilies", "ipFamily", &new.ip_families, &old.ip_families),
    ];
    for (field, one, new, old) in changes {
        let lists = (new.as_deref().unwrap_or_default(), old.as_deref().unwrap_or_default());
        validate_kept(&FieldPath::of(&["spec", field]), one, lists, is_single, errors);
    }
}

/// Checks the change of a list that has one entry of each family (`validateUpgradeDowngradeClusterIPs`,
/// `validateUpgradeDowngradeIPFamilies`): what is in it stays, but the second one may come and go with the policy.
fn validate_kept(
    path: &FieldPath,
    one: &str,
    (new, old): (&[String], &[String]),
    is_single: bool,
    errors: &mut ErrorList,
) {
    // What is not said is taken over, or given.
    if new.is_empty() || old.is_empty() {
        return;
    }
    for (index, (new_one, old_one)) in new.iter().zip(old).enumerate() {
        // The policy takes the second one.
        let is_released = index > 0 && is_single;
        if new_one != old_one && !is_released {
            errors.push(FieldError::invalid(&path.index(index), &new, "may not change once set"));
        }
    }
    if new.len() == 1 && old.len() > 1 && !is_single {
        let detail = format!("`ipFamilyPolicy` must be set to 'SingleStack' when releasing the secondary {one}");
        errors.push(FieldError::invalid(&path.index(0), &new, detail));
    }
}

fn validate_stay(spec: &ServiceSpec, path: &FieldPath, errors: &mut ErrorList) {
    let config = spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    if let Some(seconds) = seconds.filter(|seconds| !(1..=LONGEST_STAY).contains(seconds)) {
        let detail = format!("must be greater than 0 and less than {LONGEST_STAY}");
        errors.push(FieldError::invalid(&path.field("timeoutSeconds"), &seconds, detail));
    }
}
