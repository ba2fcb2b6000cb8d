//! Which addresses objects say they have.

use std::net::IpAddr;

use serde_json::Value;

use super::{Object, list_at};

/// The addresses of a Service, the first one first.
pub fn cluster_ips(service: &Object) -> impl Iterator<Item = IpAddr> {
    let others = list_at(service.value(), "/spec/clusterIPs").iter().skip(1);
    let others = others.filter_map(Value::as_str);
    let all = [service.text("/spec/clusterIP")].into_iter().chain(others);
    all.filter_map(|ip| ip.parse().ok())
}

/// The addresses of a pod, the first one first.
pub fn pod_ips(pod: &Object) -> impl Iterator<Item = IpAddr> {
    let others = list_at(pod.value(), "/status/podIPs").iter().skip(1);
    let others = others.filter_map(|one| one["ip"].as_str());
    let all = [pod.text("/status/podIP")].into_iter().chain(others);
    all.filter_map(|ip| ip.parse().ok())
}
