//! Which pods run on the node, which wait, and which give way.

use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, documents, pod};

/// A pod that asks for this share of the node's memory.
fn heavy(home: &Home, name: &str, percent: u64, class: &str) -> Manifest {
    let node = home.get("nodes");
    let memory = node
        .pointer("/items/0/status/allocatable/memory")
        .and_then(Value::as_str);
    let memory = memory
        .and_then(|text| text.strip_suffix("Ki")?.parse::<u64>().ok())
        .expect("the node says");
    let requests = json!({"requests": {"memory": format!("{}Ki", memory * percent / 100)}});
    let pod = pod(name, "sleep forever").with("/spec/containers/0/resources", requests);
    if class.is_empty() {
        pod
    } else {
        pod.with("/spec/priorityClassName", json!(class))
    }
}

fn scheduled(home: &Home, pod: &str) -> Value {
    let conditions = home.field(&format!("pod {pod}"), "/status/conditions");
    let mut all = conditions.as_array().into_iter().flatten();
    all.find(|c| c["type"] == "PodScheduled").cloned().unwrap_or_default()
}

#[test]
fn a_pod_that_does_not_fit_waits_until_it_does_and_says_why() {
    let home = Home::new();
    home.start(heavy(&home, "first", 70, ""));
    let second = home.file("b.yaml", heavy(&home, "second", 60, ""));
    home.must(format!("apply -f {second}"));
    home.until("it is told", || scheduled(&home, "second")["status"] == "False");
    let told = scheduled(&home, "second");
    let message = "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: \
                   1 No preemption victims found for incoming pod.";
    assert_eq!(
        (&told["reason"], &told["message"]),
        (&json!("Unschedulable"), &json!(message))
    );
    assert_eq!(home.text("pod second", "/status/phase"), "Pending");
    assert_eq!(home.text("pod second", "/spec/nodeName"), "");
    let events = home.must("events --for pod/second");
    assert!(
        events.contains("FailedScheduling") && events.contains(message),
        "{events}"
    );
    home.must("delete pod first");
    home.until_ready("second");
    assert_eq!(scheduled(&home, "second")["status"], "True");
    // One that never was on the node goes at once.
    let nowhere = pod("nowhere", "serve").with("/spec/nodeSelector", json!({"disk": "tape"}));
    home.must(format!("apply -f {}", home.file("c.yaml", nowhere)));
    home.until("it is told", || {
        let message = scheduled(&home, "nowhere")["message"].to_string();
        message.contains("1 node(s) didn't match Pod's node affinity/selector.")
    });
    home.must("delete pod nowhere");
    home.until_gone("pod nowhere");
}

#[test]
fn a_less_important_pod_gives_way() {
    let home = Home::new();
    let class = Manifest(json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": "high"}, "value": 1000}));
    home.start(heavy(&home, "lesser", 70, ""));
    let greater = heavy(&home, "greater", 60, "high");
    home.must(format!("apply -f {}", home.file("b.yaml", documents([class, greater]))));
    home.until_ready("greater");
    home.until_gone("pod lesser");
    assert_eq!(home.field("pod greater", "/spec/priority"), 1000);
    let events = home.must("events");
    assert!(events.contains("Preempted"), "{events}");
}

#[test]
fn what_users_write_into_annotations_takes_no_pod_past_its_gates() {
    let home = Home::new();
    let gated = pod("gated", "sleep forever")
        .with("/metadata/annotations", json!({"kubelocal.dev/orphan": "false"}))
        .with("/spec/schedulingGates", json!([{"name": "example.com/g"}]));
    home.must(format!("apply -f {}", home.file("a.yaml", gated)));
    home.until("it is told", || {
        scheduled(&home, "gated")["reason"] == "SchedulingGated"
    });
    // Whoever came later has run.
    let later = home.file("b.yaml", pod("later", "sleep forever"));
    home.must(format!("apply -f {later}"));
    home.until_ready("later");
    assert_eq!(scheduled(&home, "gated")["status"], "False");
    assert_eq!(home.text("pod gated", "/status/podIP"), "");
    home.must("delete pod gated");
}

#[test]
fn a_gated_pod_waits_for_its_gates() {
    let home = Home::new();
    let gated = |gates: Value| pod("gated", "serve").with("/spec/schedulingGates", gates);
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", gated(json!([{"name": "example.com/g"}])))
    ));
    home.until("it is told", || {
        scheduled(&home, "gated")["reason"] == "SchedulingGated"
    });
    home.must(format!("apply -f {}", home.file("a.yaml", gated(json!([])))));
    home.until_ready("gated");
}
