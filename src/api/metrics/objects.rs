//! `NodeMetrics` and `PodMetrics`. Pure.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::meter::{Metered, Rate};
use super::{GROUP, VERSION};
use crate::api::error::ApiError;
use crate::api::request::Target;
use crate::model::{Object, list_at, text_at};
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

/// `None` for a pod of which nothing runs.
pub(super) fn pod(pod: &Object, metered: &Metered, now: Timestamp) -> Option<Value> {
    let lists = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let statuses = lists.iter().flat_map(|list| list_at(pod.value(), list));
    let containers: Vec<Value> = statuses
        .filter_map(|status| {
            let id = text_at(status, "/containerID").strip_prefix("kubelocal://")?;
            let rate = metered.runs.get(&ContainerId(id.to_owned()))?;
            Some(json!({"name": text_at(status, "/name"), "usage": usage(*rate)}))
        })
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
