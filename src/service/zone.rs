//! The names of the cluster (Kubernetes DNS specification 1.1.0): what there is, and what is found under a name. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use super::view::{NamedEndpoint, NamedPort, Names};
use crate::model::{CLUSTER_DOMAIN, HOST_NAMES};

/// A namespace and a name in it.
type Place = (String, String);

/// Every name there is.
#[derive(Debug, Default)]
pub struct Zone {
    services: HashMap<Place, Names>,
    /// Pods by name: a pod can be asked for as if it were a Service, as users of podman are used to, where no Service has its name.
    pods: HashMap<Place, Vec<IpAddr>>,
    /// Names of addresses.
    reverse: HashMap<IpAddr, BTreeSet<String>>,
    /// How many names each namespace has: one that has any exists for whoever asks.
    namespaces: BTreeMap<String, usize>,
    /// The address of [`HOST_NAMES`], if they have one.
    host: Option<Ipv4Addr>,
}

/// What is found under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Addresses.
    Addresses(Vec<IpAddr>),
    /// Ports at names of the cluster, and those names' addresses.
    Ports(Vec<Port>),
    /// A name of an address.
    Names(Vec<String>),
    /// Another name, elsewhere.
    Alias(String),
    /// A text.
    Text(&'static str),
    /// The name is there, but there is nothing under it.
    Empty,
    /// There is no such name.
    Nothing,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// At which name.
    pub target: String,
    /// The name's addresses.
    pub addresses: Vec<IpAddr>,
}

/// The version of the specification.
const VERSION: &str = "1.1.0";

impl Zone {
    /// A zone without Services and pods; `host` is where pods find the host's loopback, if they do.
    pub fn new(host: Option<Ipv4Addr>) -> Zone {
        Zone {
            host,
            ..Zone::default()
        }
    }

    /// Enters a Service, or takes it out.
    pub fn set_service(&mut self, namespace: &str, name: &str, names: Option<Names>) {
        let place = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.services.remove(&place) {
            self.count(namespace, -1);
            for (ip, text) in reverse_of(&place, &old) {
                if let Some(all) = self.reverse.get_mut(&ip) {
                    all.remove(&text);
                    if all.is_empty() {
                        self.reverse.remove(&ip);
                    }
                }
            }
        }
        if let Some(names) = names {
            self.count(namespace, 1);
            for (ip, text) in reverse_of(&place, &names) {
                self.reverse.entry(ip).or_default().insert(text);
            }
            self.services.insert(place, names);
        }
    }

    /// Enters a pod's addresses, or takes it out if it has none.
    pub fn set_pod(&mut self, namespace: &str, name: &str, ips: Vec<IpAddr>) {
        let place = (namespace.to_owned(), name.to_owned());
        if self.pods.remove(&place).is_some() {
            self.count(namespace, -1);
        }
        if !ips.is_empty() {
            self.count(namespace, 1);
            self.pods.insert(place, ips);
        }
    }

    /// Takes all pods out.
    pub fn clear_pods(&mut self) {
        for (namespace, _) in std::mem::take(&mut self.pods).into_keys() {
            self.count(&namespace, -1);
        }
    }

    fn count(&mut self, namespace: &str, step: isize) {
        let count = self.namespaces.entry(namespace.to_owned()).or_default();
        *count = count.saturating_add_signed(step);
        if *count == 0 {
            self.namespaces.remove(namespace);
        }
    }

    /// What is under a name, which is given in small letters and without the last dot; `None` if it is for others to know.
    pub fn find(&self, name: &str) -> Option<Found> {
        if name == CLUSTER_DOMAIN {
            return Some(Found::Empty);
        }
        if HOST_NAMES.contains(&name) {
            let found = self.host.map(|host| Found::Addresses(vec![host.into()]));
            return Some(found.unwrap_or(Found::Nothing));
        }
        let inner = name.strip_suffix(CLUSTER_DOMAIN)?.strip_suffix('.')?;
        let mut labels: Vec<&str> = inner.split('.').collect();
        let last = labels.pop();
        labels.reverse();
        Some(match (last, &labels[..]) {
            (Some("dns-version"), []) => Found::Text(VERSION),
            (Some("svc" | "pod"), []) => Found::Empty,
            (Some("svc" | "pod"), [namespace]) if self.namespaces.contains_key(*namespace) => Found::Empty,
            (Some("svc"), [namespace, rest @ ..]) => self.find_in(namespace, rest),
            (Some("pod"), [_, address]) => address_of_dashes(address),
            _ => Found::Nothing,
        })
    }

    /// The names of an address.
    pub fn find_address(&self, ip: IpAddr) -> Found {
        match self.reverse.get(&ip) {
            Some(names) => Found::Names(names.iter().cloned().collect()),
            None => Found::Nothing,
        }
    }

    /// `rest` are the labels before the namespace, the nearest first.
    fn find_in(&self, namespace: &str, rest: &[&str]) -> Found {
        let Some((service, inner)) = rest.split_first() else {
            return Found::Nothing;
        };
        let place = (namespace.to_owned(), (*service).to_owned());
        let Some(names) = self.services.get(&place) else {
            let pod = self.pods.get(&place).filter(|_| inner.is_empty());
            return pod.map_or(Found::Nothing, |ips| Found::Addresses(ips.clone()));
        };
        match names {
            Names::Nothing => Found::Empty,
            Names::Elsewhere(name) if inner.is_empty() => Found::Alias(name.clone()),
            Names::Elsewhere(_) => Found::Nothing,
            Names::Address { ips, ports } => match inner {
                [] => Found::Addresses(ips.clone()),
                [protocol, port] => {
                    let target = name_of(&place);
                    let found = ports.iter().filter(|named| is_asked(named, port, protocol));
                    ports_found(found.map(|named| Port {
                        port: named.port,
                        target: target.clone(),
                        addresses: ips.clone(),
                    }))
                }
                _ => Found::Nothing,
            },
            Names::Endpoints(endpoints) => find_headless(&place, endpoints, inner),
        }
    }
}

fn find_headless(place: &Place, endpoints: &BTreeSet<NamedEndpoint>, inner: &[&str]) -> Found {
    let addresses = |chosen: &dyn Fn(&NamedEndpoint) -> bool| {
        let ips: BTreeSet<IpAddr> = endpoints.iter().filter(|e| chosen(e)).map(|e| e.ip).collect();
        if ips.is_empty() {
            Found::Nothing
        } else {
            Found::Addresses(ips.into_iter().collect())
        }
    };
    match inner {
        [] => addresses(&|_| true),
        [hostname] => addresses(&|endpoint| endpoint.hostname == *hostname),
        [protocol, port] => {
            // An endpoint that says its name has it with each of its addresses, and is one all the same.
            let mut found: BTreeMap<(&str, u16), Vec<IpAddr>> = BTreeMap::new();
            for endpoint in endpoints {
                let asked = endpoint.ports.iter().filter(|named| is_asked(named, port, protocol));
                for named in asked {
                    let addresses = found.entry((&endpoint.hostname, named.port)).or_default();
                    addresses.push(endpoint.ip);
                }
            }
            ports_found(found.into_iter().map(|((hostname, port), addresses)| Port {
                port,
                target: format!("{hostname}.{}", name_of(place)),
                addresses,
            }))
        }
        _ => Found::Nothing,
    }
}

fn is_asked(named: &NamedPort, port: &str, protocol: &str) -> bool {
    port.strip_prefix('_') == Some(&named.name) && protocol.strip_prefix('_') == Some(named.protocol)
}

fn ports_found(ports: impl Iterator<Item = Port>) -> Found {
    let ports: Vec<Port> = ports.collect();
    if ports.is_empty() {
        Found::Nothing
    } else {
        Found::Ports(ports)
    }
}

fn name_of((namespace, name): &Place) -> String {
    format!("{name}.{namespace}.svc.{CLUSTER_DOMAIN}")
}

fn reverse_of(place: &Place, names: &Names) -> Vec<(IpAddr, String)> {
    match names {
        Names::Address { ips, .. } => ips.iter().map(|ip| (*ip, name_of(place))).collect(),
        Names::Endpoints(endpoints) => endpoints
            .iter()
            .map(|endpoint| (endpoint.ip, format!("{}.{}", endpoint.hostname, name_of(place))))
            .collect(),
        Names::Elsewhere(_) | Names::Nothing => Vec::new(),
    }
}

/// `10-244-0-7` or `fd00-10-244--7` as an address: of any pod, whether it is there or not (the specification up to 1.0; old charts use it).
fn address_of_dashes(text: &str) -> Found {
    let v4 = || text.replace('-', ".").parse().map(IpAddr::V4);
    let v6 = || text.replace('-', ":").parse().map(IpAddr::V6);
    match v4().or_else(|_| v6()) {
        Ok(ip) => Found::Addresses(vec![ip]),
        Err(_) => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 244, 0, last])
    }

    fn port(name: &str, number: u16) -> NamedPort {
        NamedPort {
            name: name.to_owned(),
            protocol: "tcp",
            port: number,
        }
    }

    fn zone() -> Zone {
        let mut zone = Zone::default();
        let address = Names::Address {
            ips: vec![[10, 96, 1, 2].into()],
            ports: vec![port("http", 80)],
        };
        zone.set_service("shop", "web", Some(address));
        let endpoint = |hostname: &str, last| NamedEndpoint {
            hostname: hostname.to_owned(),
            ip: ip(last),
            ports: vec![port("sql", 5432)],
        };
        let endpoints = [endpoint("db-0", 2), endpoint("10-244-0-3", 3)].into();
        zone.set_service("shop", "db", Some(Names::Endpoints(endpoints)));
        zone.set_service("shop", "none", Some(Names::Endpoints(BTreeSet::new())));
        zone.set_service("shop", "far", Some(Names::Elsewhere("db.example.org".into())));
        zone.set_pod("shop", "web", vec![ip(9)]);
        zone.set_pod("shop", "own", vec![ip(8)]);
        zone
    }

    fn found(name: &str) -> Option<Found> {
        zone().find(&format!("{name}.{CLUSTER_DOMAIN}"))
    }

    #[test]
    fn names_are_found_as_the_specification_says() {
        let one = |address: &str| Found::Addresses(vec![address.parse().expect("an address")]);
        for (name, expected) in [
            ("web.shop.svc", one("10.96.1.2")),
            ("db-0.db.shop.svc", one("10.244.0.2")),
            ("10-244-0-3.db.shop.svc", one("10.244.0.3")),
            ("db.shop.svc", Found::Addresses(vec![ip(2), ip(3)])),
            ("none.shop.svc", Found::Nothing),
            ("far.shop.svc", Found::Alias("db.example.org".into())),
            ("own.shop.svc", one("10.244.0.8")),
            ("x.own.shop.svc", Found::Nothing),
            ("other.shop.svc", Found::Nothing),
            ("web.other.svc", Found::Nothing),
            ("shop.svc", Found::Empty),
            ("svc", Found::Empty),
            ("elsewhere.svc", Found::Nothing),
            ("10-244-0-7.shop.pod", one("10.244.0.7")),
            ("x.shop.pod", Found::Nothing),
            ("fd00-10-244--7.shop.pod", one("fd00:10:244::7")),
            ("dns-version", Found::Text("1.1.0")),
            ("www.google", Found::Nothing),
        ] {
            assert_eq!(found(name), Some(expected), "{name}");
        }
        assert_eq!(zone().find("example.org"), None, "not ours");
        assert_eq!(zone().find("notcluster.local"), None, "not ours either");
    }

    #[test]
    fn named_ports_lead_to_names_that_have_addresses() {
        let Some(Found::Ports(ports)) = found("_http._tcp.web.shop.svc") else {
            panic!("the port has a name");
        };
        assert_eq!(
            (ports[0].port, ports[0].target.as_str()),
            (80, "web.shop.svc.cluster.local")
        );
        let Some(Found::Ports(ports)) = found("_sql._tcp.db.shop.svc") else {
            panic!("the port has a name");
        };
        let targets: Vec<_> = ports.iter().map(|port| port.target.as_str()).collect();
        assert_eq!(
            targets,
            ["10-244-0-3.db.shop.svc.cluster.local", "db-0.db.shop.svc.cluster.local"]
        );
        for other in [
            "_http._udp.web.shop.svc",
            "http.tcp.web.shop.svc",
            "_x._tcp.db.shop.svc",
        ] {
            assert_eq!(found(other), Some(Found::Nothing), "{other}");
        }
    }

    #[test]
    fn what_has_addresses_of_both_families_is_found_with_both_and_is_one_port() {
        let mut zone = Zone::default();
        let at = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (v4, v6) = (at("10.96.1.2"), at("fd00:10:96::2"));
        let names = Names::Address {
            ips: vec![v4, v6],
            ports: Vec::new(),
        };
        zone.set_service("shop", "web", Some(names));
        let endpoint = |ip: &str| NamedEndpoint {
            hostname: "db-0".to_owned(),
            ip: at(ip),
            ports: vec![port("sql", 5432)],
        };
        let endpoints = [endpoint("10.244.0.2"), endpoint("fd00:10:244::2")];
        zone.set_service("shop", "db", Some(Names::Endpoints(endpoints.into())));
        let find = |name: &str| zone.find(&format!("{name}.shop.svc.{CLUSTER_DOMAIN}"));
        assert_eq!(find("web"), Some(Found::Addresses(vec![v4, v6])));
        for ip in [v4, v6] {
            let own = vec![format!("web.shop.svc.{CLUSTER_DOMAIN}")];
            assert_eq!(zone.find_address(ip), Found::Names(own));
        }
        let both = vec![at("10.244.0.2"), at("fd00:10:244::2")];
        assert_eq!(find("db-0.db"), Some(Found::Addresses(both.clone())));
        let Some(Found::Ports(ports)) = find("_sql._tcp.db") else {
            panic!("the port has a name");
        };
        assert_eq!((ports.len(), &ports[0].addresses), (1, &both));
    }

    #[test]
    fn addresses_have_the_names_of_services_until_those_are_gone() {
        let mut zone = zone();
        assert_eq!(
            zone.find_address(ip(2)),
            Found::Names(vec!["db-0.db.shop.svc.cluster.local".into()])
        );
        assert_eq!(
            zone.find_address([10, 96, 1, 2].into()),
            Found::Names(vec!["web.shop.svc.cluster.local".into()])
        );
        zone.set_service("shop", "db", None);
        assert_eq!(zone.find_address(ip(2)), Found::Nothing);
        for name in ["web", "none", "far"] {
            zone.set_service("shop", name, None);
        }
        zone.set_pod("shop", "web", Vec::new());
        assert_eq!(zone.find("shop.svc.cluster.local"), Some(Found::Empty), "a pod is left");
        zone.set_pod("shop", "own", Vec::new());
        assert_eq!(zone.find("shop.svc.cluster.local"), Some(Found::Nothing));
    }

    #[test]
    fn pods_can_be_entered_anew_all_at_once() {
        let mut zone = zone();
        zone.clear_pods();
        assert_eq!(zone.find("own.shop.svc.cluster.local"), Some(Found::Nothing));
        zone.set_pod("shop", "own", vec![ip(8)]);
        zone.clear_pods();
        for name in ["web", "db", "none", "far"] {
            zone.set_service("shop", name, None);
        }
        assert_eq!(
            zone.find("shop.svc.cluster.local"),
            Some(Found::Nothing),
            "nothing is left"
        );
    }
}
