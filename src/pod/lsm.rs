//! AppArmor and SELinux, as far as the host's kernel has them (kubelet `apparmor`, containerd's labels). Pure.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, SELinuxOptions};

use crate::runtime::Labels;

/// Where profiles were named before there was a field (`DeprecatedAppArmorBetaContainerAnnotationKeyPrefix`).
const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The reason of a pod whose profile nothing would enforce.
pub(super) const NOT_ADMITTED: &str = "AppArmor";

/// What the host's kernel has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Modules {
    /// AppArmor.
    pub has_apparmor: bool,
    /// SELinux.
    pub has_selinux: bool,
}

/// Why the pod may not run, if it may not: it names a profile of the host, and the host has none. The runtime's own is asked for by many pods that run
/// anywhere; there is none here, and never was.
pub(super) fn plan_refusal(pod: &Pod, modules: Modules) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut named = containers.filter_map(|container| profile_of(pod, container));
    let is_refused = !modules.has_apparmor && named.next().is_some();
    is_refused.then(|| "Cannot enforce AppArmor: AppArmor is not enabled on the host".to_owned())
}

/// The profile of the host that a container runs under.
pub(super) fn plan_profile(pod: &Pod, container: &Container, modules: Modules) -> Option<String> {
    let is_privileged = container
        .security_context
        .as_ref()
        .and_then(|context| context.privileged);
    let applies = modules.has_apparmor && is_privileged != Some(true);
    profile_of(pod, container).filter(|_| applies)
}

/// The container's own word counts before the annotation's, and that before the pod's.
fn profile_of(pod: &Pod, container: &Container) -> Option<String> {
    let localhost = |profile: &AppArmorProfile| {
        let name = profile.localhost_profile.clone();
        name.filter(|_| profile.type_ == "Localhost")
    };
    let own = container
        .security_context
        .as_ref()
        .and_then(|context| context.app_armor_profile.as_ref());
    if let Some(own) = own {
        return localhost(own);
    }
    let annotations = pod.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|all| all.get(&format!("{ANNOTATION}{}", container.name)));
    if let Some(annotation) = annotation {
        return annotation.strip_prefix("localhost/").map(str::to_owned);
    }
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    of_pod
        .and_then(|context| context.app_armor_profile.as_ref())
        .and_then(localhost)
}

/// The labels of a container's processes and files, where it asks for any. What it does not say is what containers have where SELinux's policy
/// knows them (`container-selinux`).
pub(super) fn plan_labels(pod: &Pod, container: &Container, modules: Modules) -> Option<Labels> {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let of_pod = of_pod.and_then(|context| context.se_linux_options.as_ref());
    let own = container
        .security_context
        .as_ref()
        .and_then(|context| context.se_linux_options.as_ref());
    let asked: &SELinuxOptions = own.or(of_pod).filter(|_| modules.has_selinux)?;
    let or = |text: &Option<String>, default: &str| {
        let said = text.clone().filter(|text| !text.is_empty());
        said.unwrap_or_else(|| default.to_owned())
    };
    let (user, level) = (or(&asked.user, "system_u"), or(&asked.level, "s0"));
    let (role, type_) = (or(&asked.role, "system_r"), or(&asked.type_, "container_t"));
    Some(Labels {
        process: format!("{user}:{role}:{type_}:{level}"),
        files: format!("{user}:object_r:container_file_t:{level}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ALL: Modules = Modules {
        has_apparmor: true,
        has_selinux: true,
    };

    fn pod(annotation: &str, of_pod: Value, own: Value) -> Pod {
        let annotations = match annotation {
            "" => json!({}),
            text => json!({"container.apparmor.security.beta.kubernetes.io/m": text}),
        };
        let containers = json!([{"name": "m", "securityContext": own}]);
        let spec = json!({"containers": containers, "securityContext": of_pod});
        serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec})).expect("a pod")
    }

    fn main_of(pod: &Pod) -> &Container {
        &pod.spec.as_ref().expect("has one").containers[0]
    }

    #[test]
    fn a_profile_of_the_host_is_enforced_or_the_pod_does_not_run() {
        let localhost = |name: &str| json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": name}});
        let other = |type_: &str| json!({"appArmorProfile": {"type": type_}});
        for (annotation, of_pod, own, profile) in [
            ("", json!({}), json!({}), None),
            ("", localhost("a"), json!({}), Some("a")),
            ("", localhost("a"), localhost("b"), Some("b")),
            ("", localhost("a"), other("Unconfined"), None),
            ("", other("RuntimeDefault"), json!({}), None),
            ("localhost/c", localhost("a"), json!({}), Some("c")),
            ("unconfined", localhost("a"), json!({}), None),
            ("runtime/default", json!({}), json!({}), None),
            ("localhost/c", json!({}), localhost("b"), Some("b")),
        ] {
            let pod = pod(annotation, of_pod, own);
            let planned = plan_profile(&pod, main_of(&pod), ALL);
            assert_eq!(planned.as_deref(), profile, "{annotation} {pod:?}");
            assert_eq!(plan_refusal(&pod, ALL), None);
            let refusal = plan_refusal(&pod, Modules::default());
            assert_eq!(refusal.is_some(), profile.is_some(), "{annotation} {pod:?}");
            assert_eq!(plan_profile(&pod, main_of(&pod), Modules::default()), None);
        }
        let mut privileged = localhost("a");
        privileged["privileged"] = json!(true);
        let pod = pod("", json!({}), privileged);
        assert_eq!(plan_profile(&pod, main_of(&pod), ALL), None, "as containerd has it");
    }

    #[test]
    fn labels_are_given_where_the_host_knows_any() {
        let level = json!({"seLinuxOptions": {"level": "s0:c1,c2"}});
        let whole = json!({"seLinuxOptions": {"user": "u", "role": "r", "type": "t", "level": "l"}});
        for (of_pod, own, process) in [
            (json!({}), json!({}), None),
            (level.clone(), json!({}), Some("system_u:system_r:container_t:s0:c1,c2")),
            (level, whole, Some("u:r:t:l")),
        ] {
            let pod = pod("", of_pod, own);
            let labels = plan_labels(&pod, main_of(&pod), ALL);
            assert_eq!(labels.map(|labels| labels.process).as_deref(), process);
            assert_eq!(plan_labels(&pod, main_of(&pod), Modules::default()), None);
        }
    }
}
