//! Words everybody speaks: kinds, keys, objects, selectors, the clock. No IO, and nothing that only one room needs.

mod clock;
mod kinds;
mod object;
mod selector;

pub use clock::{Clock, ManualClock, SystemClock};
pub use kinds::{Honoured, KINDS, Kind, kind};
pub use object::{Key, Object, OwnerRef};
pub use selector::{LabelSelector, Requirement, SelectorError};
