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

mod digest;
mod document;
mod error;
mod limits;
mod reference;
mod unpack;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

pub use digest::Digest;
pub use document::ImageConfig;
pub use error::ImageError;
pub use limits::Limits;
pub use reference::Reference;
pub use unpack::UnpackError;

/// The built-in image, made from the running binary: it serves the demo and the tests with no registry.
pub const BUILTIN_IMAGE: &str = "kubelocal.dev/demo:latest";

/// The store under one directory. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct ImageStore {
    inner: Arc<PathBuf>,
}

/// Where images are loaded from: an OCI layout, an OCI archive or a docker archive.
pub enum LoadSource {
    /// A layout's directory, or an archive's file, which may be compressed.
    Path(PathBuf),
    /// An archive as a stream: standard input, an upload.
    Reader(Box<dyn Read + Send>),
}

/// An image that is here, whole, and unpacked.
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
    /// What could not be unpacked as the image wanted it, in sentences for the user.
    pub notes: Vec<String>,
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

impl ImageStore {
    /// Opens the store in this directory, made if it is not there, and sweeps what a crash left behind.
    pub fn open(_dir: &Path) -> Result<ImageStore, ImageError> {
        todo!()
    }

    /// Looks an image up by name, by `sha256:…` id or by the beginning of an id. Makes the built-in image if it is asked
    /// for and not there yet.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`] for names that Kubernetes refuses.
    pub fn resolve(&self, _reference: &str) -> Result<Option<Image>, ImageError> {
        todo!()
    }

    /// Loads every image of the source that is for this machine. `name` takes the place of the names in the source,
    /// which then must hold one image.
    pub fn load(&self, _source: LoadSource, _name: Option<&str>) -> Result<Vec<Image>, ImageError> {
        todo!()
    }

    /// Makes an image of one layer from a tar of a root file system, which may be compressed.
    pub fn import(&self, _rootfs: impl Read + Send, _name: &str) -> Result<Image, ImageError> {
        todo!()
    }

    /// All images, by name.
    pub fn list(&self) -> Result<Vec<ImageSummary>, ImageError> {
        todo!()
    }

    /// Everything about one image, in the shape of `docker image inspect`.
    pub fn inspect(&self, _reference: &str) -> Result<serde_json::Value, ImageError> {
        todo!()
    }

    /// Takes a name away, and with the last name the image. By id, all its names. `in_use` is asked with the image's id
    /// before it goes.
    pub fn remove(&self, _reference: &str, _in_use: &dyn Fn(&str) -> bool) -> Result<Removed, ImageError> {
        todo!()
    }

    /// Gives an image another name; a name that another image had moves.
    pub fn tag(&self, _source: &str, _name: &str) -> Result<Image, ImageError> {
        todo!()
    }

    /// Writes images as an OCI archive that podman, skopeo and docker load.
    pub fn save(&self, _references: &[&str], _out: impl Write) -> Result<(), ImageError> {
        todo!()
    }
}
