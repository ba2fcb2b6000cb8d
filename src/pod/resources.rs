//! What a pod's requests and limits come to (kubelet `cm/helpers_linux.go`, `kuberuntime_container_linux.go`). Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::history::is_sidecar;
use crate::model::{Quantity, qos_class};
use crate::runtime::{Controller, Limits, Protection, SandboxStatus};

/// How much of the way from the request to the limit memory may grow before it is slowed down, in tenths (kubelet
/// `memoryThrottlingFactor`).
const THROTTLING: u64 = 9;
/// A page of memory.
const PAGE: u64 = 4096;
/// The least that the kernel takes for shares (kubelet `MinShares`): what containers that request nothing have.
const LEAST_SHARES: u64 = 2;

/// What of the machine a pod is given besides what it asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// Bytes of memory of the machine.
    pub memory: u64,
    /// How many processes and threads a pod may have (kubelet `podPidsLimit`).
    pub pids: Option<u64>,
}

/// The limits of one container. Where it has none of its own, the pod's hold.
pub fn container_limits(pod: &Pod, container: &Container, given: Given) -> Limits {
    let own = container.resources.as_ref();
    let of_pod = pod_resources(pod);
    let limit = |name: &str| amount_of(limits_of(own), name).or_else(|| amount_of(limits_of(of_pod), name));
    let request = |name: &str| amount_of(requests_of(own), name);
    let (memory, wants) = (limit("memory"), request("memory"));
    let hugepages = limits_of(own).into_iter().flatten();
    Limits {
        cpu: limit("cpu"),
        cpu_shares: Some(shares_of(request("cpu").or_else(|| limit("cpu")))),
        memory,
        memory_high: memory_high(wants.unwrap_or(0), memory, given),
        memory_protection: protection(pod, wants),
        pids: None,
        hugepages: hugepages.filter_map(|(name, text)| huge(name, text)).collect(),
        dies_together: true,
    }
}

/// The limits of a pod as a whole: a limit holds where it says so itself, or where each of its containers has one.
pub fn pod_limits(pod: &Pod, given: Given) -> Limits {
    let Some(spec) = pod.spec.as_ref() else {
        return Limits::default();
    };
    let limit = |name: &str| whole(spec, name, limits_of).filter(|_| is_declared(spec, name));
    let wants = whole(spec, "memory", requests_of);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let of_containers = containers.map(|c| limits_of(c.resources.as_ref()));
    let named: BTreeSet<&String> = of_containers
        .chain([limits_of(spec.resources.as_ref())])
        .flatten()
        .flat_map(BTreeMap::keys)
        .collect();
    let huge_of = |name: &&String| Some((page_size(name)?, whole(spec, name, limits_of)?));
    Limits {
        cpu: limit("cpu"),
        cpu_shares: Some(shares_of(whole(spec, "cpu", requests_of))),
        memory: limit("memory"),
        memory_high: None,
        memory_protection: protection(pod, wants),
        pids: given.pids,
        hugepages: named.iter().filter_map(huge_of).collect(),
        dies_together: false,
    }
}

/// What has to be enforced for the limits of a pod to hold.
pub fn needed_controllers(pod: &Pod) -> BTreeSet<Controller> {
    let spec = pod.spec.iter();
    let of_containers = spec
        .clone()
        .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
        .map(|c| c.resources.as_ref());
    let all = of_containers.chain(spec.map(|s| s.resources.as_ref()));
    let named = all.filter_map(limits_of).flatten();
    named
        .filter_map(|(name, _)| match name.as_str() {
            "cpu" => Some(Controller::Cpu),
            "memory" => Some(Controller::Memory),
            _ => page_size(name).map(|_| Controller::HugeTlb),
        })
        .collect()
}

/// A limit of a container's own, in the resource's unit.
pub(super) fn limit_of(container: &Container, name: &str) -> Option<u64> {
    amount_of(limits_of(container.resources.as_ref()), name)
}

/// The limits of a pod's containers together.
pub(super) fn pod_limit_of(pod: &Pod, name: &str) -> Option<u64> {
    whole(pod.spec.as_ref()?, name, limits_of)
}

/// Whether a pod has limits that a controller must enforce.
pub fn needs_controllers(pod: &Pod) -> bool {
    !needed_controllers(pod).is_empty()
}

/// What is said of a pod with limits that nothing enforces; `None` where all of them are enforced.
pub fn unenforced(pod: &Pod, sandbox: &SandboxStatus) -> Option<String> {
    let needed = needed_controllers(pod);
    let missing: Vec<&str> = needed
        .difference(&sandbox.controllers)
        .map(|controller| controller.name())
        .collect();
    if missing.is_empty() {
        return None;
    }
    let missing = missing.join(", ");
    Some(format!(
        "limits are not enforced: the pod's sandbox was made without cgroup controllers ({missing}); `kubelocal doctor` tells how to get them"
    ))
}

/// Who goes first when memory runs out (kubelet `GetContainerOOMScoreAdjust`): the more of the machine a container has requested, the
/// later.
pub fn oom_score_adj(pod: &Pod, container: &Container, given: Given) -> i32 {
    match qos_class(pod) {
        "Guaranteed" => -997,
        "Burstable" => burstable_score(pod, container, given),
        _ => 1000,
    }
}

fn burstable_score(pod: &Pod, container: &Container, given: Given) -> i32 {
    let score = |container: &Container| {
        let wants = amount_of(requests_of(container.resources.as_ref()), "memory").unwrap_or(0);
        let part = (u128::from(wants) * 1000)
            .checked_div(u128::from(given.memory))
            .unwrap_or(0);
        // Never as safe as Guaranteed ones, never as unsafe as those that request nothing.
        1000 - i32::try_from(part).unwrap_or(1000).clamp(1, 997)
    };
    let own = score(container);
    if !super::history::has_sidecar(pod, &container.name) {
        return own;
    }
    // A sidecar that died first would take with it whom it serves.
    super::containers(pod)
        .iter()
        .map(score)
        .min()
        .map_or(own, |served| own.min(served))
}

/// `memory.high` (kubelet's MemoryQoS): not where nothing lies between what is requested and what is allowed.
fn memory_high(wants: u64, limit: Option<u64>, given: Given) -> Option<u64> {
    let most = limit.unwrap_or(given.memory);
    let room = most.checked_sub(wants).filter(|room| *room > 0)?;
    let high = wants.saturating_add(room / 10 * THROTTLING + room % 10 * THROTTLING / 10) / PAGE * PAGE;
    (high > wants).then_some(high)
}

/// Requests of memory are kept for whom they are: for good in Guaranteed pods, for as long as there is other memory to take in others.
fn protection(pod: &Pod, wants: Option<u64>) -> Option<Protection> {
    let bytes = wants?;
    match qos_class(pod) {
        "Guaranteed" => Some(Protection::Min(bytes)),
        _ => Some(Protection::Low(bytes)),
    }
}

/// Requests or limits, by resource.
type Amounts = BTreeMap<String, Text>;

fn limits_of(resources: Option<&ResourceRequirements>) -> Option<&Amounts> {
    resources?.limits.as_ref()
}

fn requests_of(resources: Option<&ResourceRequirements>) -> Option<&Amounts> {
    resources?.requests.as_ref()
}

fn pod_resources(pod: &Pod) -> Option<&ResourceRequirements> {
    pod.spec.as_ref()?.resources.as_ref()
}

/// An amount in the unit that is counted: thousandths of CPUs, bytes, pieces. Nothing and zero are the same.
fn amount_of(amounts: Option<&Amounts>, name: &str) -> Option<u64> {
    amount(name, amounts?.get(name)?)
}

fn amount(name: &str, text: &Text) -> Option<u64> {
    let unit = if name == "cpu" { "1m" } else { "1" };
    let unit = Quantity::parse(unit).expect("is a quantity");
    let count = Quantity::parse(&text.0)?.divided_by(unit);
    u64::try_from(count).ok().filter(|count| *count > 0)
}

/// What a whole pod asks of a resource (`k8s.io/component-helpers` `resource.PodRequests` and `PodLimits`): what runs side by side is
/// added, init containers run one after another, the pod's own word stands for its containers', and the overhead comes on top.
fn whole(spec: &PodSpec, name: &str, of: fn(Option<&ResourceRequirements>) -> Option<&Amounts>) -> Option<u64> {
    let asked = |container: &Container| amount_of(of(container.resources.as_ref()), name).unwrap_or(0);
    let (mut sidecars, mut most) = (0_u64, 0_u64);
    for init in spec.init_containers.iter().flatten() {
        if is_sidecar(init) {
            sidecars = sidecars.saturating_add(asked(init));
            most = most.max(sidecars);
        } else {
            most = most.max(sidecars.saturating_add(asked(init)));
        }
    }
    let together = spec.containers.iter().map(asked).fold(sidecars, u64::saturating_add);
    let own = amount_of(of(spec.resources.as_ref()), name);
    let sum = own.unwrap_or(most.max(together));
    let overhead = amount_of(spec.overhead.as_ref(), name).unwrap_or(0);
    Some(sum.saturating_add(overhead)).filter(|_| sum > 0)
}

/// Whether a limit of the pod as a whole follows from what is said.
fn is_declared(spec: &PodSpec, name: &str) -> bool {
    let has = |resources: Option<&ResourceRequirements>| amount_of(limits_of(resources), name).is_some();
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    has(spec.resources.as_ref()) || containers.all(|container| has(container.resources.as_ref()))
}

/// Kubelet `MilliCPUToShares`.
fn shares_of(milli_cpu: Option<u64>) -> u64 {
    milli_cpu.map_or(LEAST_SHARES, |milli| {
        (milli.saturating_mul(1024) / 1000).max(LEAST_SHARES)
    })
}

fn huge(name: &str, text: &Text) -> Option<(u64, u64)> {
    Some((page_size(name)?, amount(name, text).unwrap_or(0)))
}

/// The bytes of a page of `hugepages-2Mi`.
fn page_size(name: &str) -> Option<u64> {
    let size = Quantity::parse(name.strip_prefix("hugepages-")?)?;
    u64::try_from(size.divided_by(Quantity::whole(1)))
        .ok()
        .filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MI: u64 = 1 << 20;

    /// A machine with 1000 MiB.
    fn given() -> Given {
        Given {
            memory: 1000 * MI,
            pids: None,
        }
    }

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    /// A pod with one container that has these resources.
    fn simple(resources: Value) -> Pod {
        pod(json!({"containers": [{"name": "c", "resources": resources}]}))
    }

    fn of_first(pod: &Pod) -> Limits {
        container_limits(pod, &super::super::containers(pod)[0], given())
    }

    #[test]
    fn a_containers_limits_become_quota_shares_and_bounds() {
        let asked =
            json!({"limits": {"cpu": "1500m", "memory": "200Mi"}, "requests": {"cpu": "250m", "memory": "100Mi"}});
        let limits = of_first(&simple(asked));
        let expected = Limits {
            cpu: Some(1500),
            cpu_shares: Some(256),
            memory: Some(200 * MI),
            memory_high: Some(190 * MI),
            memory_protection: Some(Protection::Low(100 * MI)),
            dies_together: true,
            ..Limits::default()
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn what_requests_nothing_has_the_least_shares_and_is_slowed_down_near_the_machines_end() {
        let limits = of_first(&simple(json!({})));
        assert_eq!(
            (limits.cpu, limits.memory, limits.memory_protection),
            (None, None, None)
        );
        assert_eq!((limits.cpu_shares, limits.memory_high), (Some(2), Some(900 * MI)));
    }

    #[test]
    fn guaranteed_memory_is_protected_for_good_and_not_slowed_down() {
        let same = json!({"cpu": "1", "memory": "64Mi"});
        let limits = of_first(&simple(json!({"limits": same, "requests": same})));
        assert_eq!(limits.memory_protection, Some(Protection::Min(64 * MI)));
        assert_eq!((limits.memory_high, limits.cpu_shares), (None, Some(1024)));
    }

    #[test]
    fn zero_limits_nothing() {
        let limits = of_first(&simple(json!({"limits": {"cpu": "0", "memory": "0"}})));
        assert_eq!((limits.cpu, limits.memory), (None, None));
    }

    #[test]
    fn hugepages_are_limited_by_the_size_of_a_page() {
        let limits = of_first(&simple(
            json!({"limits": {"hugepages-2Mi": "4Mi", "hugepages-1Gi": "0"}}),
        ));
        assert_eq!(limits.hugepages, [(2 * MI, 4 * MI), (1024 * MI, 0)].into());
    }

    #[test]
    fn a_pod_is_limited_where_each_of_its_containers_is() {
        let both = json!({"limits": {"cpu": "1", "memory": "10Mi"}, "requests": {"cpu": "500m", "memory": "10Mi"}});
        let one = json!({"limits": {"memory": "10Mi"}});
        let spec = json!({"containers": [{"name": "a", "resources": both}, {"name": "b", "resources": one}]});
        let limits = pod_limits(&pod(spec), given());
        assert_eq!(
            (limits.cpu, limits.memory, limits.cpu_shares),
            (None, Some(20 * MI), Some(512))
        );
        assert!(!limits.dies_together);
    }

    #[test]
    fn init_containers_count_as_they_run_and_sidecars_all_the_time() {
        let with = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let spec = json!({
            "initContainers": [
                {"name": "first", "resources": with("5")},
                {"name": "side", "restartPolicy": "Always", "resources": with("1")},
                {"name": "second", "resources": with("2")},
            ],
            "containers": [{"name": "a", "resources": with("1")}],
        });
        assert_eq!(pod_limits(&pod(spec.clone()), given()).cpu, Some(5000));
        let mut less = spec;
        less["initContainers"][0]["resources"] = with("1");
        assert_eq!(pod_limits(&pod(less.clone()), given()).cpu, Some(3000));
        less["initContainers"][2]["resources"] = with("100m");
        assert_eq!(pod_limits(&pod(less), given()).cpu, Some(2000));
    }

    #[test]
    fn the_pods_own_word_stands_for_its_containers_and_overhead_comes_on_top() {
        let spec = json!({
            "resources": {"limits": {"cpu": "2", "memory": "100Mi"}, "requests": {"cpu": "1", "memory": "50Mi"}},
            "overhead": {"cpu": "250m", "memory": "8Mi"},
            "containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"memory": "30Mi"}}}],
        });
        let pod = pod(spec);
        let limits = pod_limits(&pod, given());
        assert_eq!(
            (limits.cpu, limits.memory, limits.cpu_shares),
            (Some(2250), Some(108 * MI), Some(1280))
        );
        let of = |name: usize| container_limits(&pod, &super::super::containers(&pod)[name], given());
        assert_eq!((of(0).cpu, of(0).memory), (Some(2000), Some(100 * MI)));
        assert_eq!((of(1).cpu, of(1).memory), (Some(2000), Some(30 * MI)));
    }

    #[test]
    fn what_is_needed_is_what_limits_name() {
        let asked = json!({"limits": {"cpu": 1, "hugepages-2Mi": "2Mi"}, "requests": {"memory": "1Mi"}});
        assert_eq!(
            needed_controllers(&simple(asked)),
            [Controller::Cpu, Controller::HugeTlb].into()
        );
        assert_eq!(
            needed_controllers(&simple(json!({"requests": {"cpu": 1}}))),
            BTreeSet::new()
        );
        let of_pod = pod(json!({"resources": {"limits": {"memory": "1Mi"}}, "containers": [{"name": "c"}]}));
        assert_eq!(needed_controllers(&of_pod), [Controller::Memory].into());
    }

    #[test]
    fn who_requested_more_is_killed_later() {
        let score = |resources| {
            let pod = simple(resources);
            oom_score_adj(&pod, &super::super::containers(&pod)[0], given())
        };
        let wants = |memory: &str| json!({"requests": {"memory": memory}});
        assert_eq!(score(json!({})), 1000);
        assert_eq!(
            score(json!({"limits": {"cpu": 1, "memory": "1Mi"}, "requests": {"cpu": 1, "memory": "1Mi"}})),
            -997
        );
        assert_eq!(score(wants("250Mi")), 750);
        assert_eq!(score(wants("1")), 999);
        assert_eq!(score(wants("1000Gi")), 3);
        assert_eq!(score(json!({"requests": {"cpu": 1}})), 999);
    }

    #[test]
    fn a_sidecar_is_as_safe_as_whom_it_serves() {
        let spec = json!({
            "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "first"}],
            "containers": [{"name": "a", "resources": {"requests": {"memory": "500Mi"}}}],
        });
        let pod = pod(spec);
        let score = |container: &Container| oom_score_adj(&pod, container, given());
        let inits = super::super::init_containers(&pod);
        assert_eq!((score(&inits[0]), score(&inits[1])), (500, 999));
    }
}
