use super::*;
use crate::controller::fixtures::{Fixture, at, pod, replica_set, words, written};
use crate::store::StoreError;

/// Plans at second 100 with suffixes `a`, `b`, `c` ….
fn plan(set: &Fixture, pods: &[Fixture]) -> Plan {
    let pods: Vec<_> = pods.iter().map(Fixture::shared).collect();
    let mut letters = ('a'..='z').map(String::from);
    plan_replica_set(&set.object(), &pods, at(100), &mut || {
        letters.next().expect("enough letters")
    })
}

fn writes(plan: &Plan) -> Vec<String> {
    let is_of_pods = |word: &String| !word.starts_with("tell") && !word.starts_with("status");
    words(plan).into_iter().filter(is_of_pods).collect()
}

/// The status that a plan writes.
fn status(plan: &Plan) -> Value {
    written(plan, "status replicaset.apps/web").value()["status"].clone()
}

#[test]
fn missing_pods_are_made_and_told() {
    let set = replica_set("web").replicas(3);
    let plan = plan(&set, &[pod("p").of(&set)]);
    let expected = [
        "create pod/web-a",
        "tell SuccessfulCreate: Created pod: web-a",
        "create pod/web-b",
        "tell SuccessfulCreate: Created pod: web-b",
        "status replicaset.apps/web",
    ];
    assert_eq!(words(&plan), expected);
}

#[test]
fn a_pod_is_made_from_the_template_and_owned_by_the_set() {
    let mut set = replica_set("web");
    let template = json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}, "creationTimestamp": null},
        "spec": {"containers": [{"name": "app", "image": "v1"}]},
    });
    set = set.spec("template", template);
    let plan = plan(&set, &[]);
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-a", "generateName": "web-", "namespace": "default",
            "labels": {"app": "web"}, "annotations": {"a": "b"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "uid-of-web",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {"containers": [{"name": "app", "image": "v1"}]},
        "status": {"phase": "Pending"},
    });
    assert_eq!(*written(&plan, "create pod/web-a").value(), expected);
}

#[test]
fn a_name_that_is_taken_is_not_used() {
    let set = replica_set("web");
    let other = pod("web-a").label("app", "other");
    assert_eq!(writes(&plan(&set, &[other])), ["create pod/web-b"]);
}

#[test]
fn only_pods_that_run_or_will_run_are_counted() {
    let set = replica_set("web").replicas(1);
    let cases = [
        ("running", pod("p"), 0),
        ("failed", pod("p").phase("Failed"), 1),
        ("succeeded", pod("p").phase("Succeeded"), 1),
        ("being deleted", pod("p").deleting(), 1),
        ("another owner's", pod("p").of(&replica_set("other")), 1),
    ];
    for (case, pod, made) in cases {
        let pod = if case.starts_with("another") { pod } else { pod.of(&set) };
        assert_eq!(writes(&plan(&set, &[pod])).len(), made, "{case}");
    }
}

#[test]
fn surplus_pods_go_in_the_order_of_what_is_lost_least() {
    // In each case the second goes, whatever the names.
    let cases = [
        ("pending before running", pod("a"), pod("b").phase("Pending").unready()),
        ("unready before ready", pod("a"), pod("b").unready()),
        (
            "cheap before dear",
            pod("a").annotation(deletion_cost(), 10),
            pod("b").annotation(deletion_cost(), -10),
        ),
        ("ready for a short time before long", pod("a"), pod("b").ready_since(50)),
        ("often restarted before seldom", restarted("a", 1), restarted("b", 4)),
        ("young before old", pod("a"), pod("b").created(50)),
        (
            "cost after readiness",
            pod("a").annotation(deletion_cost(), -10),
            pod("b").unready(),
        ),
    ];
    for (case, stays, goes) in cases {
        let set = replica_set("web").replicas(1);
        for order in [[0, 1], [1, 0]] {
            let pods = [stays.clone().of(&set), goes.clone().of(&set)];
            let plan = plan(&set, &order.map(|place| pods[place].clone()));
            assert_eq!(writes(&plan), ["delete pod/b Background"], "{case}");
        }
    }
}

fn deletion_cost() -> &'static str {
    "controller.kubernetes.io/pod-deletion-cost"
}

fn restarted(name: &str, times: i64) -> Fixture {
    pod(name).status("containerStatuses", json!([{"name": "app", "restartCount": times}]))
}

#[test]
fn matching_orphans_are_adopted_and_strangers_released() {
    let set = replica_set("web").replicas(2);
    let cases = [
        (
            "an orphan",
            set.clone(),
            pod("p"),
            vec!["update pod/p", "create pod/web-a"],
        ),
        (
            "an orphan that ends",
            set.clone(),
            pod("p").deleting(),
            vec!["create pod/web-a", "create pod/web-b"],
        ),
        (
            "one that no longer matches",
            set.clone(),
            pod("p").label("app", "x").of(&set),
            vec!["update pod/p", "create pod/web-a", "create pod/web-b"],
        ),
        ("a dying set and an orphan", set.clone().deleting(), pod("p"), vec![]),
        (
            "a dying set and a stranger",
            set.clone().deleting(),
            pod("p").label("app", "x").of(&set),
            vec![],
        ),
    ];
    for (case, set, pod, expected) in cases {
        assert_eq!(writes(&plan(&set, &[pod])), expected, "{case}");
    }
    let adoption = plan(&set, &[pod("p")]);
    assert_eq!(
        written(&adoption, "update pod/p").controller().expect("adopted").uid,
        "uid-of-web"
    );
    let release = plan(&set, &[pod("p").label("app", "x").of(&set)]);
    assert_eq!(written(&release, "update pod/p").at("/metadata/ownerReferences"), None);
}

#[test]
fn the_status_counts_what_is_labeled_ready_and_available() {
    let set = replica_set("web")
        .replicas(4)
        .spec("minReadySeconds", 30)
        .metadata("generation", 3);
    let pods = [
        pod("long").of(&set),
        pod("short").ready_since(80).of(&set),
        pod("unready").unready().of(&set),
        pod("ending").deleting().of(&set),
    ];
    let expected = json!({
        "replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 2, "availableReplicas": 1, "terminatingReplicas": 1,
        "observedGeneration": 3,
    });
    let plan = plan(&set, &pods);
    assert_eq!(status(&plan), expected);
    assert_eq!(plan.recheck, Some(at(110)), "when `short` becomes available");
}

#[test]
fn pods_without_a_label_of_the_template_are_not_fully_labeled() {
    let template = json!({"metadata": {"labels": {"app": "web", "version": "2"}}, "spec": {}});
    let set = replica_set("web").spec("template", template);
    let plan = plan(&set, &[pod("p").of(&set)]);
    assert_eq!(status(&plan)["fullyLabeledReplicas"], Value::Null);
}

#[test]
fn nothing_to_do_is_an_empty_plan() {
    let set = replica_set("web").sized(1, 1).status("fullyLabeledReplicas", 1);
    assert_eq!(plan(&set, &[pod("p").of(&set)]), Plan::default());
}

#[test]
fn a_refused_pod_is_told_until_one_is_made() {
    let set = replica_set("web");
    let refused = StoreError::AlreadyExists(pod("web-a").object().key().clone()).into();
    let failure = plan_create_failure(&set.object(), &refused, at(100));
    let expected = [
        "tell FailedCreate: Error creating: pods \"web-a\" already exists",
        "status replicaset.apps/web",
    ];
    assert_eq!(words(&failure), expected);
    let failed = written(&failure, "status replicaset.apps/web");
    let condition = json!([{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"web-a\" already exists", "lastTransitionTime": crate::controller::fixtures::time(100),
    }]);
    assert_eq!(failed.value()["status"]["conditions"], condition);
    let failed = set.status("conditions", condition);
    assert_eq!(
        status(&plan(&failed, &[pod("p").of(&failed)]))["conditions"],
        Value::Null
    );
}

#[test]
fn a_set_whose_pods_would_not_be_its_own_makes_none() {
    let set = replica_set("web").spec("selector", json!({"matchLabels": {"app": "other"}}));
    assert_eq!(plan(&set, &[]), Plan::default());
}
