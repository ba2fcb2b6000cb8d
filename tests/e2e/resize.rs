//! Containers that get other resources while they run. That the kernel then enforces them is tested where it can, in a virtual machine
//! (`tests/vm.rs`).

use serde_json::{Value, json};

use crate::home::Home;
use crate::kubectl::with_each;
use crate::manifest::{Manifest, pod};

fn asking(requests: Value) -> Manifest {
    pod("web", "serve").with("/spec/containers/0/resources", json!({"requests": requests}))
}

/// What tells one life of the pod from another: its uid, its container's id and restarts.
fn life(home: &Home) -> [Value; 3] {
    let of = |field: &str| home.field("pod web", field);
    [
        of("/metadata/uid"),
        of("/status/containerStatuses/0/containerID"),
        of("/status/containerStatuses/0/restartCount"),
    ]
}

fn given(home: &Home) -> Value {
    home.field("pod web", "/status/containerStatuses/0/resources/requests")
}

fn condition(home: &Home, kind: &str) -> Value {
    let conditions = home.field("pod web", "/status/conditions");
    let mut all = conditions.as_array().into_iter().flatten();
    all.find(|c| c["type"] == kind).cloned().unwrap_or_default()
}

#[test]
fn a_file_whose_resources_change_changes_them_in_the_pod_that_runs() {
    let home = Home::new();
    home.write("web.yaml", asking(json!({"cpu": "100m", "memory": "16Mi"})));
    home.must("get nodes");
    home.until_ready("web");
    let before = life(&home);
    let more = json!({"cpu": "200m", "memory": "24Mi"});
    home.write("web.yaml", asking(more.clone()));
    home.until("they are given", || given(&home) == more);
    assert_eq!(life(&home), before);
    assert_eq!(
        home.field("pod web", "/status/containerStatuses/0/allocatedResources"),
        more
    );
    assert_eq!(condition(&home, "PodResizeInProgress"), Value::Null);
    let events = home.must("events --for pod/web");
    assert!(events.contains("Pod resize completed: main"), "{events}");
    // A class of service is for life: the pod is replaced.
    let exact = json!({"requests": {"cpu": "100m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "16Mi"}});
    home.write(
        "web.yaml",
        pod("web", "serve").with("/spec/containers/0/resources", exact),
    );
    home.until("it is another pod", || {
        home.text("pod web", "/status/qosClass") == "Guaranteed"
    });
    assert_ne!(life(&home)[0], before[0]);
}

#[test]
fn a_container_that_says_so_is_restarted_for_other_resources() {
    let home = Home::new();
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let asking = |memory: &str| {
        let requests = json!({"cpu": "100m", "memory": memory});
        asking(requests).with("/spec/containers/0/resizePolicy", policy.clone())
    };
    home.write("web.yaml", asking("16Mi"));
    home.must("get nodes");
    home.until_ready("web");
    let before = life(&home);
    home.write("web.yaml", asking("24Mi"));
    home.until("it was restarted", || life(&home)[2] == 1);
    home.until("it has them", || given(&home)["memory"] == "24Mi");
    home.until_ready("web");
    assert_eq!(life(&home)[0], before[0]);
    let events = home.must("events --for pod/web");
    assert!(events.contains("Container main resize requires restart"), "{events}");
}

#[test]
fn what_the_node_has_no_room_for_waits_and_the_pod_keeps_what_it_has() {
    let home = Home::new();
    let memory = home.text("nodes", "/items/0/status/allocatable/memory");
    let memory: u64 = memory.trim_end_matches("Ki").parse().expect("the node says");
    let percent = |percent: u64| json!({"memory": format!("{}Ki", memory * percent / 100)});
    let other = asking(percent(50)).with("/metadata/name", json!("other"));
    home.start(other);
    home.write("web.yaml", asking(percent(10)));
    home.until_ready("web");
    let before = life(&home);
    home.write("web.yaml", asking(percent(200)));
    home.until("it can't be", || {
        condition(&home, "PodResizePending")["reason"] == "Infeasible"
    });
    let message = condition(&home, "PodResizePending")["message"].to_string();
    assert!(
        message.contains("Node didn't have enough capacity: memory, requested: "),
        "{message}"
    );
    assert_eq!(given(&home), percent(10));
    home.write("web.yaml", asking(percent(60)));
    home.until("it waits", || {
        condition(&home, "PodResizePending")["reason"] == "Deferred"
    });
    let message = condition(&home, "PodResizePending")["message"].to_string();
    assert!(
        message.contains("Node didn't have enough resource: memory, requested: "),
        "{message}"
    );
    assert_eq!(
        home.field("pod web", "/status/containerStatuses/0/allocatedResources"),
        percent(10)
    );
    home.must("delete pod other");
    home.until("there is room", || given(&home) == percent(60));
    assert_eq!(condition(&home, "PodResizePending"), Value::Null);
    assert_eq!(life(&home), before);
    let events = home.must("events --for pod/web");
    assert!(
        events.contains("ResizeInfeasible") && events.contains("ResizeDeferred"),
        "{events}"
    );
}

#[test]
fn kubectl_resizes_and_is_told_what_can_not_be() {
    let home = Home::new();
    home.start(asking(json!({"cpu": "100m", "memory": "16Mi"})));
    let patch =
        |resources: Value| json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}).to_string();
    with_each(&home, |kubectl| {
        // Older ones know no such subresource.
        if kubectl.minor() < 32 {
            return;
        }
        let cpu = format!("{}m", 200 + kubectl.minor());
        let words = |resources: Value| {
            let patch = patch(resources);
            let words = ["patch", "pod", "web", "--subresource", "resize", "--patch", &patch].map(str::to_owned);
            words.to_vec()
        };
        let run = |words: Vec<String>| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = kubectl.command(&words).output().expect("kubectl runs");
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        let said = run(words(json!({"requests": {"cpu": cpu}})));
        assert!(said.contains("pod/web patched"), "{said}");
        home.until("it is given", || given(&home)["cpu"] == cpu.as_str());
        let said = run(words(json!({"requests": {"ephemeral-storage": "1Gi"}})));
        assert!(said.contains("only cpu and memory resources are mutable"), "{said}");
        let said = run(words(json!({"limits": {"cpu": cpu, "memory": "16Mi"}})));
        assert!(
            said.contains("Pod QOS Class may not change as a result of resizing"),
            "{said}"
        );
        let plain = patch(json!({"requests": {"cpu": "999m"}}));
        let said = run(["patch", "pod", "web", "--patch", &plain].map(str::to_owned).to_vec());
        assert!(said.contains("pod updates may not change fields other than"), "{said}");
    });
    assert_eq!(life(&home)[2], 0);
}
