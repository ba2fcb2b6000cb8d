//! Which endpoint a connection to a Service goes to, as elements of maps. Pure.
//!
//! A Service's port has as many slots as its map has numbers; the kernel draws a number for each connection, and the slot says where it
//! goes. One rule serves every Service, and a change of a Service is a change of its own elements. Where clients are to stay with their
//! endpoint, what was drawn is noted ([`super::affinity`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::affinity::{self, Chains, Sticky};
use super::nft::{Element, Set, TYPE_ADDRESS, TYPE_NUMBER, TYPE_PORT, TYPE_PROTOCOL, octets};

/// A transport protocol that Services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in packets (`IPPROTO_TCP`, `IPPROTO_UDP`).
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// Where clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The Service's address.
    pub ip: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its port.
    pub port: u16,
}

/// Where connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The endpoint's address.
    pub ip: IpAddr,
    /// Its port.
    pub port: u16,
}

/// How a frontend's connections are shared out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balance {
    /// For how long a client that does not connect stays with its endpoint (`sessionAffinity: ClientIP`), if it does.
    pub stay: Option<Duration>,
    /// The endpoints.
    pub backends: BTreeSet<Backend>,
}

/// How many slots a Service's port has: the first number that is no less than that of its endpoints. With sixteen slots three endpoints get
/// 6, 5 and 5 of 16 connections. Endpoints beyond the last number wait until another one goes.
pub(super) const SIZES: [u32; 2] = [16, 256];

const KEY: &[u8] = &[TYPE_ADDRESS, TYPE_PROTOCOL, TYPE_PORT, TYPE_NUMBER];
const VALUE: &[u8] = &[TYPE_ADDRESS, TYPE_PORT];

/// The maps of frontends whose clients go anywhere, and of those where it is noted; one for each size.
pub(super) const DRAWN: [Set<'static>; 2] = [map("random-16"), map("random-256")];
pub(super) const NOTED: [Set<'static>; 2] = [map("sticky-16"), map("sticky-256")];

const fn map(name: &'static str) -> Set<'static> {
    Set {
        name,
        key: KEY,
        value: VALUE,
    }
}

/// Connections from an endpoint to itself: they must seem to come from the node, or their answers would not come back through it.
pub(super) const HAIRPINS: Set<'static> = Set {
    name: "hairpins",
    key: &[TYPE_ADDRESS, TYPE_ADDRESS],
    value: &[],
};

/// A change of the kernel's elements.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub(super) gone: Vec<(Set<'static>, Vec<Element>)>,
    pub(super) new: Vec<(Set<'static>, Vec<Element>)>,
    pub(super) affinity: affinity::Edits,
}

/// What the kernel has of one family.
#[derive(Debug, Default)]
pub(super) struct Table {
    frontends: BTreeMap<Frontend, Slots>,
    /// How many frontends have an endpoint of this address.
    hairpins: BTreeMap<IpAddr, usize>,
    chains: Chains,
}

/// The slots of one frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slots {
    size: usize,
    stay: Option<Duration>,
    slots: Vec<Backend>,
}

impl Slots {
    fn map(&self) -> Set<'static> {
        let maps = if self.stay.is_some() { NOTED } else { DRAWN };
        maps[self.size]
    }

    fn sticky(&self) -> Option<Sticky<'_>> {
        let slots = &self.slots;
        self.stay.map(|timeout| Sticky { timeout, slots })
    }
}

impl Table {
    /// Takes changes in and says what they mean for the kernel. A frontend without endpoints has no elements, so that it is refused.
    pub(super) fn plan(&mut self, changes: &BTreeMap<Frontend, Balance>) -> Edits {
        let mut edits = Edits::default();
        for (frontend, balance) in changes {
            let old = self.frontends.remove(frontend);
            let new = plan_slots(old.as_ref(), balance);
            edits.change_slots(frontend, old.as_ref(), new.as_ref());
            self.count(old.as_ref(), new.as_ref(), &mut edits);
            let sticky = |slots: &'_ Option<Slots>| slots.as_ref().is_some_and(|slots| slots.stay.is_some());
            if sticky(&old) || sticky(&new) {
                let (old, new) = (
                    old.as_ref().and_then(Slots::sticky),
                    new.as_ref().and_then(Slots::sticky),
                );
                self.chains
                    .change(frontend, old.as_ref(), new.as_ref(), &mut edits.affinity);
            }
            if let Some(new) = new {
                self.frontends.insert(*frontend, new);
            }
        }
        edits
    }

    fn count(&mut self, old: Option<&Slots>, new: Option<&Slots>, edits: &mut Edits) {
        let ips = |slots: Option<&Slots>| -> BTreeSet<IpAddr> {
            slots
                .into_iter()
                .flat_map(|s| &s.slots)
                .map(|backend| backend.ip)
                .collect()
        };
        let (old, new) = (ips(old), ips(new));
        for ip in new.difference(&old) {
            let count = self.hairpins.entry(*ip).or_default();
            *count += 1;
            if *count == 1 {
                edits.new.push((HAIRPINS, vec![hairpin(*ip)]));
            }
        }
        for ip in old.difference(&new) {
            let count = self.hairpins.get_mut(ip).expect("it was counted when it came");
            *count -= 1;
            if *count == 0 {
                self.hairpins.remove(ip);
                edits.gone.push((HAIRPINS, vec![hairpin(*ip)]));
            }
        }
    }
}

impl Edits {
    fn change_slots(&mut self, frontend: &Frontend, old: Option<&Slots>, new: Option<&Slots>) {
        let is_same_map =
            |a: &Slots, b: Option<&Slots>| b.is_some_and(|b| a.size == b.size && a.stay.is_some() == b.stay.is_some());
        // An element can't be changed: it goes and comes again in the same transaction.
        let differs = |place: usize, mine: &Slots, other: Option<&Slots>| {
            !is_same_map(mine, other) || other.is_some_and(|other| other.slots[place] != mine.slots[place])
        };
        let elements = |mine: &Slots, other: Option<&Slots>| -> Vec<Element> {
            let places = (0..mine.slots.len()).filter(|place| differs(*place, mine, other));
            places.map(|place| slot(frontend, place, mine.slots[place])).collect()
        };
        for (list, mine, other) in [(&mut self.gone, old, new), (&mut self.new, new, old)] {
            if let Some(mine) = mine {
                let changed = elements(mine, other);
                if !changed.is_empty() {
                    list.push((mine.map(), changed));
                }
            }
        }
    }
}

/// Shares the slots out evenly, and leaves as many as it can where they are: what does not change is not sent.
fn plan_slots(old: Option<&Slots>, balance: &Balance) -> Option<Slots> {
    let count = balance.backends.len();
    let size = SIZES
        .iter()
        .position(|size| count <= *size as usize)
        .unwrap_or(SIZES.len() - 1);
    let places = SIZES[size] as usize;
    let backends: Vec<Backend> = balance.backends.iter().take(places).copied().collect();
    if backends.is_empty() {
        return None;
    }
    // The first few get one more when they don't share evenly.
    let (share, more) = (places / backends.len(), places % backends.len());
    let mut room: BTreeMap<Backend, usize> = backends
        .iter()
        .enumerate()
        .map(|(place, backend)| (*backend, share + usize::from(place < more)))
        .collect();
    let present = old
        .filter(|old| old.size == size)
        .map(|old| &old.slots[..])
        .unwrap_or_default();
    let mut slots: Vec<Option<Backend>> = vec![None; places];
    for (slot, backend) in slots.iter_mut().zip(present) {
        if let Some(room) = room.get_mut(backend).filter(|room| **room > 0) {
            *room -= 1;
            *slot = Some(*backend);
        }
    }
    let mut rest = room
        .into_iter()
        .flat_map(|(backend, room)| std::iter::repeat_n(backend, room));
    let slots = slots
        .into_iter()
        .map(|slot| slot.or_else(|| rest.next()))
        .collect::<Option<_>>();
    Some(Slots {
        size,
        stay: balance.stay,
        slots: slots.expect("the shares add up to the number of slots"),
    })
}

fn slot(frontend: &Frontend, place: usize, backend: Backend) -> Element {
    let mut key = key_of(frontend);
    key.extend(u32::try_from(place).expect("at most 256 slots").to_ne_bytes());
    (key, Some(value_of(backend)))
}

/// A frontend in keys.
pub(super) fn key_of(frontend: &Frontend) -> Vec<u8> {
    let mut key = octets(frontend.ip);
    key.extend([frontend.protocol.number(), 0, 0, 0]);
    key.extend(frontend.port.to_be_bytes());
    key.extend([0, 0]);
    key
}

/// A backend in values.
pub(super) fn value_of(backend: Backend) -> Vec<u8> {
    let mut value = octets(backend.ip);
    value.extend(backend.port.to_be_bytes());
    value.extend([0, 0]);
    value
}

fn hairpin(ip: IpAddr) -> Element {
    (octets(ip).repeat(2), None)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const FRONT: Frontend = Frontend {
        ip: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)),
        protocol: Protocol::Tcp,
        port: 80,
    };

    fn balance(last: impl IntoIterator<Item = u8>) -> Balance {
        let backend = |last| Backend {
            ip: Ipv4Addr::new(10, 244, 0, last).into(),
            port: 8080,
        };
        Balance {
            stay: None,
            backends: last.into_iter().map(backend).collect(),
        }
    }

    fn shares(slots: &Slots) -> Vec<(u8, usize)> {
        let mut shares = BTreeMap::new();
        for backend in &slots.slots {
            *shares.entry(octets(backend.ip)[3]).or_default() += 1;
        }
        shares.into_iter().collect()
    }

    fn count(edits: &[(Set<'static>, Vec<Element>)]) -> Vec<(&'static str, usize)> {
        edits.iter().map(|(set, elements)| (set.name, elements.len())).collect()
    }

    #[test]
    fn slots_are_shared_out_evenly_whatever_the_number_of_endpoints() {
        for (endpoints, expected) in [(1, vec![16]), (3, vec![6, 5, 5]), (16, vec![1; 16])] {
            let slots = plan_slots(None, &balance(1..=endpoints)).expect("has endpoints");
            assert_eq!(shares(&slots).iter().map(|(_, n)| *n).collect::<Vec<_>>(), expected);
        }
        let many = plan_slots(None, &balance(1..=17)).expect("has endpoints");
        assert_eq!((many.slots.len(), shares(&many).len()), (256, 17));
    }

    #[test]
    fn an_endpoint_that_comes_or_goes_moves_only_what_it_must() {
        let two = plan_slots(None, &balance([1, 2])).expect("has endpoints");
        let three = plan_slots(Some(&two), &balance([1, 2, 3])).expect("has endpoints");
        let moved = two.slots.iter().zip(&three.slots).filter(|(a, b)| a != b).count();
        assert_eq!(moved, 5, "only the newcomer's share");
        let again = plan_slots(Some(&three), &balance([1, 3])).expect("has endpoints");
        assert!(
            three
                .slots
                .iter()
                .zip(&again.slots)
                .all(|(a, b)| a == b || octets(a.ip)[3] == 2)
        );
    }

    #[test]
    fn only_what_changed_is_sent() {
        let mut table = Table::default();
        let first = table.plan(&[(FRONT, balance([1, 2]))].into());
        assert_eq!(count(&first.new), [("random-16", 16), ("hairpins", 1), ("hairpins", 1)]);
        let same = table.plan(&[(FRONT, balance([1, 2]))].into());
        assert!(same.gone.is_empty() && same.new.is_empty());
        let more = table.plan(&[(FRONT, balance([1, 2, 3]))].into());
        assert_eq!(
            (count(&more.gone), count(&more.new)),
            (vec![("random-16", 5)], vec![("random-16", 5), ("hairpins", 1)])
        );
        let gone = table.plan(&[(FRONT, Balance::default())].into());
        assert!(gone.new.is_empty());
        assert_eq!(count(&gone.gone).iter().map(|(_, n)| n).sum::<usize>(), 16 + 3);
    }

    #[test]
    fn clients_that_begin_to_stay_are_served_by_another_map() {
        let mut table = Table::default();
        table.plan(&[(FRONT, balance([1]))].into());
        let sticky = Balance {
            stay: Some(Duration::from_secs(5)),
            ..balance([1])
        };
        let edits = table.plan(&[(FRONT, sticky)].into());
        assert_eq!(
            (count(&edits.gone), count(&edits.new)),
            (vec![("random-16", 16)], vec![("sticky-16", 16)])
        );
        assert_eq!((edits.affinity.chains.len(), edits.affinity.members.len()), (1, 1));
    }

    #[test]
    fn an_address_that_two_ports_share_stays_until_both_are_gone() {
        let mut table = Table::default();
        let other = Frontend { port: 81, ..FRONT };
        table.plan(&[(FRONT, balance([1])), (other, balance([1]))].into());
        let hairpins = |edits: &Edits| edits.gone.iter().filter(|(set, _)| set.name == "hairpins").count();
        assert_eq!(hairpins(&table.plan(&[(FRONT, Balance::default())].into())), 0);
        assert_eq!(hairpins(&table.plan(&[(other, Balance::default())].into())), 1);
    }
}
