//! What Kubernetes fills in where nothing is said (`pkg/apis/*/v1/defaults.go`, and the admission plugins that every
//! cluster has).
//!
//! Pure and idempotent: defaulting twice is defaulting once. Numbers are upstream's. Holds no validation, and assigns
//! nothing that needs state (addresses, node ports).

mod endpoints;
mod networking;
mod pod;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Namespace, NamespaceStatus, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
    PersistentVolumeStatus, Pod, Secret, Service, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::typed::Typed;

pub use pod::default_pull_policy;

/// Fills in what is not said.
pub fn set_defaults(object: &mut Typed) {
    match object {
        Typed::Pod(pod) => pod::default_pod(pod),
        Typed::Deployment(deployment) => workload::default_deployment(deployment),
        Typed::ReplicaSet(set) => workload::default_replica_set(set),
        Typed::Secret(secret) => default_secret(secret),
        Typed::Namespace(namespace) => default_namespace(namespace),
        Typed::Service(service) => default_service(service),
        Typed::Endpoints(endpoints) => endpoints::default_endpoints(endpoints),
        Typed::EndpointSlice(slice) => endpoints::default_slice(slice),
        Typed::PersistentVolumeClaim(claim) => default_claim(claim),
        Typed::PersistentVolume(volume) => default_volume(volume),
        Typed::StorageClass(class) => {
            text(&mut class.reclaim_policy, "Delete");
            text(&mut class.volume_binding_mode, "Immediate");
        }
        Typed::NetworkPolicy(policy) => networking::default_policy(policy),
        Typed::ConfigMap(_)
        | Typed::Ingress(_)
        | Typed::IngressClass(_)
        | Typed::RuntimeClass(_)
        | Typed::Stored(_) => {}
    }
}

/// Sets a field that is not set; empty text counts as not set, as in Go.
fn text(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.to_owned());
    }
}

fn default_secret(secret: &mut Secret) {
    text(&mut secret.type_, "Opaque");
    if let Some(texts) = secret.string_data.take() {
        let data = secret.data.get_or_insert_with(BTreeMap::new);
        data.extend(
            texts
                .into_iter()
                .map(|(key, value)| (key, k8s_openapi::ByteString(value.into_bytes()))),
        );
    }
}

fn default_namespace(namespace: &mut Namespace) {
    if let Some(name) = namespace.metadata.name.clone().filter(|name| !name.is_empty()) {
        let labels = namespace.metadata.labels.get_or_insert_with(BTreeMap::new);
        labels.insert("kubernetes.io/metadata.name".into(), name);
    }
    text(
        &mut namespace.status.get_or_insert_with(NamespaceStatus::default).phase,
        "Active",
    );
}

fn default_service(service: &mut Service) {
    let spec = service.spec.get_or_insert_with(Default::default);
    text(&mut spec.type_, "ClusterIP");
    let kind = spec.type_.clone().unwrap_or_default();
    text(&mut spec.session_affinity, "None");
    match spec.session_affinity.as_deref() {
        Some("ClientIP") => {
            let config = spec.session_affinity_config.get_or_insert_with(Default::default);
            config
                .client_ip
                .get_or_insert_with(Default::default)
                .timeout_seconds
                .get_or_insert(10_800);
        }
        _ => spec.session_affinity_config = None,
    }
    for port in spec.ports.iter_mut().flatten() {
        text(&mut port.protocol, "TCP");
        let unset = match &port.target_port {
            None | Some(IntOrString::Int(0)) => true,
            Some(IntOrString::String(name)) => name.is_empty(),
            Some(IntOrString::Int(_)) => false,
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
    }
    if kind != "ExternalName" {
        text(&mut spec.internal_traffic_policy, "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        text(&mut spec.external_traffic_policy, "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// Keeps what was given to an object when a writer who does not know it writes the whole object.
pub fn keep_allocated(new: &mut Typed, old: &Typed) {
    match (new, old) {
        (Typed::Service(new), Typed::Service(old)) => keep_addresses(new, old),
        (Typed::Pod(new), Typed::Pod(old)) => keep_tolerations(new, old),
        _ => {}
    }
}

/// A pod's class gave it tolerations, of which its file knows nothing; and a list belongs to its writer as a whole. None can be taken from a
/// pod anyway.
fn keep_tolerations(new: &mut Pod, old: &Pod) {
    let (Some(new), Some(old)) = (&mut new.spec, &old.spec) else {
        return;
    };
    let before = old.tolerations.as_deref().unwrap_or_default();
    let are_all_there = new.tolerations.iter().flatten().all(|one| before.contains(one));
    if new.runtime_class_name.is_some() && new.runtime_class_name == old.runtime_class_name && are_all_there {
        new.tolerations.clone_from(&old.tolerations);
    }
}

/// What a Service was given (`patchAllocatedValues`), and takes it back when the Service needs it no more (`dropTypeDependentFields`).
fn keep_addresses(new: &mut Service, old: &Service) {
    let (Some(new), Some(old)) = (&mut new.spec, &old.spec) else {
        return;
    };
    let is_external = |spec: &ServiceSpec| spec.type_.as_deref() == Some("ExternalName");
    let is_given = |ip: &Option<String>| ip.as_ref().is_some_and(|ip| !ip.is_empty());
    keep_ports(new, old);
    if is_external(old) {
        return;
    }
    if is_external(new) {
        // Only what it had: an address that the writer asks for is the writer's mistake.
        if new.cluster_ip == old.cluster_ip {
            (new.cluster_ip, new.cluster_ips) = (None, None);
            (new.ip_families, new.ip_family_policy) = (None, None);
        }
    } else if is_given(&old.cluster_ip) && (!is_given(&new.cluster_ip) || new.cluster_ip == old.cluster_ip) {
        let is_said = is_given(&new.cluster_ip) && new.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty());
        new.cluster_ip.clone_from(&old.cluster_ip);
        if !is_said {
            new.cluster_ips.clone_from(&old.cluster_ips);
        }
        new.ip_families = new.ip_families.take().or_else(|| old.ip_families.clone());
        new.ip_family_policy = new.ip_family_policy.take().or_else(|| old.ip_family_policy.clone());
    }
}

/// The same for node ports, and for what only types with them have.
fn keep_ports(new: &mut ServiceSpec, old: &ServiceSpec) {
    let has_node_ports = |spec: &ServiceSpec| matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
    let old_ports = || old.ports.iter().flatten();
    if !has_node_ports(old) {
        return;
    }
    let ports = || new.ports.iter().flatten();
    if has_node_ports(new) {
        let mut used: Vec<i32> = ports().filter_map(|port| port.node_port).collect();
        for port in new
            .ports
            .iter_mut()
            .flatten()
            .filter(|port| port.node_port.unwrap_or_default() == 0)
        {
            let before = old_ports().find(|old| (old.port, &old.protocol) == (port.port, &port.protocol));
            let kept = before
                .and_then(|old| old.node_port)
                .filter(|number| *number != 0 && !used.contains(number));
            used.extend(kept);
            port.node_port = kept;
        }
        return;
    }
    // Only what it had: a port that the writer asks for is the writer's mistake.
    if ports().all(|port| old_ports().any(|old| old.node_port == port.node_port) || port.node_port.is_none()) {
        new.ports.iter_mut().flatten().for_each(|port| port.node_port = None);
    }
    if new.external_traffic_policy == old.external_traffic_policy {
        new.external_traffic_policy = None;
    }
    if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
        new.allocate_load_balancer_node_ports = None;
    }
}

fn default_volume(volume: &mut PersistentVolume) {
    let status = volume.status.get_or_insert_with(PersistentVolumeStatus::default);
    text(&mut status.phase, "Pending");
    let spec = volume.spec.get_or_insert_with(Default::default);
    text(&mut spec.persistent_volume_reclaim_policy, "Retain");
    text(&mut spec.volume_mode, "Filesystem");
    if let Some(host) = &mut spec.host_path {
        host.type_.get_or_insert_default();
    }
}

fn default_claim(claim: &mut PersistentVolumeClaim) {
    text(
        &mut claim
            .status
            .get_or_insert_with(PersistentVolumeClaimStatus::default)
            .phase,
        "Pending",
    );
    text(
        &mut claim.spec.get_or_insert_with(Default::default).volume_mode,
        "Filesystem",
    );
}
