//! The socket over which a runtime hands out the master side of a terminal that it made in the container (runc's
//! `--console-socket` protocol: one message with one descriptor).

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::super::sys;

/// The listening socket, in a bundle's directory. The process's working directory is there meanwhile, because a
/// socket's path may have 108 bytes and a bundle's has more.
pub(super) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

/// The socket's name in the bundle.
pub(super) const NAME: &str = "tty.sock";

impl Console {
    /// Listens in the bundle.
    pub fn listen(bundle: &Path) -> Result<Console, String> {
        let path = bundle.join(NAME);
        let listen = || {
            std::env::set_current_dir(bundle)?;
            let _ = fs::remove_file(NAME);
            UnixListener::bind(NAME)
        };
        let listener = listen().map_err(|e| format!("console socket: {e}"))?;
        Ok(Console { listener, path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the master side. To be called after the runtime said that it succeeded: then it has been sent.
    pub fn terminal(self) -> Result<OwnedFd, String> {
        let take = || {
            // A runtime that sent nothing must not be waited for.
            self.listener.set_nonblocking(true)?;
            let (stream, _) = self.listener.accept()?;
            let mut fds = Vec::new();
            sys::receive(&stream, &mut [0; 4096], &mut fds)?;
            fds.pop()
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))
        };
        let terminal = take().map_err(|e| format!("console socket: {e}"));
        let _ = fs::remove_file(&self.path);
        terminal
    }
}
