//! YAML as Kustomize reads and prints it: text to a tree that keeps comments, styles and places, and back.
//!
//! The module must not know Kustomize, files or IO. It follows the reference's three libraries to the byte, because a
//! build's output is compared byte for byte; where it knows better than they do, it still does what they do.
//!
//! ```text
//! bytes ─ reader ─► text ─ scan ─► tokens, comments ─ compose ─► tree ─ anchor ─► tree without aliases
//! tree ─ json ─► value ─ print ─► the output of a build
//! tree ─ print ─► YAML inside of strings
//! tree ─ legacy ─► value of a kustomization file
//! ```
//!
//! Every text may be hostile: its length, its depth and what its aliases multiply to are bounded by the constants below.

mod anchor;
mod compose;
mod error;
mod fields;
mod gojson;
mod json;
mod legacy;
mod node;
mod number;
mod print;
mod reader;
mod resolve;
mod scan;
mod tag;
mod timestamp;
mod typed;

pub use anchor::expand_aliases;
pub use error::{Problem, YamlError};
pub use gojson::{Html, go_json, go_json_pretty};
pub use json::{document_to_json, from_json, to_json};
pub use legacy::{is_legacy_non_string, legacy_to_json};
pub use node::{Comments, Data, Document, Entry, FileId, Form, Kind, Node, Pos, Style, Tag};
pub use number::{as_legacy_key as float_as_legacy_key, in_yaml as float_in_yaml};
pub use print::{print_document, print_node, print_value};
pub use reader::{decode, parse_document, parse_documents};
pub use resolve::{Dialect, Scalar, resolve};

/// The longest text that is read, in bytes. The largest bundles of custom resource definitions in use have about ten
/// megabytes.
pub const MAX_TEXT: usize = 32 << 20;

/// How deep collections may lie in each other. Schemas in custom resource definitions reach about fifty, and other readers
/// of JSON stop here, too; the reference allows ten thousand and recurses, for which a thread here has no stack.
pub const MAX_DEPTH: usize = 128;

/// How many nodes aliases may add to a document. At four hundred thousand, the reference's own limit begins to shrink.
pub const MAX_EXPANDED_NODES: usize = 400_000;

#[cfg(test)]
mod tests;
