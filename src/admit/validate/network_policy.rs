//! NetworkPolicies (`ValidateNetworkPolicySpec`).

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::super::path::FieldPath;
use super::container::one_of;
use super::errors::{ErrorList, FieldError};
use super::{meta, names};

/// `IsValidCIDR`.
const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Checks a policy.
pub fn validate_policy(policy: &NetworkPolicy, path: &FieldPath, errors: &mut ErrorList) {
    let Some(spec) = &policy.spec else { return };
    if let Some(selector) = &spec.pod_selector {
        meta::validate_selector(selector, &path.field("podSelector"), errors);
    }
    for (index, rule) in spec.ingress.iter().flatten().enumerate() {
        let at = path.field("ingress").index(index);
        validate_ports(rule.ports.as_deref().unwrap_or_default(), &at, errors);
        validate_peers(rule.from.as_deref().unwrap_or_default(), &at.field("from"), errors);
    }
    for (index, rule) in spec.egress.iter().flatten().enumerate() {
        let at = path.field("egress").index(index);
        validate_ports(rule.ports.as_deref().unwrap_or_default(), &at, errors);
        validate_peers(rule.to.as_deref().unwrap_or_default(), &at.field("to"), errors);
    }
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let at = path.field("policyTypes");
    if types.len() > 2 {
        errors.push(FieldError::invalid(
            &at,
            &types,
            "may not specify more than two policyTypes",
        ));
        return;
    }
    for (index, kind) in types.iter().enumerate() {
        if !matches!(kind.as_str(), "Ingress" | "Egress") {
            errors.push(FieldError::not_supported(
                &at.index(index),
                kind,
                &["Egress", "Ingress"],
            ));
        }
    }
}

fn validate_ports(ports: &[NetworkPolicyPort], rule: &FieldPath, errors: &mut ErrorList) {
    for (index, port) in ports.iter().enumerate() {
        let at = rule.field("ports").index(index);
        one_of(&port.protocol, &["SCTP", "TCP", "UDP"], &at.field("protocol"), errors);
        let end = at.field("endPort");
        match (&port.port, port.end_port) {
            (Some(IntOrString::Int(first)), last) => {
                if let Some(message) = names::port_number((*first).into()) {
                    errors.push(FieldError::invalid(&at.field("port"), first, message));
                }
                if let Some(last) = last {
                    if last < *first {
                        errors.push(FieldError::invalid(
                            &end,
                            &last,
                            "must be greater than or equal to `port`",
                        ));
                    }
                    if let Some(message) = names::port_number(last.into()) {
                        errors.push(FieldError::invalid(&end, &last, message));
                    }
                }
            }
            (Some(IntOrString::String(name)), last) => {
                for message in names::port_name(name) {
                    errors.push(FieldError::invalid(&at.field("port"), name, message));
                }
                if let Some(last) = last {
                    let detail = "may not be specified when `port` is non-numeric";
                    errors.push(FieldError::invalid(&end, &last, detail));
                }
            }
            (None, Some(last)) => {
                errors.push(FieldError::invalid(
                    &end,
                    &last,
                    "may not be specified when `port` is not specified",
                ));
            }
            (None, None) => {}
        }
    }
}

fn validate_peers(peers: &[NetworkPolicyPeer], path: &FieldPath, errors: &mut ErrorList) {
    for (index, peer) in peers.iter().enumerate() {
        let at = path.index(index);
        let selectors = [
            ("podSelector", &peer.pod_selector),
            ("namespaceSelector", &peer.namespace_selector),
        ];
        for (name, selector) in selectors {
            if let Some(selector) = selector {
                meta::validate_selector(selector, &at.field(name), errors);
            }
        }
        if let Some(block) = &peer.ip_block {
            validate_block(block, &at.field("ipBlock"), errors);
        }
        let has_selector = selectors.iter().any(|(_, selector)| selector.is_some());
        if peer.ip_block.is_some() && has_selector {
            errors.push(FieldError::forbidden(
                &at,
                "may not specify both ipBlock and another peer",
            ));
        } else if peer.ip_block.is_none() && !has_selector {
            errors.push(FieldError::required(&at, "must specify a peer"));
        }
    }
}

fn validate_block(block: &IPBlock, path: &FieldPath, errors: &mut ErrorList) {
    if block.cidr.is_empty() {
        errors.push(FieldError::required(&path.field("cidr"), ""));
        return;
    }
    let Some(whole) = read(&block.cidr) else {
        errors.push(FieldError::invalid(&path.field("cidr"), &block.cidr, NO_CIDR));
        return;
    };
    for (index, except) in block.except.iter().flatten().enumerate() {
        let at = path.field("except").index(index);
        match read(except) {
            None => errors.push(FieldError::invalid(&at, except, NO_CIDR)),
            Some(part) if !is_strictly_inside(part, whole) => {
                errors.push(FieldError::invalid(&at, except, "must be a strict subset of `cidr`"));
            }
            Some(_) => {}
        }
    }
}

/// A block's first address and how many bits all of its addresses share.
fn read(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix): (IpAddr, u32) = (address.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

fn is_strictly_inside(part: (IpAddr, u32), whole: (IpAddr, u32)) -> bool {
    let shares = match (part.0, whole.0) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    part.1 > whole.1 && shares >= whole.1
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(spec: Value) -> Vec<String> {
        let policy = json!({"metadata": {"name": "p"}, "spec": spec});
        let policy = serde_json::from_value(policy).expect("is of the type");
        let mut errors = ErrorList::default();
        validate_policy(&policy, &FieldPath::of(&["spec"]), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_upstream_takes_is_taken() {
        let spec = json!({"podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}, {"from": [{"podSelector": {}, "namespaceSelector": {}},
                {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}, {"ipBlock": {"cidr": "fd00::/8"}}]}],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": "http"}, {"port": 1, "endPort": 65535}, {"protocol": "SCTP"}]}]});
        assert_eq!(errors(spec), Vec::<String>::new());
    }

    #[test]
    fn what_upstream_refuses_is_refused_in_its_words() {
        let from = |peer: Value| json!({"ingress": [{"from": [peer]}]});
        let port = |port: Value| json!({"egress": [{"ports": [port]}]});
        for (spec, expected) in [
            (
                json!({"policyTypes": ["In"]}),
                "spec.policyTypes[0]: Unsupported value: \"In\": supported values: \"Egress\", \"Ingress\"",
            ),
            (
                from(json!({})),
                "spec.ingress[0].from[0]: Required value: must specify a peer",
            ),
            (
                from(json!({"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}})),
                "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
            ),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}})),
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
            ),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}})),
                "spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
            ),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0"}})),
                "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ),
            (
                port(json!({"port": 0})),
                "spec.egress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (
                port(json!({"port": 9, "endPort": 8})),
                "spec.egress[0].ports[0].endPort: Invalid value: 8: must be greater than or equal to `port`",
            ),
            (
                port(json!({"port": "http", "endPort": 8})),
                "spec.egress[0].ports[0].endPort: Invalid value: 8: may not be specified when `port` is non-numeric",
            ),
            (
                port(json!({"protocol": "ICMP"})),
                "spec.egress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ),
        ] {
            assert_eq!(errors(spec), [expected]);
        }
    }
}
