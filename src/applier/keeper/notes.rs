//! What a keeper tells besides what is wrong with the files: what it made unasked, took back, or can't be run.

use super::{Keeper, namespace_of};
use crate::admit::apply::Conflict;
use crate::admit::{Problem, Severity, note_of_node};
use crate::applier::apply::Applied;
use crate::applier::combine::problem;
use crate::event::EventKind;
use crate::model::{self, Key};
use crate::source::SourcedObject;

/// Annotation on a namespace that was made because a source's objects needed it.
pub(super) const MADE_FOR: &str = "kubelocal.dev/made-for-source";

/// Of how many fields that were taken back is told by name.
const MOST_TOLD: usize = 5;

impl Keeper {
    /// Tells both parties of fields that others had set otherwise: on the object, and in the source for as long as its file says so.
    pub(super) fn tell_taken(&mut self, object: &SourcedObject, applied: &Applied) {
        self.taken.remove(&object.key);
        if applied.taken.is_empty() {
            return;
        }
        let of = |conflict: &Conflict| format!("{} from {:?}", conflict.field, conflict.manager);
        let some: Vec<_> = applied.taken.iter().take(MOST_TOLD).map(of).collect();
        let more = applied.taken.len().saturating_sub(MOST_TOLD);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let message = format!("source {:?} took back {}{more}", self.key.name, some.join(", "));
        self.recorder
            .event(&applied.object, EventKind::Warning, "FieldsTakenBack", &message);
        let warning = problem(object, Severity::Warning, format!("{}: {message}", object.key));
        self.taken.insert(object.key.clone(), warning);
    }

    /// Tells of a pod for a node that is not here.
    pub(super) fn foreign_node(&self, object: &SourcedObject) -> Option<Problem> {
        let nodes = model::kind("v1", "Node").expect("in the table");
        let is_there = |name: &str| self.store.get(&Key::new(nodes, "", name)).is_some();
        let note = note_of_node(&object.object, is_there)?;
        Some(problem(
            object,
            Severity::Warning,
            format!("{}: {}", note.path, note.message),
        ))
    }

    /// Tells that a namespace was made for an object, for a cluster would refuse it.
    pub(super) fn pending_namespace(&self, object: &SourcedObject) -> Option<Problem> {
        let namespace = self.store.get(&namespace_of(&object.key))?;
        namespace
            .annotations()
            .get(MADE_FOR)
            .filter(|name| **name == self.key.name)?;
        let message = format!(
            "namespace {:?} is in none of the files: it was made here, a cluster would refuse",
            object.key.namespace
        );
        Some(problem(object, Severity::Warning, message))
    }
}
