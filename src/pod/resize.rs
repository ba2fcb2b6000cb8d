//! Resources that change while containers run (kubelet `allocation.Manager`, `computePodResizeAction`): what a run was given is on its
//! record, what is asked is in the spec, and between the two stands whether there is room. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::history::{History, is_sidecar};
use super::schedule::{Requests, given_to, read, requests_of};
use crate::model::{Object, Quantity, is_terminal};
use crate::runtime::{ContainerStatus, SandboxStatus};

/// Annotation on a run: the resources that it was given last, as its container's spec had them.
pub const RESOURCES: &str = "kubelocal.dev/resources";

/// The name under which it is kept that a resize could not be carried out; no container can be called so.
pub const RESIZE_FAILURE: &str = "/resize";

/// Why other resources than a pod has must wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingResize {
    /// `Deferred` until others make room, or `Infeasible` on this node.
    pub reason: &'static str,
    /// For people, in the kubelet's words.
    pub message: String,
}

/// A container's resources as its run's record has them.
pub(super) fn resources_text(container: &Container) -> String {
    let resources = container.resources.clone().unwrap_or_default();
    serde_json::to_string(&resources).expect("Kubernetes types have string keys only")
}

/// What a run was given; `None` if its record does not say.
pub fn resources_of(run: &ContainerStatus) -> Option<ResourceRequirements> {
    serde_json::from_str(run.annotations.get(RESOURCES)?).ok()
}

/// Whether a run has other resources than its container asks for.
pub fn is_due(container: &Container, run: &ContainerStatus) -> bool {
    let asked = container.resources.clone().unwrap_or_default();
    resources_of(run).is_some_and(|given| {
        amounts(&given.limits) != amounts(&asked.limits) || amounts(&given.requests) != amounts(&asked.requests)
    })
}

/// A list of resources by its amounts: `1` and `1000m` are one.
fn amounts(list: &Option<BTreeMap<String, Text>>) -> BTreeMap<&str, Option<Quantity>> {
    let list = list.iter().flatten();
    list.map(|(name, text)| (name.as_str(), Quantity::parse(&text.0)))
        .collect()
}

/// Whether a run must end for its container to get what it asks for (`resizePolicy`).
pub(super) fn needs_restart(container: &Container, run: &ContainerStatus) -> bool {
    let Some(given) = resources_of(run) else { return false };
    let asked = container.resources.clone().unwrap_or_default();
    let has_changed = |name: &str| {
        [(&given.limits, &asked.limits), (&given.requests, &asked.requests)]
            .iter()
            .any(|(given, asked)| amounts(given).get(name) != amounts(asked).get(name))
    };
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|policy| policy.restart_policy == "RestartContainer" && has_changed(&policy.resource_name))
}

/// The containers whose resources may change: those that are there for good.
fn resizable(pod: &mut Pod) -> impl Iterator<Item = &mut Container> {
    let spec = pod.spec.iter_mut();
    spec.flat_map(|spec| {
        let inits = spec.init_containers.iter_mut().flatten().filter(|c| is_sidecar(c));
        inits.chain(&mut spec.containers)
    })
}

/// The pod with the resources that its runs were given; `None` if they are those that it asks for.
pub(super) fn as_given(pod: &Pod, observed: Option<&SandboxStatus>) -> Option<Pod> {
    let mut given = pod.clone();
    let mut differs = false;
    for container in resizable(&mut given) {
        let Some(run) = History::of(&container.name, observed).latest() else {
            continue;
        };
        if is_due(container, run) {
            differs = true;
            container.resources = resources_of(run);
        }
    }
    differs.then_some(given)
}

/// Whether there is room for what a pod on the node asks for by now (kubelet `canResizePod`). `pods` are all pods: the others hold what
/// they were given.
///
/// # Errors
/// Why not.
pub(super) fn plan_resize(pod: &Object, node: Option<&Object>, pods: &[Arc<Object>]) -> Result<(), PendingResize> {
    let Some(node) = node else { return Ok(()) };
    let (asked, allocatable) = (requests_of(pod), read(node.at("/status/allocatable")));
    let is_other = |other: &&Arc<Object>| {
        other.uid() != pod.uid() && !other.text("/spec/nodeName").is_empty() && !is_terminal(other)
    };
    let others: Vec<Requests> = pods.iter().filter(is_other).map(|other| given_to(other)).collect();
    let amount = |list: &Requests, name: &str| list.get(name).copied().unwrap_or(Quantity::ZERO);
    for name in ["memory", "cpu"] {
        let (wants, has) = (amount(&asked, name), amount(&allocatable, name));
        if wants > has {
            let numbers = format!("requested: {}, capacity: {}", shown(name, wants), shown(name, has));
            return Err(PendingResize {
                reason: "Infeasible",
                message: format!("Node didn't have enough capacity: {name}, {numbers}"),
            });
        }
        let used = others
            .iter()
            .fold(Quantity::ZERO, |sum, other| sum + amount(other, name));
        if used + wants > has {
            let (wants, used, has) = (shown(name, wants), shown(name, used), shown(name, has));
            let message =
                format!("Node didn't have enough resource: {name}, requested: {wants}, used: {used}, capacity: {has}");
            return Err(PendingResize {
                reason: "Deferred",
                message,
            });
        }
    }
    Ok(())
}

/// Thousandths of CPUs, bytes.
fn shown(name: &str, amount: Quantity) -> i128 {
    let unit = if name == "cpu" { "1m" } else { "1" };
    amount.divided_by(Quantity::parse(unit).expect("is a quantity"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::runtime::{ContainerId, ContainerState};

    fn container(limits: Value, policy: Value) -> Container {
        let value = json!({"name": "c", "resources": {"limits": limits}, "resizePolicy": policy});
        serde_json::from_value(value).expect("a container")
    }

    /// A run that was given these limits.
    fn run(limits: Value) -> ContainerStatus {
        let given = resources_text(&container(limits, Value::Null));
        ContainerStatus {
            id: ContainerId("c0".to_owned()),
            name: "c".to_owned(),
            attempt: 0,
            image: String::new(),
            image_id: String::new(),
            annotations: [(RESOURCES.to_owned(), given)].into(),
            log_path: "/log".into(),
            state: ContainerState::Created,
        }
    }

    #[test]
    fn a_run_ends_for_resources_of_which_its_container_says_so() {
        let policy = json!([
            {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            {"resourceName": "memory", "restartPolicy": "RestartContainer"},
        ]);
        let had = run(json!({"cpu": "1", "memory": "1Gi"}));
        for (limits, policy, expected) in [
            (json!({"cpu": "1", "memory": "1Gi"}), policy.clone(), (false, false)),
            (
                json!({"cpu": "1000m", "memory": "1024Mi"}),
                policy.clone(),
                (false, false),
            ),
            (json!({"cpu": "2", "memory": "1Gi"}), policy.clone(), (true, false)),
            (json!({"cpu": "2", "memory": "2Gi"}), policy, (true, true)),
            (json!({"cpu": "2", "memory": "2Gi"}), Value::Null, (true, false)),
        ] {
            let container = container(limits.clone(), policy);
            let found = (is_due(&container, &had), needs_restart(&container, &had));
            assert_eq!(found, expected, "{limits}");
        }
        let unknown = ContainerStatus {
            annotations: BTreeMap::new(),
            ..had
        };
        assert!(!is_due(&container(json!({}), Value::Null), &unknown));
    }

    fn pod(name: &str, memory: &str, allocated: Option<&str>) -> Object {
        let container = json!({"name": "c", "resources": {"requests": {"memory": memory, "cpu": "100m"}}});
        let statuses = allocated.map(|memory| json!([{"name": "c", "allocatedResources": {"memory": memory}}]));
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name},
            "spec": {"nodeName": "here", "containers": [container]}, "status": {"containerStatuses": statuses}});
        Object::new(pod).expect("a pod")
    }

    #[test]
    fn what_has_no_room_now_is_deferred_and_what_never_has_is_infeasible() {
        let allocatable = json!({"allocatable": {"memory": "1000", "cpu": "2"}});
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "here"}, "status": allocatable});
        let node = Object::new(node).expect("a node");
        // What the others ask for and have not been given takes no room from this one.
        let others = [pod("greedy", "900", Some("300")), pod("own", "1", None)].map(Arc::new);
        for (memory, expected) in [
            ("700", None),
            (
                "701",
                Some((
                    "Deferred",
                    "Node didn't have enough resource: memory, requested: 701, used: 300, capacity: 1000",
                )),
            ),
            (
                "1001",
                Some((
                    "Infeasible",
                    "Node didn't have enough capacity: memory, requested: 1001, capacity: 1000",
                )),
            ),
        ] {
            let said = plan_resize(&pod("own", memory, Some("1")), Some(&node), &others).err();
            let said = said.as_ref().map(|pending| (pending.reason, pending.message.as_str()));
            assert_eq!(said, expected, "{memory}");
        }
    }
}
