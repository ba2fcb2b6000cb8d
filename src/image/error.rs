//! What can go wrong with images, in words that a person can act on.

use std::io;
use std::path::{Path, PathBuf};

use super::registry::RegistryError;
use super::unpack::UnpackError;

/// An image could not be named, read, unpacked, kept or written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is none that Kubernetes would take; the container waits with reason `InvalidImageName`.
    #[error("couldn't parse image name \"{name}\": {why}")]
    InvalidImageName {
        /// The name as it was written.
        name: String,
        /// What upstream's parser would say.
        why: &'static str,
    },
    /// No image here has this name or id.
    #[error("no such image: {0}")]
    NotFound(String),
    /// The beginning of an id fits more than one image.
    #[error("image id {0} is ambiguous: give more digits")]
    Ambiguous(String),
    /// The image may not be removed while containers run from it.
    #[error("image {0} is in use by a container")]
    InUse(String),
    /// It is made from the running program whenever it is missing.
    #[error("{0} is built in: it is made from this program, and takes next to nothing")]
    BuiltIn(String),
    /// A file of the store, or of what is loaded, could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was given to load is neither OCI layout, OCI archive nor docker archive.
    #[error("{source_name}: neither an OCI layout, an OCI archive nor a docker archive: {why}")]
    UnknownFormat {
        /// What was loaded.
        source_name: String,
        /// What is missing.
        why: String,
    },
    /// The archive around the image could not be read.
    #[error("{source_name}: {source}")]
    Archive {
        /// What was loaded.
        source_name: String,
        /// Why.
        source: UnpackError,
    },
    /// A blob or file that a manifest names is not there.
    #[error("{0} is named by the image but missing")]
    MissingBlob(String),
    /// A manifest, index or config is not what it should be.
    #[error("{what}: {why}")]
    BadDocument {
        /// Which document: kind and digest.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes are not those that the digest promises.
    #[error("{what}: digest is {found}, expected {expected}")]
    WrongDigest {
        /// Which blob or layer.
        what: String,
        /// As promised.
        expected: String,
        /// As found.
        found: String,
    },
    /// There are more or fewer bytes than the descriptor promises.
    #[error("{what}: size is {found}, expected {expected} bytes")]
    WrongSize {
        /// Which blob.
        what: String,
        /// As promised.
        expected: u64,
        /// As found: "at least 10", "9".
        found: String,
    },
    /// An index has nothing for this machine.
    #[error("no image for {wanted}; there is {found}")]
    NoPlatform {
        /// `linux/amd64`.
        wanted: String,
        /// What the index offers.
        found: String,
    },
    /// A limit against hostile images was reached.
    #[error("{what} is over the limit of {limit}")]
    OverLimit {
        /// What is too big or too many.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// A name that is given to images built on this machine, and there is none.
    #[error(
        "{0} is not here: names below localhost/ are those of images that are built on this machine, by `kubelocal build` or podman"
    )]
    NotBuilt(String),
    /// Only the unpacked layers are here: the image came from another store, or its layers were here before it.
    #[error(
        "the packed layers of {0} are not here, so it can be run but neither saved nor pushed: do that with the tool that made it, or bring them by `kubelocal image pull --packed` or `image load`"
    )]
    NotPacked(String),
    /// A registry could not be asked, or refused.
    #[error("{0}")]
    Registry(#[from] RegistryError),
    /// Neither a mirror nor the registry itself has it.
    #[error("{own} (before it, {mirrors})")]
    NoHost {
        /// What the registry says.
        own: Box<ImageError>,
        /// What each mirror says, the first first.
        mirrors: String,
    },
    /// The disk is too full for what the image needs at least.
    #[error("the image needs {needed} bytes and the disk has {free} left")]
    NoSpace {
        /// Bytes that are to come, packed and unpacked.
        needed: u64,
        /// Bytes that are free for us.
        free: u64,
    },
    /// A layer could not be unpacked.
    #[error("layer {layer}: {source}")]
    Unpack {
        /// The layer's digest.
        layer: String,
        /// Why.
        source: UnpackError,
    },
}

impl ImageError {
    /// Puts the path to an error of the file system.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
        let path = path.to_owned();
        move |source| ImageError::Io { path, source }
    }

    /// The same for calls that speak in errno.
    pub(super) fn errno(path: &Path) -> impl FnOnce(rustix::io::Errno) -> ImageError + use<> {
        let path = path.to_owned();
        move |errno| ImageError::Io {
            path,
            source: errno.into(),
        }
    }
}
