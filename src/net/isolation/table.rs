//! What the kernel's table holds, and which messages make it hold something else. Pure.
//!
//! A chain is what it lets through: it never changes, and pods that may do the same share it. So a policy that changes is another chain, to
//! which its pods' elements lead from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::rules::{self, GROUP, PLACES, SELVES, Way};
use super::{Isolation, Pass, Peer, PortName, Ports};
use crate::model::Family;
use crate::net::nft::{self, Junction, Message, Set, TableOf};

/// A set that rules look into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Members {
    Group(String),
    Places(PortName),
}

/// What a chain is.
type Chain = (Way, BTreeSet<Pass>);

/// What the kernel has of a family.
#[derive(Debug)]
pub(super) struct Table {
    own: TableOf,
    is_there: bool,
    chains: BTreeMap<Chain, u32>,
    sets: BTreeMap<Members, (u32, BTreeSet<Vec<u8>>)>,
    /// Which chain pods' packets go to; they pass without one.
    pods: BTreeMap<(Way, IpAddr), Option<u32>>,
    /// Isolated pods.
    selves: BTreeSet<IpAddr>,
    /// The number of the last chain or set.
    last: u32,
}

impl Table {
    /// Nothing yet.
    pub(super) fn new(family: Family) -> Table {
        Table {
            own: rules::table_of(family),
            is_there: false,
            chains: BTreeMap::new(),
            sets: BTreeMap::new(),
            pods: BTreeMap::new(),
            selves: BTreeSet::new(),
            last: 0,
        }
    }

    /// Takes in what is wanted and says what that means for the kernel. `is_first` is whether what it has is not known.
    pub(super) fn plan(&mut self, wanted: Option<&Isolation>, is_first: bool) -> Vec<Message> {
        let Some(wanted) = wanted else {
            let is_there = std::mem::replace(self, Table::new(self.own.family)).is_there;
            return match is_first || is_there {
                // What is to be deleted has to be there.
                true => vec![nft::new_table(self.own), nft::delete_table(self.own)],
                false => Vec::new(),
            };
        };
        let is_new = !std::mem::replace(&mut self.is_there, true);
        let mut messages = if is_new { rules::base(self.own) } else { Vec::new() };
        let chains = chains_of(wanted);
        messages.extend(self.fill_sets(wanted, &chains));
        messages.extend(self.add_chains(&chains));
        messages.extend(self.lead_pods(wanted));
        messages.extend(self.remove(&chains));
        if is_new {
            messages.extend(rules::hooks(self.own));
        }
        messages
    }

    /// The sets that these chains look into, and what changes in them.
    fn fill_sets(&mut self, wanted: &Isolation, chains: &BTreeSet<Chain>) -> Vec<Message> {
        let mut messages = Vec::new();
        let own = self.own;
        for members in members_of(chains) {
            let new = elements(wanted, &members);
            let (number, old) = self.sets.entry(members.clone()).or_insert_with(|| {
                self.last += 1;
                let name = set_name(self.last);
                messages.push(nft::new_set(own, &members.set(&name), self.last));
                (self.last, BTreeSet::new())
            });
            let name = set_name(*number);
            let set = members.set(&name);
            let keys = |keys: &BTreeSet<Vec<u8>>, other: &BTreeSet<Vec<u8>>| -> Vec<nft::Element> {
                keys.difference(other).map(|key| (key.clone(), None)).collect()
            };
            messages.extend(nft::delete_elements(own, &set, &keys(old, &new)));
            messages.extend(nft::new_elements(own, &set, &keys(&new, old)));
            *old = new;
        }
        messages
    }

    fn add_chains(&mut self, chains: &BTreeSet<Chain>) -> Vec<Message> {
        let mut messages = Vec::new();
        for chain in chains {
            if self.chains.contains_key(chain) {
                continue;
            }
            self.last += 1;
            let name = chain_name(self.last);
            messages.push(nft::new_side_chain(self.own, &name));
            let group = |name: &str| self.name_of(&Members::Group(name.to_owned()));
            let places = |name: &PortName| self.name_of(&Members::Places(name.clone()));
            let passes = chain
                .1
                .iter()
                .map(|pass| rules::pass(self.own.family, chain.0, pass, group, places));
            let all = passes.chain([rules::dropped()]);
            messages.extend(all.map(|rule| nft::new_rule(self.own, &name, rule)));
            self.chains.insert(chain.clone(), self.last);
        }
        messages
    }

    fn name_of(&self, members: &Members) -> String {
        let (number, _) = self
            .sets
            .get(members)
            .expect("sets are filled before chains look into them");
        set_name(*number)
    }

    /// Leads pods to their chains.
    fn lead_pods(&mut self, wanted: &Isolation) -> Vec<Message> {
        let mut new = BTreeMap::new();
        let mut selves = BTreeSet::new();
        for (address, passes) in &wanted.pods {
            for (way, passes) in [(Way::Leaving, &passes.egress), (Way::Entering, &passes.ingress)] {
                let chain = passes.as_ref().map(|passes| {
                    selves.insert(*address);
                    self.chains[&(way, passes.clone())]
                });
                new.insert((way, *address), chain);
            }
        }
        let mut messages = Vec::new();
        for way in Way::BOTH {
            // An element can't be changed: it goes and comes again in the same transaction.
            let differing = |mine: &BTreeMap<(Way, IpAddr), Option<u32>>, other: &BTreeMap<_, Option<u32>>| {
                let differing = mine
                    .iter()
                    .filter(|(key, chain)| key.0 == way && other.get(*key) != Some(*chain));
                let junctions = differing.map(|((_, pod), chain)| (rules::key(*pod), chain.map(chain_name)));
                junctions.collect::<Vec<Junction>>()
            };
            let gone = differing(&self.pods, &new).into_iter().map(|(key, _)| (key, None));
            messages.extend(nft::delete_elements(self.own, &way.pods(), &gone.collect::<Vec<_>>()));
            messages.extend(nft::new_junctions(self.own, &way.pods(), &differing(&new, &self.pods)));
        }
        let twice = |pods: Vec<&IpAddr>| -> Vec<nft::Element> {
            pods.into_iter()
                .map(|pod| (nft::octets(*pod).repeat(2), None))
                .collect()
        };
        let gone = twice(self.selves.difference(&selves).collect());
        messages.extend(nft::delete_elements(self.own, &SELVES, &gone));
        let come = twice(selves.difference(&self.selves).collect());
        messages.extend(nft::new_elements(self.own, &SELVES, &come));
        (self.pods, self.selves) = (new, selves);
        messages
    }

    /// What nothing leads to any more.
    fn remove(&mut self, chains: &BTreeSet<Chain>) -> Vec<Message> {
        let (own, mut messages) = (self.own, Vec::new());
        self.chains.retain(|chain, number| {
            let stays = chains.contains(chain);
            if !stays {
                messages.push(nft::delete_chain(own, &chain_name(*number)));
            }
            stays
        });
        let used = members_of(chains);
        self.sets.retain(|members, (number, _)| {
            let stays = used.contains(members);
            if !stays {
                messages.push(nft::delete_set(own, &members.set(&set_name(*number))));
            }
            stays
        });
        messages
    }
}

impl Members {
    fn set<'a>(&self, name: &'a str) -> Set<'a> {
        let key = match self {
            Self::Group(_) => GROUP,
            Self::Places(_) => PLACES,
        };
        Set { name, key, value: &[] }
    }
}

fn chain_name(number: u32) -> String {
    format!("pods-{number}")
}

fn set_name(number: u32) -> String {
    format!("peers-{number}")
}

fn chains_of(wanted: &Isolation) -> BTreeSet<Chain> {
    let of_pod = wanted.pods.values().flat_map(|passes| {
        let ways = [(Way::Leaving, &passes.egress), (Way::Entering, &passes.ingress)];
        ways.into_iter()
            .filter_map(|(way, passes)| Some((way, passes.clone()?)))
    });
    of_pod.collect()
}

fn members_of(chains: &BTreeSet<Chain>) -> BTreeSet<Members> {
    let passes = chains.iter().flat_map(|(_, passes)| passes);
    let of_pass = passes.flat_map(|pass| {
        let group = match &pass.peer {
            Peer::Group(name) => Some(Members::Group(name.clone())),
            Peer::Anyone | Peer::Block(..) => None,
        };
        let places = match &pass.ports {
            Ports::Named(name) => Some(Members::Places(name.clone())),
            Ports::Any | Ports::Range(..) => None,
        };
        group.into_iter().chain(places)
    });
    of_pass.collect()
}

fn elements(wanted: &Isolation, members: &Members) -> BTreeSet<Vec<u8>> {
    match members {
        Members::Group(name) => {
            let addresses = wanted.groups.get(name).into_iter().flatten();
            addresses.map(|address| rules::key(*address)).collect()
        }
        Members::Places(name) => {
            let places = wanted.ports.get(name).into_iter().flatten();
            places
                .map(|(address, port)| rules::place(*address, name.0, *port))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Passes;
    use std::net::Ipv4Addr;

    use super::*;

    const TABLE: TableOf = rules::table_of(Family::V4);

    const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2));
    const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 3));

    fn from_group(name: &str) -> Option<BTreeSet<Pass>> {
        let peer = Peer::Group(name.to_owned());
        Some(BTreeSet::from([Pass {
            peer,
            ports: Ports::Any,
        }]))
    }

    /// Both pods may be reached by the group only, of which the second one is.
    fn wanted() -> Isolation {
        let passes = || Passes {
            ingress: from_group("friends"),
            egress: None,
        };
        Isolation {
            pods: [(A, passes()), (B, passes())].into(),
            groups: [("friends".to_owned(), [B].into())].into(),
            ports: BTreeMap::new(),
        }
    }

    #[test]
    fn without_policies_there_is_no_table() {
        let mut table = Table::new(Family::V4);
        assert_eq!(table.plan(None, true).len(), 2, "an earlier node's is removed");
        assert!(table.plan(None, false).is_empty());
        table.plan(Some(&wanted()), false);
        assert_eq!(
            table.plan(None, false),
            [nft::new_table(TABLE), nft::delete_table(TABLE)]
        );
        assert!(table.plan(None, false).is_empty());
    }

    #[test]
    fn pods_that_may_do_the_same_share_a_chain_and_nothing_is_sent_twice() {
        let mut table = Table::new(Family::V4);
        table.plan(Some(&wanted()), true);
        assert_eq!((table.chains.len(), table.sets.len(), table.pods.len()), (1, 1, 4));
        assert!(table.plan(Some(&wanted()), false).is_empty());
    }

    #[test]
    fn a_member_that_comes_is_one_element_and_no_rule() {
        let mut table = Table::new(Family::V4);
        table.plan(Some(&wanted()), true);
        let mut more = wanted();
        more.groups.insert("friends".to_owned(), [A, B].into());
        let members = Members::Group("friends".to_owned());
        let set = table.name_of(&members);
        let expected = nft::new_elements(TABLE, &members.set(&set), &[(rules::key(A), None)]);
        assert_eq!(table.plan(Some(&more), false), expected);
    }

    #[test]
    fn what_a_pod_may_is_changed_by_leading_it_elsewhere_before_the_old_chain_goes() {
        let mut table = Table::new(Family::V4);
        table.plan(Some(&wanted()), true);
        let mut other = wanted();
        for passes in other.pods.values_mut() {
            passes.ingress = Some(BTreeSet::new());
        }
        let messages = table.plan(Some(&other), false);
        let pods = Way::Entering.pods();
        let elements = [A, B].map(|pod| (rules::key(pod), None));
        let junctions = [A, B].map(|pod| (rules::key(pod), Some(chain_name(3))));
        let expected = [
            vec![nft::new_side_chain(TABLE, &chain_name(3))],
            vec![nft::new_rule(TABLE, &chain_name(3), rules::dropped())],
            nft::delete_elements(TABLE, &pods, &elements),
            nft::new_junctions(TABLE, &pods, &junctions),
            vec![nft::delete_chain(TABLE, &chain_name(2))],
            vec![nft::delete_set(TABLE, &Members::Group(String::new()).set(&set_name(1)))],
        ];
        assert_eq!(messages, expected.concat());
    }

    #[test]
    fn a_pod_that_is_isolated_no_more_passes_and_one_that_goes_is_not_known() {
        let mut table = Table::new(Family::V4);
        table.plan(Some(&wanted()), true);
        let mut other = wanted();
        other.pods.insert(A, Passes::default());
        other.pods.remove(&B);
        table.plan(Some(&other), false);
        let pods: Vec<_> = table.pods.iter().map(|(key, chain)| (*key, *chain)).collect();
        assert_eq!(pods, [((Way::Leaving, A), None), ((Way::Entering, A), None)]);
        assert!(table.chains.is_empty() && table.sets.is_empty() && table.selves.is_empty());
    }
}
