use serde_json::{Value, json};

use super::super::defaults::set_defaults;
use super::*;
use crate::model::kind;

fn typed(value: &Value) -> (&'static Kind, Typed) {
    let kind = kind(
        value["apiVersion"].as_str().expect("set"),
        value["kind"].as_str().expect("set"),
    )
    .expect("known");
    let (mut typed, unknown) = Typed::decode(kind, value).expect("writable").expect("fits");
    assert_eq!(unknown, []);
    set_defaults(&mut typed);
    (kind, typed)
}

fn errors(value: &Value) -> Vec<String> {
    let (kind, typed) = typed(value);
    validate(kind, &typed).iter().map(FieldError::to_string).collect()
}

fn object(version: &str, kind: &str, rest: Value) -> Value {
    let mut value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
    if kind != "Namespace" {
        value["metadata"]["namespace"] = json!("default");
    }
    for (field, inner) in rest.as_object().expect("fields") {
        value[field] = inner.clone();
    }
    value
}

fn pod(spec: Value) -> Value {
    let mut value = object(
        "v1",
        "Pod",
        json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
    );
    for (field, inner) in spec.as_object().expect("fields") {
        value["spec"][field] = inner.clone();
    }
    value
}

/// A pod with one container that has these fields beside name and image.
fn container(fields: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    for (field, inner) in fields.as_object().expect("fields") {
        container[field] = inner.clone();
    }
    pod(json!({"containers": [container]}))
}

fn deployment(spec: Value) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut value = object(
        "apps/v1",
        "Deployment",
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}),
    );
    for (field, inner) in spec.as_object().expect("fields") {
        value["spec"][field] = inner.clone();
    }
    value
}

#[test]
fn valid_objects_have_no_errors() {
    for value in [
        pod(json!({})),
        deployment(json!({"strategy": {"type": "Recreate"}})),
        object("v1", "ConfigMap", json!({"data": {"a.b": "x"}})),
        object("v1", "Secret", json!({"stringData": {"a": "x"}})),
        object("v1", "Namespace", json!({})),
        object("v1", "Service", json!({"spec": {"ports": [{"port": 80}]}})),
        object(
            "v1",
            "PersistentVolumeClaim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
    ] {
        assert_eq!(errors(&value), Vec::<String>::new(), "{value}");
    }
}

#[test]
fn metadata_is_checked_as_upstream_does() {
    let with = |metadata: Value| errors(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}));
    assert_eq!(
        with(json!({"namespace": "d"})),
        ["metadata.name: Required value: name or generateName is required"]
    );
    assert_eq!(with(json!({"name": "a"})), ["metadata.namespace: Required value"]);
    assert!(
        with(json!({"name": "A_b", "namespace": "d"}))[0]
            .starts_with("metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must")
    );
    assert!(
        with(json!({"name": "a", "namespace": "d", "labels": {"k": "a b"}}))[0]
            .starts_with("metadata.labels: Invalid value: \"a b\": a valid label")
    );
    assert_eq!(
        with(json!({"generateName": "a-", "namespace": "d"})),
        Vec::<String>::new()
    );
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}});
    assert_eq!(
        errors(&namespace),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
}

#[test]
fn pods_are_refused_with_upstreams_words() {
    let table = [
        (pod(json!({"containers": []})), "spec.containers: Required value"),
        (
            pod(json!({"containers": [{"image": "i"}]})),
            "spec.containers[0].name: Required value",
        ),
        (
            pod(json!({"containers": [{"name": "c"}]})),
            "spec.containers[0].image: Required value",
        ),
        (
            pod(json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]})),
            "spec.containers[1].name: Duplicate value: \"c\"",
        ),
        (
            pod(json!({"initContainers": [{"name": "c", "image": "i"}]})),
            "spec.initContainers[0].name: Duplicate value: \"c\"",
        ),
        (
            container(json!({"imagePullPolicy": "x"})),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"x\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            container(json!({"ports": [{}]})),
            "spec.containers[0].ports[0].containerPort: Required value",
        ),
        (
            container(json!({"ports": [{"containerPort": 70000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            container(json!({"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]})),
            "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\"",
        ),
        (
            container(json!({"env": [{"name": "A", "valueFrom": {}}]})),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        (
            container(
                json!({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            ),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (
            container(json!({"envFrom": [{}]})),
            "spec.containers[0].envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
        ),
        (
            container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            container(json!({"livenessProbe": {}})),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            container(json!({"livenessProbe": {"exec": {"command": ["x"]}, "successThreshold": 2}})),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            container(json!({"resources": {"limits": {"cpu": "-1"}}})),
            "spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            container(json!({"resources": {"limits": {"cpu": 1}, "requests": {"cpu": "1500m"}}})),
            "spec.containers[0].resources.requests: Invalid value: \"1500m\": must be less than or equal to cpu limit of 1",
        ),
        (
            container(json!({"resources": {"limits": {"a.b/c": 2}, "requests": {"a.b/c": 1}}})),
            "spec.containers[0].resources.requests: Invalid value: \"1\": must be equal to a.b/c limit of 2",
        ),
        (
            container(json!({"resources": {"requests": {"a.b/c": 1}}})),
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            container(json!({"resources": {"limits": {"a.b/c": "500m"}}})),
            "spec.containers[0].resources.limits[a.b/c]: Invalid value: \"500m\": must be an integer",
        ),
        (
            pod(json!({"hostPID": true, "shareProcessNamespace": true})),
            "spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]})),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "secret": {}}]})),
            "spec.volumes[0].secret.secretName: Required value",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "configMap": {"name": "c", "defaultMode": 4096}}]})),
            "spec.volumes[0].configMap.defaultMode: Invalid value: 4096: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]})),
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            pod(json!({"restartPolicy": "x"})),
            "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (
            pod(json!({"dnsPolicy": "None"})),
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ),
        (
            pod(json!({"tolerations": [{"operator": "Exists", "value": "x"}]})),
            "spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
        ),
        (
            pod(
                json!({"volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "../x", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}),
            ),
            "spec.volumes[0].downwardAPI.items[0].path: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "x"}]}}]})),
            "spec.volumes[0].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required",
        ),
        (
            pod(
                json!({"volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "x", "resourceFieldRef": {"resource": "limits.cpu"}}]}}]}),
            ),
            "spec.volumes[0].downwardAPI.items[0].resourceFieldRef.containerName: Required value",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "projected": {"sources": [
                {"configMap": {"name": "a", "items": [{"key": "k", "path": "x"}]}},
                {"secret": {"name": "b", "items": [{"key": "k", "path": "x"}]}},
            ]}}]})),
            "spec.volumes[0].projected: Invalid value: \"x\": conflicting duplicate paths",
        ),
        (
            pod(json!({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {}}]}}]})),
            "spec.volumes[0].projected.sources[0].secret.name: Required value",
        ),
        (
            container(json!({"lifecycle": {"stopSignal": "SIGTERM"}})),
            "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
        ),
        (
            pod(
                json!({"os": {"name": "linux"}, "containers": [{"name": "c", "image": "i", "lifecycle": {"stopSignal": "TERM"}}]}),
            ),
            "spec.containers[0].lifecycle.stopSignal: Invalid value: \"TERM\": must be the name of a signal, such as SIGTERM",
        ),
        (
            pod(json!({"initContainers": [{"name": "i", "image": "i", "lifecycle": {}}]})),
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
    ];
    for (value, message) in table {
        assert!(
            errors(&value).iter().any(|error| error == message),
            "{message}\n{:#?}",
            errors(&value)
        );
    }
}

#[test]
fn mounts_must_be_unique_and_stay_inside_their_volume() {
    let mounts = |mounts: Value| {
        let mut value = container(json!({"volumeMounts": mounts}));
        value["spec"]["volumes"] = json!([{"name": "v"}]);
        errors(&value)
    };
    assert_eq!(
        mounts(json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}])),
        ["spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"]
    );
    assert!(mounts(json!([{"name": "v", "mountPath": "/proc/meminfo"}])).is_empty());
    assert_eq!(
        mounts(json!([{"name": "v", "mountPath": "/proc/sys"}])),
        ["spec.containers[0].volumeMounts[0].mountPath: Invalid value: \"/proc/sys\": nothing can be mounted in /proc"]
    );
    assert_eq!(
        mounts(json!([{"name": "v", "mountPath": "/a", "subPath": "../x"}])),
        ["spec.containers[0].volumeMounts[0].subPath: Invalid value: \"../x\": must not contain '..'"]
    );
}

#[test]
fn workloads_are_refused_with_upstreams_words() {
    let table = [
        (deployment(json!({"selector": {}})), "spec.selector: Required value"),
        (
            deployment(json!({"selector": {"matchLabels": {"a": "x"}}})),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            deployment(json!({"replicas": -1})),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            deployment(json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}})),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            deployment(json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}})),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            deployment(json!({"strategy": {"rollingUpdate": {"maxUnavailable": "150%"}}})),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"150%\": must not be greater than 100%",
        ),
        (
            deployment(json!({"progressDeadlineSeconds": 5, "minReadySeconds": 5})),
            "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
        ),
    ];
    for (value, message) in table {
        assert!(
            errors(&value).iter().any(|error| error == message),
            "{message}\n{:#?}",
            errors(&value)
        );
    }
    let mut never = deployment(json!({}));
    never["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    assert_eq!(
        errors(&never),
        ["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
    );
}

#[test]
fn maps_of_data_and_services_are_refused_with_upstreams_words() {
    let tls = object(
        "v1",
        "Secret",
        json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x"}}),
    );
    assert_eq!(errors(&tls), ["data[tls.key]: Required value"]);
    assert!(
        errors(&object("v1", "ConfigMap", json!({"data": {"a/b": ""}})))[0]
            .starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key")
    );
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(
        errors(&object("v1", "Secret", json!({"stringData": {"a": large}}))),
        ["data: Too long: may not be more than 1048576 bytes"]
    );
    assert_eq!(
        errors(&object("v1", "Service", json!({"spec": {}}))),
        ["spec.ports: Required value"]
    );
    let ports = json!({"ports": [{"port": 80, "nodePort": 30000}]});
    assert_eq!(
        errors(&object("v1", "Service", json!({"spec": ports}))),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
    );
    assert_eq!(
        errors(&object("v1", "PersistentVolumeClaim", json!({"spec": {}}))),
        [
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value"
        ]
    );
}

#[test]
fn ports_and_addresses_of_the_host_that_a_service_asks_for_are_checked() {
    let service = |spec: Value| errors(&object("v1", "Service", json!({"spec": spec})));
    for (spec, expected) in [
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 32767}]}),
            None,
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 8080}]}),
            Some(
                "spec.ports[0].nodePort: Invalid value: 8080: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ),
        ),
        (
            json!({"type": "NodePort", "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30001}]}),
            Some("spec.ports[1].nodePort: Duplicate value: 30001"),
        ),
        (
            json!({"type": "LoadBalancer", "clusterIP": "None", "ports": [{"port": 80}]}),
            Some("spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services"),
        ),
        (
            json!({"externalIPs": ["192.0.2.1", "127.0.0.1"], "ports": [{"port": 80}]}),
            Some(
                "spec.externalIPs[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ),
        ),
        (
            json!({"externalIPs": ["x"], "ports": [{"port": 80}]}),
            Some(
                "spec.externalIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
        ),
        (
            json!({"sessionAffinity": "ClientIP", "ports": [{"port": 80}],
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86401}}}),
            Some(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
            ),
        ),
    ] {
        assert_eq!(service(spec.clone()).first().map(String::as_str), expected, "{spec}");
    }
}

#[test]
fn a_node_port_that_another_service_has_is_refused_in_upstreams_words() {
    let service = |name: &str, number: i64| {
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": number}]});
        let metadata = json!({"name": name, "namespace": "default"});
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        std::sync::Arc::new(crate::model::Object::new(object).expect("a Service"))
    };
    let others = [service("a", 30001), service("b", 30002)];
    let said = |service: &crate::model::Object| -> Vec<String> {
        let errors = check_node_ports(service, &others);
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        said(&service("c", 30002)),
        ["spec.ports[0].nodePort: Invalid value: 30002: provided port is already allocated"]
    );
    assert!(said(&service("c", 30003)).is_empty());
    assert!(said(&service("b", 30002)).is_empty(), "its own");
}

fn update(new: &Value, old: &Value) -> Result<Change, ErrorList> {
    validate_update(&typed(new).1, &typed(old).1)
}

#[test]
fn a_pods_image_may_change_and_its_command_needs_another_pod() {
    assert_eq!(
        update(
            &container(json!({"image": "j:1", "imagePullPolicy": "Always"})),
            &container(json!({}))
        ),
        Ok(Change::Update)
    );
    let tolerant = pod(json!({"tolerations": [{"key": "x", "operator": "Exists"}]}));
    assert_eq!(update(&tolerant, &pod(json!({}))), Ok(Change::Update));
    let Ok(Change::Replace(errors)) = update(&container(json!({"command": ["x"]})), &container(json!({}))) else {
        panic!("an update")
    };
    let text = errors.to_string();
    assert!(
        text.starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.init"
        ),
        "{text}"
    );
    assert!(text.ends_with("changed: spec.containers"), "{text}");
    let two = pod(json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}));
    assert!(matches!(update(&two, &pod(json!({}))), Ok(Change::Replace(_))));
}

#[test]
fn what_is_immutable_stays() {
    let mut other = deployment(json!({"selector": {"matchLabels": {"a": "c"}}}));
    other["spec"]["template"]["metadata"]["labels"] = json!({"a": "c"});
    let error = update(&other, &deployment(json!({})))
        .expect_err("immutable")
        .to_string();
    assert_eq!(
        error,
        "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable"
    );
    let frozen = object("v1", "ConfigMap", json!({"immutable": true, "data": {"a": "1"}}));
    let changed = object("v1", "ConfigMap", json!({"immutable": true, "data": {"a": "2"}}));
    let error = update(&changed, &frozen).expect_err("immutable").to_string();
    assert_eq!(error, "data: Forbidden: field is immutable when `immutable` is set");
    assert_eq!(update(&frozen, &frozen), Ok(Change::Update));
}

#[test]
fn ephemeral_containers_only_look_around() {
    let with = |fields: Value| {
        let mut ephemeral = json!({"name": "d", "image": "i"});
        for (field, inner) in fields.as_object().expect("fields") {
            ephemeral[field] = inner.clone();
        }
        errors(&pod(
            json!({"ephemeralContainers": [ephemeral], "volumes": [{"name": "v", "emptyDir": {}}]}),
        ))
    };
    let at = "spec.ephemeralContainers[0]";
    let not_here = "Forbidden: cannot be set for an Ephemeral Container";
    assert_eq!(with(json!({"targetContainerName": "c", "tty": true})), [""; 0]);
    for (fields, error) in [
        (
            json!({"ports": [{"containerPort": 80}]}),
            format!("{at}.ports: {not_here}"),
        ),
        (
            json!({"resources": {"limits": {"cpu": "1"}}}),
            format!("{at}.resources: {not_here}"),
        ),
        (
            json!({"livenessProbe": {"exec": {"command": ["x"]}}}),
            format!("{at}.livenessProbe: {not_here}"),
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]}),
            format!("{at}.volumeMounts[0].subPath: {not_here}"),
        ),
        (json!({"name": "c"}), format!("{at}.name: Duplicate value: \"c\"")),
        (
            json!({"targetContainerName": "x"}),
            format!("{at}.targetContainerName: Not found: \"x\""),
        ),
        (json!({"image": ""}), format!("{at}.image: Required value")),
    ] {
        assert_eq!(with(fields.clone()), [error], "{fields}");
    }
}

#[test]
fn ephemeral_containers_come_later_and_stay_as_they_are() {
    let pod_of = |list: Value| typed(&pod(json!({"ephemeralContainers": list}))).1;
    let one = || json!({"name": "d", "image": "i"});
    let born = validate_new(&pod_of(json!([one()])));
    let texts: Vec<_> = born.iter().map(FieldError::to_string).collect();
    assert_eq!(texts, ["spec.ephemeralContainers: Forbidden: cannot be set on create"]);
    assert!(validate_new(&pod_of(json!([]))).is_empty());
    let change = |new: Value| validate_ephemeral_update(&pod_of(new), &pod_of(json!([one()])));
    assert_eq!(change(json!([one(), {"name": "e", "image": "i"}])), Ok(Change::Update));
    for (new, word) in [
        (json!([]), "removed"),
        (json!([{"name": "d", "image": "j"}]), "changed"),
    ] {
        let refused = change(new).expect_err("it was there").to_string();
        assert!(refused.contains(&format!("\"d\" may not be {word}")), "{refused}");
    }
    // No other way leads there.
    assert!(matches!(
        validate_update(&pod_of(json!([one()])), &pod_of(json!([]))),
        Ok(Change::Replace(_))
    ));
}

#[test]
fn places_for_pods_are_said_as_they_must_be() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let node = |terms: Value| json!({"affinity": {"nodeAffinity": {required: {"nodeSelectorTerms": terms}}}});
    let near = |term: Value| json!({"affinity": {"podAffinity": {required: [term]}}});
    let spread = |constraint: Value| json!({"topologySpreadConstraints": [constraint]});
    let of_node = format!("spec.affinity.nodeAffinity.{required}.nodeSelectorTerms");
    let of_pods = format!("spec.affinity.podAffinity.{required}[0]");
    for (spec, wanted) in [
        (node(json!([])), vec![format!("{of_node}: Required value: must have at least one node selector term")]),
        (
            node(json!([{"matchExpressions": [{"key": "a", "operator": "In"}]}])),
            vec![format!(
                "{of_node}[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            )],
        ),
        (
            node(json!([{"matchExpressions": [{"key": "a", "operator": "Foo"}]}])),
            vec![format!(
                "{of_node}[0].matchExpressions[0].operator: Invalid value: \"Foo\": not a valid selector operator"
            )],
        ),
        (near(json!({"topologyKey": "kubernetes.io/hostname"})), vec![]),
        (
            near(json!({"topologyKey": "h", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Foo"}]}})),
            vec![format!(
                "{of_pods}.labelSelector.matchExpressions[0].operator: Invalid value: \"Foo\": not a valid selector operator"
            )],
        ),
        (
            spread(json!({"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "x"})),
            vec![
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero".to_owned(),
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty".to_owned(),
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"x\": supported values: \
                 \"DoNotSchedule\", \"ScheduleAnyway\""
                    .to_owned(),
            ],
        ),
        (json!({"hostAliases": [{"ip": "::1", "hostnames": ["a.b"]}]}), vec![]),
        (
            json!({"hostAliases": [{"ip": "x y"}]}),
            vec![
                "spec.hostAliases[0].ip: Invalid value: \"x y\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(errors(&pod(spec.clone())), wanted, "{spec}");
    }
    assert!(!errors(&pod(near(json!({"topologyKey": ""})))).is_empty());
    assert_eq!(
        errors(&pod(
            json!({"hostAliases": [{"ip": "::1", "hostnames": ["A_\n1.2.3.4 z"]}]})
        ))
        .len(),
        1
    );
    let mut late = deployment(json!({}));
    late["spec"]["template"]["spec"]["activeDeadlineSeconds"] = json!(5);
    let text =
        "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported";
    assert_eq!(errors(&late), [text]);
}

#[test]
fn kinds_without_a_type_of_their_own_are_checked_too() {
    let rbac = "rbac.authorization.k8s.io/v1";
    let role_ref = || json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    let spec = |version: &str, kind: &str, spec: Value| object(version, kind, json!({"spec": spec}));
    let scaler = |least: i64, most: i64| {
        let target = json!({"kind": "Deployment", "name": "d"});
        let fields = json!({"minReplicas": least, "maxReplicas": most, "scaleTargetRef": target});
        spec("autoscaling/v2", "HorizontalPodAutoscaler", fields)
    };
    for (value, wanted) in [
        (
            object(rbac, "RoleBinding", json!({"roleRef": {"kind": "Foo", "name": ""}})),
            vec![
                "roleRef.kind: Unsupported value: \"Foo\": supported values: \"ClusterRole\", \"Role\"",
                "roleRef.name: Required value",
            ],
        ),
        (
            object(
                rbac,
                "RoleBinding",
                json!({"roleRef": role_ref(), "subjects": [
                    {"kind": "Bar", "name": "b"}, {"kind": "ServiceAccount", "name": "s"}, {"kind": "User", "name": "u"},
                ]}),
            ),
            vec![
                "subjects[0].kind: Unsupported value: \"Bar\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                "subjects[1].namespace: Required value",
            ],
        ),
        (
            object(
                rbac,
                "Role",
                json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": []}]}),
            ),
            vec!["rules[0].verbs: Required value: verbs must contain at least one value"],
        ),
        (scaler(1, 2), vec![]),
        (
            scaler(5, 1),
            vec!["spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"],
        ),
        (
            spec("policy/v1", "PodDisruptionBudget", json!({"minAvailable": "150%"})),
            vec!["spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%"],
        ),
        (
            spec("v1", "ResourceQuota", json!({"hard": {"pods": "-1"}})),
            vec!["spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
    ] {
        assert_eq!(errors(&value), wanted, "{value}");
    }
    let both = spec(
        "policy/v1",
        "PodDisruptionBudget",
        json!({"minAvailable": 1, "maxUnavailable": 1}),
    );
    assert_eq!(errors(&both).len(), 1);
    let class = |value: i64| json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "c"}, "value": value});
    let text = "value: Forbidden: maximum allowed value of a user defined priority is 1000000000";
    assert_eq!(
        (errors(&class(1)), errors(&class(2_000_000_000))),
        (vec![], vec![text.to_owned()])
    );
    let update = |new: &Value, old: &Value| validate_update(&typed(new).1, &typed(old).1).is_err();
    assert!(update(&class(2), &class(1)) && !update(&class(1), &class(1)));
    let binding = |role: &str| {
        let mut role_ref = role_ref();
        role_ref["name"] = json!(role);
        object(rbac, "RoleBinding", json!({"roleRef": role_ref}))
    };
    assert!(update(&binding("b"), &binding("a")) && !update(&binding("a"), &binding("a")));
}
