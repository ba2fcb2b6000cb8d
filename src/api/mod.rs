//! The Kubernetes API over the store's readers.

pub mod own;
pub mod table;
