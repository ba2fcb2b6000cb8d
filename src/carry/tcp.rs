//! One TCP port: lets clients in while it leads somewhere, and has each carried to a pod.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::affinity::Affinity;
use super::dial::Dialer;
use super::place::Target;
use super::port::Door;
use crate::os::{abort, relay, tune};

/// What all ports share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) dialer: Arc<Dialer>,
    /// How many clients there may be on all ports, and on one: a flood of one port leaves the others theirs. Those beyond wait in
    /// the kernel.
    pub(super) room: Arc<Semaphore>,
    pub(super) room_of_one: usize,
    /// Connections, which outlive their port.
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

/// What is one port's.
struct Own {
    room: Arc<Semaphore>,
    affinity: Arc<Affinity>,
}

/// After the system refused a descriptor or memory: trying at once would only turn in a circle.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Serves the port until the target's sender is gone.
pub(super) async fn serve(door: Door, mut target: watch::Receiver<Arc<Target>>, shared: Shared) {
    let own = Own {
        room: Arc::new(Semaphore::new(shared.room_of_one)),
        affinity: Arc::default(),
    };
    // A sender that is gone is told by the second only: what it said last stays.
    while target.wait_for(|target| target.is_open()).await.is_ok() && target.has_changed().is_ok() {
        match door.open() {
            Ok(listener) => {
                accept_all(listener, &mut target, &shared, &own).await;
                if let Err(error) = door.close() {
                    tracing::debug!(%error, "a port is not closed");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a port that is ours can't be opened; trying again");
                tokio::time::sleep(SHORTAGE * 10).await;
            }
        }
    }
}

/// Lets clients in until the target says otherwise.
async fn accept_all(listener: TcpListener, target: &mut watch::Receiver<Arc<Target>>, shared: &Shared, own: &Own) {
    loop {
        let next = async {
            let of_port = own.room.clone().acquire_owned().await.expect("is never closed");
            let of_all = shared.room.clone().acquire_owned().await.expect("is never closed");
            let (client, address) = listener.accept().await?;
            Ok::<_, io::Error>((client, address, (of_port, of_all)))
        };
        tokio::select! {
            () = async { drop(target.wait_for(|target| !target.is_open()).await); } => return,
            came = next => match came {
                Ok((client, address, permits)) => {
                    let (dialer, affinity) = (shared.dialer.clone(), own.affinity.clone());
                    let mut target = target.clone();
                    let work = async move {
                        tune(&client);
                        match dialer.connect(&mut target, address.ip(), &affinity).await {
                            Ok(pod) => relay(&client, &pod).await,
                            Err(error) => {
                                tracing::debug!(%error, "no pod takes the connection");
                                abort(&client);
                            }
                        }
                        drop(permits);
                    };
                    let stop = shared.stop.clone();
                    shared.tasks.spawn(async move { stop.run_until_cancelled(work).await });
                }
                Err(error) => {
                    tracing::debug!(%error, "a client was not let in");
                    tokio::time::sleep(SHORTAGE).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::place::Place;
    use super::super::port::Bound;
    use super::*;
    use crate::net::Protocol;

    fn shared(room_of_one: usize) -> Shared {
        Shared {
            dialer: Arc::new(Dialer::new(None)),
            room: Arc::new(Semaphore::new(64)),
            room_of_one,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// A pod that sends back what it hears, and how it is reached.
    async fn pod() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    fn to(addresses: &[SocketAddr]) -> Arc<Target> {
        Arc::new(Target {
            addresses: addresses.iter().copied().collect(),
            ..Target::default()
        })
    }

    /// A port that nobody has, and the task that serves it.
    fn port(
        target: Arc<Target>,
        shared: Shared,
    ) -> (SocketAddr, watch::Sender<Arc<Target>>, tokio::task::JoinHandle<()>) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = free.local_addr().expect("is bound");
        drop(free);
        let place = Place {
            protocol: Protocol::Tcp,
            port: address.port(),
            ip: Ipv4Addr::LOCALHOST.into(),
        };
        let Ok(Bound::Tcp(door)) = Bound::take(&place) else {
            panic!("{place} was free")
        };
        let (sender, receiver) = watch::channel(target);
        (address, sender, tokio::spawn(serve(door, receiver, shared)))
    }

    async fn echo(port: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(port).await?;
        stream.write_all(b"hi").await?;
        let mut heard = [0; 2];
        stream.read_exact(&mut heard).await?;
        Ok(stream)
    }

    #[tokio::test]
    async fn a_port_opens_and_closes_with_its_target_and_ends_with_the_sender() {
        let pod = pod().await;
        let (port, target, task) = port(to(&[]), shared(8));
        let refused = TcpStream::connect(port).await.expect_err("it leads nowhere");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        target.send_replace(to(&[pod]));
        let mut open = loop {
            // The task takes its turn between two tries.
            match echo(port).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        drop(target);
        task.await.expect("it ends although it leads somewhere");
        assert!(TcpStream::connect(port).await.is_err());
        // A connection outlives its port.
        open.write_all(b"!").await.expect("is there");
        assert_eq!(open.read_u8().await.expect("answers"), b'!');
    }

    #[tokio::test]
    async fn clients_beyond_the_room_wait_until_others_go() {
        let pod = pod().await;
        let (port, _target, _task) = port(to(&[pod]), shared(2));
        let mut first = loop {
            match echo(port).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let second = echo(port).await.expect("there is room");
        let third = tokio::spawn(echo(port));
        // While the third waits the others are served.
        for _ in 0..100 {
            first.write_all(b"x").await.expect("is there");
            first.read_u8().await.expect("answers");
        }
        assert!(!third.is_finished());
        drop(second);
        third.await.expect("no panic").expect("it has its turn");
    }
}
