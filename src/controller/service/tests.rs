use serde_json::{Value, json};

use super::super::plan::Step;
use super::*;

fn service(name: &str, second: u8, spec: Value) -> Object {
    let created = format!("2026-01-01T00:00:{second:02}Z");
    let metadata = json!({"name": name, "namespace": "default", "creationTimestamp": created});
    Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).expect("a Service")
}

fn whole(ip: &str) -> Value {
    json!({"clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
}

/// What becomes of a Service of the 30th second among others: the spec that is written, and what is told.
fn planned(spec: Value, others: &[Object]) -> (Option<Value>, Vec<String>) {
    let web = service("web", 30, spec);
    let all: Vec<_> = others.iter().chain([&web]).cloned().map(Arc::new).collect();
    let mut written = None;
    let mut told = Vec::new();
    for step in plan_service(&web, |_| all.clone()).steps {
        match step {
            Step::Write(Write::Update(object)) => written = object.at("/spec").cloned(),
            Step::Tell(note) => told.push(format!("{}: {}", note.reason, note.message)),
            other @ Step::Write(_) => panic!("{other:?}"),
        }
    }
    (written, told)
}

#[test]
fn a_service_of_an_earlier_version_gets_what_it_lacks() {
    let (written, told) = planned(json!({"type": "NodePort", "ports": [{"port": 80}]}), &[]);
    let spec = written.expect("is completed");
    assert!(told.is_empty() && spec["ports"][0]["nodePort"].is_number(), "{spec}");
    assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
    assert_eq!(
        planned(whole("10.96.3.4"), &[]),
        (None, Vec::new()),
        "nothing is missing"
    );
    let external = json!({"type": "ExternalName", "externalName": "x.org"});
    assert_eq!(planned(external, &[]), (None, Vec::new()));
}

#[test]
fn who_has_the_address_of_an_elder_is_told_and_the_elder_is_not() {
    let others = [
        service("z-elder", 10, whole("10.96.3.4")),
        service("a-younger", 50, whole("10.96.3.5")),
    ];
    for (address, expected) in [
        (
            "10.96.3.4",
            Some("ClusterIPAlreadyAllocated: cluster IP 10.96.3.4 is that of Service default/z-elder, which keeps it"),
        ),
        ("10.96.3.5", None),
        (
            "10.96.0.10",
            Some("ClusterIPAlreadyAllocated: cluster IP 10.96.0.10 is the node's own"),
        ),
        (
            "192.0.2.1",
            Some("ClusterIPOutOfRange: cluster IP 192.0.2.1 is not within"),
        ),
        ("None", None),
    ] {
        let (written, told) = planned(whole(address), &others);
        assert_eq!(written, None);
        match expected {
            Some(expected) => assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}"),
            None => assert!(told.is_empty(), "{told:?}"),
        }
    }
}
