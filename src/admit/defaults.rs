//! What Kubernetes fills in where nothing is said (`pkg/apis/*/v1/defaults.go`, and the admission plugins that every
//! cluster has).
//!
//! Pure and idempotent: defaulting twice is defaulting once. Numbers are upstream's. Holds no validation, and assigns
//! nothing that needs state (addresses, node ports).

mod pod;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Namespace, NamespaceStatus, PersistentVolumeClaim, PersistentVolumeClaimStatus, Secret, Service,
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
        Typed::PersistentVolumeClaim(claim) => default_claim(claim),
        Typed::ConfigMap(_) => {}
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
