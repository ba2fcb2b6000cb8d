//! Rows of every kind; a case shows only what it is about.

use super::pods::summarize;
use super::*;

const NOW: &str = "2026-01-02T00:10:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a timestamp")
}

/// The cells of one object in `NAME` order, as text.
fn cells(group: &str, plural: &str, mut object: Value) -> Vec<String> {
    object["metadata"]["name"] = json!("x");
    if object.pointer("/metadata/creationTimestamp").is_none() {
        object["metadata"]["creationTimestamp"] = json!("2026-01-02T00:05:00Z");
    }
    let table = table_for(group, plural);
    let row = (table.row)(&object, now());
    assert_eq!(row.len(), table.columns.len(), "a cell for every column");
    row.iter()
        .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
        .collect()
}

/// A pod with `n` containers and a status.
fn pod(n: usize, status: Value) -> Value {
    let containers: Vec<Value> = (0..n).map(|i| json!({"name": format!("c{i}")})).collect();
    json!({"spec": {"containers": containers}, "status": status})
}

fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    pod.pointer_mut(parent).expect("the parent is there")[field] = value;
    pod
}

fn running() -> Value {
    json!({"ready": true, "restartCount": 0, "state": {"running": {}}})
}

fn waiting(reason: &str) -> Value {
    json!({"ready": false, "restartCount": 3, "state": {"waiting": {"reason": reason}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-02T00:09:00Z"}}})
}

fn terminated(state: Value) -> Value {
    json!({"ready": false, "restartCount": 0, "state": {"terminated": state}})
}

#[test]
fn pod_status_ready_and_restarts_follow_kubernetes() {
    let completed = || terminated(json!({"exitCode": 0, "reason": "Completed"}));
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let cases: Vec<(&str, Value, &str, &str, i64)> = vec![
        (
            "nothing known yet",
            pod(1, json!({"phase": "Pending"})),
            "Pending",
            "0/1",
            0,
        ),
        (
            "the status's reason beats the phase",
            pod(1, json!({"phase": "Failed", "reason": "Evicted"})),
            "Evicted",
            "0/1",
            0,
        ),
        (
            "gated by scheduling gates",
            pod(
                1,
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            ),
            "SchedulingGated",
            "0/1",
            0,
        ),
        (
            "all run",
            pod(
                2,
                json!({"phase": "Running", "containerStatuses": [running(), running()]}),
            ),
            "Running",
            "2/2",
            0,
        ),
        (
            "one waits: its reason shows and restarts are summed",
            pod(
                2,
                json!({"phase": "Running", "containerStatuses": [running(), waiting("CrashLoopBackOff")]}),
            ),
            "CrashLoopBackOff",
            "1/2",
            3,
        ),
        (
            "the first container's trouble wins",
            pod(
                2,
                json!({"phase": "Pending", "containerStatuses": [waiting("ErrImageNeverPull"), waiting("Other")]}),
            ),
            "ErrImageNeverPull",
            "0/2",
            6,
        ),
        (
            "ended with a signal and no reason",
            pod(
                1,
                json!({"phase": "Failed", "containerStatuses": [terminated(json!({"exitCode": 137, "signal": 9}))]}),
            ),
            "Signal:9",
            "0/1",
            0,
        ),
        (
            "ended with a code and no reason",
            pod(
                1,
                json!({"phase": "Failed", "containerStatuses": [terminated(json!({"exitCode": 3}))]}),
            ),
            "ExitCode:3",
            "0/1",
            0,
        ),
        (
            "one of two is done and the pod is ready",
            pod(
                2,
                json!({"phase": "Running", "conditions": ready, "containerStatuses": [completed(), running()]}),
            ),
            "Running",
            "1/2",
            0,
        ),
        (
            "one of two is done and the pod is not ready",
            pod(
                2,
                json!({"phase": "Running", "containerStatuses": [completed(), running()]}),
            ),
            "NotReady",
            "1/2",
            0,
        ),
        (
            "deleted",
            with(
                with(
                    pod(1, json!({"phase": "Running", "containerStatuses": [running()]})),
                    "/metadata",
                    json!({}),
                ),
                "/metadata/deletionTimestamp",
                json!(NOW),
            ),
            "Terminating",
            "1/1",
            0,
        ),
        (
            "deleted but already over",
            with(
                with(
                    pod(1, json!({"phase": "Succeeded", "containerStatuses": [completed()]})),
                    "/metadata",
                    json!({}),
                ),
                "/metadata/deletionTimestamp",
                json!(NOW),
            ),
            "Completed",
            "0/1",
            0,
        ),
    ];
    for (what, pod, status, ready, restarts) in cases {
        let summary = summarize(&pod);
        assert_eq!(summary.status, status, "{what}");
        assert_eq!(format!("{}/{}", summary.ready, summary.total), ready, "{what}");
        assert_eq!(summary.restarts, restarts, "{what}");
    }
}

#[test]
fn pod_status_follows_init_containers_in_order() {
    let init = |statuses: Value| {
        let pod = pod(1, json!({"phase": "Pending", "initContainerStatuses": statuses}));
        with(pod, "/spec/initContainers", json!([{"name": "a"}, {"name": "b"}]))
    };
    let named = |name: &str, mut status: Value| {
        status["name"] = json!(name);
        status
    };
    let done = || named("a", terminated(json!({"exitCode": 0})));
    let cases = [
        (init(json!([named("a", waiting("PodInitializing"))])), "Init:0/2"),
        (
            init(json!([done(), named("b", json!({"state": {"running": {}}}))])),
            "Init:1/2",
        ),
        (
            init(json!([done(), named("b", waiting("ImagePullBackOff"))])),
            "Init:ImagePullBackOff",
        ),
        (
            init(json!([named(
                "a",
                terminated(json!({"exitCode": 1, "reason": "Error"}))
            )])),
            "Init:Error",
        ),
        (
            init(json!([named("a", terminated(json!({"exitCode": 7})))])),
            "Init:ExitCode:7",
        ),
        (
            init(json!([named("a", terminated(json!({"exitCode": 137, "signal": 9})))])),
            "Init:Signal:9",
        ),
    ];
    for (pod, status) in cases {
        assert_eq!(summarize(&pod).status, status);
    }
}

#[test]
fn a_started_sidecar_counts_as_a_container() {
    let pod = pod(
        1,
        json!({"phase": "Running", "containerStatuses": [running()], "initContainerStatuses": [
        {"name": "s", "started": true, "ready": true, "restartCount": 2, "state": {"running": {}}}]}),
    );
    let pod = with(
        pod,
        "/spec/initContainers",
        json!([{"name": "s", "restartPolicy": "Always"}]),
    );
    let summary = summarize(&pod);
    assert_eq!((summary.ready, summary.total, summary.restarts), (2, 2, 2));
}

#[test]
fn restarts_say_when_the_last_one_was() {
    let object = pod(
        1,
        json!({"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]}),
    );
    let row = cells("", "pods", object);
    let wanted = [
        "x",
        "0/1",
        "CrashLoopBackOff",
        "3 (60s ago)",
        "5m",
        "<none>",
        "<none>",
        "<none>",
        "<none>",
    ];
    assert_eq!(row, wanted);
}

#[test]
fn a_pod_that_ended_is_marked_completed_in_its_row() {
    let table = table_for("", "pods").render(
        [&pod(1, json!({"phase": "Succeeded"}))],
        IncludeObject::None,
        json!({}),
        true,
        now(),
    );
    assert_eq!(table["rows"][0]["conditions"][0]["reason"], "Succeeded");
}

#[test]
fn every_kind_shows_kubernetes_own_columns() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j"}]}});
    let selector = json!({"matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}]});
    let workload = json!({"spec": {"replicas": 3, "selector": selector, "template": template},
        "status": {"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}});
    let selected = "app=web,tier in (a,b)";
    let cases: Vec<(&str, &str, Value, Vec<&str>)> = vec![
        (
            "apps",
            "deployments",
            workload.clone(),
            vec!["x", "2/3", "1", "2", "5m", "a,b", "i:1,j", selected],
        ),
        (
            "apps",
            "replicasets",
            workload,
            vec!["x", "3", "3", "2", "5m", "a,b", "i:1,j", selected],
        ),
        (
            "",
            "configmaps",
            json!({"data": {"a": "1"}, "binaryData": {"b": ""}}),
            vec!["x", "2", "5m"],
        ),
        (
            "",
            "secrets",
            json!({"type": "Opaque", "data": {"a": ""}}),
            vec!["x", "Opaque", "1", "5m"],
        ),
        (
            "",
            "namespaces",
            json!({"status": {"phase": "Active"}}),
            vec!["x", "Active", "5m"],
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"], "selector": {"app": "web"},
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            vec![
                "x",
                "NodePort",
                "10.0.0.1",
                "<none>",
                "80:30080/TCP,53/UDP",
                "5m",
                "app=web",
            ],
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer"}}),
            vec!["x", "LoadBalancer", "<none>", "<pending>", "<none>", "5m", "<none>"],
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "ExternalName", "externalName": "a.example"}}),
            vec!["x", "ExternalName", "<none>", "a.example", "<none>", "5m", "<none>"],
        ),
        (
            "",
            "persistentvolumeclaims",
            json!({"spec": {"volumeName": "v", "volumeMode": "Filesystem", "storageClassName": "std"}, "status": {
                "phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
            vec![
                "x",
                "Bound",
                "v",
                "1Gi",
                "RWO,RWX",
                "std",
                "<unset>",
                "5m",
                "Filesystem",
            ],
        ),
        (
            "",
            "nodes",
            json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}],
                "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "Debian"}}}),
            vec![
                "x",
                "Ready",
                "a,control-plane",
                "5m",
                "v1.37.0",
                "10.0.0.2",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>",
            ],
        ),
        (
            "",
            "events",
            json!({"type": "Normal", "reason": "Started", "message": " hi\n", "count": 4,
                "firstTimestamp": "2026-01-02T00:00:00Z", "lastTimestamp": "2026-01-02T00:09:30Z",
                "involvedObject": {"kind": "Pod", "name": "web"}, "source": {"component": "kubelet", "host": "n"}}),
            vec![
                "30s",
                "Normal",
                "Started",
                "pod/web",
                "",
                "kubelet, n",
                "hi",
                "10m",
                "4",
                "x",
            ],
        ),
        (
            "kubelocal.dev",
            "manifestsources",
            json!({"spec": {"paths": ["/a", "/b"]}, "status": {"objects": [{}, {}],
                "problems": [{"severity": "error"}, {"severity": "warning"}, {"severity": "warning"}],
                "conditions": [{"type": "Synced", "status": "False", "reason": "Invalid"}]}}),
            vec!["x", "Invalid", "2", "1", "2", "/a,/b", "5m"],
        ),
        (
            "autoscaling",
            "horizontalpodautoscalers",
            json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 5, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
                {"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "30"}}},
                {"type": "External"}]},
                "status": {"currentReplicas": 2, "currentMetrics": [{"resource": {"current": {"averageUtilization": 10}}}]}}),
            vec![
                "x",
                "Deployment/web",
                "cpu: 10%/80%, <unknown>/30 + 1 more...",
                "<unset>",
                "5",
                "2",
                "5m",
            ],
        ),
        (
            "",
            "resourcequotas",
            json!({"status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1"}}}),
            vec!["x", "pods: 1/4", "limits.cpu: 0/2", "5m"],
        ),
        (
            "scheduling.k8s.io",
            "priorityclasses",
            json!({"value": 1000}),
            vec!["x", "1000", "false", "5m", "PreemptLowerPriority"],
        ),
        ("batch", "jobs", json!({}), vec!["x", "5m"]),
    ];
    for (group, plural, object, wanted) in cases {
        assert_eq!(cells(group, plural, object), wanted, "{plural}");
    }
}

#[test]
fn every_kind_of_the_table_of_kinds_has_rows_that_survive_an_empty_object() {
    for kind in crate::model::KINDS {
        let table = table_for(kind.group, kind.plural);
        assert_eq!(
            (table.row)(&json!({}), now()).len(),
            table.columns.len(),
            "{}",
            kind.plural
        );
    }
}

#[test]
fn a_row_carries_as_much_of_its_object_as_was_asked_for() {
    let object = json!({"metadata": {"name": "x"}, "data": {"a": "1"}});
    let render = |include| table_for("", "configmaps").render([&object], include, json!({}), false, now());
    assert_eq!(render(IncludeObject::None)["rows"][0].get("object"), None);
    let metadata = render(IncludeObject::Metadata);
    assert_eq!(metadata["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(metadata["rows"][0]["object"].get("data"), None);
    assert_eq!(render(IncludeObject::Object)["rows"][0]["object"], object);
    assert_eq!(
        metadata["columnDefinitions"],
        Value::Null,
        "later events of a watch need no columns"
    );
}

#[test]
fn an_unknown_include_object_is_refused_in_the_servers_words() {
    assert_eq!(
        IncludeObject::parse("x"),
        Err("unrecognized includeObject value: \"x\"".to_owned())
    );
    assert_eq!(IncludeObject::parse(""), Ok(IncludeObject::Metadata));
}

#[test]
fn small_kinds_have_the_columns_of_kubernetes() {
    let rbac = "rbac.authorization.k8s.io";
    let binding = json!({"roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}, {"kind": "Group", "name": "g"}]});
    let owned = json!({"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}]}, "revision": 3});
    for (group, plural, object, expected) in [
        ("", "serviceaccounts", json!({}), vec!["x", "0", "5m"]),
        (rbac, "roles", json!({}), vec!["x", "2026-01-02T00:05:00Z"]),
        (rbac, "rolebindings", binding, vec!["x", "Role/r", "5m", "", "g", "n/s"]),
        (
            "policy",
            "poddisruptionbudgets",
            json!({"spec": {"minAvailable": "50%"}}),
            vec!["x", "50%", "N/A", "0", "5m"],
        ),
        (
            "coordination.k8s.io",
            "leases",
            json!({"spec": {"holderIdentity": "me"}}),
            vec!["x", "me", "5m"],
        ),
        (
            "apps",
            "controllerrevisions",
            owned,
            vec!["x", "statefulset.apps/db", "3", "5m"],
        ),
    ] {
        assert_eq!(cells(group, plural, object), expected, "{plural}");
    }
}
