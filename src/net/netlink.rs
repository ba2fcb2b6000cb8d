//! Asking the kernel by rtnetlink(7): one request, one answer, at once. The kernel answers within the call that sends, so nothing here
//! waits and nothing is async.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::NetError;

/// A socket to the kernel's view of the network namespace in which it was opened.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one in the calling thread's network namespace.
    pub(super) fn open() -> Result<Netlink, NetError> {
        let opened = Socket::new(NETLINK_ROUTE).and_then(|mut socket| {
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        });
        let socket = opened.map_err(|source| refused("rtnetlink socket", source))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Asks, and takes the first answer that is not a mere acknowledgement. `what` names the request for people.
    pub(super) fn ask(
        &mut self,
        what: &str,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Option<RouteNetlinkMessage>, NetError> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(|source| refused(what, source))?;
        let mut answer = None;
        loop {
            let (received, _) = self.socket.recv_from_full().map_err(|source| refused(what, source))?;
            let mut rest = &received[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|_| NetError::Garbled(what.to_owned()))?;
                // Messages begin at multiples of four; the last may end before one.
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::Error(error) => match error.code {
                        None => return Ok(answer),
                        Some(_) => return Err(refused(what, error.to_io())),
                    },
                    NetlinkPayload::InnerMessage(inner) => answer = answer.or(Some(inner)),
                    _ => {}
                }
            }
        }
    }
}

fn refused(what: &str, source: io::Error) -> NetError {
    NetError::Refused {
        what: what.to_owned(),
        source,
    }
}

impl NetError {
    /// Whether it says that there is such a thing already.
    pub(super) fn is_already_there(&self) -> bool {
        matches!(self, NetError::Refused { source, .. } if source.raw_os_error() == Some(libc::EEXIST))
    }
}
