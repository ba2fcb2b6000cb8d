//! What the rules say of one connection, without asking the kernel. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::{Isolation, Pass, Peer, Ports};
use crate::model::Family;

impl Isolation {
    /// Whether a connection passes. Those of the node do, and those of pods of which nothing is said.
    pub fn lets_in(&self, protocol: u8, source: SocketAddr, destination: SocketAddr) -> bool {
        let (from, to) = (source.ip(), destination.ip());
        let family = Family::of(from);
        let is_pod = family.pods().contains(from) && from != family.gateway();
        if !is_pod || from == to {
            return true;
        }
        let passes = |passes: Option<&Option<BTreeSet<Pass>>>, other: IpAddr| {
            let passes = passes.and_then(Option::as_ref);
            passes.is_none_or(|passes| {
                passes
                    .iter()
                    .any(|pass| self.is_one(pass, other, protocol, destination))
            })
        };
        passes(self.pods.get(&from).map(|pod| &pod.egress), to)
            && passes(self.pods.get(&to).map(|pod| &pod.ingress), from)
    }

    fn is_one(&self, pass: &Pass, other: IpAddr, protocol: u8, destination: SocketAddr) -> bool {
        let is_peer = match &pass.peer {
            Peer::Anyone => true,
            Peer::Group(name) => self.groups.get(name).is_some_and(|group| group.contains(&other)),
            Peer::Block(block, except) => block.contains(other) && !except.iter().any(|block| block.contains(other)),
        };
        let is_port = match &pass.ports {
            Ports::Any => true,
            Ports::Range(own, first, last) => *own == protocol && (*first..=*last).contains(&destination.port()),
            Ports::Named(name) => {
                let place = (destination.ip(), destination.port());
                name.0 == protocol && self.ports.get(name).is_some_and(|places| places.contains(&place))
            }
        };
        is_peer && is_port
    }

    /// Whether something that passed before may pass no more, or the other way round: of pods that were there and still are.
    pub(super) fn differs_for_those_of(&self, before: &Isolation) -> bool {
        let differs = |(address, passes)| self.pods.get(address).is_some_and(|now| now != passes);
        let groups = self.groups.iter().any(|(name, now)| {
            let was = before.groups.get(name);
            was.is_some_and(|was| was.symmetric_difference(now).any(|ip| self.has_both(before, *ip)))
        });
        let ports = self.ports.iter().any(|(name, now)| {
            let was = before.ports.get(name);
            was.is_some_and(|was| was.symmetric_difference(now).any(|(ip, _)| self.has_both(before, *ip)))
        });
        groups || ports || before.pods.iter().any(differs)
    }

    fn has_both(&self, before: &Isolation, address: IpAddr) -> bool {
        self.pods.contains_key(&address) && before.pods.contains_key(&address)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::{Block, Passes};
    use super::*;
    use crate::model::GATEWAY;

    const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2));
    const FRIEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 3));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 4));

    /// The server is reached by its friends at 8080 and by name, and the other one reaches one block outside.
    fn isolation() -> Isolation {
        let pass = |peer, ports| Pass { peer, ports };
        let friends = || Peer::Group("friends".to_owned());
        let block = |text| Block::parse(text).expect("a block");
        let ingress = [
            pass(friends(), Ports::Range(6, 8080, 8090)),
            pass(friends(), Ports::Named((17, "dns".to_owned()))),
        ];
        let outside = Peer::Block(block("203.0.113.0/24"), vec![block("203.0.113.9/32")]);
        let web = Passes {
            ingress: Some(ingress.into()),
            egress: None,
        };
        let other = Passes {
            ingress: None,
            egress: Some([pass(outside, Ports::Any)].into()),
        };
        Isolation {
            pods: [(WEB, web), (FRIEND, Passes::default()), (OTHER, other)].into(),
            groups: [("friends".to_owned(), [FRIEND].into())].into(),
            ports: [((17, "dns".to_owned()), [(WEB, 53)].into())].into(),
        }
    }

    #[test]
    fn a_connection_is_judged_as_the_rules_do() {
        let outside = |last| IpAddr::from([203, 0, 113, last]);
        for (protocol, from, to, port, expected) in [
            (6, FRIEND, WEB, 8080, true),
            (6, FRIEND, WEB, 8091, false),
            (17, FRIEND, WEB, 8080, false),
            (17, FRIEND, WEB, 53, true),
            (6, OTHER, WEB, 8080, false),
            (6, GATEWAY.into(), WEB, 80, true),
            (6, outside(7), WEB, 80, true),
            (6, WEB, WEB, 80, true),
            (6, WEB, FRIEND, 80, true),
            (6, OTHER, outside(7), 443, true),
            (6, OTHER, outside(9), 443, false),
            (6, OTHER, FRIEND, 80, false),
            (6, IpAddr::from([10, 244, 0, 9]), FRIEND, 80, true),
        ] {
            let judged = isolation().lets_in(protocol, SocketAddr::new(from, 4000), SocketAddr::new(to, port));
            assert_eq!(judged, expected, "{protocol} {from} {to}:{port}");
        }
    }

    #[test]
    fn a_pod_that_comes_or_goes_changes_nothing_for_those_that_are_connected() {
        let before = isolation();
        let mut more = isolation();
        let new = IpAddr::from([10, 244, 0, 7]);
        more.pods.insert(new, Passes::default());
        more.groups.insert("friends".to_owned(), [FRIEND, new].into());
        assert!(!more.differs_for_those_of(&before) && !before.differs_for_those_of(&more));
        let mut fewer = isolation();
        fewer.groups.insert("friends".to_owned(), [].into());
        assert!(fewer.differs_for_those_of(&before) && before.differs_for_those_of(&fewer));
        let mut open = isolation();
        open.pods.insert(OTHER, Passes::default());
        assert!(open.differs_for_those_of(&before));
    }
}
