//! `NodeMetrics` and `PodMetrics`. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::meter::{Metered, Rate};
use super::{GROUP, VERSION};
use crate::api::error::ApiError;
use crate::api::request::Target;
use crate::model::{Object, list_at, object_time, text_at};
use crate::runtime::ContainerId;

fn usage(rate: Rate) -> Value {
    json!({"cpu": format!("{}n", rate.nano_cpu), "memory": format!("{}Ki", rate.memory_bytes / 1024)})
}

fn metrics(kind: &str, subject: &Object, metered: &Metered, now: Timestamp, own: (&str, Value)) -> Value {
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut metadata = json!({"name": subject.key().name, "creationTimestamp": time(now)});
    if !subject.key().namespace.is_empty() {
        metadata["namespace"] = json!(subject.key().namespace);
    }
    if let Some(labels) = subject.value().pointer("/metadata/labels") {
        metadata["labels"] = labels.clone();
    }
    let window = format!("{}ms", metered.window.as_millis());
    let mut value = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "metadata": metadata,
        "timestamp": time(metered.at), "window": window,
    });
    value[own.0] = own.1;
    value
}

pub(super) fn node(node: &Object, metered: &Metered, now: Timestamp) -> Value {
    metrics("NodeMetrics", node, metered, now, ("usage", usage(metered.node)))
}

/// The containers of a pod that run, by name.
fn rates<'a>(pod: &'a Object, metered: &Metered) -> Vec<(&'a str, Rate)> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists.iter().flat_map(|list| list_at(pod.value(), list));
    statuses
        .filter_map(|status| {
            let id = text_at(status, "/containerID").strip_prefix("kubelocal://")?;
            let rate = metered.runs.get(&ContainerId(id.to_owned()))?;
            Some((text_at(status, "/name"), *rate))
        })
        .collect()
}

/// What somebody uses, in the words of kubelet's summary.
fn stats(rate: Rate, at: Timestamp) -> Value {
    let time = object_time(at);
    json!({
        "cpu": {"time": time, "usageNanoCores": rate.nano_cpu},
        "memory": {"time": time, "workingSetBytes": rate.memory_bytes},
    })
}

/// A pod in kubelet's summary; `None` for one of which nothing runs.
pub(super) fn pod_stats(pod: &Object, metered: &Metered) -> Option<Value> {
    let rates = rates(pod, metered);
    let all = rates.iter().map(|(_, rate)| *rate).reduce(|all, rate| Rate {
        nano_cpu: all.nano_cpu + rate.nano_cpu,
        memory_bytes: all.memory_bytes + rate.memory_bytes,
    });
    let mut value = stats(all?, metered.at);
    let of_container = |(name, rate): &(&str, Rate)| {
        let mut container = stats(*rate, metered.at);
        container["name"] = json!(name);
        container
    };
    value["containers"] = rates.iter().map(of_container).collect();
    value["podRef"] = json!({"name": pod.key().name, "namespace": pod.key().namespace, "uid": pod.uid()});
    value["startTime"] = pod.text("/status/startTime").into();
    Some(value)
}

/// Kubelet's summary.
pub(super) fn summary(node: &Object, pods: Vec<Value>, metered: &Metered) -> Value {
    let mut of_node = stats(metered.node, metered.at);
    of_node["nodeName"] = json!(node.key().name);
    json!({"node": of_node, "pods": pods})
}

/// `None` for a pod of which nothing runs.
pub(super) fn pod(pod: &Object, metered: &Metered, now: Timestamp) -> Option<Value> {
    let rates = rates(pod, metered).into_iter();
    let containers: Vec<Value> = rates
        .map(|(name, rate)| json!({"name": name, "usage": usage(rate)}))
        .collect();
    (!containers.is_empty()).then(|| metrics("PodMetrics", pod, metered, now, ("containers", json!(containers))))
}

pub(super) fn list(subject: &str, items: Vec<Value>) -> Value {
    let api_version = format!("{GROUP}/{VERSION}");
    json!({"apiVersion": api_version, "kind": format!("{subject}MetricsList"), "metadata": {}, "items": items})
}

/// As the metrics server says it.
pub(super) fn not_measured(target: &Target) -> ApiError {
    let name = target.name.as_deref().unwrap_or_default();
    let name = match &target.namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    };
    let resource = format!("{}metrics.{GROUP}", target.kind.singular);
    ApiError::not_found_as(&resource, &name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::SignedDuration;

    use super::*;

    fn metered() -> Metered {
        let rate = Rate {
            nano_cpu: 12_345_678,
            memory_bytes: 3 << 20,
        };
        Metered {
            at: Timestamp::UNIX_EPOCH,
            window: SignedDuration::from_millis(1500),
            node: rate,
            runs: BTreeMap::from([(ContainerId("run".into()), rate)]),
        }
    }

    fn pod_with(statuses: Value) -> Object {
        let metadata = json!({"name": "web", "namespace": "x", "labels": {"app": "web"}});
        let value =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"containerStatuses": statuses}});
        Object::new(value).expect("a pod")
    }

    #[test]
    fn a_pods_metrics_are_those_of_its_running_containers() {
        let statuses = json!([
            {"name": "main", "containerID": "kubelocal://run"}, {"name": "ended", "containerID": "kubelocal://other"}, {"name": "waiting"},
        ]);
        let found = pod(&pod_with(statuses), &metered(), Timestamp::UNIX_EPOCH).expect("one runs");
        let expected = json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetrics",
            "metadata": {"name": "web", "namespace": "x", "labels": {"app": "web"}, "creationTimestamp": "1970-01-01T00:00:00Z"},
            "timestamp": "1970-01-01T00:00:00Z", "window": "1500ms",
            "containers": [{"name": "main", "usage": {"cpu": "12345678n", "memory": "3072Ki"}}],
        });
        assert_eq!(found, expected);
        assert_eq!(pod(&pod_with(json!([])), &metered(), Timestamp::UNIX_EPOCH), None);
    }
}
