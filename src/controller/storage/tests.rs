use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::claims::{Around, plan_claim};
use super::ephemeral::plan_own_claims;
use super::volumes::plan_volume;
use crate::controller::plan::{Plan, Step, Write};
use crate::model::Object;
use crate::model::storage::{DATA_FINALIZER, PROVISIONED_BY, PROVISIONER, VOLUME_PROTECTION};

fn object(api_version: &str, kind: &str, metadata: Value, rest: Value) -> Object {
    let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
    let fields = rest.as_object().expect("an object").clone();
    value.as_object_mut().expect("an object").extend(fields);
    Object::new(value).expect("a known kind, with a name")
}

/// A claim for 1Gi that is protected; `spec` goes over its own.
fn claim(spec: Value) -> Object {
    let metadata = json!({
        "name": "data", "namespace": "default", "uid": "u1", "finalizers": ["kubernetes.io/pvc-protection"],
    });
    let mut own = json!({
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "local",
        "volumeMode": "Filesystem",
    });
    own.as_object_mut()
        .expect("an object")
        .extend(spec.as_object().expect("an object").clone());
    object(
        "v1",
        "PersistentVolumeClaim",
        metadata,
        json!({"spec": own, "status": {"phase": "Pending"}}),
    )
}

/// A volume of 2Gi that is protected; `spec` goes over its own.
fn volume(name: &str, spec: Value) -> Object {
    let metadata = json!({"name": name, "finalizers": [VOLUME_PROTECTION]});
    let mut own = json!({
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "storageClassName": "local",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/data"},
    });
    own.as_object_mut()
        .expect("an object")
        .extend(spec.as_object().expect("an object").clone());
    object(
        "v1",
        "PersistentVolume",
        metadata,
        json!({"spec": own, "status": {"phase": "Available"}}),
    )
}

fn class(name: &str, fields: Value) -> Arc<Object> {
    let mut own = json!({"provisioner": PROVISIONER, "parameters": {"path": "/v"}, "allowVolumeExpansion": true});
    own.as_object_mut()
        .expect("an object")
        .extend(fields.as_object().expect("an object").clone());
    let annotations = json!({"storageclass.kubernetes.io/is-default-class": (name == "local").to_string()});
    Arc::new(object(
        "storage.k8s.io/v1",
        "StorageClass",
        json!({"name": name, "annotations": annotations}),
        own,
    ))
}

fn around(volumes: Vec<Object>) -> Around {
    Around {
        volumes: volumes.into_iter().map(Arc::new).collect(),
        classes: vec![
            class("local", json!({})),
            class("late", json!({"volumeBindingMode": "WaitForFirstConsumer"})),
            class("cloud", json!({"provisioner": "cloud.io/disk"})),
        ],
        is_used: false,
    }
}

fn set(object: &mut Object, field: &str, value: Value) {
    object.metadata_mut().insert(field.to_owned(), value);
}

/// A plan in words.
fn words(plan: Plan) -> Vec<String> {
    let word = |step| match step {
        Step::Write(Write::Create(object)) => format!("create {} {}", object.key(), object.value()["spec"]),
        Step::Write(Write::Update(object)) => match object.at("/spec/claimRef/uid") {
            Some(uid) => format!("{} is for {uid}", object.key()),
            None => format!("update {} {}", object.key(), object.value()["spec"]["volumeName"]),
        },
        Step::Write(Write::UpdateStatus(object)) => format!("status {} {}", object.key(), object.value()["status"]),
        Step::Write(Write::Delete { key, .. }) => format!("delete {key}"),
        Step::Write(other @ Write::Sign { .. }) => panic!("{other:?}"),
        Step::Tell(note) => note.reason.to_owned(),
    };
    plan.steps.into_iter().map(word).collect()
}

fn claimed(claim: &Object, around: &Around) -> Vec<String> {
    words(plan_claim(claim, around))
}

#[test]
fn a_claim_gets_a_directory_of_its_own() {
    let steps = claimed(&claim(json!({})), &around(Vec::new()));
    assert_eq!(steps.len(), 2, "{steps:?}");
    for part in [
        "create persistentvolume/pvc-u1",
        "/v/default_data_pvc-u1",
        "\"uid\":\"u1\"",
        "\"1Gi\"",
        "\"Delete\"",
    ] {
        assert!(steps[0].contains(part), "{part}: {}", steps[0]);
    }
    assert_eq!(steps[1], "ProvisioningSucceeded");
}

#[test]
fn a_claim_takes_the_smallest_volume_that_fits_and_one_that_is_kept_for_it_first() {
    let small = || volume("small", json!({}));
    let large = volume("large", json!({"capacity": {"storage": "9Gi"}}));
    let other = |spec| claimed(&claim(json!({})), &around(vec![volume("other", spec)]))[0].clone();
    let steps = claimed(&claim(json!({})), &around(vec![large.clone(), small()]));
    assert_eq!(steps, ["persistentvolume/small is for \"u1\""]);
    let kept = json!({"capacity": {"storage": "9Gi"}, "claimRef": {"namespace": "default", "name": "data"}});
    let steps = claimed(&claim(json!({})), &around(vec![small(), volume("kept", kept)]));
    assert_eq!(steps, ["persistentvolume/kept is for \"u1\""]);
    for unfit in [
        json!({"capacity": {"storage": "1Mi"}}),
        json!({"accessModes": ["ReadOnlyMany"]}),
        json!({"storageClassName": "cloud"}),
        json!({"volumeMode": "Block"}),
        json!({"claimRef": {"namespace": "default", "name": "another"}}),
    ] {
        assert!(other(unfit.clone()).starts_with("create "), "{unfit}");
    }
}

#[test]
fn a_claim_is_bound_step_by_step() {
    let own = || {
        volume(
            "v",
            json!({"claimRef": {"namespace": "default", "name": "data", "uid": "u1"}}),
        )
    };
    assert_eq!(
        claimed(&claim(json!({})), &around(vec![own()])),
        ["update persistentvolumeclaim/data \"v\""]
    );
    let mut named = claim(json!({"volumeName": "v"}));
    set(
        &mut named,
        "annotations",
        json!({"pv.kubernetes.io/bind-completed": "yes"}),
    );
    let steps = claimed(&named, &around(vec![own()]));
    assert!(
        steps[0].contains("\"Bound\"") && steps[0].contains("\"2Gi\""),
        "{steps:?}"
    );
    let steps = claimed(&named, &around(Vec::new()));
    assert!(steps[0].contains("\"Lost\"") && steps[1] == "ClaimLost", "{steps:?}");
    let others = volume(
        "v",
        json!({"claimRef": {"namespace": "default", "name": "x", "uid": "u2"}}),
    );
    assert_eq!(claimed(&named, &around(vec![others])), ["FailedBinding"]);
}

#[test]
fn a_claim_that_gets_nothing_says_what_it_waits_for() {
    for (name, reason) in [
        ("", "FailedBinding"),
        ("none", "ProvisioningFailed"),
        ("cloud", "ExternalProvisioning"),
        ("late", "WaitForFirstConsumer"),
    ] {
        let steps = claimed(&claim(json!({"storageClassName": name})), &around(Vec::new()));
        assert_eq!(steps, [reason], "{name:?}");
    }
    let used = Around {
        is_used: true,
        ..around(Vec::new())
    };
    assert!(claimed(&claim(json!({"storageClassName": "late"})), &used)[0].starts_with("create "));
    let block = claim(json!({"volumeMode": "Block"}));
    assert_eq!(claimed(&block, &around(Vec::new())), ["ProvisioningFailed"]);
}

#[test]
fn a_claim_without_a_class_gets_the_default_one() {
    let plan = plan_claim(&claim(json!({"storageClassName": null})), &around(Vec::new()));
    let Some(Step::Write(Write::Update(wanted))) = plan.steps.first() else {
        panic!("{plan:?}");
    };
    assert_eq!(wanted.text("/spec/storageClassName"), "local");
}

#[test]
fn a_claim_that_ends_stays_while_a_pod_uses_it() {
    let mut ending = claim(json!({"volumeName": "v"}));
    set(&mut ending, "deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let used = Around {
        is_used: true,
        ..around(Vec::new())
    };
    assert_eq!(claimed(&ending, &used), Vec::<String>::new());
    let plan = plan_claim(&ending, &around(Vec::new()));
    let Some(Step::Write(Write::Update(released))) = plan.steps.first() else {
        panic!("{plan:?}");
    };
    assert!(released.finalizers().is_empty());
}

/// A volume that was made for the claim `u1`.
fn made(policy: &str) -> Object {
    let claim = json!({"namespace": "default", "name": "data", "uid": "u1"});
    let path = "/v/default_data_pvc-u1";
    let spec = json!({"persistentVolumeReclaimPolicy": policy, "claimRef": claim, "hostPath": {"path": path}});
    let mut made = volume("pvc-u1", spec);
    set(&mut made, "annotations", json!({PROVISIONED_BY: PROVISIONER}));
    set(&mut made, "finalizers", json!([VOLUME_PROTECTION, DATA_FINALIZER]));
    made
}

#[test]
fn a_volume_grows_with_its_claim_where_its_class_allows_it() {
    let mut bound = claim(json!({"volumeName": "pvc-u1", "resources": {"requests": {"storage": "5Gi"}}}));
    set(
        &mut bound,
        "annotations",
        json!({"pv.kubernetes.io/bind-completed": "yes"}),
    );
    let plan = plan_claim(&bound, &around(vec![made("Delete")]));
    let Some(Step::Write(Write::Update(grown))) = plan.steps.first() else {
        panic!("{plan:?}");
    };
    assert_eq!(grown.text("/spec/capacity/storage"), "5Gi");
    let fixed = Around {
        classes: vec![class("local", json!({"allowVolumeExpansion": false}))],
        ..around(vec![made("Delete")])
    };
    assert!(claimed(&bound, &fixed).contains(&"VolumeResizeFailed".to_owned()));
}

#[test]
fn what_becomes_of_a_volume_is_what_becomes_of_its_claim() {
    let named = claim(json!({"volumeName": "pvc-u1"}));
    let planned =
        |volume: &Object, claim: Option<&Object>| words(plan_volume(volume, claim, Timestamp::UNIX_EPOCH)).join("; ");
    assert!(planned(&made("Delete"), Some(&named)).contains("\"Bound\""));
    assert_eq!(planned(&made("Delete"), None), "delete persistentvolume/pvc-u1");
    assert!(planned(&made("Retain"), None).contains("\"Released\""));
    // The claim of that name is another, which this volume never was for.
    let another = object(
        "v1",
        "PersistentVolumeClaim",
        json!({"name": "data", "namespace": "default", "uid": "u2"}),
        json!({}),
    );
    assert_eq!(
        planned(&made("Delete"), Some(&another)),
        "delete persistentvolume/pvc-u1"
    );
    let theirs = volume(
        "x",
        json!({"persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "default", "name": "data", "uid": "u1"}}),
    );
    assert!(planned(&theirs, None).contains("\"Failed\"") && planned(&theirs, None).contains("VolumeFailedDelete"));
    assert_eq!(planned(&volume("free", json!({})), None), "");
}

#[test]
fn a_pod_gets_the_claims_that_its_volumes_describe() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    let volumes = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]);
    let pod = object(
        "v1",
        "Pod",
        json!({"name": "web", "namespace": "default", "uid": "p1"}),
        json!({"spec": {"volumes": volumes}}),
    );
    let plan = plan_own_claims(&pod, |_| None);
    let Some(Step::Write(Write::Create(made))) = plan.steps.first() else {
        panic!("{plan:?}");
    };
    assert_eq!(
        (made.key().name.as_str(), made.labels().get("a")),
        ("web-scratch", Some(&"b"))
    );
    assert_eq!(made.controller().map(|owner| owner.uid).as_deref(), Some("p1"));
    assert_eq!(plan_own_claims(&pod, |_| Some(Arc::new(made.clone()))), Plan::default());
    assert_eq!(
        words(plan_own_claims(&pod, |_| Some(Arc::new(claim(json!({})))))),
        ["EphemeralVolumeFailed"]
    );
}
