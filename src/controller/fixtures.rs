//! Objects for the tests of this room: a case names only what differs from an ordinary object. And plans in words, to compare.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::{Plan, Step, Write};
use crate::model::{Object, object_time};

/// An object in the making.
#[derive(Debug, Clone)]
pub(super) struct Fixture(Value);

fn fixture(api_version: &str, kind: &str, name: &str) -> Fixture {
    Fixture(json!({
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("uid-of-{name}"), "resourceVersion": "7", "generation": 1,
            "creationTimestamp": time(0),
        },
    }))
}

/// A pod of the application `web`, running and ready since second 0.
pub(super) fn pod(name: &str) -> Fixture {
    fixture("v1", "Pod", name)
        .label("app", "web")
        .phase("Running")
        .ready_since(0)
}

/// A ReplicaSet for the application `web` in version 1, its status up to date.
pub(super) fn replica_set(name: &str) -> Fixture {
    with_template(fixture("apps/v1", "ReplicaSet", name).label("app", "web"))
        .status("observedGeneration", 1)
        .status("replicas", 0)
}

/// A Deployment of the application `web` in version 1.
pub(super) fn deployment(name: &str) -> Fixture {
    with_template(fixture("apps/v1", "Deployment", name))
}

/// A ConfigMap: an object without behaviour.
pub(super) fn config(name: &str) -> Fixture {
    fixture("v1", "ConfigMap", name)
}

/// A Secret of this type.
pub(super) fn secret(name: &str, of: &str) -> Fixture {
    let mut secret = fixture("v1", "Secret", name);
    secret.0["type"] = of.into();
    secret
}

/// A namespace as it is in use.
pub(super) fn namespace(name: &str) -> Fixture {
    let mut namespace = fixture("v1", "Namespace", name).label("kubernetes.io/metadata.name", name);
    namespace.0["metadata"]
        .as_object_mut()
        .expect("an object")
        .remove("namespace");
    namespace.spec("finalizers", json!(["kubernetes"])).phase("Active")
}

fn with_template(fixture: Fixture) -> Fixture {
    fixture
        .spec("replicas", 1)
        .spec("selector", json!({"matchLabels": {"app": "web"}}))
        .spec("template", json!({"metadata": {"labels": {"app": "web"}}, "spec": {}}))
        .image("v1")
}

impl Fixture {
    /// An object that is there already.
    pub(super) fn like(object: Object) -> Self {
        Self(object.into_value())
    }

    pub(super) fn object(&self) -> Object {
        Object::new(self.0.clone()).expect("a known kind, with a name")
    }

    pub(super) fn shared(&self) -> Arc<Object> {
        Arc::new(self.object())
    }

    pub(super) fn spec(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["spec"][field] = value.into();
        self
    }

    pub(super) fn status(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["status"][field] = value.into();
        self
    }

    pub(super) fn metadata(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["metadata"][field] = value.into();
        self
    }

    pub(super) fn label(mut self, name: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][name] = value.into();
        self
    }

    pub(super) fn annotation(mut self, name: &str, value: impl ToString) -> Self {
        self.0["metadata"]["annotations"][name] = value.to_string().into();
        self
    }

    pub(super) fn replicas(self, replicas: i64) -> Self {
        self.spec("replicas", replicas)
    }

    /// The version that its template runs.
    pub(super) fn image(mut self, image: &str) -> Self {
        self.0["spec"]["template"]["spec"]["containers"] = json!([{"name": "app", "image": image}]);
        self
    }

    /// `spec.strategy.rollingUpdate`.
    pub(super) fn rolling(self, max_surge: impl Into<Value>, max_unavailable: impl Into<Value>) -> Self {
        let (surge, unavailable) = (max_surge.into(), max_unavailable.into());
        self.spec(
            "strategy",
            json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}),
        )
    }

    /// The sizes that a ReplicaSet has and reports: replicas and, of them, those that are available.
    pub(super) fn sized(self, replicas: i64, available: i64) -> Self {
        self.replicas(replicas)
            .status("replicas", replicas)
            .status("readyReplicas", available)
            .status("availableReplicas", available)
    }

    /// The size of the Deployment to which a ReplicaSet was fitted.
    pub(super) fn fitted_to(self, desired: i64, max: i64) -> Self {
        self.annotation("deployment.kubernetes.io/desired-replicas", desired)
            .annotation("deployment.kubernetes.io/max-replicas", max)
    }

    pub(super) fn revision(self, revision: i64) -> Self {
        self.annotation("deployment.kubernetes.io/revision", revision)
    }

    pub(super) fn created(self, second: i64) -> Self {
        self.metadata("creationTimestamp", time(second))
    }

    pub(super) fn deleting(self) -> Self {
        self.metadata("deletionTimestamp", time(30))
    }

    pub(super) fn finalizer(self, finalizer: &str) -> Self {
        self.metadata("finalizers", json!([finalizer]))
    }

    /// Managed by `owner`.
    pub(super) fn of(self, owner: &Fixture) -> Self {
        self.metadata(
            "ownerReferences",
            json!([super::claim::controller_reference(&owner.object())]),
        )
    }

    /// Owned by `owner`, which does not wait for it.
    pub(super) fn loosely_of(mut self, owner: &Fixture) -> Self {
        let mut reference = super::claim::controller_reference(&owner.object());
        reference["controller"] = false.into();
        reference["blockOwnerDeletion"] = false.into();
        let owners = self.0["metadata"]
            .as_object_mut()
            .expect("an object")
            .entry("ownerReferences");
        owners
            .or_insert_with(|| json!([]))
            .as_array_mut()
            .expect("a list")
            .push(reference);
        self
    }

    pub(super) fn phase(self, phase: &str) -> Self {
        self.status("phase", phase)
    }

    pub(super) fn ready_since(self, second: i64) -> Self {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": time(second)});
        self.status("conditions", json!([ready]))
    }

    pub(super) fn unready(self) -> Self {
        self.status("conditions", json!([{"type": "Ready", "status": "False"}]))
    }
}

/// A moment of the tests: seconds after their beginning.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).expect("not far from 2026")
}

/// The same as objects print it.
pub(super) fn time(second: i64) -> String {
    object_time(at(second))
}

/// A plan in words: `create pod/web-0`, `tell SuccessfulCreate`.
pub(super) fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(word).collect()
}

fn word(step: &Step) -> String {
    match step {
        Step::Write(Write::Create(object)) => format!("create {}", object.key()),
        Step::Write(Write::Update(object)) => format!("update {}", object.key()),
        Step::Write(Write::UpdateStatus(object)) => format!("status {}", object.key()),
        Step::Write(Write::Sign { secret, account }) => format!("sign {} for {}", secret.key(), account.key()),
        Step::Write(Write::Delete { key, propagation, .. }) => format!("delete {key} {propagation:?}"),
        Step::Tell(note) => format!("tell {}: {}", note.reason, note.message),
    }
}

/// The object that a plan writes under this name, in words as [`words`] has them.
pub(super) fn written<'a>(plan: &'a Plan, wanted: &str) -> &'a Object {
    let found = plan.steps.iter().find(|step| word(step) == wanted);
    match found {
        Some(Step::Write(Write::Create(object) | Write::Update(object) | Write::UpdateStatus(object))) => object,
        Some(Step::Write(Write::Sign { secret, .. })) => secret,
        Some(_) | None => panic!("no {wanted:?} in {:?}", words(plan)),
    }
}
