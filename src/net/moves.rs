//! When the machine's addresses or ways change: a laptop joins another network, a VPN comes up.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;

/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV4_ROUTE`, and the same of IPv6 (`rtnetlink(7)`).
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
/// What is said does not matter, only that something is.
const BUFFER: usize = 8 << 10;

/// Hears of changes in the network namespace in which it was made.
pub struct Moves(AsyncFd<OwnedFd>);

impl Moves {
    /// Listens from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen() -> io::Result<Moves> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // NETLINK_ROUTE is the protocol 0.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        crate::os::watch_readable(socket).map(Moves)
    }

    /// Waits for a change; several that came at once are one.
    ///
    /// # Errors
    /// What the system says.
    pub async fn next(&self) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        let mut buffer = [0; BUFFER];
        loop {
            match rustix::net::recv(self.0.get_ref(), &mut buffer[..], RecvFlags::empty()) {
                // More than fits is still that something is.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        guard.clear_ready();
        Ok(())
    }
}
