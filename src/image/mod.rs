//! Images: references, a content-addressed store of blobs and unpacked layers, loading, saving, and the built-in image.
//!
//! ```text
//!  reference ─► names/ ─► records/ ─► blobs/ (config)
//!                             └─────► layers/<short>/fs   the lower directories of a container's overlay
//!  archive, layout, stdin ─► source ─► ingest: blob ─► decompress ─► digest ─► unpack ─► layers/
//! ```
//!
//! Holds what is true of images on this machine. Must not know pods, pull policies or the container runtime: it answers
//! "which layers and which config does this name mean" and keeps that answer crash-safe. Everything blocks; callers on
//! an async runtime use `spawn_blocking`. The process that loads should be root, or "root" of a user namespace, so that
//! owners can be kept; where ids cannot be mapped they become root's, and [`Image::notes`] says so.

mod amount;
mod builtin;
mod claims;
mod collect;
mod commit;
mod digest;
mod disk;
mod docker;
mod document;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod ingest;
mod inherit;
mod layer;
mod lease;
mod limits;
mod load;
mod manifest;
mod partial;
mod progress;
mod pull;
mod push;
mod receive;
mod record;
mod reference;
mod registry;
mod save;
mod share;
mod source;
mod store;
mod sweep;
mod unpack;

use std::io::Read;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

pub use collect::{Collected, ImageUsage, Mark, Marks, Prune, Reclaimed};
pub use digest::Digest;
pub use document::ImageConfig;
pub use error::ImageError;
pub use lease::Lease;
pub use limits::Limits;
pub use progress::{LayerPhase, LayerState};
pub use pull::{Pull, PullRequest, PullState, Pulled, Puller};
pub use push::{Push, PushRequest};
pub use reference::Reference;
pub use registry::{Credential, HostSettings, Keyring, Login, LoginFiles, RegistryError, RegistrySettings};
pub use store::{ImageStore, StoreOptions};
pub use unpack::UnpackError;

/// The built-in image, made from the running binary: it serves the demo and the tests with no registry.
pub const BUILTIN_IMAGE: &str = "kubelocal.dev/demo:latest";

/// Where images are loaded from: an OCI layout, an OCI archive or a docker archive.
pub enum LoadSource {
    /// A layout's directory, or an archive's file, which may be compressed.
    Path(PathBuf),
    /// An archive as a stream: standard input, an upload.
    Reader(Box<dyn Read + Send>),
}

/// An image that is here, whole, and unpacked; and stays so for as long as this value lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its config: `sha256:…`.
    pub id: String,
    /// Its names with tags, normalised: `docker.io/library/nginx:alpine`. Empty if its last name moved to another image.
    pub names: Vec<String>,
    /// The first of its names by manifest digest, `docker.io/library/nginx@sha256:…`: Kubernetes' `imageID` where it
    /// is known. Docker archives and imports have none.
    pub digest: Option<String>,
    /// Its unpacked layers, the lowest first; at least one, none twice. All are `<store>/layers/<short>/fs`.
    pub layers: Vec<PathBuf>,
    /// How it is run.
    pub config: ImageConfig,
    /// The architecture its config names, in the words of OCI (`amd64`); may be empty.
    pub architecture: String,
    /// Bytes of its unpacked files.
    pub size: u64,
    /// When it was built, if its config says so.
    pub created: Option<Timestamp>,
    /// The tree whose root directory looks as the image wants it, if one of its layers says how.
    pub root: Option<PathBuf>,
    /// That it is for another machine, and what could not be unpacked as it wanted it, in sentences for the user.
    pub notes: Vec<String>,
    /// What keeps it here, for whoever uses the layers longer than the rest.
    pub lease: Lease,
}

impl Image {
    /// Of its names only those that it was given just now, if it was given any.
    fn with_names(mut self, is_given: impl Fn(&str) -> bool) -> Image {
        if self.names.iter().any(|name| is_given(name)) {
            self.names.retain(|name| is_given(name));
        }
        self
    }
}

/// A row of `image ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSummary {
    /// The digest of its config.
    pub id: String,
    /// Its names with tags; empty means no name points at it any more.
    pub names: Vec<String>,
    /// Its names by manifest digest.
    pub digests: Vec<String>,
    /// The architecture its config names, in the words of OCI (`amd64`); may be empty.
    pub architecture: String,
    /// Bytes of its unpacked files.
    pub size: u64,
    /// When it was built, if its config says so.
    pub created: Option<Timestamp>,
}

/// What [`ImageStore::remove`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// The id of the image, if no name was left and it is gone.
    pub deleted: Option<String>,
}

#[cfg(test)]
mod tests;
