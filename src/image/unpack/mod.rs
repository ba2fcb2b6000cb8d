//! From a stream of bytes to a directory tree.

mod error;

pub use error::UnpackError;
