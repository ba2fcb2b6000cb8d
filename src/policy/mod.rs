//! Which pods may talk to whom: NetworkPolicies at work.
//!
//! ```text
//!  store ─ NetworkPolicies, Pods, Namespaces ─┐
//!  net ─── who has which address ─────────────┴─► Facts ─ plan_isolation ─► net::Isolator ─► kernel
//!                                                   └──── judge ─► why a connection is let through or not
//! ```
//!
//! What policies mean is pure, and said twice over the same facts: as what the kernel is to let through (`plan`), and as an answer with its
//! reasons about one connection (`judge`). One loop follows the store and the addresses, and passes on what changed.
//!
//! The rules are upstream's (`networking.k8s.io/v1`, "Network Policies"): policies add up, answers pass, and what comes from the node itself
//! (probes, port-forward, published ports) reaches its pods. Names have to be asked for as of anyone: the node's name server counts as
//! a pod of `kube-system` with the label `k8s-app: kube-dns`, as policies for clusters have it. Pods on the host's network are the
//! host: no policy selects them. What is connected and would be let in no more ends with its
//! next packet.

mod facts;
mod judge;
mod keeper;
mod plan;
mod rule;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::event::EventRecorder;
use crate::net::NodeNetwork;
use crate::store::Store;

pub use facts::{Facts, Pod};
pub use judge::{Judgement, judge};
pub use rule::{Direction, Policy};

/// Keeps pods apart until `stop`. What the kernel has been told stays. `carried` says why the node's own proxy carries what is for Services: it
/// hides who is behind a connection, so that policies can't be kept then.
pub async fn run(
    store: Store,
    recorder: EventRecorder,
    network: Arc<NodeNetwork>,
    carried: watch::Receiver<Option<String>>,
    stop: CancellationToken,
) {
    let mut keeper = keeper::Keeper::new(store, recorder, network, carried);
    stop.run_until_cancelled(keeper.run()).await;
}
