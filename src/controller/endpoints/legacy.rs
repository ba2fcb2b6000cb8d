//! Endpoints objects: what slices were before there were slices. Made for Services with a selector, and read where people made them.

use serde_json::{Map, Value, json};

use super::{Group, kind_of_endpoints};
use crate::controller::plan::{Plan, Write};
use crate::model::{Family, Object, list_at};

/// On objects that are made here (`LabelManagedBy`).
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const OURS: &str = "endpoint-controller";
/// How many addresses such an object has at most (`maxCapacity`).
const MOST: usize = 1000;

/// Whether it was made here.
pub(super) fn is_ours(endpoints: &Object) -> bool {
    endpoints.labels().get(MANAGED_BY) == Some(&OURS)
}

/// Makes the Endpoints object of a Service be what its slices are.
pub(super) fn plan(service: &Object, groups: &[Group], present: Option<&Object>, plan: &mut Plan) {
    let mut labels = json!(service.labels());
    labels[MANAGED_BY] = OURS.into();
    let subsets: Vec<Value> = groups.iter().filter_map(subset).collect();
    let Some(present) = present else {
        let metadata = json!({"name": service.key().name, "namespace": service.key().namespace, "labels": labels});
        let kind = kind_of_endpoints();
        let mut value = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata});
        set_subsets(&mut value, subsets);
        plan.write(Write::Create(
            Object::new(value).expect("a kind of the table, with a name"),
        ));
        return;
    };
    let mut wanted = present.clone();
    wanted.metadata_mut().insert("labels".into(), labels);
    set_subsets(wanted.value_mut(), subsets);
    if wanted != *present {
        plan.write(Write::Update(wanted));
    }
}

fn set_subsets(value: &mut Value, subsets: Vec<Value>) {
    let object = value.as_object_mut().expect("objects are JSON objects");
    if subsets.is_empty() {
        object.remove("subsets");
    } else {
        object.insert("subsets".to_owned(), subsets.into());
    }
}

/// Endpoints that end are in slices only.
fn subset(group: &Group) -> Option<Value> {
    let mut subset = Map::new();
    for (field, is_ready) in [("addresses", true), ("notReadyAddresses", false)] {
        let chosen = group.endpoints.iter().filter(|endpoint| {
            let conditions = &endpoint["conditions"];
            conditions["ready"] == is_ready && (is_ready || conditions["terminating"] == false)
        });
        let addresses: Vec<Value> = chosen.take(MOST).map(address).collect();
        if !addresses.is_empty() {
            subset.insert(field.to_owned(), addresses.into());
        }
    }
    if subset.is_empty() {
        return None;
    }
    let ports = group.ports.iter().map(|port| {
        let mut port = port.clone();
        if port["name"] == "" {
            port.as_object_mut().map(|port| port.remove("name"));
        }
        port
    });
    let ports: Vec<Value> = ports.collect();
    if !ports.is_empty() {
        subset.insert("ports".to_owned(), ports.into());
    }
    Some(subset.into())
}

fn address(endpoint: &Value) -> Value {
    let mut address = json!({"ip": endpoint["addresses"][0]});
    copy_target(endpoint, &mut address);
    address
}

/// What both forms say of where an address is.
fn copy_target(from: &Value, to: &mut Value) {
    for field in ["hostname", "nodeName", "targetRef"] {
        if let Some(value) = from.get(field) {
            to[field] = value.clone();
        }
    }
}

/// What a hand-made object says, as slices do. One group for each of its subsets, and for each family that is in it.
pub(super) fn groups(endpoints: &Object) -> Vec<Group> {
    let of = |family| {
        let subsets = list_at(endpoints.value(), "/subsets").iter();
        let groups = subsets.map(move |subset| group(subset, family));
        // The first family is there in any case, so that the object has a slice.
        groups.filter(move |group| family == Family::V4 || !group.endpoints.is_empty())
    };
    Family::BOTH.into_iter().flat_map(of).collect()
}

fn group(subset: &Value, family: Family) -> Group {
    let list = |field: &str| subset[field].as_array().cloned().unwrap_or_default();
    let of = |field: &str, is_ready: bool| {
        list(field)
            .into_iter()
            // Slices have one family of addresses.
            .filter(move |address| {
                address["ip"].as_str().and_then(|ip| ip.parse().ok()).map(Family::of) == Some(family)
            })
            .map(move |address| {
                let mut endpoint = json!({
                    "addresses": [address["ip"]],
                    "conditions": {"ready": is_ready, "serving": is_ready, "terminating": false},
                });
                copy_target(&address, &mut endpoint);
                endpoint
            })
    };
    let mut ports = list("ports");
    for port in &mut ports {
        if port["name"].is_null() {
            port["name"] = "".into();
        }
    }
    Group {
        family,
        ports,
        endpoints: of("addresses", true).chain(of("notReadyAddresses", false)).collect(),
    }
}
