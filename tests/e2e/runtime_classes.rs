//! RuntimeClasses: which OCI runtime makes a pod's containers, what it costs, and who is refused.

use std::fs;

use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, documents, pod};

fn class(name: &str, handler: &str) -> Manifest {
    Manifest(
        json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler}),
    )
}

fn of_class(name: &str, class: &str) -> Manifest {
    pod(name, "serve").with("/spec/runtimeClassName", json!(class))
}

/// The OCI runtime that the pod's supervisor was given.
fn oci_runtime(home: &Home, pod: &str) -> Value {
    let uid = home.text(&format!("pod {pod}"), "/metadata/uid");
    let record = fs::read(home.path("pods").join(uid).join("sandbox.json")).expect("a record");
    let record: Value = serde_json::from_slice(&record).expect("is JSON");
    record["oci_runtime"].clone()
}

#[test]
fn a_pods_class_chooses_its_runtime_and_says_what_it_costs() {
    let home = Home::new();
    let costly = class("costly", "crun")
        .with("/overhead", json!({"podFixed": {"memory": "8Mi"}}))
        .with("/scheduling/nodeSelector", json!({"kubernetes.io/os": "linux"}))
        .with(
            "/scheduling/tolerations",
            json!([{"key": "slow", "operator": "Exists"}]),
        );
    let path = home.write(
        "a.yaml",
        documents([
            costly.clone(),
            class("plain", "kubelocal"),
            of_class("crunned", "costly"),
            of_class("embedded", "plain"),
            pod("classless", "serve"),
        ]),
    );
    let node = home.must("get nodes -o yaml");
    assert!(
        node.contains("name: crun\n"),
        "crun is missing on this machine: apt-get install crun\n{node}"
    );
    for pod in ["crunned", "embedded", "classless"] {
        home.until_ready(pod);
    }
    assert_eq!(oci_runtime(&home, "crunned")["kind"], "Crun");
    assert_eq!(oci_runtime(&home, "embedded"), Value::Null);
    assert_eq!(home.field("pod crunned", "/spec/overhead"), json!({"memory": "8Mi"}));
    let selector = home.field("pod crunned", "/spec/nodeSelector");
    assert_eq!(selector, json!({"kubernetes.io/os": "linux"}));
    let listed = home.must("get runtimeclasses");
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        (&rows[0][..], rows[1][1]),
        (&["NAME", "HANDLER", "AGE"][..], "crun"),
        "{listed}"
    );
    // What the class gave is not taken away by the file, which knows nothing of it: the pod stays the same.
    let uid = home.text("pod crunned", "/metadata/uid");
    let crunned = of_class("crunned", "costly").with("/metadata/labels", json!({"new": "label"}));
    fs::write(path, documents([costly, crunned])).expect("writes");
    home.until("the label is there", || {
        home.text("pod crunned", "/metadata/labels/new") == "label"
    });
    assert_eq!(home.text("pod crunned", "/metadata/uid"), uid);
    let tolerations = home.field("pod crunned", "/spec/tolerations").to_string();
    assert!(tolerations.contains("slow"), "{tolerations}");
}

#[test]
fn a_pod_whose_class_is_not_there_is_refused_until_it_is() {
    let home = Home::new();
    let path = home.write("a.yaml", of_class("early", "late"));
    let said = "pod/early: pod rejected: RuntimeClass \"late\" not found";
    let told = || {
        home.get("sources")
            .pointer("/items/0/status/problems/0")
            .cloned()
            .unwrap_or_default()
    };
    home.until("the source says it", || told()["message"] == said);
    assert_eq!((&told()["file"], &told()["line"]), (&json!(path), &json!(1)));
    home.write("b.yaml", class("late", "kubelocal"));
    home.until_ready("early");
}

#[test]
fn a_handler_that_the_node_does_not_have_is_told_by_its_name() {
    let home = Home::new();
    let all = documents([class("strange", "firecracker"), of_class("strange", "strange")]);
    home.must(format!("apply -f {}", home.file("a.yaml", all)));
    let said =
        "Failed to create pod sandbox: failed to get sandbox runtime: no runtime for \"firecracker\" is configured";
    home.until("it is told", || {
        let events = home.must("events --for pod/strange");
        events.contains("FailedCreatePodSandBox") && events.contains(said)
    });
    assert_eq!(home.text("pod strange", "/status/phase"), "Pending");
    // Its containers are those of a program that the settings name.
    home.must("stop");
    fs::write(home.path("config.yaml"), "runtimes: {firecracker: embedded}\n").expect("writes");
    home.until_ready("strange");
}
