//! The socket that hears datagrams for whomever they are, and learns for whom.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::model::Family;

/// Room for the one thing that is told beside a datagram.
const BESIDE: usize = 64;

/// What a datagram is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The pod's side.
    pub source: SocketAddr,
    /// For whom it is.
    pub destination: SocketAddr,
    /// How long it is.
    pub length: usize,
}

/// Has the kernel tell for whom datagrams were.
pub(super) fn tell_destinations(family: Family, socket: &OwnedFd) -> io::Result<()> {
    match family {
        Family::V4 => turn_on(socket.as_fd(), libc::SOL_IP, libc::IP_RECVORIGDSTADDR),
        Family::V6 => turn_on(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR),
    }
}

/// Turns an option of `ip(7)` or `ipv6(7)` on.
pub(in crate::net) fn turn_on(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(mem::size_of_val(&on)).expect("four");
    // SAFETY: the pointer and the length are those of a number that lives through the call.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes one datagram; `None` if the kernel did not tell for whom it was.
///
/// # Errors
/// As recvmsg(2); `WouldBlock` if there is none.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Heard>> {
    // SAFETY: these are plain numbers, for which zero is a value.
    let (mut from, mut message): (libc::sockaddr_in6, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    // Aligned as what is told beside: u64 is for everything in it.
    let mut beside = [0_u64; BESIDE / 8];
    let mut data = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = libc::socklen_t::try_from(mem::size_of_val(&from)).expect("twenty-eight");
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = beside.as_mut_ptr().cast();
    message.msg_controllen = BESIDE;
    // SAFETY: all pointers are to buffers that live through the call, with their lengths.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(length) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has filled in the message, whose buffers still live.
    let destination = unsafe { destination(&message) };
    let source = address(from);
    Ok(destination.zip(source).map(|(destination, source)| Heard {
        source,
        destination,
        length,
    }))
}

/// # Safety
/// The message was received, and its buffers live.
unsafe fn destination(message: &libc::msghdr) -> Option<SocketAddr> {
    // SAFETY: the message is as the kernel left it.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: it points to a header within the buffer, or to nothing.
    let header = unsafe { first.as_ref() }?;
    // SAFETY: these are plain numbers, for which zero is a value.
    let mut told: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    let size = match (header.cmsg_level, header.cmsg_type) {
        (libc::SOL_IP, libc::IP_ORIGDSTADDR) => mem::size_of::<libc::sockaddr_in>(),
        (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) => mem::size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    // SAFETY: what is of these types has an address of this size behind its header, which may stand anywhere, and the larger one has
    // room for both.
    unsafe { std::ptr::copy_nonoverlapping(libc::CMSG_DATA(first), (&raw mut told).cast::<u8>(), size) };
    address(told)
}

/// An address of either family, by what it says it is.
fn address(told: libc::sockaddr_in6) -> Option<SocketAddr> {
    match libc::c_int::from(told.sin6_family) {
        libc::AF_INET => {
            // SAFETY: the larger one has the smaller one's room, and any bytes are one.
            let told: libc::sockaddr_in = unsafe { mem::transmute_copy(&told) };
            let ip = IpAddr::from(told.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::new(ip, u16::from_be(told.sin_port)))
        }
        libc::AF_INET6 => {
            let ip = IpAddr::from(told.sin6_addr.s6_addr);
            Some(SocketAddr::new(ip, u16::from_be(told.sin6_port)))
        }
        _ => None,
    }
}
