//! A Service's pods as endpoints (`endpointslice` `podToEndpoint`, `getEndpointPorts`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Group;
use crate::controller::pods::{is_terminal, ready_since};
use crate::model::{Family, Object, list_at, pod_ips};

/// The endpoints of pods by their addresses of a family, by the ports that they have: a port's name may mean another number in each pod.
/// Never empty: a Service that leads nowhere has one group without endpoints.
pub(super) fn plan_groups(service: &Object, pods: &[Arc<Object>], family: Family) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let reachable = pods.iter().filter_map(|pod| Some((pod, address_of(pod, family)?)));
    for (pod, ip) in reachable {
        let ports = ports(service, pod);
        let key = Value::from(ports.clone()).to_string();
        let group = groups.entry(key).or_insert_with(|| Group {
            family,
            ports,
            endpoints: Vec::new(),
        });
        group.endpoints.push(endpoint(service, pod, ip));
    }
    if groups.is_empty() {
        return vec![Group::of(family)];
    }
    groups.into_values().collect()
}

/// Where packets of a family go, if they have somewhere to go.
fn address_of(pod: &Object, family: Family) -> Option<IpAddr> {
    let mut ips = pod_ips(pod).filter(|_| !is_terminal(pod));
    ips.find(|ip| Family::of(*ip) == family)
}

fn endpoint(service: &Object, pod: &Object, ip: IpAddr) -> Value {
    let serves = ready_since(pod).is_some();
    let always = service.at("/spec/publishNotReadyAddresses") == Some(&Value::Bool(true));
    let is_ending = pod.is_deleting();
    let key = pod.key();
    let mut endpoint = json!({
        "addresses": [ip],
        "conditions": {
            "ready": always || (serves && !is_ending),
            "serving": serves,
            "terminating": is_ending,
        },
        "nodeName": pod.text("/spec/nodeName"),
        "targetRef": {"kind": "Pod", "namespace": key.namespace, "name": key.name, "uid": pod.uid()},
    });
    // Only a pod that says so has a name in the Service's domain.
    if pod.text("/spec/subdomain") == service.key().name && !pod.text("/spec/hostname").is_empty() {
        endpoint["hostname"] = pod.text("/spec/hostname").into();
    }
    endpoint
}

/// The Service's ports as numbers of this pod's; one whose name the pod does not have is left out.
fn ports(service: &Object, pod: &Object) -> Vec<Value> {
    let ports = list_at(service.value(), "/spec/ports").iter();
    ports
        .filter_map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            let number = match &port["targetPort"] {
                Value::String(name) => named_port(pod, name, protocol)?,
                Value::Number(number) if number.as_i64() != Some(0) => number.as_i64()?,
                _ => port["port"].as_i64()?,
            };
            let name = port["name"].as_str().unwrap_or_default();
            let mut resolved = json!({"name": name, "port": number, "protocol": protocol});
            if let Some(app) = port.get("appProtocol").filter(|app| !app.is_null()) {
                resolved["appProtocol"] = app.clone();
            }
            Some(resolved)
        })
        .collect()
}

/// A port of a pod by its name (`podutil.FindPort`): of its containers, then of its sidecars.
fn named_port(pod: &Object, name: &str, protocol: &str) -> Option<i64> {
    let list = |at: &str| list_at(pod.value(), at).iter();
    let sidecars = list("/spec/initContainers").filter(|container| container["restartPolicy"] == "Always");
    let ports = list("/spec/containers")
        .chain(sidecars)
        .flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let is_it = |port: &&Value| port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol;
    let mut found = ports.filter(is_it);
    found.next()?["containerPort"].as_i64()
}
