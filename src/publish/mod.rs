//! The ways in from the host: what the node listens on in the host's network, for whom, and how a connection gets to a pod.
//!
//! ```text
//!  store ─ Pods, Services, slices ─► claims ─► plan ─► keeper ─┬─► events, status.loadBalancer
//!                                                              └─► one task per port
//!  host's network                                                     │             node's network
//!  client ══ port ══ accepted here ══ relay ══════════════════════ dialed there ══ pod
//! ```
//!
//! What pods and Services ask for (`claim`) and who gets which port (`plan`) is pure; `keeper` follows the store, and has [`crate::carry`] open and close. A
//! connection is accepted in the host's network, where the node stays, and connected to the pod by a socket that was made in the node's
//! network. A Service's port goes straight to one of its endpoints instead of through its cluster address: an endpoint that refuses can be
//! left for another before the client has sent a byte, which rules of the kernel can't; datagrams of one client stay with one endpoint without
//! connection tracking; and what the store says holds at once.
//!
//! Nothing is published to other machines unless a manifest names an address that they reach: without a `hostIP` it is loopback. The room
//! does not run pods: a pod whose port another one has is kept waiting by its worker ([`crate::pod`]).

mod claim;
mod foreign;
mod keeper;
mod plan;
mod trouble;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::carry::Doors;
use crate::event::EventRecorder;
use crate::net::NodeNetwork;
use crate::store::Store;

pub use plan::{Published, PublishedPort};

/// Publishes ports until `stop`; `published` always holds what is open. Connections end with it, as the process that carries them does.
pub async fn run(
    store: Store,
    recorder: EventRecorder,
    network: Arc<NodeNetwork>,
    published: Published,
    stop: CancellationToken,
) {
    // Before the first port is open.
    let doors = Doors::of_host(network).await;
    keeper::Keeper::new(store, recorder, doors, published).run(&stop).await;
}
