//! The ports of the host that a pod asks for, and when two pods ask for the same. Pure.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::object::{Object, list_at};

/// `ports[].hostPort` of a container that runs for as long as its pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Where it is to be open; loopback if the pod does not say.
    pub ip: Option<IpAddr>,
    /// The port of the host.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The pod's port.
    pub container_port: u16,
}

impl HostPort {
    /// Whether both can't be open at once (`nodeports.Fits`; without a `hostIP` a port is loopback's here, and not every address's).
    pub fn clashes_with(&self, other: &HostPort) -> bool {
        let is_loopback = |port: &HostPort| port.ip.is_none_or(|ip| ip.is_loopback());
        let is_all = |port: &HostPort| port.ip.is_some_and(|ip| ip.is_unspecified());
        let is_same_place = match (self.ip, other.ip) {
            (Some(a), Some(b)) => a == b,
            _ => is_loopback(self) && is_loopback(other),
        };
        let is_same = self.port == other.port && self.protocol == other.protocol;
        is_same && (is_same_place || is_all(self) || is_all(other))
    }
}

/// The host's ports of a pod's containers and sidecars. On the host's network they are ports that the pod itself opens, everywhere.
pub fn host_ports(pod: &Object) -> Vec<HostPort> {
    let sidecars = list_at(pod.value(), "/spec/initContainers").iter();
    let sidecars = sidecars.filter(|container| container["restartPolicy"] == "Always");
    let containers = list_at(pod.value(), "/spec/containers").iter().chain(sidecars);
    let is_host = pod.at("/spec/hostNetwork") == Some(&Value::Bool(true));
    let ports = containers.flat_map(|container| list_at(container, "/ports"));
    let host_port = |port: &Value| {
        let ip = port["hostIP"].as_str().and_then(|ip| ip.parse().ok());
        Some(HostPort {
            ip: ip.or(is_host.then_some(Ipv4Addr::UNSPECIFIED.into())),
            port: number(&port["hostPort"])?,
            protocol: port["protocol"].as_str().unwrap_or("TCP").to_owned(),
            container_port: number(&port["containerPort"])?,
        })
    };
    ports.filter_map(host_port).collect()
}

fn number(value: &Value) -> Option<u16> {
    value.as_u64()?.try_into().ok().filter(|number| *number > 0)
}

/// The Deployment of a pod as its ReplicaSet's name says, with the hash of the template: pods of one Deployment with other hashes replace each
/// other.
pub fn rollout_of(pod: &Object) -> Option<(String, String)> {
    let owner = pod.controller().filter(|owner| owner.kind == "ReplicaSet")?;
    let hash = (*pod.labels().get("pod-template-hash")?).to_owned();
    let name = owner.name.strip_suffix(&hash)?.strip_suffix('-')?;
    Some((format!("{}/{name}", pod.key().namespace), hash))
}

/// The first port that users may open here (`ip_unprivileged_port_start` in ip(7)).
pub fn first_open_port() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(ip: &str, port: u16, protocol: &str) -> HostPort {
        HostPort {
            ip: ip.parse().ok(),
            port,
            protocol: protocol.to_owned(),
            container_port: 80,
        }
    }

    #[test]
    fn ports_clash_where_the_same_client_would_reach_both() {
        for (a, b, expected) in [
            (port("", 80, "TCP"), port("", 80, "TCP"), true),
            (port("", 80, "TCP"), port("127.0.0.1", 80, "TCP"), true),
            (port("", 80, "TCP"), port("192.0.2.1", 80, "TCP"), false),
            (port("", 80, "TCP"), port("0.0.0.0", 80, "TCP"), true),
            (port("192.0.2.1", 80, "TCP"), port("0.0.0.0", 80, "TCP"), true),
            (port("192.0.2.1", 80, "TCP"), port("192.0.2.2", 80, "TCP"), false),
            (port("", 80, "TCP"), port("", 80, "UDP"), false),
            (port("", 80, "TCP"), port("", 81, "TCP"), false),
        ] {
            assert_eq!(a.clashes_with(&b), expected, "{a:?} {b:?}");
            assert_eq!(b.clashes_with(&a), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn containers_and_sidecars_have_host_ports() {
        let ports = |port: u16| json!([{"containerPort": 80, "hostPort": port}, {"containerPort": 81}]);
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default"}, "spec": {
            "containers": [{"name": "a", "ports": ports(8080)}],
            "initContainers": [{"name": "b", "restartPolicy": "Always", "ports": ports(8081)}, {"name": "c", "ports": ports(8082)}],
        }});
        let found = host_ports(&Object::new(pod).expect("a pod"));
        assert_eq!(found, [port("", 8080, "TCP"), port("", 8081, "TCP")]);
    }

    #[test]
    fn a_pod_belongs_to_the_rollout_of_its_deployment() {
        let pod = |owner: &str| {
            let owners =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "u", "controller": true}]);
            let metadata = json!({"name": "a", "namespace": "default", "labels": {"pod-template-hash": "5f"}, "ownerReferences": owners});
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata});
            rollout_of(&Object::new(pod).expect("a pod"))
        };
        assert_eq!(pod("web-5f"), Some(("default/web".to_owned(), "5f".to_owned())));
        assert_eq!(pod("web"), None);
    }
}
