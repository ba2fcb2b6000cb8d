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
use super::{NetError, guard, link};
use crate::model::{DNS, Family};

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
    families: &'static [Family],
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
        let (namespace, families) = told.recv().map_err(|_| NetError::Ended)??;
        Ok(NodeNetwork {
            namespace,
            families,
            thread: Mutex::new(jobs),
            addresses: Mutex::new(Addresses::new(families.contains(&Family::V6))),
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

    /// The families of addresses that pods have.
    pub fn families(&self) -> &'static [Family] {
        self.families
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
fn begin(present: Option<OwnedFd>) -> Result<(OwnedFd, &'static [Family]), NetError> {
    match present {
        Some(namespace) => {
            link::enter(namespace.as_fd())?;
            // Its maker may have been killed before it was done; doing it again changes nothing.
            let families = furnish()?;
            Ok((namespace, families))
        }
        None => {
            // SAFETY: only the network namespace of this thread is left: no memory, no descriptors.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
                .map_err(|e| NetError::Namespace(e.into()))?;
            let families = furnish()?;
            let namespace = fs::File::open("/proc/thread-self/ns/net").map_err(NetError::Namespace)?;
            Ok((namespace.into(), families))
        }
    }
}

/// Makes of the namespace a network, and says which families of addresses it has.
fn furnish() -> Result<&'static [Family], NetError> {
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
    furnish_family(&mut netlink, device, Family::V4)?;
    netlink.add_address(LOOPBACK, DNS.into())?;
    match furnish_second(&mut netlink, device) {
        Ok(()) => Ok(&Family::BOTH),
        Err(error) => {
            tracing::info!(%error, "pods have addresses of IPv4 only");
            // Pods of an earlier node may have others, which nothing would guard.
            let _ = fs::write(DISABLE, "1");
            Ok(&Family::BOTH[..1])
        }
    }
}

fn furnish_family(netlink: &mut Netlink, device: u32, family: Family) -> Result<(), NetError> {
    netlink.add_address(device, family.gateway())?;
    // Packets to Services are sent elsewhere before or after routing, but routing has to let them pass.
    netlink.add_route(device, family.services(), Some(family.gateway()))
}

/// IPv6, where the kernel has it and can guard it: without rules of that family policies could not be kept, and whoever is kept from a pod
/// by one address would reach it by the other.
fn furnish_second(netlink: &mut Netlink, device: u32) -> Result<(), NetError> {
    for (name, value) in SECOND {
        fs::write(name, value).map_err(|source| NetError::Refused {
            what: name.to_owned(),
            source,
        })?;
    }
    guard::set_up()?;
    furnish_family(netlink, device, Family::V6)
}

/// All that is of IPv6 goes when this is set.
const DISABLE: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// What makes IPv6 pass from pod to pod.
const SECOND: [(&str, &str); 6] = [
    (DISABLE, "0"),
    ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
    // Nobody else can have the addresses of cables, so none waits to find out.
    ("/proc/sys/net/ipv6/conf/all/accept_dad", "0"),
    ("/proc/sys/net/ipv6/conf/default/accept_dad", "0"),
    // `IN6_ADDR_GEN_MODE_NONE`: whoever has an address of a cable only would be a neighbour.
    ("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1"),
    // The node's own proxy listens at addresses of Services, which are a range and not an interface's.
    ("/proc/sys/net/ipv6/ip_nonlocal_bind", "1"),
];

/// A cable from the namespace to itself: where routes end that are for no pod.
const DEVICE: &str = "node0";
const DEVICE_PEER: &str = "node1";
