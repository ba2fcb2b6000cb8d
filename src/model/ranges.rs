//! The ranges of addresses that every node has. They are those that kubeadm's and kind's documentation use, so that they are familiar.
//!
//! There are two families. Every node has IPv4; where the kernel can do it, each pod and whoever asks for it has an address of IPv6 as well.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Key;

/// The pods' range.
pub const PODS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 0);
/// How many of its bits are the range's.
pub const POD_PREFIX: u8 = 16;
/// The node's own address in it: every pod's gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The same of the other family: a pod is in both ranges at the same place.
const PODS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0);
/// The Services' range.
pub const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// How many of its bits are the range's.
pub const SERVICE_PREFIX: u8 = 16;
/// The same of the other family.
const SERVICES_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0);
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

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, which every node has and which comes first.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, the first one first.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// That of an address.
    pub fn of(ip: IpAddr) -> Family {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// As Services and slices call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Family> {
        Family::BOTH.into_iter().find(|family| family.as_str() == name)
    }

    /// How many bits an address has.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    /// All addresses.
    pub fn everyone(self) -> Block {
        match self {
            Family::V4 => Block::of(Ipv4Addr::UNSPECIFIED.into(), 0),
            Family::V6 => Block::of(Ipv6Addr::UNSPECIFIED.into(), 0),
        }
    }

    /// The pods' range.
    pub fn pods(self) -> Block {
        match self {
            Family::V4 => Block::of(PODS.into(), POD_PREFIX),
            Family::V6 => Block::of(PODS_V6.into(), 64),
        }
    }

    /// The Services' range: as many addresses of each family.
    pub fn services(self) -> Block {
        match self {
            Family::V4 => Block::of(SERVICES.into(), SERVICE_PREFIX),
            Family::V6 => Block::of(SERVICES_V6.into(), 112),
        }
    }

    /// The node's own address among the pods': every pod's gateway.
    pub fn gateway(self) -> IpAddr {
        match self {
            Family::V4 => GATEWAY.into(),
            Family::V6 => twin(GATEWAY).into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What pods with addresses of these families have, for people.
pub fn stack_of(families: &[Family]) -> &'static str {
    match families.len() {
        2 => "IPv4 and IPv6 (dual stack)",
        _ => "IPv4 (single stack)",
    }
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Its first address.
    pub network: IpAddr,
    /// How many bits all of its addresses share.
    pub prefix: u8,
}

impl Block {
    /// Addresses of IPv6 that only those on a link know (RFC 4291, 2.5.6).
    pub const LINK_LOCAL: Block = Block {
        network: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)),
        prefix: 10,
    };

    /// One address.
    pub fn whole(address: IpAddr) -> Block {
        Block::of(address, Family::of(address).bits())
    }

    fn of(network: IpAddr, prefix: u8) -> Block {
        Block { network, prefix }
    }

    /// The block that this text names (`10.0.0.0/8`).
    pub fn parse(text: &str) -> Option<Block> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        (prefix <= Family::of(address).bits()).then(|| Block::of(first_of(address, prefix), prefix))
    }

    /// Its family.
    pub fn family(self) -> Family {
        Family::of(self.network)
    }

    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && first_of(address, self.prefix) == self.network
    }

    /// The bits that all of its addresses share.
    pub fn mask(self) -> IpAddr {
        match self.family() {
            Family::V4 => mask(self.prefix).into(),
            Family::V6 => mask_v6(self.prefix).into(),
        }
    }

    /// The address at a place in it, from 0 on.
    pub fn at(self, place: u32) -> IpAddr {
        match self.network {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().wrapping_add(place)).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits().wrapping_add(place.into())).into(),
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn first_of(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => (address & mask(prefix)).into(),
        IpAddr::V6(address) => (address & mask_v6(prefix)).into(),
    }
}

/// The addresses of a pod in the pods' network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodIps {
    /// The first one, by which others know it.
    pub first: Ipv4Addr,
    /// The one of IPv6, where the node had that family when the pod was made.
    pub second: Option<Ipv6Addr>,
}

impl PodIps {
    /// A pod at a place of the IPv4 range, which is at the same place of the other one if `is_dual`.
    pub fn new(first: Ipv4Addr, is_dual: bool) -> PodIps {
        let second = is_dual.then(|| twin(first));
        PodIps { first, second }
    }

    /// All of them, the first one first.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        [Some(self.first.into()), self.second.map(IpAddr::V6)]
            .into_iter()
            .flatten()
    }

    /// Whether it has an address.
    pub fn has(self, ip: IpAddr) -> bool {
        self.iter().any(|own| own == ip)
    }
}

/// The IPv6 address at the place of an IPv4 one among the pods.
fn twin(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(PODS_V6.to_bits() | u128::from(address.to_bits() & !mask(POD_PREFIX).to_bits()))
}

/// The IPv4 address at the place of an IPv6 one among the pods, if it is one of them.
pub fn twin_of(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let place = u16::try_from(address.to_bits().checked_sub(PODS_V6.to_bits())?).ok()?;
    Some(Ipv4Addr::from_bits(PODS.to_bits() | u32::from(place)))
}

/// The node's end of a pod's cable, by which people find it.
pub fn link_name(address: Ipv4Addr) -> String {
    let [.., third, fourth] = address.octets();
    format!("pod-{third}-{fourth}")
}

/// Whether an address is one of the pods' network: a pod's or a Service's.
pub fn is_inside(address: IpAddr) -> bool {
    Family::of(address).pods().contains(address) || is_service(address)
}

/// Whether an address means something else, or nothing, to the host: its loopback (which 0.0.0.0 is too), neighbours that only the link
/// knows (where clouds keep their machines' credentials), groups, and what is reserved. Pods do not get there.
pub fn is_nowhere(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => NOWHERE.iter().any(|block| block.contains(ip)),
        // ::/16 has loopback in it, and addresses of IPv4 that are written as such of IPv6: those would be reached as what they are.
        IpAddr::V6(v6) if v6.segments()[0] == 0 || v6.is_unicast_link_local() || v6.is_multicast() => true,
        // A translator of the machine's network makes an address of IPv4 of it (RFC 6052).
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            is_nowhere(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(v6) => CREDENTIALS.contains(&v6),
    }
}

/// Where clouds keep their machines' credentials, of IPv6 not at addresses of the link: AWS, Google.
const CREDENTIALS: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The blocks of [`is_nowhere`] among the addresses of IPv4.
pub const NOWHERE: [Block; 5] = [
    block_v4([0, 0, 0, 0], 8),
    block_v4([127, 0, 0, 0], 8),
    block_v4([169, 254, 0, 0], 16),
    block_v4([224, 0, 0, 0], 4),
    // 255.255.255.255 is in it.
    block_v4([240, 0, 0, 0], 4),
];

const fn block_v4([a, b, c, d]: [u8; 4], prefix: u8) -> Block {
    Block {
        network: IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        prefix,
    }
}

/// Whether an address is in the Services' range.
pub fn is_service(address: IpAddr) -> bool {
    Family::of(address).services().contains(address)
}

/// Whether an address of the Services' range is the node's own: the name server's, or the API's, which only the Service `kubernetes` has.
pub fn is_taken(service: &Key, address: IpAddr) -> bool {
    address == DNS || (address == API_SERVICE && (&*service.namespace, &*service.name) != ("default", "kubernetes"))
}

/// Whether connections to an address may be a Service's: it is of the range, and not the node's own. Whatever is stored, nobody takes the
/// place of the name server or the API.
pub fn may_have(service: &Key, address: IpAddr) -> bool {
    let range = Family::of(address).services();
    // The first one is the network's, or everyone's; the last one is the other's broadcast address.
    let is_host = address != range.network && address != range.at(LAST_SERVICE + 1);
    is_service(address) && is_host && !is_taken(service, address)
}

/// The last place of a Services' range that a Service may have.
pub const LAST_SERVICE: u32 = !mask(SERVICE_PREFIX).to_bits() - 1;

/// The bits that all addresses of a range share; of all addresses, which have the prefix 0, these are none.
pub const fn mask(prefix: u8) -> Ipv4Addr {
    match u32::MAX.checked_shl(32 - prefix as u32) {
        Some(bits) => Ipv4Addr::from_bits(bits),
        None => Ipv4Addr::UNSPECIFIED,
    }
}

fn mask_v6(prefix: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0))
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
            ("fd00:10:96::7:1", false, false),
            ("fd00:10:96::7", true, true),
            ("fd00:10:96::", false, false),
            ("fd00:10:96::ffff", false, false),
        ] {
            let address = address.parse().expect("an address");
            let found = (may_have(&own, address), may_have(&other, address));
            assert_eq!(found, (of_own, of_other), "{address}");
        }
    }

    #[test]
    fn a_mask_has_as_many_bits_as_the_prefix_says() {
        for (block, expected) in [
            ("0.0.0.0/0", "0.0.0.0"),
            ("0.0.0.0/1", "128.0.0.0"),
            ("0.0.0.0/16", "255.255.0.0"),
            ("0.0.0.0/32", "255.255.255.255"),
            ("::/0", "::"),
            ("::/64", "ffff:ffff:ffff:ffff::"),
            ("::/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let block = Block::parse(block).expect("a block");
            assert_eq!(block.mask().to_string(), expected);
        }
    }

    #[test]
    fn blocks_are_read_and_contain_what_shares_their_bits() {
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.9.9.9", Some("11.0.0.0")),
            ("10.1.2.3/24", "10.1.2.200", Some("10.1.3.1")),
            ("192.0.2.1/32", "192.0.2.1", Some("192.0.2.2")),
            ("0.0.0.0/0", "255.255.255.255", Some("::1")),
            ("fd00:1::9/32", "fd00:1::1", Some("fd00:2::1")),
            ("::/0", "2001:db8::1", Some("192.0.2.1")),
        ] {
            let block = Block::parse(text).expect("a block");
            assert!(block.contains(at(inside)), "{text}");
            assert!(outside.is_none_or(|address| !block.contains(at(address))), "{text}");
        }
        for text in ["fd00::/129", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "/", ""] {
            assert_eq!(Block::parse(text), None, "{text}");
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
            ("fd00:10:244::304", true),
            ("fd00:10:96::a", true),
            ("fd00:10:97::a", false),
        ] {
            assert_eq!(is_inside(address.parse().expect("an address")), inside, "{address}");
        }
    }

    #[test]
    fn what_only_the_host_can_mean_is_nowhere() {
        for (address, expected) in [
            ("192.0.2.1", false),
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("2001:db8::1", false),
            ("fd12::1", false),
            ("::", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::127.0.0.1", true),
            ("fe80::1", true),
            ("ff02::fb", true),
        ] {
            assert_eq!(is_nowhere(address.parse().expect("an address")), expected, "{address}");
        }
    }

    #[test]
    fn a_pod_is_at_the_same_place_of_both_ranges() {
        let first = Ipv4Addr::new(10, 244, 3, 4);
        let both = PodIps::new(first, true);
        let texts: Vec<String> = both.iter().map(|ip| ip.to_string()).collect();
        assert_eq!(texts, ["10.244.3.4", "fd00:10:244::304"]);
        assert_eq!(both.second.and_then(twin_of), Some(first));
        assert!(both.iter().all(|ip| both.has(ip) && Family::of(ip).pods().contains(ip)));
        assert_eq!(PodIps::new(first, false).iter().count(), 1);
        for other in ["fd00:10:244:0:1::1", "fd00:10:96::1", "::1"] {
            assert_eq!(twin_of(other.parse().expect("an address")), None, "{other}");
        }
        assert_eq!(Family::V6.gateway().to_string(), "fd00:10:244::1");
    }
}
