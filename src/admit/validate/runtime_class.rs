//! RuntimeClasses (`ValidateRuntimeClass`).

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::api::node::v1::RuntimeClass;

use super::super::path::FieldPath;
use super::container::validate_resources;
use super::errors::{ErrorList, FieldError};
use super::{meta, names, pod};

/// Checks a class.
pub fn validate_class(class: &RuntimeClass, errors: &mut ErrorList) {
    let root = FieldPath::root();
    for message in names::dns_label(&class.handler) {
        errors.push(FieldError::invalid(&root.field("handler"), &class.handler, message));
    }
    if let Some(overhead) = &class.overhead {
        let as_limits = ResourceRequirements {
            limits: overhead.pod_fixed.clone(),
            ..ResourceRequirements::default()
        };
        validate_resources(&as_limits, &root.field("overhead"), errors);
    }
    let Some(scheduling) = &class.scheduling else {
        return;
    };
    let at = root.field("scheduling");
    meta::validate_labels(scheduling.node_selector.as_ref(), &at.field("nodeSelector"), errors);
    let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = at.field("tolerations").index(index);
        pod::validate_toleration(toleration, &at, errors);
        if tolerations[..index].contains(toleration) {
            errors.push(FieldError::duplicate(&at, toleration));
        }
    }
}

/// Checks a class's change: pods of it have been started by its handler.
pub fn validate_class_update(new: &RuntimeClass, old: &RuntimeClass, errors: &mut ErrorList) {
    if new.handler != old.handler {
        let at = FieldPath::root().field("handler");
        errors.push(FieldError::invalid(&at, &new.handler, "field is immutable"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(fields: Value) -> RuntimeClass {
        let mut value = json!({"metadata": {"name": "fast"}});
        value
            .as_object_mut()
            .expect("a map")
            .extend(fields.as_object().expect("a map").clone());
        serde_json::from_value(value).expect("is of the type")
    }

    fn errors(fields: Value) -> Vec<String> {
        let mut errors = ErrorList::default();
        validate_class(&class(fields), &mut errors);
        errors
            .iter()
            .map(|error| error.to_string().chars().take(50).collect())
            .collect()
    }

    #[test]
    fn a_class_names_a_handler_and_says_what_its_pods_cost_and_where_they_run() {
        assert_eq!(errors(json!({"handler": "crun"})), [""; 0]);
        let scheduling = json!({"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]});
        let full = json!({"handler": "crun", "overhead": {"podFixed": {"cpu": "1m"}}, "scheduling": scheduling});
        assert_eq!(errors(full), [""; 0]);
        for (fields, starts) in [
            (
                json!({"handler": ""}),
                "handler: Invalid value: \"\": a lowercase RFC 1123 l",
            ),
            (
                json!({"handler": "/bin/sh"}),
                "handler: Invalid value: \"/bin/sh\": a lowercase RFC",
            ),
            (
                json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1"}}}),
                "overhead.limits[cpu]: Invalid value: \"-1\": must be",
            ),
            (
                json!({"handler": "a", "scheduling": {"nodeSelector": {"a b": "c"}}}),
                "scheduling.nodeSelector: Invalid value: \"a b\": nam",
            ),
            (
                json!({"handler": "a", "scheduling": {"tolerations": [{}]}}),
                "scheduling.tolerations[0].operator: Invalid value:",
            ),
            (
                json!({"handler": "a", "scheduling": {"tolerations": [{"key": "k"}, {"key": "k"}]}}),
                "scheduling.tolerations[1]: Duplicate value: {\"key\"",
            ),
        ] {
            assert_eq!(errors(fields.clone()), [starts], "{fields}");
        }
    }

    #[test]
    fn a_class_keeps_its_handler() {
        for (handler, expected) in [("a", 0), ("b", 1)] {
            let mut errors = ErrorList::default();
            validate_class_update(
                &class(json!({"handler": handler})),
                &class(json!({"handler": "a"})),
                &mut errors,
            );
            assert_eq!(errors.iter().count(), expected);
        }
    }
}
