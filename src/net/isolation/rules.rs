//! Rules of the table that keeps pods apart. Pure.

use std::net::IpAddr;

use super::{Pass, Peer, PortName, Ports};
use crate::model::Family;
use crate::net::connections::ENDED;
use crate::net::nft::{
    self, End, Expression, Hook, Message, PORT_AT, REGISTERS, Set, TYPE_ADDRESS, TYPE_PORT, TYPE_PROTOCOL, TableOf,
    VERDICT, VERDICT_REGISTER, octets,
};

/// The table's name: what people see who list the rules.
const TABLE: &str = "kubelocal-policy";

/// That of a family.
pub(super) const fn table_of(family: Family) -> TableOf {
    TableOf { family, name: TABLE }
}

/// Behind Services (-100), so that it is seen where a connection leads; before ways out (-90), so that nobody is asked for
/// what may not leave.
const LEAVING: i32 = -95;
/// Behind the rule that refuses what is for a Service without endpoints.
const ENTERING: i32 = 10;
/// The bits of established and related connections (`NF_CT_STATE_BIT`).
const KNOWN: u32 = 1 << 1 | 1 << 2;

/// Where packets of connections that are to end are refused: between pods, and to the node, whose sockets stand for the outside. Packets are
/// refused there and not where they come in, because kernels before 5.9 can't.
const ENDING: [(&str, Hook); 2] = [("ending", Hook::Forward), ("ending-ways-out", Hook::Input)];
const TCP: u8 = 6;
/// Where flags are in a header of TCP, and the one of a reset.
const FLAGS_AT: u32 = 13;
const RESET: u8 = 0x04;

/// Which way packets go, as their pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Leaving,
    Entering,
}

impl Way {
    pub(super) const BOTH: [Way; 2] = [Way::Leaving, Way::Entering];

    /// Its chain where packets come by, and the map that says which chain is a pod's.
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Leaving => "leaving",
            Way::Entering => "entering",
        }
    }

    /// Where a packet has the address of the pod, and that of the other end.
    fn ends(self) -> (End, End) {
        match self {
            Way::Leaving => (End::Source, End::Destination),
            Way::Entering => (End::Destination, End::Source),
        }
    }

    pub(super) fn pods(self) -> Set<'static> {
        Set {
            name: self.name(),
            key: &[TYPE_ADDRESS],
            value: VERDICT,
        }
    }
}

/// Isolated pods, as the source and the destination of packets: a pod reaches itself through a Service too.
pub(super) const SELVES: Set<'static> = Set {
    name: "selves",
    key: &[TYPE_ADDRESS, TYPE_ADDRESS],
    value: &[],
};

/// Addresses of a group.
pub(super) const GROUP: &[u8] = &[TYPE_ADDRESS];
/// Where ports of a name are.
pub(super) const PLACES: &[u8] = &[TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT];

const ONE: u32 = REGISTERS;

/// The table with its two maps and nothing in them, instead of whatever there is of that name.
pub(super) fn base(table: TableOf) -> Vec<Message> {
    // What is to be deleted has to be there.
    let mut messages = vec![nft::new_table(table), nft::delete_table(table), nft::new_table(table)];
    let sets = [Way::Leaving.pods(), Way::Entering.pods(), SELVES];
    messages.extend(sets.iter().zip(1..).map(|(set, id)| nft::new_set(table, set, id)));
    messages
}

/// The chains where packets come by. They come last, so that not one of them is there before what it looks into.
pub(super) fn hooks(table: TableOf) -> Vec<Message> {
    let family = table.family;
    let chain = |way: Way, hook, priority| nft::new_chain(table, way.name(), "filter", hook, priority);
    let mut messages = vec![
        chain(Way::Leaving, Hook::Prerouting, LEAVING),
        chain(Way::Entering, Hook::Forward, ENTERING),
    ];
    for way in Way::BOTH {
        let rules = [known(), itself(family), to_chain(family, way), unknown(family, way)];
        let rules = rules.into_iter().map(|rule| nft::new_rule(table, way.name(), rule));
        messages.extend(rules);
    }
    for (name, hook) in ENDING {
        messages.push(nft::new_chain(table, name, "filter", hook, ENTERING - 1));
        let rules = [reset(), drop_ended()];
        messages.extend(rules.map(|rule| nft::new_rule(table, name, rule)));
    }
    messages
}

/// Of a connection that is to end.
fn ended() -> Vec<Expression> {
    vec![nft::connection_mark(ONE), nft::compare(ONE, true, &ENDED.to_ne_bytes())]
}

/// Resets it for who sent the packet, unless that is a reset itself, which tells the other side.
fn reset() -> Vec<Expression> {
    let mut rule = ended();
    rule.extend([
        nft::protocol(ONE),
        nft::compare(ONE, true, &[TCP]),
        nft::payload(2, FLAGS_AT, 1, ONE),
        nft::mask(ONE, &[RESET, 0, 0, 0]),
        nft::compare(ONE, true, &[0; 4]),
        nft::reset(),
    ]);
    rule
}

/// What is not by TCP.
fn drop_ended() -> Vec<Expression> {
    let mut rule = ended();
    rule.extend([nft::protocol(ONE), nft::compare(ONE, false, &[TCP]), nft::drop()]);
    rule
}

/// Answers, and what belongs to a connection that was let through.
fn known() -> Vec<Expression> {
    vec![
        nft::connection_state(ONE),
        nft::mask(ONE, &KNOWN.to_ne_bytes()),
        nft::compare(ONE, false, &[0; 4]),
        nft::accept(),
    ]
}

fn itself(family: Family) -> Vec<Expression> {
    let [source, destination] = nft::registers(family, [TYPE_ADDRESS; 2]);
    vec![
        nft::address(family, End::Source, source),
        nft::address(family, End::Destination, destination),
        nft::lookup(&SELVES, source, None),
        nft::accept(),
    ]
}

fn to_chain(family: Family, way: Way) -> Vec<Expression> {
    vec![
        nft::address(family, way.ends().0, ONE),
        nft::lookup(&way.pods(), ONE, Some(VERDICT_REGISTER)),
    ]
}

/// A pod of which nothing is known yet.
fn unknown(family: Family, way: Way) -> Vec<Expression> {
    let pod = way.ends().0;
    let mut rule = vec![
        nft::address(family, pod, ONE),
        nft::compare(ONE, false, &octets(family.gateway())),
    ];
    rule.extend(nft::in_block(pod, family.pods(), true));
    rule.push(nft::drop());
    rule
}

/// What a pass asks of a packet before it lets it through. `group` and `places` name the sets.
pub(super) fn pass(
    family: Family,
    way: Way,
    pass: &Pass,
    group: impl Fn(&str) -> String,
    places: impl Fn(&PortName) -> String,
) -> Vec<Expression> {
    let other = way.ends().1;
    let mut rule = match &pass.peer {
        Peer::Anyone => Vec::new(),
        Peer::Group(name) => {
            let set = Set {
                name: &group(name),
                key: GROUP,
                value: &[],
            };
            vec![nft::address(family, other, ONE), nft::lookup(&set, ONE, None)]
        }
        Peer::Block(block, except) => {
            let except = except.iter().filter(|except| except.family() == family);
            let outside = except.flat_map(|block| nft::in_block(other, *block, false));
            nft::in_block(other, *block, true).into_iter().chain(outside).collect()
        }
    };
    match &pass.ports {
        Ports::Any => {}
        Ports::Range(protocol, first, last) => rule.extend(in_range(*protocol, *first, *last)),
        Ports::Named(name) => {
            let set = Set {
                name: &places(name),
                key: PLACES,
                value: &[],
            };
            let [address, protocol, port] = nft::registers(family, [TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT]);
            rule.extend([
                nft::address(family, End::Destination, address),
                nft::protocol(protocol),
                nft::payload(2, PORT_AT, 2, port),
                nft::lookup(&set, address, None),
            ]);
        }
    }
    rule.push(nft::accept());
    rule
}

fn in_range(protocol: u8, first: u16, last: u16) -> Vec<Expression> {
    let mut rule = vec![
        nft::protocol(ONE),
        nft::compare(ONE, true, &[protocol]),
        nft::payload(2, PORT_AT, 2, ONE),
    ];
    if first == last {
        rule.push(nft::compare(ONE, true, &first.to_be_bytes()));
    } else {
        rule.extend(nft::between(ONE, first, last));
    }
    rule
}

/// What was let through by nothing.
pub(super) fn dropped() -> Vec<Expression> {
    vec![nft::drop()]
}

/// An address as a key of a set.
pub(super) fn key(address: IpAddr) -> Vec<u8> {
    octets(address)
}

/// A port of an address as a key of a set.
pub(super) fn place(address: IpAddr, protocol: u8, port: u16) -> Vec<u8> {
    let mut key = key(address);
    key.extend([protocol, 0, 0, 0]);
    key.extend(port.to_be_bytes());
    key.extend([0, 0]);
    key
}
