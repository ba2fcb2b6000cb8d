use serde_json::{Value, json};

use super::super::typed::Typed;
use super::*;
use crate::model::kind;

fn typed(value: &Value) -> Typed {
    let kind = kind(
        value["apiVersion"].as_str().expect("set"),
        value["kind"].as_str().expect("set"),
    )
    .expect("known");
    Typed::decode(kind, value).expect("writable").expect("fits").0
}

fn defaulted(value: &Value) -> Value {
    let mut typed = typed(value);
    set_defaults(&mut typed);
    let once = typed.to_value();
    set_defaults(&mut typed);
    assert_eq!(typed.to_value(), once, "defaulting twice is defaulting once");
    once
}

#[test]
fn a_pod_gets_what_a_cluster_would_give_it() {
    let pod = defaulted(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "readinessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "e"}, {"name": "s", "secret": {"secretName": "x"}}, {"name": "h", "hostPath": {"path": "/"}}],
        }}),
    );
    assert_eq!(
        pod["spec"],
        json!({
            "containers": [{
                "name": "c", "image": "nginx", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "volumes": [{"name": "e", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}}, {"name": "h", "hostPath": {"path": "/", "type": ""}}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
            "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccount": "default",
            "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
        })
    );
}

#[test]
fn the_pull_policy_depends_on_the_tag() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("localhost:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0000", "IfNotPresent"),
        ("nginx:latest@sha256:0000", "IfNotPresent"),
    ] {
        assert_eq!(default_pull_policy(image), policy, "{image}");
    }
}

#[test]
fn with_the_hosts_network_ports_are_the_hosts() {
    let pod = defaulted(
        &json!({"apiVersion": "v1", "kind": "Pod", "spec": {"hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}}),
    );
    assert_eq!(
        pod["spec"]["containers"][0]["ports"],
        json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}])
    );
}

#[test]
fn a_template_gets_less_than_a_pod() {
    let deployment = defaulted(
        &json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": "a:1"}]}}}}),
    );
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["restartPolicy"], "Always");
    for absent in ["enableServiceLinks", "tolerations", "priority", "serviceAccountName"] {
        assert_eq!(spec.get(absent), None, "{absent}");
    }
    assert_eq!(
        deployment["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(
        (
            &deployment["spec"]["replicas"],
            &deployment["spec"]["progressDeadlineSeconds"]
        ),
        (&json!(1), &json!(600))
    );
}

#[test]
fn other_kinds_get_their_defaults() {
    let secret = defaulted(&json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "hi"}}));
    assert_eq!(
        (&secret["type"], &secret["data"]),
        (&json!("Opaque"), &json!({"a": "aGk="}))
    );
    let service = defaulted(
        &json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "NodePort", "ports": [{"port": 80}]}}),
    );
    assert_eq!(
        service["spec"],
        json!({
            "type": "NodePort", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}],
        })
    );
    let namespace = defaulted(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}));
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
}

#[test]
fn node_ports_stay_until_the_type_has_none() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
    let given = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]});
    let after = |spec: Value| {
        let (mut new, old) = (typed(&service(spec)), typed(&service(given.clone())));
        set_defaults(&mut new);
        let mut before = old;
        set_defaults(&mut before);
        keep_allocated(&mut new, &before);
        let ports = new.to_value()["spec"]["ports"].clone();
        let ports = ports.as_array().cloned().unwrap_or_default();
        ports
            .into_iter()
            .map(|port| port["nodePort"].as_i64())
            .collect::<Vec<_>>()
    };
    for (spec, expected) in [
        (
            json!({"type": "NodePort", "ports": [{"name": "b", "port": 81}, {"name": "c", "port": 82}]}),
            vec![Some(30002), None],
        ),
        (
            json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
            vec![Some(30001)],
        ),
        (
            json!({"type": "NodePort", "ports": [{"name": "x", "port": 82, "nodePort": 30001}, {"name": "a", "port": 80}]}),
            vec![Some(30001), None],
        ),
        (
            json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30001}]}),
            vec![None],
        ),
        (
            json!({"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30009}]}),
            vec![Some(30009)],
        ),
    ] {
        assert_eq!(after(spec.clone()), expected, "{spec}");
    }
}
