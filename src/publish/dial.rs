//! Connecting to whom a port leads: which address, how often, and from which network.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::plan::Target;
use crate::model::is_inside;
use crate::net::{NodeNetwork, connect_from, tcp_socket, udp_socket};

/// How long a client waits for a pod that is coming up, or for an endpoint that does not answer. Less than the patience of those who ask
/// whether something is up; more than a pod takes that is replaced.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// How often all endpoints that are said to be ready are tried: one that ends may still be on the list.
const ROUNDS: u32 = 3;
/// How many sockets are made by one visit to the thread of the node's network: a visit costs as much as a connection on loopback.
const BATCH: usize = 8;

/// Makes connections, in the node's network to what is there, else in the host's: pods that share it, and endpoints elsewhere.
pub(super) struct Dialer {
    network: Option<Arc<NodeNetwork>>,
    /// Sockets of the node's network that nobody has used yet. Held to take one or to put some.
    spare: Mutex<Vec<OwnedFd>>,
    turn: AtomicUsize,
}

impl Dialer {
    pub(super) fn new(network: Option<Arc<NodeNetwork>>) -> Dialer {
        Dialer {
            network,
            spare: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Connects to one of the target's addresses, whatever they are by then.
    ///
    /// # Errors
    /// What the last one said, when all that are ready refused or the patience is over.
    pub(super) async fn connect(
        &self,
        target: &mut watch::Receiver<Arc<Target>>,
        client: IpAddr,
    ) -> io::Result<TcpStream> {
        let until = Instant::now() + PATIENCE;
        let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
        let (mut pause, longest) = PAUSES;
        for round in 1.. {
            let now = target.borrow_and_update().clone();
            for address in plan_turn(&now, client, self.turn.fetch_add(1, Ordering::Relaxed)) {
                match timeout_at(until, self.connect_to(address)).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => last = error,
                    Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                }
            }
            if !now.is_coming && round >= ROUNDS {
                break;
            }
            let again = (Instant::now() + pause).min(until);
            tokio::select! {
                () = sleep_until(again) => {}
                // The port is closed: who came in before may still find the pod.
                changed = target.changed() => if changed.is_err() { sleep_until(again).await },
            }
            if Instant::now() >= until {
                break;
            }
            pause = (pause * 2).min(longest);
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if is_inside(address.ip()) {
            self.inner_socket(address).await?
        } else {
            tcp_socket(address)?
        };
        let stream = connect_from(socket, address).await?;
        crate::os::tune(&stream);
        Ok(stream)
    }

    async fn inner_socket(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        let take = || self.spare.lock().expect("nothing panics while it holds sockets").pop();
        if let Some(socket) = take() {
            return Ok(socket);
        }
        let network = self.network.as_ref().ok_or(io::ErrorKind::NetworkUnreachable)?;
        let make = move || (0..BATCH).map(|_| tcp_socket(address)).collect::<Vec<_>>();
        let mut made = network.run(make).await.map_err(io::Error::other)?;
        let first = made.pop().expect("a batch is not empty")?;
        let mut spare = self.spare.lock().expect("nothing panics while it holds sockets");
        // Others may have come back from the thread meanwhile.
        let room = BATCH.saturating_sub(spare.len());
        spare.extend(made.into_iter().flatten().take(room));
        Ok(first)
    }

    /// A socket for the datagrams of one client; where they go and from where.
    ///
    /// # Errors
    /// What the system says, or that there is nobody.
    pub(super) async fn datagrams(&self, target: &Target, client: IpAddr) -> io::Result<(SocketAddr, UdpSocket)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let address = plan_turn(target, client, turn).next();
        let address = address.ok_or(io::ErrorKind::ConnectionRefused)?;
        let socket = match &self.network {
            Some(network) if is_inside(address.ip()) => {
                let made = network.run(move || udp_socket(address)).await;
                made.map_err(io::Error::other)??
            }
            _ => udp_socket(address)?,
        };
        let socket = UdpSocket::from_std(socket.into())?;
        socket.connect(address).await?;
        // The runtime knows only then that it can be written to at once.
        socket.writable().await?;
        Ok((address, socket))
    }
}

/// The addresses in the order in which a client tries them: each connection begins with another one, unless clients stay with theirs.
fn plan_turn(target: &Target, client: IpAddr, turn: usize) -> impl Iterator<Item = SocketAddr> {
    let mut addresses: Vec<SocketAddr> = target.addresses.iter().copied().collect();
    if target.is_sticky {
        // The highest draw of client and endpoint wins: one that comes or goes moves only its own clients.
        addresses.sort_by_cached_key(|address| std::cmp::Reverse(draw(client, *address)));
    } else if !addresses.is_empty() {
        let first = turn % addresses.len();
        addresses.rotate_left(first);
    }
    addresses.into_iter()
}

fn draw(client: IpAddr, address: SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    (client, address).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn target(addresses: &[&str], is_sticky: bool) -> Target {
        Target {
            addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
            is_sticky,
            is_coming: false,
        }
    }

    #[test]
    fn connections_take_turns_and_sticky_clients_stay() {
        let three = ["10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:80"];
        let firsts = |is_sticky| -> Vec<_> {
            let target = target(&three, is_sticky);
            (0..3)
                .filter_map(|turn| plan_turn(&target, CLIENT, turn).next())
                .collect()
        };
        assert_eq!(firsts(false).iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        let stays = firsts(true);
        assert!(stays.iter().all(|address| *address == stays[0]));
        // Another endpoint goes: the client does not move.
        let rest: Vec<&str> = three
            .into_iter()
            .filter(|a| *a == stays[0].to_string() || *a < three[2])
            .collect();
        assert_eq!(plan_turn(&target(&rest, true), CLIENT, 7).next(), Some(stays[0]));
    }

    #[tokio::test]
    async fn an_endpoint_that_refuses_is_left_for_another() {
        let (closed, open) = (
            TcpListener::bind("127.0.0.1:0").await.expect("binds"),
            TcpListener::bind("127.0.0.1:0").await.expect("binds"),
        );
        let addresses = [&closed, &open].map(|l| l.local_addr().expect("is bound").to_string());
        drop(closed);
        let target = target(&addresses.each_ref().map(String::as_str), false);
        let (_keep, mut target) = watch::channel(Arc::new(target));
        let dialer = Dialer::new(None);
        for _ in 0..4 {
            let stream = dialer.connect(&mut target, CLIENT).await.expect("one answers");
            assert_eq!(stream.peer_addr().expect("is connected").to_string(), addresses[1]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_pod_that_comes_up_gets_it_and_others_are_refused() {
        let nobody = Target::default();
        let coming = Target {
            is_coming: true,
            ..Target::default()
        };
        let (sender, mut receiver) = watch::channel(Arc::new(nobody));
        let dialer = Dialer::new(None);
        let refused = dialer
            .connect(&mut receiver, CLIENT)
            .await
            .expect_err("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        sender.send_replace(Arc::new(coming));
        assert!(dialer.connect(&mut receiver, CLIENT).await.is_err(), "patience ends");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("is bound").to_string();
        let (found, ()) = tokio::join!(dialer.connect(&mut receiver, CLIENT), async {
            tokio::task::yield_now().await;
            sender.send_replace(Arc::new(target(&[&address], false)));
        });
        assert!(found.is_ok(), "{found:?}");
    }
}
