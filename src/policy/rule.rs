//! What a NetworkPolicy says, read once. Pure.

use serde_json::Value;

use super::facts::{Labels, Pod, by_reference};
use crate::model::{Block, LabelSelector, Object, list_at};
use crate::net::Ports;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its namespace, in which it selects pods.
    pub namespace: String,
    /// Its name.
    pub name: String,
    selector: LabelSelector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
}

/// A direction, as the selected pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Connections to the pod.
    Ingress,
    /// Connections of the pod.
    Egress,
}

impl Direction {
    /// Its name in `policyTypes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::Egress => "Egress",
        }
    }
}

/// What one rule lets through: what is between the pod and any of the peers, at any of the ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// None at all is everyone.
    pub(super) peers: Vec<RulePeer>,
    /// None at all is every port of every protocol.
    pub(super) ports: Vec<Ports>,
}

/// A peer of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RulePeer {
    Pods(PodPeer),
    Block(Block, Vec<Block>),
    /// A block that can't be read: there is nobody in it.
    Nobody,
}

/// Pods of some namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodPeer {
    /// What tells the peer from others: the same for the same pods.
    pub(super) name: String,
    namespaces: Namespaces,
    pods: LabelSelector,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Namespaces {
    One(String),
    Matching(LabelSelector),
}

impl Policy {
    /// Reads a policy that has passed the gate. What can't be read selects nothing, or lets nothing through.
    pub fn read(object: &Object) -> Option<Policy> {
        let spec = object.at("/spec")?;
        let namespace = &object.key().namespace;
        let types = list_at(spec, "/policyTypes");
        let has = |direction: Direction| match types.is_empty() {
            // As the gate fills it in.
            true => direction == Direction::Ingress || !list_at(spec, "/egress").is_empty(),
            false => types.iter().any(|kind| kind == direction.as_str()),
        };
        let rules = |direction: Direction, at: &str, peers: &str| {
            let rules = list_at(spec, at).iter();
            has(direction).then(|| rules.filter_map(|rule| Rule::read(rule, peers, namespace)).collect())
        };
        Some(Policy {
            namespace: namespace.clone(),
            name: object.key().name.clone(),
            selector: LabelSelector::from_json(&spec["podSelector"]).ok()?,
            ingress: rules(Direction::Ingress, "/ingress", "/from"),
            egress: rules(Direction::Egress, "/egress", "/to"),
        })
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it is for a pod.
    pub fn selects(&self, pod: &Pod) -> bool {
        pod.namespace == self.namespace && self.selector.matches(&by_reference(&pod.labels))
    }

    /// What it lets through in a direction; `None` if it says nothing about it.
    pub(super) fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    pub(super) fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        self.ingress.iter().chain(&self.egress).flatten()
    }
}

impl Rule {
    /// A rule with a peer or a port that can't be read would let through more without it: it lets nothing through.
    fn read(rule: &Value, peers: &str, namespace: &str) -> Option<Rule> {
        let peers = list_at(rule, peers).iter();
        let ports = list_at(rule, "/ports").iter();
        Some(Rule {
            peers: peers
                .map(|peer| RulePeer::read(peer, namespace))
                .collect::<Option<_>>()?,
            ports: ports.map(read_ports).collect::<Option<_>>()?,
        })
    }
}

impl RulePeer {
    fn read(peer: &Value, namespace: &str) -> Option<RulePeer> {
        if let Some(block) = peer.get("ipBlock") {
            let Some(cidr) = Block::parse(block["cidr"].as_str()?) else {
                return Some(RulePeer::Nobody);
            };
            let except = list_at(block, "/except").iter().filter_map(Value::as_str);
            return Some(RulePeer::Block(cidr, except.filter_map(Block::parse).collect()));
        }
        let (namespaces, pods) = (peer.get("namespaceSelector"), peer.get("podSelector"));
        if namespaces.is_none() && pods.is_none() {
            return None;
        }
        let selector = |value: Option<&Value>| LabelSelector::from_json(value.unwrap_or(&Value::Null)).ok();
        let of = namespaces.map_or_else(|| namespace.to_owned(), Value::to_string);
        Some(RulePeer::Pods(PodPeer {
            name: format!("{of} {}", pods.unwrap_or(&Value::Null)),
            namespaces: match namespaces {
                Some(_) => Namespaces::Matching(selector(namespaces)?),
                None => Namespaces::One(namespace.to_owned()),
            },
            pods: selector(pods)?,
        }))
    }
}

impl PodPeer {
    /// Whether a pod is one of these; `labels` are those of its namespace.
    pub(super) fn matches(&self, pod: &Pod, labels: &Labels) -> bool {
        let is_there = match &self.namespaces {
            Namespaces::One(namespace) => *namespace == pod.namespace,
            Namespaces::Matching(selector) => selector.matches(&by_reference(labels)),
        };
        is_there && self.pods.matches(&by_reference(&pod.labels))
    }
}

fn read_ports(port: &Value) -> Option<Ports> {
    let protocol = protocol_number(port["protocol"].as_str().unwrap_or("TCP"))?;
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    match &port["port"] {
        Value::Null => Some(Ports::Range(protocol, 0, u16::MAX)),
        Value::String(name) => Some(Ports::Named((protocol, name.clone()))),
        first => {
            let first = number(first)?;
            let last = match &port["endPort"] {
                Value::Null => first,
                last => number(last)?,
            };
            Some(Ports::Range(protocol, first, last))
        }
    }
}

/// A transport protocol's number in packets.
pub(super) fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "TCP" => Some(6),
        "UDP" => Some(17),
        "SCTP" => Some(132),
        _ => None,
    }
}
