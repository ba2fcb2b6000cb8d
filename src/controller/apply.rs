//! Does what a plan says.

use super::Signer;
use super::plan::{Plan, Step, Write};
use super::pods::kind_of_pods;
use super::token;
use crate::access::AccessError;
use crate::admit;
use crate::event::EventRecorder;
use crate::model::Object;
use crate::model::names::random_suffix;
use crate::model::storage::kind_of_claims;
use crate::store::{DeleteOptions, Precondition, Store, StoreError};

/// Why a write of a plan was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gate did.
    #[error("{0}")]
    Gate(admit::Refused),
    /// A token could not be signed.
    #[error(transparent)]
    Sign(#[from] AccessError),
}

/// Executes the steps in order and stops at the first that is refused. `regarding` is what events are about; without it (the
/// object is gone) they are not told.
pub(super) fn execute(
    store: &Store,
    recorder: &EventRecorder,
    signer: &Signer,
    regarding: Option<&Object>,
    plan: Plan,
) -> Result<(), ApplyError> {
    let mut was_done = true;
    for step in plan.steps {
        match step {
            Step::Write(write) => {
                was_done = match execute_write(store, signer, write) {
                    // Nothing new begins in a namespace that ends: that is no failure, but nothing to tell either.
                    Err(ApplyError::Store(StoreError::Terminating(_))) => false,
                    outcome => outcome.map(|()| true)?,
                }
            }
            Step::Tell(note) => {
                if let Some(object) = regarding.filter(|_| was_done) {
                    recorder.event(object, note.kind, note.reason, &note.message);
                }
            }
        }
    }
    Ok(())
}

/// A pod or a claim that a controller makes passes the gate as what people write does, for it gets the defaults that are no
/// template's. A ReplicaSet has its template from a Deployment that passed it.
fn admitted(store: &Store, object: Object) -> Result<Object, ApplyError> {
    if object.kind() != kind_of_pods() && object.kind() != kind_of_claims() {
        return Ok(object);
    }
    let made = admit::admit(object.value(), None).map_err(ApplyError::Gate)?;
    admit::complete_new(made, |key| store.get(key), &random_suffix()).map_err(ApplyError::Gate)
}

fn execute_write(store: &Store, signer: &Signer, write: Write) -> Result<(), ApplyError> {
    let done = match write {
        Write::Create(object) => store.create(admitted(store, object)?).map(drop),
        // The planned object carries the resourceVersion under which it was observed, so the store sees conflicts.
        Write::Update(wanted) => {
            let key = wanted.key().clone();
            store.update(&key, |present| *present = wanted).map(drop)
        }
        Write::UpdateStatus(wanted) => {
            let key = wanted.key().clone();
            store.update_status(&key, |present| *present = wanted).map(drop)
        }
        Write::Sign { mut secret, account } => {
            token::sign(&mut secret, &account, signer)?;
            let key = secret.key().clone();
            store.update(&key, |present| *present = secret).map(drop)
        }
        Write::Delete { key, uid, propagation } => {
            let precondition = Precondition {
                uid: Some(uid),
                resource_version: None,
            };
            let options = DeleteOptions {
                propagation,
                precondition,
                ..DeleteOptions::default()
            };
            match store.delete(&key, &options) {
                // Gone is what was wanted; another of the same name is not what was meant.
                Ok(_) | Err(StoreError::NotFound(_) | StoreError::Conflict { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        }
    };
    Ok(done?)
}
