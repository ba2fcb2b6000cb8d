//! Services at work: what kube-proxy and the cluster's DNS are in a cluster.
//!
//! ```text
//!  store ─ Services, EndpointSlices ─► view ─┬─► Balance of each frontend ─► means ─► net::Balancer ─► kernel (else carry::Doors)
//!                        Pods ───────────────┴─► Zone ◄─ answer ◄─ server ◄─ pods' questions
//!                                                          └─ not ours ─► the host's resolvers
//! ```
//!
//! What a Service means is planned and pure (`view`, `Zone`); one loop follows the store and passes on what changed. The room decides
//! nothing about endpoints: it takes slices as they are, whoever made them.

mod answer;
mod forward;
mod means;
mod proxy;
mod server;
mod slices;
mod view;
mod zone;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, RwLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::Complaints;
use crate::net::NodeNetwork;
use crate::store::Store;

pub use means::{Carried, Means};
pub use slices::{Slices, service_of};
pub use view::{backends, number, protocol, stay};
use zone::Zone;

/// The names that the loop writes and the server reads; held for a look-up or an entry, never across an await.
type SharedZone = Arc<RwLock<Zone>>;

/// Whether a pod with this address may ask for names of the outside.
pub type MayLeave = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What the room is told, and whom it tells.
pub struct Terms {
    /// Where pods find the host's loopback, if they do.
    pub host: Option<Ipv4Addr>,
    /// Learns up to which version of the store the kernel has the rules.
    pub served: watch::Sender<u64>,
    /// Learns that there are no rules, or no names.
    pub complaints: Complaints,
    /// By which means Services are to be served.
    pub means: Means,
    /// Learns that the node's own proxy serves, and why.
    pub carried: watch::Sender<Carried>,
    /// Who may ask others: a question is a way out like any other.
    pub may_leave: MayLeave,
}

/// Serves Services and names on the pods' network until `stop`.
pub async fn run(store: Store, network: Arc<NodeNetwork>, terms: Terms, stop: CancellationToken) {
    let Terms {
        host,
        served,
        complaints,
        means,
        carried,
        may_leave,
    } = terms;
    let zone = SharedZone::new(RwLock::new(Zone::new(host)));
    let by = means::Server::new(network.clone(), means, may_leave.clone(), carried);
    let mut proxy = proxy::Proxy::new(store, by, zone.clone(), (served, complaints.clone()));
    let server = server::Server::new(zone, may_leave, complaints);
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { tokio::join!(proxy.run(), server.run(&network)); } => {}
    }
}
