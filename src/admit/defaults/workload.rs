//! Defaults of what owns pods: Deployments and ReplicaSets.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::default_pod_spec;
use super::text;

/// Defaults of a Deployment (`SetDefaults_Deployment`).
pub fn default_deployment(deployment: &mut Deployment) {
    let spec = &mut deployment.spec;
    spec.replicas.get_or_insert(1);
    spec.revision_history_limit.get_or_insert(10);
    spec.progress_deadline_seconds.get_or_insert(600);
    let strategy = spec.strategy.get_or_insert_with(Default::default);
    text(&mut strategy.type_, "RollingUpdate");
    if strategy.type_.as_deref() == Some("RollingUpdate") {
        let rolling = strategy.rolling_update.get_or_insert_with(Default::default);
        rolling.max_surge.get_or_insert_with(quarter);
        rolling.max_unavailable.get_or_insert_with(quarter);
    }
    default_template(&mut spec.template);
}

/// Defaults of a ReplicaSet (`SetDefaults_ReplicaSet`).
pub fn default_replica_set(set: &mut ReplicaSet) {
    let spec = &mut set.spec;
    spec.replicas.get_or_insert(1);
    if let Some(template) = &mut spec.template {
        default_template(template);
    }
}

fn quarter() -> IntOrString {
    IntOrString::String("25%".into())
}

fn default_template(template: &mut PodTemplateSpec) {
    default_pod_spec(template.spec.get_or_insert_with(Default::default));
}
