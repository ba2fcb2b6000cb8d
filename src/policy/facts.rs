//! What policies are about: pods, their namespaces, and the policies themselves. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::rule::{Direction, Policy, protocol_number};
use crate::model::{DNS, Object, PodIps, is_terminal, list_at};
use crate::net::PortName;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The namespace in which the node's name server is taken to be, and the label by which policies know it.
const SYSTEM: &str = "kube-system";
const NAME_SERVER: (&str, &str) = ("k8s-app", "kube-dns");

/// A pod, as policies see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses in the pods' network; none before it has any, and on the host's network.
    pub ips: Option<PodIps>,
    /// The ports that have names.
    pub ports: Vec<(PortName, u16)>,
}

/// Everything that decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Pods by uid.
    pub pods: BTreeMap<String, Pod>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, Labels>,
    /// The policies.
    pub policies: Vec<Policy>,
}

impl Pod {
    /// Reads a pod, whose addresses are not its object's business here; `None` if it has ended or is on the host's network.
    pub fn read(object: &Object, ips: Option<PodIps>) -> Option<Pod> {
        if is_terminal(object) || object.at("/spec/hostNetwork").is_some_and(|host| host == true) {
            return None;
        }
        // Containers that run beside the others have ports too.
        let init = list_at(object.value(), "/spec/initContainers").iter();
        let beside = init.filter(|container| container["restartPolicy"] == "Always");
        let containers = list_at(object.value(), "/spec/containers").iter().chain(beside);
        let ports = containers.flat_map(|container| list_at(container, "/ports"));
        let named = ports.filter_map(|port| {
            let protocol = protocol_number(port["protocol"].as_str().unwrap_or("TCP"))?;
            let name = port["name"].as_str().filter(|name| !name.is_empty())?;
            let number = port["containerPort"].as_u64().and_then(|n| u16::try_from(n).ok())?;
            Some(((protocol, name.to_owned()), number))
        });
        Some(Pod {
            namespace: object.key().namespace.clone(),
            name: object.key().name.clone(),
            labels: owned(&object.labels()),
            ips,
            ports: named.collect(),
        })
    }

    /// The node's name server: policies for clusters know it as a pod.
    fn name_server() -> Pod {
        let (label, value) = NAME_SERVER;
        Pod {
            namespace: SYSTEM.to_owned(),
            name: "the node's name server".to_owned(),
            labels: [(label.to_owned(), value.to_owned())].into(),
            ips: Some(PodIps::new(DNS, false)),
            ports: vec![((17, "dns".to_owned()), 53), ((6, "dns-tcp".to_owned()), 53)],
        }
    }
}

impl Facts {
    /// Reads pods with their addresses, namespaces and policies, all of them.
    pub fn read<'a, O: AsRef<Object> + 'a>(
        pods: impl Iterator<Item = (&'a Object, Option<PodIps>)>,
        namespaces: &[O],
        policies: &[O],
    ) -> Facts {
        let pod = |(pod, ips): (&Object, _)| Some((pod.uid().to_owned(), Pod::read(pod, ips)?));
        let namespaces = namespaces.iter().map(AsRef::as_ref);
        let labels = |namespace: &Object| (namespace.key().name.clone(), owned(&namespace.labels()));
        let policies = policies.iter().map(AsRef::as_ref);
        Facts {
            pods: pods.filter_map(pod).collect(),
            namespaces: namespaces.map(labels).collect(),
            policies: policies.filter_map(Policy::read).collect(),
        }
    }

    /// The policies (`namespace/name`) that isolate a pod in a direction.
    pub fn isolating(&self, pod: &Pod, direction: Direction) -> Vec<String> {
        let selecting = self.policies.iter().filter(|policy| policy.selects(pod));
        let saying = selecting.filter(|policy| policy.rules(direction).is_some());
        saying.map(Policy::full_name).collect()
    }

    /// Everyone whom rules may mean: the pods, and the name server.
    pub(super) fn peers(&self) -> impl Iterator<Item = std::borrow::Cow<'_, Pod>> {
        let pods = self.pods.values().map(std::borrow::Cow::Borrowed);
        pods.chain([std::borrow::Cow::Owned(Pod::name_server())])
    }

    /// Who has an address, if anyone whom rules may mean.
    pub(super) fn whose(&self, ip: IpAddr) -> Option<std::borrow::Cow<'_, Pod>> {
        self.peers().find(|pod| pod.ips.is_some_and(|ips| ips.has(ip)))
    }

    /// Labels of a pod's namespace.
    pub(super) fn labels_around(&self, pod: &Pod) -> &Labels {
        const NONE: &Labels = &Labels::new();
        self.namespaces.get(&pod.namespace).unwrap_or(NONE)
    }
}

/// Labels that are kept.
fn owned(labels: &BTreeMap<&str, &str>) -> Labels {
    let pairs = labels.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// As selectors look at them.
pub(super) fn by_reference(labels: &Labels) -> BTreeMap<&str, &str> {
    labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

#[cfg(test)]
pub(super) mod fixtures {
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::*;

    /// Pods `web` and `client` in the namespace `default`, `other` in another one, and these policies.
    pub(in crate::policy) fn facts(policies: impl IntoIterator<Item = Policy>) -> Facts {
        let pod = |namespace: &str, name: &str, app: &str, last: u8, port: u16| {
            let ports = json!([{"name": "http", "containerPort": port}, {"containerPort": 1}]);
            let object = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
                "spec": {"containers": [{"name": "c", "ports": if port == 0 { json!([]) } else { ports }}]}});
            let object = Object::new(object).expect("a pod");
            let pod = Pod::read(&object, Some(PodIps::new(Ipv4Addr::new(10, 244, 0, last), false)));
            (name.to_owned(), pod.expect("it is on the pods' network"))
        };
        let namespace = |name: &str, team: &str| {
            let labels = [("kubernetes.io/metadata.name", name), ("team", team)];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            (name.to_owned(), Labels::from(labels))
        };
        Facts {
            pods: [
                pod("default", "web", "web", 2, 8080),
                pod("default", "client", "client", 3, 0),
                pod("others", "other", "client", 4, 9090),
            ]
            .into(),
            namespaces: [
                namespace("default", "a"),
                namespace("others", "b"),
                namespace("kube-system", "c"),
            ]
            .into(),
            policies: policies.into_iter().collect(),
        }
    }

    /// A policy.
    pub(in crate::policy) fn policy(namespace: &str, name: &str, spec: Value) -> Policy {
        let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec});
        Policy::read(&Object::new(object).expect("of the table")).expect("can be read")
    }
}
