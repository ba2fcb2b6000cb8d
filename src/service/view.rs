//! What a Service and its slices mean: where connections go, and which names there are. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::model::{Family, Object, cluster_ips, is_inside, is_nowhere, list_at as items, may_have, pod_ips};
use crate::net::{Backend, Balance, Frontend, Protocol};

/// For how many seconds clients stay if nobody says, and at most (`DefaultClientIPServiceAffinitySeconds`,
/// `MaxClientIPServiceAffinitySeconds`).
const STAY: u64 = 10_800;
const LONGEST_STAY: u64 = 86_400;

/// A Service as the node serves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Where connections go.
    pub frontends: BTreeMap<Frontend, Balance>,
    /// Which names it has.
    pub names: Names,
}

/// What stands behind a Service's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Names {
    /// Addresses of its own.
    Address {
        /// The addresses, one of each of its families, the first of them first.
        ips: Vec<IpAddr>,
        /// Its named ports.
        ports: Vec<NamedPort>,
    },
    /// Its endpoints.
    Endpoints(BTreeSet<NamedEndpoint>),
    /// A name elsewhere.
    Elsewhere(String),
    /// Nothing yet: its address is being chosen.
    #[default]
    Nothing,
}

/// A port that has a name: only those have records of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Its number.
    pub port: u16,
}

/// An endpoint of a Service that has no address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedEndpoint {
    /// Its own name in the Service's domain: the pod's hostname, or its address with dashes.
    pub hostname: String,
    /// Its address.
    pub ip: IpAddr,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
}

/// The addresses of pods that are to end: no connection should lead there any more, though slices may say so for another moment.
#[derive(Debug, Default)]
pub struct Leaving(BTreeSet<IpAddr>);

impl Leaving {
    /// Takes a pod as it is now, or was before it went; says which of its addresses became one of these.
    pub fn take(&mut self, pod: &Object, is_gone: bool) -> Vec<IpAddr> {
        // The host's address is that of others, too.
        let is_own = pod.at("/spec/hostNetwork") != Some(&Value::Bool(true));
        let mut ips: Vec<IpAddr> = if is_own { pod_ips(pod).collect() } else { Vec::new() };
        if is_gone || pod.is_deleting() {
            // They stay some of these until another pod has them: slices may come later than the end of a pod.
            ips.retain(|ip| self.0.insert(*ip));
            ips
        } else {
            for ip in &ips {
                self.0.remove(ip);
            }
            Vec::new()
        }
    }

    /// None of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn has(&self, endpoint: &Value) -> bool {
        // Once the slice knows, what it says counts.
        let is_known = endpoint["conditions"]["terminating"] == true;
        let ip = || endpoint["addresses"][0].as_str()?.parse().ok();
        !is_known && !self.0.is_empty() && ip().is_some_and(|ip| self.0.contains(&ip))
    }
}

/// What a Service is with these slices.
pub fn view(service: &Object, slices: &[Arc<Object>], leaving: &Leaving) -> View {
    if service.text("/spec/type") == "ExternalName" {
        let name = service.text("/spec/externalName").trim_end_matches('.').to_lowercase();
        return View {
            frontends: BTreeMap::new(),
            names: Names::Elsewhere(name),
        };
    }
    if service.text("/spec/clusterIP") == "None" {
        return View {
            frontends: BTreeMap::new(),
            names: Names::Endpoints(slices.iter().flat_map(named_endpoints).collect()),
        };
    }
    // Whoever has an address that no Service may have leads nowhere by it: it would take what is others'.
    let ips = cluster_ips(service).filter(|ip| may_have(service.key(), *ip));
    match ips.collect::<Vec<_>>() {
        ips if ips.is_empty() => View::default(),
        ips => with_addresses(service, ips, slices, leaving),
    }
}

fn with_addresses(service: &Object, ips: Vec<IpAddr>, slices: &[Arc<Object>], leaving: &Leaving) -> View {
    let stay = stay(service);
    let mut view = View {
        frontends: BTreeMap::new(),
        names: Names::Address {
            ips: ips.clone(),
            ports: items(service.value(), "/spec/ports")
                .iter()
                .filter_map(named_port)
                .collect(),
        },
    };
    for port in items(service.value(), "/spec/ports") {
        let Some((protocol, number)) = protocol(port).zip(number(&port["port"])) else {
            continue;
        };
        let name = port["name"].as_str().unwrap_or_default();
        for ip in ips.iter().copied().chain(external_ips(service)) {
            let frontend = Frontend {
                ip,
                protocol,
                port: number,
            };
            let backends = backends_without((name, protocol), Family::of(ip), slices, leaving);
            view.frontends.insert(frontend, Balance { stay, backends });
        }
    }
    view
}

/// The addresses that a Service takes from the outside, for pods: as in a cluster, whoever has them elsewhere. None of them is what has a
/// meaning of its own in pods' network.
fn external_ips(service: &Object) -> impl Iterator<Item = IpAddr> {
    let ips = items(service.value(), "/spec/externalIPs").iter();
    let ips = ips.filter_map(|ip| ip.as_str()?.parse().ok());
    ips.filter(|ip: &IpAddr| !is_nowhere(*ip) && !is_inside(*ip))
}

/// For how long a client that does not connect stays with its endpoint, if the Service asks for it.
pub fn stay(service: &Object) -> Option<Duration> {
    let is_asked = service.text("/spec/sessionAffinity") == "ClientIP";
    let seconds = service.at("/spec/sessionAffinityConfig/clientIP/timeoutSeconds");
    // The gate fills it in and keeps it within a day; in an object of an older node it may lack.
    let seconds = seconds.and_then(Value::as_u64).unwrap_or(STAY);
    is_asked.then(|| Duration::from_secs(seconds.clamp(1, LONGEST_STAY)))
}

/// The endpoints of one of the Service's ports: those that are ready; if there is none, those that end and still serve. For whoever has no
/// family of its own: those of IPv4, or of IPv6 where there are none of the other.
pub fn backends(name: &str, wanted: Protocol, slices: &[Arc<Object>]) -> BTreeSet<Backend> {
    let of = |family| backends_without((name, wanted), family, slices, &Leaving::default());
    let mut all = Family::BOTH.into_iter().map(of);
    all.find(|found| !found.is_empty()).unwrap_or_default()
}

fn backends_without(
    (name, wanted): (&str, Protocol),
    family: Family,
    slices: &[Arc<Object>],
    leaving: &Leaving,
) -> BTreeSet<Backend> {
    let of = |chosen: &dyn Fn(&Value) -> bool| -> BTreeSet<Backend> {
        let mut found = BTreeSet::new();
        for slice in slices
            .iter()
            .filter(|slice| slice.text("/addressType") == family.as_str())
        {
            let is_it =
                |port: &&Value| port["name"].as_str().unwrap_or_default() == name && protocol(port) == Some(wanted);
            let ports = items(slice.value(), "/ports").iter().filter(is_it);
            for port in ports.filter_map(|port| number(&port["port"])) {
                let endpoints = items(slice.value(), "/endpoints")
                    .iter()
                    .filter(|endpoint| chosen(endpoint));
                let ips = endpoints.filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse().ok());
                // One of IPv4 that is written as one of IPv6 would be led to where no rule looks.
                let ips = ips.filter(|ip: &IpAddr| Family::of(ip.to_canonical()) == family);
                found.extend(ips.map(|ip| Backend { ip, port }));
            }
        }
        found
    };
    let ready = of(&|endpoint| is_ready(endpoint) && !leaving.has(endpoint));
    if ready.is_empty() {
        of(&|endpoint| is_draining(endpoint) || (is_ready(endpoint) && leaving.has(endpoint)))
    } else {
        ready
    }
}

/// Conditions that are not known count as good (`EndpointConditions`).
fn is_ready(endpoint: &Value) -> bool {
    endpoint["conditions"]["ready"] != false
}

fn is_draining(endpoint: &Value) -> bool {
    endpoint["conditions"]["serving"] != false && endpoint["conditions"]["terminating"] == true
}

fn named_endpoints(slice: &Arc<Object>) -> Vec<NamedEndpoint> {
    let ports: Vec<_> = items(slice.value(), "/ports").iter().filter_map(named_port).collect();
    let endpoints = items(slice.value(), "/endpoints")
        .iter()
        .filter(|endpoint| is_ready(endpoint));
    let named = |endpoint: &Value| {
        let ip: IpAddr = endpoint["addresses"][0].as_str()?.parse().ok()?;
        let own = endpoint["hostname"].as_str().filter(|name| !name.is_empty());
        Some(NamedEndpoint {
            hostname: own.map_or_else(|| ip.to_string().replace(['.', ':'], "-"), str::to_lowercase),
            ip,
            ports: ports.clone(),
        })
    };
    endpoints.filter_map(named).collect()
}

fn named_port(port: &Value) -> Option<NamedPort> {
    let name = port["name"].as_str().filter(|name| !name.is_empty())?;
    Some(NamedPort {
        name: name.to_lowercase(),
        protocol: match protocol(port)? {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        },
        port: number(&port["port"])?,
    })
}

/// A port's protocol. SCTP is not carried, of which the gate has warned.
pub fn protocol(port: &Value) -> Option<Protocol> {
    match port["protocol"].as_str().unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

/// A port's number.
pub fn number(value: &Value) -> Option<u16> {
    value
        .as_u64()
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: Value) -> Object {
        let metadata = json!({"name": "web", "namespace": "default"});
        Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).expect("one")
    }

    fn slice(ports: Value, endpoints: Value) -> Arc<Object> {
        let value = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "web-1", "namespace": "default"},
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        });
        Arc::new(Object::new(value).expect("a slice"))
    }

    fn endpoint(last: u8, ready: bool, terminating: bool) -> Value {
        json!({"addresses": [format!("10.244.0.{last}")], "conditions": {"ready": ready, "serving": true, "terminating": terminating}})
    }

    fn backends_of(view: &View) -> Vec<Vec<String>> {
        let one = |balance: &Balance| {
            balance
                .backends
                .iter()
                .map(|b| format!("{}:{}", b.ip, b.port))
                .collect()
        };
        view.frontends.values().map(one).collect()
    }

    #[test]
    fn addresses_elsewhere_are_taken_too_but_none_that_means_something_inside() {
        let spec = json!({"clusterIP": "10.96.1.2", "ports": [{"port": 80, "protocol": "TCP"}],
            "externalIPs": ["192.0.2.7", "10.244.0.1", "10.96.0.10", "127.0.0.1", "169.254.1.2", "2001:db8::7"]});
        let slices = [slice(
            json!([{"name": "", "port": 8080, "protocol": "TCP"}]),
            json!([endpoint(2, true, false)]),
        )];
        let seen = view(&service(spec), &slices, &Leaving::default());
        let ips: Vec<String> = seen.frontends.keys().map(|frontend| frontend.ip.to_string()).collect();
        assert_eq!(ips, ["10.96.1.2", "192.0.2.7", "2001:db8::7"]);
        // An address of IPv6 leads to the endpoints that have one.
        let none: Vec<String> = Vec::new();
        assert_eq!(
            backends_of(&seen),
            [
                vec!["10.244.0.2:8080".to_owned()],
                vec!["10.244.0.2:8080".to_owned()],
                none
            ]
        );
    }

    #[test]
    fn each_port_leads_to_the_ready_endpoints_of_its_name() {
        let spec = json!({"clusterIP": "10.96.1.2", "ports": [
            {"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "x", "port": 1, "protocol": "SCTP"}]});
        let slices = [
            slice(
                json!([{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}]),
                json!([endpoint(2, true, false), endpoint(3, false, true)]),
            ),
            slice(
                json!([{"name": "http", "port": 9090, "protocol": "TCP"}]),
                json!([endpoint(4, true, false)]),
            ),
        ];
        let view = view(&service(spec), &slices, &Leaving::default());
        assert_eq!(
            backends_of(&view),
            [vec!["10.244.0.2:8080", "10.244.0.4:9090"], vec!["10.244.0.2:5353"]]
        );
        let Names::Address { ports, .. } = view.names else {
            panic!("it has an address")
        };
        assert_eq!(ports.len(), 2);
    }

    #[test]
    fn endpoints_that_end_are_used_only_while_there_are_no_others() {
        let spec = json!({"clusterIP": "10.96.1.2", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]});
        let ports = || json!([{"name": "", "port": 80}]);
        for (endpoints, expected) in [
            (json!([endpoint(2, false, true)]), vec!["10.244.0.2:80"]),
            (
                json!([endpoint(2, false, true), endpoint(3, true, false)]),
                vec!["10.244.0.3:80"],
            ),
            (json!([endpoint(2, false, false)]), vec![]),
        ] {
            let view = view(
                &service(spec.clone()),
                &[slice(ports(), endpoints.clone())],
                &Leaving::default(),
            );
            assert_eq!(backends_of(&view), [expected], "{endpoints}");
            let stays = |balance: &Balance| balance.stay == Some(Duration::from_secs(STAY));
            assert!(view.frontends.values().all(stays));
        }
    }

    #[test]
    fn a_headless_service_is_its_endpoints_names() {
        let mut named = endpoint(2, true, false);
        named["hostname"] = "DB-0".into();
        let ports = json!([{"name": "sql", "port": 5432, "protocol": "TCP"}]);
        let slices = [slice(
            ports,
            json!([named, endpoint(3, true, false), endpoint(4, false, false)]),
        )];
        let Names::Endpoints(endpoints) =
            view(&service(json!({"clusterIP": "None"})), &slices, &Leaving::default()).names
        else {
            panic!("it has no address");
        };
        let names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.hostname.as_str()).collect();
        assert_eq!(names, ["10-244-0-3", "db-0"]);
    }

    #[test]
    fn a_service_without_an_address_of_ours_leads_nowhere() {
        let seen = |spec: Value| view(&service(spec), &[], &Leaving::default());
        let external = seen(json!({"type": "ExternalName", "externalName": "DB.example.org."}));
        assert_eq!(external.names, Names::Elsewhere("db.example.org".to_owned()));
        assert_eq!(seen(json!({"ports": [{"port": 80}]})), View::default());
        for foreign in ["fd00::1", "192.0.2.1", "127.0.0.1", "10.96.0.1", "10.96.0.10"] {
            let spec = json!({"clusterIP": foreign, "ports": [{"port": 53, "protocol": "UDP"}]});
            assert_eq!(seen(spec), View::default(), "{foreign} is not its to have");
        }
    }

    #[test]
    fn a_pod_that_is_to_end_gets_nothing_new_before_its_slice_says_so() {
        let pod = |last: u8, more: Value| {
            let mut value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
                "status": {"podIP": format!("10.244.0.{last}")}});
            value["metadata"]
                .as_object_mut()
                .expect("a map")
                .extend(more.as_object().expect("a map").clone());
            Object::new(value).expect("a pod")
        };
        let ending = || json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let spec = || json!({"clusterIP": "10.96.1.2", "ports": [{"port": 80}]});
        let both = || {
            slice(
                json!([{"name": "", "port": 80}]),
                json!([endpoint(2, true, false), endpoint(3, true, false)]),
            )
        };
        let mut leaving = Leaving::default();
        let seen = |leaving: &Leaving| backends_of(&view(&service(spec()), &[both()], leaving)).concat();
        assert!(leaving.take(&pod(2, json!({})), false).is_empty());
        assert_eq!(seen(&leaving), ["10.244.0.2:80", "10.244.0.3:80"]);
        assert_eq!(leaving.take(&pod(2, ending()), false), [IpAddr::from([10, 244, 0, 2])]);
        assert!(leaving.take(&pod(2, ending()), false).is_empty(), "told once");
        assert_eq!(seen(&leaving), ["10.244.0.3:80"]);
        leaving.take(&pod(2, json!({})), true);
        assert_eq!(seen(&leaving), ["10.244.0.3:80"], "it went before its slice knew");
        leaving.take(&pod(3, ending()), false);
        assert_eq!(seen(&leaving), ["10.244.0.2:80", "10.244.0.3:80"], "there is no other");
        leaving.take(&pod(2, json!({})), false);
        assert_eq!(seen(&leaving), ["10.244.0.2:80"], "the address is another pod's");
    }
}
