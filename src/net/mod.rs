//! The pods' network: the node's own network namespace, the cables of pods into it, addresses, and the rules that make Services of them.
//!
//! ```text
//!  host's network namespace                 │ the node's (held open by every supervisor)     │ a pod's
//!  NodeNetwork ── jobs ── one thread ───────┼─► sockets are made here                        │
//!  (async runtime uses those sockets)       │   10.244.0.1 ── pod-0-7 ═══════ veth ══════════┼═ eth0 10.244.0.7/32
//! ```
//!
//! There is no bridge: each pod has an address of its own and a route by itself, because a bridge needs br_netfilter for Services, which
//! nobody without root can load. A socket belongs to the network namespace of the thread that made it, whoever uses it
//! afterwards: so one thread enters the node's namespace, and the node itself stays in the host's. The
//! namespace lives for as long as a node or a supervisor holds it open; nothing names it on disk, so nothing can be left over.
//!
//! Services are elements of maps under one rule for each size of map, written in transactions ([`Balancer`]): what a packet costs does not
//! depend on how many there are.
//!
//! All of it is there for each family of addresses that the kernel has ([`NodeNetwork::families`]): tables, routes and addresses of IPv6 are
//! made by the same code as those of IPv4.
//!
//! What keeps pods apart are chains that maps of pods' addresses lead to ([`Isolator`]).
//!
//! The room does not know the store, nor what pods and Services are: whoever wires a pod hands over an address and a descriptor, and
//! whoever serves Services hands over frontends and backends.

mod addresses;
mod affinity;
mod attributes;
mod balance;
mod balancer;
mod connections;
mod conntrack;
mod guard;
mod isolation;
mod link;
mod local;
mod moves;
mod namespace;
mod netfilter;
mod netlink;
mod nft;
mod outside;
mod seats;
mod sources;
mod uplink;

pub use addresses::Addresses;
pub use balance::{Backend, Balance, Frontend, Protocol};
pub use balancer::{Balancer, try_rules as try_service_rules};
pub use isolation::{Isolation, Isolator, Pass, Passes, Peer, PortName, Ports};
pub use link::wire_pod;
pub use moves::Moves;
pub use namespace::{NodeNetwork, connect_from, identity_of, node_network_of, tcp_socket, udp_socket};
pub use outside::{Heard, Knock, Outside, Refusal, try_rules as try_egress_rules};
pub use sources::{is_spoken_for, speak_for};
pub use uplink::{UPLINK, UPLINK_ADDRESS, UPLINK_GATEWAY};

/// Why the network could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A namespace could not be made or entered.
    #[error("network namespace: {0}")]
    Namespace(std::io::Error),
    /// The kernel refused a request; the text says which.
    #[error("{what}: {source}")]
    Refused {
        /// What was asked for.
        what: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The kernel said something that can't be understood.
    #[error("{0}: the kernel's answer can't be read")]
    Garbled(String),
    /// The thread that makes sockets has ended.
    #[error("the thread of the node's network has ended")]
    Ended,
}
