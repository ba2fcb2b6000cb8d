//! Which packets of pods leave the pods' network, and what becomes of them there. Pure.
//!
//! After Services have sent connections where they lead, what is still for somewhere else is handed to sockets of the node, whoever it is
//! for. The first packet of a connection by TCP is shown to the node and dropped; it comes again, marked, when the node has
//! reached the other side, so that pods are answered only by who is there.

use crate::model::{Block, Family};
use crate::net::nft::{self, End, Expression, Hook, Message, REGISTERS, TYPE_ADDRESS, TYPE_PORT, TableOf, octets};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The table's name: what people see who list the rules.
const TABLE: &str = "kubelocal-egress";
const CHAIN: &str = "leaving";
/// Behind `NF_IP_PRI_NAT_DST` (-100): a Service may lead outside.
const AFTER_SERVICES: i32 = -90;
/// To whom first packets of a family are shown. Groups are the network namespace's own, so any number is free.
pub(super) fn group(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}

/// What marks packets for the node's sockets. Marks are the network namespace's own too.
pub(in crate::net) const MARK: u32 = 0x6b6c;
/// Where the sockets are bound: no pod can send to it by itself.
pub(super) fn sockets_of(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

const VALUE: u32 = REGISTERS;

/// Where flags are in the header of TCP.
const FLAGS_AT: u32 = 13;
/// FIN, SYN, RST and ACK; and SYN.
const FLAGS: u8 = 0x17;
const FIRST: u8 = 0x02;
/// `IPS_DST_NAT`: a Service sent the connection here. What comes again would not be known as its beginning.
const BY_SERVICE: u32 = 1 << 5;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The table, instead of whatever an earlier node left. The ports are those of the sockets for connections and for datagrams; with `only` they are
/// for that address, and what is for others goes on.
pub(super) fn rules(family: Family, (tcp, udp): (u16, u16), only: Option<IpAddr>) -> Vec<Message> {
    let table = TableOf { family, name: TABLE };
    let mut messages = vec![nft::new_table(table), nft::delete_table(table), nft::new_table(table)];
    messages.push(nft::new_chain(table, CHAIN, "filter", Hook::Prerouting, AFTER_SERVICES));
    let leaving = [
        first_packet(family),
        to_socket(family, TCP, tcp),
        to_socket(family, UDP, udp),
    ];
    let others = only.map(|only| outside(End::Destination, Block::whole(only), false));
    let rules = leave_alone_what_stays(family).into_iter().chain(others).chain(leaving);
    messages.extend(rules.map(|rule| nft::new_rule(table, CHAIN, rule)));
    messages
}

/// Leaves alone what is no pod's, and what is for pods or Services.
pub(in crate::net) fn leave_alone_what_stays(family: Family) -> [Vec<Expression>; 3] {
    [
        outside(End::Source, family.pods(), false),
        outside(End::Destination, family.pods(), true),
        outside(End::Destination, family.services(), true),
    ]
}

/// Leaves alone what has an address in a range, or with `is_inside` false what has none there.
fn outside(end: End, range: Block, is_inside: bool) -> Vec<Expression> {
    let mut rule: Vec<Expression> = nft::in_block(end, range, is_inside).into();
    rule.push(nft::accept());
    rule
}

/// Shows the first packet of a connection and drops it.
fn first_packet(family: Family) -> Vec<Expression> {
    vec![
        nft::protocol(VALUE),
        nft::compare(VALUE, true, &[TCP]),
        nft::payload(2, FLAGS_AT, 1, VALUE),
        nft::mask(VALUE, &[FLAGS, 0, 0, 0]),
        nft::compare(VALUE, true, &[FIRST, 0, 0, 0]),
        nft::mark_of_packet(VALUE),
        nft::compare(VALUE, false, &MARK.to_ne_bytes()),
        nft::connection_status(VALUE),
        nft::mask(VALUE, &BY_SERVICE.to_ne_bytes()),
        nft::compare(VALUE, true, &[0; 4]),
        nft::show(group(family)),
        nft::drop(),
    ]
}

/// Hands what is of a protocol to the socket of its connection, or else to the one at a port; routing then finds it by its mark.
fn to_socket(family: Family, protocol: u8, port: u16) -> Vec<Expression> {
    let [address, port_at] = nft::registers(family, [TYPE_ADDRESS, TYPE_PORT]);
    vec![
        nft::protocol(VALUE),
        nft::compare(VALUE, true, &[protocol]),
        nft::load(&octets(sockets_of(family)), address),
        nft::load(&port.to_be_bytes(), port_at),
        nft::to_socket(family, address, port_at),
        nft::load(&MARK.to_ne_bytes(), VALUE),
        nft::set_mark(VALUE),
        nft::accept(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PODS, SERVICES};

    fn contains(message: &Message, part: &[u8]) -> bool {
        format!("{message:?}").contains(format!("{part:?}").trim_matches(['[', ']']))
    }

    #[test]
    fn the_table_is_replaced_and_its_rules_stand_in_the_order_in_which_they_decide() {
        let messages = rules(Family::V4, (0x1234, 0x5678), None);
        let table = TableOf {
            family: Family::V4,
            name: TABLE,
        };
        assert_eq!(messages.len(), 4 + 6);
        assert_eq!(
            messages[..3],
            [nft::new_table(table), nft::delete_table(table), nft::new_table(table)]
        );
        // What stays inside is left alone before anything is shown or handed over.
        let parts: [&[u8]; 6] = [
            &PODS.octets(),
            &PODS.octets(),
            &SERVICES.octets(),
            b"log",
            &[0x12, 0x34],
            &[0x56, 0x78],
        ];
        for (message, part) in messages[4..].iter().zip(parts) {
            assert!(contains(message, part), "{part:?}");
        }
        let shown: Vec<bool> = messages[4..].iter().map(|rule| contains(rule, b"log")).collect();
        assert_eq!(shown, [false, false, false, true, false, false]);
        let handed: Vec<bool> = messages[4..].iter().map(|rule| contains(rule, b"tproxy")).collect();
        assert_eq!(handed, [false, false, false, false, true, true]);
        let only = Ipv4Addr::new(169, 254, 1, 2);
        let messages = rules(Family::V4, (0x1234, 0x5678), Some(only.into()));
        assert!(messages.len() == 4 + 7 && contains(&messages[4 + 3], &only.octets()));
    }
}
