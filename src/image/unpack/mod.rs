//! From a stream of packed bytes to a directory tree: the part of the room that meets hostile bytes.
//!
//! Knows archives and file systems; knows neither manifests nor where layers are kept.

mod compression;
mod error;
mod extract;
mod header;
mod implied;
mod index;
mod notes;
mod owner;
mod path;
mod space;
mod sparse;
mod stream;
mod tarball;
mod times;
mod tree;
mod window;

pub(super) use compression::Compression;
pub use error::UnpackError;
pub(super) use extract::{Unpacked, extract};
pub(super) use implied::Implied;
pub(super) use index::{IndexedEntry, index, spool};
pub(super) use notes::{Note, merge};
pub(super) use owner::Owners;
pub(super) use space::SpaceAccount;
pub(super) use stream::{Keep, Measured, Memory, Source, Streamed, stream};
pub(super) use tree::{is_opaque, open_root};
pub(super) use window::{Need, Windows};
