//! Connecting to whom a port leads: which address, how often, and from which network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::affinity::Affinity;
use super::place::Target;
use crate::model::is_inside;
use crate::net::{NodeNetwork, connect_from, is_spoken_for, speak_for, tcp_socket, udp_socket};

/// How long a client waits for a pod that is coming up, or for an endpoint that does not answer. Less than the patience of those who ask
/// whether something is up; more than a pod takes that is replaced.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// How often all endpoints that are said to be ready are tried: one that ends may still be on the list.
const ROUNDS: u32 = 3;
/// How many sockets are made by one visit to the thread of the node's network: a visit costs as much as a connection on loopback.
const BATCH: usize = 8;

/// Whether a client may be led to an address.
pub type MayReach = Box<dyn Fn(IpAddr, IpAddr) -> bool + Send + Sync>;

/// Makes connections, in the node's network to what is there, else in the host's: pods that share it, and endpoints elsewhere.
pub(super) struct Dialer {
    network: Option<Arc<NodeNetwork>>,
    /// Sockets of the node's network that nobody has used yet, of IPv4 and of IPv6. Held to take one or to put some.
    spare: [Mutex<Vec<OwnedFd>>; 2],
    turn: AtomicUsize,
    /// Whether pods' answers to clients' own addresses come back.
    keeps_sources: AtomicBool,
    may_reach: Option<MayReach>,
}

impl Dialer {
    pub(super) fn new(network: Option<Arc<NodeNetwork>>) -> Dialer {
        Dialer {
            network,
            spare: Default::default(),
            turn: AtomicUsize::new(0),
            keeps_sources: AtomicBool::new(false),
            may_reach: None,
        }
    }

    /// The same, for clients that may not go everywhere.
    pub(super) fn for_those(mut self, may_reach: MayReach) -> Dialer {
        self.may_reach = Some(may_reach);
        self
    }

    fn is_allowed(&self, client: IpAddr, address: SocketAddr) -> bool {
        self.may_reach.as_ref().is_none_or(|may| may(client, address.ip()))
    }

    /// From now on pods see clients' own addresses where they can answer them, if the kernel allows it.
    pub(super) async fn keep_sources(&self) {
        let Some(network) = &self.network else { return };
        match network.bring_answers().await {
            Ok(()) => self.keeps_sources.store(true, Ordering::Relaxed),
            Err(error) => tracing::warn!(%error, "pods see the node's address instead of those of clients"),
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
        affinity: &Affinity,
    ) -> io::Result<TcpStream> {
        let until = Instant::now() + PATIENCE;
        let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
        let (mut pause, longest) = PAUSES;
        for round in 1.. {
            let now = target.borrow_and_update().clone();
            let stays_at = now.stay.and_then(|_| affinity.find(client));
            let turn = plan_turn(&now, stays_at, self.turn.fetch_add(1, Ordering::Relaxed));
            for address in turn.filter(|address| self.is_allowed(client, *address)) {
                match timeout_at(until, self.connect_to(address, client)).await {
                    Ok(Ok(stream)) => {
                        now.stay.inspect(|stay| affinity.note(client, address, *stay));
                        return Ok(stream);
                    }
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

    async fn connect_to(&self, address: SocketAddr, client: IpAddr) -> io::Result<TcpStream> {
        let socket = if is_inside(address.ip()) {
            let socket = self.inner_socket(address).await?;
            match self.speak_for(&socket, client, address) {
                Ok(()) => socket,
                // One that is half prepared may not connect.
                Err(_) => self.inner_socket(address).await?,
            }
        } else {
            tcp_socket(address)?
        };
        let stream = connect_from(socket, address).await?;
        crate::os::tune(&stream);
        Ok(stream)
    }

    /// Has a socket of the node's network seem to be the client's, where that is possible.
    fn speak_for(&self, socket: &OwnedFd, client: IpAddr, address: SocketAddr) -> io::Result<()> {
        let is_possible = is_spoken_for(client) && client.is_ipv4() == address.is_ipv4();
        if !self.keeps_sources.load(Ordering::Relaxed) || !is_possible {
            return Ok(());
        }
        speak_for(socket, client).inspect_err(|error| tracing::debug!(%client, %error, "a client is not spoken for"))
    }

    async fn inner_socket(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        let spare = &self.spare[usize::from(address.is_ipv6())];
        let take = || spare.lock().expect("nothing panics while it holds sockets").pop();
        if let Some(socket) = take() {
            return Ok(socket);
        }
        let network = self.network.as_ref().ok_or(io::ErrorKind::NetworkUnreachable)?;
        let make = move || (0..BATCH).map(|_| tcp_socket(address)).collect::<Vec<_>>();
        let mut made = network.run(make).await.map_err(io::Error::other)?;
        let first = made.pop().expect("a batch is not empty")?;
        let mut spare = spare.lock().expect("nothing panics while it holds sockets");
        // Others may have come back from the thread meanwhile.
        let room = BATCH.saturating_sub(spare.len());
        spare.extend(made.into_iter().flatten().take(room));
        Ok(first)
    }

    /// A socket for the datagrams of one client; where they go and from where.
    ///
    /// # Errors
    /// What the system says, or that there is nobody.
    pub(super) async fn datagrams(
        &self,
        target: &Target,
        client: IpAddr,
        affinity: &Affinity,
    ) -> io::Result<(SocketAddr, UdpSocket)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let stays_at = target.stay.and_then(|_| affinity.find(client));
        let address = plan_turn(target, stays_at, turn).find(|address| self.is_allowed(client, *address));
        let address = address.ok_or(io::ErrorKind::ConnectionRefused)?;
        let socket = match &self.network {
            Some(network) if is_inside(address.ip()) => {
                let make = || network.run(move || udp_socket(address));
                let socket = make().await.map_err(io::Error::other)??;
                match self.speak_for(&socket, client, address) {
                    Ok(()) => socket,
                    Err(_) => make().await.map_err(io::Error::other)??,
                }
            }
            _ => udp_socket(address)?,
        };
        let socket = UdpSocket::from_std(socket.into())?;
        socket.connect(address).await?;
        // The runtime knows only then that it can be written to at once.
        socket.writable().await?;
        target.stay.inspect(|stay| affinity.note(client, address, *stay));
        Ok((address, socket))
    }
}

/// The addresses in the order in which a client tries them: each connection begins with another one, unless its client stays with one that is
/// still there.
fn plan_turn(target: &Target, stays_at: Option<SocketAddr>, turn: usize) -> impl Iterator<Item = SocketAddr> {
    let mut addresses: Vec<SocketAddr> = target.addresses.iter().copied().collect();
    if !addresses.is_empty() {
        let first = turn % addresses.len();
        addresses.rotate_left(first);
    }
    let place = stays_at.and_then(|at| addresses.iter().position(|address| *address == at));
    if let Some(place) = place {
        addresses[..=place].rotate_right(1);
    }
    addresses.into_iter()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::net::TcpListener;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn target(addresses: &[&str]) -> Target {
        Target {
            addresses: addresses.iter().map(|a| a.parse().expect("an address")).collect(),
            stay: None,
            is_coming: false,
        }
    }

    #[test]
    fn connections_take_turns_and_clients_that_stay_begin_with_their_own() {
        let three = target(&["10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:80"]);
        let firsts = |stays_at: Option<SocketAddr>| -> BTreeSet<_> {
            (0..3)
                .filter_map(|turn| plan_turn(&three, stays_at, turn).next())
                .collect()
        };
        assert_eq!(firsts(None), three.addresses);
        for address in &three.addresses {
            assert_eq!(firsts(Some(*address)), [*address].into());
            let all: BTreeSet<_> = plan_turn(&three, Some(*address), 1).collect();
            assert_eq!(all, three.addresses, "the others are tried behind it");
        }
        let gone = "10.244.0.9:80".parse().expect("an address");
        assert_eq!(firsts(Some(gone)), three.addresses);
    }

    #[tokio::test]
    async fn a_client_stays_with_the_endpoint_that_took_it() {
        let (one, other) = (
            TcpListener::bind("127.0.0.1:0").await.expect("binds"),
            TcpListener::bind("127.0.0.1:0").await.expect("binds"),
        );
        let addresses = [&one, &other].map(|l| l.local_addr().expect("is bound").to_string());
        let target = Target {
            stay: Some(Duration::from_secs(60)),
            ..target(&addresses.each_ref().map(String::as_str))
        };
        let (keep, mut receiver) = watch::channel(Arc::new(target.clone()));
        let (dialer, affinity) = (Dialer::new(None), Affinity::default());
        let mut seen = Vec::new();
        for _ in 0..4 {
            let stream = dialer
                .connect(&mut receiver, CLIENT, &affinity)
                .await
                .expect("one answers");
            seen.push(stream.peer_addr().expect("is connected"));
        }
        assert!(seen.iter().all(|address| *address == seen[0]), "{seen:?}");
        let mut rest = target;
        rest.addresses.remove(&seen[0]);
        keep.send_replace(Arc::new(rest));
        let stream = dialer
            .connect(&mut receiver, CLIENT, &affinity)
            .await
            .expect("the other answers");
        assert_ne!(stream.peer_addr().expect("is connected"), seen[0]);
    }

    #[tokio::test]
    async fn an_endpoint_that_refuses_is_left_for_another() {
        let (closed, open) = (
            TcpListener::bind("127.0.0.1:0").await.expect("binds"),
            TcpListener::bind("127.0.0.1:0").await.expect("binds"),
        );
        let addresses = [&closed, &open].map(|l| l.local_addr().expect("is bound").to_string());
        drop(closed);
        let target = target(&addresses.each_ref().map(String::as_str));
        let (_keep, mut target) = watch::channel(Arc::new(target));
        let dialer = Dialer::new(None);
        for _ in 0..4 {
            let stream = dialer
                .connect(&mut target, CLIENT, &Affinity::default())
                .await
                .expect("one answers");
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
            .connect(&mut receiver, CLIENT, &Affinity::default())
            .await
            .expect_err("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        sender.send_replace(Arc::new(coming));
        assert!(
            dialer
                .connect(&mut receiver, CLIENT, &Affinity::default())
                .await
                .is_err(),
            "patience ends"
        );
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("is bound").to_string();
        let affinity = Affinity::default();
        let (found, ()) = tokio::join!(dialer.connect(&mut receiver, CLIENT, &affinity), async {
            tokio::task::yield_now().await;
            sender.send_replace(Arc::new(target(&[&address])));
        });
        assert!(found.is_ok(), "{found:?}");
    }
}
