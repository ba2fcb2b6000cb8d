//! File descriptors in the async runtime: the one place that vouches for them, and what carries bytes between two of them.

mod limits;
mod relay;

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub use limits::{allow_descriptors, descriptors, limit_descriptors, ordinary_descriptors};
pub use relay::{abort, relay, tune};

/// Waits on a descriptor for data to read only: a pipe's end, an inotify queue, a pidfd.
///
/// # Errors
/// When the descriptor can't be polled, as a regular file can't.
pub fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Waits on a descriptor in both directions: a terminal.
///
/// # Errors
/// When the descriptor can't be polled, as a regular file can't.
pub fn watch_both(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as above.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE | Interest::WRITABLE) }?)
}
