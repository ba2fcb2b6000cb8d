//! What a pod asks of the node, as the scheduler counts it (`resourcehelper.PodRequests`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{Object, Quantity, list_at};

/// Amounts by the names of resources.
pub(super) type Requests = BTreeMap<String, Quantity>;

/// What a pod needs at its hungriest: all its containers with the sidecars, or an init container with the sidecars before it, whichever is
/// more; and what the pod asks for as a whole instead, where it does.
pub(super) fn requests_of(pod: &Object) -> Requests {
    let mut running = Requests::new();
    let mut peak = Requests::new();
    for init in list_at(pod.value(), "/spec/initContainers") {
        let own = read(init.pointer("/resources/requests"));
        let mut now = running.clone();
        add(&mut now, &own);
        if init["restartPolicy"] == "Always" {
            running = now.clone();
        }
        raise(&mut peak, &now);
    }
    for container in list_at(pod.value(), "/spec/containers") {
        add(&mut running, &read(container.pointer("/resources/requests")));
    }
    raise(&mut peak, &running);
    peak.extend(read(pod.at("/spec/resources/requests")));
    add(&mut peak, &read(pod.at("/spec/overhead")));
    peak
}

/// A list of quantities; `admit` lets no other text in.
pub(super) fn read(list: Option<&Value>) -> Requests {
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
