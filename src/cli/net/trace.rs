//! Why a pod reaches something, or does not: step by step, as its packets go. Pure.

use std::net::IpAddr;

use serde_json::Value;

use super::wiring::{endpoints, listed as all_of};
use super::{World, ips_of};
use crate::model::{
    CLUSTER_DOMAIN, DNS, Family, HOST, HOST_NAMES, Key, Object, Seniority, cluster_ips, is_inside, is_nowhere,
    is_service, kind, list_at, may_have, text_at,
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

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traced {
    steps: Vec<(&'static str, String)>,
    /// Whether nothing that the node knows is in the way.
    pub(super) connects: bool,
}

impl Traced {
    /// A line for each step, and the answer.
    pub(super) fn text(&self) -> String {
        let answer = match self.connects {
            true => "nothing of the node is in the way; whether the other side listens is for it to say",
            false => "it can't connect",
        };
        let steps = self.steps.iter().map(|(word, text)| (*word, text.as_str()));
        let lines = steps.chain([("answer", answer)]);
        lines.map(|(word, text)| format!("{word:<9} {text}\n")).collect()
    }
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
            connects: false,
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
    let connects = walk.follow(target, port, namespace)?;
    Ok(Traced {
        steps: walk.steps,
        connects,
    })
}

impl Walk<'_> {
    fn say(&mut self, word: &'static str, text: String) {
        self.steps.push((word, text));
    }

    fn follow(&mut self, target: &str, port: Option<u16>, namespace: &str) -> Result<bool, String> {
        if let Ok(address) = target.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.at_address(address, need(port)?);
        }
        let (kind, name) = target.split_once('/').unwrap_or(("", target));
        let (name, namespace) = match name.split_once('.') {
            // `web.shop.svc.cluster.local`
            Some((name, rest)) => (name, rest.split('.').next().unwrap_or(namespace)),
            None => (name, namespace),
        };
        if kind.is_empty() && !self.can_ask_for_names() {
            return Ok(false);
        }
        if kind.is_empty() && HOST_NAMES.contains(&target) {
            if self.world.host_loopback {
                self.say("names", format!("{target} is {HOST}, the host's loopback"));
                return self.at_address(HOST.into(), need(port)?);
            }
            self.say(
                "names",
                format!("{target} is not known: egress.hostLoopback is not set"),
            );
            return Ok(false);
        }
        let (services, pods) = (&self.world.services, &self.world.pods);
        let service = find(services, namespace, name).filter(|_| matches!(kind, "" | "svc" | "service" | "services"));
        if let Some(service) = service {
            return self.at_service(service, port, None);
        }
        let pod = find(pods, namespace, name).filter(|_| matches!(kind, "" | "po" | "pod" | "pods"));
        let pod = pod.ok_or_else(|| {
            format!(
                "there is neither a Service nor a pod {namespace}/{name}; names of the outside are not asked for here"
            )
        })?;
        let Some(ips) = ips_of(pod) else {
            self.say(
                "target",
                format!("the pod {namespace}/{name} has no address in the pods' network"),
            );
            return Ok(false);
        };
        self.at_address(ips.first.into(), need(port)?)
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
    fn at_service(&mut self, service: &Object, port: Option<u16>, by: Option<IpAddr>) -> Result<bool, String> {
        let name = format!("{}/{}", service.key().namespace, service.key().name);
        if service.text("/spec/type") == "ExternalName" {
            let other = service.text("/spec/externalName");
            self.say("service", format!("{name} is another name of {other}"));
            return self.at_alias(other.trim_end_matches('.'), port);
        }
        let protocol = if self.protocol == 17 { "UDP" } else { "TCP" };
        let ip = by.map_or_else(|| service.text("/spec/clusterIP").to_owned(), |ip| ip.to_string());
        let family = by.map(Family::of).or_else(|| Some(Family::of(ip.parse().ok()?)));
        let own = port_of(service, port, protocol);
        if ip == "None" {
            let first = || port_of(service, None, protocol);
            let Some(own) = own.or_else(first) else {
                self.say("service", format!("{name} has no port for {protocol}"));
                return Ok(false);
            };
            let found = endpoints(service, text_at(own, "/name"), family, &self.world.slices);
            // Its name is their addresses: the port is the client's.
            let at = |endpoint: &String| match (port, endpoint.rsplit_once(':')) {
                (Some(port), Some((address, _))) => format!("{address}:{port}"),
                _ => endpoint.clone(),
            };
            let found: Vec<String> = found.iter().map(at).collect();
            self.say("service", format!("{name} is headless: its name is {}", listed(&found)));
            return self.at_any_of(&found);
        }
        let Some(own) = own else {
            let port = port.map_or_else(String::new, |port| format!(" {port}"));
            self.say("service", format!("{name} has no port{port} for {protocol}"));
            return Ok(false);
        };
        let found = endpoints(service, text_at(own, "/name"), family, &self.world.slices);
        let led = listed(&found);
        self.say("service", format!("{name} ({ip}) port {} leads to {led}", own["port"]));
        self.at_any_of(&found)
    }

    /// A name that stands for another: of the cluster, of the host, or of the outside.
    fn at_alias(&mut self, other: &str, port: Option<u16>) -> Result<bool, String> {
        let inner = other
            .strip_suffix(CLUSTER_DOMAIN)
            .and_then(|rest| rest.strip_suffix(".svc."));
        let is_known = inner.is_some() || HOST_NAMES.contains(&other);
        if !is_known {
            return Ok(self.at_outside());
        }
        self.aliases += 1;
        if self.aliases > MOST_ALIASES {
            self.say(
                "service",
                "names stand for each other in a circle: nobody is found".to_owned(),
            );
            return Ok(false);
        }
        self.follow(inner.unwrap_or(other), port, "default")
    }

    /// A connection may go to any of them: it is told of each, and that it does not always work is told too.
    fn at_any_of(&mut self, endpoints: &[String]) -> Result<bool, String> {
        let mut reached = 0;
        for endpoint in endpoints {
            let (address, port) = split_port(endpoint)?;
            let address = address.trim_matches(['[', ']']).parse();
            let address = address.map_err(|_| format!("{endpoint} is no address"))?;
            reached += usize::from(self.at_address(address, need(port)?)?);
        }
        if reached > 0 && reached < endpoints.len() {
            self.say(
                "service",
                format!("only {reached} of {} endpoints are reached", endpoints.len()),
            );
        }
        Ok(reached > 0)
    }

    fn at_address(&mut self, address: IpAddr, port: u16) -> Result<bool, String> {
        if address.is_loopback() || address.is_unspecified() {
            self.say(
                "target",
                format!("{address} is the pod's own loopback: it never leaves the pod"),
            );
            return Ok(true);
        }
        let Some(own) = self.own_of(Family::of(address)) else {
            let text = format!(
                "the pod has no address of {}: the network is unreachable",
                Family::of(address)
            );
            self.say("target", text);
            return Ok(false);
        };
        if is_service(address) && address != DNS {
            let services = self.world.services.iter();
            let has = |one: &&Object| cluster_ips(one).any(|ip| ip == address);
            let own = services.filter(|one| has(one) && may_have(one.key(), address));
            // Of several the eldest has it.
            return match own.min_by_key(|one| Seniority::of(one)) {
                Some(service) => self.at_service(service, Some(port), Some(address)),
                None => {
                    self.say("service", format!("no Service has {address}: it is refused"));
                    Ok(false)
                }
            };
        }
        let mut pods = self.facts.pods.values();
        let known = pods.find(|pod| pod.ips.is_some_and(|ips| ips.has(address))).cloned();
        if known.as_ref() == Some(&self.pod) {
            self.say("policy", "a pod always reaches itself".to_owned());
            return Ok(true);
        }
        let at = (self.protocol, port);
        let leaving = judge(&self.facts, Direction::Egress, &self.pod, address, known.as_ref(), at);
        let from = format!("{}/{}", self.pod.namespace, self.pod.name);
        self.say("egress", format!("{from} to {address}:{port}: {}", words(&leaving)));
        let may_leave = !matches!(leaving, Judgement::Denied(_));
        let may_enter = match known {
            Some(known) => self.at_pod(&known, own, port),
            None => self.at_no_pod(address),
        };
        Ok(may_leave && may_enter)
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

    fn at_no_pod(&mut self, address: IpAddr) -> bool {
        if address == DNS {
            self.say("target", "the node's name server".to_owned());
            return true;
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
                format!("{HOST} is the host's loopback, but for the port of the API"),
            );
        } else if is_nowhere(address) {
            let text = format!(
                "{address} is no address of the outside for pods (link-local, a group, or reserved): the network is unreachable"
            );
            self.say("outside", text);
            return false;
        }
        self.at_outside()
    }

    fn at_outside(&mut self) -> bool {
        const SETTING: &str = "kubelocal.dev/egress";
        let namespace = kind("v1", "Namespace").expect("in the table");
        let key = Key::new(namespace, "", &self.pod.namespace);
        let own = self.world.namespaces.iter().find(|one| *one.key() == key);
        let said = own.and_then(|own| {
            let (labels, annotations) = (own.labels(), own.annotations());
            let word = labels.get(SETTING).filter(|word| **word != "true");
            word.or_else(|| annotations.get(SETTING).filter(|word| **word != "true"))
                .map(|word| (*word).to_owned())
        });
        if let Some(word) = said {
            self.say("outside", format!("the namespace is cut off: {SETTING} is {word:?}"));
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
}

/// The port of a Service that is asked for, or its first.
fn port_of<'a>(service: &'a Object, port: Option<u16>, protocol: &str) -> Option<&'a Value> {
    let ports = list_at(service.value(), "/spec/ports").iter();
    let mut own = ports.filter(|own| own["protocol"].as_str().unwrap_or("TCP") == protocol);
    own.find(|own| port.is_none_or(|port| own["port"] == port))
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

fn find<'a>(objects: &'a [Object], namespace: &str, name: &str) -> Option<&'a Object> {
    objects
        .iter()
        .find(|one| one.key().namespace == namespace && one.key().name == name)
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    match text.rsplit_once(':') {
        None => Ok((text, None)),
        // An address of IPv6, which with a port stands in brackets.
        Some(_) if text.ends_with(']') || text.parse::<std::net::Ipv6Addr>().is_ok() => Ok((text, None)),
        Some((target, port)) => match port.parse() {
            Ok(port) => Ok((target, Some(port))),
            Err(_) => Err(format!("{port:?} is no port")),
        },
    }
}

fn need(port: Option<u16>) -> Result<u16, String> {
    port.ok_or_else(|| "which port? TO:PORT".to_owned())
}
