//! The part of nf_tables' netlink language that Services, ways out and policies need, as bytes (`linux/netfilter/nf_tables.h`). Pure: what is built here is
//! sent by [`super::netfilter`].
//!
//! By hand, because no crate would do: those that speak netlink lack maps and numgen, bind C libraries or have another licence, and the
//! `nft` program takes 20 ms where the kernel takes a tenth of one, and fails at a thousand Services.

mod steps;

use super::attributes::Attributes;
pub(super) use steps::*;

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// `NFPROTO_IPV4`; also the family of tables named `ip`.
const IPV4: u8 = 2;
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

/// An IPv4 address, a protocol, a port, a number.
pub(super) const TYPE_ADDRESS: u8 = 7;
pub(super) const TYPE_PROTOCOL: u8 = 12;
pub(super) const TYPE_PORT: u8 = 13;
/// A plain number is called a mark: with `integer` the `nft` program ends in an assertion when it lists the map.
pub(super) const TYPE_NUMBER: u8 = 19;

/// Where addresses are in an IPv4 header, and destination ports in those of TCP, UDP and SCTP.
pub(super) const SOURCE_AT: u32 = 12;
pub(super) const DESTINATION_AT: u32 = 16;
pub(super) const PORT_AT: u32 = 2;

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
    fn new(verb: Verb, flags: u16, body: Attributes) -> Message {
        Message {
            verb: SUBSYSTEM << 8 | verb as u16,
            flags: REQUEST | flags,
            family: IPV4,
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

pub(super) fn new_table(table: &str) -> Message {
    Message::new(Verb::NewTable, CREATE, Attributes::default().text(1, table))
}

pub(super) fn delete_table(table: &str) -> Message {
    Message::new(Verb::DeleteTable, 0, Attributes::default().text(1, table))
}

/// A chain where packets come by. `kind` is `filter` or `nat`.
pub(super) fn new_chain(table: &str, chain: &str, kind: &str, hook: Hook, priority: i32) -> Message {
    let place = Attributes::default()
        .number(1, hook as u32)
        .number(2, priority.cast_unsigned());
    let body = Attributes::default()
        .text(1, table)
        .text(3, chain)
        .nested(4, place)
        .text(7, kind);
    Message::new(Verb::NewChain, CREATE, body)
}

/// A chain to which rules send packets.
pub(super) fn new_side_chain(table: &str, chain: &str) -> Message {
    let body = Attributes::default().text(1, table).text(3, chain);
    Message::new(Verb::NewChain, CREATE, body)
}

/// A chain and its rules; nothing may send packets there any more.
pub(super) fn delete_chain(table: &str, chain: &str) -> Message {
    let body = Attributes::default().text(1, table).text(3, chain);
    Message::new(Verb::DeleteChain, 0, body)
}

pub(super) fn new_rule(table: &str, chain: &str, expressions: Vec<Expression>) -> Message {
    let mut list = Attributes::default();
    for Expression(name, data) in expressions {
        list = list.nested(1, Attributes::default().text(1, name).nested(2, data));
    }
    let body = Attributes::default().text(1, table).text(2, chain).nested(4, list);
    Message::new(Verb::NewRule, APPEND, body)
}

/// `id` tells the sets of one transaction apart.
pub(super) fn new_set(table: &str, set: &Set, id: u32) -> Message {
    new_set_with(table, set, id, 0)
}

/// A set that rules write, whose elements go after a time.
pub(super) fn new_written_set(table: &str, set: &Set, id: u32) -> Message {
    // NFT_SET_TIMEOUT and NFT_SET_EVAL.
    new_set_with(table, set, id, 0x10 | 0x20)
}

fn new_set_with(table: &str, set: &Set, id: u32, flags: u32) -> Message {
    // NFT_SET_MAP.
    let flags = flags | if set.value.is_empty() { 0 } else { 8 };
    let mut body = Attributes::default()
        .text(1, table)
        .text(2, set.name)
        .number(3, flags)
        .number(4, joined(set.key))
        .number(5, width(set.key));
    if set.value == VERDICT {
        body = body.number(6, VERDICTS);
    } else if !set.value.is_empty() {
        body = body.number(6, joined(set.value)).number(7, width(set.value));
    }
    Message::new(Verb::NewSet, CREATE, body.number(10, id))
}

/// A set and its elements; no rule may look into it any more.
pub(super) fn delete_set(table: &str, set: &Set) -> Message {
    let body = Attributes::default().text(1, table).text(2, set.name);
    Message::new(Verb::DeleteSet, 0, body)
}

/// The type of several fields, six bits each.
fn joined(fields: &[u8]) -> u32 {
    fields.iter().fold(0, |joined, field| joined << 6 | u32::from(*field))
}

fn width(fields: &[u8]) -> u32 {
    u32::try_from(4 * fields.len()).expect("a handful of fields")
}

/// An element: its key, and its value in a map.
pub(super) type Element = (Vec<u8>, Option<Vec<u8>>);

/// An element of a map of verdicts: its key, and the chain at which the packet goes on; it is let through without one.
pub(super) type Junction = (Vec<u8>, Option<String>);

/// So many elements go into one message: their list is one attribute, and an attribute has 64 kilobytes at most.
const ELEMENTS: usize = 500;

pub(super) fn new_elements(table: &str, set: &Set, elements: &[Element]) -> Vec<Message> {
    of_elements(Verb::NewElements, CREATE, table, set, elements)
}

/// Values of what is deleted do not matter.
pub(super) fn delete_elements(table: &str, set: &Set, elements: &[Element]) -> Vec<Message> {
    of_elements(Verb::DeleteElements, 0, table, set, elements)
}

/// Elements of a map of verdicts.
pub(super) fn new_junctions(table: &str, set: &Set, junctions: &[Junction]) -> Vec<Message> {
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
    table: &str,
    set: &Set,
    elements: &[T],
    element: impl Fn(&T) -> Attributes,
) -> Vec<Message> {
    in_parts(Verb::NewElements, CREATE, table, set, elements, element)
}

fn of_elements(verb: Verb, flags: u16, table: &str, set: &Set, elements: &[Element]) -> Vec<Message> {
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
    table: &str,
    set: &Set,
    elements: &[T],
    element: impl Fn(&T) -> Attributes,
) -> Vec<Message> {
    let message = |part: &[T]| {
        let list = part
            .iter()
            .fold(Attributes::default(), |list, one| list.nested(1, element(one)));
        let body = Attributes::default().text(1, table).text(2, set.name).nested(3, list);
        Message::new(verb, flags, body)
    };
    elements.chunks(ELEMENTS).map(message).collect()
}

fn data(value: &[u8]) -> Attributes {
    Attributes::default().bytes(1, value)
}

/// A step of a rule.
pub(super) struct Expression(&'static str, Attributes);

/// Bytes of the packet into a register. `base`: 1 is the network header, 2 the transport header.
pub(super) fn payload(base: u32, offset: u32, length: u32, to: u32) -> Expression {
    let data = Attributes::default()
        .number(1, to)
        .number(2, base)
        .number(3, offset)
        .number(4, length);
    Expression("payload", data)
}

/// The transport protocol (`NFT_META_L4PROTO`).
pub(super) fn protocol(to: u32) -> Expression {
    Expression("meta", Attributes::default().number(1, to).number(2, 16))
}

/// A random number below `below`.
pub(super) fn random(below: u32, to: u32) -> Expression {
    Expression(
        "numgen",
        Attributes::default().number(1, to).number(2, below).number(3, 1),
    )
}

/// Goes on if the set has the key that begins in register `from`; a map's value goes to register `to`.
pub(super) fn lookup(set: &Set, from: u32, to: Option<u32>) -> Expression {
    let mut data = Attributes::default().text(1, set.name).number(2, from);
    if let Some(to) = to {
        data = data.number(3, to);
    }
    Expression("lookup", data)
}

/// Sends the connection to the address and port in these registers.
pub(super) fn destination(address: u32, port: u32) -> Expression {
    let data = Attributes::default()
        .number(1, 1)
        .number(2, u32::from(IPV4))
        .number(3, address)
        .number(5, port);
    Expression("nat", data)
}

/// Makes the connection come from the node.
pub(super) fn masquerade() -> Expression {
    Expression("masq", Attributes::default())
}

/// Refuses the packet: to the client the port is not reachable, which is a refused connection.
pub(super) fn reject() -> Expression {
    Expression("reject", Attributes::default().number(1, 0).bytes(2, &[3]))
}

/// The same, as one that no network leads to.
pub(super) fn unreachable() -> Expression {
    Expression("reject", Attributes::default().number(1, 0).bytes(2, &[0]))
}

/// The bit of the connection's state (`NFT_CT_STATE`).
pub(super) fn connection_state(to: u32) -> Expression {
    Expression("ct", Attributes::default().number(1, to).number(2, 0))
}

/// Refuses the packet of a connection by TCP: to who sent it the connection is reset.
pub(super) fn reset() -> Expression {
    Expression("reject", Attributes::default().number(1, 1).bytes(2, &[0]))
}

/// The mark of the connection (`NFT_CT_MARK`).
pub(super) fn connection_mark(to: u32) -> Expression {
    Expression("ct", Attributes::default().number(1, to).number(2, 3))
}

/// The connection's `status` bits (`NFT_CT_STATUS`).
pub(super) fn connection_status(to: u32) -> Expression {
    Expression("ct", Attributes::default().number(1, to).number(2, 2))
}

/// Keeps only the bits of the mask.
pub(super) fn mask(register: u32, mask: [u8; 4]) -> Expression {
    let fields = Attributes::default()
        .number(1, register)
        .number(2, register)
        .number(3, 4)
        .nested(4, data(&mask))
        .nested(5, data(&[0; 4]));
    Expression("bitwise", fields)
}

/// Goes on if the register holds these bytes, or with `is_equal` false if it does not.
pub(super) fn compare(register: u32, is_equal: bool, value: &[u8]) -> Expression {
    by_order(register, u32::from(!is_equal), value)
}

/// Goes on if the number in the register is no less than this one, and no more than the other.
pub(super) fn between(register: u32, first: u16, last: u16) -> [Expression; 2] {
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

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Set<'static> = Set {
        name: "m",
        key: &[TYPE_ADDRESS, TYPE_PORT],
        value: &[TYPE_ADDRESS],
    };

    #[test]
    fn a_transaction_is_enclosed_and_its_last_message_is_acknowledged() {
        let (bytes, last) = transaction(&[new_table("t"), delete_table("t")]);
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
        let messages = new_elements("t", &MAP, &elements);
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| message.len() < usize::from(u16::MAX)));
    }

    #[test]
    fn the_type_of_a_key_is_that_of_its_fields() {
        assert_eq!(joined(MAP.key), 7 << 6 | 13);
        assert_eq!(width(MAP.key), 8);
    }
}
