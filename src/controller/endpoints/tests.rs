use super::super::fixtures::{Fixture, pod};
use super::super::plan::Step;
use super::*;

fn service(spec: Value) -> Object {
    let metadata = json!({"name": "web", "namespace": "default", "uid": "uid-of-web", "labels": {"tier": "front"}});
    Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).expect("a Service")
}

fn plain() -> Object {
    service(
        json!({"clusterIP": "10.96.3.4", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}),
    )
}

fn serving(name: &str, ip: &str, port: i64) -> Fixture {
    pod(name).status("podIP", ip).spec("nodeName", "node").spec(
        "containers",
        json!([{"name": "main", "ports": [{"name": "http", "containerPort": port}]}]),
    )
}

fn written(plan: &Plan, kind: &str) -> Vec<Value> {
    let object = |step: &Step| match step {
        Step::Write(Write::Create(object) | Write::Update(object)) => Some(object.value().clone()),
        Step::Write(Write::Delete { key, .. }) => Some(json!({"kind": key.kind().kind, "deleted": key.name})),
        _ => None,
    };
    let all = plan.steps.iter().filter_map(object);
    all.filter(|value| value["kind"] == kind).collect()
}

fn planned(service: &Object, pods: &[Fixture]) -> Plan {
    let pods: Vec<_> = pods.iter().map(Fixture::shared).collect();
    plan_endpoints(service, &pods, None, &[])
}

#[test]
fn pods_are_endpoints_with_the_number_that_a_ports_name_has_in_them() {
    let plan = planned(
        &plain(),
        &[serving("a", "10.244.0.2", 8080), serving("b", "10.244.0.3", 9090)],
    );
    let slices = written(&plan, "EndpointSlice");
    assert_eq!(slices.len(), 2, "another number is another slice");
    assert_eq!(
        slices[0]["ports"],
        json!([{"name": "", "port": 8080, "protocol": "TCP"}])
    );
    assert_eq!(slices[0]["metadata"]["labels"]["kubernetes.io/service-name"], "web");
    assert_eq!(slices[0]["metadata"]["labels"]["tier"], "front");
    assert_eq!(slices[0]["metadata"]["ownerReferences"][0]["uid"], "uid-of-web");
    let endpoint = &slices[0]["endpoints"][0];
    assert_eq!(endpoint["addresses"], json!(["10.244.0.2"]));
    assert_eq!(
        endpoint["conditions"],
        json!({"ready": true, "serving": true, "terminating": false})
    );
    let endpoints = written(&plan, "Endpoints");
    assert_eq!(endpoints[0]["subsets"][1]["addresses"][0]["ip"], "10.244.0.3");
    assert_eq!(
        endpoints[0]["subsets"][1]["ports"],
        json!([{"port": 9090, "protocol": "TCP"}])
    );
}

#[test]
fn who_is_not_ready_ends_or_has_ended_gets_no_traffic() {
    let unready = serving("unready", "10.244.0.3", 80).status("conditions", json!([]));
    let ending = serving("ending", "10.244.0.4", 80).metadata("deletionTimestamp", "2026-01-01T00:00:00Z");
    let ended = serving("ended", "10.244.0.5", 80).phase("Succeeded");
    let nowhere = pod("nowhere");
    let pods = [unready, ending, ended, nowhere];
    let slices = written(&planned(&plain(), &pods), "EndpointSlice");
    let conditions: Vec<_> = slices[0]["endpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|endpoint| endpoint["conditions"].clone())
        .collect();
    assert_eq!(
        conditions,
        [
            json!({"ready": false, "serving": false, "terminating": false}),
            json!({"ready": false, "serving": true, "terminating": true}),
        ]
    );
    let endpoints = written(&planned(&plain(), &pods), "Endpoints");
    assert!(endpoints[0]["subsets"][0].get("addresses").is_none());
    assert_eq!(
        endpoints[0]["subsets"][0]["notReadyAddresses"].as_array().map(Vec::len),
        Some(1)
    );
    let mut always = plain();
    always.value_mut()["spec"]["publishNotReadyAddresses"] = true.into();
    let slices = written(&planned(&always, &pods), "EndpointSlice");
    assert_eq!(slices[0]["endpoints"][0]["conditions"]["ready"], true);
}

#[test]
fn only_pods_that_say_so_have_a_name_in_the_services_domain() {
    let named = serving("a", "10.244.0.2", 80)
        .spec("hostname", "db")
        .spec("subdomain", "web");
    let elsewhere = serving("b", "10.244.0.3", 80)
        .spec("hostname", "db")
        .spec("subdomain", "other");
    let slices = written(&planned(&plain(), &[named, elsewhere]), "EndpointSlice");
    assert_eq!(slices[0]["endpoints"][0]["hostname"], "db");
    assert!(slices[0]["endpoints"][1].get("hostname").is_none());
}

#[test]
fn what_is_as_it_should_be_is_not_written_again_and_what_is_too_much_goes() {
    let pods = [
        serving("a", "10.244.0.2", 8080).shared(),
        serving("b", "10.244.0.3", 9090).shared(),
    ];
    let first = plan_endpoints(&plain(), &pods, None, &[]);
    let present = |kind: &str| -> Vec<Arc<Object>> {
        let values = written(&first, kind).into_iter();
        values
            .map(|value| Arc::new(Object::new(value).expect("an object")))
            .collect()
    };
    let (slices, endpoints) = (present("EndpointSlice"), present("Endpoints"));
    let again = plan_endpoints(&plain(), &pods, Some(&endpoints[0]), &slices);
    assert_eq!(again, Plan::default());
    let fewer = plan_endpoints(&plain(), &pods[..1], Some(&endpoints[0]), &slices);
    let deleted = written(&fewer, "EndpointSlice");
    assert_eq!(
        deleted,
        [json!({"kind": "EndpointSlice", "deleted": slices[1].key().name})]
    );
}

#[test]
fn a_service_without_pods_has_a_slice_without_endpoints() {
    let plan = planned(&plain(), &[]);
    let slices = written(&plan, "EndpointSlice");
    assert_eq!((&slices[0]["endpoints"], &slices[0]["ports"]), (&json!([]), &json!([])));
    assert!(written(&plan, "Endpoints")[0].get("subsets").is_none());
}

#[test]
fn hand_made_endpoints_become_slices_unless_they_say_no() {
    let own = service(json!({"clusterIP": "10.96.3.4", "ports": [{"port": 80}]}));
    let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}]);
    let mut endpoints =
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "default"}});
    endpoints["subsets"] = subsets;
    let object = |value: &Value| Object::new(value.clone()).expect("an object");
    let slices = written(&plan_mirror(&own, Some(&object(&endpoints)), &[]), "EndpointSlice");
    let of = |slice: &Value| (slice["addressType"].clone(), slice["endpoints"][0]["addresses"].clone());
    assert_eq!(
        slices.iter().map(of).collect::<Vec<_>>(),
        [
            (json!("IPv4"), json!(["192.0.2.1"])),
            (json!("IPv6"), json!(["2001:db8::1"]))
        ],
        "one family in a slice"
    );
    assert_eq!(
        slices[0]["ports"],
        json!([{"name": "", "port": 5432, "protocol": "TCP"}])
    );
    endpoints["metadata"]["labels"] = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
    assert_eq!(plan_mirror(&own, Some(&object(&endpoints)), &[]), Plan::default());
}

#[test]
fn a_service_of_both_families_has_slices_of_both_and_endpoints_of_its_first() {
    let pods = [
        serving("a", "10.244.0.2", 8080).status("podIPs", json!([{"ip": "10.244.0.2"}, {"ip": "fd00:10:244::2"}])),
        serving("old", "10.244.0.3", 8080).status("podIPs", json!([{"ip": "10.244.0.3"}])),
    ];
    let planned = |families: Value| {
        let spec =
            json!({"clusterIP": "x", "ipFamilies": families, "selector": {"app": "web"}, "ports": [{"port": 80}]});
        planned(&service(spec), &pods)
    };
    let slices = |plan: &Plan| -> Vec<(Value, Vec<Value>)> {
        let of = |slice: Value| {
            let endpoints = slice["endpoints"].as_array().expect("a list").iter();
            let ips = endpoints.map(|endpoint| endpoint["addresses"][0].clone());
            (slice["addressType"].clone(), ips.collect())
        };
        written(plan, "EndpointSlice").into_iter().map(of).collect()
    };
    let first = (json!("IPv4"), vec![json!("10.244.0.2"), json!("10.244.0.3")]);
    let second = (json!("IPv6"), vec![json!("fd00:10:244::2")]);
    let both = planned(json!(["IPv4", "IPv6"]));
    assert_eq!(slices(&both), [first, second.clone()]);
    let names: std::collections::BTreeSet<String> = written(&both, "EndpointSlice")
        .iter()
        .map(|slice| slice["metadata"]["name"].to_string())
        .collect();
    assert_eq!(names.len(), 2);
    let endpoints = written(&both, "Endpoints");
    assert_eq!(endpoints[0]["subsets"][0]["addresses"][0]["ip"], "10.244.0.2");
    let only = planned(json!(["IPv6"]));
    assert_eq!(slices(&only), [second]);
    let endpoints = written(&only, "Endpoints");
    assert_eq!(endpoints[0]["subsets"][0]["addresses"][0]["ip"], "fd00:10:244::2");
}
