//! Quality of service: who goes first when the machine runs short.

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};

use super::Quantity;

/// Guaranteed, Burstable or BestEffort (`k8s.io/component-helpers` `qos.ComputePodQOS`): by cpu and memory of every container, or of
/// the pod as a whole where it says so itself. Zero is as good as nothing.
pub fn qos_class(pod: &Pod) -> &'static str {
    let Some(spec) = pod.spec.as_ref() else {
        return "BestEffort";
    };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    match &spec.resources {
        Some(of_pod) => class_of([Some(of_pod)]),
        None => class_of(containers.map(|container| container.resources.as_ref())),
    }
}

fn class_of<'a>(all: impl IntoIterator<Item = Option<&'a ResourceRequirements>>) -> &'static str {
    let (mut any, mut every) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let amount = |amounts: Option<&std::collections::BTreeMap<String, _>>| {
                let text: &k8s_openapi::apimachinery::pkg::api::resource::Quantity = amounts?.get(name)?;
                Quantity::parse(&text.0).filter(|amount| *amount > Quantity::ZERO)
            };
            let limit = amount(resources.and_then(|r| r.limits.as_ref()));
            let request = amount(resources.and_then(|r| r.requests.as_ref()));
            any |= limit.is_some() || request.is_some();
            every &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, every) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        let both = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
        let full = json!({"limits": both("1", "1Gi"), "requests": both("1000m", "1024Mi")});
        let of = |resources: Value| json!({"name": "c", "resources": resources});
        for (spec, class) in [
            (json!({"containers": [of(json!({}))]}), "BestEffort"),
            (
                json!({"containers": [of(json!({"requests": {"cpu": "0"}}))]}),
                "BestEffort",
            ),
            (json!({"containers": [of(full.clone())]}), "Guaranteed"),
            (json!({"containers": [of(full.clone()), of(json!({}))]}), "Burstable"),
            (
                json!({"containers": [of(full.clone())], "initContainers": [of(json!({}))]}),
                "Burstable",
            ),
            (
                json!({"containers": [of(json!({"limits": {"memory": "1Gi"}}))]}),
                "Burstable",
            ),
            (json!({"containers": [of(json!({}))], "resources": full}), "Guaranteed"),
            (
                json!({"containers": [of(full.clone())], "resources": {"requests": {"cpu": 1}}}),
                "Burstable",
            ),
        ] {
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a pod");
            assert_eq!(qos_class(&pod), class, "{spec}");
        }
    }
}
