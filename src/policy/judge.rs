//! Whether one connection is let through, and by which policies. Pure: what the kernel decides by its rules, said with reasons.

use std::net::IpAddr;

use super::facts::{Facts, Pod};
use super::rule::{Direction, Rule, RulePeer};
use crate::net::Ports;

/// What policies say about one direction of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// No policy is about it.
    NotIsolated,
    /// This policy (`namespace/name`) lets it through.
    Allowed(String),
    /// These policies isolate the pod, and none of them lets it through.
    Denied(Vec<String>),
}

/// What policies say in a direction about connections between `pod` and the other end, which may be a pod or only an address, to a
/// port of the destination.
pub fn judge(
    facts: &Facts,
    direction: Direction,
    pod: &Pod,
    other: IpAddr,
    destination: Option<&Pod>,
    (protocol, port): (u8, u16),
) -> Judgement {
    let peer = facts.whose(other);
    let is_allowed = |rule: &Rule| {
        let peers = rule.peers.is_empty() || rule.peers.iter().any(|one| is_peer(facts, one, peer.as_deref(), other));
        let ports = rule.ports.is_empty() || rule.ports.iter().any(|one| is_port(one, destination, protocol, port));
        peers && ports
    };
    let mut isolating = Vec::new();
    for policy in facts.policies.iter().filter(|policy| policy.selects(pod)) {
        let Some(rules) = policy.rules(direction) else { continue };
        if rules.iter().any(is_allowed) {
            return Judgement::Allowed(policy.full_name());
        }
        isolating.push(policy.full_name());
    }
    match isolating.is_empty() {
        true => Judgement::NotIsolated,
        false => Judgement::Denied(isolating),
    }
}

fn is_peer(facts: &Facts, rule: &RulePeer, pod: Option<&Pod>, address: IpAddr) -> bool {
    match rule {
        RulePeer::Pods(peer) => pod.is_some_and(|pod| peer.matches(pod, facts.labels_around(pod))),
        RulePeer::Block(block, except) => {
            block.contains(address) && !except.iter().any(|block| block.contains(address))
        }
        RulePeer::Nobody => false,
    }
}

fn is_port(ports: &Ports, destination: Option<&Pod>, protocol: u8, port: u16) -> bool {
    match ports {
        Ports::Any => true,
        Ports::Range(own, first, last) => *own == protocol && (*first..=*last).contains(&port),
        Ports::Named(name) => {
            let named = |(own, number): &(_, u16)| own == name && *number == port;
            name.0 == protocol && destination.is_some_and(|pod| pod.ports.iter().any(named))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::facts::fixtures::{facts, policy};
    use super::*;
    use crate::model::PodIps;

    #[test]
    fn a_connection_is_judged_with_the_policies_that_decide() {
        let closed = policy(
            "default",
            "closed",
            json!({"podSelector": {"matchLabels": {"app": "web"}}}),
        );
        let friends = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
            {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}, {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.9/32"]}}],
             "ports": [{"port": "http"}, {"port": 9000, "endPort": 9010}]}]});
        let mut facts = facts([closed, policy("default", "friends", friends)]);
        // These two have addresses of both families.
        for pod in ["client", "other"] {
            let pod = facts.pods.get_mut(pod).expect("it is one of them");
            pod.ips = pod.ips.map(|ips| PodIps::new(ips.first, true));
        }
        let (web, client) = (&facts.pods["web"], &facts.pods["client"]);
        let denied = Judgement::Denied(vec!["default/closed".to_owned(), "default/friends".to_owned()]);
        let allowed = Judgement::Allowed("default/friends".to_owned());
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let of_client = IpAddr::from(client.ips.expect("has some").first);
        for (from, port, expected) in [
            (of_client, (6, 8080), &allowed),
            (of_client, (6, 9005), &allowed),
            (of_client, (17, 9005), &denied),
            (of_client, (6, 9011), &denied),
            (of_client, (6, 80), &denied),
            (at("192.0.2.1"), (6, 8080), &allowed),
            (at("192.0.2.9"), (6, 8080), &denied),
            (at("10.244.0.4"), (6, 8080), &denied),
            (at("fd00:10:244::3"), (6, 8080), &allowed),
            (at("fd00:10:244::4"), (6, 8080), &denied),
        ] {
            let judged = judge(&facts, Direction::Ingress, web, from, Some(web), port);
            assert_eq!(judged, *expected, "{from} {port:?}");
        }
        let of_web = web.ips.expect("has some").first.into();
        let judged = judge(&facts, Direction::Egress, client, of_web, Some(web), (6, 8080));
        assert_eq!(judged, Judgement::NotIsolated);
    }
}
