//! Who gets which port. Pure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::carry::{Place, Target};
use crate::model::Key;

/// By which field a port is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    HostPort,
    NodePort,
    /// `port` of a Service of type LoadBalancer.
    Port,
    ExternalIp,
}

impl Field {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::HostPort => "hostPort",
            Self::NodePort => "nodePort",
            Self::Port => "port",
            Self::ExternalIp => "externalIPs: port",
        }
    }
}

/// An object that asks for a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Claim {
    pub(super) owner: Key,
    pub(super) uid: String,
    /// Claims of one group do not compete: pods of a Deployment that replace each other. For others it is the uid.
    pub(super) group: String,
    pub(super) field: Field,
    pub(super) place: Place,
    /// Where the machine has no such address, nobody misses it: IPv6's loopback beside that of IPv4.
    pub(super) is_extra: bool,
    pub(super) standing: Standing,
    pub(super) target: Target,
}

/// What counts when several want the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether there is something to lead to. A pod that has not begun gives way to one that has.
    pub(super) has_begun: bool,
    pub(super) is_ready: bool,
    pub(super) is_ending: bool,
    pub(super) created: Timestamp,
}

/// Who has a place, and where it leads.
#[derive(Debug, PartialEq)]
pub(super) struct Held<'a> {
    pub(super) claim: &'a Claim,
    pub(super) target: Target,
}

/// Who gets what, and who does not.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ports<'a> {
    pub(super) held: BTreeMap<Place, Held<'a>>,
    /// Claims that another one is in the way of.
    pub(super) lost: Vec<(&'a Claim, &'a Claim)>,
}

/// Gives each place to one claim: within a group to the newest that is ready, among groups to the oldest, and of those
/// of one second to the one that has it.
pub(super) fn plan_ports<'a>(claims: impl Iterator<Item = &'a Claim>, is_holder: impl Fn(&Claim) -> bool) -> Ports<'a> {
    let mut groups: BTreeMap<(Place, &str), Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        groups.entry((claim.place, &claim.group)).or_default().push(claim);
    }
    let mut leads: Vec<(Timestamp, Held)> = Vec::new();
    for members in groups.into_values() {
        let since = members.iter().map(|claim| claim.standing.created).min();
        leads.extend(since.zip(lead(&members)));
    }
    leads.sort_by_key(|(since, Held { claim, .. })| {
        let standing = claim.standing;
        (
            !standing.has_begun,
            standing.is_ending,
            *since,
            !is_holder(claim),
            &claim.uid,
        )
    });
    let mut ports = Ports::default();
    for (_, held) in leads {
        let claim = held.claim;
        let Place { protocol, port, .. } = claim.place;
        let at = |ip| Place { protocol, port, ip };
        let same_number = at(Ipv4Addr::UNSPECIFIED.into())..=at(Ipv6Addr::from_bits(u128::MAX).into());
        let mut others = ports.held.range(same_number).map(|(_, other)| other.claim);
        match others.find(|other| other.place.overlaps(&claim.place)) {
            None => drop(ports.held.insert(claim.place, held)),
            // One object may ask for one address and for all of them.
            Some(other) if other.uid == claim.uid => {}
            Some(other) => ports.lost.push((claim, other)),
        }
    }
    ports
}

/// The one of a group that clients are to reach. Who finds it gone waits if another one is on its way.
fn lead<'a>(members: &[&'a Claim]) -> Option<Held<'a>> {
    let rank = |claim: &&&Claim| {
        let standing = claim.standing;
        (
            standing.has_begun && !standing.is_ending,
            standing.is_ready,
            standing.has_begun,
            standing.created,
        )
    };
    let claim = members.iter().max_by_key(rank).copied()?;
    let mut target = claim.target.clone();
    target.is_coming |= members.iter().any(|claim| claim.target.is_coming);
    Some(Held { claim, target })
}

/// A port as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedPort {
    /// `127.0.0.1:8080/TCP`.
    pub address: String,
    /// The namespace of whom it leads to.
    pub namespace: String,
    /// `pod/web`, `service/web`.
    pub name: String,
    /// Why it is not open, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The ports that are published at this moment. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Published(Arc<Mutex<Vec<PublishedPort>>>);

impl Published {
    /// All of them, in the order of their numbers.
    pub fn list(&self) -> Vec<PublishedPort> {
        self.0.lock().expect("nothing panics while it holds the list").clone()
    }

    pub(super) fn set(&self, ports: Vec<PublishedPort>) {
        *self.0.lock().expect("nothing panics while it holds the list") = ports;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;
    use crate::net::Protocol;

    /// A claim of a pod that runs, at 127.0.0.1:80.
    fn claim(name: &str, age: i64) -> Claim {
        Claim {
            owner: Key::new(kind("v1", "Pod").expect("in the table"), "default", name),
            uid: name.to_owned(),
            group: name.to_owned(),
            field: Field::HostPort,
            place: Place {
                protocol: Protocol::Tcp,
                port: 80,
                ip: Ipv4Addr::LOCALHOST.into(),
            },
            is_extra: false,
            standing: Standing {
                has_begun: true,
                is_ready: true,
                is_ending: false,
                created: Timestamp::from_second(1000 - age).expect("in range"),
            },
            target: Target::default(),
        }
    }

    fn in_group(mut claim: Claim, group: &str) -> Claim {
        claim.group = group.to_owned();
        claim
    }

    fn at(mut claim: Claim, ip: &str) -> Claim {
        claim.place.ip = ip.parse().expect("an address");
        claim
    }

    fn waiting(mut claim: Claim) -> Claim {
        (claim.standing.has_begun, claim.standing.is_ready) = (false, false);
        claim
    }

    fn ending(mut claim: Claim) -> Claim {
        (claim.standing.is_ending, claim.standing.is_ready) = (true, false);
        claim
    }

    /// Who has what, and who is in whose way.
    fn planned(claims: &[Claim]) -> (Vec<&str>, Vec<(&str, &str)>) {
        let ports = plan_ports(claims.iter(), |_| false);
        let held = ports.held.values().map(|held| held.claim.uid.as_str()).collect();
        let lost = ports.lost.iter().map(|(a, b)| (a.uid.as_str(), b.uid.as_str()));
        (held, lost.collect())
    }

    #[test]
    fn among_strangers_the_oldest_has_the_port_and_others_are_told_of_it() {
        for (claims, expected) in [
            (vec![claim("a", 1)], (vec!["a"], vec![])),
            (vec![claim("a", 1), claim("b", 2)], (vec!["b"], vec![("a", "b")])),
            // One that has not begun gives way, however old it is; and so does one that ends.
            (
                vec![claim("a", 1), waiting(claim("b", 2))],
                (vec!["a"], vec![("b", "a")]),
            ),
            (
                vec![claim("a", 1), ending(claim("b", 2))],
                (vec!["a"], vec![("b", "a")]),
            ),
            // All addresses are each of them, but not of the other family.
            (
                vec![at(claim("a", 2), "0.0.0.0"), claim("b", 1), at(claim("c", 1), "::1")],
                (vec!["a", "c"], vec![("b", "a")]),
            ),
            (
                vec![at(claim("a", 2), "127.0.0.2"), claim("b", 1)],
                (vec!["b", "a"], vec![]),
            ),
        ] {
            assert_eq!(planned(&claims), expected, "{claims:?}");
        }
    }

    #[test]
    fn within_a_deployment_the_port_goes_to_the_newest_pod_that_is_ready() {
        let old = || in_group(claim("old", 9), "web");
        let new = || in_group(claim("new", 1), "web");
        let mut starting = new();
        starting.standing.is_ready = false;
        for (claims, expected) in [
            ([old(), new()], "new"),
            ([old(), waiting(new())], "old"),
            ([old(), starting.clone()], "old"),
            ([ending(old()), starting], "new"),
            ([ending(old()), waiting(new())], "old"),
        ] {
            assert_eq!(planned(&claims), (vec![expected], vec![]), "{claims:?}");
        }
        let mut coming = waiting(new());
        coming.target.is_coming = true;
        let both = [ending(old()), coming];
        let ports = plan_ports(both.iter(), |_| false);
        assert!(
            ports.held.values().all(|held| held.target.is_coming),
            "its clients wait for the next one"
        );
        // The group is as old as its oldest pod: a rollout does not lose the port to a stranger.
        assert_eq!(
            planned(&[old(), new(), claim("other", 5)]),
            (vec!["new"], vec![("other", "new")])
        );
    }

    #[test]
    fn of_strangers_of_one_second_the_holder_keeps_the_port() {
        let claims = [claim("a", 1), claim("b", 1)];
        for holder in ["a", "b"] {
            let ports = plan_ports(claims.iter(), |claim| claim.uid == holder);
            let held: Vec<&str> = ports.held.values().map(|held| held.claim.uid.as_str()).collect();
            assert_eq!(held, [holder]);
        }
    }

    #[test]
    fn an_object_is_not_in_its_own_way() {
        let mut twice = at(claim("a", 1), "0.0.0.0");
        twice.group = "a".to_owned();
        assert_eq!(planned(&[claim("a", 1), twice]).1, []);
    }
}
