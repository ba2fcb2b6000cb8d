//! Connections to pods that seem to come from whom they come from: the node's sockets in the pods' network speak for clients' addresses.
//!
//! ```text
//!  client ══ port of the host ══ relay ══ socket bound to the client's address ── pod
//!                                            ▲── answer, marked ◄── rules ◄── for the client's address
//! ```
//!
//! An answer is for an address that the pods' network does not have. Where packets come in, the one rule here finds the socket that speaks for
//! it and marks the packet, and routing leads what is marked to the node's own sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::netfilter::commit;
use super::netlink::Netlink;
use super::nft::{self, Expression, Hook, Message, REGISTERS, TableOf};
use super::outside::{MARK, leave_alone_what_stays, turn_on};
use super::{NetError, NodeNetwork};
use crate::model::{Family, is_inside, is_nowhere};

/// The table's name: what people see who list the rules.
const TABLE: TableOf = TableOf {
    family: Family::V4,
    name: "kubelocal-sources",
};
const CHAIN: &str = "answers";
/// Behind policies (-95), which let answers pass, and before ways out (-90).
const BEFORE_WAYS_OUT: i32 = -92;

const VALUE: u32 = REGISTERS;

impl NodeNetwork {
    /// From now on answers find sockets that speak for others. Replaces what an earlier node left.
    ///
    /// # Errors
    /// What the kernel refused. Then nobody is spoken for.
    pub async fn bring_answers(&self) -> Result<(), NetError> {
        let bring = || {
            Netlink::open()?.route_marked_to_sockets(Family::V4, MARK)?;
            commit(&rules())
        };
        self.run(bring).await?
    }
}

/// Whether pods can answer a client at its own address: not at loopback's, which is their own, nor at one that means something else in
/// their network.
pub fn is_spoken_for(client: IpAddr) -> bool {
    client.is_ipv4() && !is_nowhere(client) && !is_inside(client)
}

/// Has a socket of the pods' network speak for a client. Its port is chosen when it connects.
///
/// # Errors
/// What the system says.
pub fn speak_for(socket: impl AsFd, client: IpAddr) -> io::Result<()> {
    turn_on(socket.as_fd(), libc::SOL_IP, libc::IP_TRANSPARENT)?;
    // A port that is chosen now would have to be free for all destinations.
    turn_on(socket.as_fd(), libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
    socket2::SockRef::from(&socket).bind(&SocketAddr::new(client, 0).into())
}

fn rules() -> Vec<Message> {
    let mut messages = vec![nft::new_table(TABLE), nft::delete_table(TABLE), nft::new_table(TABLE)];
    messages.push(nft::new_chain(
        TABLE,
        CHAIN,
        "filter",
        Hook::Prerouting,
        BEFORE_WAYS_OUT,
    ));
    let rules = leave_alone_what_stays(TABLE.family)
        .into_iter()
        .chain([to_whom_speaks()]);
    messages.extend(rules.map(|rule| nft::new_rule(TABLE, CHAIN, rule)));
    messages
}

fn to_whom_speaks() -> Vec<Expression> {
    vec![
        nft::speaks_for_others(VALUE),
        nft::compare(VALUE, true, &[1]),
        nft::load(&MARK.to_ne_bytes(), VALUE),
        nft::set_mark(VALUE),
        nft::accept(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spoken_for_where_pods_can_answer_them() {
        for (client, expected) in [
            ("203.0.113.1", true),
            ("192.168.1.7", true),
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("10.244.0.7", false),
            ("10.96.0.1", false),
            ("169.254.1.2", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_spoken_for(client.parse().expect("an address")), expected, "{client}");
        }
    }
}
