//! Quality of service: who goes first when the machine runs short.

use k8s_openapi::api::core::v1::Pod;

/// Guaranteed, Burstable or BestEffort (`k8s.io/component-helpers` `qos.ComputePodQOS`): by cpu and memory of every container.
pub fn qos_class(pod: &Pod) -> &'static str {
    let spec = pod.spec.as_ref();
    let all = spec
        .into_iter()
        .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let (mut any, mut every) = (false, true);
    for container in all {
        let resources = container.resources.clone().unwrap_or_default();
        let limits = resources.limits.unwrap_or_default();
        let requests = resources.requests.unwrap_or_default();
        for name in ["cpu", "memory"] {
            let (limit, request) = (limits.get(name), requests.get(name));
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
