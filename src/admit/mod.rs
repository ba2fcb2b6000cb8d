//! The one gate: what becomes an object, from files and from the API.
//!
//! Bytes come in, objects come out that are decoded strictly, defaulted and validated as upstream does, with a problem at
//! file:line:column for everything that is wrong or does less than it says. Everything here is pure: no file is opened, no
//! clock is read, and the store is not known.

mod path;
mod problem;
mod spans;
pub mod yaml;

pub use path::{FieldPath, Step};
pub use problem::{Location, Place, Problem, Severity, SourceText};
pub use spans::{Children, SpanTree};
