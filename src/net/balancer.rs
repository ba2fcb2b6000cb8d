//! Services in the kernel: one table of nf_tables in the node's network, kept by transactions.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::balance::{Balance, Edits, Frontend, HAIRPINS, MAPS, SIZES, Table};
use super::nft::{self, Expression, Hook, Message, REGISTERS, Set};
use super::{NetError, NodeNetwork};
use crate::model::{SERVICE_PREFIX, SERVICES, mask};

/// The table's name: what people see who list the rules.
const TABLE: &str = "kubelocal";
/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`: before and after routing.
const BEFORE: i32 = -100;
const AFTER: i32 = 100;
/// `IPS_DST_NAT`: the connection was sent elsewhere.
const SENT_ELSEWHERE: u32 = 1 << 5;
/// What a transaction may be at most, if the kernel allows so much: a thousand Services are 0.8 MB.
const BUFFER: usize = 8 << 20;

/// Keeps the kernel's table like what it is told.
pub struct Balancer {
    network: Arc<NodeNetwork>,
    /// What the kernel has; none until the first transaction, and after one that failed.
    present: Option<Table>,
    /// All that was wanted so far, to begin again with.
    wanted: BTreeMap<Frontend, Balance>,
}

impl Balancer {
    /// A balancer that has not touched the kernel yet.
    pub fn new(network: Arc<NodeNetwork>) -> Balancer {
        Balancer {
            network,
            present: None,
            wanted: BTreeMap::new(),
        }
    }

    /// Changes where these frontends lead; one without backends is refused from then on. The first call replaces whatever an earlier node
    /// had, in one transaction: connections that are there stay.
    ///
    /// # Errors
    /// What the kernel refused; the next call begins anew.
    pub async fn apply(&mut self, changes: BTreeMap<Frontend, Balance>) -> Result<(), NetError> {
        for (frontend, balance) in &changes {
            if balance.backends.is_empty() {
                self.wanted.remove(frontend);
            } else {
                self.wanted.insert(*frontend, balance.clone());
            }
        }
        let (table, messages) = match self.present.take() {
            Some(mut table) => {
                let messages = of_edits(&table.plan(&changes));
                (table, messages)
            }
            None => {
                let mut table = Table::default();
                let edits = of_edits(&table.plan(&self.wanted));
                (table, [base(), edits, rules()].concat())
            }
        };
        if !messages.is_empty() {
            self.network.run(move || commit(&messages)).await??;
        }
        self.present = Some(table);
        Ok(())
    }
}

fn of_edits(edits: &Edits) -> Vec<Message> {
    let gone = edits
        .gone
        .iter()
        .flat_map(|(set, elements)| nft::delete_elements(TABLE, set, elements));
    let new = edits
        .new
        .iter()
        .flat_map(|(set, elements)| nft::new_elements(TABLE, set, elements));
    gone.chain(new).collect()
}

/// The table without its rules, instead of whatever there is of that name.
fn base() -> Vec<Message> {
    // What is to be deleted has to be there.
    let mut messages = vec![nft::new_table(TABLE), nft::delete_table(TABLE), nft::new_table(TABLE)];
    let sets = MAPS.iter().flatten().chain([&HAIRPINS]);
    messages.extend(sets.zip(1..).map(|(set, id)| nft::new_set(TABLE, set, id)));
    messages
}

/// Registers of a rule: the client's view of the connection, a number, and where it goes.
const ADDRESS: u32 = REGISTERS;
const PROTOCOL: u32 = REGISTERS + 1;
const PORT: u32 = REGISTERS + 2;
const NUMBER: u32 = REGISTERS + 3;
const TO_ADDRESS: u32 = REGISTERS + 4;
const TO_PORT: u32 = REGISTERS + 5;

/// Where addresses are in an IPv4 header, and destination ports in those of TCP and UDP.
const SOURCE_AT: u32 = 12;
const DESTINATION_AT: u32 = 16;
const PORT_AT: u32 = 2;

/// Chains and rules. They come last, so that not one of them is there before its elements are.
fn rules() -> Vec<Message> {
    let chain = |name, kind, hook, priority| nft::new_chain(TABLE, name, kind, hook, priority);
    let mut messages = vec![
        chain("prerouting", "nat", Hook::Prerouting, BEFORE),
        chain("output", "nat", Hook::Output, BEFORE),
        chain("postrouting", "nat", Hook::Postrouting, AFTER),
        chain("forward", "filter", Hook::Forward, 0),
        chain("own", "filter", Hook::Output, 0),
    ];
    // From pods, and from the node itself.
    for name in ["prerouting", "output"] {
        for (size, [random, sticky]) in SIZES.into_iter().zip(&MAPS) {
            let drawn = nft::random(size, NUMBER);
            messages.push(nft::new_rule(TABLE, name, balance(random, vec![drawn])));
            let hashed = vec![
                nft::payload(1, SOURCE_AT, 4, NUMBER),
                nft::hash(NUMBER, 4, size, NUMBER),
            ];
            messages.push(nft::new_rule(TABLE, name, balance(sticky, hashed)));
        }
    }
    messages.push(nft::new_rule(TABLE, "postrouting", hairpin()));
    // What is still for a Service has no endpoint, or no such port.
    for name in ["forward", "own"] {
        messages.push(nft::new_rule(TABLE, name, refuse()));
    }
    messages
}

/// Sends a connection to a Service to the endpoint in the slot of a number.
fn balance(map: &Set, number: Vec<Expression>) -> Vec<Expression> {
    let mut rule = vec![
        nft::payload(1, DESTINATION_AT, 4, ADDRESS),
        nft::protocol(PROTOCOL),
        nft::payload(2, PORT_AT, 2, PORT),
    ];
    rule.extend(number);
    rule.extend([
        nft::lookup(map, ADDRESS, Some(TO_ADDRESS)),
        nft::destination(TO_ADDRESS, TO_PORT),
    ]);
    rule
}

fn hairpin() -> Vec<Expression> {
    vec![
        nft::connection_status(ADDRESS),
        nft::mask(ADDRESS, SENT_ELSEWHERE.to_ne_bytes()),
        nft::compare(ADDRESS, false, &[0; 4]),
        nft::payload(1, SOURCE_AT, 4, ADDRESS),
        nft::payload(1, DESTINATION_AT, 4, ADDRESS + 1),
        nft::lookup(&HAIRPINS, ADDRESS, None),
        nft::masquerade(),
    ]
}

fn refuse() -> Vec<Expression> {
    vec![
        nft::payload(1, DESTINATION_AT, 4, ADDRESS),
        nft::mask(ADDRESS, mask(SERVICE_PREFIX).octets()),
        nft::compare(ADDRESS, true, &SERVICES.octets()),
        nft::reject(),
    ]
}

/// Sends messages in one transaction, or in as few as the kernel's buffer allows; in the calling thread's network namespace.
fn commit(messages: &[Message]) -> Result<(), NetError> {
    let refused = |source: io::Error| NetError::Refused {
        what: "nf_tables".to_owned(),
        source,
    };
    let flags = SocketFlags::CLOEXEC;
    let netfilter = Some(rustix::net::netlink::NETFILTER);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, netfilter);
    let socket = socket.map_err(|e| refused(e.into()))?;
    let limit = room(&socket).map_err(|e| refused(e.into()))?;
    let mut rest = messages;
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

/// How long a transaction may be: an unprivileged socket's buffer is limited by `net.core.wmem_max`.
fn room(socket: &OwnedFd) -> rustix::io::Result<usize> {
    rustix::net::sockopt::set_socket_send_buffer_size(socket, BUFFER)?;
    let size = rustix::net::sockopt::socket_send_buffer_size(socket)?;
    // The kernel keeps some of it; the edges of the transaction are forty bytes.
    Ok(size.saturating_sub(256))
}

/// The kernel has answered when the call that sends returns.
fn exchange(socket: &OwnedFd, messages: &[Message]) -> io::Result<()> {
    let (bytes, last) = nft::transaction(messages);
    let kernel = rustix::net::netlink::SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(socket, &bytes, SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; 16 << 10];
    let mut is_done = false;
    loop {
        let received = match rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, length)) => length,
            Err(rustix::io::Errno::AGAIN) if is_done => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for (sequence, error) in answers(&buffer[..received.min(buffer.len())]) {
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error.wrapping_neg()));
            }
            is_done |= sequence == last;
        }
    }
}

/// Sequence numbers and error codes of the acknowledgements in an answer (`netlink(7)`, `struct nlmsgerr`).
fn answers(bytes: &[u8]) -> Vec<(u32, i32)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    while let (Some(length), Some(kind), Some(sequence)) = (word(rest, 0), word(rest, 4), word(rest, 8)) {
        // NLMSG_ERROR.
        if kind & 0xffff == 2
            && let Some(error) = word(rest, 16)
        {
            found.push((sequence, error.cast_signed()));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(16);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}
