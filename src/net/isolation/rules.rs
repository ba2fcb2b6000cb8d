//! Rules of the table that keeps pods apart. Pure.

use std::net::Ipv4Addr;

use super::{Block, Pass, Peer, PortName, Ports, mask};
use crate::model::{GATEWAY, POD_PREFIX, PODS};
use crate::net::connections::ENDED;
use crate::net::nft::{
    self, DESTINATION_AT, Expression, Hook, Message, PORT_AT, REGISTERS, SOURCE_AT, Set, TYPE_ADDRESS, TYPE_PORT,
    TYPE_PROTOCOL, VERDICT, VERDICT_REGISTER,
};

/// The table's name: what people see who list the rules.
pub(super) const TABLE: &str = "kubelocal-policy";
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
    fn ends(self) -> (u32, u32) {
        match self {
            Way::Leaving => (SOURCE_AT, DESTINATION_AT),
            Way::Entering => (DESTINATION_AT, SOURCE_AT),
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
const TWO: u32 = REGISTERS + 1;
const THREE: u32 = REGISTERS + 2;

/// The table with its two maps and nothing in them, instead of whatever there is of that name.
pub(super) fn base() -> Vec<Message> {
    // What is to be deleted has to be there.
    let mut messages = vec![nft::new_table(TABLE), nft::delete_table(TABLE), nft::new_table(TABLE)];
    let sets = [Way::Leaving.pods(), Way::Entering.pods(), SELVES];
    messages.extend(sets.iter().zip(1..).map(|(set, id)| nft::new_set(TABLE, set, id)));
    messages
}

/// The chains where packets come by. They come last, so that not one of them is there before what it looks into.
pub(super) fn hooks() -> Vec<Message> {
    let chain = |way: Way, hook, priority| nft::new_chain(TABLE, way.name(), "filter", hook, priority);
    let mut messages = vec![
        chain(Way::Leaving, Hook::Prerouting, LEAVING),
        chain(Way::Entering, Hook::Forward, ENTERING),
    ];
    for way in Way::BOTH {
        let rules = [known(), itself(), to_chain(way), unknown(way)];
        let rules = rules.into_iter().map(|rule| nft::new_rule(TABLE, way.name(), rule));
        messages.extend(rules);
    }
    for (name, hook) in ENDING {
        messages.push(nft::new_chain(TABLE, name, "filter", hook, ENTERING - 1));
        let rules = [reset(), drop_ended()];
        messages.extend(rules.map(|rule| nft::new_rule(TABLE, name, rule)));
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
        nft::mask(ONE, [RESET, 0, 0, 0]),
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
        nft::mask(ONE, KNOWN.to_ne_bytes()),
        nft::compare(ONE, false, &[0; 4]),
        nft::accept(),
    ]
}

fn itself() -> Vec<Expression> {
    vec![
        nft::payload(1, SOURCE_AT, 4, ONE),
        nft::payload(1, DESTINATION_AT, 4, TWO),
        nft::lookup(&SELVES, ONE, None),
        nft::accept(),
    ]
}

fn to_chain(way: Way) -> Vec<Expression> {
    vec![
        nft::payload(1, way.ends().0, 4, ONE),
        nft::lookup(&way.pods(), ONE, Some(VERDICT_REGISTER)),
    ]
}

/// A pod of which nothing is known yet.
fn unknown(way: Way) -> Vec<Expression> {
    vec![
        nft::payload(1, way.ends().0, 4, ONE),
        nft::compare(ONE, false, &GATEWAY.octets()),
        nft::mask(ONE, mask(POD_PREFIX).octets()),
        nft::compare(ONE, true, &PODS.octets()),
        nft::drop(),
    ]
}

/// What a pass asks of a packet before it lets it through. `group` and `places` name the sets.
pub(super) fn pass(
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
            vec![nft::payload(1, other, 4, ONE), nft::lookup(&set, ONE, None)]
        }
        Peer::Block(block, except) => {
            let outside = except.iter().flat_map(|block| in_block(other, block, false));
            in_block(other, block, true).into_iter().chain(outside).collect()
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
            rule.extend([
                nft::payload(1, DESTINATION_AT, 4, ONE),
                nft::protocol(TWO),
                nft::payload(2, PORT_AT, 2, THREE),
                nft::lookup(&set, ONE, None),
            ]);
        }
    }
    rule.push(nft::accept());
    rule
}

fn in_block(at: u32, block: &Block, is_inside: bool) -> Vec<Expression> {
    vec![
        nft::payload(1, at, 4, ONE),
        nft::mask(ONE, mask(block.prefix).octets()),
        nft::compare(ONE, is_inside, &block.network.octets()),
    ]
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
pub(super) fn key(address: Ipv4Addr) -> Vec<u8> {
    address.octets().to_vec()
}

/// A port of an address as a key of a set.
pub(super) fn place(address: Ipv4Addr, protocol: u8, port: u16) -> Vec<u8> {
    let mut key = key(address);
    key.extend([protocol, 0, 0, 0]);
    key.extend(port.to_be_bytes());
    key.extend([0, 0]);
    key
}
