//! Connections that the kernel remembers (ctnetlink, `linux/netfilter/nfnetlink_conntrack.h`). Datagrams of a client follow what is
//! remembered of it, whatever Services say by now: when an endpoint goes, its entries have to go with it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::attributes::{Attributes, attribute};
use super::{NetError, netfilter, nft};
use crate::model::Family;

/// `NFNL_SUBSYS_CTNETLINK`, `IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE`.
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
/// `NFPROTO_UNSPEC`: both families are listed.
const ALL: u8 = 0;
/// `IPPROTO_UDP`.
const UDP: u8 = 17;
/// `CTA_TUPLE_ORIG` and `CTA_TUPLE_REPLY`.
pub(super) const ORIGINAL: u16 = 1;
pub(super) const REPLY: u16 = 2;

/// A client's datagrams as the kernel remembers them.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Where the client sends.
    frontend: SocketAddr,
    /// Who answers.
    backend: SocketAddr,
    /// What names it to the kernel.
    name: Vec<u8>,
}

/// Forgets who answers datagrams where `is_stale(frontend, backend)`, in the calling thread's network namespace. Those that no Service
/// sent elsewhere are not looked at. Returns how many were forgotten.
///
/// # Errors
/// What the kernel refused.
pub(super) fn forget_datagrams(is_stale: impl Fn(SocketAddr, SocketAddr) -> bool) -> Result<usize, NetError> {
    let is_one = |entry: &Entry| entry.frontend != entry.backend && is_stale(entry.frontend, entry.backend);
    let name = |entry: &Entry| Attributes::default().nested_bytes(ORIGINAL, &entry.name);
    let pick = |attributes: &[u8]| read(attributes).filter(is_one);
    let stale = amend(DELETE, pick, |entry| (entry.frontend, name(entry)))?;
    Ok(stale.len())
}

/// Looks at all connections, and asks the kernel to do something about those that `pick` takes from their attributes: what, and of which family
/// (by one of its ends), is up to `request`. Those that went by themselves meanwhile are passed over. Returns what was taken.
///
/// # Errors
/// What the kernel refused.
pub(super) fn amend<T>(
    verb: u16,
    mut pick: impl FnMut(&[u8]) -> Option<T>,
    request: impl Fn(&T) -> (SocketAddr, Attributes),
) -> Result<Vec<T>, NetError> {
    let refused = |source: io::Error| NetError::Refused {
        what: "connection tracking".to_owned(),
        source,
    };
    let socket = netfilter::open().map_err(refused)?;
    let mut taken = Vec::new();
    let list = netfilter::request(SUBSYSTEM, GET, netfilter::LIST, ALL, 0, &Attributes::default());
    let took = netfilter::ask(&socket, &list, |message| {
        taken.extend(message.body.get(netfilter::HEAD_OF_NETFILTER..).and_then(&mut pick));
    });
    took.map_err(refused)?;
    for one in &taken {
        let (end, body) = request(one);
        let family = nft::number_of(Family::of(end.ip()));
        let change = netfilter::request(SUBSYSTEM, verb, netfilter::ACK, family, 0, &body);
        match netfilter::ask(&socket, &change, |_| {}) {
            // It went by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other.map_err(refused)?,
        }
    }
    Ok(taken)
}

/// An entry of datagrams; none if it is of something else.
fn read(attributes: &[u8]) -> Option<Entry> {
    let original = attribute(attributes, ORIGINAL)?;
    let (protocol, _, frontend) = tuple(original)?;
    let (_, backend, _) = tuple(attribute(attributes, REPLY)?)?;
    (protocol == UDP).then(|| Entry {
        frontend,
        backend,
        name: original.to_vec(),
    })
}

/// Protocol, source and destination (`CTA_TUPLE_IP`, `CTA_TUPLE_PROTO`), if it is a protocol with ports.
pub(super) fn tuple(attributes: &[u8]) -> Option<(u8, SocketAddr, SocketAddr)> {
    let (addresses, protocol) = (attribute(attributes, 1)?, attribute(attributes, 2)?);
    // `CTA_IP_V4_SRC` and `CTA_IP_V4_DST` are followed by the same two of IPv6.
    let end = |address: u16, port: u16| {
        let v4 = || Some(IpAddr::from(*attribute(addresses, address)?.first_chunk::<4>()?));
        let v6 = || Some(IpAddr::from(*attribute(addresses, address + 2)?.first_chunk::<16>()?));
        let port = attribute(protocol, port)?.first_chunk()?;
        Some(SocketAddr::new(v4().or_else(v6)?, u16::from_be_bytes(*port)))
    };
    Some((*attribute(protocol, 1)?.first()?, end(1, 2)?, end(2, 3)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One direction of an entry.
    pub(in crate::net) fn written(protocol: u8, source: SocketAddr, destination: SocketAddr) -> Attributes {
        let first = if source.is_ipv4() { 1 } else { 3 };
        let addresses = Attributes::default()
            .bytes(first, &nft::octets(source.ip()))
            .bytes(first + 1, &nft::octets(destination.ip()));
        let protocol = Attributes::default()
            .bytes(1, &[protocol])
            .bytes(2, &source.port().to_be_bytes())
            .bytes(3, &destination.port().to_be_bytes());
        Attributes::default().nested(1, addresses).nested(2, protocol)
    }

    #[test]
    fn an_entry_says_where_the_client_sends_and_who_answers() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let v4 = [at("10.244.0.9:4000"), at("10.96.0.5:53"), at("10.244.0.3:5353")];
        let v6 = [
            at("[fd00:10:244::9]:4000"),
            at("[fd00:10:96::5]:53"),
            at("[fd00:10:244::3]:5353"),
        ];
        for ([client, frontend, backend], protocol, is_ours) in [(v4, UDP, true), (v4, 6, false), (v6, UDP, true)] {
            let entry = Attributes::default()
                .nested(ORIGINAL, written(protocol, client, frontend))
                .nested(REPLY, written(protocol, backend, client));
            let found = read(&entry.0).map(|entry| (entry.frontend, entry.backend));
            assert_eq!(found, is_ours.then_some((frontend, backend)));
            for length in 0..entry.0.len() {
                assert_eq!(read(&entry.0[..length]), None, "{length}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_entry_or_none(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _none_or_one = read(&bytes);
        }
    }
}
