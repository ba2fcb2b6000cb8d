//! A port that is ours: bound, and open or not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};
use tokio::net::TcpListener;

use super::place::Place;
use crate::net::Protocol;

/// How many clients may wait to be accepted. A node that starts again is flooded by those that tried meanwhile; the kernel cuts it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A bound port.
pub(super) enum Bound {
    Tcp(Door),
    Udp(std::net::UdpSocket),
}

impl Bound {
    /// Takes the port, in the network of the calling thread.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn take(place: &Place) -> io::Result<Bound> {
        let socket = match place.protocol {
            Protocol::Tcp => SocketType::STREAM,
            Protocol::Udp => SocketType::DGRAM,
        };
        let family = match place.ip {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, socket, flags, None)?;
        if place.ip.is_ipv6() {
            // Both families are asked for by themselves.
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        let address = SocketAddr::new(place.ip, place.port);
        match place.protocol {
            Protocol::Tcp => {
                // Connections of an earlier node may linger; they are in nobody's way. (With UDP this would share the port.)
                sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &address)?;
                let door = Door { socket };
                // Only now does the kernel say whether someone listens there who allows others to bind.
                rustix::net::listen(&door.socket, BACKLOG)?;
                door.close()?;
                Ok(Bound::Tcp(door))
            }
            Protocol::Udp => {
                rustix::net::bind(&socket, &address)?;
                Ok(Bound::Udp(socket.into()))
            }
        }
    }
}

/// A TCP port. While it is closed it is still ours, and clients are refused as if nobody were there.
pub(super) struct Door {
    socket: OwnedFd,
}

impl Door {
    /// From now on clients are let in.
    ///
    /// # Errors
    /// What the system says: someone else may listen there by now.
    pub(super) fn open(&self) -> io::Result<TcpListener> {
        rustix::net::listen(&self.socket, BACKLOG)?;
        TcpListener::from_std(self.socket.try_clone()?.into())
    }

    /// From now on clients are refused, and so are those that wait. Linux lets a socket stop to listen (`shutdown(2)`) and keeps its port.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn close(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.socket, Shutdown::Read)?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpStream;

    use super::*;

    fn loopback(port: u16) -> Place {
        Place {
            protocol: Protocol::Tcp,
            ip: Ipv4Addr::LOCALHOST.into(),
            port,
        }
    }

    fn door(place: &Place) -> Door {
        match Bound::take(place) {
            Ok(Bound::Tcp(door)) => door,
            Ok(Bound::Udp(_)) => panic!("it was asked for TCP"),
            Err(error) => panic!("{place:?}: {error}"),
        }
    }

    #[tokio::test]
    async fn a_closed_door_refuses_and_opens_again_at_the_same_port() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = free.local_addr().expect("is bound");
        drop(free);
        let door = door(&loopback(address.port()));
        for _ in 0..3 {
            let refused = TcpStream::connect(address).await.expect_err("it is closed");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let listener = door.open().expect("it is ours");
            let (came, went) = tokio::join!(listener.accept(), TcpStream::connect(address));
            came.and(went.map(|stream| (stream, address))).expect("it is open");
            drop(listener);
            door.close().expect("it was open");
        }
    }

    #[tokio::test]
    async fn a_port_that_others_listen_on_is_not_ours() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let place = loopback(other.local_addr().expect("is bound").port());
        let error = Bound::take(&place).err().expect("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(other);
        assert!(Bound::take(&place).is_ok());
    }
}
