//! Executed commands and attachments, from the node's side: pipes are made here, and only their ends travel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use super::client::Connection;
use super::wire::{Reply, Request};
use crate::runtime::{AttachConfig, ContainerId, ExecConfig, PodUid, RuntimeError, Session};

/// Runs a command in a container.
pub(super) async fn exec(
    run_dir: &Path,
    pod: &PodUid,
    id: &ContainerId,
    exec: &ExecConfig,
) -> Result<Session, RuntimeError> {
    let lost = |source| RuntimeError::Lost {
        pod: pod.clone(),
        source,
    };
    let (mut ours, theirs) = if exec.tty {
        Default::default()
    } else {
        Pipes::make(exec.stdin).map_err(lost)?
    };
    let request = Request::Exec(id.clone(), exec.clone());
    let mut connection = Connection::ask(run_dir, pod, &request, &theirs.borrow())
        .await
        .map_err(lost)?;
    drop(theirs);
    match connection.answer().await.map_err(lost)? {
        Reply::Started => {}
        Reply::Failed(fault) => return Err(fault.into()),
        other => return Err(lost(unexpected(&other))),
    }
    if exec.tty {
        let terminal = connection
            .take_fd()
            .ok_or_else(|| lost(io::ErrorKind::UnexpectedEof.into()))?;
        if let Some((columns, rows)) = exec.size {
            set_size(&terminal, columns, rows).map_err(lost)?;
        }
        ours = Pipes {
            stdin: exec.stdin.then(|| terminal.try_clone()).transpose().map_err(lost)?,
            stdout: Some(terminal.try_clone().map_err(lost)?),
            stderr: None,
        };
        return Ok(ours.into_session(Some(terminal), connection));
    }
    Ok(ours.into_session(None, connection))
}

/// Joins a container's streams.
pub(super) async fn attach(
    run_dir: &Path,
    pod: &PodUid,
    id: &ContainerId,
    attach: &AttachConfig,
) -> Result<Session, RuntimeError> {
    let lost = |source| RuntimeError::Lost {
        pod: pod.clone(),
        source,
    };
    let (mut ours, theirs) = Pipes::make(false).map_err(lost)?;
    let request = Request::Attach(id.clone(), attach.clone());
    let mut connection = Connection::ask(run_dir, pod, &request, &theirs.borrow())
        .await
        .map_err(lost)?;
    drop(theirs);
    let (tty, input) = match connection.answer().await.map_err(lost)? {
        Reply::Attached { tty, input } => (tty, input),
        Reply::Failed(fault) => return Err(fault.into()),
        other => return Err(lost(unexpected(&other))),
    };
    let came = if input { connection.take_fd() } else { None };
    if !tty {
        ours.stdin = came;
        return Ok(ours.into_session(None, connection));
    }
    ours.stderr = None;
    if attach.stdin {
        ours.stdin = came.as_ref().map(OwnedFd::try_clone).transpose().map_err(lost)?;
    }
    Ok(ours.into_session(came, connection))
}

/// One side's ends of the streams.
#[derive(Default)]
struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Pipes {
    /// Makes pipes: our ends and theirs.
    fn make(stdin: bool) -> io::Result<(Pipes, Pipes)> {
        let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
        let (out, err) = (pipe()?, pipe()?);
        let input = stdin.then(pipe).transpose()?;
        let (their_input, our_input) = input.map_or((None, None), |(read, write)| (Some(read), Some(write)));
        let ours = Pipes {
            stdin: our_input,
            stdout: Some(out.0),
            stderr: Some(err.0),
        };
        Ok((
            ours,
            Pipes {
                stdin: their_input,
                stdout: Some(out.1),
                stderr: Some(err.1),
            },
        ))
    }

    /// In the order of the protocol.
    fn borrow(&self) -> Vec<BorrowedFd<'_>> {
        [&self.stdin, &self.stdout, &self.stderr]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
            .collect()
    }

    fn into_session(self, terminal: Option<OwnedFd>, mut connection: Connection) -> Session {
        let ended = Box::pin(async move {
            match connection.receive().await {
                Ok(Some(Reply::Ended(code))) => Ok(code),
                Ok(Some(other)) => Err(unexpected(&other).to_string()),
                Ok(None) => Err("the pod's supervisor is gone".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        });
        Session {
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            terminal,
            ended,
        }
    }
}

fn set_size(terminal: &OwnedFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {reply:?}"))
}
