use serde_json::Value;

use super::*;

fn service(name: &str, spec: Value) -> Object {
    let metadata = json!({"name": name, "namespace": "default", "uid": format!("uid-of-{name}")});
    Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).expect("a Service")
}

fn planned(spec: Value, others: &[&str]) -> (Option<Value>, Vec<String>) {
    let others = others.iter().enumerate().map(|(place, ip)| {
        let other = service(&format!("other-{place}"), json!({"clusterIP": ip}));
        Arc::new(other)
    });
    let plan = plan_address(&service("web", spec), || others.collect());
    let mut written = None;
    let mut told = Vec::new();
    for step in plan.steps {
        match step {
            super::super::plan::Step::Write(Write::Update(object)) => written = object.at("/spec").cloned(),
            super::super::plan::Step::Tell(note) => told.push(note.reason.to_owned()),
            other => panic!("{other:?}"),
        }
    }
    (written, told)
}

#[test]
fn a_service_without_an_address_gets_one_that_nobody_has() {
    let (written, told) = planned(json!({"ports": []}), &[]);
    let spec = written.expect("is given one");
    let first: Ipv4Addr = spec["clusterIP"].as_str().expect("text").parse().expect("an address");
    assert!(is_service(first) && told.is_empty());
    assert_eq!(spec["clusterIPs"], json!([first.to_string()]));
    assert_eq!(
        (&spec["ipFamilies"], &spec["ipFamilyPolicy"]),
        (&json!(["IPv4"]), &json!("SingleStack"))
    );
    let (written, _) = planned(json!({"ports": []}), &[&first.to_string()]);
    assert_ne!(
        written.expect("is given another")["clusterIP"],
        json!(first.to_string())
    );
}

#[test]
fn one_that_is_complete_headless_or_external_stays_as_it_is() {
    let complete = json!({"clusterIP": "10.96.3.4", "clusterIPs": ["10.96.3.4"], "ipFamilies": ["IPv4"]});
    assert_eq!(planned(complete, &[]), (None, Vec::new()));
    assert_eq!(
        planned(json!({"type": "ExternalName", "externalName": "x.org"}), &[]),
        (None, Vec::new())
    );
    let (written, _) = planned(json!({"clusterIP": "None"}), &[]);
    assert_eq!(written.expect("its lists are filled in")["clusterIPs"], json!(["None"]));
}

#[test]
fn an_address_that_was_asked_for_is_kept_and_what_is_wrong_with_it_told() {
    for (asked, reasons) in [
        ("10.96.0.7", &[][..]),
        ("10.96.0.9", &["ClusterIPAlreadyAllocated"]),
        ("192.0.2.1", &["ClusterIPOutOfRange"]),
    ] {
        let (written, told) = planned(json!({"clusterIP": asked}), &["10.96.0.9"]);
        assert_eq!(
            (written.expect("is written")["clusterIP"].as_str(), &told[..]),
            (
                Some(asked),
                &reasons.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>()[..]
            )
        );
    }
}
