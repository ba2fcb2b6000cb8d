//! Datagrams of pods to the outside: for each pair of ends a flow, with a socket for the pod and one for the other side, until nothing was
//! said for a while.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::passes::{Pass, Passes};
use super::plan::{Verdict, plan_idle, plan_refusal};
use super::{BREATH, Full};
use crate::net::{Outside, Refusal};

/// The largest datagram.
const LARGEST: usize = 65_535;
/// So many datagrams are taken before others get a turn.
const BURST: usize = 64;
/// So many may wait while a flow begins.
const BEGINNING: usize = 64;

/// How the other side makes itself heard: by answers, or by an error that was reported to the host.
const SAYS: Interest = Interest::READABLE.add(Interest::ERROR);

/// The pod's side, and where it sends.
type Ends = (SocketAddr, SocketAddr);

/// Carries datagrams.
pub(super) struct Flows {
    outside: Arc<Outside>,
    passes: Arc<Passes>,
    // Held for a look-up or a change.
    flows: Mutex<HashMap<Ends, mpsc::Sender<Vec<u8>>>>,
    /// The machine's addresses.
    addresses: watch::Receiver<Vec<String>>,
    room: Arc<Semaphore>,
    full: Full,
    tasks: TaskTracker,
}

impl Flows {
    pub(super) fn new(
        outside: Arc<Outside>,
        passes: Arc<Passes>,
        addresses: watch::Receiver<Vec<String>>,
        room: Arc<Semaphore>,
        tasks: TaskTracker,
    ) -> Flows {
        Flows {
            addresses,
            outside,
            passes,
            flows: Mutex::default(),
            room,
            full: Full::new("flows of datagrams"),
            tasks,
        }
    }

    /// Hears datagrams that have no flow yet, until it is dropped.
    pub(super) async fn hear(self: Arc<Self>) {
        let mut buffer = vec![0; LARGEST];
        loop {
            match self.outside.hear(&mut buffer).await {
                Ok(heard) => self.take((heard.source, heard.destination), &buffer[..heard.length]),
                Err(error) => {
                    tracing::debug!(%error, "datagrams of pods are not heard");
                    sleep(BREATH).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, ends: Ends, datagram: &[u8]) {
        if let Some(flow) = self.flows().get(&ends) {
            // What does not fit is lost, as datagrams may be.
            let _ = flow.try_send(datagram.to_vec());
            return;
        }
        match self.passes.plan(ends.0.ip(), ends.1) {
            None => {}
            Some((Verdict::Refuse(refusal), _)) => self.refuse(ends, refusal),
            Some((Verdict::Dial(to), pass)) => {
                let permits = [&pass.flows, &self.room].map(|room| room.clone().try_acquire_owned().ok());
                if permits.iter().any(Option::is_none) {
                    return self.full.tell();
                }
                let (sender, receiver) = mpsc::channel(BEGINNING);
                let _ = sender.try_send(datagram.to_vec());
                self.flows().insert(ends, sender);
                let this = self.clone();
                self.tasks.spawn(async move {
                    this.serve(ends, to, &pass, receiver).await;
                    drop(permits);
                });
            }
        }
    }

    async fn serve(&self, ends: Ends, to: SocketAddr, pass: &Pass, first: mpsc::Receiver<Vec<u8>>) {
        let mut addresses = self.addresses.clone();
        addresses.mark_unchanged();
        let carried = tokio::select! {
            carried = self.carry(ends, to, first) => Some(carried),
            () = pass.ended.cancelled() => None,
            // The next datagram begins anew, from the address that the machine has by then.
            Ok(()) = addresses.changed() => None,
        };
        self.flows().remove(&ends);
        if let Some(Err(error)) = carried {
            tracing::debug!(pod = %ends.0, %to, %error, "a pod's datagrams do not arrive");
            if let Some(refusal) = plan_refusal(&error) {
                self.refuse(ends, refusal);
            }
        }
    }

    /// Carries datagrams until nothing was said for a while; an error is one of the other side.
    async fn carry(&self, ends: Ends, to: SocketAddr, mut first: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
        let any = match to {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let outer = UdpSocket::bind(any).await?;
        outer.connect(to).await?;
        let inner = self.outside.towards(ends.0, ends.1).await?;
        let (begun, mut is_answered) = (Instant::now(), false);
        loop {
            let idle = plan_idle(is_answered, begun.elapsed());
            let something = async {
                tokio::select! {
                    Some(datagram) = first.recv() => lossy(send(&outer, &datagram)),
                    ready = inner.readable() => {
                        ready?;
                        pass_on(&inner, &outer).map(drop)
                    }
                    ready = outer.ready(SAYS) => {
                        ready?;
                        is_answered |= answer(&outer, &inner)?;
                        Ok(())
                    }
                }
            };
            match timeout(idle, something).await {
                Ok(done) => done?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn refuse(&self, ends: Ends, refusal: Refusal) {
        if let Err(error) = self.outside.refuse_datagrams(ends.0, ends.1, refusal) {
            tracing::debug!(%error, "a pod is not told that it is refused");
        }
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<Ends, mpsc::Sender<Vec<u8>>>> {
        self.flows.lock().expect("nothing panics while it holds the flows")
    }
}

/// What the pod sends goes on. That the pod does not want an answer any more is no error of the other side.
fn pass_on(inner: &UdpSocket, outer: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; LARGEST];
    for _ in 0..BURST {
        match inner.try_recv(&mut buffer) {
            Ok(length) => lossy(send(outer, &buffer[..length]))?,
            Err(_) => break,
        }
    }
    Ok(())
}

/// What the other side answers goes to the pod. Returns whether there was anything.
fn answer(outer: &UdpSocket, inner: &UdpSocket) -> io::Result<bool> {
    let mut buffer = [0; LARGEST];
    let mut is_answered = false;
    for _ in 0..BURST {
        match receive(outer, &mut buffer) {
            Ok(length) => {
                is_answered = true;
                // An error is about an earlier answer, that the pod did not wait for; this one may find it.
                let sent = send(inner, &buffer[..length]).or_else(|_| send(inner, &buffer[..length]));
                // A pod that has gone needs no answer.
                drop(sent);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(is_answered)
}

/// Sends at once or not at all. Not `try_send`, which sends nothing before the runtime has looked at a new socket once.
fn send(socket: &UdpSocket, datagram: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, datagram, SendFlags::DONTWAIT)?)
}

/// The next answer, or what was reported. Each is looked for by itself: the runtime forgets one kind of readiness at a time.
fn receive(outer: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    let mut take = || {
        let (_, length) = rustix::net::recv(outer, &mut *buffer, RecvFlags::DONTWAIT)?;
        Ok(length)
    };
    match outer.try_io(Interest::READABLE, &mut take) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => outer.try_io(Interest::ERROR, take),
        received => received,
    }
}

/// What does not fit into the host's queue is lost, as on the way.
fn lossy(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    async fn socket() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").await.expect("binds")
    }

    #[tokio::test]
    async fn the_first_datagram_of_a_new_socket_is_not_lost() {
        let (other, mut buffer) = (socket().await, [0; 64]);
        for number in 0..50_u8 {
            let outer = socket().await;
            outer
                .connect(other.local_addr().expect("is bound"))
                .await
                .expect("connects");
            send(&outer, &[number]).expect("sends");
            assert_eq!(other.recv(&mut buffer).await.expect("hears"), 1);
            assert_eq!(buffer[0], number);
        }
    }

    #[tokio::test]
    async fn the_other_side_is_heard_whether_it_answers_or_refuses_and_not_when_it_is_silent() {
        let (other, outer) = (socket().await, socket().await);
        let address = other.local_addr().expect("is bound");
        outer.connect(address).await.expect("connects");
        other
            .send_to(b"answer", outer.local_addr().expect("is bound"))
            .await
            .expect("sends");
        outer.ready(SAYS).await.expect("waits");
        let mut buffer = [0; 64];
        assert_eq!(receive(&outer, &mut buffer).expect("is there"), 6);
        let silent = receive(&outer, &mut buffer).expect_err("it is silent");
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock);
        drop(other);
        outer.send(b"question").await.expect("sends");
        outer.ready(SAYS).await.expect("waits");
        let refused = receive(&outer, &mut buffer).expect_err("nobody is there");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // Nothing is left of it that would wake anyone.
        let silent = receive(&outer, &mut buffer).expect_err("it is silent");
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock);
        assert!(outer.ready(SAYS).now_or_never().is_none(), "it would wake at once");
    }
}
