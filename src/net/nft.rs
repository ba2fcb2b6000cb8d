//! The part of nf_tables' netlink language that Services, ways out and policies need, as bytes (`linux/netfilter/nf_tables.h`). Pure: what is built here is
//! sent by [`super::netfilter`].
//!
//! By hand, because no crate would do: those that speak netlink lack maps and numgen, bind C libraries or have another licence, and the
//! `nft` program takes 20 ms where the kernel takes a tenth of one, and fails at a thousand Services.

mod expressions;
mod steps;

use super::attributes::Attributes;
use crate::model::Family;
use std::net::IpAddr;

pub(super) use expressions::*;
pub(super) use steps::*;

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;

/// A table's name and its family: each family has tables of its own (`ip` and `ip6`), so that those of one are the same whether there is
/// the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableOf {
    pub(super) family: Family,
    pub(super) name: &'static str,
}

/// A family's number (`NFPROTO_IPV4`, `NFPROTO_IPV6`).
pub(super) fn number_of(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// An address as it stands in packets.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
/// `NLMSG_HDRLEN` and the `nfgenmsg` behind it.
const HEAD: usize = 20;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
const ACK: u16 = 0x4;
/// `NLM_F_CREATE`.
const CREATE: u16 = 0x400;
/// `NLM_F_CREATE | NLM_F_APPEND`.
const APPEND: u16 = 0xc00;

/// Kinds of messages (`enum nf_tables_msg_types`, and the two that enclose a transaction).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
enum Verb {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    DeleteChain = 5,
    NewRule = 6,
    NewSet = 9,
    DeleteSet = 11,
    NewElements = 12,
    DeleteElements = 14,
    Begin = 0x10,
    End = 0x11,
}

/// Where packets meet a chain (`enum nf_inet_hooks`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// A set, or a map if its elements have values. Keys and values are sequences of fields, each padded to four bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set<'a> {
    pub(super) name: &'a str,
    /// Types of the key's fields, for whoever lists the rules (`enum nft_datatypes` of the `nft` program).
    pub(super) key: &'static [u8],
    /// Types of the value's fields; none for a set.
    pub(super) value: &'static [u8],
}

/// An address of the table's family (IPv6 ones have another type and more room), a protocol, a port, a number.
pub(super) const TYPE_ADDRESS: u8 = 7;
const TYPE_ADDRESS_V6: u8 = 8;
pub(super) const TYPE_PROTOCOL: u8 = 12;
pub(super) const TYPE_PORT: u8 = 13;
/// A plain number is called a mark: with `integer` the `nft` program ends in an assertion when it lists the map.
pub(super) const TYPE_NUMBER: u8 = 19;

/// Where destination ports are in headers of TCP, UDP and SCTP.
pub(super) const PORT_AT: u32 = 2;

/// One of the two ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// The value of a map that says what becomes of a packet.
pub(super) const VERDICT: &[u8] = &[u8::MAX];
/// `NFT_DATA_VERDICT`.
const VERDICTS: u32 = 0xffff_ff00;

/// The 32-bit registers begin with this number (`NFT_REG32_00`).
pub(super) const REGISTERS: u32 = 8;

/// A request without its sequence number and flags of delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    verb: u16,
    flags: u16,
    family: u8,
    body: Vec<u8>,
}

impl Message {
    fn new(table: TableOf, verb: Verb, flags: u16, body: Attributes) -> Message {
        Message {
            verb: SUBSYSTEM << 8 | verb as u16,
            flags: REQUEST | flags,
            family: number_of(table.family),
            body: body.0,
        }
    }

    fn edge(verb: Verb) -> Message {
        Message {
            verb: verb as u16,
            flags: REQUEST,
            family: 0,
            body: Vec::new(),
        }
    }

    /// Whether this makes a table only for `next` to delete it: what is there of its name goes, and it is no error if nothing is.
    pub(super) fn makes_way_for(&self, next: &Message) -> bool {
        let is = |message: &Message, verb: Verb| message.verb == SUBSYSTEM << 8 | verb as u16;
        is(self, Verb::NewTable)
            && is(next, Verb::DeleteTable)
            && (self.family, &self.body) == (next.family, &next.body)
    }

    /// The question whether the table is there that this makes: the kernel shows it, or says that it is not.
    pub(super) fn question(&self) -> Vec<u8> {
        let question = Message {
            verb: SUBSYSTEM << 8 | Verb::GetTable as u16,
            flags: REQUEST,
            ..self.clone()
        };
        let mut bytes = Vec::with_capacity(question.len());
        question.write(1, ACK, &mut bytes);
        bytes
    }

    pub(super) fn len(&self) -> usize {
        HEAD + self.body.len()
    }

    fn write(&self, sequence: u32, flags: u16, out: &mut Vec<u8>) {
        let length = u32::try_from(self.len()).expect("messages are built in parts of some kilobytes");
        out.extend(length.to_ne_bytes());
        out.extend(self.verb.to_ne_bytes());
        out.extend((self.flags | flags).to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend(0_u32.to_ne_bytes());
        // Version 0; the edges of a transaction say of which subsystem it is.
        let resource = if self.family == 0 { SUBSYSTEM } else { 0 };
        out.extend([self.family, 0]);
        out.extend(resource.to_be_bytes());
        out.extend(&self.body);
    }
}

/// One transaction: the kernel does all of it or nothing. The last message is acknowledged; its sequence number is returned too.
pub(super) fn transaction(messages: &[Message]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::with_capacity(messages.iter().map(Message::len).sum::<usize>() + 2 * HEAD);
    let mut sequence = 1;
    Message::edge(Verb::Begin).write(sequence, 0, &mut bytes);
    for (place, message) in messages.iter().enumerate() {
        sequence += 1;
        let is_last = place + 1 == messages.len();
        message.write(sequence, if is_last { ACK } else { 0 }, &mut bytes);
    }
    Message::edge(Verb::End).write(sequence + 1, 0, &mut bytes);
    (bytes, sequence)
}

pub(super) fn new_table(table: TableOf) -> Message {
    Message::new(table, Verb::NewTable, CREATE, Attributes::default().text(1, table.name))
}

pub(super) fn delete_table(table: TableOf) -> Message {
    Message::new(table, Verb::DeleteTable, 0, Attributes::default().text(1, table.name))
}

/// A chain where packets come by. `kind` is `filter` or `nat`.
pub(super) fn new_chain(table: TableOf, chain: &str, kind: &str, hook: Hook, priority: i32) -> Message {
    let place = Attributes::default()
        .number(1, hook as u32)
        .number(2, priority.cast_unsigned());
    let body = Attributes::default()
        .text(1, table.name)
        .text(3, chain)
        .nested(4, place)
        .text(7, kind);
    Message::new(table, Verb::NewChain, CREATE, body)
}

/// A chain to which rules send packets.
pub(super) fn new_side_chain(table: TableOf, chain: &str) -> Message {
    let body = Attributes::default().text(1, table.name).text(3, chain);
    Message::new(table, Verb::NewChain, CREATE, body)
}

/// A chain and its rules; nothing may send packets there any more.
pub(super) fn delete_chain(table: TableOf, chain: &str) -> Message {
    let body = Attributes::default().text(1, table.name).text(3, chain);
    Message::new(table, Verb::DeleteChain, 0, body)
}

pub(super) fn new_rule(table: TableOf, chain: &str, expressions: Vec<Expression>) -> Message {
    let mut list = Attributes::default();
    for Expression(name, data) in expressions {
        list = list.nested(1, Attributes::default().text(1, name).nested(2, data));
    }
    let body = Attributes::default().text(1, table.name).text(2, chain).nested(4, list);
    Message::new(table, Verb::NewRule, APPEND, body)
}

/// `id` tells the sets of one transaction apart.
pub(super) fn new_set(table: TableOf, set: &Set, id: u32) -> Message {
    new_set_with(table, set, id, 0)
}

/// A set that rules write, whose elements go after a time.
pub(super) fn new_written_set(table: TableOf, set: &Set, id: u32) -> Message {
    // NFT_SET_TIMEOUT and NFT_SET_EVAL.
    new_set_with(table, set, id, 0x10 | 0x20)
}

fn new_set_with(table: TableOf, set: &Set, id: u32, flags: u32) -> Message {
    // NFT_SET_MAP.
    let flags = flags | if set.value.is_empty() { 0 } else { 8 };
    let mut body = Attributes::default()
        .text(1, table.name)
        .text(2, set.name)
        .number(3, flags)
        .number(4, joined(table.family, set.key))
        .number(5, width(table.family, set.key));
    if set.value == VERDICT {
        body = body.number(6, VERDICTS);
    } else if !set.value.is_empty() {
        body = body
            .number(6, joined(table.family, set.value))
            .number(7, width(table.family, set.value));
    }
    Message::new(table, Verb::NewSet, CREATE, body.number(10, id))
}

/// A set and its elements; no rule may look into it any more.
pub(super) fn delete_set(table: TableOf, set: &Set) -> Message {
    let body = Attributes::default().text(1, table.name).text(2, set.name);
    Message::new(table, Verb::DeleteSet, 0, body)
}

/// The type of several fields, six bits each.
fn joined(family: Family, fields: &[u8]) -> u32 {
    let kind = |field: u8| match (family, field) {
        (Family::V6, TYPE_ADDRESS) => TYPE_ADDRESS_V6,
        _ => field,
    };
    fields
        .iter()
        .fold(0, |joined, field| joined << 6 | u32::from(kind(*field)))
}

/// How many bytes the fields of a key or value take.
pub(super) fn width(family: Family, fields: &[u8]) -> u32 {
    4 * fields.iter().map(|field| words(family, *field)).sum::<u32>()
}

/// How many registers a field takes.
fn words(family: Family, field: u8) -> u32 {
    match (family, field) {
        (Family::V6, TYPE_ADDRESS) => 4,
        _ => 1,
    }
}

/// Where these fields stand when they stand in a row from the first register on, as the fields of a key must. There are sixteen registers.
pub(super) fn registers<const N: usize>(family: Family, fields: [u8; N]) -> [u32; N] {
    let mut next = REGISTERS;
    fields.map(|field| {
        let own = next;
        next += words(family, field);
        own
    })
}

/// An element: its key, and its value in a map.
pub(super) type Element = (Vec<u8>, Option<Vec<u8>>);

/// An element of a map of verdicts: its key, and the chain at which the packet goes on; it is let through without one.
pub(super) type Junction = (Vec<u8>, Option<String>);

/// So many elements go into one message: their list is one attribute, and an attribute has 64 kilobytes at most.
const ELEMENTS: usize = 500;

pub(super) fn new_elements(table: TableOf, set: &Set, elements: &[Element]) -> Vec<Message> {
    of_elements(Verb::NewElements, CREATE, table, set, elements)
}

/// Values of what is deleted do not matter.
pub(super) fn delete_elements(table: TableOf, set: &Set, elements: &[Element]) -> Vec<Message> {
    of_elements(Verb::DeleteElements, 0, table, set, elements)
}

/// Elements of a map of verdicts.
pub(super) fn new_junctions(table: TableOf, set: &Set, junctions: &[Junction]) -> Vec<Message> {
    let element = |(key, chain): &Junction| {
        let verdict = match chain {
            Some(chain) => Attributes::default().number(1, GOTO).text(2, chain),
            None => Attributes::default().number(1, ACCEPT),
        };
        let value = Attributes::default().nested(2, verdict);
        Attributes::default().nested(1, data(key)).nested(2, value)
    };
    in_parts(Verb::NewElements, CREATE, table, set, junctions, element)
}

/// Elements of a map that rules write.
pub(super) fn new_written_elements<T>(
    table: TableOf,
    set: &Set,
    elements: &[T],
    element: impl Fn(&T) -> Attributes,
) -> Vec<Message> {
    in_parts(Verb::NewElements, CREATE, table, set, elements, element)
}

fn of_elements(verb: Verb, flags: u16, table: TableOf, set: &Set, elements: &[Element]) -> Vec<Message> {
    let element = |(key, value): &Element| {
        let element = Attributes::default().nested(1, data(key));
        match value {
            Some(value) => element.nested(2, data(value)),
            None => element,
        }
    };
    in_parts(verb, flags, table, set, elements, element)
}

fn in_parts<T>(
    verb: Verb,
    flags: u16,
    table: TableOf,
    set: &Set,
    elements: &[T],
    element: impl Fn(&T) -> Attributes,
) -> Vec<Message> {
    let message = |part: &[T]| {
        let list = part
            .iter()
            .fold(Attributes::default(), |list, one| list.nested(1, element(one)));
        let body = Attributes::default()
            .text(1, table.name)
            .text(2, set.name)
            .nested(3, list);
        Message::new(table, verb, flags, body)
    };
    elements.chunks(ELEMENTS).map(message).collect()
}

fn data(value: &[u8]) -> Attributes {
    Attributes::default().bytes(1, value)
}

/// A step of a rule.
pub(super) struct Expression(&'static str, Attributes);

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: TableOf = TableOf {
        family: Family::V4,
        name: "t",
    };

    const MAP: Set<'static> = Set {
        name: "m",
        key: &[TYPE_ADDRESS, TYPE_PORT],
        value: &[TYPE_ADDRESS],
    };

    #[test]
    fn a_transaction_is_enclosed_and_its_last_message_is_acknowledged() {
        let (bytes, last) = transaction(&[new_table(TABLE), delete_table(TABLE)]);
        let mut at = 0;
        let mut seen = Vec::new();
        while at < bytes.len() {
            let word = |from: usize| u16::from_ne_bytes([bytes[at + from], bytes[at + from + 1]]);
            let length = u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            seen.push((word(4), word(6) & ACK, u32::from(word(8))));
            at += usize::try_from(length).expect("is small");
        }
        let table = SUBSYSTEM << 8;
        assert_eq!(seen, [(0x10, 0, 1), (table, 0, 2), (table | 2, ACK, 3), (0x11, 0, 4)]);
        assert_eq!(last, 3);
    }

    #[test]
    fn many_elements_are_cut_into_messages_that_fit() {
        let elements: Vec<Element> = (0..1201_u32)
            .map(|number| (number.to_be_bytes().repeat(2), Some(vec![0; 4])))
            .collect();
        let messages = new_elements(TABLE, &MAP, &elements);
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.len() < usize::from(u16::MAX)));
    }

    #[test]
    fn the_type_of_a_key_is_that_of_its_fields() {
        assert_eq!(joined(Family::V4, MAP.key), 7 << 6 | 13);
        assert_eq!(width(Family::V4, MAP.key), 8);
        assert_eq!(joined(Family::V6, MAP.key), 8 << 6 | 13);
        assert_eq!(width(Family::V6, MAP.key), 20);
        let fields = [TYPE_ADDRESS, TYPE_PORT, TYPE_ADDRESS];
        assert_eq!(registers(Family::V4, fields), [8, 9, 10]);
        assert_eq!(registers(Family::V6, fields), [8, 12, 13]);
    }
}
