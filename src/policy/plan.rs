//! Policies, pods and namespaces to what the kernel lets through. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::facts::{Facts, Pod};
use super::rule::{Direction, PodPeer, Policy, Rule, RulePeer};
use crate::model::PodIps;
use crate::net::{Isolation, Pass, Passes, Peer, PortName, Ports};

/// What is to be let through; `None` if there are no policies, so that nothing has to be looked at.
pub(super) fn plan_isolation(facts: &Facts) -> Option<Isolation> {
    if facts.policies.is_empty() {
        return None;
    }
    let pods = facts
        .pods
        .values()
        .flat_map(|pod| pod.ips.into_iter().flat_map(PodIps::iter).zip(std::iter::repeat(pod)))
        .map(|(ip, pod)| (ip, plan_passes(facts, pod)));
    let rules = || facts.policies.iter().flat_map(Policy::all_rules);
    let peers = rules().flat_map(|rule| &rule.peers).filter_map(RulePeer::pods);
    let groups: BTreeMap<&str, &PodPeer> = peers.map(|peer| (peer.name.as_str(), peer)).collect();
    let ports = rules().flat_map(|rule| &rule.ports).filter_map(|ports| match ports {
        Ports::Named(name) => Some(name),
        Ports::Any | Ports::Range(..) => None,
    });
    let ports: BTreeSet<&PortName> = ports.collect();
    Some(Isolation {
        pods: pods.collect(),
        groups: groups
            .into_iter()
            .map(|(name, peer)| (name.to_owned(), members(facts, peer)))
            .collect(),
        ports: ports
            .into_iter()
            .map(|name| (name.clone(), places(facts, name)))
            .collect(),
    })
}

fn plan_passes(facts: &Facts, pod: &Pod) -> Passes {
    let policies: Vec<&Policy> = facts.policies.iter().filter(|policy| policy.selects(pod)).collect();
    let of = |direction| {
        let mut saying = policies.iter().filter_map(|policy| policy.rules(direction)).peekable();
        saying.peek()?;
        Some(saying.flatten().flat_map(passes).collect())
    };
    Passes {
        ingress: of(Direction::Ingress),
        egress: of(Direction::Egress),
    }
}

/// Every pair of a rule's peers and ports.
fn passes(rule: &Rule) -> Vec<Pass> {
    let peers: Vec<Peer> = match rule.peers.as_slice() {
        [] => vec![Peer::Anyone],
        peers => peers.iter().filter_map(RulePeer::of_kernel).collect(),
    };
    let ports = match rule.ports.as_slice() {
        [] => &[Ports::Any],
        ports => ports,
    };
    let pairs = peers
        .iter()
        .flat_map(|peer| ports.iter().map(move |ports| (peer, ports)));
    let pass = |(peer, ports): (&Peer, &Ports)| Pass {
        peer: peer.clone(),
        ports: ports.clone(),
    };
    pairs.map(pass).collect()
}

impl RulePeer {
    fn pods(&self) -> Option<&PodPeer> {
        match self {
            Self::Pods(peer) => Some(peer),
            Self::Block(..) | Self::Nobody => None,
        }
    }

    fn of_kernel(&self) -> Option<Peer> {
        match self {
            Self::Pods(peer) => Some(Peer::Group(peer.name.clone())),
            Self::Block(block, except) => Some(Peer::Block(*block, except.clone())),
            Self::Nobody => None,
        }
    }
}

fn members(facts: &Facts, peer: &PodPeer) -> BTreeSet<IpAddr> {
    let pods = facts.peers().filter(|pod| peer.matches(pod, facts.labels_around(pod)));
    pods.filter_map(|pod| pod.ips).flat_map(PodIps::iter).collect()
}

fn places(facts: &Facts, name: &PortName) -> BTreeSet<(IpAddr, u16)> {
    let of_pod = |pod: &Pod| {
        let ports = pod.ports.iter().filter(|(own, _)| own == name);
        let at_each = |number: u16| pod.ips.into_iter().flat_map(PodIps::iter).map(move |ip| (ip, number));
        ports.flat_map(|(_, number)| at_each(*number)).collect::<Vec<_>>()
    };
    facts.peers().flat_map(|pod| of_pod(&pod)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::super::facts::fixtures::{facts, policy};
    use super::*;

    const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 2));
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 3));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 4));

    /// What may come to the pod `web`, with the group by its members.
    fn ingress_of_web(spec: Value) -> Option<Vec<(String, Ports)>> {
        let planned = plan_isolation(&facts([policy("default", "p", spec)])).expect("there is a policy");
        let passes = planned.pods[&WEB].ingress.clone()?;
        let peer = |peer: &Peer| match peer {
            Peer::Anyone => "anyone".to_owned(),
            Peer::Group(name) => format!("{:?}", planned.groups[name]),
            Peer::Block(block, except) => format!("{}/{} but {}", block.network, block.prefix, except.len()),
        };
        Some(
            passes
                .iter()
                .map(|pass| (peer(&pass.peer), pass.ports.clone()))
                .collect(),
        )
    }

    #[test]
    fn a_policy_isolates_what_it_selects_in_the_directions_that_it_names() {
        let web = json!({"matchLabels": {"app": "web"}});
        for (spec, ingress, egress) in [
            (json!({"podSelector": {}}), true, false),
            (json!({"podSelector": web}), true, false),
            (json!({"podSelector": {"matchLabels": {"app": "none"}}}), false, false),
            (json!({"podSelector": web, "policyTypes": ["Egress"]}), false, true),
            (
                json!({"podSelector": web, "policyTypes": ["Ingress", "Egress"]}),
                true,
                true,
            ),
            (json!({"podSelector": web, "egress": [{}]}), true, true),
        ] {
            let planned = plan_isolation(&facts([policy("default", "p", spec.clone())])).expect("there is a policy");
            let passes = &planned.pods[&WEB];
            assert_eq!(
                (passes.ingress.is_some(), passes.egress.is_some()),
                (ingress, egress),
                "{spec}"
            );
            assert_eq!(planned.pods[&OTHER], Passes::default(), "it is in another namespace");
        }
        assert_eq!(plan_isolation(&facts([])), None);
    }

    #[test]
    fn peers_are_pods_of_the_namespace_or_of_namespaces_or_blocks() {
        let (client, other) = (format!("{{{CLIENT}}}"), format!("{{{OTHER}}}"));
        let friends = json!({"matchLabels": {"app": "client"}});
        let team = json!({"matchLabels": {"team": "b"}});
        for (from, expected) in [
            (json!([]), vec!["anyone".to_owned()]),
            (json!([{"podSelector": friends}]), vec![client.clone()]),
            (json!([{"namespaceSelector": team}]), vec![other.clone()]),
            (
                json!([{"namespaceSelector": {}, "podSelector": friends}]),
                vec![format!("{{{CLIENT}, {OTHER}}}")],
            ),
            (
                json!([{"namespaceSelector": team, "podSelector": friends}]),
                vec![other.clone()],
            ),
            (
                json!([{"namespaceSelector": team, "podSelector": {"matchLabels": {"app": "web"}}}]),
                vec!["{}".to_owned()],
            ),
            (
                json!([{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]),
                vec!["10.0.0.0/8 but 1".to_owned()],
            ),
            (
                json!([{"ipBlock": {"cidr": "fd00::/8"}}]),
                vec!["fd00::/8 but 0".to_owned()],
            ),
        ] {
            let spec = json!({"podSelector": {}, "ingress": [{"from": from}]});
            let peers: Vec<String> = ingress_of_web(spec)
                .expect("isolated")
                .into_iter()
                .map(|(peer, _)| peer)
                .collect();
            assert_eq!(peers, expected, "{from}");
        }
    }

    #[test]
    fn ports_are_numbers_ranges_and_names() {
        let ports = json!([{"protocol": "TCP", "port": 80}, {"protocol": "UDP", "port": 1000, "endPort": 2000},
            {"port": "http"}, {"protocol": "SCTP"}]);
        let spec = json!({"podSelector": {}, "ingress": [{"ports": ports}]});
        let ports: BTreeSet<Ports> = ingress_of_web(spec.clone())
            .expect("isolated")
            .into_iter()
            .map(|(_, p)| p)
            .collect();
        let http = (6, "http".to_owned());
        let expected = [
            Ports::Range(6, 80, 80),
            Ports::Range(17, 1000, 2000),
            Ports::Named(http.clone()),
            Ports::Range(132, 0, u16::MAX),
        ];
        assert_eq!(ports, expected.into());
        let planned = plan_isolation(&facts([policy("default", "p", spec)])).expect("there is a policy");
        assert_eq!(planned.ports[&http], [(WEB, 8080), (OTHER, 9090)].into());
    }

    #[test]
    fn a_pod_is_isolated_and_meant_by_each_of_its_addresses() {
        let http = (6, "http".to_owned());
        let rule = json!({"from": [{"podSelector": {}}], "ports": [{"port": "http"}]});
        let mut facts = facts([policy("default", "p", json!({"podSelector": {}, "ingress": [rule]}))]);
        let web = facts.pods.get_mut("web").expect("it is one of them");
        let both = PodIps::new(Ipv4Addr::new(10, 244, 0, 2), true);
        web.ips = Some(both);
        let planned = plan_isolation(&facts).expect("there is a policy");
        let members = planned.groups.values().next().expect("there is one");
        for ip in both.iter() {
            assert_eq!(planned.pods[&ip], planned.pods[&WEB]);
            assert!(
                members.contains(&ip) && planned.ports[&http].contains(&(ip, 8080)),
                "{ip}"
            );
        }
        assert_eq!(planned.pods.len(), 4, "the others have one each");
    }

    #[test]
    fn policies_add_up() {
        let one = policy(
            "default",
            "one",
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}),
        );
        let two = policy(
            "default",
            "two",
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 81}]}]}),
        );
        let none = policy("default", "none", json!({"podSelector": {}}));
        let planned = plan_isolation(&facts([one, two, none])).expect("there are policies");
        let passes = planned.pods[&WEB].ingress.clone().expect("isolated");
        let ports: Vec<_> = passes.into_iter().map(|pass| pass.ports).collect();
        assert_eq!(ports, [Ports::Range(6, 80, 80), Ports::Range(6, 81, 81)]);
    }

    #[test]
    fn the_name_server_is_known_as_clusters_know_it() {
        let to = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]);
        let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": to}]});
        let planned = plan_isolation(&facts([policy("default", "p", spec)])).expect("there is a policy");
        let members: Vec<_> = planned.groups.values().collect();
        assert_eq!(members, [&BTreeSet::from([crate::model::DNS.into()])]);
    }
}
