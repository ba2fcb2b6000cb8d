//! Connections, followed over objects as the API has them.

use serde_json::{Value, json};

use super::World;
use super::answer::Reach;
use super::trace::{Asked, trace};
use crate::model::Object;

fn object(api_version: &str, kind: &str, name: &str, rest: Value) -> Object {
    let mut value = json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": name}}});
    for (field, part) in rest.as_object().expect("fields") {
        value[field] = part.clone();
    }
    Object::new(value).expect("of the table")
}

/// Pods `web` and `client`, the Service `web`, and these policies.
fn world(policies: &[(&str, Value)]) -> World {
    let pod = |name: &str, ip: &str| {
        let ports = json!([{"name": "http", "containerPort": 8080}]);
        let spec = json!({"containers": [{"name": "c", "ports": ports}]});
        object("v1", "Pod", name, json!({"spec": spec, "status": {"podIP": ip}}))
    };
    let mut slice = object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "web-1",
        json!({"addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}], "endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": true}}]}),
    );
    slice.value_mut()["metadata"]["labels"] = json!({crate::model::SERVICE_NAME: "web"});
    let condition = json!({"type": "EgressReady", "status": "True", "message": "pods reach the outside"});
    let policy =
        |(name, spec): &(&str, Value)| object("networking.k8s.io/v1", "NetworkPolicy", name, json!({"spec": spec}));
    World {
        pods: vec![pod("web", "10.244.0.2"), pod("client", "10.244.0.3")],
        services: vec![object(
            "v1",
            "Service",
            "web",
            json!({"spec": {"clusterIP": "10.96.0.7", "ports": [{"port": 80}]}}),
        )],
        slices: vec![slice],
        policies: policies.iter().map(policy).collect(),
        nodes: vec![object(
            "v1",
            "Node",
            "node",
            json!({"status": {"conditions": [condition]}}),
        )],
        ..World::default()
    }
}

fn traced(world: &World, to: &str) -> (bool, String) {
    let asked = Asked {
        from: "client",
        to,
        is_udp: false,
        namespace: "default",
    };
    let traced = trace(world, &asked).expect("is understood");
    (traced.reach != Reach::None, traced.text())
}

#[test]
fn a_connection_is_followed_through_its_service_and_policies() {
    let closed = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    let friends =
        json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]});
    for (policies, to, connects, said) in [
        (
            vec![],
            "web:80",
            true,
            "default/web (10.96.0.7) port 80 leads to 10.244.0.2:8080",
        ),
        (vec![], "svc/web", true, "no policy is about it"),
        (vec![], "10.96.0.7:80", true, "leads to 10.244.0.2:8080"),
        (
            vec![],
            "web.default.svc.cluster.local:81",
            false,
            "has no port 81 for TCP",
        ),
        (
            vec![("closed", closed.clone())],
            "pod/web:8080",
            false,
            "dropped: isolated by default/closed",
        ),
        (
            vec![("closed", closed), ("friends", friends)],
            "web:80",
            true,
            "let through by the policy default/friends",
        ),
        (vec![], "10.244.0.9:80", false, "no pod has 10.244.0.9"),
        (vec![], "192.0.2.1:443", true, "the host's own routes decide"),
    ] {
        let (works, text) = traced(&world(&policies), to);
        assert!(works == connects && text.contains(said), "{to}: {text}");
    }
}

#[test]
fn what_the_node_refuses_and_what_never_leaves_is_told_apart() {
    let alias = |name: &str, other: &str| {
        let spec = json!({"type": "ExternalName", "externalName": other, "ports": [{"port": 80}]});
        object("v1", "Service", name, json!({"spec": spec}))
    };
    for (to, host_loopback, connects, said) in [
        ("169.254.169.254:80", false, false, "the network is unreachable"),
        ("224.0.0.1:80", false, false, "the network is unreachable"),
        ("127.0.0.1:80", false, true, "the pod's own loopback"),
        (
            "host.containers.internal:80",
            false,
            false,
            "egress.hostLoopback is not set",
        ),
        ("host.containers.internal:80", true, true, "the host's loopback"),
        ("169.254.1.2:80", false, false, "it is refused"),
        ("ext:80", false, true, "leads to 10.244.0.2:8080"),
        ("far:80", false, true, "the host's own routes decide"),
        ("circle:80", false, false, "in a circle"),
        ("web:80/udp", false, false, "has no port 80 for UDP"),
        ("web:80/tcp", false, true, "leads to 10.244.0.2:8080"),
    ] {
        let mut world = world(&[]);
        world.host_loopback = host_loopback;
        world.services.extend([
            alias("ext", "web.default.svc.cluster.local"),
            alias("far", "example.org"),
            alias("circle", "circle.default.svc.cluster.local."),
        ]);
        let (works, text) = traced(&world, to);
        assert!(works == connects && text.contains(said), "{to}: {text}");
    }
}

#[test]
fn names_and_ports_are_understood_as_pods_and_manifests_write_them() {
    let mut world = world(&[]);
    let service = |name: &str, spec: Value| object("v1", "Service", name, json!({"spec": spec}));
    let slice = |service: &str, ports: Value, endpoint: Value| {
        let rest = json!({"addressType": "IPv4", "ports": ports, "endpoints": [endpoint]});
        let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", &format!("{service}-1"), rest);
        slice.value_mut()["metadata"]["labels"] = json!({crate::model::SERVICE_NAME: service});
        slice
    };
    world.services.extend([
        service("db", json!({"clusterIP": "None"})),
        service(
            "named",
            json!({"clusterIP": "10.96.0.8", "externalIPs": ["198.51.100.7"], "ports": [{"name": "api", "port": 80}]}),
        ),
        service(
            "kubernetes",
            json!({"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]}),
        ),
    ]);
    world.slices.extend([
        slice(
            "db",
            json!([]),
            json!({"addresses": ["10.244.0.2"], "hostname": "db-0"}),
        ),
        slice(
            "named",
            json!([{"name": "api", "port": 8080}]),
            json!({"addresses": ["10.244.0.2"]}),
        ),
        slice(
            "kubernetes",
            json!([{"name": "https", "port": 6443}]),
            json!({"addresses": ["10.244.0.1"]}),
        ),
    ]);
    for (to, connects, said) in [
        ("db:5432", true, "is headless: its name is 10.244.0.2:5432"),
        ("db-0.db:5432", true, "db-0 of the Service default/db is 10.244.0.2"),
        ("db-0.db.default.svc.cluster.local:5432", true, "default/web port 5432"),
        ("localhost:1", true, "the pod's own loopback"),
        ("named:api", true, "port 80 leads to 10.244.0.2:8080"),
        ("198.51.100.7:80", true, "port 80 leads to 10.244.0.2:8080"),
        ("198.51.100.7:81", true, "the host's own routes decide"),
        ("named:other", false, "has no port other for TCP"),
        ("db:api", false, "is headless and has no port api"),
        ("pod/web:http", true, "default/web port 8080"),
        ("pod/web:other", false, "the pod default/web has no port other"),
        ("kubernetes:443", true, "the node, where its API listens"),
        ("10.96.0.1:443", true, "leads to 10.244.0.1:6443"),
        ("10.244.0.1:80", false, "but not at this port"),
        ("10.96.0.10:53/udp", true, "the node's name server"),
    ] {
        let (works, text) = traced(&world, to);
        assert!(works == connects && text.contains(said), "{to}: {text}");
    }
}

#[test]
fn the_answer_says_when_only_some_endpoints_are_reached() {
    let closed = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    let mut world = world(&[("closed", closed)]);
    let endpoints = json!([{"addresses": ["10.244.0.2"]}, {"addresses": ["10.244.0.3"]}]);
    world.slices[0].value_mut()["endpoints"] = endpoints;
    let (works, text) = traced(&world, "web:80");
    assert!(
        works && text.contains("answer    it connects now and then: 1 of 2 endpoints"),
        "{text}"
    );
}

#[test]
fn who_is_cut_off_is_shown_and_told() {
    let mut world = world(&[]);
    let metadata = json!({"name": "default", "annotations": {"kubelocal.dev/egress": "false"}});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
    world.namespaces.push(Object::new(namespace).expect("of the table"));
    let (works, text) = traced(&world, "192.0.2.1:443");
    assert!(!works && text.contains("kubelocal.dev/egress is \"false\""), "{text}");
    let status = json!({"version": "", "kubernetesVersion": "", "pid": 1, "startedAt": "2026-01-01T00:00:00Z", "home": "", "mode": "",
        "runtime": "", "pods": 2, "runningPods": 2});
    let status = serde_json::from_value(status).expect("a status");
    let shown = super::wiring::show(&world, &status);
    let row = shown.lines().find(|line| line.contains("client")).expect("is shown");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert!(words.ends_with(&["open", "cut", "off"]), "{shown}");
}

#[test]
fn by_ipv6_a_connection_is_followed_as_by_ipv4_between_those_that_have_it() {
    let closed = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    let mut world = world(&[("closed", closed)]);
    let (works, text) = traced(&world, "[fd00:10:244::2]:8080");
    assert!(!works && text.contains("the pod has no address of IPv6"), "{text}");
    for (pod, place) in world.pods.iter_mut().zip([2, 3]) {
        let ips = json!([{"ip": format!("10.244.0.{place}")}, {"ip": format!("fd00:10:244::{place}")}]);
        pod.value_mut()["status"]["podIPs"] = ips;
    }
    world.services[0].value_mut()["spec"]["clusterIPs"] = json!(["10.96.0.7", "fd00:10:96::7"]);
    let mut slice = world.slices[0].clone();
    slice.value_mut()["addressType"] = "IPv6".into();
    slice.value_mut()["endpoints"][0]["addresses"] = json!(["fd00:10:244::2"]);
    world.slices.push(slice);
    for (to, said) in [
        ("[fd00:10:96::7]:80", "port 80 leads to [fd00:10:244::2]:8080\n"),
        ("[fd00:10:244::2]:8080", "dropped: isolated by default/closed"),
        ("web:80", "port 80 leads to 10.244.0.2:8080\n"),
    ] {
        let (works, text) = traced(&world, to);
        assert!(!works && text.contains(said), "{to}: {text}");
    }
    let (works, text) = traced(&world, "[2001:db8::1]:443");
    assert!(works && text.contains("the host's own routes decide"), "{text}");
}

#[test]
fn who_may_not_leave_can_not_even_ask_for_names() {
    let sealed = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    let (connects, text) = traced(&world(&[("sealed", sealed)]), "web:80");
    assert!(
        !connects && text.contains("names     can't be asked for: dropped"),
        "{text}"
    );
}

#[test]
fn what_is_not_there_is_said() {
    let ask = |from, to| {
        trace(
            &world(&[]),
            &Asked {
                from,
                to,
                is_udp: false,
                namespace: "default",
            },
        )
    };
    assert_eq!(ask("none", "web:80"), Err("there is no pod default/none".to_owned()));
    assert_eq!(ask("client", "web:70000"), Err("\"70000\" is no port".to_owned()));
    assert!(ask("client", "10.244.0.2:http").is_err_and(|why| why.contains("only Services and pods")));
    assert!(ask("client", "example.org:80").is_err_and(|why| why.contains("neither a Service nor a pod")));
    assert_eq!(ask("client", "pod/web"), Err("which port? TO:PORT".to_owned()));
}

#[test]
fn policies_that_nobody_enforces_are_in_nobodys_way() {
    let closed = ("closed", json!({"podSelector": {}}));
    let mut world = world(&[closed]);
    assert!(!traced(&world, "web:80").0);
    let condition =
        json!({"type": "ServiceRules", "status": "False", "message": "the node's own proxy serves Services"});
    let conditions = world.nodes[0].value_mut()["status"]["conditions"].as_array_mut();
    conditions.expect("a list").push(condition);
    let (reached, text) = traced(&world, "web:80");
    assert!(reached, "{text}");
    assert_eq!(world.carried(), Some("the node's own proxy serves Services"));
}
