//! Steps of rules that do something with a packet itself: mark it, drop it, show it to the node, hand it to a socket, note where it went.

use std::time::Duration;

use super::{Attributes, Expression, Set, data, number_of};
use crate::model::Family;

/// `NFT_META_MARK`.
const MARK: u32 = 3;
/// The register in which a verdict stands (`NFT_REG_VERDICT`).
pub(in crate::net) const VERDICT_REGISTER: u32 = 0;
/// `NF_ACCEPT`, `NF_DROP` and `NFT_GOTO`.
pub(super) const ACCEPT: u32 = 1;
const DROP: u32 = 0;
pub(super) const GOTO: u32 = -4_i32 as u32;

/// These bytes into a register.
pub(in crate::net) fn load(value: &[u8], to: u32) -> Expression {
    Expression("immediate", Attributes::default().number(1, to).nested(2, data(value)))
}

/// The packet's mark into a register.
pub(in crate::net) fn mark_of_packet(to: u32) -> Expression {
    Expression("meta", Attributes::default().number(1, to).number(2, MARK))
}

/// Gives the packet the mark in a register.
pub(in crate::net) fn set_mark(from: u32) -> Expression {
    Expression("meta", Attributes::default().number(2, MARK).number(3, from))
}

/// Turns these bits of a register over.
pub(in crate::net) fn flip(register: u32, bits: [u8; 4]) -> Expression {
    let fields = Attributes::default()
        .number(1, register)
        .number(2, register)
        .number(3, 4)
        .nested(4, data(&[u8::MAX; 4]))
        .nested(5, data(&bits));
    Expression("bitwise", fields)
}

/// Writes a register into the transport header, whose checksum stands at `checksum` and stays right.
pub(in crate::net) fn write_transport(from: u32, offset: u32, length: u32, checksum: u32) -> Expression {
    // NFTA_PAYLOAD_SREG, and NFT_PAYLOAD_CSUM_INET.
    let data = Attributes::default()
        .number(2, 2)
        .number(3, offset)
        .number(4, length)
        .number(5, from)
        .number(6, 1)
        .number(7, checksum);
    Expression("payload", data)
}

/// The packet goes on; no rule of this chain sees it any more.
pub(in crate::net) fn accept() -> Expression {
    verdict(ACCEPT)
}

/// The packet goes nowhere.
pub(in crate::net) fn drop() -> Expression {
    verdict(DROP)
}

fn verdict(code: u32) -> Expression {
    let inner = Attributes::default().nested(2, Attributes::default().number(1, code));
    Expression(
        "immediate",
        Attributes::default().number(1, VERDICT_REGISTER).nested(2, inner),
    )
}

/// Shows the packet to whoever listens to this group (nfnetlink_log), at once.
pub(in crate::net) fn show(group: u16) -> Expression {
    let data = Attributes::default()
        .bytes(1, &group.to_be_bytes())
        .bytes(4, &1_u16.to_be_bytes());
    Expression("log", data)
}

/// Hands the packet to the socket of its connection, or else to one that listens at the address and port in these registers; goes on only
/// if there is one.
pub(in crate::net) fn to_socket(family: Family, address: u32, port: u32) -> Expression {
    let data = Attributes::default()
        .number(1, u32::from(number_of(family)))
        .number(2, address)
        .number(3, port);
    Expression("tproxy", data)
}

/// Whether the socket of the packet's connection may speak for addresses that are not the node's (`NFT_SOCKET_TRANSPARENT`), as one byte; goes
/// on only if there is a socket.
pub(in crate::net) fn speaks_for_others(to: u32) -> Expression {
    Expression("socket", Attributes::default().number(1, 0).number(2, to))
}

/// The interface behind which a packet's source is, if the packet came in by that one; else zero (`NFT_FIB_RESULT_OIF` of `NFTA_FIB_F_SADDR` and
/// `NFTA_FIB_F_IIF`).
pub(in crate::net) fn way_back(to: u32) -> Expression {
    let data = Attributes::default().number(1, to).number(2, 1).number(3, 1 | 8);
    Expression("fib", data)
}

/// `NFT_DYNSET_OP_UPDATE` and `NFT_DYNSET_OP_DELETE`.
const UPDATE: u32 = 1;
const DELETE: u32 = 2;

/// Notes in a map what stands behind register `value` under what stands behind register `key`, for a time that begins anew. What is noted
/// there already keeps its value. Goes on unless the map is full.
pub(in crate::net) fn note(map: &Set, key: u32, value: u32, timeout: Duration) -> Expression {
    let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let data = write(map, UPDATE, key, value).bytes(6, &milliseconds.to_be_bytes());
    Expression("dynset", data)
}

/// Takes what stands behind a register out of a map that rules write, if it is there. The kernel wants to know a value, but looks at none.
pub(in crate::net) fn forget(map: &Set, key: u32, value: u32) -> Expression {
    Expression("dynset", write(map, DELETE, key, value))
}

fn write(map: &Set, operation: u32, key: u32, value: u32) -> Attributes {
    Attributes::default()
        .text(1, map.name)
        .number(3, operation)
        .number(4, key)
        .number(5, value)
}
