use super::*;
use crate::controller::fixtures::{Fixture, at, config, namespace, pod, words, written};

fn dying() -> Fixture {
    namespace("shop").deleting()
}

fn plan(namespace: &Fixture, content: &[Fixture]) -> Plan {
    let content: Vec<_> = content.iter().map(Fixture::shared).collect();
    plan_dying(&namespace.object(), &content, at(0))
}

#[test]
fn the_systems_namespaces_are_made_and_no_others() {
    assert_eq!(words(&plan_missing("default")), ["create namespace/default"]);
    assert_eq!(plan_missing("shop"), Plan::default());
}

#[test]
fn a_namespace_in_use_has_label_finalizer_and_phase() {
    let full = namespace("shop");
    assert_eq!(plan_living(&full.object()), Plan::default());
    let cases = [
        (
            "no label",
            full.clone().metadata("labels", json!({})),
            "update namespace/shop",
        ),
        (
            "no finalizer",
            full.clone().spec("finalizers", json!([])),
            "update namespace/shop",
        ),
        ("no phase", full.status("phase", Value::Null), "status namespace/shop"),
    ];
    for (case, namespace, expected) in cases {
        assert_eq!(words(&plan_living(&namespace.object())), [expected], "{case}");
    }
}

#[test]
fn the_content_of_a_dying_namespace_goes_pods_first() {
    let cases = [
        (
            "pods and more",
            vec![pod("p"), config("c")],
            vec!["delete pod/p Background", "status namespace/shop"],
        ),
        (
            "pods that end",
            vec![pod("p").deleting(), config("c")],
            vec!["status namespace/shop"],
        ),
        (
            "no pods",
            vec![config("c")],
            vec!["delete configmap/c Background", "status namespace/shop"],
        ),
        ("nothing", vec![], vec!["update namespace/shop"]),
    ];
    for (case, content, expected) in cases {
        assert_eq!(words(&plan(&dying(), &content)), expected, "{case}");
    }
}

#[test]
fn the_last_step_is_to_let_go() {
    let plan = plan(&dying(), &[]);
    assert!(!is_held(written(&plan, "update namespace/shop")));
}

#[test]
fn those_who_hold_a_namespace_beside_us_go_on_holding_it() {
    let held = dying().spec("finalizers", json!(["kubernetes", "example.com/hold"]));
    for (case, namespace, wanted) in [
        ("it says that it ends", held.clone(), "status namespace/shop"),
        ("we let go", held.clone().phase("Terminating"), "update namespace/shop"),
        (
            "so do others in its metadata",
            dying().finalizer("example.com/hold").phase("Terminating"),
            "update namespace/shop",
        ),
    ] {
        assert_eq!(words(&plan(&namespace, &[])), [wanted], "{case}");
    }
    let left = plan(&held.phase("Terminating"), &[]);
    let left = written(&left, "update namespace/shop");
    assert_eq!(left.at("/spec/finalizers"), Some(&json!(["example.com/hold"])));
    let waiting = dying()
        .spec("finalizers", json!(["example.com/hold"]))
        .phase("Terminating");
    assert_eq!(words(&plan(&waiting, &[])), [""; 0]);
}

#[test]
fn a_dying_namespace_says_what_it_waits_for() {
    let plan = plan(
        &dying(),
        &[pod("p").deleting().finalizer("example.com/hold"), config("c")],
    );
    let status = &written(&plan, "status namespace/shop").value()["status"];
    assert_eq!(status["phase"], "Terminating");
    let said = |kind: &str| {
        let conditions = status["conditions"].as_array().expect("a list");
        let condition = conditions.iter().find(|c| c["type"] == kind).expect(kind);
        (condition["status"].as_str(), condition["message"].as_str())
    };
    let resources =
        "Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances";
    assert_eq!(said("NamespaceContentRemaining"), (Some("True"), Some(resources)));
    let finalizers = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances";
    assert_eq!(said("NamespaceFinalizersRemaining"), (Some("True"), Some(finalizers)));
    assert_eq!(said("NamespaceDeletionContentFailure").0, Some("False"));
}
