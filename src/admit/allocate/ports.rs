//! Ports of the host for Services (`portallocator`, `allocNodePorts` in `.../storage/alloc.go`).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::path::FieldPath;
use super::super::validate::{ErrorList, FieldError};
use super::address::seed;
use crate::model::{Fnv, NODE_PORTS, Object, list_at};

/// The lowest numbers are for those who ask for one by themselves (`ServiceNodePortStaticSubrange`).
const STATIC: u16 = 86;

/// Gives each port of a Service that has none a port of the host, if the Service's type has them. `all` lists every Service there is; it
/// is called only if needed.
pub(super) fn give(service: &mut Object, all: impl Fn() -> Vec<Arc<Object>>) -> ErrorList {
    let mut errors = ErrorList::default();
    let is_missing = |port: &Value| node_port(port).is_none();
    if !has_node_ports(service) || !ports(service).iter().any(is_missing) {
        return errors;
    }
    let others = all().into_iter().filter(|other| other.key() != service.key());
    let mut taken: BTreeSet<u16> = others.flat_map(|other| numbers(&other).collect::<Vec<_>>()).collect();
    taken.extend(numbers(service));
    let mut wanted = ports(service).to_vec();
    for place in 0..wanted.len() {
        if node_port(&wanted[place]).is_some() {
            continue;
        }
        // TCP and UDP at one port of the Service are at one port of the host.
        let twin = wanted
            .iter()
            .find(|other| other["port"] == wanted[place]["port"] && node_port(other).is_some());
        let seed = format!("{}/{}", seed(service), wanted[place]["port"]);
        let Some(number) = twin.and_then(node_port).or_else(|| free_port(&seed, &taken)) else {
            let at = FieldPath::of(&["spec", "ports"]).index(place).field("nodePort");
            errors.push(FieldError::invalid(
                &at,
                &0,
                "failed to allocate a nodePort: range is full",
            ));
            return errors;
        };
        taken.insert(number);
        wanted[place]["nodePort"] = number.into();
    }
    service.value_mut()["spec"]["ports"] = wanted.into();
    errors
}

fn has_node_ports(service: &Object) -> bool {
    match service.text("/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service.at("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    }
}

fn ports(service: &Object) -> &[Value] {
    list_at(service.value(), "/spec/ports")
}

fn node_port(port: &Value) -> Option<u16> {
    port["nodePort"].as_u64()?.try_into().ok().filter(|number| *number > 0)
}

fn numbers(service: &Object) -> impl Iterator<Item = u16> {
    ports(service).iter().filter_map(node_port)
}

/// A free port, as `free_address` finds an address: the same Service gets the same again. When all others are taken, one of those that are
/// for who asks.
fn free_port(seed: &str, taken: &BTreeSet<u16>) -> Option<u16> {
    let (first, last) = NODE_PORTS;
    let dynamic = first + STATIC;
    let count = u32::from(last - dynamic) + 1;
    let start = Fnv::of(seed) % count;
    let turn = (0..count).map(|step| (start + step) % count);
    let numbers = turn.filter_map(|step| Some(dynamic + u16::try_from(step).ok()?));
    numbers.chain(first..dynamic).find(|number| !taken.contains(number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, spec: Value) -> Object {
        let metadata = json!({"name": name, "namespace": "default", "uid": format!("uid-of-{name}")});
        Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))
            .expect("a Service")
    }

    /// The node ports that a Service has then.
    fn given(spec: Value, others: Vec<Object>) -> Vec<Option<u16>> {
        let others: Vec<_> = others.into_iter().map(Arc::new).collect();
        let mut service = service("web", spec);
        assert!(give(&mut service, || others.clone()).is_empty());
        ports(&service).iter().map(node_port).collect()
    }

    #[test]
    fn a_service_gets_ports_that_nobody_has_and_the_same_again() {
        let spec = || json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "nodePort": 30001}]});
        let first = given(spec(), Vec::new());
        let number = first[0].expect("is given one");
        assert!((30_086..=32_767).contains(&number) && first[1] == Some(30_001));
        assert_eq!(given(spec(), Vec::new()), first);
        let other = service(
            "other",
            json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": number}]}),
        );
        let another = given(spec(), vec![other]);
        assert!(another[0].is_some() && another[0] != first[0]);
    }

    #[test]
    fn both_protocols_of_a_port_have_one_number() {
        let spec = json!({"type": "NodePort", "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}, {"port": 80}]});
        let given = given(spec, Vec::new());
        assert!(given[0].is_some() && given[0] == given[1] && given[2] != given[0]);
    }

    #[test]
    fn only_types_that_have_node_ports_get_them() {
        for (spec, expected) in [
            (json!({"type": "ClusterIP", "ports": [{"port": 80}]}), false),
            (json!({"type": "LoadBalancer", "ports": [{"port": 80}]}), true),
            (
                json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}),
                false,
            ),
            (
                json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
                true,
            ),
        ] {
            assert_eq!(given(spec.clone(), Vec::new())[0].is_some(), expected, "{spec}");
        }
    }

    #[test]
    fn a_full_range_is_told() {
        let all: Vec<Value> = (30_000..=32_767)
            .map(|number| json!({"port": number, "nodePort": number}))
            .collect();
        let full = service("full", json!({"type": "NodePort", "ports": all}));
        let full = vec![Arc::new(full)];
        let mut web = service("web", json!({"type": "NodePort", "ports": [{"port": 80}]}));
        let said = give(&mut web, || full.clone()).to_string();
        assert!(said.ends_with("failed to allocate a nodePort: range is full"), "{said}");
    }
}
