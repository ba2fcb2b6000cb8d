//! The socket that hears datagrams for whomever they are, and learns for whom.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Room for the one thing that is told beside a datagram.
const BESIDE: usize = 64;

/// What a datagram is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The pod's side.
    pub source: SocketAddrV4,
    /// For whom it is.
    pub destination: SocketAddrV4,
    /// How long it is.
    pub length: usize,
}

/// Has the kernel tell for whom datagrams were.
pub(super) fn tell_destinations(socket: &OwnedFd) -> io::Result<()> {
    turn_on(socket.as_fd(), libc::IP_RECVORIGDSTADDR)
}

/// Turns an option of `ip(7)` on.
pub(in crate::net) fn turn_on(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(mem::size_of_val(&on)).expect("four");
    // SAFETY: the pointer and the length are those of a number that lives through the call.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, option, (&raw const on).cast(), length) };
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
    let (mut from, mut message): (libc::sockaddr_in, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    // Aligned as what is told beside: u64 is for everything in it.
    let mut beside = [0_u64; BESIDE / 8];
    let mut data = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = libc::socklen_t::try_from(mem::size_of_val(&from)).expect("sixteen");
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
    Ok(destination.map(|destination| Heard {
        source: address(&from),
        destination,
        length,
    }))
}

/// # Safety
/// The message was received, and its buffers live.
unsafe fn destination(message: &libc::msghdr) -> Option<SocketAddrV4> {
    // SAFETY: the message is as the kernel left it.
    let first = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: it points to a header within the buffer, or to nothing.
    let header = unsafe { first.as_ref() }?;
    if header.cmsg_level != libc::SOL_IP || header.cmsg_type != libc::IP_ORIGDSTADDR {
        return None;
    }
    // SAFETY: what is of this type has an address behind its header, which may stand anywhere.
    let told: libc::sockaddr_in = unsafe { libc::CMSG_DATA(first).cast::<libc::sockaddr_in>().read_unaligned() };
    Some(address(&told))
}

fn address(told: &libc::sockaddr_in) -> SocketAddrV4 {
    SocketAddrV4::new(
        Ipv4Addr::from(told.sin_addr.s_addr.to_ne_bytes()),
        u16::from_be(told.sin_port),
    )
}
