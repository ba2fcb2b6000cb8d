//! The node's network namespace, and the one thread that lives in it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, mpsc};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::addresses::Addresses;
use super::link::LOOPBACK;
use super::netlink::Netlink;
use super::{NetError, link};
use crate::model::{DNS, GATEWAY, SERVICE_PREFIX, SERVICES};

/// Netlink messages are built on it, and nothing deep.
const STACK: usize = 256 << 10;

/// Packets go from pod to pod through the namespace: without this there is no network.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// What makes it better, where the kernel has it.
const SETTINGS: [(&str, &str); 6] = [
    // A pod that speaks for another one's address is not heard: who may leave is told by the address.
    ("net/ipv4/conf/all/rp_filter", "1"),
    // A pod's only neighbour is the gateway: a redirect would send it astray.
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    // The node opens many short connections to the same pods. Without these two it runs out of ports after some 17,000 of them and falls to a
    // tenth of its rate.
    ("net/ipv4/tcp_tw_reuse", "1"),
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    // Ended connections are tracked for two minutes otherwise: at 2,200 of them a second the kernel's table of 262,144 is full.
    ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "15"),
];

type Job = Box<dyn FnOnce() + Send>;

/// The node's network namespace, for as long as this or a supervisor holds it open.
pub struct NodeNetwork {
    namespace: OwnedFd,
    // Held to send, never across an await.
    thread: Mutex<mpsc::Sender<Job>>,
    // Held for a look-up or an insertion.
    addresses: Mutex<Addresses>,
}

impl NodeNetwork {
    /// Enters `present`, the namespace of an earlier node, or makes one. The caller must be root, of a user namespace or for real.
    ///
    /// # Errors
    /// The kernel refuses it; then pods can have their loopback only.
    pub fn open(present: Option<OwnedFd>) -> Result<NodeNetwork, NetError> {
        let (jobs, asked) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = move || {
            let begun = begin(present);
            let is_ready = begun.is_ok();
            // Whoever opens waits for it.
            let _ = tell.send(begun);
            if is_ready {
                asked.iter().for_each(|job| job());
            }
        };
        let builder = std::thread::Builder::new()
            .name("node-network".to_owned())
            .stack_size(STACK);
        builder.spawn(thread).map_err(NetError::Namespace)?;
        let namespace = told.recv().map_err(|_| NetError::Ended)??;
        Ok(NodeNetwork {
            namespace,
            thread: Mutex::new(jobs),
            addresses: Mutex::default(),
        })
    }

    /// Where a process of the same user opens the namespace while this one lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()).into()
    }

    /// What tells this namespace from others for as long as anything holds it open.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn identity(&self) -> io::Result<u64> {
        identity_of(self.namespace.as_fd())
    }

    /// Who has which address.
    pub fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses
            .lock()
            .expect("nothing panics while it holds the addresses")
    }

    /// Does something in the namespace; it must not block.
    ///
    /// # Errors
    /// [`NetError::Ended`].
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NetError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Who asked may have given up.
            let _ = answer.send(work());
        });
        let sent = self.thread.lock().expect("nothing panics while it sends").send(job);
        sent.map_err(|_| NetError::Ended)?;
        answered.await.map_err(|_| NetError::Ended)
    }

    /// Connects from within the namespace.
    ///
    /// # Errors
    /// What the system says.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.run(move || tcp_socket(address)).await;
        connect_from(socket.map_err(io::Error::other)??, address).await
    }
}

/// Makes a socket in the network namespace of the calling thread, for a connection to an address.
///
/// # Errors
/// What the system says.
pub fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    socket(address, SocketType::STREAM)
}

/// The same for datagrams.
///
/// # Errors
/// What the system says.
pub fn udp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    socket(address, SocketType::DGRAM)
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}

/// Connects such a socket.
///
/// # Errors
/// What the system says.
pub async fn connect_from(socket: OwnedFd, address: SocketAddr) -> io::Result<TcpStream> {
    TcpSocket::from_std_stream(StdStream::from(socket))
        .connect(address)
        .await
}

/// The node's network that a supervisor holds open: the one network namespace among its descriptors.
pub fn node_network_of(pid: i32) -> Option<OwnedFd> {
    let mut descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    descriptors.find_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.starts_with("net:[").then_some(())?;
        fs::File::open(entry.path()).ok().map(OwnedFd::from)
    })
}

/// What tells a namespace from others for as long as anything holds it open: the number of its inode.
///
/// # Errors
/// The kernel does not say.
pub fn identity_of(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(namespace)?.st_ino)
}

/// What the thread does first.
fn begin(present: Option<OwnedFd>) -> Result<OwnedFd, NetError> {
    match present {
        Some(namespace) => {
            link::enter(namespace.as_fd())?;
            // Its maker may have been killed before it was done; doing it again changes nothing.
            furnish()?;
            Ok(namespace)
        }
        None => {
            // SAFETY: only the network namespace of this thread is left: no memory, no descriptors.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(|e| NetError::Namespace(e.into()))?;
            furnish()?;
            let namespace = fs::File::open("/proc/thread-self/ns/net").map_err(NetError::Namespace)?;
            Ok(namespace.into())
        }
    }
}

fn furnish() -> Result<(), NetError> {
    let mut netlink = Netlink::open()?;
    netlink.set_up(LOOPBACK)?;
    fs::write(FORWARD, "1").map_err(|source| NetError::Refused {
        what: FORWARD.to_owned(),
        source,
    })?;
    for (name, value) in SETTINGS {
        if let Err(error) = fs::write(format!("/proc/sys/{name}"), value) {
            tracing::debug!(name, %error, "a setting of the node's network stays as it is");
        }
    }
    // Also shows whether there can be cables at all, before the first pod needs one.
    match netlink.make_link(DEVICE, link::veth(DEVICE, DEVICE_PEER, Vec::new(), 0)) {
        Err(error) if !error.is_already_there() => return Err(error),
        _ => {}
    }
    let peer = netlink.index_of(DEVICE_PEER)?;
    netlink.set_up(peer)?;
    let device = netlink.index_of(DEVICE)?;
    netlink.add_address(device, GATEWAY)?;
    // Packets to Services are sent elsewhere before or after routing, but routing has to let them pass.
    netlink.add_route(device, SERVICES, SERVICE_PREFIX, Some(GATEWAY))?;
    netlink.add_address(LOOPBACK, DNS)
}

/// A cable from the namespace to itself: where routes end that are for no pod.
const DEVICE: &str = "node0";
const DEVICE_PEER: &str = "node1";
