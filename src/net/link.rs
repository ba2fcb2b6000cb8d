//! Interfaces, addresses and routes: what has to be where for packets to find their way.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::NetError;
use super::netlink::Netlink;
use crate::model::{Block, Family, GATEWAY, PodIps, link_name};

/// Of every cable. What leaves the machine is sent by the host's own sockets, so the host's path does not matter; larger packets
/// made no connection between pods faster.
const MTU: u32 = 1500;
/// The pod's end of its cable.
const POD_LINK: &str = "eth0";
/// A new namespace has one interface, loopback, whose number is 1.
const POD_LINK_INDEX: u32 = 2;
/// What a pod's interface is to do of itself about IPv6, which is nothing: it has the address that it is given, and no other machine is on its
/// cable whom it could ask.
const QUIET: [(&str, &str); 2] = [
    // `IN6_ADDR_GEN_MODE_NONE`.
    ("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1"),
    ("/proc/sys/net/ipv6/conf/default/accept_ra", "0"),
];
/// Loopback is the first interface of every namespace.
pub(super) const LOOPBACK: u32 = 1;
/// The table of what is the namespace's own (`RT_TABLE_LOCAL`).
const LOCAL_TABLE: u8 = 255;
/// The table in which marked packets are looked up, and its rule's turn: before the main table's, which is 32766. Both are the network
/// namespace's own.
const MARKED_TABLE: u8 = 100;
const MARKED_PRIORITY: u32 = 100;

/// Puts a cable from the calling thread's network namespace, a pod's, into the node's, and gives the pod its addresses (routed point to
/// point: no network but the gateway is on the link). The thread is back in its own namespace when this returns well.
///
/// Of IPv6 both ends are told who is at the other one, so that nobody has to ask: a question costs the first packet a round, and policies
/// would have to let it pass.
///
/// # Errors
/// The first step that the kernel refused. What was done goes with the pod's namespace.
pub fn wire_pod(node: BorrowedFd<'_>, ips: PodIps) -> Result<(), NetError> {
    let address = ips.first;
    let own = std::fs::File::open("/proc/thread-self/ns/net").map_err(NetError::Namespace)?;
    let mut inside = Netlink::open()?;
    enter(node)?;
    let mut outside = Netlink::open()?;
    enter(own.as_fd())?;
    let name = link_name(address);
    let pair = || {
        let there = vec![
            LinkAttribute::NetNsFd(own.as_raw_fd()),
            LinkAttribute::Address(hardware_of(address)),
        ];
        let mut pair = veth(&name, POD_LINK, there, POD_LINK_INDEX);
        pair.attributes.push(LinkAttribute::Address(hardware_of(GATEWAY)));
        pair
    };
    if ips.second.is_some() {
        for (path, value) in QUIET {
            // The pod can be reached all the same.
            let _ = fs::write(path, value);
        }
    }
    if let Err(error) = outside.make_link(&name, pair()) {
        if !error.is_already_there() {
            return Err(error);
        }
        // The kernel has not yet cleared away a pod that had this address before.
        outside.remove_link(&name)?;
        outside.make_link(&name, pair())?;
    }
    let index = outside.index_of(&name)?;
    outside.add_address(index, GATEWAY.into())?;
    inside.set_up(POD_LINK_INDEX)?;
    for ip in ips.iter() {
        let family = Family::of(ip);
        let gateway = family.gateway();
        outside.add_route(index, Block::whole(ip), Some(gateway))?;
        inside.add_address(POD_LINK_INDEX, ip)?;
        inside.add_route(POD_LINK_INDEX, Block::whole(gateway), None)?;
        if family == Family::V6 {
            outside.add_neighbour(index, ip, hardware_of(address))?;
            inside.add_neighbour(POD_LINK_INDEX, gateway, hardware_of(GATEWAY))?;
        }
        inside.add_way(POD_LINK_INDEX, family.everyone(), gateway)?;
    }
    Ok(())
}

/// The hardware address of an end of a cable, made of its address as the plugins of CNI do it.
fn hardware_of(address: Ipv4Addr) -> Vec<u8> {
    [&[0x0a, 0x58], &address.octets()[..]].concat()
}

/// Moves the calling thread into a network namespace.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> Result<(), NetError> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).map_err(|e| NetError::Namespace(e.into()))
}

/// A pair of interfaces, the first of them up: the second can't be before it has the first. `peer` says more about it.
pub(super) fn veth(name: &str, peer_name: &str, peer: Vec<LinkAttribute>, peer_index: u32) -> LinkMessage {
    let mut other = LinkMessage::default();
    other.header.index = peer_index;
    other.attributes = vec![LinkAttribute::IfName(peer_name.to_owned()), LinkAttribute::Mtu(MTU)];
    other.attributes.extend(peer);
    let mut link = LinkMessage::default();
    up(&mut link);
    link.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Mtu(MTU),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]),
    ];
    link
}

fn up(link: &mut LinkMessage) {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
}

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    link
}

impl Netlink {
    pub(super) fn make_link(&mut self, name: &str, link: LinkMessage) -> Result<(), NetError> {
        let request = RouteNetlinkMessage::NewLink(link);
        self.ask(&format!("new link {name}"), request, NLM_F_CREATE | NLM_F_EXCL)
            .map(drop)
    }

    /// Brings an interface up that is there.
    pub(super) fn set_up(&mut self, index: u32) -> Result<(), NetError> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        up(&mut link);
        self.ask(&format!("link {index} up"), RouteNetlinkMessage::SetLink(link), 0)
            .map(drop)
    }

    fn remove_link(&mut self, name: &str) -> Result<(), NetError> {
        let request = RouteNetlinkMessage::DelLink(named(name));
        match self.ask(&format!("remove link {name}"), request, 0) {
            // It went by itself meanwhile.
            Err(NetError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) fn index_of(&mut self, name: &str) -> Result<u32, NetError> {
        let what = format!("link {name}");
        match self.ask(&what, RouteNetlinkMessage::GetLink(named(name)), 0)? {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(link.header.index),
            _ => Err(NetError::Garbled(what)),
        }
    }

    /// Gives an interface an address that is nobody else's network.
    pub(super) fn add_address(&mut self, index: u32, address: IpAddr) -> Result<(), NetError> {
        let mut message = AddressMessage::default();
        message.header.family = number_of(address);
        message.header.prefix_len = Family::of(address).bits();
        message.header.index = index;
        if address.is_ipv6() {
            // Nobody else can have it, so nobody is asked.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        message.attributes = vec![AddressAttribute::Address(address), AddressAttribute::Local(address)];
        let request = RouteNetlinkMessage::NewAddress(message);
        self.ask(&format!("address {address}"), request, NLM_F_CREATE | NLM_F_REPLACE)
            .map(drop)
    }

    /// Says who is at the other end of a cable, for good.
    fn add_neighbour(&mut self, index: u32, address: IpAddr, hardware: Vec<u8>) -> Result<(), NetError> {
        let mut message = NeighbourMessage::default();
        message.header.family = number_of(address);
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        let destination = match address {
            IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
            IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
        };
        message.attributes = vec![
            NeighbourAttribute::Destination(destination),
            NeighbourAttribute::LinkLayerAddress(hardware),
        ];
        let request = RouteNetlinkMessage::NewNeighbour(message);
        self.ask(&format!("neighbour {address}"), request, NLM_F_CREATE | NLM_F_REPLACE)
            .map(drop)
    }

    /// Sends what is for a block to an interface; `from` is the address of what comes from here.
    pub(super) fn add_route(&mut self, index: u32, to: Block, from: Option<IpAddr>) -> Result<(), NetError> {
        let mut route = route_to(to, index, RouteScope::Link);
        let source = from.map(|from| RouteAttribute::PrefSource(route_address(from)));
        route.attributes.extend(source);
        self.put_route(&format!("route to {to}"), route)
    }

    /// Sends what is for a block to a gateway.
    pub(super) fn add_way(&mut self, index: u32, to: Block, gateway: IpAddr) -> Result<(), NetError> {
        let mut route = route_to(to, index, RouteScope::Universe);
        route.attributes.push(RouteAttribute::Gateway(route_address(gateway)));
        self.put_route(&format!("route to {to}"), route)
    }

    /// Makes a range of addresses the namespace's own.
    pub(super) fn add_local_range(&mut self, range: Block) -> Result<(), NetError> {
        self.put_route("local route of Services", local_range(range))
    }

    /// Takes that back, if it was done.
    pub(super) fn remove_local_range(&mut self, range: Block) -> Result<(), NetError> {
        let request = RouteNetlinkMessage::DelRoute(local_range(range));
        match self.ask("local route of Services", request, 0) {
            Err(NetError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map(drop),
        }
    }

    /// What has a mark goes to sockets here, whoever it is for (a rule, and a table with one route).
    pub(super) fn route_marked_to_sockets(&mut self, family: Family, mark: u32) -> Result<(), NetError> {
        let number = number_of(family.gateway());
        let mut route = route(LOOPBACK, RouteScope::Host);
        route.header.address_family = number;
        route.header.table = MARKED_TABLE;
        route.header.kind = RouteType::Local;
        self.put_route("local route", route)?;
        let mut rule = RuleMessage::default();
        rule.header.family = number;
        rule.header.table = MARKED_TABLE;
        rule.header.action = RuleAction::ToTable;
        rule.attributes = vec![RuleAttribute::FwMark(mark), RuleAttribute::Priority(MARKED_PRIORITY)];
        let request = RouteNetlinkMessage::NewRule(rule);
        match self.ask("routing rule", request, NLM_F_CREATE | NLM_F_EXCL) {
            // An earlier node made it.
            Err(error) if error.is_already_there() => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) fn put_route(&mut self, what: &str, route: RouteMessage) -> Result<(), NetError> {
        let request = RouteNetlinkMessage::NewRoute(route);
        self.ask(what, request, NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }
}

fn route(index: u32, scope: RouteScope) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Static;
    route.header.scope = scope;
    route.header.kind = RouteType::Unicast;
    route.attributes = vec![RouteAttribute::Oif(index)];
    route
}

/// What is for these addresses, and has no better route, is told that there is no way.
pub(super) fn unreachable(range: Block) -> RouteMessage {
    let mut route = route_to(range, LOOPBACK, RouteScope::Universe);
    route.header.kind = RouteType::Unreachable;
    route
        .attributes
        .retain(|attribute| !matches!(attribute, RouteAttribute::Oif(_)));
    route
}

fn local_range(range: Block) -> RouteMessage {
    let mut route = route_to(range, LOOPBACK, RouteScope::Host);
    route.header.table = LOCAL_TABLE;
    route.header.kind = RouteType::Local;
    route
}

/// A route to a block; one to everyone says so by naming nobody.
fn route_to(to: Block, index: u32, scope: RouteScope) -> RouteMessage {
    let mut route = route(index, scope);
    route.header.address_family = number_of(to.network);
    route.header.destination_prefix_length = to.prefix;
    if to.prefix > 0 {
        route
            .attributes
            .push(RouteAttribute::Destination(route_address(to.network)));
    }
    route
}

fn route_address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

fn number_of(ip: IpAddr) -> AddressFamily {
    match Family::of(ip) {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_cable_fits_and_tells_whose_it_is() {
        assert_eq!(link_name(Ipv4Addr::new(10, 244, 0, 7)), "pod-0-7");
        // The kernel takes fifteen letters.
        assert!(link_name(Ipv4Addr::new(10, 244, 255, 255)).len() < 16);
    }
}
