//! Which pod and which container a verb means: `web`, `pod/web`, `deploy/web`, a default container.

use serde_json::Value;

use super::client::{Node, Resource, items_of};
use super::error::{CliError, ErrorKind, Result};
use crate::api::table::selector_text;
use crate::model::{Kind, kind};

/// The kind of pods.
pub fn pod_kind() -> &'static Kind {
    kind("v1", "Pod").expect("the table of kinds has pods")
}

/// The pods that an object stands for: itself, or those that its selector chooses, the best to talk to first.
///
/// # Errors
/// When it is not there, or its kind has no pods.
pub async fn pods_of(node: &Node, kind: &'static Kind, namespace: &str, name: &str) -> Result<Vec<Value>> {
    let object = node.get(&Resource::object(kind, namespace, name), &[]).await?;
    if kind == pod_kind() {
        return Ok(vec![object]);
    }
    let selector = match kind.kind {
        "Service" => object
            .pointer("/spec/selector")
            .map(|labels| serde_json::json!({"matchLabels": labels})),
        _ => object.pointer("/spec/selector").cloned(),
    };
    let Some(selector) = selector else {
        return Err(CliError::usage(format_args!("{} {name:?} has no pods", kind.singular)));
    };
    let query = [("labelSelector", selector_text(&selector))];
    let list = node
        .get(&Resource::collection(pod_kind(), Some(namespace)), &query)
        .await?;
    let mut pods = items_of(list, pod_kind());
    pods.sort_by_key(preference);
    Ok(pods)
}

/// One pod for an object, the best of several.
///
/// # Errors
/// When there is none.
pub async fn pod_of(node: &Node, kind: &'static Kind, namespace: &str, name: &str) -> Result<Value> {
    let pods = pods_of(node, kind, namespace, name).await?;
    pods.into_iter().next().ok_or_else(|| CliError {
        message: format!("error: {} {name:?} has no pods", kind.singular),
        ..CliError::silent(ErrorKind::NotFound)
    })
}

/// Those that run and are ready come first, the oldest of them first: it has most to tell.
fn preference(pod: &Value) -> (bool, bool, String) {
    let text = |pointer: &str| {
        pod.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let is_ready = super::wait::has_condition(pod, "Ready", "True");
    (
        text("/status/phase") != "Running",
        !is_ready,
        text("/metadata/creationTimestamp"),
    )
}

/// `metadata.name`.
pub fn name_of(object: &Value) -> &str {
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The names of a pod's containers: init containers first, in the order in which they run.
pub fn containers_of(pod: &Value) -> Vec<(&str, ContainerRole)> {
    let of = |field: &str, role: ContainerRole| {
        let list = pod
            .pointer(&format!("/spec/{field}"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        list.filter_map(move |container| Some((container.get("name")?.as_str()?, role)))
    };
    let init = of("initContainers", ContainerRole::Init);
    let main = of("containers", ContainerRole::Main);
    init.chain(main)
        .chain(of("ephemeralContainers", ContainerRole::Ephemeral))
        .collect()
}

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerRole {
    /// Runs before the others.
    Init,
    /// The pod's purpose.
    Main,
    /// Added later, to look around.
    Ephemeral,
}

/// The container that is meant when none is named: the one that the pod's annotation names, else the first. Says so on
/// standard error where there was a choice, unless `is_quiet`.
///
/// # Errors
/// When `wanted` is no container of the pod.
pub fn choose_container(pod: &Value, wanted: Option<&str>, is_quiet: bool) -> Result<String> {
    let containers = containers_of(pod);
    if let Some(wanted) = wanted {
        return match containers.iter().any(|(name, _)| *name == wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(CliError::usage(format_args!(
                "container {wanted} is not valid for pod {}",
                name_of(pod)
            ))),
        };
    }
    let annotated = pod
        .pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container")
        .and_then(Value::as_str);
    if let Some(annotated) = annotated.filter(|wanted| containers.iter().any(|(name, _)| name == wanted)) {
        return Ok(annotated.to_owned());
    }
    let first = containers.iter().find(|(_, role)| *role == ContainerRole::Main);
    let Some((first, _)) = first else {
        return Err(CliError::local(format_args!("pod {} has no containers", name_of(pod))));
    };
    if containers.len() > 1 && !is_quiet {
        eprintln!("Defaulted container {first:?} out of: {}", list_containers(&containers));
    }
    Ok((*first).to_owned())
}

/// `app, sidecar, setup (init)`: main containers first, as kubectl lists them.
fn list_containers(containers: &[(&str, ContainerRole)]) -> String {
    let of = |wanted: ContainerRole, suffix: &'static str| {
        let chosen = containers.iter().filter(move |(_, role)| *role == wanted);
        chosen.map(move |(name, _)| format!("{name}{suffix}"))
    };
    let all = of(ContainerRole::Main, "")
        .chain(of(ContainerRole::Ephemeral, " (ephem)"))
        .chain(of(ContainerRole::Init, " (init)"));
    all.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        json!({"metadata": {"name": "web"}, "spec": {
            "initContainers": [{"name": "setup"}], "containers": [{"name": "app"}, {"name": "side"}]}})
    }

    #[test]
    fn the_default_container_is_the_annotated_one_or_the_first() {
        assert_eq!(choose_container(&pod(), None, true).expect("first"), "app");
        assert_eq!(choose_container(&pod(), Some("setup"), true).expect("named"), "setup");
        let mut annotated = pod();
        annotated["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "side"});
        assert_eq!(choose_container(&annotated, None, true).expect("annotated"), "side");
        let error = choose_container(&pod(), Some("x"), true).expect_err("unknown");
        assert_eq!(error.message, "error: container x is not valid for pod web");
    }

    #[test]
    fn containers_are_listed_with_what_they_are() {
        assert_eq!(list_containers(&containers_of(&pod())), "app, side, setup (init)");
    }
}
