//! What the operating system gives: file descriptors in the async runtime, for which this is the one place to vouch, what carries bytes
//! between two of them, and programs by name.

mod limits;
mod relay;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

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

/// A program by name, on the PATH or where distributions keep those for administrators, which are not always on a user's.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(known)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
