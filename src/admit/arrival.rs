//! Whether a pod may come in, which depends on what else is there (admission plugins `ServiceAccount` and `Priority`), and what is said of one
//! that asks for another node.

use std::sync::Arc;

use super::fields::FieldNote;
use super::path::FieldPath;
use crate::model::{Key, Object, class_priority, kind};

/// Whether an object that is about to be made may be made, if it is a pod. `find` looks its account up, `classes` lists all
/// PriorityClasses.
///
/// # Errors
/// Why it is forbidden.
pub fn check_arrival(
    object: &Object,
    find: impl FnOnce(&Key) -> Option<Arc<Object>>,
    classes: impl FnOnce() -> Vec<Arc<Object>>,
) -> Result<(), String> {
    if object.kind().kind != "Pod" {
        return Ok(());
    }
    let (namespace, name) = (&object.key().namespace, object.text("/spec/serviceAccountName"));
    let accounts = kind("v1", "ServiceAccount").expect("in the table");
    // Every namespace gets an account of this name, a moment after it was made.
    if name != "default" && find(&Key::new(accounts, namespace, name)).is_none() {
        return Err(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        ));
    }
    let Some(asked) = object.number("/spec/priority") else {
        return Ok(());
    };
    let wanted = class_priority(object.text("/spec/priorityClassName"), &classes());
    // Zero is what the gate writes where nothing was asked for.
    if asked == wanted || asked == 0 {
        return Ok(());
    }
    Err(format!(
        "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {wanted} \
         from the given PriorityClass name"
    ))
}

/// What is to be said of a pod, or of a template of pods, that names a node. `is_there` says whether there is such a node.
pub fn note_of_node(object: &Object, is_there: impl FnOnce(&str) -> bool) -> Option<FieldNote> {
    let path: &[&str] = match object.kind().kind {
        "Pod" => &["spec", "nodeName"],
        "Deployment" | "ReplicaSet" => &["spec", "template", "spec", "nodeName"],
        _ => return None,
    };
    let node = object.text(&format!("/{}", path.join("/")));
    (!node.is_empty() && !is_there(node)).then(|| {
        let message = format!("there is no node {node:?} here: nothing runs what is for it");
        FieldNote::warning(FieldPath::of(path), &message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Object {
        let metadata = json!({"name": "a", "namespace": "n"});
        Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).expect("a pod")
    }

    fn arrives(spec: Value, has_account: bool) -> Result<(), String> {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 7});
        let pod = pod(spec);
        let find = |key: &Key| {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": key.name, "namespace": key.namespace}});
            has_account.then(|| Arc::new(Object::new(account).expect("an account")))
        };
        check_arrival(&pod, find, || vec![Arc::new(Object::new(class).expect("a class"))])
    }

    #[test]
    fn a_pod_comes_in_with_an_account_that_is_there_and_the_priority_of_its_class() {
        let missing = "error looking up service account n/nope: serviceaccount \"nope\" not found";
        let own = "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 7 from \
                   the given PriorityClass name";
        for (spec, has_account, wanted) in [
            (json!({"serviceAccountName": "nope"}), false, Err(missing.to_owned())),
            (json!({"serviceAccountName": "there"}), true, Ok(())),
            (json!({"serviceAccountName": "default"}), false, Ok(())),
            (json!({"serviceAccountName": "default", "priority": 0}), true, Ok(())),
            (
                json!({"serviceAccountName": "default", "priority": 5, "priorityClassName": "high"}),
                true,
                Err(own.to_owned()),
            ),
            (
                json!({"serviceAccountName": "default", "priority": 7, "priorityClassName": "high"}),
                true,
                Ok(()),
            ),
            (
                json!({"serviceAccountName": "default", "priority": 0, "priorityClassName": "high"}),
                true,
                Ok(()),
            ),
        ] {
            assert_eq!(arrives(spec.clone(), has_account), wanted, "{spec}");
        }
    }

    #[test]
    fn who_asks_for_another_node_is_told() {
        let note = |node: &str| note_of_node(&pod(json!({"nodeName": node})), |name| name == "here");
        assert_eq!((note(""), note("here")), (None, None));
        assert_eq!(
            note("other").map(|note| note.path),
            Some(FieldPath::of(&["spec", "nodeName"]))
        );
    }
}
