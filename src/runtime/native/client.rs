//! The node's side of a supervisor's socket.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::sys;
use super::wire::{Reply, Request, decode, encode};
use crate::os::SocketPath;
use crate::runtime::PodUid;

/// A pod's socket in the run directory.
pub(super) fn socket_of(run_dir: &Path, pod: &PodUid) -> io::Result<SocketPath> {
    SocketPath::of(&run_dir.join(file_name(pod)))
}

/// The socket's name in the run directory.
pub(super) fn file_name(pod: &PodUid) -> String {
    format!("{pod}.sock")
}

/// A connection: one request and its answers.
pub(super) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Connection {
    /// Connects and asks.
    pub async fn ask(
        run_dir: &Path,
        pod: &PodUid,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<Connection> {
        let socket = socket_of(run_dir, pod)?;
        let stream = UnixStream::connect(socket.path()).await?;
        let connection = Connection {
            stream,
            received: Vec::new(),
            fds: Vec::new(),
        };
        connection.send(request, fds).await?;
        Ok(connection)
    }

    async fn send(&self, request: &Request, mut fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let frame = encode(request)?;
        let mut sent = 0;
        while sent < frame.len() {
            self.stream.writable().await?;
            match self
                .stream
                .try_io(Interest::WRITABLE, || sys::send(&self.stream, &frame[sent..], fds))
            {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            // They went with the first byte.
            fds = &[];
        }
        Ok(())
    }

    /// The next answer; `None` when the supervisor has hung up. May be cancelled between answers.
    pub async fn receive(&mut self) -> io::Result<Option<Reply>> {
        loop {
            let reply = decode(&mut self.received).map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text))?;
            if reply.is_some() {
                return Ok(reply);
            }
            self.stream.readable().await?;
            let (mut bytes, fds) = ([0; 4096], &mut self.fds);
            match self
                .stream
                .try_io(Interest::READABLE, || sys::receive(&self.stream, &mut bytes, fds))
            {
                Ok(0) => return Ok(None),
                Ok(length) => self.received.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The answer to a request that has one, which a supervisor that dies does not give.
    pub async fn answer(&mut self) -> io::Result<Reply> {
        self.receive().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// A descriptor that came with the last answer.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop()
    }
}
