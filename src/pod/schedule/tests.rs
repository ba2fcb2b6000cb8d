use serde_json::json;

use super::*;

fn object(value: Value) -> Arc<Object> {
    Arc::new(Object::new(value).expect("a kind of the table, with a name"))
}

fn pod(name: &str, spec: Value) -> Arc<Object> {
    let mut whole = json!({"containers": [{"name": "c", "image": "i"}]});
    for (field, value) in spec.as_object().expect("fields") {
        whole[field] = value.clone();
    }
    let metadata = json!({"name": name, "namespace": "default", "uid": name, "labels": {"app": name},
        "creationTimestamp": "2026-01-01T00:00:00Z"});
    object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}))
}

/// A pod that asks for this much memory, and runs if it is `placed`.
fn heavy(name: &str, memory: &str, priority: i64, placed: bool) -> Arc<Object> {
    let requests = json!({"requests": {"memory": memory}});
    let mut spec = json!({"containers": [{"name": "c", "resources": requests}], "priority": priority});
    if placed {
        spec["nodeName"] = json!("node");
    }
    pod(name, spec)
}

fn node() -> Object {
    Object::new(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "node", "labels": {"kubernetes.io/hostname": "node", "disk": "ssd", "size": "4"}},
        "spec": {},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "5"}},
    }))
    .expect("a node")
}

fn decided(node: &Object, pods: &[Arc<Object>], classes: &[Arc<Object>]) -> Vec<(String, Decision)> {
    let world = World {
        node: Some(node),
        pods,
        classes,
        namespaces: &[],
        claims: &[],
        storage_classes: &[],
    };
    let verdicts = plan_schedule(world).into_iter();
    verdicts.map(|v| (v.pod.key().name.clone(), v.decision)).collect()
}

/// Why the last of the pods waits; nothing if it does not.
fn why(node: &Object, pods: &[Arc<Object>]) -> String {
    let name = &pods.last().expect("one").key().name;
    let found = decided(node, pods, &[]).into_iter().find(|(pod, _)| pod == name);
    match found.expect("it is on no node").1 {
        Decision::Bind => String::new(),
        Decision::Wait(message) | Decision::Preempt { message, .. } => message,
        Decision::Gated => "gated".to_owned(),
    }
}

const UNHELPFUL: &str = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NO_VICTIMS: &str = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

#[test]
fn a_pod_fits_or_is_told_in_upstreams_words_why_not() {
    let required = |kind: &str, terms: Value| {
        let key = "requiredDuringSchedulingIgnoredDuringExecution";
        json!({"affinity": {kind: {key: terms}}})
    };
    let nodes = |expression: Value| {
        required(
            "nodeAffinity",
            json!({"nodeSelectorTerms": [{"matchExpressions": [expression]}]}),
        )
    };
    let pods = |kind: &str, app: &str, topology: &str| {
        required(
            kind,
            json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology}]),
        )
    };
    let asks = |requests: Value| json!({"containers": [{"name": "c", "resources": {"requests": requests}}]});
    let mismatch = "node(s) didn't match Pod's node affinity/selector";
    for (spec, reason) in [
        (json!({}), ""),
        (
            asks(json!({"cpu": "2", "memory": "3Gi", "ephemeral-storage": "1Ti"})),
            "",
        ),
        (asks(json!({"cpu": "2100m"})), "Insufficient cpu"),
        (asks(json!({"nvidia.com/gpu": "1"})), "Insufficient nvidia.com/gpu"),
        (json!({"nodeSelector": {"disk": "ssd"}}), ""),
        (json!({"nodeSelector": {"disk": "hdd"}}), mismatch),
        (nodes(json!({"key": "disk", "operator": "In", "values": ["ssd"]})), ""),
        (nodes(json!({"key": "size", "operator": "Gt", "values": ["3"]})), ""),
        (
            nodes(json!({"key": "size", "operator": "Lt", "values": ["4"]})),
            mismatch,
        ),
        (nodes(json!({"key": "disk", "operator": "DoesNotExist"})), mismatch),
        (
            nodes(json!({"key": "absent", "operator": "NotIn", "values": ["x"]})),
            "",
        ),
        (pods("podAffinity", "other", "kubernetes.io/hostname"), ""),
        (
            pods("podAffinity", "none", "kubernetes.io/hostname"),
            "node(s) didn't match pod affinity rules",
        ),
        (
            pods("podAffinity", "other", "zone"),
            "node(s) didn't match pod affinity rules",
        ),
        // It is the first of its kind.
        (pods("podAffinity", "me", "kubernetes.io/hostname"), ""),
        (pods("podAntiAffinity", "none", "kubernetes.io/hostname"), ""),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "me"}}}]}),
            "node(s) didn't match pod topology spread constraints (missing required label)",
        ),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]}),
            "",
        ),
    ] {
        let all = [heavy("other", "1Gi", 0, true), pod("me", spec.clone())];
        let expected = match reason {
            "" => String::new(),
            reason => format!("0/1 nodes are available: 1 {reason}. {UNHELPFUL}"),
        };
        assert_eq!(why(&node(), &all), expected, "{spec}");
    }
    let shunning = pods("podAntiAffinity", "other", "kubernetes.io/hostname");
    let all = [heavy("other", "1Gi", 0, true), pod("me", shunning)];
    let text = "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules.";
    assert_eq!(why(&node(), &all), format!("{text} {NO_VICTIMS}"));
}

#[test]
fn existing_pods_may_not_want_the_new_one() {
    let terms = json!([{"labelSelector": {"matchLabels": {"app": "me"}}, "topologyKey": "kubernetes.io/hostname"}]);
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
    let proud = pod("proud", json!({"nodeName": "node", "affinity": affinity}));
    let text = "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert_eq!(
        why(&node(), &[proud, pod("me", json!({}))]),
        format!("{text} {NO_VICTIMS}")
    );
}

#[test]
fn taints_are_tolerated_or_not() {
    let mut tainted = node();
    tainted.value_mut()["spec"]["taints"] = json!([
        {"key": "a", "value": "b", "effect": "NoSchedule"},
        {"key": "soft", "effect": "PreferNoSchedule"},
    ]);
    let with = |tolerations: Value| why(&tainted, &[pod("me", json!({"tolerations": tolerations}))]);
    let refused = format!("0/1 nodes are available: 1 node(s) had untolerated taint {{a: b}}. {UNHELPFUL}");
    for (tolerations, expected) in [
        (json!([]), refused.as_str()),
        (json!([{"key": "a", "operator": "Equal", "value": "c"}]), &refused),
        (json!([{"key": "a", "value": "b", "effect": "NoExecute"}]), &refused),
        (json!([{"key": "a", "value": "b"}]), ""),
        (json!([{"operator": "Exists"}]), ""),
    ] {
        assert_eq!(with(tolerations.clone()), expected, "{tolerations}");
    }
}

#[test]
fn pods_are_counted_and_added_up() {
    let sums = |containers: Value, inits: Value| {
        let pod = pod("p", json!({"containers": containers, "initContainers": inits}));
        requests_of(&pod)["memory"]
    };
    let asks = |memory: &str| json!({"name": "c", "resources": {"requests": {"memory": memory}}});
    let sidecar = |memory: &str| {
        let mut container = asks(memory);
        container["restartPolicy"] = json!("Always");
        container
    };
    for (containers, inits, total) in [
        (json!([asks("1"), asks("2")]), json!([]), 3),
        (json!([asks("1")]), json!([asks("5"), asks("4")]), 5),
        (json!([asks("3")]), json!([sidecar("2"), asks("1")]), 5),
        (json!([asks("1")]), json!([sidecar("2"), asks("4")]), 6),
    ] {
        assert_eq!(sums(containers, inits), Quantity::whole(total));
    }
    let five: Vec<_> = (0..5)
        .map(|n| pod(&format!("p{n}"), json!({"nodeName": "node"})))
        .collect();
    let all = [five, vec![pod("me", json!({}))]].concat();
    assert_eq!(
        why(&node(), &all),
        format!("0/1 nodes are available: 1 Too many pods. {NO_VICTIMS}")
    );
}

#[test]
fn the_more_important_come_first_and_what_ended_takes_nothing() {
    let mut ended = Object::clone(&heavy("ended", "4Gi", 0, true));
    ended.value_mut()["status"] = json!({"phase": "Succeeded"});
    let all = [
        Arc::new(ended),
        heavy("lesser", "3Gi", 0, false),
        heavy("greater", "3Gi", 7, false),
        pod("gated", json!({"schedulingGates": [{"name": "g"}]})),
    ];
    let found = decided(&node(), &all, &[]);
    let waits = format!("0/1 nodes are available: 1 Insufficient memory. {NO_VICTIMS}");
    assert_eq!(
        found,
        [
            ("greater".to_owned(), Decision::Bind),
            ("gated".to_owned(), Decision::Gated),
            ("lesser".to_owned(), Decision::Wait(waits)),
        ]
    );
}

#[test]
fn as_few_and_as_unimportant_pods_as_possible_give_way() {
    let key = |name: &str| Key::new(crate::model::kind("v1", "Pod").expect("known"), "default", name);
    let message = "0/1 nodes are available: 1 Insufficient memory.".to_owned();
    let all = [
        heavy("high", "1Gi", 9, true),
        heavy("middle", "1Gi", 3, true),
        heavy("low", "2Gi", 1, true),
        heavy("me", "2Gi", 5, false),
        heavy("after", "1Gi", 0, false),
    ];
    let found = decided(&node(), &all, &[]);
    let victims = vec![key("low")];
    assert_eq!(
        found[0],
        (
            "me".to_owned(),
            Decision::Preempt {
                victims,
                message: message.clone()
            }
        )
    );
    // What is being freed is not for whoever comes next.
    assert!(
        matches!(&found[1], (name, Decision::Wait(_)) if name == "after"),
        "{found:?}"
    );
    let never = |own: &Arc<Object>| {
        let mut own = Object::clone(own);
        own.value_mut()["spec"]["preemptionPolicy"] = json!("Never");
        Arc::new(own)
    };
    let modest = [all[2].clone(), all[0].clone(), all[1].clone(), never(&all[3])];
    assert_eq!(
        why(&node(), &modest),
        format!("{message} preemption: not eligible due to preemptionPolicy=Never.")
    );
}

#[test]
fn a_class_says_how_important_a_pod_is() {
    let class = |name: &str, value: i64, is_default: bool| {
        object(
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "globalDefault": is_default}),
        )
    };
    let classes = [class("high", 1000, false), class("usual", 10, true)];
    for (spec, priority) in [
        (json!({"priorityClassName": "high"}), 1000),
        (json!({"priorityClassName": "absent"}), 0),
        (json!({"priorityClassName": "system-node-critical"}), 2_000_001_000),
        (json!({"priority": 0}), 10),
        (json!({"priority": 4}), 4),
    ] {
        assert_eq!(priority_of(&pod("p", spec.clone()), &classes), priority, "{spec}");
    }
}

#[test]
fn a_pod_waits_for_its_claims_in_upstreams_words() {
    let claim = |name: &str, class: &str, phase: &str, mode: &str| {
        let spec = json!({"storageClassName": class, "accessModes": [mode], "volumeName": "v"});
        let metadata = json!({"name": name, "namespace": "default"});
        object(
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec,
            "status": {"phase": phase}}),
        )
    };
    let claims = [
        claim("bound", "local", "Bound", "ReadWriteOnce"),
        claim("pending", "local", "Pending", "ReadWriteOnce"),
        claim("late", "late", "Pending", "ReadWriteOnce"),
        claim("lost", "local", "Lost", "ReadWriteOnce"),
        claim("alone", "local", "Bound", "ReadWriteOncePod"),
        claim("taken", "local", "Bound", "ReadWriteOncePod"),
    ];
    let metadata = json!({"name": "late"});
    let classes = [object(
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata,
        "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}),
    )];
    let using = |name: &str, claim: &str, node: Option<&str>| {
        let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]);
        pod(name, json!({"volumes": volumes, "nodeName": node}))
    };
    let unbound = "pod has unbound immediate PersistentVolumeClaims";
    for (name, reason) in [
        ("bound", ""),
        ("late", ""),
        ("alone", ""),
        ("nope", "persistentvolumeclaim \"nope\" not found"),
        ("pending", unbound),
        (
            "lost",
            "persistentvolumeclaim \"lost\" bound to non-existing persistentvolume \"v\"",
        ),
        (
            "taken",
            "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
        ),
    ] {
        let pods = [using("other", "taken", Some("node")), using("me", name, None)];
        let (node, world_classes) = (node(), &classes);
        let verdicts = plan_schedule(World {
            node: Some(&node),
            pods: &pods,
            classes: &[],
            namespaces: &[],
            claims: &claims,
            storage_classes: world_classes,
        });
        let Decision::Wait(message) = &verdicts[0].decision else {
            assert_eq!((&verdicts[0].decision, reason), (&Decision::Bind, ""), "{name}");
            continue;
        };
        let expected = format!("0/1 nodes are available: {reason}. preemption: ");
        assert!(message.starts_with(&expected), "{name}: {message}");
    }
}

#[test]
fn pods_of_other_nodes_take_no_room_here_and_those_that_ran_here_do() {
    let away = |name: &str| {
        let pod = heavy(name, "4Gi", 0, true);
        let mut value = pod.value().clone();
        value["spec"]["nodeName"] = json!("other");
        value
    };
    assert_eq!(why(&node(), &[object(away("a")), heavy("b", "1Gi", 0, false)]), "");
    // The machine had another name when it began.
    let mut moved = away("a");
    moved["status"] = json!({"startTime": "2026-01-01T00:00:00Z"});
    assert!(!why(&node(), &[object(moved), heavy("b", "1Gi", 0, false)]).is_empty());
}
