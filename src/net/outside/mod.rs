//! Ways out of the pods' network: connections and datagrams of pods to whatever is neither a pod nor a Service come to sockets of the node,
//! which has others in the host's network.
//!
//! ```text
//!  pod ── first packet ──► rules ── shown, dropped ──► Knock ── the node connects to the destination
//!      ◄─ what the other side would say ──────────────── refuse        │
//!      ── the same packet, marked ──► rules ── tproxy ──► accept ◄── let_in
//!      ── datagram ─────────────────► rules ── tproxy ──► hear; from then on the socket of `towards`
//! ```
//!
//! Here are the node's ends in the pods' network; who may leave, and what connects to the other side, is for others to know.

mod datagrams;
mod knocks;
mod packet;
mod rules;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Mutex;

use super::netfilter::commit;
use super::netlink::Netlink;
use super::{NetError, NodeNetwork};
use crate::model::Family;
pub use datagrams::Heard;
pub(super) use datagrams::turn_on;
pub use packet::Knock;
use rules::sockets_of;
pub(super) use rules::{MARK, leave_alone_what_stays};

/// Connections that the kernel holds until they are accepted; it takes no more than `net.core.somaxconn`, which is 4096.
const BACKLOG: i32 = 4096;

/// What a pod is told when it can't be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody listens there.
    Refused,
    /// There is no way to the network.
    Network,
    /// There is no way to the host.
    Host,
    /// A rule is against it.
    Prohibited,
}

/// The node's ends of ways out of a family, for as long as it lives: without it packets wait for the next node.
pub struct Outside {
    network: Arc<NodeNetwork>,
    family: Family,
    tcp: TcpListener,
    udp: AsyncFd<OwnedFd>,
    // One task asks; the lock is held while it waits.
    knocks: Mutex<knocks::Knocks>,
    /// Sends packets as they are written.
    plain: Socket,
    /// The same, marked: they come to the node's own sockets.
    marked: Socket,
}

/// What is made in the pods' network.
struct Sockets {
    tcp: std::net::TcpListener,
    udp: OwnedFd,
    knocks: OwnedFd,
    plain: Socket,
    marked: Socket,
}

impl Outside {
    /// Opens ways out; from then on packets come: all of them, or those that are for one address, if others have a way of their own
    /// ([`NodeNetwork::gate_uplink`]). Replaces what an earlier node left.
    ///
    /// # Errors
    /// What the kernel refused, such as nf_tables or its `tproxy`. Then no packet leaves.
    pub async fn open(network: Arc<NodeNetwork>, family: Family, only: Option<IpAddr>) -> Result<Outside, NetError> {
        let sockets = network.run(move || open(family, only)).await??;
        let failed = |source| refused("sockets of ways out", source);
        Ok(Outside {
            network,
            family,
            tcp: TcpListener::from_std(sockets.tcp).map_err(failed)?,
            udp: crate::os::watch_readable(sockets.udp).map_err(failed)?,
            knocks: Mutex::new(knocks::Knocks::new(sockets.knocks).map_err(failed)?),
            plain: sockets.plain,
            marked: sockets.marked,
        })
    }

    /// The next pod that wants to connect.
    ///
    /// # Errors
    /// The kernel shows no more.
    pub async fn knock(&self) -> io::Result<Knock> {
        self.knocks.lock().await.next().await
    }

    /// Lets a pod that knocked connect: [`accept`](Self::accept) has it soon.
    ///
    /// # Errors
    /// What the system says.
    pub fn let_in(&self, knock: &Knock) -> io::Result<()> {
        let to = written_to(knock.destination.ip());
        self.marked.send_to(&knock.again(), &to.into()).map(drop)
    }

    /// Tells a pod that knocked that it can't connect.
    ///
    /// # Errors
    /// What the system says.
    pub fn refuse(&self, knock: &Knock, refusal: Refusal) -> io::Result<()> {
        let to = written_to(knock.source.ip());
        self.plain.send_to(&knock.refusal(refusal), &to.into()).map(drop)
    }

    /// The next connection: its pod's side, and where the pod thinks that it leads.
    ///
    /// # Errors
    /// What the system says.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, SocketAddr)> {
        let (stream, source) = self.tcp.accept().await?;
        let destination = stream.local_addr()?;
        Ok((stream, source, destination))
    }

    /// The next datagram that no socket of [`towards`](Self::towards) takes.
    ///
    /// # Errors
    /// What the system says.
    pub async fn hear(&self, buffer: &mut [u8]) -> io::Result<Heard> {
        loop {
            let mut guard = self.udp.readable().await?;
            match datagrams::receive(self.udp.as_fd(), buffer) {
                Ok(Some(heard)) => return Ok(heard),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }

    /// A socket that a pod takes for `destination`, and which hears what it sends there from now on.
    ///
    /// # Errors
    /// What the system says.
    pub async fn towards(&self, pod: SocketAddr, destination: SocketAddr) -> io::Result<UdpSocket> {
        let family = self.family;
        let made = self.network.run(move || {
            let socket = transparent(family, Type::DGRAM, Protocol::UDP)?;
            // Several pods may speak with the same destination.
            socket.set_reuse_address(true)?;
            socket.bind(&destination.into())?;
            socket.connect(&pod.into())?;
            Ok::<_, io::Error>(socket)
        });
        UdpSocket::from_std(made.await.map_err(io::Error::other)??.into())
    }

    /// Tells a pod that its datagrams did not arrive.
    ///
    /// # Errors
    /// What the system says.
    pub fn refuse_datagrams(&self, pod: SocketAddr, destination: SocketAddr, refusal: Refusal) -> io::Result<()> {
        let packet = packet::refused_datagram(pod, destination, refusal);
        self.plain.send_to(&packet, &written_to(pod.ip()).into()).map(drop)
    }
}

/// Tries whether the kernel takes the rules of ways out, in the calling thread's network namespace: to be called in one that is thrown away.
///
/// # Errors
/// What the kernel refused.
pub fn try_rules() -> Result<(), NetError> {
    commit(&rules::rules(Family::V4, (1, 1), None))
}

/// Everything that is to be made in the pods' network: the rules last, so that no packet comes before there is who hears it.
fn open(family: Family, only: Option<IpAddr>) -> Result<Sockets, NetError> {
    let made = sockets(family).map_err(|source| refused("sockets of ways out", source))?;
    let knocks = knocks::open(family).map_err(|source| refused("nfnetlink_log", source))?;
    Netlink::open()?.route_marked_to_sockets(family, MARK)?;
    let port = |socket: &Socket| {
        let address = socket.local_addr().map(|address| address.as_socket());
        address.map(|address| address.map_or(0, |address| address.port()))
    };
    let failed = |source| refused("sockets of ways out", source);
    let (tcp, udp) = (port(&made.0).map_err(failed)?, port(&made.1).map_err(failed)?);
    commit(&rules::rules(family, (tcp, udp), only))?;
    let (tcp, udp, plain, marked) = made;
    Ok(Sockets {
        tcp: tcp.into(),
        udp: udp.into(),
        knocks,
        plain,
        marked,
    })
}

fn sockets(family: Family) -> io::Result<(Socket, Socket, Socket, Socket)> {
    let any = SocketAddr::new(sockets_of(family), 0).into();
    let tcp = transparent(family, Type::STREAM, Protocol::TCP)?;
    tcp.bind(&any)?;
    tcp.listen(BACKLOG)?;
    let udp = transparent(family, Type::DGRAM, Protocol::UDP)?;
    udp.bind(&any)?;
    let udp = OwnedFd::from(udp);
    datagrams::tell_destinations(family, &udp)?;
    let marked = writer(family)?;
    marked.set_mark(MARK)?;
    Ok((tcp, udp.into(), writer(family)?, marked))
}

/// A socket that may speak for addresses that are not the node's.
fn transparent(family: Family, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(domain_of(family), kind, Some(protocol))?;
    match family {
        Family::V4 => socket.set_ip_transparent_v4(true)?,
        Family::V6 => {
            socket.set_only_v6(true)?;
            turn_on(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_TRANSPARENT)?;
        }
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A socket for packets that are written with their headers (raw(7)).
fn writer(family: Family) -> io::Result<Socket> {
    let socket = Socket::new(domain_of(family), Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn domain_of(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    }
}

/// For whom a written packet is. It has its ports in it; the kernel takes one here for a protocol.
fn written_to(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}

fn refused(what: &str, source: io::Error) -> NetError {
    NetError::Refused {
        what: what.to_owned(),
        source,
    }
}
