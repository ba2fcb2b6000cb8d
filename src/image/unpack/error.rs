//! Why a stream of bytes could not become a directory tree.

use std::io;

use rustix::io::Errno;

use super::window::Need;

/// An archive is damaged, hostile, or could not be written to disk.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The stream broke, or its compression is damaged.
    #[error("reading: {0}")]
    Read(#[from] io::Error),
    /// The archive ends in the middle.
    #[error("the archive is truncated")]
    Truncated,
    /// Compressed with something else than gzip or zstd.
    #[error("compressed with {0}, which is not supported (gzip and zstd are)")]
    Compression(&'static str),
    /// A header that is none.
    #[error("damaged archive: {0}")]
    Damaged(String),
    /// A path that leads out of the tree, or that no file system takes.
    #[error("entry {path:?} is refused: {why}")]
    Refused {
        /// The path, made printable.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// More than the limits allow.
    #[error("{what} is over the limit of {limit}")]
    OverLimit {
        /// What is too big or too many.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Its decoder needs memory that it may not have now. What was to be kept is kept, so that it can be unpacked later.
    #[error("its decompression needs more memory than there is at this moment")]
    Postponed(Need),
    /// The disk would be full.
    #[error(
        "the disk has no room for it: its next file needs {needed} bytes, and {bytes} are free beyond the reserve of {reserve}"
    )]
    NoSpace {
        /// Bytes of the next entry.
        needed: u64,
        /// Bytes that may be written.
        bytes: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The file system would have no inode left for anybody.
    #[error("the disk has no room for its files: {left} inodes are left, and {reserve} stay free")]
    NoInodes {
        /// Inodes that are free.
        left: u64,
        /// Inodes that stay free.
        reserve: u64,
    },
    /// The file system refused.
    #[error("{step} {path:?}: {errno}")]
    File {
        /// The system call in words.
        step: &'static str,
        /// The path in the tree, made printable.
        path: String,
        /// Why.
        errno: Errno,
    },
}

impl UnpackError {
    /// Whether what is still to come can't change it, so that nobody needs to read it. What looks like damage may be explained by
    /// the digest of the whole, and what was postponed has to come.
    pub(super) fn is_final(&self) -> bool {
        match self {
            UnpackError::Refused { .. }
            | UnpackError::OverLimit { .. }
            | UnpackError::NoSpace { .. }
            | UnpackError::NoInodes { .. }
            | UnpackError::File { .. } => true,
            UnpackError::Read(_)
            | UnpackError::Truncated
            | UnpackError::Compression(_)
            | UnpackError::Damaged(_)
            | UnpackError::Postponed(_) => false,
        }
    }
}
