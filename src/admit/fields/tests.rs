use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::super::shape::paths_of;
use super::*;
use crate::model::{Honoured, KINDS, kind};

fn said(value: Value) -> Vec<String> {
    let kind = kind(
        value["apiVersion"].as_str().expect("set"),
        value["kind"].as_str().expect("set"),
    )
    .expect("known");
    notes(kind, &value)
        .into_iter()
        .map(|note| format!("{} {}: {}", note.severity, note.path, note.message))
        .collect()
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

#[test]
fn what_is_honoured_or_moot_is_quiet() {
    let spec = json!({
        "containers": [{
            "name": "a", "image": "b", "command": ["c"], "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "ports": [{"containerPort": 80}], "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}],
            "securityContext": {"capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationMessagePath": "/why", "terminationMessagePolicy": "FallbackToLogsOnError", "resources": {},
            "livenessProbe": {"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 1},
            "readinessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "a", "value": "b"}]}},
            "startupProbe": {"grpc": {"port": 80, "service": "s"}},
            "lifecycle": {"postStart": {"exec": {"command": ["x"]}}, "preStop": {"sleep": {"seconds": 1}}, "stopSignal": "SIGINT"},
        }],
        "initContainers": [{"name": "s", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}}],
        "readinessGates": [{"conditionType": "a/b"}], "activeDeadlineSeconds": 5,
        "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "x", "items": [{"key": "k", "path": "p", "mode": 256}]}},
            {"name": "d", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "p", "projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "m"}}]}}],
        "hostPID": false, "dnsPolicy": "ClusterFirst",
    });
    assert_eq!(said(pod(spec)), Vec::<String>::new());
}

#[test]
fn what_does_less_than_it_says_is_warned_of_at_its_path() {
    let spec = json!({
        "containers": [{
            "name": "a", "lifecycle": {"preStop": {"tcpSocket": {"port": 1}}}, "ports": [{"containerPort": 80, "hostPort": 8080}],
            "resources": {"limits": {"cpu": 1, "ephemeral-storage": "1Gi", "nvidia.com/gpu": 1}}, "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
        }],
        "schedulerName": "mine", "hostUsers": false,
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
        "dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true, "setHostnameAsFQDN": true,
    });
    assert_eq!(
        said(pod(spec)),
        [
            "warning spec.containers[0].lifecycle.preStop.tcpSocket: such a hook always fails, as in Kubernetes",
            "warning spec.dnsPolicy: approximated: with hostNetwork as Default, for Services, pods and their names are not reached from the host's network",
            "warning spec.hostUsers: not honoured yet: all pods share the user namespace of the node, or run in the host's when it is root's",
            "warning spec.schedulerName: not honoured: no other scheduler is waited for",
        ]
    );
}

#[test]
fn what_would_be_dangerous_to_leave_out_is_refused() {
    let spec = json!({
        "containers": [{"name": "a", "restartPolicyRules": [{"action": "RestartAllContainers"}]}],
        "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}, {"name": "w", "somethingNew": {"a": 1}},
            {"name": "t", "projected": {"sources": [{"clusterTrustBundle": {"path": "t", "name": "n"}}]}}],
        "resourceClaims": [{"name": "c"}],
    });
    let said = said(pod(spec));
    assert!(said.iter().all(|note| note.starts_with("error ")), "{said:#?}");
    assert_eq!(said.len(), 5, "{said:#?}");
}

#[test]
fn a_templates_fields_speak_as_a_pods_do() {
    let value = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 2, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"resourceClaims": [{"name": "c"}], "subdomain": "x", "containers": [{"name": "a", "ports": [{"containerPort": 1, "hostPort": 1}]}]}}},
    });
    assert_eq!(
        said(value),
        ["error spec.template.spec.resourceClaims: devices can't be claimed here"]
    );
}

#[test]
fn every_kind_on_which_something_acts_is_in_the_table() {
    for kind in KINDS.iter().filter(|kind| kind.honoured == Honoured::Acted) {
        assert!(RULES.contains_key(&(kind.group, kind.kind)), "{}", kind.kind);
    }
}

/// A pattern that names no field would silently do nothing.
#[test]
fn every_pattern_of_the_table_names_a_field_that_exists() {
    let shapes = [
        ("Pod", paths_of::<Pod>()),
        ("Deployment", paths_of::<Deployment>()),
        ("ReplicaSet", paths_of::<ReplicaSet>()),
    ];
    for (name, paths) in shapes {
        let (_, _, tables) = table::KINDS
            .iter()
            .find(|(_, kind, _)| *kind == name)
            .expect("in the table");
        for (prefix, entries) in tables.iter().filter(|(_, entries)| !is_shared(entries)) {
            for (pattern, _) in *entries {
                let full = [*prefix, *pattern]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(".");
                let is_type = matches!(full.as_str(), "apiVersion" | "kind");
                // Resources are keys of a map.
                let limits = full
                    .split_once(".limits.")
                    .map(|(parent, _)| format!("{parent}.limits"));
                let is_key = limits.is_some_and(|limits| paths.contains(&limits));
                assert!(
                    is_type || is_key || pattern.contains('*') || paths.contains(&full),
                    "{name}: {full}"
                );
            }
        }
    }
}

/// `data` and `type` stand in one list for all kinds that are honoured whole.
fn is_shared(entries: &[(&str, Say)]) -> bool {
    entries.iter().any(|(pattern, _)| *pattern == "binaryData")
}

#[test]
fn every_field_of_a_pod_is_honoured_or_spoken_of() {
    let kind = kind("v1", "Pod").expect("known");
    let rules = &RULES[&(kind.group, kind.kind)];
    let mut quiet = BTreeSet::new();
    for path in paths_of::<Pod>().iter().filter(|path| path.starts_with("spec.")) {
        if covering(rules, path).is_some_and(|say| matches!(say, Say::Honoured)) {
            let top: Vec<&str> = path.split('.').take(3).collect();
            quiet.insert(top.join("."));
        }
    }
    // Whoever makes the node honour a field, or stop doing so, changes this list knowingly.
    for (path, is_quiet) in [
        ("spec.containers[].image", true),
        ("spec.containers[].livenessProbe", true),
        ("spec.volumes[].nfs", false),
        ("spec.volumes[].secret", true),
        ("spec.hostPID", true),
        ("spec.resourceClaims", false),
    ] {
        assert_eq!(quiet.contains(path), is_quiet, "{path}");
    }
}

/// The entry that decides about a path.
fn covering(rules: &Rules, path: &str) -> Option<Say> {
    let (mut node, mut say) = (rules, None);
    for part in path.split('.') {
        let (field, is_list) = part.strip_suffix("[]").map_or((part, false), |field| (field, true));
        let Some(next) = node.child(field) else { return say };
        node = next;
        say = node.say.or(say);
        if let (true, Some(item)) = (is_list, node.children.get("[]")) {
            node = item;
            say = node.say.or(say);
        }
    }
    say
}

#[test]
fn what_a_service_does_not_do_is_warned_of() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    let plain = json!({
        "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http", "protocol": "UDP"}], "sessionAffinity": "ClientIP",
        "internalTrafficPolicy": "Local", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "publishNotReadyAddresses": true,
    });
    assert_eq!(said(service(plain)), Vec::<String>::new());
    let more = json!({
        "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "SCTP"}], "ipFamilies": ["IPv6"],
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}, "externalIPs": ["192.0.2.1"],
    });
    let more = said(service(more));
    assert_eq!(more.len(), 1, "protocol: {more:?}");
    let balanced = json!({
        "type": "LoadBalancer", "ports": [{"port": 80}], "loadBalancerIP": "192.0.2.1", "loadBalancerClass": "a/b",
        "loadBalancerSourceRanges": ["192.0.2.0/24"], "healthCheckNodePort": 30001, "allocateLoadBalancerNodePorts": false,
    });
    let balanced = said(service(balanced));
    assert_eq!(balanced.len(), 4, "{balanced:?}");
}

#[test]
fn annotations_for_podman_are_told_where_they_stand() {
    let annotated = |annotations: Value| {
        let mut pod = pod(json!({"containers": []}));
        pod["metadata"]["annotations"] = annotations;
        said(pod)
    };
    assert_eq!(annotated(json!({"example.com/a": "b"})), [""; 0]);
    let said =
        annotated(json!({"io.podman.annotations.userns": "keep-id", "io.containers.autoupdate/web": "registry"}));
    assert_eq!(
        said,
        [
            "warning metadata.annotations[io.containers.autoupdate/web]: not honoured: imagePullPolicy says when an image is asked for again",
            "warning metadata.annotations[io.podman.annotations.userns]: not honoured: all pods run in the user namespace of the node",
        ]
    );
}
