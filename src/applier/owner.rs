//! Which source keeps an object: told by who applied its fields. Pure.
//!
//! The store keeps those books (`managedFields`) and believes no client about them, where an annotation goes along with every copy
//! that a user makes of an object.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::Value;

use super::report::status_of;
use crate::model::{Key, Object, SOURCE, SourceObject};
use crate::source::Applied;

const PREFIX: &str = "kubelocal-source-";

/// The field manager as which a source applies.
pub(super) fn manager_of(source: &str) -> String {
    format!("{PREFIX}{source}")
}

/// The sources that apply an object.
pub(super) fn sources_of(object: &Object) -> impl Iterator<Item = &str> {
    let entries = object.at("/metadata/managedFields").and_then(Value::as_array);
    let applied = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["operation"] == "Apply");
    applied.filter_map(|entry| entry["manager"].as_str()?.strip_prefix(PREFIX))
}

/// Takes a source's marks off an object.
pub(super) fn let_go(object: &mut Object, source: &str) {
    let metadata = object.metadata_mut();
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(SOURCE);
    }
    let manager = manager_of(source);
    if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
        entries.retain(|entry| entry["manager"] != manager.as_str());
    }
}

/// What an earlier keeper of the source applied: what its status notes, and what it had no time to note.
pub(super) fn recall<'a>(source: &Object, present: impl Iterator<Item = &'a Object>) -> BTreeMap<Key, Applied> {
    let status = status_of(source);
    let name = source.key().name.as_str();
    // By uid: another object may have the name of a noted one by now.
    let noted: HashMap<&str, &SourceObject> = status.objects.iter().map(|o| (o.uid.as_str(), o)).collect();
    let applied = present.filter_map(|object| {
        let noted = noted.get(object.uid());
        if noted.is_none() && !sources_of(object).any(|source| source == name) {
            return None;
        }
        let applied = Applied {
            origin: noted.map(|noted| PathBuf::from(&noted.path)).unwrap_or_default(),
            digest: noted.and_then(|noted| u64::from_str_radix(&noted.digest, 16).ok()),
            uid: object.uid().to_owned(),
        };
        Some((object.key().clone(), applied))
    });
    applied.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(name: &str, metadata: &Value) -> Object {
        let mut value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        value["metadata"]["name"] = name.into();
        value["metadata"]["namespace"] = "default".into();
        Object::new(value).expect("a kind of the table, with a name")
    }

    fn source(objects: &Value) -> Object {
        let value = json!({"apiVersion": "kubelocal.dev/v1alpha1", "kind": "ManifestSource",
            "metadata": {"name": "s"}, "status": {"objects": objects}});
        Object::new(value).expect("a kind of the table, with a name")
    }

    fn applied_by(manager: &str, operation: &str) -> Value {
        json!({"uid": "2", "managedFields": [{"manager": manager, "operation": operation}]})
    }

    #[test]
    fn what_carries_a_copied_annotation_is_nobodys() {
        let copy = map("copy", &json!({"uid": "2", "annotations": {(SOURCE): "s"}}));
        assert_eq!(recall(&source(&json!([])), [&copy].into_iter()), BTreeMap::new());
        assert_eq!(sources_of(&copy).count(), 0);
    }

    #[test]
    fn what_a_source_applied_is_its_own_noted_or_not() {
        let entry = json!({"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": "a", "uid": "1",
            "path": "/o", "digest": "ff"});
        let source = source(&json!([entry]));
        let noted = map("a", &json!({"uid": "1"}));
        let again = map("a", &json!({"uid": "9"}));
        let unnoted = map("b", &applied_by("kubelocal-source-s", "Apply"));
        let of_another = map("c", &applied_by("kubelocal-source-t", "Apply"));
        let written = map("d", &applied_by("kubelocal-source-s", "Update"));
        let recalled = recall(&source, [&noted, &unnoted, &of_another, &written].into_iter());
        let shown: Vec<_> = recalled
            .iter()
            .map(|(key, applied)| {
                (
                    key.name.as_str(),
                    applied.origin.to_str(),
                    applied.digest,
                    applied.uid.as_str(),
                )
            })
            .collect();
        assert_eq!(shown, [("a", Some("/o"), Some(255), "1"), ("b", Some(""), None, "2")]);
        assert_eq!(
            recall(&source, [&again].into_iter()),
            BTreeMap::new(),
            "it is someone else's by now"
        );
    }

    #[test]
    fn what_is_let_go_is_nobodys() {
        let mut object = map("a", &applied_by("kubelocal-source-s", "Apply"));
        let_go(&mut object, "s");
        assert_eq!(recall(&source(&json!([])), [&object].into_iter()), BTreeMap::new());
    }
}
