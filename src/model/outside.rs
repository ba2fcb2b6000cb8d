//! Which pods are kept from the outside of their network.

use super::Object;

/// The label or annotation of a namespace that cuts its pods off from the outside.
pub const EGRESS: &str = "kubelocal.dev/egress";

/// What cuts a namespace's pods off from the outside: the setting, and its word. Any word but `true` does it: who misspells it wants to be safe.
pub fn cut_off(namespace: &Object) -> Option<(&'static str, &str)> {
    let said = |at: &str| namespace.at(at).and_then(|map| map.get(EGRESS)?.as_str());
    let words = [said("/metadata/labels"), said("/metadata/annotations")];
    let word = words.into_iter().flatten().find(|word| *word != "true")?;
    Some((EGRESS, word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_is_cut_off_by_a_label_or_an_annotation() {
        for (metadata, expected) in [
            (json!({"name": "a"}), None),
            (json!({"name": "a", "labels": {EGRESS: "false"}}), Some("false")),
            (json!({"name": "a", "annotations": {EGRESS: "no"}}), Some("no")),
            (json!({"name": "a", "labels": {EGRESS: "true"}}), None),
            (json!({"name": "a", "labels": {EGRESS: "False"}}), Some("False")),
            (
                json!({"name": "a", "labels": {EGRESS: "true"}, "annotations": {EGRESS: "false"}}),
                Some("false"),
            ),
            (json!({"name": "a", "labels": {"egress": "false"}}), None),
        ] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
            let namespace = Object::new(namespace).expect("a namespace");
            assert_eq!(cut_off(&namespace).map(|(_, word)| word), expected, "{namespace:?}");
        }
    }
}
