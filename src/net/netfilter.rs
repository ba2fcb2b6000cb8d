//! Talking to netfilter in the kernel: transactions of nf_tables, and what its other parts are asked. The kernel answers within the call
//! that sends, so nothing here waits and nothing is async.

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::NetError;
use super::attributes::Attributes;
use super::nft::{self, Message};

/// What a transaction may be at most, if the kernel allows so much: a thousand Services are 0.8 MB.
const BUFFER: usize = 8 << 20;
/// Larger than any one answer of the kernel (`NLMSG_GOODSIZE` is at most 8 KiB, a dump's part 32 KiB).
const ANSWER: usize = 64 << 10;

/// `NLMSG_HDRLEN`, and the `nfgenmsg` behind it.
const HEAD: usize = 16;
pub(super) const HEAD_OF_NETFILTER: usize = 4;

/// `NLMSG_ERROR`: also says that all is well.
const ERROR: u16 = 2;
/// `NLMSG_DONE`: there is no more in this list.
const DONE: u16 = 3;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(super) const ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub(super) const LIST: u16 = 0x300;

/// A message, from its header on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received<'a> {
    /// Subsystem and verb.
    pub(super) kind: u16,
    sequence: u32,
    /// What is behind the header of netlink.
    pub(super) body: &'a [u8],
}

/// Opens a socket to netfilter in the calling thread's network namespace.
pub(super) fn open() -> io::Result<OwnedFd> {
    let (flags, netfilter) = (SocketFlags::CLOEXEC, Some(rustix::net::netlink::NETFILTER));
    Ok(rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        flags,
        netfilter,
    )?)
}

/// One request to a part of netfilter, numbered 1.
pub(super) fn request(
    subsystem: u16,
    verb: u16,
    flags: u16,
    family: u8,
    resource: u16,
    attributes: &Attributes,
) -> Vec<u8> {
    let length = HEAD + HEAD_OF_NETFILTER + attributes.0.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(u32::try_from(length).expect("requests are short").to_ne_bytes());
    bytes.extend((subsystem << 8 | verb).to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(&attributes.0);
    bytes
}

pub(super) fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(socket, bytes, SendFlags::empty(), &kernel)?;
    Ok(())
}

/// Asks, and hands all that comes to `take` until the kernel says that this was all.
pub(super) fn ask(socket: &OwnedFd, bytes: &[u8], mut take: impl FnMut(&Received<'_>)) -> io::Result<()> {
    send(socket, bytes)?;
    let mut buffer = vec![0; ANSWER];
    loop {
        let (_, length) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(&buffer[..length.min(ANSWER)]) {
            match message.kind {
                DONE => return Ok(()),
                ERROR => return verdict(&message),
                _ => take(&message),
            }
        }
    }
}

/// What an acknowledgement says.
fn verdict(message: &Received<'_>) -> io::Result<()> {
    let code = message.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code.wrapping_neg()))
    }
}

/// Sends messages in one transaction, or in as few as the kernel's buffer allows; in the calling thread's network namespace.
pub(super) fn commit(messages: &[Message]) -> Result<(), NetError> {
    let refused = |source: io::Error| NetError::Refused {
        what: "nf_tables".to_owned(),
        source,
    };
    let socket = open().map_err(refused)?;
    let limit = room(&socket).map_err(|e| refused(e.into()))?;
    let messages = without_needless(&socket, messages);
    let mut rest = &*messages;
    while !rest.is_empty() {
        let mut length = 0;
        let fits = rest.iter().take_while(|message| {
            length += message.len();
            length <= limit
        });
        // A message by itself fits anyway.
        let (part, after) = rest.split_at(fits.count().max(1));
        exchange(&socket, part).map_err(refused)?;
        rest = after;
    }
    Ok(())
}

/// The messages without those that delete tables which are not there. The kernel takes ten milliseconds and more to do away with a table, be it
/// only made to be deleted, and closing the socket waits for that (`nft_rcv_nl_event`): a start has several.
fn without_needless<'m>(socket: &OwnedFd, messages: &'m [Message]) -> Cow<'m, [Message]> {
    let is_removal = |at: usize| {
        messages
            .get(at + 1)
            .is_some_and(|next| messages[at].makes_way_for(next))
    };
    // What the kernel does not answer is for the transaction to show.
    let is_absent = |made: &Message| {
        let asked = ask(socket, &made.question(), |_| {});
        asked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let needless: Vec<usize> = (0..messages.len())
        .filter(|at| is_removal(*at) && is_absent(&messages[*at]))
        .collect();
    if needless.is_empty() {
        return Cow::Borrowed(messages);
    }
    let is_needed = |at: usize| !needless.iter().any(|first| (*first..first + 2).contains(&at));
    let kept = messages.iter().enumerate().filter(|(at, _)| is_needed(*at));
    Cow::Owned(kept.map(|(_, message)| message.clone()).collect())
}

/// How long a transaction may be: an unprivileged socket's buffer is limited by `net.core.wmem_max`.
fn room(socket: &OwnedFd) -> rustix::io::Result<usize> {
    rustix::net::sockopt::set_socket_send_buffer_size(socket, BUFFER)?;
    let size = rustix::net::sockopt::socket_send_buffer_size(socket)?;
    // The kernel keeps some of it; the edges of the transaction are forty bytes.
    Ok(size.saturating_sub(256))
}

/// The kernel has answered when the call that sends returns.
fn exchange(socket: &OwnedFd, transaction: &[Message]) -> io::Result<()> {
    let (bytes, last) = nft::transaction(transaction);
    send(socket, &bytes)?;
    let mut buffer = vec![0; 16 << 10];
    let mut is_done = false;
    loop {
        let received = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => length,
            Err(rustix::io::Errno::AGAIN) if is_done => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let all = messages(&buffer[..received.min(buffer.len())]);
        for message in all.filter(|message| message.kind == ERROR) {
            verdict(&message)?;
            is_done |= message.sequence == last;
        }
    }
}

/// The messages in what was received (`netlink(7)`).
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(*rest.get(at..)?.first_chunk()?));
        let length = usize::try_from(word(0)?).ok()?.max(HEAD);
        let kind = u16::from_ne_bytes(*rest.get(4..)?.first_chunk()?);
        let message = Received {
            kind,
            sequence: word(8)?,
            body: rest.get(HEAD..length.min(rest.len()))?,
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_after_the_other_and_cut_ones_do_no_harm() {
        let one = request(1, 2, ACK, 2, 7, &Attributes::default().number(1, 5));
        let two = request(10, 0x11, 0, 0, 0, &Attributes::default());
        let both = [one.clone(), two].concat();
        let kinds: Vec<u16> = messages(&both).map(|message| message.kind).collect();
        assert_eq!(kinds, [0x0102, 0x0a11]);
        let first = messages(&both).next().expect("there are two");
        assert_eq!((first.sequence, &first.body[..4]), (1, &[2, 0, 0, 7][..]));
        for length in 0..one.len() {
            assert!(messages(&one[..length]).count() <= 1, "{length}");
        }
    }

    #[test]
    fn an_acknowledgement_is_an_error_or_none() {
        let said = |code: i32| {
            verdict(&Received {
                kind: ERROR,
                sequence: 1,
                body: &code.to_ne_bytes(),
            })
        };
        assert!(said(0).is_ok());
        let refused = said(-libc::EPERM).expect_err("is refused");
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
