//! Files in, containers running, status out.

use std::fs;

use serde_json::json;

use crate::home::Home;
use crate::manifest::{config_map, deployment, documents, namespace, pod};

#[test]
fn a_dropped_file_becomes_a_running_pod_and_its_deletion_tears_it_down() {
    let home = Home::new();
    home.must("get nodes");
    let file = home.write("web.yaml", pod("web", "serve"));
    home.until_ready("web");
    assert_eq!(home.text("pod web", "/status/phase"), "Running");
    assert_ne!(home.container_ids().len(), 0);
    fs::remove_file(file).expect("it is there");
    home.until_gone("pod web");
    home.until("nothing but the node runs", || home.processes().len() == 1);
}

#[test]
fn an_edited_pod_is_replaced_gracefully() {
    let home = Home::new();
    home.write("web.yaml", pod("web", "count --interval 100"));
    home.must("get nodes");
    home.until_ready("web");
    let uid = home.text("pod web", "/metadata/uid");
    home.write(
        "web.yaml",
        pod("web", "echo the second").with("/spec/restartPolicy", json!("Never")),
    );
    home.until_logged("web", "the second");
    assert_ne!(home.text("pod web", "/metadata/uid"), uid);
    home.until_phase("web", "Succeeded");
}

#[test]
fn an_edited_deployment_rolls() {
    let home = Home::new();
    home.write("web.yaml", deployment("web", 2, "serve"));
    home.must("get nodes");
    home.until("two are ready", || {
        home.field("deployment web", "/status/readyReplicas") == 2
    });
    let before = home.pods("app=web");
    let edited = deployment("web", 3, "serve --port 8081");
    home.write("web.yaml", edited);
    home.until("three new ones are all there is", || {
        let status = home.field("deployment web", "/status");
        let pods = home.pods("app=web");
        status["observedGeneration"] == 2
            && status["updatedReplicas"] == 3
            && status["availableReplicas"] == 3
            && pods.len() == 3
            && pods.is_disjoint(&before)
    });
    let revision = home.text(
        "deployment web",
        "/metadata/annotations/deployment.kubernetes.io~1revision",
    );
    assert_eq!(revision, "2");
}

#[test]
fn what_did_not_change_is_not_touched() {
    let home = Home::new();
    let file = home.file("all.yaml", documents([pod("a", "serve"), deployment("b", 2, "serve")]));
    home.must(format!("watch --once {file}"));
    let before = (home.container_ids(), home.text("pod a", "/metadata/resourceVersion"));
    assert_eq!(before.0.len(), 3);
    // Saved again with the same content, then with another comment.
    let text = fs::read_to_string(&file).expect("reads");
    fs::write(&file, &text).expect("writes");
    home.must(format!("watch --once {file}"));
    fs::write(&file, format!("# new\n{text}")).expect("writes");
    home.must(format!("watch --once {file}"));
    assert_eq!(
        (home.container_ids(), home.text("pod a", "/metadata/resourceVersion")),
        before
    );
}

#[test]
fn a_broken_file_keeps_the_last_good_state_and_names_the_place() {
    let home = Home::new();
    let file = home.write("web.yaml", pod("web", "serve"));
    home.must("get nodes");
    home.until_ready("web");
    let ids = home.container_ids();
    home.write("web.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: [\n");
    let message = || home.text("source manifests", "/status/conditions/0/message");
    home.until("the place is named", || {
        message().starts_with(&format!("{}:4:9: ", file.display()))
    });
    assert_eq!(home.text("source manifests", "/status/conditions/0/reason"), "Invalid");
    assert_eq!(home.container_ids(), ids);
    for life in 1..3 {
        home.kill_node();
        // What is read after the broken file is there once the new node has looked at both.
        home.write("z.yaml", pod(&format!("later-{life}"), "serve"));
        home.until_ready(&format!("later-{life}"));
        assert!(home.container_ids().is_superset(&ids), "{}", home.sight());
    }
    fs::remove_file(home.path("manifests").join("z.yaml")).expect("removes");
    home.until_gone("pod later-1");
    home.until_gone("pod later-2");
    home.write("web.yaml", pod("web", "serve"));
    home.until("it is good again", || {
        home.text("source manifests", "/status/conditions/0/reason") == "Applied"
    });
    assert_eq!(home.container_ids(), ids);
}

#[test]
fn an_unknown_kind_and_an_unknown_field_are_refused_by_name_and_place() {
    let home = Home::new();
    let file = home.file(
        "bad.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec:\n  containres: []\n  containers:\n  - {name: c, image: x}\n---\n\
         apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\n",
    );
    let said = home.fails(format!("apply -f {file}"));
    assert!(
        said.contains(&format!("{file}:5:3: error: unknown field \"spec.containres\"")),
        "{said}"
    );
    assert!(said.contains("5 |   containres: []"), "{said}");
    assert!(
        said.contains(&format!("{file}:10:7: error: no matches for kind \"CronJob\"")),
        "{said}"
    );
    assert!(home.pods("").is_empty(), "nothing of a refused file is made");
    let watched = home.fails(format!("watch --once --timeout 30s {file}"));
    assert!(watched.contains("containres"), "{watched}");
}

#[test]
fn one_object_in_two_sources_is_refused_and_both_are_named() {
    let home = Home::new();
    let first = home.file("one/a.yaml", config_map("shared", json!({"from": "one"})));
    let second = home.file("two/b.yaml", config_map("shared", json!({"from": "two"})));
    home.must(format!("watch --once {first}"));
    let said = home.fails(format!("watch --once --timeout 30s {second}"));
    assert!(said.contains(&first) && said.contains(&second), "{said}");
    assert_eq!(home.text("configmap shared", "/data/from"), "one");
}

#[test]
fn a_source_gets_over_a_namespace_that_ended() {
    let home = Home::new();
    let manifest = config_map("c", json!({"a": "b"})).in_namespace("shop");
    home.write("a.yaml", documents([namespace("shop"), manifest]));
    home.until("it is applied", || !home.get("configmap c -n shop").is_null());
    home.must("delete namespace shop");
    home.until("it is there again", || !home.get("configmap c -n shop").is_null());
    home.until("nothing is wrong any more", || {
        home.text("sources manifests", "/status/conditions/0/status") == "True"
    });
}

#[test]
fn files_are_the_truth_whoever_wrote_in_between() {
    let home = Home::new();
    let file = home.write("a.yaml", config_map("c", json!({"a": "one"})));
    home.until("it is applied", || home.text("configmap c", "/data/a") == "one");
    home.must(format!("apply -f {}", file.display()));
    home.write("a.yaml", config_map("c", json!({"a": "two"})));
    home.until("the edit is applied", || home.text("configmap c", "/data/a") == "two");
}

#[test]
fn the_default_namespace_does_not_go_with_the_file_that_names_it() {
    let home = Home::new();
    let file = home.write("a.yaml", documents([namespace("default"), config_map("c", json!({}))]));
    home.until("it is applied", || !home.get("configmap c").is_null());
    fs::remove_file(file).expect("ours");
    home.until_gone("configmap c");
    assert_eq!(home.text("namespace default", "/status/phase"), "Active");
}
