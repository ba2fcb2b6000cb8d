//! What a planner returns: writes and words as values.

use std::sync::Arc;

use jiff::Timestamp;

use crate::event::EventKind;
use crate::model::{Key, Object};
use crate::store::Propagation;

/// A change of one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// A new object.
    Create(Object),
    /// An observed object with another desired state or metadata; refused when someone else wrote since.
    Update(Object),
    /// An observed object with another status, labels or annotations; refused when someone else wrote since.
    UpdateStatus(Object),
    /// An observed Secret with a new token of a service account, which is signed when it is written; refused when someone else wrote since.
    Sign {
        /// The Secret, complete but for the token.
        secret: Object,
        /// Whose token.
        account: Arc<Object>,
    },
    /// The end of an observed object. A pod gets the grace that it asks for.
    Delete {
        /// What to delete.
        key: Key,
        /// Which of that name: never its successor.
        uid: String,
        /// What becomes of its dependents.
        propagation: Propagation,
    },
}

impl Write {
    /// Has `object` held by a finalizer.
    pub(super) fn hold(object: &Object, finalizer: &str) -> Self {
        let mut held = object.clone();
        held.add_finalizer(finalizer);
        Self::Update(held)
    }

    /// Lets `object` go as far as a finalizer is concerned.
    pub(super) fn release(object: &Object, finalizer: &str) -> Self {
        let mut freed = object.clone();
        freed.remove_finalizer(finalizer);
        Self::Update(freed)
    }

    /// Deletes `object`; its dependents follow it.
    pub(super) fn delete(object: &Object) -> Self {
        Self::delete_with(object, Propagation::Background)
    }

    /// Deletes `object`.
    pub(super) fn delete_with(object: &Object, propagation: Propagation) -> Self {
        Self::Delete {
            key: object.key().clone(),
            uid: object.uid().to_owned(),
            propagation,
        }
    }
}

/// An event about the planned object, told when the write before it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) kind: EventKind,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Write(Write),
    Tell(Note),
}

/// Steps in order, and when to look again although nothing changed. Empty when all is as it should be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) recheck: Option<Timestamp>,
}

impl Plan {
    pub(super) fn write(&mut self, write: Write) {
        self.steps.push(Step::Write(write));
    }

    pub(super) fn tell(&mut self, kind: EventKind, reason: &'static str, message: String) {
        self.steps.push(Step::Tell(Note { kind, reason, message }));
    }

    /// Writes `wanted` as the status of what was observed, if it differs.
    pub(super) fn write_status(&mut self, observed: &Object, wanted: Object) {
        if wanted != *observed {
            self.write(Write::UpdateStatus(wanted));
        }
    }

    /// Looks again at `at`, or earlier if that was asked for before.
    pub(super) fn recheck_at(&mut self, at: Timestamp) {
        self.recheck = Some(self.recheck.map_or(at, |earlier| earlier.min(at)));
    }
}

impl From<Vec<Write>> for Plan {
    fn from(writes: Vec<Write>) -> Self {
        Self {
            steps: writes.into_iter().map(Step::Write).collect(),
            recheck: None,
        }
    }
}
