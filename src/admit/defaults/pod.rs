//! Defaults of pods and of the pod templates in workloads.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, DownwardAPIVolumeFile, EnvVar, EphemeralContainer, Pod, PodSpec, Probe, Toleration,
    Volume,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::text;

/// Mode of files that come from objects: 0644.
const FILE_MODE: i32 = 0o644;

/// Defaults of a pod.
pub fn default_pod(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_with(PodSpec::default);
    default_pod_spec(spec);
    spec.enable_service_links.get_or_insert(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        default_requests(container);
    }
    if spec.host_network == Some(true) {
        for port in spec
            .containers
            .iter_mut()
            .chain(spec.init_containers.iter_mut().flatten())
            .flat_map(|c| c.ports.iter_mut().flatten())
        {
            if port.host_port.unwrap_or_default() == 0 {
                port.host_port = Some(port.container_port);
            }
        }
    }
    default_by_admission(spec);
}

/// Defaults of a pod's spec, in a pod or a template (`SetDefaults_PodSpec` and what hangs below it).
pub fn default_pod_spec(spec: &mut PodSpec) {
    text(&mut spec.dns_policy, "ClusterFirst");
    text(&mut spec.restart_policy, "Always");
    text(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.security_context.get_or_insert_with(Default::default);
    mirror_service_account(spec);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        default_container(container);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        default_ephemeral(container);
    }
    spec.volumes.iter_mut().flatten().for_each(default_volume);
}

/// The deprecated `serviceAccount` says the same as `serviceAccountName` (conversion in `pkg/apis/core/v1`).
fn mirror_service_account(spec: &mut PodSpec) {
    let name = spec
        .service_account_name
        .clone()
        .filter(|name| !name.is_empty())
        .or_else(|| spec.service_account.clone());
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        spec.service_account_name = Some(name.clone());
        spec.service_account = Some(name);
    }
}

/// What the admission plugins of every cluster set: ServiceAccount, Priority, DefaultTolerationSeconds.
fn default_by_admission(spec: &mut PodSpec) {
    text(&mut spec.service_account_name, "default");
    mirror_service_account(spec);
    spec.priority.get_or_insert(0);
    text(&mut spec.preemption_policy, "PreemptLowerPriority");
    let tolerations = spec.tolerations.get_or_insert_with(Vec::new);
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let is_tolerated = tolerations.iter().any(|toleration| {
            let of_key = toleration.key.as_deref().unwrap_or_default();
            let of_effect = toleration.effect.as_deref().unwrap_or_default();
            (of_key == key || of_key.is_empty()) && (of_effect == "NoExecute" || of_effect.is_empty())
        });
        if !is_tolerated {
            tolerations.push(Toleration {
                key: Some(key.into()),
                operator: Some("Exists".into()),
                effect: Some("NoExecute".into()),
                toleration_seconds: Some(300),
                ..Toleration::default()
            });
        }
    }
}

fn default_container(container: &mut Container) {
    let policy = default_pull_policy(container.image.as_deref().unwrap_or_default());
    text(&mut container.image_pull_policy, policy);
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    container.resources.get_or_insert_with(Default::default);
    default_ports_and_env(&mut container.ports, &mut container.env);
    for probe in [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ]
    .into_iter()
    .flatten()
    {
        default_probe(probe);
    }
    for hook in container
        .lifecycle
        .iter_mut()
        .flat_map(|l| [&mut l.post_start, &mut l.pre_stop])
        .flatten()
    {
        if let Some(get) = &mut hook.http_get {
            text(&mut get.path, "/");
            text(&mut get.scheme, "HTTP");
        }
    }
}

fn default_ports_and_env(ports: &mut Option<Vec<ContainerPort>>, env: &mut Option<Vec<EnvVar>>) {
    for port in ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
    }
    let variables = env.iter_mut().flatten();
    for field in variables.filter_map(|env| env.value_from.as_mut()?.field_ref.as_mut()) {
        text(&mut field.api_version, "v1");
    }
}

fn default_ephemeral(container: &mut EphemeralContainer) {
    let policy = default_pull_policy(container.image.as_deref().unwrap_or_default());
    text(&mut container.image_pull_policy, policy);
    text(&mut container.termination_message_path, "/dev/termination-log");
    text(&mut container.termination_message_policy, "File");
    container.resources.get_or_insert_with(Default::default);
    default_ports_and_env(&mut container.ports, &mut container.env);
}

/// `Always` for images whose tag is `latest` or not given, else `IfNotPresent` (`SetDefaults_Container`). A reference that
/// can't be parsed has no tag that is `latest`, so it is `IfNotPresent`.
pub fn default_pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    // A colon before the last slash belongs to the registry's port.
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn default_probe(probe: &mut Probe) {
    for (field, value) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if field.unwrap_or_default() == 0 {
            *field = Some(value);
        }
    }
    if let Some(get) = &mut probe.http_get {
        text(&mut get.path, "/");
        text(&mut get.scheme, "HTTP");
        if get.port == IntOrString::String(String::new()) {
            get.port = IntOrString::Int(0);
        }
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_with(String::new);
    }
}

/// Limits stand in for requests that are not given.
fn default_requests(container: &mut Container) {
    let Some(resources) = &mut container.resources else {
        return;
    };
    let Some(limits) = resources.limits.clone() else { return };
    let requests = resources.requests.get_or_insert_with(Default::default);
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

fn default_volume(volume: &mut Volume) {
    if !super::super::validate::has_volume_source(volume) {
        volume.empty_dir = Some(Default::default());
    }
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(config) = &mut volume.config_map {
        config.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(image) = &mut volume.image {
        let policy = default_pull_policy(image.reference.as_deref().unwrap_or_default());
        text(&mut image.pull_policy, policy);
    }
    if let Some(host) = &mut volume.host_path {
        host.type_.get_or_insert_with(String::new);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        default_fields(downward.items.as_mut());
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        let sources = projected.sources.iter_mut().flatten();
        let files = sources.filter_map(|source| source.downward_api.as_mut());
        files.for_each(|files| default_fields(files.items.as_mut()));
        for token in projected
            .sources
            .iter_mut()
            .flatten()
            .filter_map(|source| source.service_account_token.as_mut())
        {
            token.expiration_seconds.get_or_insert(3600);
        }
    }
}

fn default_fields(items: Option<&mut Vec<DownwardAPIVolumeFile>>) {
    let fields = items.into_iter().flatten().filter_map(|item| item.field_ref.as_mut());
    fields.for_each(|field| text(&mut field.api_version, "v1"));
}
