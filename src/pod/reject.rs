//! Pods that may not run here at all (kubelet `rejectPod`): they have failed before anything of them was.

use k8s_openapi::api::core::v1::Pod;

use super::schedule::priority_of;
use super::{Rooms, evict, pressure, sysctls};
use crate::model::{Key, Object, kind};

/// Why a pod may not run here, whatever is tried: in a word, and for people. One that did run here may again.
pub(super) fn plan(rooms: &Rooms, object: &Object, pod: &Pod) -> Option<(&'static str, String)> {
    if let Some(why) = sysctls::plan_refusal(pod, &rooms.host.allowed_sysctls) {
        return Some((sysctls::FORBIDDEN, why));
    }
    if object.at("/status/startTime").is_some() {
        return None;
    }
    let node = Key::new(kind("v1", "Node").expect("in the table"), "", &rooms.host.node_name);
    let why = pressure::plan_refusal(object, rooms.store.get(&node).as_deref(), || priority(rooms, object))?;
    Some((evict::REASON, why))
}

/// How important a pod is that no scheduler has looked at: it may have come by the node's name.
pub(super) fn priority(rooms: &Rooms, pod: &Object) -> i64 {
    let classes = kind("scheduling.k8s.io/v1", "PriorityClass").expect("in the table");
    priority_of(pod, &rooms.store.list(classes, None).items)
}

/// Ends it for good.
pub(super) fn carry_out(rooms: &Rooms, object: &Object, why: &str, reason: &str) {
    let write = |pod: &mut Object| {
        let status = &mut pod.value_mut()["status"];
        status["phase"] = "Failed".into();
        status["reason"] = reason.into();
        status["message"] = format!("Pod was rejected: {why}").into();
        // Nothing of it ever was.
        for list in [
            "containerStatuses",
            "initContainerStatuses",
            "ephemeralContainerStatuses",
        ] {
            status.as_object_mut().and_then(|fields| fields.remove(list));
        }
    };
    // It may be gone.
    let _ = rooms.store.update_status(object.key(), write);
}
