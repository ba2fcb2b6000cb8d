//! Asking once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::plan::{Endpoint, Handler, HookAction};
use super::{grpc, http};
use crate::os::lookup;
use crate::runtime::{ContainerId, ExecConfig, PodUid, Runtime, RuntimeError, Session, words};

/// How much of a command's output or of a body is read (`pkg/probe` `maxReadLength`, `maxRespBodyLength`).
pub(super) const SHOWN: usize = 10 << 10;

/// What is asked.
#[derive(Clone)]
pub struct Target {
    /// What reaches it.
    pub runtime: Arc<dyn Runtime>,
    /// The pod.
    pub pod: PodUid,
    /// The run of its container.
    pub run: ContainerId,
    /// The pod's address; without one it is asked on its loopback.
    pub ip: Option<IpAddr>,
}

/// What a check came to. The texts are for people and stand in events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Yes.
    Success,
    /// Yes, with a remark.
    Warning(String),
    /// No, or no answer in time.
    Failure(String),
    /// It could not be asked: that says nothing about the container.
    Error(String),
}

/// Asks once and waits for the answer, but not longer than `limit`.
pub async fn ask(target: &Target, handler: &Handler, limit: Duration) -> Outcome {
    match handler {
        Handler::Exec(command) => match timeout(limit, exec(target, command)).await {
            Ok(Ok((0, _))) => Outcome::Success,
            Ok(Ok((_, output))) => Outcome::Failure(output),
            Ok(Err(error)) => Outcome::Error(error),
            Err(_) => Outcome::Failure(format!("command {:?} timed out", command.join(" "))),
        },
        Handler::Http(get) => http::probe(target, get, limit).await,
        Handler::Tcp(endpoint) => match timeout(limit, connect(target, endpoint)).await {
            Ok(Ok(_)) => Outcome::Success,
            Ok(Err(error)) => Outcome::Failure(error),
            Err(_) => Outcome::Failure(format!("dial tcp {}: i/o timeout", shown(endpoint))),
        },
        Handler::Grpc { endpoint, service } => grpc::probe(target, endpoint, service, limit).await,
    }
}

/// Carries a life cycle hook out (kubelet `handlerRunner.Run`). It may take as long as whoever waits for it allows; any answer to a
/// request will do.
///
/// # Errors
/// When it failed; the text is for people.
pub async fn run_hook(target: &Target, action: &HookAction) -> Result<(), String> {
    match action {
        HookAction::Exec(command) => match exec(target, command).await? {
            (0, _) => Ok(()),
            (code, output) => Err(format!("command {:?} exited with {code}: {output}", command.join(" "))),
        },
        HookAction::Http(get) => http::get(target, &get.clone().at(target.ip)).await.map(drop),
        HookAction::Sleep(time) => {
            tokio::time::sleep(*time).await;
            Ok(())
        }
    }
}

/// Runs a command to its end: its exit code, and the beginning of what it said. It is killed when nobody waits any more.
///
/// # Errors
/// When it could not be run; the text is for people.
pub(super) async fn exec(target: &Target, command: &[String]) -> Result<(i32, String), String> {
    let config = ExecConfig {
        args: command.to_vec(),
        tty: false,
        stdin: false,
        size: None,
        dies_with_session: true,
    };
    let session = target.runtime.exec(&target.pod, &target.run, &config).await;
    let Session {
        stdout, stderr, ended, ..
    } = session.map_err(|e| e.to_string())?;
    let (mut out, mut err) = (Stream::new(stdout)?, Stream::new(stderr)?);
    let mut said = Vec::new();
    let mut ended = ended;
    let code = loop {
        tokio::select! {
            code = &mut ended => break code?,
            bytes = out.next() => keep(&mut said, &bytes),
            bytes = err.next() => keep(&mut said, &bytes),
        }
    };
    // What it wrote and nobody has read yet. Not to the streams' ends: a process that it left behind may hold them open.
    for bytes in out.rest().into_iter().chain(err.rest()) {
        keep(&mut said, &bytes);
    }
    Ok((code, String::from_utf8_lossy(&said).into_owned()))
}

/// Adds to what was said, up to what is shown of it.
pub(super) fn keep(said: &mut Vec<u8>, bytes: &[u8]) {
    let room = SHOWN.saturating_sub(said.len());
    said.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// One stream of a command's output.
struct Stream(Option<pipe::Receiver>);

impl Stream {
    fn new(fd: Option<OwnedFd>) -> Result<Self, String> {
        let receiver = fd.map(pipe::Receiver::from_owned_fd).transpose();
        receiver.map(Self).map_err(|e| format!("output: {e}"))
    }

    /// What comes next; waits for ever at its end.
    async fn next(&mut self) -> Vec<u8> {
        loop {
            let Some(pipe) = &self.0 else {
                return std::future::pending().await;
            };
            let mut buffer = [0; 4096];
            let read = match pipe.readable().await {
                Ok(()) => pipe.try_read(&mut buffer),
                Err(error) => Err(error),
            };
            match read {
                Ok(length) if length > 0 => return buffer[..length].to_vec(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => self.0 = None,
            }
        }
    }

    /// What is there now, up to what is shown of it at most.
    fn rest(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; SHOWN];
        let length = self.0.as_ref()?.try_read(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

/// Connects to where a container listens, from the node as kubelet does: to the pod's address, or to the host that the probe names. A pod
/// without an address is asked from within.
///
/// # Errors
/// The text says it as `net.Dialer` does.
pub(super) async fn connect(target: &Target, endpoint: &Endpoint) -> Result<TcpStream, String> {
    let mut last = format!("lookup {}: no such host", shown(endpoint));
    for address in addresses(endpoint).await? {
        let connected = match target.ip {
            Some(_) => target.runtime.dial(address).await,
            None => target.runtime.connect(&target.pod, address).await,
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(RuntimeError::Connect(error)) => last = format!("dial tcp {address}: connect: {}", words(&error)),
            Err(error) => last = format!("dial tcp {address}: {error}"),
        }
    }
    Err(last)
}

async fn addresses(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = (endpoint.host(), endpoint.port);
    let found = lookup(host)
        .await
        .map_err(|e| format!("dial tcp: lookup {host}: {e}"))?;
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// `host:port` of an endpoint.
pub(super) fn shown(endpoint: &Endpoint) -> String {
    format!("{}:{}", endpoint.host(), endpoint.port)
}
