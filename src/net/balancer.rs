//! Services in the kernel: one table of nf_tables in the node's network, kept by transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::affinity::{self, CLIENTS, MEMBERS, STAYS};
use super::balance::{Backend, Balance, DRAWN, Edits, Frontend, HAIRPINS, NOTED, Protocol, SIZES, Table};
use super::conntrack;
use super::netfilter::commit;
use super::nft::{
    self, End, Expression, Hook, Message, PORT_AT, REGISTERS, Set, TYPE_ADDRESS, TYPE_NUMBER, TYPE_PORT, TYPE_PROTOCOL,
    TableOf,
};
use super::{NetError, NodeNetwork, seats};
use crate::model::Family;

/// The table's name: what people see who list the rules.
const TABLE: &str = "kubelocal";

/// Services of a family.
const fn table_of(family: Family) -> TableOf {
    TableOf { family, name: TABLE }
}

/// What the kernel has of each family.
type Tables = BTreeMap<Family, Table>;

/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`: before and after routing.
const BEFORE: i32 = -100;
const AFTER: i32 = 100;
/// `IPS_DST_NAT`: the connection was sent elsewhere.
const SENT_ELSEWHERE: u32 = 1 << 5;

/// Keeps the kernel's table like what it is told.
pub struct Balancer {
    network: Arc<NodeNetwork>,
    /// What the kernel has; none until the first transaction, and after one that failed.
    present: Option<Tables>,
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
        // What an earlier node had is not known, so all of it is looked at.
        let mut lost = self.present.is_some().then(BTreeSet::new);
        for (frontend, balance) in &changes {
            let old = self.wanted.get(frontend);
            let has_lost = old.is_some_and(|old| !old.backends.is_subset(&balance.backends));
            if let Some(lost) = lost.as_mut().filter(|_| has_lost && frontend.protocol == Protocol::Udp) {
                lost.insert(*frontend);
            }
            if balance.backends.is_empty() {
                self.wanted.remove(frontend);
            } else {
                self.wanted.insert(*frontend, balance.clone());
            }
        }
        let (tables, messages) = match self.present.take() {
            Some(mut tables) => {
                let messages = tables
                    .iter_mut()
                    .flat_map(|(family, table)| of_edits(*family, &table.plan(&of_family(*family, &changes))))
                    .collect();
                (tables, messages)
            }
            None => {
                self.network.disown_services().await?;
                let (mut tables, mut messages) = (Tables::new(), Vec::new());
                for family in self.network.families() {
                    let mut table = Table::default();
                    let edits = table.plan(&of_family(*family, &self.wanted));
                    messages.extend(base(*family));
                    messages.extend(self.seats(*family).await?);
                    messages.extend(of_edits(*family, &edits));
                    messages.extend(rules(*family));
                    tables.insert(*family, table);
                }
                (tables, messages)
            }
        };
        if !messages.is_empty() {
            self.network.run(move || commit(&messages)).await??;
        }
        self.present = Some(tables);
        self.forget(lost).await
    }

    /// All that was wanted so far.
    pub fn wanted(&self) -> &BTreeMap<Frontend, Balance> {
        &self.wanted
    }

    /// Where clients stay by the table of an earlier node, or by our own that a transaction could not change.
    async fn seats(&self, family: Family) -> Result<Vec<Message>, NetError> {
        let table = table_of(family);
        let seats = self.network.run(move || seats::take(table)).await?;
        // Without them clients choose anew, which is no reason not to serve them.
        let seats = seats.inspect_err(|error| tracing::warn!(%error, "clients may not stay where they were"));
        Ok(seats::put(table, &seats.unwrap_or_default()))
    }

    /// Clients whose datagrams went to an endpoint that is none any more are sent to another one from now on. `lost` are the frontends that
    /// lost an endpoint; without it all are looked at.
    async fn forget(&self, lost: Option<BTreeSet<Frontend>>) -> Result<(), NetError> {
        if lost.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let udp = |(frontend, balance): (&Frontend, &Balance)| {
            let is_asked = lost.as_ref().is_none_or(|lost| lost.contains(frontend));
            (frontend.protocol == Protocol::Udp && is_asked).then(|| (*frontend, balance.backends.clone()))
        };
        let wanted: BTreeMap<Frontend, BTreeSet<Backend>> = self.wanted.iter().filter_map(udp).collect();
        let is_stale = move |front: SocketAddr, back: SocketAddr| is_stale(&wanted, lost.as_ref(), front, back);
        let forgotten = self.network.run(move || conntrack::forget_datagrams(is_stale)).await?;
        // Services work without it: a client with the same port as before waits until the kernel forgets by itself.
        if let Err(error) = forgotten {
            tracing::warn!(%error, "datagrams may still go to endpoints that are gone");
        }
        Ok(())
    }
}

/// Whether datagrams to a frontend must not go on to a backend: it is none of those `wanted`. `lost` limits which frontends are looked at.
fn is_stale(
    wanted: &BTreeMap<Frontend, BTreeSet<Backend>>,
    lost: Option<&BTreeSet<Frontend>>,
    front: SocketAddr,
    back: SocketAddr,
) -> bool {
    let frontend = Frontend {
        ip: front.ip(),
        protocol: Protocol::Udp,
        port: front.port(),
    };
    let backend = Backend {
        ip: back.ip(),
        port: back.port(),
    };
    let present = wanted.get(&frontend);
    lost.is_none_or(|lost| lost.contains(&frontend)) && present.is_none_or(|present| !present.contains(&backend))
}

fn of_family(family: Family, all: &BTreeMap<Frontend, Balance>) -> BTreeMap<Frontend, Balance> {
    let own = all.iter().filter(|(frontend, _)| Family::of(frontend.ip) == family);
    own.map(|(frontend, balance)| (*frontend, balance.clone())).collect()
}

fn of_edits(family: Family, edits: &Edits) -> Vec<Message> {
    let table = table_of(family);
    let gone = edits
        .gone
        .iter()
        .flat_map(|(set, elements)| nft::delete_elements(table, set, elements));
    let new = edits
        .new
        .iter()
        .flat_map(|(set, elements)| nft::new_elements(table, set, elements));
    let mut messages = edits.affinity.before(table);
    messages.extend(gone.chain(new));
    messages.extend(edits.affinity.after(table));
    messages
}

/// Tries whether the kernel takes the rules of Services, in the calling thread's network namespace: to be called in one that is thrown away.
///
/// # Errors
/// What the kernel refused.
pub fn try_rules() -> Result<(), NetError> {
    commit(&[base(Family::V4), rules(Family::V4)].concat())
}

/// No table, whatever there was of that name.
pub(super) fn no_rules(family: Family) -> Vec<Message> {
    let table = table_of(family);
    // What is to be deleted has to be there.
    vec![nft::new_table(table), nft::delete_table(table)]
}

/// The table without its rules, instead of whatever there is of that name.
fn base(family: Family) -> Vec<Message> {
    let table = table_of(family);
    let mut messages = no_rules(family);
    messages.push(nft::new_table(table));
    let sets = DRAWN.iter().chain(&NOTED).chain([&HAIRPINS, &STAYS, &MEMBERS]);
    messages.extend(sets.zip(2..).map(|(set, id)| nft::new_set(table, set, id)));
    messages.push(nft::new_written_set(table, &CLIENTS, 1));
    messages
}

/// Chains and rules. They come last, so that not one of them is there before its elements are.
fn rules(family: Family) -> Vec<Message> {
    let table = table_of(family);
    let chain = |name, kind, hook, priority| nft::new_chain(table, name, kind, hook, priority);
    let mut messages = vec![
        chain("prerouting", "nat", Hook::Prerouting, BEFORE),
        chain("output", "nat", Hook::Output, BEFORE),
        chain("postrouting", "nat", Hook::Postrouting, AFTER),
        chain("forward", "filter", Hook::Forward, 0),
        chain("own", "filter", Hook::Output, 0),
    ];
    // From pods, and from the node itself.
    for name in ["prerouting", "output"] {
        for (size, map) in SIZES.into_iter().zip(&DRAWN) {
            messages.push(nft::new_rule(table, name, balance(family, map, size)));
        }
        messages.push(nft::new_rule(table, name, affinity::lead(family)));
    }
    messages.push(nft::new_rule(table, "postrouting", hairpin(family)));
    // What is still for a Service has no endpoint, or no such port.
    for name in ["forward", "own"] {
        messages.extend(refusals(family).map(|rule| nft::new_rule(table, name, rule)));
    }
    messages
}

/// Sends a connection to a Service to the endpoint in a slot that the kernel draws.
fn balance(family: Family, map: &Set, size: u32) -> Vec<Expression> {
    let fields = [
        TYPE_ADDRESS,
        TYPE_PROTOCOL,
        TYPE_PORT,
        TYPE_NUMBER,
        TYPE_ADDRESS,
        TYPE_PORT,
    ];
    let [address, protocol, port, number, to_address, to_port] = nft::registers(family, fields);
    vec![
        nft::address(family, End::Destination, address),
        nft::protocol(protocol),
        nft::payload(2, PORT_AT, 2, port),
        nft::random(size, number),
        nft::lookup(map, address, Some(to_address)),
        nft::destination(family, to_address, to_port),
    ]
}

fn hairpin(family: Family) -> Vec<Expression> {
    let [source, destination] = nft::registers(family, [TYPE_ADDRESS; 2]);
    vec![
        nft::connection_status(REGISTERS),
        nft::mask(REGISTERS, &SENT_ELSEWHERE.to_ne_bytes()),
        nft::compare(REGISTERS, false, &[0; 4]),
        nft::address(family, End::Source, source),
        nft::address(family, End::Destination, destination),
        nft::lookup(&HAIRPINS, source, None),
        nft::masquerade(),
    ]
}

/// Connections are reset, other packets told of: an error of ICMPv6 that comes while the client still connects is forgotten, and its program would
/// wait for a second.
fn refusals(family: Family) -> [Vec<Expression>; 2] {
    let to_services = || nft::in_block(End::Destination, family.services(), true).into_iter();
    let is_tcp = [
        nft::protocol(REGISTERS),
        nft::compare(REGISTERS, true, &[Protocol::Tcp.number()]),
    ];
    [
        to_services().chain(is_tcp).chain([nft::reset()]).collect(),
        to_services().chain([nft::reject(family)]).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_stay_with_their_endpoint_until_it_is_gone() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let frontend = |ip: [u8; 4]| Frontend {
            ip: ip.into(),
            protocol: Protocol::Udp,
            port: 53,
        };
        let backend = Backend {
            ip: [10, 244, 0, 2].into(),
            port: 53,
        };
        let wanted = BTreeMap::from([(frontend([10, 96, 0, 5]), BTreeSet::from([backend]))]);
        let (front, gone) = (at("10.96.0.5:53"), at("10.96.0.6:53"));
        let (alive, dead) = (at("10.244.0.2:53"), at("10.244.0.3:53"));
        let both = BTreeSet::from([frontend([10, 96, 0, 5]), frontend([10, 96, 0, 6])]);
        let none = BTreeSet::new();
        for (lost, front, back, expected) in [
            (None, front, alive, false),
            (None, front, dead, true),
            (None, gone, alive, true),
            (Some(&both), front, dead, true),
            (Some(&both), gone, alive, true),
            (Some(&both), front, alive, false),
            (Some(&none), front, dead, false),
        ] {
            assert_eq!(
                is_stale(&wanted, lost, front, back),
                expected,
                "{lost:?} {front} {back}"
            );
        }
    }
}
