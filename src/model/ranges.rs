//! The ranges of addresses that every node has. They are those that kubeadm's documentation uses, so that they are familiar.

use std::net::{IpAddr, Ipv4Addr};

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

/// Whether an address is in the Services' range.
pub fn is_service(address: Ipv4Addr) -> bool {
    is_in(address, SERVICES, SERVICE_PREFIX)
}

fn is_in(address: Ipv4Addr, network: Ipv4Addr, prefix: u8) -> bool {
    address & mask(prefix) == network
}

/// The bits that are the range's own.
pub const fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX << (32 - prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

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
