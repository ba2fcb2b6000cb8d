//! Endpoints and EndpointSlices (`ValidateEndpoints`, `ValidateEndpointSlice`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::super::path::FieldPath;
use super::container::one_of;
use super::errors::{ErrorList, FieldError};
use super::names;

/// The most of a slice (`maxEndpoints`, `maxAddresses`, `maxPorts`).
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Checks an Endpoints object.
pub fn validate_endpoints(endpoints: &Endpoints, errors: &mut ErrorList) {
    for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
        let at = FieldPath::of(&["subsets"]).index(index);
        let lists = [
            ("addresses", &subset.addresses),
            ("notReadyAddresses", &subset.not_ready_addresses),
        ];
        for (name, list) in lists {
            for (index, address) in list.iter().flatten().enumerate() {
                validate_ip(&address.ip, &at.field(name).index(index).field("ip"), errors);
            }
        }
        for (index, port) in subset.ports.iter().flatten().enumerate() {
            let at = at.field("ports").index(index);
            validate_number(port.port, &at.field("port"), errors);
            one_of(&port.protocol, &PROTOCOLS, &at.field("protocol"), errors);
        }
    }
}

/// Checks a slice.
pub fn validate_slice(slice: &EndpointSlice, errors: &mut ErrorList) {
    let kind = Some(slice.address_type.clone());
    one_of(
        &kind,
        &["FQDN", "IPv4", "IPv6"],
        &FieldPath::of(&["addressType"]),
        errors,
    );
    let endpoints = FieldPath::of(&["endpoints"]);
    let list = slice.endpoints.as_deref().unwrap_or_default();
    if list.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_long(&endpoints, MAX_ENDPOINTS));
    }
    for (index, endpoint) in list.iter().enumerate() {
        let at = endpoints.index(index).field("addresses");
        if endpoint.addresses.is_empty() {
            errors.push(FieldError::required(&at, "must contain at least 1 address"));
        }
        if endpoint.addresses.len() > MAX_ADDRESSES {
            errors.push(FieldError::too_long(&at, MAX_ADDRESSES));
        }
        for (index, address) in endpoint.addresses.iter().enumerate() {
            let is_right = |ip: IpAddr| ip.is_ipv4() == (slice.address_type == "IPv4");
            match (slice.address_type.as_str(), address.parse()) {
                ("IPv4" | "IPv6", Ok(ip)) if is_right(ip) => validate_ip(address, &at.index(index), errors),
                ("IPv4" | "IPv6", _) => {
                    let detail = format!("must be a valid {} address", slice.address_type);
                    errors.push(FieldError::invalid(&at.index(index), address, detail));
                }
                (_, _) => {}
            }
        }
    }
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > MAX_PORTS {
        errors.push(FieldError::too_long(&FieldPath::of(&["ports"]), MAX_PORTS));
    }
    for (index, port) in ports.iter().enumerate() {
        let at = FieldPath::of(&["ports"]).index(index);
        if let Some(number) = port.port {
            validate_number(number, &at.field("port"), errors);
        }
        one_of(&port.protocol, &PROTOCOLS, &at.field("protocol"), errors);
    }
}

/// Checks a slice's change.
pub fn validate_slice_update(new: &EndpointSlice, old: &EndpointSlice, errors: &mut ErrorList) {
    if new.address_type != old.address_type {
        let at = FieldPath::of(&["addressType"]);
        errors.push(FieldError::invalid(&at, &new.address_type, "field is immutable"));
    }
}

/// An address to which packets may be sent (`ValidateEndpointIP`).
fn validate_ip(text: &str, at: &FieldPath, errors: &mut ErrorList) {
    let Ok(ip) = text.parse::<IpAddr>() else {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(at, &text, detail));
        return;
    };
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let refusals = [
        (ip.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            is_link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            ip.is_multicast(),
            "may not be in the multicast range (224.0.0.0/4, ff00::/8)",
        ),
    ];
    for (_, detail) in refusals.iter().filter(|(holds, _)| *holds) {
        errors.push(FieldError::invalid(at, &text, *detail));
    }
}

fn validate_number(number: i32, at: &FieldPath, errors: &mut ErrorList) {
    if let Some(message) = names::port_number(number.into()) {
        errors.push(FieldError::invalid(at, &number, message));
    }
}
