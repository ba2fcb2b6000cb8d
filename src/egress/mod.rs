//! Ways out for pods: whatever they want that is neither a pod nor a Service, the node asks for with sockets of the host, where it is itself.
//!
//! ```text
//!  store ─ Pods, Namespaces ─► passes ── who may leave
//!                                │
//!  net::Outside ── knock ──► connections ── connects ──► the outside, by the host's routes of that moment
//!               ── datagram ─► flows ───────────────────►
//! ```
//!
//! So there is nothing that goes stale when the machine changes networks, VPN or addresses, and nothing to configure. A pod is connected only
//! once the other side is: what refuses or can't be reached looks to the pod as it does to the host. Only TCP and UDP leave; who wants `ping` too
//! has pasta carry all of it ([`run_pasta`]), but for what is for the host's loopback.
//!
//! **What pods do not reach.** Services on the host's loopback have chosen not to be reached from elsewhere, and pods are elsewhere: there is
//! one address for them ([`HOST`](crate::model::HOST)), which leads there only if the settings say so, and never to the node's API. The host's
//! other addresses are reached like any machine's, as with podman (pasta, bridges) and in clusters: what listens there may be asked by
//! every neighbour anyway. Link-local addresses are refused: clouds hand out the machine's credentials there.
//!
//! Packets of pods wait while no node runs: the pods' network itself has no route to anywhere.

mod connections;
mod flows;
mod passes;
mod pasta;
mod plan;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::Outside;
use crate::os::descriptors;

use connections::Connections;
use flows::Flows;
pub use passes::Passes;
pub use pasta::{Pasta, run as run_pasta};
use plan::plan_room;
pub use plan::{Settings, Via};

/// After an error of the system: trying at once would only turn in a circle.
const BREATH: Duration = Duration::from_millis(100);
/// How often it is told that there is no room.
const TELLING: Duration = Duration::from_secs(60);

/// Lets pods out that may leave, until `stop`, by the ways of each family; `addresses` are the machine's, as they change. What they have to the
/// outside ends with it, as the process that carries it does.
pub async fn run(
    outside: Vec<Outside>,
    passes: Arc<Passes>,
    addresses: watch::Receiver<Vec<String>>,
    stop: CancellationToken,
) {
    let room = plan_room(descriptors());
    let tasks = TaskTracker::new();
    // All families share the room that there is.
    let [of_connections, of_flows] = [room.connections, room.flows].map(|room| Arc::new(Semaphore::new(room)));
    let carry = |outside: Outside| {
        let outside = Arc::new(outside);
        let connections = Connections::new(outside.clone(), passes.clone(), of_connections.clone(), tasks.clone());
        let connections = Arc::new(connections);
        let (room, tasks) = (of_flows.clone(), tasks.clone());
        let flows = Arc::new(Flows::new(outside, passes.clone(), addresses.clone(), room, tasks));
        async move {
            tokio::join!(connections.clone().hear(), connections.accept(), flows.hear());
        }
    };
    let carried = futures::future::join_all(outside.into_iter().map(carry));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = carried => {}
    }
}

/// Tells, and not for each packet, that there is no room for more.
struct Full {
    what: &'static str,
    // Held to look at it and to set it.
    told_at: Mutex<Option<Instant>>,
}

impl Full {
    fn new(what: &'static str) -> Full {
        Full {
            what,
            told_at: Mutex::default(),
        }
    }

    fn tell(&self) {
        let mut told_at = self.told_at.lock().expect("nothing panics while it holds a time");
        if told_at.is_none_or(|at| at.elapsed() >= TELLING) {
            *told_at = Some(Instant::now());
            tracing::warn!(
                what = self.what,
                "pods have as many to the outside as the node has room for; others wait"
            );
        }
    }
}
