//! Calls of an OCI runtime: each in a forked child that sends back a pid, perhaps with a terminal, or a reason.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};

use super::super::oci::Launched;
use super::super::sys;
use super::poller::Token;
use crate::runtime::ContainerId;

/// A call takes milliseconds; on a machine that is out of memory perhaps seconds. One that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call under way.
pub(super) struct Job {
    pub pid: i32,
    pub answer: OwnedFd,
    pub purpose: Purpose,
    /// When it is given up.
    pub until: Instant,
}

impl Job {
    /// A call that was forked just now.
    pub fn new(pid: i32, answer: OwnedFd, purpose: Purpose) -> Job {
        Job {
            pid,
            answer,
            purpose,
            until: Instant::now() + PATIENCE,
        }
    }

    /// Gives it up; that its end of the socket closes is the answer.
    pub fn kill(&mut self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // Not reaped yet, for the socket is open: it is the process meant.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.until = Instant::now() + PATIENCE;
    }
}

/// What a call is for.
pub(super) enum Purpose {
    Start(ContainerId),
    /// A command; whoever asked for it, and the file that describes it.
    Exec {
        peer: Token,
        process: PathBuf,
    },
}

/// The standard streams of the process to be; `None` is `/dev/null`.
#[derive(Default)]
pub(super) struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Forks a child that makes the call, with these streams as its own. They are closed here.
pub(super) fn fork_job(
    streams: Streams,
    call: impl FnOnce() -> Result<Launched, String>,
) -> io::Result<(i32, OwnedFd)> {
    let (answer, to_parent) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match sys::fork()? {
        sys::Fork::Parent(pid) => Ok((pid, answer)),
        sys::Fork::Child => {
            drop(answer);
            sys::default_signals();
            let outcome = take_streams(streams)
                .map_err(|e| format!("standard streams: {e}"))
                .and_then(|()| call());
            send(&to_parent, outcome);
            sys::exit_now(0)
        }
    }
}

fn take_streams(streams: Streams) -> io::Result<()> {
    let null = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map(OwnedFd::from)
    };
    let or_null = |stream: Option<OwnedFd>| stream.map_or_else(null, Ok);
    rustix::stdio::dup2_stdin(or_null(streams.stdin)?)?;
    rustix::stdio::dup2_stdout(or_null(streams.stdout)?)?;
    rustix::stdio::dup2_stderr(or_null(streams.stderr)?)?;
    Ok(())
}

/// `+<pid>`, with the terminal beside it, or `-<reason>`.
fn send(to_parent: &OwnedFd, outcome: Result<Launched, String>) {
    // The supervisor reads nothing if this fails, and says so.
    let _ = match outcome {
        Ok(Launched {
            pid,
            terminal: Some(terminal),
        }) => sys::send(to_parent, format!("+{pid}").as_bytes(), &[terminal.as_fd()]),
        Ok(Launched { pid, terminal: None }) => sys::send(to_parent, format!("+{pid}").as_bytes(), &[]),
        // A reason is for people; a page of it is plenty.
        Err(text) => sys::send(
            to_parent,
            format!("-{}", text.chars().take(4000).collect::<String>()).as_bytes(),
            &[],
        ),
    };
}

/// Reads what the child sent. To be called when there is something to read.
pub(super) fn outcome(answer: &OwnedFd) -> Result<Launched, String> {
    let (mut bytes, mut fds) = (vec![0; 16 << 10], Vec::new());
    let length = sys::receive(answer, &mut bytes, &mut fds).map_err(|e| format!("OCI runtime: {e}"))?;
    let text = String::from_utf8_lossy(&bytes[..length]);
    let known = match text.split_at_checked(1) {
        Some(("+", pid)) => pid.parse().ok().map(|pid| {
            Ok(Launched {
                pid,
                terminal: fds.pop(),
            })
        }),
        Some(("-", reason)) => Some(Err(reason.to_owned())),
        Some(_) | None => None,
    };
    known.unwrap_or_else(|| Err("the OCI runtime ended without an answer".to_owned()))
}
