//! Which clients stay with which endpoints, taken over from an earlier node's table: clients that stay do so whatever becomes of the node.

use std::io;

use super::NetError;
use super::affinity::CLIENTS;
use super::attributes::{Attributes, attribute, attributes};
use super::netfilter;
use super::nft::{self, Message, TableOf};
use crate::model::Family;

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETSETELEM`.
const SUBSYSTEM: u16 = 10;
const GET: u16 = 13;
/// `NFTA_SET_ELEM_LIST_ELEMENTS`; `NFTA_SET_ELEM_KEY`, `NFTA_SET_ELEM_DATA`, `NFTA_SET_ELEM_TIMEOUT` and `NFTA_SET_ELEM_EXPIRATION`.
const ELEMENTS: u16 = 3;
const KEY: u16 = 1;
const DATA: u16 = 2;
const TIMEOUT: u16 = 4;
const LEFT: u16 = 5;

/// A client, where it is, for how long that counts and how much of it is left, as the kernel writes them.
pub(super) type Seat = [Vec<u8>; 4];

/// The clients of a table in the calling thread's network namespace; nobody if there is no such table.
///
/// # Errors
/// What the kernel refused.
pub(super) fn take(table: TableOf) -> Result<Vec<Seat>, NetError> {
    let refused = |source: io::Error| NetError::Refused {
        what: "clients of Services".to_owned(),
        source,
    };
    let socket = netfilter::open().map_err(refused)?;
    let names = Attributes::default().text(1, table.name).text(2, CLIENTS.name);
    let list = netfilter::request(SUBSYSTEM, GET, netfilter::LIST, nft::number_of(table.family), 0, &names);
    let mut seats = Vec::new();
    let took = netfilter::ask(&socket, &list, |message| {
        let body = message.body.get(netfilter::HEAD_OF_NETFILTER..);
        seats.extend(body.into_iter().flat_map(|body| read(table.family, body)));
    });
    match took {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        other => other.map(|()| seats).map_err(refused),
    }
}

/// Puts them back.
pub(super) fn put(table: TableOf, seats: &[Seat]) -> Vec<Message> {
    let element = |[key, value, timeout, left]: &Seat| {
        let data = |value: &[u8]| Attributes::default().bytes(1, value);
        Attributes::default()
            .nested(KEY, data(key))
            .nested(DATA, data(value))
            .bytes(TIMEOUT, timeout)
            .bytes(LEFT, left)
    };
    nft::new_written_elements(table, &CLIENTS, seats, element)
}

fn read(family: Family, message: &[u8]) -> Vec<Seat> {
    let elements = attribute(message, ELEMENTS).into_iter().flat_map(attributes);
    let width = |fields| nft::width(family, fields) as usize;
    let wanted = [width(CLIENTS.key), width(CLIENTS.value), 8, 8];
    let seat = |(_, element): (u16, &[u8])| {
        let part = |kind: u16| attribute(element, kind).map(<[u8]>::to_vec);
        let value = |kind: u16| attribute(attribute(element, kind)?, 1).map(<[u8]>::to_vec);
        let seat = [value(KEY)?, value(DATA)?, part(TIMEOUT)?, part(LEFT)?];
        let lengths = seat.each_ref().map(Vec::len);
        (lengths == wanted).then_some(seat)
    };
    elements.filter_map(seat).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(number: u8) -> Seat {
        [vec![number; 16], vec![number; 8], vec![0; 8], vec![1; 8]]
    }

    #[test]
    fn who_is_put_back_is_who_was_taken_and_damage_is_nobody() {
        let element = |[key, value, timeout, left]: &Seat| {
            Attributes::default()
                .nested(KEY, Attributes::default().bytes(1, key))
                .nested(DATA, Attributes::default().bytes(1, value))
                .bytes(TIMEOUT, timeout)
                .bytes(LEFT, left)
        };
        let list = Attributes::default()
            .nested(1, element(&seat(1)))
            .nested(1, element(&seat(2)));
        let message = Attributes::default().text(1, "t").nested(ELEMENTS, list);
        assert_eq!(read(Family::V4, &message.0), [seat(1), seat(2)]);
        for length in 0..message.0.len() {
            assert!(read(Family::V4, &message.0[..length]).len() < 2, "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_some_or_nobody(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _some = read(Family::V6, &bytes);
        }
    }
}
