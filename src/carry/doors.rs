//! All ports of one kind: opened, led elsewhere, closed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dial::{Dialer, MayReach};
use super::place::{Place, Target};
use super::port::Bound;
use super::tcp::{self, Shared};
use super::udp;
use crate::net::NodeNetwork;

/// More than programs on one machine open at once; a connection that is silent costs some 2 KiB of ours.
const MOST: usize = 8192;

/// A port that is ours.
struct Open {
    target: watch::Sender<Arc<Target>>,
    task: JoinHandle<()>,
}

/// Ports that are open.
pub struct Doors {
    /// Where they are, if it is not the host's network.
    inside: Option<Arc<NodeNetwork>>,
    shared: Shared,
    open: BTreeMap<Place, Open>,
}

impl Doors {
    /// Doors in the host's network, that lead into `network` too. Pods see the addresses of clients from now on, where they can answer them.
    pub async fn of_host(network: Arc<NodeNetwork>) -> Doors {
        let dialer = Dialer::new(Some(network));
        dialer.keep_sources().await;
        Doors::new(None, dialer, 4)
    }

    /// Doors in `network` itself; `may_reach` says which of their clients may go where.
    pub fn inside(network: Arc<NodeNetwork>, may_reach: MayReach) -> Doors {
        let dialer = Dialer::new(Some(network.clone())).for_those(may_reach);
        Doors::new(Some(network), dialer, 8)
    }

    /// Each connection takes two descriptors, and the node needs others: there may be as many as this part of the limit.
    fn new(inside: Option<Arc<NodeNetwork>>, dialer: Dialer, part: usize) -> Doors {
        let limit = usize::try_from(crate::os::descriptors()).unwrap_or(usize::MAX);
        let room = (limit / part).clamp(64, MOST);
        Doors {
            inside,
            shared: Shared {
                dialer: Arc::new(dialer),
                room: Arc::new(Semaphore::new(room)),
                room_of_one: room.div_ceil(2),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            },
            open: BTreeMap::new(),
        }
    }

    /// Whether a place is open.
    pub fn is_open(&self, place: &Place) -> bool {
        self.open.contains_key(place)
    }

    /// The places that are open.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.open.keys()
    }

    /// Opens a port, or leads one that is open elsewhere.
    ///
    /// # Errors
    /// What the system says: the port is another one's.
    pub async fn lead(&mut self, place: &Place, target: &Target) -> io::Result<()> {
        if let Some(open) = self.open.get(place) {
            open.target.send_if_modified(|present| {
                let changes = **present != *target;
                if changes {
                    *present = Arc::new(target.clone());
                }
                changes
            });
            return Ok(());
        }
        let bound = match &self.inside {
            None => Bound::take(place)?,
            Some(network) => {
                let place = *place;
                network
                    .run(move || Bound::take(&place))
                    .await
                    .map_err(io::Error::other)??
            }
        };
        let (sender, receiver) = watch::channel(Arc::new(target.clone()));
        let shared = self.shared.clone();
        let task = match bound {
            Bound::Tcp(door) => tokio::spawn(tcp::serve(door, receiver, shared)),
            Bound::Udp(socket) => tokio::spawn(udp::serve(UdpSocket::from_std(socket)?, receiver, shared)),
        };
        self.open.insert(*place, Open { target: sender, task });
        Ok(())
    }

    /// Closes a port, if it is open. Connections stay.
    pub async fn close(&mut self, place: &Place) {
        let Some(Open { target, task }) = self.open.remove(place) else {
            return;
        };
        drop(target);
        // Its socket is closed when the task has ended; until then nobody could have an address that overlaps.
        let _ = task.await;
    }

    /// Closes all, and ends what is connected.
    pub async fn end(mut self) {
        for (_, Open { target, task }) in std::mem::take(&mut self.open) {
            drop(target);
            let _ = task.await;
        }
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}
