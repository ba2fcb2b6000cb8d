//! Steps of rules that look at a packet, and those that Services need to send it elsewhere.

use super::{Attributes, End, Expression, REGISTERS, Set, data, number_of, octets};
use crate::model::{Block, Family};

/// Bytes of the packet into a register. `base`: 1 is the network header, 2 the transport header.
pub(in crate::net) fn payload(base: u32, offset: u32, length: u32, to: u32) -> Expression {
    let data = Attributes::default()
        .number(1, to)
        .number(2, base)
        .number(3, offset)
        .number(4, length);
    Expression("payload", data)
}

/// The address of one end into a register, and as many behind it as it needs.
pub(in crate::net) fn address(family: Family, end: End, to: u32) -> Expression {
    let (at, length) = match (family, end) {
        (Family::V4, End::Source) => (12, 4),
        (Family::V4, End::Destination) => (16, 4),
        (Family::V6, End::Source) => (8, 16),
        (Family::V6, End::Destination) => (24, 16),
    };
    payload(1, at, length, to)
}

/// Goes on if one end has an address of a block, or with `is_inside` false if it has none of it. Needs the registers from the first one on.
pub(in crate::net) fn in_block(end: End, block: Block, is_inside: bool) -> [Expression; 3] {
    [
        address(block.family(), end, REGISTERS),
        mask(REGISTERS, &octets(block.mask())),
        compare(REGISTERS, is_inside, &octets(block.network)),
    ]
}

/// The transport protocol (`NFT_META_L4PROTO`).
pub(in crate::net) fn protocol(to: u32) -> Expression {
    Expression("meta", Attributes::default().number(1, to).number(2, 16))
}

/// A random number below `below`.
pub(in crate::net) fn random(below: u32, to: u32) -> Expression {
    Expression(
        "numgen",
        Attributes::default().number(1, to).number(2, below).number(3, 1),
    )
}

/// Goes on if the set has the key that begins in register `from`; a map's value goes to register `to`.
pub(in crate::net) fn lookup(set: &Set, from: u32, to: Option<u32>) -> Expression {
    let mut data = Attributes::default().text(1, set.name).number(2, from);
    if let Some(to) = to {
        data = data.number(3, to);
    }
    Expression("lookup", data)
}

/// Sends the connection to the address and port in these registers.
pub(in crate::net) fn destination(family: Family, address: u32, port: u32) -> Expression {
    let data = Attributes::default()
        .number(1, 1)
        .number(2, u32::from(number_of(family)))
        .number(3, address)
        .number(5, port);
    Expression("nat", data)
}

/// Makes the connection come from the node.
pub(in crate::net) fn masquerade() -> Expression {
    Expression("masq", Attributes::default())
}

/// Refuses the packet: to the client the port is not reachable, which is a refused connection.
pub(in crate::net) fn reject(family: Family) -> Expression {
    // `ICMP_PORT_UNREACH` and `ICMPV6_PORT_UNREACH`.
    let code = match family {
        Family::V4 => 3,
        Family::V6 => 4,
    };
    Expression("reject", Attributes::default().number(1, 0).bytes(2, &[code]))
}

/// The same, as one that no network leads to.
pub(in crate::net) fn unreachable() -> Expression {
    // `ICMP_NET_UNREACH` and `ICMPV6_NOROUTE`.
    Expression("reject", Attributes::default().number(1, 0).bytes(2, &[0]))
}

/// The bit of the connection's state (`NFT_CT_STATE`).
pub(in crate::net) fn connection_state(to: u32) -> Expression {
    Expression("ct", Attributes::default().number(1, to).number(2, 0))
}

/// Refuses the packet of a connection by TCP: to who sent it the connection is reset.
pub(in crate::net) fn reset() -> Expression {
    Expression("reject", Attributes::default().number(1, 1).bytes(2, &[0]))
}

/// The mark of the connection (`NFT_CT_MARK`).
pub(in crate::net) fn connection_mark(to: u32) -> Expression {
    Expression("ct", Attributes::default().number(1, to).number(2, 3))
}

/// The connection's `status` bits (`NFT_CT_STATUS`).
pub(in crate::net) fn connection_status(to: u32) -> Expression {
    Expression("ct", Attributes::default().number(1, to).number(2, 2))
}

/// Keeps only the bits of the mask.
pub(in crate::net) fn mask(register: u32, mask: &[u8]) -> Expression {
    let length = u32::try_from(mask.len()).expect("an address at most");
    let fields = Attributes::default()
        .number(1, register)
        .number(2, register)
        .number(3, length)
        .nested(4, data(mask))
        .nested(5, data(&vec![0; mask.len()]));
    Expression("bitwise", fields)
}

/// Goes on if the register holds these bytes, or with `is_equal` false if it does not.
pub(in crate::net) fn compare(register: u32, is_equal: bool, value: &[u8]) -> Expression {
    by_order(register, u32::from(!is_equal), value)
}

/// Goes on if the number in the register is no less than this one, and no more than the other.
pub(in crate::net) fn between(register: u32, first: u16, last: u16) -> [Expression; 2] {
    // NFT_CMP_GTE and NFT_CMP_LTE.
    [
        by_order(register, 5, &first.to_be_bytes()),
        by_order(register, 3, &last.to_be_bytes()),
    ]
}

fn by_order(register: u32, operator: u32, value: &[u8]) -> Expression {
    let fields = Attributes::default()
        .number(1, register)
        .number(2, operator)
        .nested(3, data(value));
    Expression("cmp", fields)
}
