//! Deployments: one ReplicaSet per version of the pod template, and pods moved from the old ones to the new one no faster than
//! availability allows (`k8s.io/kubernetes/pkg/controller/deployment`).
//!
//! A pass is decided on drafts of the ReplicaSets ([`Sets`]): finding or making the new one, scaling, cleaning up, each a pure
//! step on the drafts; what differs from the observed objects in the end is what is written.

mod desired;
mod revision;
mod rollout;
mod scale;
mod sets;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use super::Controller;
use super::claim::{claimants, controller_key, controller_uid, plan_claims, selector};
use super::plan::{Plan, Write};
use super::pods::{is_terminal, kind_of_pods};
use super::replicaset::kind_of_replica_sets;
use crate::model::{Key, Kind, Object, kind};
use crate::store::{Change, ChangeKind, Store};

use desired::{Desired, Strategy};
use sets::Sets;
use status::Progress;

pub(super) struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn all(&self, store: &Store) -> Vec<Key> {
        let deployments = store.list(kind_of_deployments(), None).items;
        deployments.iter().map(|deployment| deployment.key().clone()).collect()
    }

    fn touched(&self, store: &Store, change: &Change) -> Vec<Key> {
        let object = &change.object;
        match object.kind() {
            kind if kind == kind_of_deployments() => vec![object.key().clone()],
            kind if kind == kind_of_replica_sets() => claimants(store, change, kind_of_deployments()),
            // Only the end of a pod matters beyond what the status of its ReplicaSet says: Recreate waits for it.
            kind if kind == kind_of_pods() && (change.kind == ChangeKind::Deleted || is_terminal(object)) => {
                let set = controller_key(object, kind_of_replica_sets()).and_then(|set| store.get(&set));
                let key = set.and_then(|set| controller_key(&set, kind_of_deployments()));
                key.into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn plan(&self, store: &Store, key: &Key, now: Timestamp) -> Plan {
        let Some(deployment) = store.get(key) else {
            return Plan::default();
        };
        let replica_sets = store.list(kind_of_replica_sets(), Some(&key.namespace)).items;
        let pods = match Desired::of(&deployment).strategy {
            Strategy::Recreate => pods_of(store, &deployment, &replica_sets),
            // It goes by what the ReplicaSets say and needs no look at every pod.
            Strategy::RollingUpdate { .. } => Vec::new(),
        };
        plan_deployment(&deployment, &replica_sets, &pods, now)
    }
}

fn kind_of_deployments() -> &'static Kind {
    kind("apps/v1", "Deployment").expect("in the table")
}

fn pods_of(store: &Store, deployment: &Object, replica_sets: &[Arc<Object>]) -> Vec<Arc<Object>> {
    let owned = replica_sets
        .iter()
        .filter(|set| controller_uid(set) == Some(deployment.uid()));
    let dependents = owned.flat_map(|set| store.dependents(set.uid()));
    dependents.filter(|o| o.kind() == kind_of_pods()).collect()
}

/// What a Deployment wants, given all ReplicaSets of its namespace and, if it recreates, the pods of its own ones.
fn plan_deployment(deployment: &Object, replica_sets: &[Arc<Object>], pods: &[Arc<Object>], now: Timestamp) -> Plan {
    let Some(selector) = selector(deployment) else {
        return Plan::default();
    };
    let claims = plan_claims(deployment, &selector, replica_sets);
    if !claims.writes.is_empty() {
        // What follows is planned on the ReplicaSets as they are then.
        return claims.writes.into();
    }
    let desired = Desired::of(deployment);
    let mut sets = Sets::sort(deployment, claims.owned);
    let mut draft = status::Draft::of(deployment);
    let progress = match deployment.is_deleting() {
        true => Progress::Ignored,
        false => {
            draft.note_pause(&desired, now);
            let rollout = rollout::Rollout {
                deployment,
                desired: &desired,
                namesakes: replica_sets,
                pods,
                now,
            };
            rollout.plan_pass(&mut sets, &mut draft)
        }
    };
    let outdated = match progress {
        Progress::Paused => revision::plan_cleanup(&desired, &sets),
        Progress::Settled if status::was_complete(deployment, &desired) => revision::plan_cleanup(&desired, &sets),
        Progress::Settled | Progress::Ignored | Progress::Scaling | Progress::Rolling => Vec::new(),
    };
    let mut plan = Plan::default();
    sets.write_into(&mut plan);
    outdated.iter().for_each(|set| plan.write(Write::delete(set)));
    draft.finish(&desired, &sets, progress, now, &mut plan);
    plan
}
