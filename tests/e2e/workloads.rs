//! Objects that make objects: Deployments, namespaces, owners.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{config_map, deployment, documents, namespace, pod};

#[test]
fn a_namespace_takes_all_it_holds_with_it() {
    let home = Home::new();
    let file = home.file(
        "a.yaml",
        documents([
            pod("web", "serve").in_namespace("team"),
            deployment("api", 2, "serve").in_namespace("team"),
            config_map("c", json!({"k": "v"})).in_namespace("team"),
            namespace("team"),
            pod("web", "serve"),
        ]),
    );
    home.must(format!("watch --once {file}"));
    assert_eq!(home.must("get pods -n team -o name").lines().count(), 3);
    home.must(format!("down {file}"));
    home.must(format!("apply -f {file}"));
    home.must("wait --for=condition=Available deployment/api -n team --timeout=60s");
    home.must("delete namespace team");
    assert!(home.get("namespace team").is_null());
    assert_eq!(home.must("get pods -A -o name"), "pod/web\n");
}

#[test]
fn deleting_an_owner_deletes_what_it_owns_unless_it_is_to_be_orphaned() {
    let home = Home::new();
    let file = home.file(
        "a.yaml",
        documents([deployment("gone", 2, "serve"), deployment("kept", 1, "serve")]),
    );
    home.must(format!("apply -f {file}"));
    home.must("wait --for=condition=Available deployment --all --timeout=60s");
    home.must("delete deployment gone");
    home.until("its pods are gone", || home.pods("app=gone").is_empty());
    let kept = home.pods("app=kept");
    home.must("delete deployment kept --cascade=orphan");
    assert_eq!(home.pods("app=kept"), kept);
    assert_eq!(home.must("get rs -o name").lines().count(), 1);
    home.must("delete rs -l app=kept");
    home.until("its pods are gone too", || home.pods("").is_empty());
}

#[test]
fn a_deleted_pod_of_a_deployment_is_replaced() {
    let home = Home::new();
    home.must(format!(
        "watch --once {}",
        home.file("a.yaml", deployment("web", 2, "serve"))
    ));
    let before = home.pods("app=web");
    let victim = before.first().expect("two").clone();
    home.must(format!("delete pod {victim}"));
    home.until("there are two again", || {
        let pods = home.pods("app=web");
        pods.len() == 2 && !pods.contains(&victim) && home.field("deployment web", "/status/readyReplicas") == 2
    });
    let rs = home.must("get rs --no-headers");
    assert_eq!(
        rs.split_whitespace().skip(1).take(3).collect::<Vec<_>>(),
        ["2", "2", "2"]
    );
}

#[test]
fn a_rollout_without_unavailable_pods_never_has_fewer_than_asked() {
    let home = Home::new();
    let rolling = |args: &str| {
        deployment("web", 3, args).with(
            "/spec/strategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}),
        )
    };
    let file = home.file("a.yaml", rolling("serve"));
    home.must(format!("watch --once {file}"));
    let before = home.pods("app=web");
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", rolling("serve --port 8081"))
    ));
    home.until("all are new", || {
        let list = home.get("pods -l app=web");
        let ready = list["items"].as_array().into_iter().flatten().filter(|pod| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
        });
        let (ready, status) = (ready.count(), home.field("deployment web", "/status"));
        assert!(ready >= 3, "{ready} of 3 are ready: {list}");
        status["updatedReplicas"] == 3 && status["replicas"] == 3 && home.pods("app=web").is_disjoint(&before)
    });
    assert_eq!(
        home.must("get rs -o name").lines().count(),
        2,
        "the old ReplicaSet is kept for history"
    );
}

#[test]
fn a_rollout_that_can_not_work_stops_and_keeps_the_old_pods() {
    let home = Home::new();
    let file = home.file("a.yaml", deployment("web", 2, "serve"));
    home.must(format!("watch --once {file}"));
    let before = home.pods("app=web");
    let bad = deployment("web", 2, "serve")
        .with("/spec/progressDeadlineSeconds", json!(3))
        .with(
            "/spec/template/spec/containers/0/image",
            json!("nowhere.example/at/all:1"),
        )
        .with("/spec/template/spec/containers/0/imagePullPolicy", json!("Never"));
    home.must(format!("apply -f {}", home.file("bad.yaml", bad)));
    home.until("it says that it does not progress", || {
        let conditions = home.field("deployment web", "/status/conditions");
        let mut conditions = conditions.as_array().into_iter().flatten();
        conditions.any(|c| c["reason"] == "ProgressDeadlineExceeded")
    });
    let now = home.pods("app=web");
    assert!(before.intersection(&now).count() >= 1, "{before:?} {now:?}");
}

#[test]
fn recreate_ends_the_old_pods_first() {
    let home = Home::new();
    let recreate = |args: &str| deployment("web", 2, args).with("/spec/strategy", json!({"type": "Recreate"}));
    home.must(format!("watch --once {}", home.file("a.yaml", recreate("serve"))));
    let before = home.pods("app=web");
    home.must(format!(
        "apply -f {}",
        home.file("b.yaml", recreate("serve --port 8081"))
    ));
    home.until("two new ones are ready", || {
        let list = home.get("pods -l app=web");
        // One that has ended may still be on its way out (`oldPodsRunning`).
        let runs = |pod: &&Value| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let pods = list["items"].as_array().expect("a list").iter().filter(runs);
        let names: BTreeSet<String> = pods
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        let (old, new) = (names.intersection(&before).count(), names.difference(&before).count());
        assert!(old == 0 || new == 0, "{old} old and {new} new");
        new == 2 && home.field("deployment web", "/status/readyReplicas") == 2
    });
}

#[test]
fn the_default_namespace_stays_and_its_pods_with_it() {
    let home = Home::new();
    home.start(deployment("web", 1, "serve"));
    let said = home.fails("delete namespace default");
    assert!(
        said.contains("namespaces \"default\" is forbidden: this namespace may not be deleted"),
        "{said}"
    );
    let pods = home.get("pods -l app=web");
    // What a controller makes passes the gate, as a bare pod does.
    for (field, expected) in [
        ("serviceAccountName", "default"),
        ("preemptionPolicy", "PreemptLowerPriority"),
    ] {
        assert_eq!(pods["items"][0]["spec"][field], expected, "{field}");
    }
}
