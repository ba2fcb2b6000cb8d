//! The one gate: what becomes an object, from files and from the API.
//!
//! Bytes come in, objects come out that are decoded strictly, defaulted and validated as upstream does, with a problem at
//! file:line:column for everything that is wrong or does less than it says. Everything here is pure: no file is opened, no
//! clock is read, and the store is not known.
//!
//! ```text
//! bytes ─ yaml ─► value + spans ─ decode (strict) ─► typed ─ fields ─► notes ─ defaults ─ validate ─► object
//! ```

mod account;
mod allocate;
pub mod apply;
mod arrival;
mod decode;
mod defaults;
mod fields;
mod gate;
mod path;
mod problem;
mod runtime_class;
#[cfg(test)]
mod shape;
mod spans;
mod stored;
mod strict;
mod suggest;
#[cfg(test)]
mod tests;
mod typed;
mod validate;
mod yaml;

pub use allocate::{allocate, is_allocated};
pub use arrival::{check_arrival, note_of_node};
pub use decode::{Refusal, fold_string_data};
pub use defaults::default_pull_policy;
pub use fields::FieldNote;
pub use gate::{
    Admitted, AdmittedObject, DEFAULT_NAMESPACE, Refused, admit, admit_ephemeral_containers, admit_file, admit_file_in,
    admit_resize, complete_new, decode_body, drop_unknown_fields, field_notes,
};
pub use path::{FieldPath, Step};
pub use problem::{Location, Place, Problem, Severity, SourceText};
pub use spans::{Children, SpanTree};
pub use validate::{ErrorKind, ErrorList, FieldError};
pub use yaml::{MAX_FILE_BYTES, values as yaml_values};
