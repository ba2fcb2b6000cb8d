//! A container of a pod as the runtime is asked for it (kubelet `generateContainerConfig`). Pure: everything that must be looked up
//! was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{
    Capabilities, Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext, Volume, VolumeMount,
};

use super::env::{ConfigError, Environment};
use super::ephemeral;
use super::etc::PodName;
use super::history::{BACK_OFF, SANDBOX, SPEC_HASH, STOP_SIGNAL, VOLUME_IMAGES, container_hash};
use super::lsm;
use super::plan::Start;
use super::resize::{RESOURCES, resources_text};
use super::resources::{self, Given};
use super::sysctls;

use crate::image::Image;
use crate::model::signal_number;
use crate::runtime::{ContainerConfig, ContainerId, Mount, SandboxConfig, SandboxStatus, Seccomp, Security};

/// What a pod's own processes may not see (`k8s.io/kubernetes` `securitycontext.defaultMaskedPaths`).
const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// What they may not change (`securitycontext.defaultReadonlyPaths`).
const READ_ONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Everything a container's configuration is made from.
pub struct ConfigFacts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// The planned run.
    pub start: &'a Start,
    /// Its sandbox.
    pub sandbox: &'a SandboxStatus,
    /// Its image.
    pub image: &'a Image,
    /// Its environment.
    pub env: Environment,
    /// Where the pod's volumes lie.
    pub volumes: &'a BTreeMap<String, PathBuf>,
    /// The layers of those that are images.
    pub images: &'a BTreeMap<String, Image>,
    /// The seccomp profile of the user's that it names, if it names one.
    pub profile: Option<String>,
    /// Files that every container gets.
    pub files: &'a [Mount],
    /// The pod's directory of logs.
    pub logs: &'a Path,
    /// What the machine gives besides what is asked.
    pub given: Given,
    /// What its kernel confines containers by.
    pub modules: lsm::Modules,
    /// The id for the run.
    pub id: ContainerId,
}

/// The sandbox of a pod; `runtime_handler` is what its class names.
///
/// # Errors
/// It can't be called what it wants to be called.
pub fn sandbox_config(pod: &Pod, given: Given, runtime_handler: String) -> Result<SandboxConfig, String> {
    let spec = pod.spec.as_ref();
    Ok(SandboxConfig {
        uid: super::uid(pod),
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        hostname: PodName::of(pod).kernel_name(pod)?,
        name: pod.metadata.name.clone().unwrap_or_default(),
        host_network: spec.and_then(|s| s.host_network).unwrap_or(false),
        share_pid: spec.and_then(|s| s.share_process_namespace).unwrap_or(false),
        host_ipc: spec.and_then(|s| s.host_ipc).unwrap_or(false),
        host_pid: spec.and_then(|s| s.host_pid).unwrap_or(false),
        sysctls: sysctls::of_pod(pod),
        memory_dirs: Vec::new(),
        limits: resources::pod_limits(pod, given),
        runtime_handler,
    })
}

/// The configuration of a run.
///
/// # Errors
/// When something it refers to is missing or does not fit.
pub fn container_config(facts: ConfigFacts<'_>) -> Result<ContainerConfig, ConfigError> {
    let ConfigFacts {
        pod,
        container,
        start,
        image,
        ..
    } = facts;
    let env = &facts.env;
    let args = command(container, image, env)?;
    let pod_context = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.clone())
        .unwrap_or_default();
    let context = container.security_context.clone().unwrap_or_default();
    verify_non_root(pod, container, &pod_context, &context, &image.config.user)?;
    let volume_images: Vec<_> = facts.images.values().map(|image| image.id.as_str()).collect();
    let annotations = [
        (SPEC_HASH, container_hash(container)),
        (RESOURCES, resources_text(container)),
        (BACK_OFF, start.back_off.as_secs().to_string()),
        (SANDBOX, facts.sandbox.created_at.to_string()),
        (STOP_SIGNAL, stop_signal(asked_signal(container, image)).to_string()),
        (VOLUME_IMAGES, volume_images.join(" ")),
    ];
    Ok(ContainerConfig {
        name: container.name.clone(),
        attempt: start.attempt,
        image: container.image.clone().unwrap_or_default(),
        image_id: image.id.clone(),
        layers: image.layers.clone(),
        root: image.root.clone(),
        args,
        mounts: mounts(&facts, env)?,
        env: facts.env.into_entries(),
        cwd: container
            .working_dir
            .clone()
            .unwrap_or_else(|| image.config.working_dir.clone()),
        user: user(&pod_context, &context, &image.config.user),
        supplemental_groups: supplemental_groups(&pod_context)?,
        has_strict_groups: pod_context.supplemental_groups_policy.as_deref() == Some("Strict"),
        log_path: facts.logs.join(&container.name).join(format!("{}.log", start.attempt)),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        security: Security {
            apparmor: lsm::plan_profile(pod, container, facts.modules),
            selinux: lsm::plan_labels(pod, container, facts.modules),
            ..security(&pod_context, &context, facts.profile.clone())
        },
        oom_score_adj: resources::oom_score_adj(pod, container, facts.given),
        limits: resources::container_limits(pod, container, facts.given),
        hooks: Vec::new(),
        pid_target: ephemeral::target(pod, &container.name, facts.sandbox).map_err(ConfigError::Invalid)?,
        annotations: annotations
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        id: facts.id,
    })
}

/// `command` replaces the image's entry point and its arguments; `args` only the arguments.
fn command(container: &Container, image: &Image, env: &Environment) -> Result<Vec<String>, ConfigError> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|words| !words.is_empty());
    let expanded = |words: Vec<String>| words.iter().map(|word| env.expand(word)).collect::<Vec<_>>();
    let words = match (given(&container.command), given(&container.args)) {
        (Some(command), args) => expanded(command.into_iter().chain(args.unwrap_or_default()).collect()),
        (None, Some(args)) => image.config.entrypoint.iter().cloned().chain(expanded(args)).collect(),
        (None, None) => image
            .config
            .entrypoint
            .iter()
            .chain(&image.config.cmd)
            .cloned()
            .collect(),
    };
    if words.is_empty() {
        return Err(ConfigError::Invalid(
            "no command specified: neither the container nor its image names one".to_owned(),
        ));
    }
    Ok(words)
}

/// The container's word on the signal counts before the image's.
fn asked_signal<'a>(container: &'a Container, image: &'a Image) -> &'a str {
    let own = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref());
    own.unwrap_or(&image.config.stop_signal)
}

/// The number of a signal that an image or container asks for: a name with or without `SIG`, or a number. SIGTERM when it says
/// nothing that we know.
fn stop_signal(text: &str) -> i32 {
    if let Ok(number) = text.parse() {
        return number;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    signal_number(&format!("SIG{name}")).unwrap_or(libc::SIGTERM)
}

/// The container's word on the user counts before the pod's, and that before the image's.
fn user(pod: &PodSecurityContext, container: &SecurityContext, image: &str) -> String {
    let uid = container.run_as_user.or(pod.run_as_user);
    let gid = container.run_as_group.or(pod.run_as_group);
    let image_user = image.split(':').next().unwrap_or_default();
    match (uid, gid) {
        (Some(uid), Some(gid)) => format!("{uid}:{gid}"),
        (Some(uid), None) => uid.to_string(),
        (None, Some(gid)) => format!("{}:{gid}", if image_user.is_empty() { "0" } else { image_user }),
        (None, None) => image.to_owned(),
    }
}

/// Refuses what `runAsNonRoot` forbids (kubelet `verifyRunAsNonRoot`): users that are 0, and those that only the image's own files
/// could tell.
fn verify_non_root(
    pod: &Pod,
    container: &Container,
    pod_context: &PodSecurityContext,
    context: &SecurityContext,
    image_user: &str,
) -> Result<(), ConfigError> {
    if !context.run_as_non_root.or(pod_context.run_as_non_root).unwrap_or(false) {
        return Ok(());
    }
    let uid = context.run_as_user.or(pod_context.run_as_user);
    let image_user = image_user.split(':').next().unwrap_or_default();
    let refusal = match (uid, image_user, image_user.parse::<u32>()) {
        (Some(0), ..) => "container's runAsUser breaks non-root policy".to_owned(),
        (None, "", _) | (None, _, Ok(0)) => "container has runAsNonRoot and image will run as root".to_owned(),
        (Some(_), ..) | (None, _, Ok(1..)) => return Ok(()),
        (None, name, Err(_)) => format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        ),
    };
    let (pod, container) = (super::full_name(pod), &container.name);
    Err(ConfigError::Invalid(format!(
        "{refusal} (pod: {pod:?}, container: {container})"
    )))
}

fn supplemental_groups(pod: &PodSecurityContext) -> Result<Vec<u32>, ConfigError> {
    // The group of the volumes is one of every process.
    let asked = pod.supplemental_groups.iter().flatten().chain(&pod.fs_group);
    let groups = asked.map(|gid| u32::try_from(*gid));
    groups
        .collect::<Result<_, _>>()
        .map_err(|_| ConfigError::Invalid("a group id is out of range".to_owned()))
}

fn security(pod: &PodSecurityContext, container: &SecurityContext, localhost: Option<String>) -> Security {
    let is_privileged = container.privileged.unwrap_or(false);
    let shows_all = is_privileged || container.proc_mount.as_deref() == Some("Unmasked");
    let hidden = |paths: &[&str]| {
        if shows_all {
            Vec::new()
        } else {
            paths.iter().map(|p| (*p).to_owned()).collect()
        }
    };
    let Capabilities { add, drop } = container.capabilities.clone().unwrap_or_default();
    let profile = container.seccomp_profile.as_ref().or(pod.seccomp_profile.as_ref());
    Security {
        privileged: is_privileged,
        allow_privilege_escalation: container.allow_privilege_escalation.unwrap_or(true),
        read_only_rootfs: container.read_only_root_filesystem.unwrap_or(false),
        add_capabilities: add.unwrap_or_default(),
        drop_capabilities: drop.unwrap_or_default(),
        seccomp: localhost.map_or_else(|| seccomp(profile, is_privileged), Seccomp::Localhost),
        masked_paths: hidden(&MASKED_PATHS),
        read_only_paths: hidden(&READ_ONLY_PATHS),
        apparmor: None,
        selinux: None,
    }
}

/// Upstream leaves pods without a profile unconfined unless `seccompDefault` is set; here it is.
fn seccomp(profile: Option<&SeccompProfile>, is_privileged: bool) -> Seccomp {
    match profile.map(|p| p.type_.as_str()) {
        Some("Unconfined") => Seccomp::Unconfined,
        None if is_privileged => Seccomp::Unconfined,
        _ => Seccomp::RuntimeDefault,
    }
}

fn mounts(facts: &ConfigFacts<'_>, env: &Environment) -> Result<Vec<Mount>, ConfigError> {
    let asked = facts.container.volume_mounts.iter().flatten();
    let asked = asked
        .map(|mount| volume_mount(facts, mount, env))
        .collect::<Result<Vec<_>, _>>()?;
    // A volume at the same place stands instead of a file of ours.
    let is_taken = |path: &str| asked.iter().any(|m| m.container_path.trim_end_matches('/') == path);
    let files: Vec<_> = facts
        .files
        .iter()
        .filter(|file| !is_taken(&file.container_path))
        .cloned()
        .collect();
    let mut mounts: Vec<_> = files.into_iter().chain(asked).collect();
    // Outer before inner, or the outer would hide the inner.
    mounts.sort_by_key(|m| Path::new(&m.container_path).components().count());
    Ok(mounts)
}

/// `subPath`, or `subPathExpr` with its variables, which may make anything of it.
fn sub_path(mount: &VolumeMount, env: &Environment) -> Result<Option<String>, ConfigError> {
    let plain = mount.sub_path.clone().filter(|path| !path.is_empty());
    let found = plain.or_else(|| {
        let expression = mount.sub_path_expr.as_ref().filter(|text| !text.is_empty())?;
        Some(env.expand(expression))
    });
    let refusal = match &found {
        Some(path) if path.starts_with('/') => format!("error SubPath `{path}` must not be an absolute path"),
        Some(path) if path.split('/').any(|part| part == "..") => {
            format!("unable to provision SubPath `{path}`: must not contain '..'")
        }
        Some(_) | None => return Ok(found),
    };
    Err(ConfigError::Invalid(refusal))
}

fn volume_mount(facts: &ConfigFacts<'_>, mount: &VolumeMount, env: &Environment) -> Result<Mount, ConfigError> {
    let missing = || ConfigError::Invalid(format!("volume {:?} is not one of the pod's", mount.name));
    let image = facts.images.get(&mount.name);
    let host_path = match facts.volumes.get(&mount.name) {
        Some(volume) => volume.clone(),
        // An image is mounted from its layers.
        None if image.is_some() => PathBuf::new(),
        None => return Err(missing()),
    };
    let container_path = if mount.mount_path.starts_with('/') {
        mount.mount_path.clone()
    } else {
        format!("/{}", mount.mount_path)
    };
    let read_only = image.is_some() || mount.read_only.unwrap_or(false) || is_read_only(facts.pod, &mount.name);
    let is_one_of = |text: &Option<String>, words: &[&str]| text.as_deref().is_some_and(|t| words.contains(&t));
    Ok(Mount {
        is_read_only_below: is_one_of(&mount.recursive_read_only, &["IfPossible", "Enabled"]),
        follows_host: is_one_of(&mount.mount_propagation, &["HostToContainer", "Bidirectional"]),
        sub_path: sub_path(mount, env)?,
        image_layers: image.map(|image| image.layers.clone()).unwrap_or_default(),
        ..Mount::of_host(container_path, host_path, read_only)
    })
}

/// Whether containers only read a volume, whatever the mount says: files that come from objects are written by the node alone,
/// and a claim may be had so.
fn is_read_only(pod: &Pod, volume: &str) -> bool {
    let mut volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let is_ours =
        |v: &Volume| v.config_map.is_some() || v.secret.is_some() || v.downward_api.is_some() || v.projected.is_some();
    let is_claimed_so = |v: &Volume| {
        v.persistent_volume_claim
            .as_ref()
            .is_some_and(|c| c.read_only == Some(true))
    };
    volumes.any(|v| v.name == volume && (is_ours(v) || is_claimed_so(v)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verified(pod_context: serde_json::Value, context: serde_json::Value, image_user: &str) -> String {
        let spec = json!({"containers": [{"name": "c", "securityContext": context}], "securityContext": pod_context});
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let container = &super::super::containers(&pod)[0];
        let pod_context = pod.spec.as_ref().and_then(|spec| spec.security_context.clone());
        let context = container.security_context.clone().unwrap_or_default();
        match verify_non_root(&pod, container, &pod_context.unwrap_or_default(), &context, image_user) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn run_as_non_root_refuses_root_and_what_can_not_be_known() {
        let tail = "(pod: \"p_n(u)\", container: c)";
        let as_root = format!("container has runAsNonRoot and image will run as root {tail}");
        let named = format!(
            "container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root {tail}"
        );
        let breaks = format!("container's runAsUser breaks non-root policy {tail}");
        let yes = json!({"runAsNonRoot": true});
        for (pod_context, context, image_user, expected) in [
            (json!({}), json!({}), "", ""),
            (json!({}), yes.clone(), "", as_root.as_str()),
            (yes.clone(), json!({}), "0:5", &as_root),
            (yes.clone(), json!({}), "1000:0", ""),
            (yes.clone(), json!({}), "www:www", &named),
            (yes.clone(), json!({"runAsUser": 0}), "1000", &breaks),
            (yes.clone(), json!({"runAsUser": 7}), "www", ""),
            (yes.clone(), json!({"runAsNonRoot": false}), "0", ""),
            (json!({"runAsUser": 7}), yes, "0", ""),
        ] {
            assert_eq!(
                verified(pod_context.clone(), context.clone(), image_user),
                expected,
                "{pod_context} {context} {image_user}"
            );
        }
    }
}
