//! Sockets by name, wherever they are.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Names a socket by its directory's descriptor: a socket's path may have 108 bytes, which a long home directory exceeds.
#[derive(Debug)]
pub struct SocketPath {
    // Open while the path is used.
    _dir: OwnedFd,
    path: PathBuf,
}

impl SocketPath {
    /// Opens the directory; whether the socket is there is not looked at.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn of(socket: &Path) -> io::Result<SocketPath> {
        let dir = socket.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        let name = socket.file_name().unwrap_or(OsStr::new(""));
        let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        Ok(SocketPath { _dir: dir, path })
    }

    /// The short name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_in_a_long_directory_is_reached() {
        let tmp = tempfile::tempdir().expect("a directory");
        let dir = tmp.path().join("x".repeat(200));
        let socket = dir.join("api.sock");
        SocketPath::of(&socket).expect_err("there is no directory");
        std::fs::create_dir(&dir).expect("made");
        let _listener = UnixListener::bind(SocketPath::of(&socket).expect("opens").path()).expect("bound");
        assert!(socket.exists());
        UnixStream::connect(SocketPath::of(&socket).expect("opens").path()).expect("connects");
    }
}
