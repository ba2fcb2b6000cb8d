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
//! What a rule asks of addresses is a set that rules share, so that a pod that comes or goes is an element that comes or goes.
//!
//! The module does not know what a policy is.

mod judge;
mod rules;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::netfilter::commit;
use super::{NetError, NodeNetwork, connections};
use crate::model::mask;
use table::Table;

/// Which pods are isolated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolation {
    /// All pods that are known; those of which nothing is said are not isolated.
    pub pods: BTreeMap<Ipv4Addr, Passes>,
    /// Members of the groups that the passes name.
    pub groups: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Where ports of these names are.
    pub ports: BTreeMap<PortName, BTreeSet<(Ipv4Addr, u16)>>,
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

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Its first address.
    pub network: Ipv4Addr,
    /// How many bits all of its addresses share.
    pub prefix: u8,
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

impl Block {
    /// The block that this text names (`10.0.0.0/8`); none if it is of another family.
    pub fn parse(text: &str) -> Option<Block> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (Ipv4Addr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        (prefix <= 32).then(|| Block {
            network: address & mask(prefix),
            prefix,
        })
    }

    /// Whether an address is in it.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & mask(self.prefix) == self.network
    }
}

/// Keeps the kernel's table like what it is told.
pub struct Isolator {
    network: Arc<NodeNetwork>,
    /// What the kernel has; none until the first transaction, and after one that failed.
    present: Option<Table>,
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
        let mut table = self.present.take().unwrap_or_default();
        let messages = table.plan(wanted, is_first);
        if !messages.is_empty() {
            self.network.run(move || commit(&messages)).await??;
        }
        self.present = Some(table);
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
    fn blocks_are_read_and_contain_what_shares_their_bits() {
        let at = |text: &str| text.parse::<Ipv4Addr>().expect("an address");
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.9.9.9", Some("11.0.0.0")),
            ("10.1.2.3/24", "10.1.2.200", Some("10.1.3.1")),
            ("192.0.2.1/32", "192.0.2.1", Some("192.0.2.2")),
            ("0.0.0.0/0", "255.255.255.255", None),
        ] {
            let block = Block::parse(text).expect("a block");
            assert!(block.contains(at(inside)), "{text}");
            assert!(outside.is_none_or(|address| !block.contains(at(address))), "{text}");
        }
        for text in ["fd00::/8", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "/", ""] {
            assert_eq!(Block::parse(text), None, "{text}");
        }
    }
}
