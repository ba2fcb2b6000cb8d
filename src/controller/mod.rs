//! Controllers: objects → objects. What people ask for becomes what a node can run, and what has lost its reason goes.
//!
//! One file per kind. Each observes a few objects, decides purely (`plan_*`, a `Plan` of values) and knows nothing of queues,
//! retries or the other kinds; one loop (`run`) for all of them maps changes of the store to keys, works each key off at most
//! once at a time, does what the plan says and looks again when the plan asks for it. No processes, no files, no network.
//!
//! There are no upstream-style expectations: the store answers every read with every write that came before it, so a plan never
//! sees fewer pods than its predecessor made.

mod account;
mod apply;
mod claim;
mod condition;
mod definition;
mod deployment;
mod endpoints;
#[cfg(test)]
mod fixtures;
mod front;
mod garbage;
mod name;
mod namespace;
mod plan;
mod pods;
mod queue;
mod replicaset;
mod roles;
mod run;
mod service;
mod storage;
#[cfg(test)]
mod tests;
mod token;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::access::token::TokenKey;
use crate::event::EventRecorder;
use crate::model::{Clock, Key};
use crate::store::{Change, Store, StoreError};

use apply::ApplyError;
use plan::Plan;

/// Makes the objects that are there before anybody asks for anything: the namespaces of the system with what their pods need to know the
/// API by `certificate`, the roles that charts take for granted, and the class of storage whose volumes lie in the directory `volumes`.
///
/// # Errors
/// When the store can't write.
pub fn create_initial(store: &Store, volumes: &Path, certificate: &str) -> Result<(), StoreError> {
    namespace::create_system_namespaces(store)?;
    account::create_initial(store, certificate)?;
    roles::create_initial(store)?;
    storage::create_class(store, volumes)
}

/// What tokens are signed with, and when.
#[derive(Clone)]
pub struct Signer {
    key: Arc<TokenKey>,
    clock: Arc<dyn Clock>,
}

impl Signer {
    /// Signs with this key, at the time of this clock.
    pub fn new(key: &Arc<TokenKey>, clock: &Arc<dyn Clock>) -> Self {
        let (key, clock) = (key.clone(), clock.clone());
        Self { key, clock }
    }
}

/// Runs every controller until `stop`, and removes expired events; returns when all of it has ended.
///
/// # Guarantees
/// At most one reconcile per key; a change is acted on without delay and a lost one within `run::FULL_PASS`; while nothing
/// changes and nothing is due, nothing wakes up but that pass.
pub async fn run(store: Store, recorder: EventRecorder, signer: Signer, stop: CancellationToken) {
    let mut controllers = run::Loop::new(store, recorder.clone(), signer);
    tokio::join!(controllers.run(&stop), recorder.run_expiry(&stop));
}

/// The controllers. Earlier ones go first: a Deployment decides on ReplicaSets that have made and deleted the pods they were asked
/// to, so that the surge holds for pods and not only for sizes.
static CONTROLLERS: [&dyn Controller; 13] = [
    &front::Front,
    &service::Services,
    &endpoints::EndpointSlices,
    &replicaset::ReplicaSets,
    &storage::Ephemeral,
    &storage::Claims,
    &storage::Volumes,
    &deployment::Deployments,
    &namespace::Namespaces,
    &account::Accounts,
    &token::Tokens,
    &definition::Definitions,
    &garbage::Garbage,
];

/// One kind's controller. What it decides depends on the store and the time only: not on which change called it.
trait Controller: Sync {
    /// How its events name it (`source.component`).
    fn name(&self) -> &'static str;

    /// Every key there is, for a full pass.
    fn all(&self, store: &Store) -> Vec<Key>;

    /// The keys whose plan a change may alter.
    fn touched(&self, store: &Store, change: &Change) -> Vec<Key>;

    /// What is to be done about a key.
    fn plan(&self, store: &Store, key: &Key, now: Timestamp) -> Plan;

    /// What is to be told when a write of the plan was refused, before it is tried again.
    fn plan_failure(&self, _store: &Store, _key: &Key, _error: &ApplyError, _now: Timestamp) -> Plan {
        Plan::default()
    }
}
