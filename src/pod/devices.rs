//! Devices that a pod's containers ask for by a resource's name (kubelet `devicemanager`): what they want, and what they get with them.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::execute::{Execution, Refusal};
use crate::device::{Edits, Want};
use crate::model::{Key, Quantity, is_terminal};
use crate::runtime::{ContainerConfig, Hook, Mount};

/// The reason of a pod that was put on the node and can't have its devices.
pub(super) const UNEXPECTED: &str = "UnexpectedAdmissionError";

/// What the containers of a pod want, in the order in which they start. Resources that `is_other` are somebody else's to give.
fn plan_wants(pod: &Pod, is_other: impl Fn(&str) -> bool) -> Vec<Want> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_ref());
    let passing = |container: &Container| container.restart_policy.as_deref() != Some("Always");
    let init = init.into_iter().flatten().map(|c| (c, passing(c)));
    let others = spec.iter().flat_map(|spec| &spec.containers).map(|c| (c, false));
    let want = |(container, is_passing): (&Container, bool)| {
        let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
        let devices = limits
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.contains('/') && !is_other(name));
        let amounts = devices.map(|(name, amount)| (name.clone(), whole(&amount.0)));
        let amounts: Vec<_> = amounts.filter(|(_, amount)| *amount > 0).collect();
        (!amounts.is_empty()).then(|| Want {
            container: container.name.clone(),
            is_passing,
            amounts,
        })
    };
    init.chain(others).filter_map(want).collect()
}

/// A whole number; `admit` lets no other in.
fn whole(text: &str) -> u64 {
    let value = Quantity::parse(text).map_or(0, |value| value.divided_by(Quantity::whole(1)));
    u64::try_from(value).unwrap_or(0)
}

impl Execution<'_> {
    /// Gives the pod its devices, once in its life.
    ///
    /// # Errors
    /// It was put on the node and there are not enough, as when one was lost meanwhile.
    pub(super) fn allocate_devices(&self) -> Result<(), Refusal> {
        let (store, ledger) = (&self.rooms.store, &self.rooms.devices);
        let nodes = crate::model::kind("v1", "Node").expect("in the table");
        let catalogue = ledger.catalogue();
        // Users may say of a node what it has besides; that is counted and given by nobody.
        let is_other = |name: &str| {
            let node = || store.get(&Key::new(nodes, "", &self.rooms.host.node_name));
            let is_said = |node: &crate::model::Object| {
                let allocatable = node.at("/status/allocatable");
                allocatable.is_some_and(|list| list.get(name).is_some())
            };
            !catalogue.classes.contains_key(name) && node().is_some_and(|node| is_said(&node))
        };
        let wants = plan_wants(self.pod, is_other);
        if wants.is_empty() {
            return Ok(());
        }
        let pods = store.list(self.object.kind(), None).items;
        let is_over = |uid: &str| pods.iter().any(|pod| pod.uid() == uid && is_terminal(pod));
        ledger
            .allocate(&self.uid.0, &wants, is_over)
            .map_err(|error| Refusal::new(UNEXPECTED, error))
    }

    /// Adds what the container gets with the devices that it has.
    ///
    /// # Errors
    /// One of them is not there any more.
    pub(super) fn add_devices(&self, config: &mut ContainerConfig) -> Result<(), Refusal> {
        let edits = self.rooms.devices.edits(&self.uid.0, &config.name);
        add(config, edits.map_err(|why| Refusal::new("CreateContainerError", why))?);
        Ok(())
    }
}

fn add(config: &mut ContainerConfig, edits: Edits) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for variable in edits.env {
        config.env.retain(|present| name(present) != name(&variable));
        config.env.push(variable);
    }
    for group in edits.groups {
        if !config.supplemental_groups.contains(&group) {
            config.supplemental_groups.push(group);
        }
    }
    // Nodes are the host's own: nobody but its root can make others.
    let nodes = edits.nodes.into_iter();
    let nodes = nodes.map(|node| Mount::of_host(node.path, node.host_path, false));
    let mounts = edits.mounts.into_iter().map(|mount| Mount {
        options: mount.options,
        ..Mount::of_host(mount.path, mount.host_path, mount.is_read_only)
    });
    let more: Vec<_> = nodes.chain(mounts).collect();
    let is_taken = |mount: &Mount| more.iter().any(|m| m.container_path == mount.container_path);
    config.mounts.retain(|mount| !is_taken(mount));
    config.mounts.extend(more);
    // Outer before inner, or the outer would hide the inner.
    config
        .mounts
        .sort_by_key(|m| Path::new(&m.container_path).components().count());
    let hooks = edits.hooks.into_iter().map(|hook| Hook {
        name: hook.name,
        path: hook.path,
        args: hook.args,
        env: hook.env,
        timeout: hook.timeout,
    });
    config.hooks.extend(hooks);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_containers_want_is_what_their_limits_say() {
        let container = |name: &str, limits: serde_json::Value| json!({"name": name, "resources": {"limits": limits}});
        let mut sidecar = container("s", json!({"a.b/c": 1}));
        sidecar["restartPolicy"] = "Always".into();
        let pod = json!({"spec": {
            "initContainers": [container("i", json!({"a.b/c": "2"})), sidecar],
            "containers": [
                container("m", json!({"cpu": 1, "a.b/c": "1", "hand.made/x": 4, "a.b/none": 0})),
                container("n", json!({"memory": "1Gi"})),
            ],
        }});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let wants = plan_wants(&pod, |name| name == "hand.made/x");
        let lines: Vec<_> = wants
            .iter()
            .map(|want| format!("{} {} {:?}", want.container, want.is_passing, want.amounts))
            .collect();
        assert_eq!(
            lines,
            [
                "i true [(\"a.b/c\", 2)]",
                "s false [(\"a.b/c\", 1)]",
                "m false [(\"a.b/c\", 1)]"
            ]
        );
    }
}
