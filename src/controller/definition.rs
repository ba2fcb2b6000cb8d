//! CustomResourceDefinitions: the names that one claims are accepted, and its status says so. Objects of the kind that it defines are
//! not known here, as the warning at its write tells; but helm and `kubectl wait` go on only when it is `Established`
//! (`apiextensions-apiserver/pkg/controller/{status,establish}`).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Controller;
use super::condition::{Condition, Conditions};
use super::plan::Plan;
use crate::model::{Key, Kind, Object, known_kind, list_at};
use crate::store::{Change, Store};

pub(super) struct Definitions;

impl Controller for Definitions {
    fn name(&self) -> &'static str {
        "customresourcedefinition-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        definitions(store).iter().map(|found| found.key().clone()).collect()
    }

    fn touched(&self, _: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        (object.kind() == kind_of_definitions())
            .then(|| object.key().clone())
            .into_iter()
            .collect()
    }

    fn plan(&self, store: &Store, key: &Key, now: Timestamp) -> Plan {
        let definition = store.get(key);
        definition.map_or_else(Plan::default, |definition| plan_definition(&definition, now))
    }
}

fn kind_of_definitions() -> &'static Kind {
    known_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
}

fn definitions(store: &Store) -> Vec<Arc<Object>> {
    store.list(kind_of_definitions(), None).items
}

fn plan_definition(definition: &Object, now: Timestamp) -> Plan {
    let mut conditions = Conditions::of(definition);
    for (kind, reason, message) in [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        (
            "Established",
            "InitialNamesAccepted",
            "the initial names have been accepted; objects of this kind are not served here",
        ),
    ] {
        let accepted = Condition {
            kind,
            status: "True",
            reason,
            message: message.to_owned(),
        };
        conditions.set(accepted, now);
    }
    let mut wanted = definition.clone();
    let status = &mut wanted.value_mut()["status"];
    status["conditions"] = conditions.into_json().expect("two were just set");
    status["acceptedNames"] = definition.at("/spec/names").cloned().unwrap_or_default();
    status["storedVersions"] = stored_versions(definition, &status["storedVersions"]);
    let mut plan = Plan::default();
    plan.write_status(definition, wanted);
    plan
}

/// The versions in which objects were ever to be stored: those of before, and the present one.
fn stored_versions(definition: &Object, before: &Value) -> Value {
    let mut versions = before.as_array().cloned().unwrap_or_default();
    for version in list_at(definition.value(), "/spec/versions") {
        if version["storage"] == true && !versions.contains(&version["name"]) {
            versions.push(version["name"].clone());
        }
    }
    json!(versions)
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Step, Write};
    use super::*;

    fn definition(stored: &str) -> Object {
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == stored});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "foos.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Foo", "plural": "foos"},
                "versions": [version("v1"), version("v2")]},
        });
        Object::new(definition).expect("of the table")
    }

    #[test]
    fn a_definition_is_established_once_and_remembers_the_versions_it_had() {
        let now = Timestamp::UNIX_EPOCH;
        let written = |definition: &Object| match plan_definition(definition, now).steps.as_slice() {
            [] => None,
            [Step::Write(Write::UpdateStatus(written))] => Some(written.clone()),
            other => panic!("only a status is written: {other:?}"),
        };
        let first = written(&definition("v1")).expect("it has no status yet");
        for kind in ["NamesAccepted", "Established"] {
            let holds = |c: &Value| c["type"] == kind && c["status"] == "True";
            assert!(list_at(first.value(), "/status/conditions").iter().any(holds), "{kind}");
        }
        assert_eq!(first.at("/status/acceptedNames/kind"), Some(&json!("Foo")));
        assert_eq!(first.at("/status/storedVersions"), Some(&json!(["v1"])));
        assert_eq!(written(&first), None, "all is said");
        let mut next = definition("v2");
        next.value_mut()["status"] = first.value()["status"].clone();
        let next = written(&next).expect("another version is stored");
        assert_eq!(next.at("/status/storedVersions"), Some(&json!(["v1", "v2"])));
    }
}
