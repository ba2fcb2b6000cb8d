//! YAML as Kustomize reads and prints it: text to a tree that keeps comments, styles and places, and back.
//!
//! The module must not know Kustomize, files or IO. It follows the reference's three libraries to the byte, because a
//! build's output is compared byte for byte; where it knows better than they do, it still does what they do.

mod fields;
mod node;
mod resolve;
mod timestamp;

pub use node::{Comments, Data, Document, Entry, FileId, Form, Kind, Node, Pos, Style, Tag};
pub use resolve::{Dialect, Scalar, is_base60, is_legacy_non_string, resolve};
