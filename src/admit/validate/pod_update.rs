//! What may change in a pod that exists (V47), as upstream's `ValidatePodUpdate`.

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::super::path::FieldPath;
use super::errors::{ErrorList, FieldError};

const UNCHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// The changes that an update can't make: the pod would have to be another one.
pub fn unchangeable(new: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = FieldPath::of(&["spec"]);
    let none = PodSpec::default();
    let (new, old) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
    if new.containers.len() != old.containers.len() {
        errors.push(FieldError::forbidden(
            &path.field("containers"),
            "pod updates may not add or remove containers",
        ));
        return errors;
    }
    if new.init_containers.iter().flatten().count() != old.init_containers.iter().flatten().count() {
        errors.push(FieldError::forbidden(
            &path.field("initContainers"),
            "pod updates may not add or remove containers",
        ));
        return errors;
    }
    let changeable = with_changeable_of(new, old);
    if changeable != *old {
        let fields = changed_fields(&changeable, old);
        errors.push(FieldError::forbidden(
            &path,
            format!("{UNCHANGEABLE}\nchanged: {}", fields.join(", ")),
        ));
    }
    errors
}

/// The new spec with the old one's values wherever a change is allowed: what still differs may not.
fn with_changeable_of(new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut spec = new.clone();
    for (container, old) in spec.containers.iter_mut().zip(&old.containers) {
        container.image.clone_from(&old.image);
    }
    for (container, old) in spec
        .init_containers
        .iter_mut()
        .flatten()
        .zip(old.init_containers.iter().flatten())
    {
        container.image.clone_from(&old.image);
    }
    if is_deadline_change_allowed(new.active_deadline_seconds, old.active_deadline_seconds) {
        spec.active_deadline_seconds = old.active_deadline_seconds;
    }
    let tolerations = new.tolerations.as_deref().unwrap_or_default();
    if old
        .tolerations
        .iter()
        .flatten()
        .all(|toleration| tolerations.contains(toleration))
    {
        spec.tolerations.clone_from(&old.tolerations);
    }
    if old.termination_grace_period_seconds.is_some_and(|grace| grace < 0)
        && new.termination_grace_period_seconds == Some(1)
    {
        spec.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    // The number is the class's, and is written by the node.
    if new.priority_class_name == old.priority_class_name {
        spec.priority = old.priority;
    }
    // Gates are taken away, and none is put up.
    let gates = |spec: &PodSpec| spec.scheduling_gates.clone().unwrap_or_default();
    let before = gates(old);
    if gates(new).iter().all(|gate| before.contains(gate)) {
        spec.scheduling_gates.clone_from(&old.scheduling_gates);
    }
    // Written by the node alone, through a subresource; files never name them.
    spec.node_name.clone_from(&old.node_name);
    spec
}

/// A deadline may be set or brought forward, never taken back.
fn is_deadline_change_allowed(new: Option<i64>, old: Option<i64>) -> bool {
    match (new, old) {
        (Some(new), Some(old)) => new <= old,
        (Some(_), None) | (None, None) => true,
        (None, Some(_)) => false,
    }
}

fn changed_fields(new: &PodSpec, old: &PodSpec) -> Vec<String> {
    let fields = |spec: &PodSpec| serde_json::to_value(spec).unwrap_or_default();
    let (new, old) = (fields(new), fields(old));
    let names = new
        .as_object()
        .into_iter()
        .chain(old.as_object())
        .flat_map(|fields| fields.keys());
    let mut changed: Vec<String> = names
        .filter(|name| new.get(*name) != old.get(*name))
        .map(|name| format!("spec.{name}"))
        .collect();
    changed.sort();
    changed.dedup();
    changed
}
