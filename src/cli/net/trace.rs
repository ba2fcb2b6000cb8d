//! Why a pod reaches something, or does not: step by step, as its packets go. Pure.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::answer::{Reach, Traced};
use super::names::{Place, Port, endpoint_called, find, lone_endpoints, places, split_port};
use super::wiring::{endpoints, listed as all_of};
use super::{World, ips_of};
use crate::model::{
    API_PORT, CLUSTER_DOMAIN, DNS, Family, HOST, HOST_NAMES, Key, Object, Seniority, cluster_ips, cut_off, is_inside,
    is_nowhere, is_service, kind, list_at, may_have, text_at,
};
use crate::policy::{Direction, Facts, Judgement, Pod, judge};

/// How many names may stand for another, as for the name server.
const MOST_ALIASES: u8 = 8;

/// What is asked.
pub(super) struct Asked<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) is_udp: bool,
    /// The namespace of names that have none.
    pub(super) namespace: &'a str,
}

struct Walk<'a> {
    world: &'a World,
    facts: Facts,
    /// Who connects.
    pod: Pod,
    /// TCP or UDP, by its number in packets.
    protocol: u8,
    /// How many names have stood for others so far.
    aliases: u8,
    steps: Vec<(&'static str, String)>,
}

/// Follows a connection.
///
/// # Errors
/// What is asked is not there, or not understood.
pub(super) fn trace(world: &World, asked: &Asked<'_>) -> Result<Traced, String> {
    let (namespace, name) = asked.from.split_once('/').unwrap_or((asked.namespace, asked.from));
    let from = find(&world.pods, namespace, name).ok_or_else(|| format!("there is no pod {namespace}/{name}"))?;
    let (to, is_udp) = match (asked.to.strip_suffix("/udp"), asked.to.strip_suffix("/tcp")) {
        (Some(to), _) => (to, true),
        (None, Some(to)) => (to, false),
        (None, None) => (asked.to, asked.is_udp),
    };
    let (target, port) = split_port(to)?;
    let facts = world.facts();
    let Some(pod) = facts.pods.get(from.uid()).filter(|pod| pod.ips.is_some()).cloned() else {
        let why = format!(
            "{namespace}/{name} has no address in the pods' network: it has ended, not begun, or is on the host's"
        );
        return Ok(Traced {
            steps: vec![("pod", why)],
            reach: Reach::None,
        });
    };
    let mut walk = Walk {
        world,
        facts,
        pod,
        protocol: if is_udp { 17 } else { 6 },
        aliases: 0,
        steps: Vec::new(),
    };
    let ips = walk.pod.ips.expect("was looked at");
    walk.say("pod", format!("{namespace}/{name} has {}", all_of(ips)));
    let reach = walk.follow(target, port, namespace)?;
    Ok(Traced {
        steps: walk.steps,
        reach,
    })
}

impl Walk<'_> {
    fn say(&mut self, word: &'static str, text: String) {
        self.steps.push((word, text));
    }

    fn follow(&mut self, target: &str, port: Port<'_>, namespace: &str) -> Result<Reach, String> {
        if let Ok(address) = target.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.at_address(address, port.number()?);
        }
        if target == "localhost" {
            return self.at_address(Ipv4Addr::LOCALHOST.into(), port.number()?);
        }
        let (kind, name) = target.split_once('/').unwrap_or(("", target));
        if kind.is_empty() && !self.can_ask_for_names() {
            return Ok(Reach::None);
        }
        if kind.is_empty() && HOST_NAMES.contains(&target) {
            if self.world.host_loopback {
                self.say("names", format!("{target} is {HOST}, the host's loopback"));
                return self.at_address(HOST.into(), port.number()?);
            }
            self.say(
                "names",
                format!("{target} is not known: egress.hostLoopback is not set"),
            );
            return Ok(Reach::None);
        }
        let (may_be_service, may_be_pod) = (
            matches!(kind, "" | "svc" | "service" | "services"),
            matches!(kind, "" | "po" | "pod" | "pods"),
        );
        let world = self.world;
        for place in places(name, namespace) {
            let Place {
                hostname,
                name,
                namespace,
            } = place;
            let service = find(&world.services, namespace, name).filter(|_| may_be_service);
            let pod = find(&world.pods, namespace, name).filter(|_| may_be_pod && hostname.is_none());
            match (service, hostname, pod) {
                (Some(service), Some(hostname), _) => {
                    if let Some(address) = endpoint_called(service, hostname, &world.slices) {
                        self.say(
                            "names",
                            format!("{hostname} of the Service {namespace}/{name} is {address}"),
                        );
                        return self.at_address(address, port.number()?);
                    }
                }
                (Some(service), None, _) => return self.at_service(service, port, None),
                (None, _, Some(pod)) => return self.at_pod_called(pod, port),
                (None, _, None) => {}
            }
        }
        let first = places(name, namespace)
            .pop()
            .map_or_else(|| name.to_owned(), |place| place.to_string());
        Err(format!(
            "there is neither a Service nor a pod {first}; names of the outside are not asked for here"
        ))
    }

    fn at_pod_called(&mut self, pod: &Object, port: Port<'_>) -> Result<Reach, String> {
        let (namespace, name) = (&pod.key().namespace, &pod.key().name);
        let Some(ips) = ips_of(pod) else {
            self.say(
                "target",
                format!("the pod {namespace}/{name} has no address in the pods' network"),
            );
            return Ok(Reach::None);
        };
        let number = match port {
            Port::Named(word) => self.facts.pods.get(pod.uid()).and_then(|known| {
                let mut named = known.ports.iter();
                let wanted = (self.protocol, word);
                named
                    .find(|((protocol, own), _)| (*protocol, own.as_str()) == wanted)
                    .map(|(_, number)| *number)
            }),
            Port::Any | Port::Number(_) => Some(port.number()?),
        };
        match number {
            Some(number) => self.at_address(ips.first.into(), number),
            None => {
                self.say("target", format!("the pod {namespace}/{name} has no port {port}"));
                Ok(Reach::None)
            }
        }
    }

    fn protocol_name(&self) -> &'static str {
        if self.protocol == 17 { "UDP" } else { "TCP" }
    }

    fn can_ask_for_names(&mut self) -> bool {
        let judged = judge(&self.facts, Direction::Egress, &self.pod, DNS.into(), None, (17, 53));
        let is_allowed = !matches!(judged, Judgement::Denied(_));
        if !is_allowed {
            self.say("names", format!("can't be asked for: {}", words(&judged)));
        }
        is_allowed
    }

    /// By one of its addresses, or by its name: then by the first of them, as programs do that take the first answer.
    fn at_service(&mut self, service: &Object, port: Port<'_>, by: Option<IpAddr>) -> Result<Reach, String> {
        let name = format!("{}/{}", service.key().namespace, service.key().name);
        if service.text("/spec/type") == "ExternalName" {
            let other = service.text("/spec/externalName");
            self.say("service", format!("{name} is another name of {other}"));
            return self.at_alias(other.trim_end_matches('.'), port);
        }
        let protocol = self.protocol_name();
        let ip = by.map_or_else(|| service.text("/spec/clusterIP").to_owned(), |ip| ip.to_string());
        let family = by.map(Family::of).or_else(|| Some(Family::of(ip.parse().ok()?)));
        let own = port_of(service, port, protocol);
        if ip == "None" {
            let own = own.or_else(|| port_of(service, Port::Any, protocol));
            return self.at_headless(service, &name, port, own);
        }
        let Some(own) = own else {
            self.say(
                "service",
                format!("{name} has no port{} for {protocol}", port.after_a_space()),
            );
            return Ok(Reach::None);
        };
        let found = endpoints(service, text_at(own, "/name"), family, &self.world.slices);
        let led = listed(&found);
        self.say("service", format!("{name} ({ip}) port {} leads to {led}", own["port"]));
        self.at_any_of(&found)
    }

    /// Its name is the addresses of its endpoints: the port is the client's, unless that says a name.
    fn at_headless(
        &mut self,
        service: &Object,
        name: &str,
        port: Port<'_>,
        own: Option<&Value>,
    ) -> Result<Reach, String> {
        let found = match own {
            Some(own) => endpoints(service, text_at(own, "/name"), None, &self.world.slices),
            None => lone_endpoints(service, &self.world.slices),
        };
        let is_named = matches!(port, Port::Named(_));
        if is_named && own.is_none() {
            self.say(
                "service",
                format!("{name} is headless and has no port{}", port.after_a_space()),
            );
            return Ok(Reach::None);
        }
        let number = match (port, own) {
            (Port::Named(_), _) | (Port::Any, Some(_)) => None,
            (Port::Any | Port::Number(_), _) => Some(port.number()?),
        };
        let at = |endpoint: &String| match (number, own.and(endpoint.rsplit_once(':'))) {
            (Some(number), Some((address, _))) => format!("{address}:{number}"),
            (Some(number), None) => format!("{endpoint}:{number}"),
            (None, _) => endpoint.clone(),
        };
        let found: Vec<String> = found.iter().map(at).collect();
        self.say("service", format!("{name} is headless: its name is {}", listed(&found)));
        self.at_any_of(&found)
    }

    /// A name that stands for another: of the cluster, of the host, or of the outside.
    fn at_alias(&mut self, other: &str, port: Port<'_>) -> Result<Reach, String> {
        let inner = other
            .strip_suffix(CLUSTER_DOMAIN)
            .and_then(|rest| rest.strip_suffix(".svc."));
        let is_known = inner.is_some() || HOST_NAMES.contains(&other);
        if !is_known {
            return Ok(Reach::of(self.at_outside()));
        }
        self.aliases += 1;
        if self.aliases > MOST_ALIASES {
            self.say(
                "service",
                "names stand for each other in a circle: nobody is found".to_owned(),
            );
            return Ok(Reach::None);
        }
        self.follow(other, port, "default")
    }

    /// A connection may go to any of them: it is told of each.
    fn at_any_of(&mut self, endpoints: &[String]) -> Result<Reach, String> {
        let mut reached = 0;
        for endpoint in endpoints {
            let (address, port) = split_port(endpoint)?;
            let address = address.trim_matches(['[', ']']).parse();
            let address = address.map_err(|_| format!("{endpoint} is no address"))?;
            reached += usize::from(self.at_end(address, port.number()?));
        }
        Ok(match (reached, endpoints.len()) {
            (0, _) => Reach::None,
            (reached, of) if reached < of => Reach::Some { reached, of },
            _ => Reach::All,
        })
    }

    fn at_address(&mut self, address: IpAddr, port: u16) -> Result<Reach, String> {
        let services = self.world.services.iter();
        if !is_service(address) || address == DNS {
            let takes = |one: &&Object| {
                let mut external = list_at(one.value(), "/spec/externalIPs").iter();
                let is_served = self.world.carried().is_none() && !is_nowhere(address) && !is_inside(address);
                is_served && external.any(|ip| *ip == address.to_string())
            };
            let mut takers: Vec<&Object> = services.filter(takes).collect();
            takers.retain(|one| port_of(one, Port::Number(port), self.protocol_name()).is_some());
            return match takers.into_iter().min_by_key(|one| Seniority::of(one)) {
                Some(service) => self.at_service(service, Port::Number(port), Some(address)),
                None => Ok(Reach::of(self.at_end(address, port))),
            };
        }
        if self.own_of(Family::of(address)).is_none() {
            return Ok(Reach::of(self.at_end(address, port)));
        }
        let has = |one: &&Object| cluster_ips(one).any(|ip| ip == address);
        let own = services.filter(|one| has(one) && may_have(one.key(), address));
        // Of several the eldest has it.
        match own.min_by_key(|one| Seniority::of(one)) {
            Some(service) => self.at_service(service, Port::Number(port), Some(address)),
            None => {
                self.say("service", format!("no Service has {address}: it is refused"));
                Ok(Reach::None)
            }
        }
    }

    /// An address that is not a Service's.
    fn at_end(&mut self, address: IpAddr, port: u16) -> bool {
        if address.is_loopback() || address.is_unspecified() {
            self.say(
                "target",
                format!("{address} is the pod's own loopback: it never leaves the pod"),
            );
            return true;
        }
        let Some(own) = self.own_of(Family::of(address)) else {
            let text = format!(
                "the pod has no address of {}: the network is unreachable",
                Family::of(address)
            );
            self.say("target", text);
            return false;
        };
        let mut pods = self.facts.pods.values();
        let known = pods.find(|pod| pod.ips.is_some_and(|ips| ips.has(address))).cloned();
        if known.as_ref() == Some(&self.pod) {
            self.say("policy", "a pod always reaches itself".to_owned());
            return true;
        }
        let at = (self.protocol, port);
        let leaving = judge(&self.facts, Direction::Egress, &self.pod, address, known.as_ref(), at);
        let from = format!("{}/{}", self.pod.namespace, self.pod.name);
        self.say("egress", format!("{from} to {address}:{port}: {}", words(&leaving)));
        let may_leave = !matches!(leaving, Judgement::Denied(_));
        let may_enter = match known {
            Some(known) => self.at_pod(&known, own, port),
            None => self.at_no_pod(address, port),
        };
        may_leave && may_enter
    }

    /// The pod's own address of a family.
    fn own_of(&self, family: Family) -> Option<IpAddr> {
        let ips = self.pod.ips.expect("was looked at");
        ips.iter().find(|ip| Family::of(*ip) == family)
    }

    fn at_pod(&mut self, pod: &Pod, own: IpAddr, port: u16) -> bool {
        let at = (self.protocol, port);
        let entering = judge(&self.facts, Direction::Ingress, pod, own, Some(pod), at);
        let (namespace, name) = (&pod.namespace, &pod.name);
        self.say(
            "ingress",
            format!("{namespace}/{name} port {port}: {}", words(&entering)),
        );
        !matches!(entering, Judgement::Denied(_))
    }

    fn at_no_pod(&mut self, address: IpAddr, port: u16) -> bool {
        let is_tcp = self.protocol == 6;
        if address == DNS || address == Family::of(address).gateway() {
            let (whose, is_heard) = match address == DNS {
                true => ("the node's name server", port == 53),
                false => ("the node, where its API listens", is_tcp && port == API_PORT),
            };
            let refused = if is_heard {
                ""
            } else {
                ", but not at this port: it is refused"
            };
            self.say("target", format!("{whose}{refused}"));
            return is_heard;
        }
        if is_inside(address) {
            self.say("target", format!("no pod has {address}"));
            return false;
        }
        if address == HOST {
            if !self.world.host_loopback {
                let text =
                    format!("{HOST} is the host's loopback, which egress.hostLoopback would open: it is refused");
                self.say("outside", text);
                return false;
            }
            self.say(
                "outside",
                format!("{HOST} is the host's loopback, but the port of the API, which is refused"),
            );
            return !self.is_cut_off();
        }
        if is_nowhere(address) {
            let text = format!(
                "{address} is no address of the outside for pods (link-local, a group, or reserved): the network is unreachable"
            );
            self.say("outside", text);
            return false;
        }
        self.at_outside()
    }

    fn at_outside(&mut self) -> bool {
        if self.is_cut_off() {
            return false;
        }
        let (is_open, why) = self.world.ways_out();
        let text = if is_open {
            format!("{why}; the host's own routes decide")
        } else {
            format!("closed: {why}")
        };
        self.say("outside", text);
        is_open
    }

    fn is_cut_off(&mut self) -> bool {
        let namespace = kind("v1", "Namespace").expect("in the table");
        let key = Key::new(namespace, "", &self.pod.namespace);
        let own = self.world.namespaces.iter().find(|one| *one.key() == key);
        if let Some((setting, word)) = own.and_then(cut_off) {
            self.say("outside", format!("the namespace is cut off: {setting} is {word:?}"));
            return true;
        }
        false
    }
}

/// The port of a Service that is asked for, or its first.
fn port_of<'a>(service: &'a Object, port: Port<'_>, protocol: &str) -> Option<&'a Value> {
    let ports = list_at(service.value(), "/spec/ports").iter();
    let mut own = ports.filter(|own| own["protocol"].as_str().unwrap_or("TCP") == protocol);
    own.find(|own| match port {
        Port::Any => true,
        Port::Number(number) => own["port"] == number,
        Port::Named(word) => own["name"] == word,
    })
}

fn listed(endpoints: &[String]) -> String {
    match endpoints.is_empty() {
        true => "no endpoint, for none is ready".to_owned(),
        false => endpoints.join(", "),
    }
}

fn words(judgement: &Judgement) -> String {
    match judgement {
        Judgement::NotIsolated => "no policy is about it".to_owned(),
        Judgement::Allowed(policy) => format!("let through by the policy {policy}"),
        Judgement::Denied(policies) => {
            format!("dropped: isolated by {}, and none lets it through", policies.join(", "))
        }
    }
}
