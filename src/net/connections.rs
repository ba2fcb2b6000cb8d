//! Connections that were let in once and would not be any more: marked in the kernel's memory of them, so that the rules refuse what still
//! comes, or unmarked when they would be let in again.
//!
//! Forgetting them would not do: the kernel takes a packet from the middle of a connection for the beginning of one, of whoever sends it, and
//! a Service's clients would come to another endpoint.

use std::net::SocketAddr;

use super::NetError;
use super::attributes::{Attributes, attribute};
use super::conntrack::{ORIGINAL, REPLY, amend, tuple};

/// `IPCTNL_MSG_CT_NEW`: changes a connection that is there, unless it is told to make one.
const CHANGE: u16 = 0;
/// `CTA_MARK`.
const MARK: u16 = 8;
/// What marks connections that are to end. Marks of connections are the network namespace's own, and nothing else sets any.
pub(super) const ENDED: u32 = 0x6b6c;

/// A connection as the kernel remembers it.
#[derive(Debug, PartialEq, Eq)]
struct Connection {
    protocol: u8,
    source: SocketAddr,
    /// Who answers.
    destination: SocketAddr,
    is_ended: bool,
    /// What names it to the kernel.
    name: Vec<u8>,
}

/// Has connections end where `is_let_in(protocol, source, destination)` is not (any more), in the calling thread's network namespace. Returns
/// how many that were.
///
/// # Errors
/// What the kernel refused.
pub(super) fn end_connections(is_let_in: impl Fn(u8, SocketAddr, SocketAddr) -> bool) -> Result<usize, NetError> {
    let differs = |c: &Connection| is_let_in(c.protocol, c.source, c.destination) == c.is_ended;
    let pick = |attributes: &[u8]| read(attributes).filter(differs);
    let marked = |connection: &Connection| {
        Attributes::default()
            .nested_bytes(ORIGINAL, &connection.name)
            .number(MARK, if connection.is_ended { 0 } else { ENDED })
    };
    let changed = amend(CHANGE, pick, |connection| (connection.source, marked(connection)))?;
    Ok(changed.iter().filter(|connection| !connection.is_ended).count())
}

/// A connection between ports; none if it is something else.
fn read(attributes: &[u8]) -> Option<Connection> {
    let original = attribute(attributes, ORIGINAL)?;
    let (protocol, source, _) = tuple(original)?;
    let (_, destination, _) = tuple(attribute(attributes, REPLY)?)?;
    let mark = attribute(attributes, MARK).and_then(<[u8]>::first_chunk);
    Some(Connection {
        protocol,
        source,
        destination,
        is_ended: mark.is_some_and(|mark| u32::from_be_bytes(*mark) == ENDED),
        name: original.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::conntrack::tests::written;
    use super::*;

    #[test]
    fn a_connection_is_between_who_began_it_and_who_answers() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (client, frontend, backend) = (at("10.244.0.9:4000"), at("10.96.0.5:80"), at("10.244.0.3:8080"));
        for (mark, is_ended) in [(None, false), (Some(0), false), (Some(ENDED), true)] {
            let mut entry = Attributes::default()
                .nested(ORIGINAL, written(6, client, frontend))
                .nested(REPLY, written(6, backend, client));
            if let Some(mark) = mark {
                entry = entry.number(MARK, mark);
            }
            let found = read(&entry.0).expect("it is one");
            assert_eq!((found.protocol, found.source, found.destination), (6, client, backend));
            assert_eq!(found.is_ended, is_ended);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_connection_or_none(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _one_or_none = read(&bytes);
        }
    }
}
