//! What the node and a supervisor say to each other: frames of JSON on a unix stream socket, file descriptors beside them.
//!
//! One connection carries one request and its answers, in order; [`Request::Watch`] keeps its connection and gets a
//! [`Reply::Changed`] whenever a status changed, until the supervisor is gone. There is no request for a status: the
//! files say it ([`super::record`]). Descriptors travel with the first byte of the frame they belong to.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::runtime::{AttachConfig, ContainerConfig, ContainerId, ExecConfig, Resize, RuntimeError, Usage};

/// What the node asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Say whenever something changed.
    Watch,
    /// Prepare a container.
    Create(Box<ContainerConfig>),
    /// Start it.
    Start(ContainerId),
    /// Send it a signal, and SIGKILL after the grace.
    Stop {
        id: ContainerId,
        signal: i32,
        grace_ms: u64,
        /// As [`crate::runtime::Stop`] has it; not said by nodes of before.
        #[serde(default)]
        is_drain: bool,
    },
    /// Give it and the pod other limits.
    Resize(Resize),
    /// Forget it.
    Remove(ContainerId),
    /// Run a command in it. Without a terminal the descriptors are its standard input (if asked for), output and error.
    Exec(ContainerId, ExecConfig),
    /// Copy its output to the descriptors that come along: standard output and error.
    Attach(ContainerId, AttachConfig),
    /// Say what the containers that run have used.
    Usage,
    /// Kill everything and go.
    Shutdown,
}

/// What the supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is so.
    Done,
    /// To [`Request::Watch`]: some status is new.
    Changed,
    /// The command runs. With a terminal, its master side comes along.
    Started,
    /// Output is being copied. Standard input, or the terminal, comes along if the container has one and it was asked for.
    Attached {
        /// The descriptor is a terminal.
        tty: bool,
        /// A descriptor came along.
        input: bool,
    },
    /// The command, or the container attached to, ended.
    Ended(i32),
    /// To [`Request::Usage`].
    Used(Vec<(ContainerId, Usage)>),
    /// It could not be done.
    Failed(Fault),
}

/// Why not; becomes a [`RuntimeError`] at the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    NoContainer(ContainerId),
    WrongState(ContainerId, State),
    Create(String),
    Config(String),
    Start(String),
    Resize(String),
    Sandbox(String),
}

/// A container's state in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Created,
    Starting,
    Running,
    Exited,
}

impl From<Fault> for RuntimeError {
    fn from(fault: Fault) -> RuntimeError {
        match fault {
            Fault::NoContainer(id) => RuntimeError::NoContainer(id),
            Fault::WrongState(id, state) => RuntimeError::WrongState {
                id,
                state: match state {
                    State::Created => "created",
                    State::Starting => "starting",
                    State::Running => "running",
                    State::Exited => "exited",
                },
            },
            Fault::Create(text) => RuntimeError::Create(text),
            Fault::Config(text) => RuntimeError::Config(text),
            Fault::Start(text) => RuntimeError::Start(text),
            Fault::Resize(text) => RuntimeError::Resize(text),
            Fault::Sandbox(text) => RuntimeError::Sandbox(text),
        }
    }
}

/// The largest frame: a container's config with every environment variable that `execve` would take is below it.
const MAX_FRAME: u32 = 8 << 20;

/// One message, ready to be written.
///
/// # Errors
/// It has a path that is not text, or is too long.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4)
        .ok()
        .filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or(io::ErrorKind::FileTooLarge)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Takes the first message off the bytes received so far; `Ok(None)` while it is incomplete.
///
/// # Errors
/// The bytes are none of our messages; the connection is then of no more use.
pub(super) fn decode<T: DeserializeOwned>(received: &mut Vec<u8>) -> Result<Option<T>, String> {
    let Some(head) = received.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*head);
    if length > MAX_FRAME {
        return Err(format!("a frame of {length} bytes"));
    }
    let length = length as usize;
    let Some(body) = received.get(4..4 + length) else {
        return Ok(None);
    };
    let message = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    received.drain(..4 + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_however_the_bytes_arrive() {
        let bytes = [Reply::Done, Reply::Ended(7)]
            .map(|reply| encode(&reply).expect("a reply has no path"))
            .concat();
        let (mut received, mut seen) = (Vec::new(), Vec::new());
        for byte in bytes {
            received.push(byte);
            while let Some(reply) = decode::<Reply>(&mut received).expect("these are our messages") {
                seen.push(format!("{reply:?}"));
            }
        }
        assert_eq!(seen, ["Done", "Ended(7)"]);
        assert!(received.is_empty());
    }

    #[test]
    fn what_is_no_message_is_refused_not_awaited() {
        assert!(decode::<Reply>(&mut vec![255, 255, 255, 255]).is_err());
        assert!(decode::<Reply>(&mut vec![2, 0, 0, 0, b'{', b'}']).is_err());
    }
}
