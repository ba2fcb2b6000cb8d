//! Calls of an OCI runtime: each in a forked child that sends back a pid, perhaps with a terminal, or a reason.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::super::oci::Launched;
use super::super::sys;
use super::Exec;
use super::peers::{self, list};
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

    /// Gives it up: its end is the answer.
    pub fn kill(&mut self) {
        // A job is known for as long as it is not reaped.
        peers::kill(self.pid);
        self.until = Instant::now() + PATIENCE;
    }
}

/// What a call is for.
pub(super) enum Purpose {
    Start(ContainerId),
    /// A command, and the file that describes it.
    Exec {
        exec: Exec,
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
    let (answer, to_parent) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match sys::fork()? {
        sys::Fork::Parent(pid) => Ok((pid, answer)),
        sys::Fork::Child => {
            drop(answer);
            sys::default_signals();
            // On its way into the container it still has the supervisor's descriptors, and soon no capability that the container has
            // not: nobody there is to trace it before it has become its program.
            let hidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
            if hidden.is_err() {
                sys::exit_now(1);
            }
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

/// What goes over the socket; the terminal goes beside it.
#[derive(Serialize, Deserialize)]
enum Answer {
    Runs { pid: i32, mount_namespace: Option<u64> },
    Failed(String),
}

fn send(to_parent: &OwnedFd, outcome: Result<Launched, String>) {
    let (answer, terminal) = match outcome {
        Ok(Launched {
            pid,
            mount_namespace,
            terminal,
        }) => (Answer::Runs { pid, mount_namespace }, terminal),
        // A reason is for people; a page of it is plenty.
        Err(text) => (Answer::Failed(text.chars().take(2000).collect()), None),
    };
    let bytes = serde_json::to_vec(&answer).unwrap_or_default();
    // If this fails the supervisor finds no answer, and says so.
    let _ = sys::send(to_parent, &bytes, &list(terminal.as_ref()));
}

/// Reads what the child sent. To be called when there is something to read, or when the child has ended.
pub(super) fn outcome(answer: &OwnedFd) -> Result<Launched, String> {
    let (mut bytes, mut fds) = (vec![0; 16 << 10], Vec::new());
    // Nothing to read is no answer: a child that ended sent what it had to send, though processes that it made may
    // still hold the socket open.
    let length = sys::receive(answer, &mut bytes, &mut fds).unwrap_or(0);
    match serde_json::from_slice(&bytes[..length]) {
        Ok(Answer::Runs { pid, mount_namespace }) => Ok(Launched {
            pid,
            mount_namespace,
            terminal: fds.pop(),
        }),
        Ok(Answer::Failed(text)) => Err(text),
        Err(_) => Err("the OCI runtime ended without an answer".to_owned()),
    }
}
