//! The command line: one file per verb.

pub mod client;
pub mod error;
pub mod jsonpath;
pub mod node;
pub mod print;
pub mod resource;
pub mod transport;
