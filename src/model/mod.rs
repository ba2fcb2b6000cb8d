//! Words everybody speaks: kinds, keys, objects, selectors, the clock, paths. No IO beyond the clock's and the environment's.

mod clock;
pub mod downward;
mod kinds;
mod lookup;
mod manifest_source;
mod object;
mod paths;
mod quantity;
mod selector;
mod signal;

pub use clock::{Clock, ManualClock, SystemClock, object_time, whole_second};
pub use kinds::{Honoured, KINDS, Kind, kind};
pub use lookup::Lookup;
pub use manifest_source::{
    MANIFESTS_SOURCE, PRUNE_FINALIZER, Problem, Severity, SourceObject, SourceSpec, SourceStatus,
};
pub use object::{Key, Object, OwnerRef, list_at, number_at, text_at, value_at};
pub use paths::{PathFacts, Paths};
pub use quantity::Quantity;
pub use selector::{LabelSelector, Requirement, SelectorError};
pub use signal::signal_number;
