//! Clients that stay with their endpoint until they have not connected for a while, as elements of maps and as rules. Pure.
//!
//! ```text
//!  connection ─ `stays`, by the frontend ─► chain of its timeout ─ `clients` has the client, and `members` its endpoint? ─► there; time anew
//!                                                                 └ no: a slot is drawn, and noted in `clients` with the timeout
//! ```
//!
//! The kernel itself notes which client is where, and forgets it in time; what the node says is which frontends have such clients, and which
//! endpoints are theirs. An endpoint that goes is out of `members` in the same transaction in which its slots go, so whoever was with
//! it draws anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::balance::{Backend, Frontend, NOTED, SIZES, key_of, value_of};
use super::nft::{
    self, Element, End, Expression, Junction, Message, PORT_AT, Set, TYPE_ADDRESS, TYPE_NUMBER, TYPE_PORT,
    TYPE_PROTOCOL, TableOf, VERDICT, VERDICT_REGISTER,
};
use crate::model::Family;

/// Which chain the connections to a frontend go through.
pub(super) const STAYS: Set<'static> = Set {
    name: "stays",
    key: &[TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT],
    value: VERDICT,
};

/// Who is where; the kernel writes it. Its elements have a time, and 65,535 is as many as there may be.
pub(super) const CLIENTS: Set<'static> = Set {
    name: "clients",
    key: &[TYPE_ADDRESS, TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT],
    value: &[TYPE_ADDRESS, TYPE_PORT],
};

/// The endpoints of these frontends.
pub(super) const MEMBERS: Set<'static> = Set {
    name: "members",
    key: &[TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT, TYPE_ADDRESS, TYPE_PORT],
    value: &[],
};

/// What a frontend has to do with clients that stay.
pub(super) struct Sticky<'a> {
    pub(super) timeout: Duration,
    pub(super) slots: &'a [Backend],
}

/// A change of the kernel's elements.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Edits {
    pub(super) chains: Vec<Duration>,
    pub(super) junctions: Vec<Junction>,
    pub(super) members: Vec<Element>,
    pub(super) gone_junctions: Vec<Element>,
    pub(super) gone_members: Vec<Element>,
    pub(super) gone_chains: Vec<Duration>,
}

/// How many frontends each chain has.
#[derive(Debug, Default)]
pub(super) struct Chains(BTreeMap<Duration, usize>);

impl Chains {
    /// Takes in the change of a frontend.
    pub(super) fn change(
        &mut self,
        frontend: &Frontend,
        old: Option<&Sticky<'_>>,
        new: Option<&Sticky<'_>>,
        edits: &mut Edits,
    ) {
        let of = |sticky: Option<&Sticky<'_>>| -> BTreeSet<Backend> {
            sticky.into_iter().flat_map(|s| s.slots).copied().collect()
        };
        let (present, wanted) = (of(old), of(new));
        let element = |backend: &Backend| ([key_of(frontend), value_of(*backend)].concat(), None);
        edits.gone_members.extend(present.difference(&wanted).map(element));
        edits.members.extend(wanted.difference(&present).map(element));
        let (old, new) = (old.map(|s| s.timeout), new.map(|s| s.timeout));
        if old == new {
            return;
        }
        if let Some(timeout) = new {
            let count = self.0.entry(timeout).or_default();
            *count += 1;
            if *count == 1 {
                edits.begin(timeout);
            }
            edits.junctions.push((key_of(frontend), Some(chain_name(timeout))));
        }
        if let Some(timeout) = old {
            edits.gone_junctions.push((key_of(frontend), None));
            let count = self.0.get_mut(&timeout).expect("it was counted when it came");
            *count -= 1;
            if *count == 0 {
                self.0.remove(&timeout);
                edits.end(timeout);
            }
        }
    }
}

impl Edits {
    /// A chain that went within the same change is still there.
    fn begin(&mut self, timeout: Duration) {
        let before = self.gone_chains.len();
        self.gone_chains.retain(|gone| *gone != timeout);
        if self.gone_chains.len() == before {
            self.chains.push(timeout);
        }
    }

    /// A chain that came within the same change need not come.
    fn end(&mut self, timeout: Duration) {
        let before = self.chains.len();
        self.chains.retain(|new| *new != timeout);
        if self.chains.len() == before {
            self.gone_chains.push(timeout);
        }
    }

    /// What has to be there before elements lead to it.
    pub(super) fn before(&self, table: TableOf) -> Vec<Message> {
        let chains = self.chains.iter().flat_map(|timeout| chain(table, *timeout));
        let gone = [(&STAYS, &self.gone_junctions), (&MEMBERS, &self.gone_members)];
        let gone = gone
            .into_iter()
            .flat_map(|(set, elements)| nft::delete_elements(table, set, elements));
        chains.chain(gone).collect()
    }

    /// What comes when the slots are there, and what nothing leads to any more.
    pub(super) fn after(&self, table: TableOf) -> Vec<Message> {
        let mut messages = nft::new_elements(table, &MEMBERS, &self.members);
        messages.extend(nft::new_junctions(table, &STAYS, &self.junctions));
        let gone = self.gone_chains.iter();
        messages.extend(gone.map(|timeout| nft::delete_chain(table, &chain_name(*timeout))));
        messages
    }
}

/// `stay-10800s`: what people see who list the rules.
fn chain_name(timeout: Duration) -> String {
    format!("stay-{}s", timeout.as_secs())
}

/// Registers of the rules: who connects, to which frontend, and where it goes.
struct Registers {
    client: u32,
    address: u32,
    protocol: u32,
    port: u32,
    number: u32,
    /// Behind the frontend, so that both together are a key.
    known: [u32; 2],
    drawn: [u32; 2],
}

impl Registers {
    fn of(family: Family) -> Registers {
        let [a, b, c, d] = [TYPE_ADDRESS, TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT];
        let [client, address, protocol, port, known, known_port] =
            nft::registers(family, [a, b, c, d, TYPE_ADDRESS, TYPE_PORT]);
        let [.., number, drawn, drawn_port] =
            nft::registers(family, [a, b, c, d, TYPE_NUMBER, TYPE_ADDRESS, TYPE_PORT]);
        Registers {
            client,
            address,
            protocol,
            port,
            number,
            known: [known, known_port],
            drawn: [drawn, drawn_port],
        }
    }
}

fn chain(table: TableOf, timeout: Duration) -> Vec<Message> {
    let (name, family) = (chain_name(timeout), table.family);
    let drawing = |is_noted: bool| {
        let sizes = SIZES.into_iter().zip(&NOTED);
        sizes.map(move |(size, map)| draw(family, size, map, is_noted.then_some(timeout)))
    };
    // The last ones are for when there are more clients than can be noted: better anywhere than nowhere.
    let rules = [keep(family, timeout)].into_iter();
    let rules = rules.chain(drawing(true)).chain(drawing(false));
    let mut messages = vec![nft::new_side_chain(table, &name)];
    messages.extend(rules.map(|rule| nft::new_rule(table, &name, rule)));
    messages
}

/// A rule that sends connections to the chain of their frontend.
pub(super) fn lead(family: Family) -> Vec<Expression> {
    let registers = Registers::of(family);
    let mut rule = frontend(family, &registers);
    rule.push(nft::lookup(&STAYS, registers.address, Some(VERDICT_REGISTER)));
    rule
}

fn frontend(family: Family, registers: &Registers) -> Vec<Expression> {
    vec![
        nft::address(family, End::Destination, registers.address),
        nft::protocol(registers.protocol),
        nft::payload(2, PORT_AT, 2, registers.port),
    ]
}

fn client(family: Family, registers: &Registers) -> Vec<Expression> {
    let mut steps = frontend(family, registers);
    steps.push(nft::address(family, End::Source, registers.client));
    steps
}

fn keep(family: Family, timeout: Duration) -> Vec<Expression> {
    let registers = Registers::of(family);
    let (client_at, [known, port]) = (registers.client, registers.known);
    let mut rule = client(family, &registers);
    rule.extend([
        nft::lookup(&CLIENTS, client_at, Some(known)),
        nft::lookup(&MEMBERS, registers.address, None),
        nft::note(&CLIENTS, client_at, known, timeout),
        nft::destination(family, known, port),
    ]);
    rule
}

fn draw(family: Family, size: u32, map: &Set, noted: Option<Duration>) -> Vec<Expression> {
    let registers = Registers::of(family);
    let (client_at, [drawn, port]) = (registers.client, registers.drawn);
    let mut rule = client(family, &registers);
    rule.extend([
        nft::random(size, registers.number),
        nft::lookup(map, registers.address, Some(drawn)),
    ]);
    if let Some(timeout) = noted {
        // What is noted can only get another time: who was with an endpoint that is gone is forgotten first.
        rule.push(nft::forget(&CLIENTS, client_at, drawn));
        rule.push(nft::note(&CLIENTS, client_at, drawn, timeout));
    }
    rule.push(nft::destination(family, drawn, port));
    rule
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::balance::Protocol;
    use super::*;

    fn front(port: u16) -> Frontend {
        Frontend {
            ip: Ipv4Addr::new(10, 96, 0, 1).into(),
            protocol: Protocol::Tcp,
            port,
        }
    }

    fn backends(last: &[u8]) -> Vec<Backend> {
        let backend = |last: &u8| Backend {
            ip: Ipv4Addr::new(10, 244, 0, *last).into(),
            port: 8080,
        };
        last.iter().map(backend).collect()
    }

    /// Chains that come, junctions and members that come, members and junctions and chains that go.
    fn counts(edits: &Edits) -> [usize; 6] {
        [
            edits.chains.len(),
            edits.junctions.len(),
            edits.members.len(),
            edits.gone_members.len(),
            edits.gone_junctions.len(),
            edits.gone_chains.len(),
        ]
    }

    #[test]
    fn frontends_of_one_timeout_share_a_chain_until_the_last_is_gone() {
        let mut chains = Chains::default();
        let (two, three) = (backends(&[2, 3]), backends(&[3, 3, 4]));
        let sticky = |slots, seconds| Sticky {
            timeout: Duration::from_secs(seconds),
            slots,
        };
        let mut change = |port, old: Option<Sticky<'_>>, new: Option<Sticky<'_>>| {
            let mut edits = Edits::default();
            chains.change(&front(port), old.as_ref(), new.as_ref(), &mut edits);
            counts(&edits)
        };
        assert_eq!(change(80, None, Some(sticky(&two, 5))), [1, 1, 2, 0, 0, 0]);
        assert_eq!(change(81, None, Some(sticky(&two, 5))), [0, 1, 2, 0, 0, 0]);
        let moved = change(80, Some(sticky(&two, 5)), Some(sticky(&three, 5)));
        assert_eq!(moved, [0, 0, 1, 1, 0, 0], "one member for another");
        let longer = change(81, Some(sticky(&two, 5)), Some(sticky(&two, 9)));
        assert_eq!(longer, [1, 1, 0, 0, 1, 0]);
        assert_eq!(change(80, Some(sticky(&three, 5)), None), [0, 0, 0, 2, 1, 1]);
    }

    #[test]
    fn a_chain_that_goes_and_comes_in_one_change_stays() {
        let (mut chains, mut edits) = (Chains::default(), Edits::default());
        let slots = backends(&[2]);
        let sticky = || Sticky {
            timeout: Duration::from_secs(5),
            slots: &slots,
        };
        chains.change(&front(80), None, Some(&sticky()), &mut edits);
        let mut both = Edits::default();
        chains.change(&front(80), Some(&sticky()), None, &mut both);
        chains.change(&front(81), None, Some(&sticky()), &mut both);
        assert_eq!(counts(&both), [0, 1, 1, 1, 1, 0]);
    }
}
