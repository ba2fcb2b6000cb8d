//! What a pod asks of the node, as the scheduler counts it (`resourcehelper.PodRequests`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Object, Quantity, list_at};

/// Amounts by the names of resources.
pub(in crate::pod) type Requests = BTreeMap<String, Quantity>;

/// What a pod needs at its hungriest: all its containers with the sidecars, or an init container with the sidecars before it, whichever is
/// more; and what the pod asks for as a whole instead, where it does.
pub(in crate::pod) fn requests_of(pod: &Object) -> Requests {
    sum(pod, |container| read(container.pointer("/resources/requests")))
}

/// What a pod that is on the node has been given: what it asks for may have changed since.
pub(in crate::pod) fn given_to(pod: &Object) -> Requests {
    sum(pod, |container| {
        let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
        let mut statuses = lists.iter().flat_map(|list| list_at(pod.value(), list));
        let own = statuses.find(|status| status["name"] == container["name"]);
        let allocated = own.and_then(|status| status.get("allocatedResources"));
        read(allocated.or_else(|| container.pointer("/resources/requests")))
    })
}

/// What is kept for a pod on the node: what it has been given, and what it asks for if the node could ever give that.
pub(super) fn held_by(pod: &Object) -> Requests {
    let mut held = given_to(pod);
    let conditions = list_at(pod.value(), "/status/conditions");
    let is_infeasible = |c: &Value| c["type"] == "PodResizePending" && c["reason"] == "Infeasible";
    if !conditions.iter().any(is_infeasible) {
        raise(&mut held, &requests_of(pod));
    }
    held
}

fn sum(pod: &Object, of: impl Fn(&Value) -> Requests) -> Requests {
    let mut running = Requests::new();
    let mut peak = Requests::new();
    for init in list_at(pod.value(), "/spec/initContainers") {
        let own = of(init);
        let mut now = running.clone();
        add(&mut now, &own);
        if init["restartPolicy"] == "Always" {
            running = now.clone();
        }
        raise(&mut peak, &now);
    }
    for container in list_at(pod.value(), "/spec/containers") {
        add(&mut running, &of(container));
    }
    raise(&mut peak, &running);
    peak.extend(read(pod.at("/spec/resources/requests")));
    add(&mut peak, &read(pod.at("/spec/overhead")));
    peak
}

/// A list of quantities; `admit` lets no other text in.
pub(in crate::pod) fn read(list: Option<&Value>) -> Requests {
    let entries = list.and_then(Value::as_object).into_iter().flatten();
    let parsed = entries.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?)));
    parsed.collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}

/// Adds all of `more`.
pub(super) fn add(sum: &mut Requests, more: &Requests) {
    for (name, amount) in more {
        let total = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *total = *total + *amount;
    }
}

fn raise(peak: &mut Requests, other: &Requests) {
    for (name, amount) in other {
        let most = peak.entry(name.clone()).or_insert(Quantity::ZERO);
        *most = (*most).max(*amount);
    }
}
