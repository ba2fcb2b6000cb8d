//! One server-side apply: read, merge, pass the gate, write; again when someone else wrote in between.

use std::sync::{Arc, MutexGuard};

use jiff::Timestamp;
use serde_json::Value;

use crate::admit::apply::{self, Conflicts};
use crate::admit::{self, Refused};
use crate::model::names::random_suffix;
use crate::model::{Key, Kind, Object};
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
    /// Whether fields of other managers are taken over.
    pub force: bool,
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
        force,
        now,
    } = request;
    // A report is about something that is there.
    if live.is_none() && !subresource.is_empty() {
        return Err(StoreError::NotFound(key.clone()).into());
    }
    let before = live.as_deref().map(Object::value);
    let merged = apply::apply(before, config, (manager, subresource), force, now);
    let merged = merged.map_err(ApplyError::Conflicts)?;
    let next = admit::admit(&merged, live.as_deref()).and_then(|next| allocate(store, next, live.as_deref()));
    let next = next.map_err(|refused| ApplyError::Refused(Box::new(refused)))?;
    let outcome = match &live {
        None => Outcome::Created,
        Some(live) if next == **live => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    };
    let object = match live {
        Some(live) if outcome == Outcome::Unchanged => live,
        None => store.create(admit::with_account(next, |key| store.get(key), &random_suffix()))?,
        Some(_) if subresource == "status" => store.update_status(key, |object| *object = next)?.object,
        Some(_) => store.update(key, |object| *object = next)?.object,
    };
    Ok(Applied { object, outcome })
}
