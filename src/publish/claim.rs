//! What pods and Services ask for. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;

use super::plan::{Claim, Field, Standing};
use crate::carry::{Place, Target};
use crate::model::{Object, host_ports, is_terminal, list_at, rollout_of};
use crate::net::Protocol;
use crate::service::{backends, number, protocol, stay};

/// Where a port is open: at one address, or at the same of both families, of which the second is extra.
fn addresses(ip: Option<IpAddr>) -> Vec<(IpAddr, bool)> {
    match ip {
        None => vec![(Ipv4Addr::LOCALHOST.into(), false), (Ipv6Addr::LOCALHOST.into(), true)],
        // All means all: `localhost` is an address of IPv6 first.
        Some(ip) if ip == Ipv4Addr::UNSPECIFIED => vec![(ip, false), (Ipv6Addr::UNSPECIFIED.into(), true)],
        Some(ip) => vec![(ip, false)],
    }
}

/// What all claims of an object have in common.
struct Claimant<'a> {
    object: &'a Object,
    group: String,
    standing: Standing,
}

impl Claimant<'_> {
    fn claims(
        &self,
        field: Field,
        ip: Option<IpAddr>,
        protocol: Protocol,
        port: u16,
        target: &Target,
    ) -> impl Iterator<Item = Claim> {
        addresses(ip).into_iter().map(move |(ip, is_extra)| Claim {
            owner: self.object.key().clone(),
            uid: self.object.uid().to_owned(),
            group: self.group.clone(),
            field,
            place: Place { protocol, port, ip },
            is_extra,
            standing: self.standing,
            target: target.clone(),
        })
    }
}

/// A pod's host ports. A pod on the host's network opens its ports itself, and one that has ended has none.
pub(super) fn claims_of_pod(pod: &Object) -> Vec<Claim> {
    let is_on_host = pod.at("/spec/hostNetwork").is_some_and(|value| value == true);
    if is_on_host || is_terminal(pod) {
        return Vec::new();
    }
    let ip: Option<IpAddr> = pod.text("/status/podIP").parse().ok();
    let standing = Standing {
        has_begun: ip.is_some(),
        is_ready: is_ready(pod),
        is_ending: pod.is_deleting(),
        created: created(pod),
    };
    let claimant = Claimant {
        object: pod,
        group: rollout_of(pod).map_or_else(|| pod.uid().to_owned(), |(deployment, _)| deployment),
        standing,
    };
    let of_port = |port: crate::model::HostPort| {
        let protocol = match port.protocol.as_str() {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            _ => return Vec::new(),
        };
        let target = Target {
            addresses: ip
                .map(|ip| SocketAddr::new(ip, port.container_port))
                .into_iter()
                .collect(),
            stay: None,
            is_coming: !standing.is_ending && !standing.is_ready,
        };
        claimant
            .claims(Field::HostPort, port.ip, protocol, port.port, &target)
            .collect()
    };
    host_ports(pod).into_iter().flat_map(of_port).collect()
}

/// The ports of a Service that the host is to have: node ports, those of a load balancer, and those at addresses of the host.
pub(super) fn claims_of_service(service: &Object, slices: &[Arc<Object>]) -> Vec<Claim> {
    let kind = service.text("/spec/type");
    if kind == "ExternalName" || service.is_deleting() {
        return Vec::new();
    }
    let claimant = Claimant {
        object: service,
        group: service.uid().to_owned(),
        standing: Standing {
            has_begun: true,
            is_ready: true,
            is_ending: false,
            created: created(service),
        },
    };
    let external: Vec<IpAddr> = list_at(service.value(), "/spec/externalIPs")
        .iter()
        .filter_map(|ip| ip.as_str()?.parse().ok())
        .collect();
    let mut claims = Vec::new();
    for port in list_at(service.value(), "/spec/ports") {
        let Some((protocol, number_of_port)) = protocol(port).zip(number(&port["port"])) else {
            continue;
        };
        let name = port["name"].as_str().unwrap_or_default();
        let endpoints = backends(name, protocol, slices).into_iter();
        let target = Target {
            addresses: endpoints.map(|b| SocketAddr::new(b.ip, b.port)).collect(),
            stay: stay(service),
            is_coming: false,
        };
        let node_port = number(&port["nodePort"]).filter(|_| matches!(kind, "NodePort" | "LoadBalancer"));
        let asked = node_port.map(|number| (Field::NodePort, None, number));
        let balanced = is_balanced(service).then_some((Field::Port, None, number_of_port));
        let at = external.iter().map(|ip| (Field::ExternalIp, Some(*ip), number_of_port));
        for (field, ip, number) in asked.into_iter().chain(balanced).chain(at) {
            claims.extend(claimant.claims(field, ip, protocol, number, &target));
        }
    }
    claims
}

/// Whether the node is the load balancer of a Service. A class names another one.
pub(super) fn is_balanced(service: &Object) -> bool {
    service.text("/spec/type") == "LoadBalancer" && service.text("/spec/loadBalancerClass").is_empty()
}

/// The ports at which a Service of this type is reached when its own can't be had.
pub(super) fn node_ports(service: &Object) -> BTreeSet<u16> {
    let ports = list_at(service.value(), "/spec/ports").iter();
    ports.filter_map(|port| number(&port["nodePort"])).collect()
}

fn is_ready(pod: &Object) -> bool {
    let mut conditions = list_at(pod.value(), "/status/conditions").iter();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn created(object: &Object) -> Timestamp {
    object.creation_timestamp().unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(port: Value, status: Value) -> Object {
        let spec = json!({"containers": [{"name": "a", "ports": [port]}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default", "uid": "u"},
            "spec": spec, "status": status});
        Object::new(pod).expect("a pod")
    }

    fn service(spec: Value) -> Object {
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "default", "uid": "u"}, "spec": spec});
        Object::new(service).expect("a Service")
    }

    fn places(claims: &[Claim]) -> Vec<String> {
        claims.iter().map(|claim| claim.place.to_string()).collect()
    }

    fn running() -> Value {
        json!({"phase": "Running", "podIP": "10.244.0.2", "conditions": [{"type": "Ready", "status": "True"}]})
    }

    #[test]
    fn a_host_port_is_loopbacks_unless_the_pod_says_more() {
        for (ip, expected) in [
            ("", vec!["127.0.0.1:8080/TCP", "[::1]:8080/TCP"]),
            ("127.0.0.1", vec!["127.0.0.1:8080/TCP"]),
            ("0.0.0.0", vec!["0.0.0.0:8080/TCP", "[::]:8080/TCP"]),
            ("192.0.2.7", vec!["192.0.2.7:8080/TCP"]),
        ] {
            let pod = pod(json!({"containerPort": 80, "hostPort": 8080, "hostIP": ip}), running());
            assert_eq!(places(&claims_of_pod(&pod)), expected, "{ip}");
        }
    }

    #[test]
    fn a_port_leads_to_a_pod_that_runs_and_waits_for_one_that_comes() {
        let port = || json!({"containerPort": 80, "hostPort": 8080});
        let starting = json!({"phase": "Running", "podIP": "10.244.0.2"});
        for (status, address, is_coming) in [
            (running(), Some("10.244.0.2:80"), false),
            (starting, Some("10.244.0.2:80"), true),
            (json!({"phase": "Pending"}), None, true),
        ] {
            let claims = claims_of_pod(&pod(port(), status.clone()));
            let target = &claims[0].target;
            let found = target.addresses.first().map(ToString::to_string);
            assert_eq!((found.as_deref(), target.is_coming), (address, is_coming), "{status}");
        }
        assert_eq!(claims_of_pod(&pod(port(), json!({"phase": "Succeeded"}))), []);
        assert_eq!(claims_of_pod(&pod(json!({"containerPort": 80}), running())), []);
        let sctp = json!({"containerPort": 80, "hostPort": 80, "protocol": "SCTP"});
        assert_eq!(claims_of_pod(&pod(sctp, running())), []);
    }

    #[test]
    fn a_services_ports_follow_its_type() {
        let ports = || json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"}]);
        let (node, balanced) = (
            ["127.0.0.1:30080/TCP", "[::1]:30080/TCP"],
            ["127.0.0.1:80/TCP", "[::1]:80/TCP"],
        );
        for (spec, expected) in [
            (json!({"type": "ClusterIP", "ports": [{"port": 80}]}), vec![]),
            (json!({"type": "NodePort", "ports": ports()}), node.to_vec()),
            (
                json!({"type": "LoadBalancer", "ports": ports()}),
                [node, balanced].concat(),
            ),
            (
                json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
                balanced.to_vec(),
            ),
            (
                json!({"type": "LoadBalancer", "loadBalancerClass": "a/b", "ports": ports()}),
                node.to_vec(),
            ),
            (
                json!({"externalIPs": ["192.0.2.7"], "ports": [{"port": 80}]}),
                vec!["192.0.2.7:80/TCP"],
            ),
            (
                json!({"type": "ExternalName", "externalIPs": ["192.0.2.7"], "ports": [{"port": 80}]}),
                vec![],
            ),
        ] {
            assert_eq!(
                places(&claims_of_service(&service(spec.clone()), &[])),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn a_services_port_is_closed_while_it_has_no_endpoint() {
        let service = service(
            json!({"type": "NodePort", "sessionAffinity": "ClientIP", "ports": [{"port": 80, "nodePort": 30080}]}),
        );
        assert!(!claims_of_service(&service, &[])[0].target.is_open());
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a-1", "namespace": "default"},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080}], "endpoints": [{"addresses": ["10.244.0.3"]}],
        });
        let target = claims_of_service(&service, &[Arc::new(Object::new(slice).expect("a slice"))])[0]
            .target
            .clone();
        assert!(target.is_open() && target.stay.is_some());
        assert_eq!(
            target.addresses.first().map(ToString::to_string).as_deref(),
            Some("10.244.0.3:8080")
        );
    }
}
