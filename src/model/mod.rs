//! Words everybody speaks: kinds, keys, objects, selectors, the clock. No IO, and nothing that only one room needs.

mod clock;
mod kinds;
mod manifest_source;
mod object;
mod paths;
mod selector;

pub use clock::{Clock, ManualClock, SystemClock};
pub use kinds::{Honoured, KINDS, Kind, kind};
pub use manifest_source::{MANIFESTS_SOURCE, Problem, Severity, SourceObject, SourceSpec, SourceStatus};
pub use object::{Key, Object, OwnerRef};
pub use paths::{PathFacts, Paths};
pub use selector::{LabelSelector, Requirement, SelectorError};
