//! The ranges of addresses that every node has. They are those that kubeadm's documentation uses, so that they are familiar.

use std::net::{IpAddr, Ipv4Addr};

use super::Key;

/// The pods' range.
pub const PODS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 0);
/// How many of its bits are the range's.
pub const POD_PREFIX: u8 = 16;
/// The node's own address in it: every pod's gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The Services' range.
pub const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// How many of its bits are the range's.
pub const SERVICE_PREFIX: u8 = 16;
/// The first and last port of the host that Services may have (kube-apiserver `--service-node-port-range`).
pub const NODE_PORTS: (u16, u16) = (30_000, 32_767);
/// Who answers questions for names, at the address where every cluster has it.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Where pods find the API: the first address of the Services' range, as in every cluster.
pub const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The port at [`GATEWAY`] where the API listens in the pods' network (kube-apiserver's own).
pub const API_PORT: u16 = 6443;

/// Where pods find the host's loopback, if they may: the address that podman gives to `host.containers.internal`.
pub const HOST: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 2);
/// How pods call it: as podman does, and Docker.
pub const HOST_NAMES: [&str; 2] = ["host.containers.internal", "host.docker.internal"];

/// The node's end of a pod's cable, by which people find it.
pub fn link_name(address: Ipv4Addr) -> String {
    let [.., third, fourth] = address.octets();
    format!("pod-{third}-{fourth}")
}

/// Whether an address is one of the pods' network: a pod's or a Service's.
pub fn is_inside(address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    is_in(address, PODS, POD_PREFIX) || is_service(address)
}

/// Whether an address means something else, or nothing, to the host: its loopback (which 0.0.0.0 is too), neighbours that only the link
/// knows (where clouds keep their machines' credentials), groups, and what is reserved. Pods do not get there.
pub fn is_nowhere(ip: Ipv4Addr) -> bool {
    NOWHERE.into_iter().any(|(network, prefix)| is_in(ip, network, prefix))
}

/// The networks of [`is_nowhere`], with their prefixes.
pub const NOWHERE: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // 255.255.255.255 is in it.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Whether an address is in the Services' range.
pub fn is_service(address: Ipv4Addr) -> bool {
    is_in(address, SERVICES, SERVICE_PREFIX)
}

/// Whether an address of the Services' range is the node's own: the name server's, or the API's, which only the Service `kubernetes` has.
pub fn is_taken(service: &Key, address: Ipv4Addr) -> bool {
    address == DNS || (address == API_SERVICE && (&*service.namespace, &*service.name) != ("default", "kubernetes"))
}

/// Whether connections to an address may be a Service's: it is of the range, and not the node's own. Whatever is stored, nobody takes the
/// place of the name server or the API.
pub fn may_have(service: &Key, address: Ipv4Addr) -> bool {
    let host = address & Ipv4Addr::from_bits(!mask(SERVICE_PREFIX).to_bits());
    let is_host = host != Ipv4Addr::UNSPECIFIED && host.to_bits() != !mask(SERVICE_PREFIX).to_bits();
    is_service(address) && is_host && !is_taken(service, address)
}

fn is_in(address: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    address & mask(prefix) == network
}

/// The bits that all addresses of a range share; of all addresses, which have the prefix 0, these are none.
pub const fn mask(prefix: u8) -> Ipv4Addr {
    match u32::MAX.checked_shl(32 - prefix as u32) {
        Some(bits) => Ipv4Addr::from_bits(bits),
        None => Ipv4Addr::UNSPECIFIED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_have_what_is_of_the_range_and_nobodys() {
        let kind = crate::model::kind("v1", "Service").expect("in the table");
        let (own, other) = (
            Key::new(kind, "default", "kubernetes"),
            Key::new(kind, "shop", "kubernetes"),
        );
        for (address, of_own, of_other) in [
            ("10.96.0.1", true, false),
            ("10.96.0.10", false, false),
            ("10.96.7.7", true, true),
            ("10.96.0.0", false, false),
            ("10.96.255.255", false, false),
            ("192.0.2.1", false, false),
        ] {
            let address = address.parse().expect("an address");
            let found = (may_have(&own, address), may_have(&other, address));
            assert_eq!(found, (of_own, of_other), "{address}");
        }
    }

    #[test]
    fn a_mask_has_as_many_bits_as_the_prefix_says() {
        for (prefix, expected) in [
            (0, "0.0.0.0"),
            (1, "128.0.0.0"),
            (16, "255.255.0.0"),
            (32, "255.255.255.255"),
        ] {
            assert_eq!(mask(prefix).to_string(), expected);
        }
    }

    #[test]
    fn only_pods_and_services_are_inside() {
        for (address, inside) in [
            ("10.244.3.4", true),
            ("10.96.0.10", true),
            ("10.245.0.1", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(is_inside(address.parse().expect("an address")), inside, "{address}");
        }
    }
}
