//! Resources that change in a pod that exists (`ValidatePodResize`), and what containers say of such changes (`validateResizePolicy`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};
use crate::model::qos_class;

/// What may be changed.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];

/// The changes that no resize can make.
pub fn changes(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = FieldPath::of(&["spec"]);
    let none = PodSpec::default();
    let (spec, before) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    if before.resources.is_some() {
        let detail = "pods with pod-level resources cannot be resized";
        errors.push(FieldError::forbidden(&path, detail));
    }
    if qos_class(new) != qos_class(old) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, &qos_class(new), detail));
    }
    let inits = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    let is_same_list = is_in_place(&spec.containers, &before.containers, "containers", &path, &mut errors)
        & is_in_place(&inits(spec), &inits(before), "initContainers", &path, &mut errors);
    if !is_same_list {
        return errors;
    }
    for (index, (new, old)) in spec.containers.iter().zip(&before.containers).enumerate() {
        removed(new, old, &path.field("containers").index(index), &mut errors);
    }
    for (index, (new, old)) in inits(spec).iter().zip(&inits(before)).enumerate() {
        let at = path.field("initContainers").index(index);
        if old.restart_policy.as_deref() == Some("Always") {
            removed(new, old, &at, &mut errors);
        } else if new.resources != old.resources {
            let detail = "resources for non-sidecar init containers are immutable";
            errors.push(FieldError::forbidden(&at.field("resources"), detail));
        }
    }
    if with_resizable_of(spec, before) != *before {
        errors.push(FieldError::forbidden(
            &path,
            "only cpu and memory resources are mutable",
        ));
    }
    errors
}

fn is_in_place(new: &[Container], old: &[Container], list: &str, path: &FieldPath, errors: &mut ErrorList) -> bool {
    let names = |list: &[Container]| list.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    let wrong = if new.len() != old.len() {
        "added or removed"
    } else if names(new) != names(old) {
        "renamed or reordered"
    } else {
        return true;
    };
    let detail = format!("{list} may not be {wrong} on resize");
    errors.push(FieldError::forbidden(&path.field(list), detail));
    false
}

/// What a container has been promised may change, and not go.
fn removed(new: &Container, old: &Container, path: &FieldPath, errors: &mut ErrorList) {
    type Amounts = BTreeMap<String, Quantity>;
    let none = ResourceRequirements::default();
    let (now, before) = (
        new.resources.as_ref().unwrap_or(&none),
        old.resources.as_ref().unwrap_or(&none),
    );
    let is_gone = |now: &Option<Amounts>, before: &Option<Amounts>| {
        let mut names = RESIZABLE.iter();
        let has = |list: &Option<Amounts>, name: &str| list.as_ref().is_some_and(|list| list.contains_key(name));
        names.any(|name| has(before, name) && !has(now, name))
    };
    for (what, is_gone) in [
        ("limits", is_gone(&now.limits, &before.limits)),
        ("requests", is_gone(&now.requests, &before.requests)),
    ] {
        if is_gone {
            let at = path.field("resources").field(what);
            errors.push(FieldError::forbidden(&at, format!("resource {what} cannot be removed")));
        }
    }
}

/// The new spec with the old one's CPU and memory: what still differs may not.
fn with_resizable_of(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut spec = new.clone();
    let inits = spec.init_containers.iter_mut().flatten();
    let old_inits = old.init_containers.iter().flatten();
    for (container, old) in spec
        .containers
        .iter_mut()
        .zip(&old.containers)
        .chain(inits.zip(old_inits))
    {
        let before = old.resources.clone().unwrap_or_default();
        let now = container.resources.get_or_insert_default();
        for (list, before) in [(&mut now.limits, &before.limits), (&mut now.requests, &before.requests)] {
            for name in RESIZABLE {
                match before.as_ref().and_then(|list| list.get(name)) {
                    Some(amount) => drop(list.get_or_insert_default().insert(name.to_owned(), amount.clone())),
                    None => drop(list.as_mut().and_then(|list| list.remove(name))),
                }
            }
            // Nothing said and nothing in it are the same.
            if list.as_ref().is_some_and(BTreeMap::is_empty) && before.is_none() {
                *list = None;
            }
        }
        if old.resources.is_none() && container.resources == Some(ResourceRequirements::default()) {
            container.resources = None;
        }
    }
    spec
}

/// Checks what the containers of a pod say of changes.
pub fn validate_policies(spec: &PodSpec, path: &FieldPath, errors: &mut ErrorList) {
    let never = spec.restart_policy.as_deref() == Some("Never");
    for (index, container) in spec.containers.iter().enumerate() {
        validate_policy(container, never, &path.field("containers").index(index), errors);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        validate_policy(container, never, &path.field("initContainers").index(index), errors);
    }
}

fn validate_policy(container: &Container, is_never_restarted: bool, path: &FieldPath, errors: &mut ErrorList) {
    let at = path.field("resizePolicy");
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    for (index, policy) in policies.iter().enumerate() {
        let (resource, restart) = (&policy.resource_name, &policy.restart_policy);
        if policies[..index].iter().any(|other| other.resource_name == *resource) {
            errors.push(FieldError::duplicate(&at.index(index), resource));
        }
        for (word, supported) in [(resource, RESIZABLE), (restart, POLICIES)] {
            if word.is_empty() {
                errors.push(FieldError::required(&at, ""));
            } else if !supported.contains(&word.as_str()) {
                errors.push(FieldError::not_supported(&at, word, &supported));
            }
        }
        if is_never_restarted && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(&at, restart, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(resources: Value, more: Value) -> Pod {
        let mut spec = json!({"containers": [{"name": "c", "image": "x", "resources": resources}]});
        let fields = spec.as_object_mut().expect("a map");
        fields.extend(more.as_object().expect("a map").clone());
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    fn said(new: &Pod, old: &Pod) -> Vec<String> {
        changes(new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn cpu_and_memory_change_and_nothing_else() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
        let old = pod(asks("1"), json!({}));
        let only = "spec: Forbidden: only cpu and memory resources are mutable";
        let limits = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}});
        let disk = json!({"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}});
        let exact = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        let class = "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing";
        let removed = "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed";
        let renamed = json!({"containers": [{"name": "d", "image": "x", "resources": asks("1")}]});
        let renaming = "spec.containers: Forbidden: containers may not be renamed or reordered on resize";
        let none = json!({"containers": []});
        let removing = "spec.containers: Forbidden: containers may not be added or removed on resize";
        for (new, expected) in [
            (pod(asks("1"), json!({})), vec![]),
            (pod(asks("2"), json!({})), vec![]),
            (pod(limits, json!({})), vec![]),
            (pod(disk, json!({})), vec![only]),
            (pod(asks("2"), json!({"hostname": "h"})), vec![only]),
            (pod(exact, json!({})), vec![class]),
            (pod(json!({"requests": {"memory": "1Gi"}}), json!({})), vec![removed]),
            (pod(Value::Null, renamed), vec![renaming]),
            (
                pod(Value::Null, none),
                vec![
                    "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing",
                    removing,
                ],
            ),
        ] {
            assert_eq!(said(&new, &old), expected);
        }
    }

    #[test]
    fn sidecars_are_resized_and_other_init_containers_are_not() {
        let with = |policy: Value, cpu: &str| {
            let init =
                json!({"name": "i", "image": "x", "restartPolicy": policy, "resources": {"requests": {"cpu": cpu}}});
            pod(Value::Null, json!({"initContainers": [init]}))
        };
        assert_eq!(said(&with(json!("Always"), "2"), &with(json!("Always"), "1")), [""; 0]);
        let detail =
            "spec.initContainers[0].resources: Forbidden: resources for non-sidecar init containers are immutable";
        assert_eq!(said(&with(Value::Null, "2"), &with(Value::Null, "1")), [detail]);
    }

    #[test]
    fn policies_name_what_can_be_resized() {
        let policy = |resource: &str, restart: &str| json!({"resourceName": resource, "restartPolicy": restart});
        let at = "spec.containers[0].resizePolicy";
        for (policies, restart, expected) in [
            (
                json!([policy("cpu", "NotRequired"), policy("memory", "RestartContainer")]),
                "Always",
                vec![],
            ),
            (
                json!([policy("cpu", "NotRequired"), policy("cpu", "NotRequired")]),
                "Always",
                vec![format!("{at}[1]: Duplicate value: \"cpu\"")],
            ),
            (
                json!([policy("disk", "Maybe")]),
                "Always",
                vec![
                    format!("{at}: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\""),
                    format!(
                        "{at}: Unsupported value: \"Maybe\": supported values: \"NotRequired\", \"RestartContainer\""
                    ),
                ],
            ),
            (
                json!([policy("cpu", "RestartContainer")]),
                "Never",
                vec![format!(
                    "{at}: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"
                )],
            ),
        ] {
            let container = json!({"name": "c", "image": "x", "resizePolicy": policies});
            let pod = pod(
                Value::Null,
                json!({"containers": [container], "restartPolicy": restart}),
            );
            let mut errors = ErrorList::default();
            let spec = pod.spec.expect("it has one");
            validate_policies(&spec, &FieldPath::of(&["spec"]), &mut errors);
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
        }
    }
}
