//! What keeps pods apart, in the kernel: which pods are isolated, and what reaches or leaves them nevertheless.
//!
//! ```text
//!  packet of a pod ─► prerouting, behind Services ─ "leaving" ── by the pod's address ─► a chain of what it may
//!                                                                                         │ else dropped
//!  packet to a pod ─► forward ────────────────────── "entering" ─ by the pod's address ─► a chain of what may come
//!                  ├► forward, input ─────────────── "ending…" ─── of a connection that is to end: reset
//! ```
//!
//! Pods leave by one hook wherever they want, for other pods, the node, its name server or the outside: it stands before the one that hands
//! packets to the node's sockets. They are entered by way of `forward` only: what comes from the node itself passes.
//! Answers pass too, until what is let in is changed: connections that would not be let in any more are marked, and `ending` refuses what still
//! comes of them. Without any policy there is no table; with one, every pod is in its two maps, and a packet of a pod that is in neither is
//! dropped: so a pod is isolated before its first packet, whoever is late.
//!
//! Each family of addresses has a table of its own, and a change of both is one transaction: no pod is isolated by one of its addresses only.
//!
//! What a rule asks of addresses is a set that rules share, so that a pod that comes or goes is an element that comes or goes.
//!
//! The module does not know what a policy is.

mod judge;
mod rules;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::netfilter::commit;
use super::{NetError, NodeNetwork, connections};
use crate::model::{Block, Family};
use table::Table;

/// Which pods are isolated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolation {
    /// All pods that are known; those of which nothing is said are not isolated.
    pub pods: BTreeMap<IpAddr, Passes>,
    /// Members of the groups that the passes name.
    pub groups: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Where ports of these names are.
    pub ports: BTreeMap<PortName, BTreeSet<(IpAddr, u16)>>,
}

/// What passes at one pod. A direction of which nothing is said is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passes {
    /// What may come.
    pub ingress: Option<BTreeSet<Pass>>,
    /// What may leave.
    pub egress: Option<BTreeSet<Pass>>,
}

/// One thing that passes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pass {
    /// With whom.
    pub peer: Peer,
    /// At which of the destination's ports.
    pub ports: Ports,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Anyone.
    Anyone,
    /// A member of a group.
    Group(String),
    /// Whoever has an address of a block and of none that are taken out of it.
    Block(Block, Vec<Block>),
}

/// Ports of the destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ports {
    /// Any, of every protocol.
    Any,
    /// Those of a transport protocol, by its number in packets, from the first to the last.
    Range(u8, u16, u16),
    /// Those that the destination calls so.
    Named(PortName),
}

/// The name of a port, and its transport protocol's number.
pub type PortName = (u8, String);

impl Isolation {
    /// What of it is about addresses of a family.
    fn of(&self, family: Family) -> Isolation {
        let is_own = |ip: &IpAddr| Family::of(*ip) == family;
        let pods = self.pods.iter().filter(|(ip, _)| is_own(ip));
        let groups = self.groups.iter().map(|(name, members)| {
            let own = members.iter().copied().filter(is_own);
            (name.clone(), own.collect())
        });
        let ports = self.ports.iter().map(|(name, places)| {
            let own = places.iter().copied().filter(|(ip, _)| is_own(ip));
            (name.clone(), own.collect())
        });
        Isolation {
            pods: pods.map(|(ip, passes)| (*ip, passes.of(family))).collect(),
            groups: groups.collect(),
            ports: ports.collect(),
        }
    }
}

impl Passes {
    fn of(&self, family: Family) -> Passes {
        let is_own = |pass: &&Pass| !matches!(&pass.peer, Peer::Block(block, _) if block.family() != family);
        let own = |passes: &Option<BTreeSet<Pass>>| {
            let passes = passes.as_ref();
            passes.map(|passes| passes.iter().filter(is_own).cloned().collect())
        };
        Passes {
            ingress: own(&self.ingress),
            egress: own(&self.egress),
        }
    }
}

/// Keeps the kernel's table like what it is told.
pub struct Isolator {
    network: Arc<NodeNetwork>,
    /// What the kernel has; none until the first transaction, and after one that failed.
    present: Option<BTreeMap<Family, Table>>,
    /// What connections have been judged by.
    judged: Option<Isolation>,
}

impl Isolator {
    /// An isolator that has not touched the kernel yet.
    pub fn new(network: Arc<NodeNetwork>) -> Isolator {
        Isolator {
            network,
            present: None,
            judged: None,
        }
    }

    /// Isolates these pods, and lets all pass if there is nothing to isolate. The first call replaces whatever an earlier node had. What is
    /// connected and would not be let in any more ends with its next packet.
    ///
    /// # Errors
    /// What the kernel refused; the next call begins anew.
    pub async fn apply(&mut self, wanted: Option<&Isolation>) -> Result<(), NetError> {
        let is_first = self.present.is_none();
        let mut tables = self.present.take().unwrap_or_default();
        let plan = |family: &Family| {
            let own = wanted.map(|wanted| wanted.of(*family));
            let table = tables.entry(*family).or_insert_with(|| Table::new(*family));
            table.plan(own.as_ref(), is_first)
        };
        let messages: Vec<_> = self.network.families().iter().flat_map(plan).collect();
        if !messages.is_empty() {
            self.network.run(move || commit(&messages)).await??;
        }
        self.present = Some(tables);
        self.end_connections(wanted).await;
        Ok(())
    }

    async fn end_connections(&mut self, wanted: Option<&Isolation>) {
        let before = self.judged.take();
        self.judged = wanted.cloned();
        // Marks of connections mean nothing without the table; when it is there again all are judged.
        let Some(wanted) = wanted else { return };
        if before.is_some_and(|before| !wanted.differs_for_those_of(&before)) {
            return;
        }
        let wanted = wanted.clone();
        let end = move || {
            let is_let_in = |protocol, source, destination| wanted.lets_in(protocol, source, destination);
            connections::end_connections(is_let_in)
        };
        match self.network.run(end).await.and_then(std::convert::identity) {
            Ok(count) => tracing::debug!(count, "connections end that would not be let in any more"),
            Err(error) => tracing::warn!(%error, "connections that would not be let in any more go on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_family_says_nothing_of_addresses_and_blocks_of_the_other() {
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let block = |text: &str| Peer::Block(Block::parse(text).expect("a block"), Vec::new());
        let pass = |peer| Pass {
            peer,
            ports: Ports::Any,
        };
        let passes = Passes {
            ingress: Some([pass(Peer::Anyone), pass(block("10.0.0.0/8")), pass(block("fd00::/8"))].into()),
            egress: Some([pass(block("10.0.0.0/8"))].into()),
        };
        let (v4, v6) = (at("10.244.0.2"), at("fd00:10:244::2"));
        let both = Isolation {
            pods: [(v4, passes.clone()), (v6, passes)].into(),
            groups: [("g".to_owned(), [v4, v6].into())].into(),
            ports: [((6, "http".to_owned()), [(v4, 80), (v6, 80)].into())].into(),
        };
        let second = both.of(Family::V6);
        assert_eq!(second.pods.keys().collect::<Vec<_>>(), [&v6]);
        let own = &second.pods[&v6];
        assert_eq!(own.ingress, Some([pass(Peer::Anyone), pass(block("fd00::/8"))].into()));
        assert_eq!(own.egress, Some(BTreeSet::new()), "it is isolated all the same");
        assert_eq!(second.groups["g"], [v6].into());
        assert_eq!(second.ports.values().next(), Some(&[(v6, 80)].into()));
    }
}
