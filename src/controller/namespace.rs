//! Namespaces: the four that are always there exist, and one that is deleted takes its content along: pods first, so that what
//! they use stays until they have ended, then the rest (`k8s.io/kubernetes/pkg/controller/namespace`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Controller;
use super::condition::{Condition, Conditions};
use super::plan::{Plan, Write};
use super::pods::kind_of_pods;
use crate::model::{KINDS, Key, Kind, Object, kind};
use crate::store::{Change, Store, StoreError};

/// Namespaces that are always there.
pub(super) const SYSTEM: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// The entry in `spec.finalizers` that holds a namespace until its content is gone.
const FINALIZER: &str = "kubernetes";

/// Carries the namespace's name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let present = store.list(kind_of_namespaces(), None).items;
        let present = present.iter().map(|namespace| namespace.key().clone());
        SYSTEM.into_iter().map(key).chain(present).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        if object.kind() == kind_of_namespaces() {
            return vec![object.key().clone()];
        }
        let key = key(&object.key().namespace);
        match store.get(&key) {
            Some(namespace) if namespace.is_deleting() => vec![key],
            Some(_) | None => Vec::new(),
        }
    }

    fn plan(&self, store: &Store, key: &Key, now: Timestamp) -> Plan {
        let Some(namespace) = store.get(key) else {
            return plan_missing(&key.name);
        };
        if !namespace.is_deleting() {
            return plan_living(&namespace);
        }
        let kinds = KINDS.iter().filter(|kind| kind.namespaced);
        let content: Vec<_> = kinds.flat_map(|kind| store.list(kind, Some(&key.name)).items).collect();
        plan_dying(&namespace, &content, now)
    }
}

/// Makes the namespaces that are always there, so that the first request finds them.
pub(super) fn create_system_namespaces(store: &Store) -> Result<(), StoreError> {
    for name in SYSTEM {
        match store.create(system_namespace(name)) {
            Ok(_) | Err(StoreError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn kind_of_namespaces() -> &'static Kind {
    kind("v1", "Namespace").expect("in the table")
}

fn key(name: &str) -> Key {
    Key::new(kind_of_namespaces(), "", name)
}

/// A namespace that does not exist: those of the system are made.
fn plan_missing(name: &str) -> Plan {
    if !SYSTEM.contains(&name) {
        return Plan::default();
    }
    vec![Write::Create(system_namespace(name))].into()
}

fn system_namespace(name: &str) -> Object {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {NAME_LABEL: name}},
        "spec": {"finalizers": [FINALIZER]},
        "status": {"phase": "Active"},
    });
    Object::new(namespace).expect("a Namespace with a name")
}

/// A namespace in use has its label, its finalizer and a phase, however it came into being.
fn plan_living(namespace: &Object) -> Plan {
    let mut wanted = namespace.clone();
    let name = namespace.key().name.as_str();
    let labels = wanted.metadata_mut().entry("labels").or_insert_with(|| json!({}));
    labels[NAME_LABEL] = name.into();
    if !is_held(namespace) {
        wanted.value_mut()["spec"] = json!({"finalizers": [FINALIZER]});
    }
    if wanted != *namespace {
        // The phase follows when this change comes around.
        return vec![Write::Update(wanted)].into();
    }
    wanted.value_mut()["status"]["phase"] = "Active".into();
    let mut plan = Plan::default();
    plan.write_status(namespace, wanted);
    plan
}

/// A namespace that is to end: its content goes, and when all is gone so does its finalizer, and with it the namespace.
fn plan_dying(namespace: &Object, content: &[Arc<Object>], now: Timestamp) -> Plan {
    if content.is_empty() {
        return plan_empty(namespace);
    }
    let mut plan = Plan::default();
    let is_pod = |object: &&Arc<Object>| object.kind() == kind_of_pods();
    let has_pods = content.iter().any(|object| is_pod(&object));
    let turn = content.iter().filter(|object| is_pod(object) == has_pods);
    for object in turn.filter(|object| !object.is_deleting()) {
        plan.write(Write::delete(object));
    }
    let mut conditions = Conditions::of(namespace);
    for condition in plan_conditions(content) {
        conditions.renew(condition, now);
    }
    let mut wanted = namespace.clone();
    wanted.value_mut()["status"]["phase"] = "Terminating".into();
    wanted.value_mut()["status"]["conditions"] = conditions.into_json().expect("some were just set");
    plan.write_status(namespace, wanted);
    plan
}

/// A dying namespace without content: it is held by our finalizer no longer. By those of others it is, and says so.
fn plan_empty(namespace: &Object) -> Plan {
    let released = released(namespace);
    let stays = is_held(&released) || !namespace.finalizers().is_empty();
    let mut plan = Plan::default();
    if stays && namespace.text("/status/phase") != "Terminating" {
        let mut wanted = namespace.clone();
        wanted.value_mut()["status"]["phase"] = "Terminating".into();
        // The next step follows when this change comes around.
        plan.write_status(namespace, wanted);
    } else if released != *namespace {
        plan.write(Write::Update(released));
    }
    plan
}

/// What a dying namespace says about its content, in upstream's words (`deletion.NewNamespaceConditionUpdater`). What can't go
/// wrong here is said too: people look for it.
fn plan_conditions(content: &[Arc<Object>]) -> [Condition; 5] {
    let said = |kind, status, reason, message: &str| Condition {
        kind,
        status,
        reason,
        message: message.to_owned(),
    };
    [
        said(
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        said(
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        said(
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        said(
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            &format!("Some resources are remaining: {}", resources(content)),
        ),
        match finalizers(content).as_str() {
            "" => said(
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
            list => said(
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                &format!("Some content in the namespace has finalizers remaining: {list}"),
            ),
        },
    ]
}

/// Which resources the content is made of.
fn resources(content: &[Arc<Object>]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for kind in content.iter().map(|object| object.kind()) {
        *counts.entry(format!("{}.{}", kind.plural, kind.group)).or_default() += 1;
    }
    let has = |(resource, count): (&String, &usize)| format!("{resource} has {count} resource instances");
    counts.iter().map(has).collect::<Vec<_>>().join(", ")
}

/// Which finalizers hold the content; empty if none does.
fn finalizers(content: &[Arc<Object>]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in content.iter().flat_map(|object| object.finalizers()) {
        *counts.entry(finalizer).or_default() += 1;
    }
    let holds = |(finalizer, count): (&&str, &usize)| format!("{finalizer} in {count} resource instances");
    counts.iter().map(holds).collect::<Vec<_>>().join(", ")
}

fn is_held(namespace: &Object) -> bool {
    let finalizers = namespace.at("/spec/finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|list| !list.is_empty())
}

/// The namespace without our finalizer: the store then removes it, unless others hold it.
fn released(namespace: &Object) -> Object {
    let mut released = namespace.clone();
    let finalizers = released
        .value_mut()
        .pointer_mut("/spec/finalizers")
        .and_then(Value::as_array_mut);
    if let Some(finalizers) = finalizers {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    released
}
