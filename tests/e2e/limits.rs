//! Requests and limits as far as any machine shows them: what is told of them, and what pods use. That they hold is tested where they can,
//! in a virtual machine (`tests/vm.rs`).

use serde_json::json;

use crate::home::Home;
use crate::manifest::{documents, pod};

#[test]
fn a_containers_resources_are_in_its_status() {
    let home = Home::new();
    let asked = json!({"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}});
    home.start(pod("web", "serve").with("/spec/containers/0/resources", asked.clone()));
    let status = home.field("pod web", "/status/containerStatuses/0");
    assert_eq!(status["resources"], asked);
    assert_eq!(status["allocatedResources"], asked["requests"]);
    assert_eq!(home.text("pod web", "/status/qosClass"), "Burstable");
}

#[test]
fn limits_are_enforced_or_their_absence_is_told() {
    let home = Home::new();
    home.start(pod("web", "serve").with("/spec/containers/0/resources", json!({"limits": {"memory": "64Mi"}})));
    let status = home.must("status");
    let has_memory = status
        .lines()
        .any(|line| line.starts_with("Cgroups: ") && line.contains(" memory"));
    let conditions = home.field("pod web", "/status/conditions");
    let conditions = conditions.as_array().expect("conditions");
    let told = conditions.iter().find(|c| c["type"] == "kubelocal.dev/LimitsEnforced");
    if has_memory {
        assert_eq!(told, None, "{status}");
        return;
    }
    assert!(status.contains("limits of pods are not enforced"), "{status}");
    let told = told.expect("the condition says what is not enforced");
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&json!("False"), &json!("NoControllers"))
    );
    let events = home.must("get events");
    assert!(
        events.contains("LimitsNotEnforced") && events.contains("(memory)"),
        "{events}"
    );
    let doctor = home.run("doctor").stdout;
    assert!(
        doctor.contains("cgroups: ") && doctor.contains("limits are not enforced"),
        "{doctor}"
    );
}

#[test]
fn top_shows_what_pods_and_the_node_use() {
    let home = Home::new();
    home.start(documents([
        pod("busy", "spin"),
        pod("full", "eat 40").with("/metadata/labels", json!({"app": "full"})),
    ]));
    home.until("it has eaten", || home.must("logs full").contains("ate 40"));
    let number = |cell: &str, unit: &str| -> u64 {
        let digits = cell
            .strip_suffix(unit)
            .unwrap_or_else(|| panic!("{cell} has no {unit}"));
        digits.parse().expect("a number")
    };
    let shown = home.must("top pod --sort-by cpu");
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "CPU(cores)", "MEMORY(bytes)"]);
    assert_eq!((rows[1][0], rows[2][0]), ("busy", "full"), "{shown}");
    assert!(number(rows[1][1], "m") > 0, "{shown}");
    assert!((40..80).contains(&number(rows[2][2], "Mi")), "{shown}");
    let one = home.must("top pod -A -l app=full --containers --no-headers");
    assert!(
        one.starts_with("default") && one.contains("full") && one.lines().count() == 1,
        "{one}"
    );
    let node = home.must("top node");
    assert!(
        node.starts_with("NAME") && node.contains("CPU(%)") && node.contains('%'),
        "{node}"
    );
    let missing = home.fails("top pod nobody");
    assert!(
        missing.contains("podmetrics.metrics.k8s.io \"default/nobody\" not found"),
        "{missing}"
    );
}
