//! Services at work: what kube-proxy and the cluster's DNS are in a cluster.
//!
//! ```text
//!  store ─ Services, EndpointSlices ─► view ─┬─► Balance of each frontend ─► net::Balancer ─► kernel
//!                        Pods ───────────────┴─► Zone ◄─ answer ◄─ server ◄─ pods' questions
//!                                                          └─ not ours ─► the host's resolvers
//! ```
//!
//! What a Service means is planned and pure (`view`, `Zone`); one loop follows the store and passes on what changed. The room decides
//! nothing about endpoints: it takes slices as they are, whoever made them.

mod answer;
mod forward;
mod proxy;
mod server;
mod view;
mod zone;

use std::net::Ipv4Addr;
use std::sync::{Arc, RwLock};

use tokio_util::sync::CancellationToken;

use crate::net::NodeNetwork;
use crate::store::Store;

pub use proxy::service_of;
pub use view::{backends, number, protocol};
use zone::Zone;

/// The names that the loop writes and the server reads; held for a look-up or an entry, never across an await.
type SharedZone = Arc<RwLock<Zone>>;

/// Serves Services and names on the pods' network until `stop`. `host` is where pods find the host's loopback, if they do.
pub async fn run(store: Store, network: Arc<NodeNetwork>, host: Option<Ipv4Addr>, stop: CancellationToken) {
    let zone = SharedZone::new(RwLock::new(Zone::new(host)));
    let mut proxy = proxy::Proxy::new(store, network.clone(), zone.clone());
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { tokio::join!(proxy.run(), server::run(&network, zone)); } => {}
    }
}
