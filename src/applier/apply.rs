//! One server-side apply: read, merge, pass the gate, write; again when someone else wrote in between.

use std::sync::{Arc, MutexGuard};

use jiff::Timestamp;
use serde_json::Value;

use crate::admit::apply::{self, Conflict, Conflicts};
use crate::admit::{self, Refused};
use crate::model::names::random_suffix;
use crate::model::{Key, Kind, Object, kind};
use crate::store::{Store, StoreError};

/// What is to be applied.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What its author wrote: the fields that become the manager's.
    pub config: &'a Value,
    /// The object that it is about.
    pub key: &'a Key,
    /// Who applies it.
    pub manager: &'a str,
    /// What of the object is applied: `status`, or, empty, all else.
    pub subresource: &'a str,
    /// Whether a pod that can't become what is applied otherwise gets its resources in place.
    pub may_resize: bool,
    /// Whether fields of other managers are taken over.
    pub force: bool,
    /// Whether the object may be made if it is not there.
    pub may_create: bool,
    /// The time.
    pub now: Timestamp,
}

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The object is new.
    Created,
    /// It changed.
    Configured,
    /// It was so already.
    Unchanged,
}

/// The result of an apply.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The object as it is, or would be: the store may be dry.
    pub object: Arc<Object>,
    /// What was done.
    pub outcome: Outcome,
    /// What was taken from others by force.
    pub taken: Vec<Conflict>,
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields with other values.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// The gate refused the result.
    #[error(transparent)]
    Refused(Box<Refused>),
    /// There is nothing to change, and it may not be made.
    #[error("{resource} {name:?} is not there, and may not be made", resource = .0.kind().resource(), name = .0.name)]
    Absent(Key),
    /// It may not come in, for what else is there or is not.
    #[error("{resource} {name:?} is forbidden: {why}", resource = key.kind().resource(), name = key.name)]
    Forbidden {
        /// The object.
        key: Key,
        /// Why.
        why: String,
    },
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Applies a document.
///
/// # Errors
/// See [`ApplyError`]. Nothing was written then.
pub fn apply(store: &Store, request: Request<'_>) -> Result<Applied, ApplyError> {
    loop {
        let live = store.get(request.key);
        let was_there = live.is_some();
        match apply_once(store, request, live) {
            // Someone wrote between our look and our write: look again.
            Err(ApplyError::Store(StoreError::Conflict { .. } | StoreError::AlreadyExists(_))) => {}
            Err(ApplyError::Store(StoreError::NotFound(_))) if was_there => {}
            result => return result,
        }
    }
}

/// The turn to write an object of a kind that gets what no other may have; other kinds need none.
pub fn turn<'a>(store: &'a Store, kind: &Kind) -> Option<MutexGuard<'a, ()>> {
    admit::is_allocated(kind).then(|| store.turn())
}

/// Gives an admitted object what it needs before it is stored in place of `old`.
///
/// # Errors
/// It asks for what it can't have.
pub fn allocate(store: &Store, object: Object, old: Option<&Object>) -> Result<Object, Refused> {
    admit::allocate(object, old, |kind| store.list(kind, None).items)
}

fn apply_once(store: &Store, request: Request<'_>, live: Option<Arc<Object>>) -> Result<Applied, ApplyError> {
    let _turn = turn(store, request.key.kind());
    let Request {
        config,
        key,
        manager,
        subresource,
        may_resize,
        force,
        may_create,
        now,
    } = request;
    // A report is about something that is there.
    if live.is_none() && !subresource.is_empty() {
        return Err(StoreError::NotFound(key.clone()).into());
    }
    if live.is_none() && !may_create {
        return Err(ApplyError::Absent(key.clone()));
    }
    let before = live.as_deref().map(Object::value);
    let merge = |force| apply::apply(before, config, (manager, subresource), force, now);
    let (merged, taken) = match merge(false) {
        Ok(merged) => (merged, Vec::new()),
        Err(Conflicts(taken)) if force => (merge(true).map_err(ApplyError::Conflicts)?, taken),
        Err(conflicts) => return Err(ApplyError::Conflicts(conflicts)),
    };
    let next = admit::admit(&merged, live.as_deref());
    let next = match (next, live.as_deref()) {
        (Err(refused @ Refused::NeedsReplacement(..)), Some(live)) if may_resize => {
            admit::admit_resize(&merged, live).map_err(|_| refused)
        }
        (next, _) => next,
    };
    let refused = |refused| ApplyError::Refused(Box::new(refused));
    let next = next
        .and_then(|next| allocate(store, next, live.as_deref()))
        .map_err(refused)?;
    let outcome = match &live {
        None => Outcome::Created,
        Some(live) if next == **live => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    };
    let object = match live {
        Some(live) if outcome == Outcome::Unchanged => live,
        None => {
            check_arrival(store, &next)?;
            let next = admit::complete_new(next, |key| store.get(key), &random_suffix());
            store.create(next.map_err(refused)?)?
        }
        Some(_) if subresource == "status" => store.update_status(key, |object| *object = next)?.object,
        Some(_) => store.update(key, |object| *object = next)?.object,
    };
    Ok(Applied { object, outcome, taken })
}

/// Whether a new object may come in.
///
/// # Errors
/// [`ApplyError::Forbidden`].
pub fn check_arrival(store: &Store, object: &Object) -> Result<(), ApplyError> {
    let classes = || {
        store
            .list(
                kind("scheduling.k8s.io/v1", "PriorityClass").expect("in the table"),
                None,
            )
            .items
    };
    admit::check_arrival(object, |key| store.get(key), classes).map_err(|why| ApplyError::Forbidden {
        key: object.key().clone(),
        why,
    })
}
