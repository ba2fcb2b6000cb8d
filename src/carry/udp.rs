//! One UDP port: a table of clients, each with a socket towards one pod, until nothing was said for a while.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::affinity::Affinity;
use super::place::Target;
use super::tcp::Shared;

/// A flow in which nothing was said for so long, and at most for twice as long, is over. As long as connection tracking keeps one that was
/// answered (`nf_conntrack_udp_timeout_stream`).
const IDLE: Duration = Duration::from_secs(120);
/// The largest datagram.
const LARGEST: usize = 65_535;
/// So many datagrams are taken before others get a turn.
const BURST: usize = 64;
/// How many clients a port has at most; with one more the one goes that has been silent for longest.
const MOST: usize = 256;

/// The flow of one client.
struct Flow {
    pod: Arc<UdpSocket>,
    address: SocketAddr,
    was_used: Arc<AtomicBool>,
    /// When it was last used, as the number of a datagram.
    last: u64,
    task: AbortHandle,
}

struct Port {
    socket: Arc<UdpSocket>,
    shared: Shared,
    affinity: Affinity,
    flows: HashMap<SocketAddr, Flow>,
    /// What brings answers back, one for each flow.
    tasks: JoinSet<SocketAddr>,
    count: u64,
}

/// Serves the port until the target's sender is gone. Datagrams that lead nowhere are lost, as datagrams may be.
pub(super) async fn serve(socket: UdpSocket, mut target: watch::Receiver<Arc<Target>>, shared: Shared) {
    let socket = Arc::new(socket);
    let mut port = Port {
        socket: socket.clone(),
        shared,
        affinity: Affinity::default(),
        flows: HashMap::new(),
        tasks: JoinSet::new(),
        count: 0,
    };
    // The runtime knows only then that answers can be sent at once.
    let _ = socket.writable().await;
    loop {
        tokio::select! {
            changed = target.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = target.borrow_and_update().clone();
                port.keep(|flow| now.addresses.contains(&flow.address));
            }
            Some(ended) = port.tasks.join_next() => port.forget(ended.ok()),
            // An error is about a datagram that was sent, and one that was sent before is no matter.
            _ = socket.readable() => {
                let now = target.borrow().clone();
                port.take_burst(&now).await;
            }
        }
    }
}

impl Port {
    async fn take_burst(&mut self, target: &Target) {
        for _ in 0..BURST {
            let Some((client, datagram)) = receive(&self.socket) else {
                return;
            };
            self.count += 1;
            if let Err(error) = self.pass_on(client, &datagram, target).await {
                tracing::debug!(%client, %error, "a datagram is lost");
            }
        }
    }

    async fn pass_on(&mut self, client: SocketAddr, datagram: &[u8], target: &Target) -> io::Result<()> {
        if !self.flows.contains_key(&client) {
            let flow = self.begin(client, target).await?;
            self.flows.insert(client, flow);
        }
        let flow = self.flows.get_mut(&client).expect("it was there or has just come");
        flow.last = self.count;
        flow.was_used.store(true, Ordering::Relaxed);
        // What does not fit is lost: whoever waited for one pod would keep the others' waiting.
        flow.pod.try_send(datagram).map(drop)
    }

    async fn begin(&mut self, client: SocketAddr, target: &Target) -> io::Result<Flow> {
        let permit = loop {
            let free = self.shared.room.clone().try_acquire_owned().ok();
            match free.filter(|_| self.flows.len() < MOST) {
                Some(permit) => break permit,
                None if self.flows.is_empty() => return Err(io::ErrorKind::QuotaExceeded.into()),
                None => self.end_oldest().await,
            }
        };
        let dialer = self.shared.dialer.clone();
        let (address, pod) = dialer.datagrams(target, client.ip(), &self.affinity).await?;
        let (pod, was_used) = (Arc::new(pod), Arc::new(AtomicBool::new(true)));
        let answers = answer(self.socket.clone(), pod.clone(), client, was_used.clone(), permit);
        Ok(Flow {
            pod,
            address,
            was_used,
            last: self.count,
            task: self.tasks.spawn(answers),
        })
    }

    async fn end_oldest(&mut self) {
        let oldest = self
            .flows
            .iter()
            .min_by_key(|(_, flow)| flow.last)
            .map(|(client, _)| *client);
        if let Some(flow) = oldest.and_then(|client| self.flows.remove(&client)) {
            flow.task.abort();
            // Its place is free when it has ended. Which one it was does not matter: whoever ends gives a place back.
            let ended = self.tasks.join_next().await;
            self.forget(ended.and_then(Result::ok));
        }
    }

    fn keep(&mut self, is_kept: impl Fn(&Flow) -> bool) {
        self.flows.retain(|_, flow| {
            let stays = is_kept(flow);
            if !stays {
                flow.task.abort();
            }
            stays
        });
    }

    /// A flow that was ended by us is out of the table already, and another one may have its client by now.
    fn forget(&mut self, ended: Option<SocketAddr>) {
        if let Some(client) = ended {
            let is_over = self.flows.get(&client).is_some_and(|flow| flow.task.is_finished());
            if is_over {
                self.flows.remove(&client);
            }
        }
    }
}

/// Brings answers to a client until the flow is idle.
async fn answer(
    host: Arc<UdpSocket>,
    pod: Arc<UdpSocket>,
    client: SocketAddr,
    was_used: Arc<AtomicBool>,
    permit: OwnedSemaphorePermit,
) -> SocketAddr {
    loop {
        match timeout(IDLE, pod.readable()).await {
            Ok(_) => {
                if let Some(datagram) = receive_connected(&pod) {
                    was_used.store(true, Ordering::Relaxed);
                    let _ = host.try_send_to(&datagram, client);
                }
            }
            Err(_) if was_used.swap(false, Ordering::Relaxed) => {}
            Err(_) => {
                drop(permit);
                return client;
            }
        }
    }
}

/// The next datagram, if there is one.
fn receive(socket: &UdpSocket) -> Option<(SocketAddr, Vec<u8>)> {
    let mut buffer = [0; LARGEST];
    let (length, client) = socket.try_recv_from(&mut buffer).ok()?;
    Some((client, buffer[..length].to_vec()))
}

fn receive_connected(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; LARGEST];
    let length = socket.try_recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::super::dial::Dialer;
    use super::*;

    fn shared(room: usize) -> Shared {
        Shared {
            dialer: Arc::new(Dialer::new(None)),
            room: Arc::new(Semaphore::new(room)),
            room_of_one: room,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// A pod that answers each datagram with its own name before it, and notes from whom they came.
    async fn pod(name: &'static str) -> (SocketAddr, Arc<Mutex<BTreeSet<SocketAddr>>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let (address, seen) = (socket.local_addr().expect("is bound"), Arc::default());
        let notes: Arc<Mutex<BTreeSet<SocketAddr>>> = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut buffer = vec![0; LARGEST];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                notes.lock().expect("no panic").insert(from);
                let answer = [name.as_bytes(), &buffer[..length]].concat();
                let _ = socket.send_to(&answer, from).await;
            }
        });
        (address, seen)
    }

    fn to(addresses: &[SocketAddr]) -> Arc<Target> {
        Arc::new(Target {
            addresses: addresses.iter().copied().collect(),
            ..Target::default()
        })
    }

    async fn ask(client: &UdpSocket, port: SocketAddr, text: &str) -> String {
        client.send_to(text.as_bytes(), port).await.expect("sends");
        let mut buffer = vec![0; LARGEST];
        let (length, _) = client.recv_from(&mut buffer).await.expect("an answer");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    async fn port(target: Arc<Target>, room: usize) -> (SocketAddr, watch::Sender<Arc<Target>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let address = socket.local_addr().expect("is bound");
        let (sender, receiver) = watch::channel(target);
        tokio::spawn(serve(socket, receiver, shared(room)));
        (address, sender)
    }

    async fn client() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").await.expect("binds")
    }

    #[tokio::test]
    async fn each_client_has_a_flow_and_gets_its_own_answers() {
        let (address, seen) = pod("a:").await;
        let (port, _target) = port(to(&[address]), 8).await;
        let clients = [client().await, client().await];
        for text in ["one", "two"] {
            for client in &clients {
                assert_eq!(ask(client, port, text).await, format!("a:{text}"));
            }
        }
        assert_eq!(seen.lock().expect("no panic").len(), 2, "a flow of its own for each");
    }

    #[tokio::test]
    async fn a_client_goes_to_the_next_pod_when_its_own_is_gone() {
        let ((a, _), (b, _)) = (pod("a:").await, pod("b:").await);
        let (port, target) = port(to(&[a]), 8).await;
        let client = client().await;
        assert_eq!(ask(&client, port, "x").await, "a:x");
        target.send_replace(to(&[a, b]));
        assert_eq!(ask(&client, port, "x").await, "a:x", "it stays with its pod");
        target.send_replace(to(&[b]));
        // The port may take the datagram before it has heard of the change.
        while ask(&client, port, "x").await != "b:x" {}
    }

    #[tokio::test]
    async fn more_clients_than_there_is_room_for_push_out_those_that_are_silent() {
        let (address, seen) = pod("a:").await;
        let (port, _target) = port(to(&[address]), 4).await;
        let mut clients = Vec::new();
        for number in 0..20 {
            let client = client().await;
            assert_eq!(ask(&client, port, &number.to_string()).await, format!("a:{number}"));
            clients.push(client);
        }
        assert_eq!(seen.lock().expect("no panic").len(), 20);
        // One that was pushed out begins a new flow.
        assert_eq!(ask(&clients[0], port, "again").await, "a:again");
    }
}
