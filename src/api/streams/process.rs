//! `exec` and `attach`: a process's streams, the size of its terminal, and how it ended (`k8s.io/apimachinery/pkg/util/remotecommand`).

use std::collections::HashMap;
use std::future::pending;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::termios::Winsize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::channels::Channels;
use super::fd::Pipe;
use super::{Input, Outlet, Protocols, Work};
use crate::api::request::Query;
use crate::runtime::Session;
use crate::spdy;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// How long a client may take to open its streams (kubelet `DefaultStreamCreationTimeout`).
const OPENING: Duration = Duration::from_secs(30);

/// How much of an output is sent at once.
const CHUNK: usize = 32 << 10;

/// A process that runs, for whoever asked for it.
pub(in crate::api) struct Process {
    /// The process.
    pub session: Session,
    /// What the client asks for.
    pub wanted: Wanted,
}

/// The streams that a client asks for, and, where it opens them itself, opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    /// What a query says (`PodExecOptions`, `PodAttachOptions`).
    pub(in crate::api) fn of(query: &Query) -> Self {
        let tty = query.flag("tty");
        Self {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            // A terminal has one output.
            stderr: query.flag("stderr") && !tty,
            tty,
        }
    }

    /// The streams that a client of SPDY opens for that.
    fn streams(self) -> Vec<&'static str> {
        let all = [
            ("error", true),
            ("stdin", self.stdin),
            ("stdout", self.stdout),
            ("stderr", self.stderr),
            ("resize", self.tty),
        ];
        let wanted = all.into_iter().filter(|(_, is_wanted)| *is_wanted);
        wanted.map(|(name, _)| name).collect()
    }
}

/// The client's ends of the streams.
struct Ends<O> {
    stdin: Option<Input>,
    resize: Option<Input>,
    stdout: Option<O>,
    stderr: Option<O>,
    status: O,
}

impl Work for Process {
    const PROTOCOLS: Protocols = Protocols {
        channels: &["v5.channel.k8s.io", "v4.channel.k8s.io"],
        tunnel: None,
        spdy: "v4.channel.k8s.io",
    };

    async fn over_channels(self, mut channels: Channels) {
        let ends = Ends {
            stdin: Some(channels.input(STDIN)),
            resize: Some(channels.input(RESIZE)),
            stdout: Some(channels.outlet(STDOUT)),
            stderr: Some(channels.outlet(STDERR)),
            status: channels.outlet(ERROR),
        };
        channels.carry(join(self.session, ends)).await;
    }

    async fn over_streams(self, mut streams: mpsc::Receiver<spdy::Stream>) {
        let opened = timeout(OPENING, gather(&mut streams, &self.wanted.streams())).await;
        let Ok(Some(mut opened)) = opened else {
            tracing::debug!("a client did not open the streams that it asked for");
            return;
        };
        let (stdin, resize) = (opened.remove("stdin"), opened.remove("resize"));
        let Some(status) = opened.remove("error") else { return };
        let ends = Ends {
            stdin: stdin.map(|stream| stream.input),
            resize: resize.map(|stream| stream.input),
            stdout: opened.remove("stdout").map(|stream| stream.output),
            stderr: opened.remove("stderr").map(|stream| stream.output),
            status: status.output,
        };
        join(self.session, ends).await;
    }
}

/// Waits for streams of these types.
async fn gather(
    streams: &mut mpsc::Receiver<spdy::Stream>,
    wanted: &[&'static str],
) -> Option<HashMap<&'static str, spdy::Stream>> {
    let mut opened = HashMap::new();
    while opened.len() < wanted.len() {
        let stream = streams.recv().await?;
        let kind = stream.headers.get("streamtype");
        match wanted.iter().find(|wanted| **wanted == kind) {
            Some(kind) => drop(opened.insert(*kind, stream)),
            None => stream.output.reset().await,
        }
    }
    Some(opened)
}

/// Carries data both ways until the process has ended and all it wrote was sent.
async fn join<O: Outlet>(session: Session, ends: Ends<O>) {
    let Session {
        stdin,
        stdout,
        stderr,
        terminal,
        ended,
    } = session;
    let status = ends.status;
    let ending = async move {
        let (ended, (), ()) = tokio::join!(ended, pump(stdout, ends.stdout), pump(stderr, ends.stderr));
        status.send(exit_status(ended).to_string().as_bytes()).await;
        status.finish().await;
    };
    let inputs = async move {
        tokio::join!(feed(stdin, ends.stdin), follow_size(terminal, ends.resize));
        pending().await
    };
    tokio::select! {
        () = ending => {}
        () = inputs => {}
    }
}

/// Sends what a process writes. What nobody wants is read all the same, so that the process can go on.
async fn pump<O: Outlet>(from: Option<OwnedFd>, to: Option<O>) {
    if let Some(pipe) = from.and_then(|fd| Pipe::new(fd).ok()) {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            if let Some(to) = &to
                && !to.send(&buffer[..count]).await
            {
                return;
            }
        }
    }
    if let Some(to) = to {
        to.finish().await;
    }
}

/// Writes what comes to a process, and closes its input when no more does.
async fn feed(to: Option<OwnedFd>, from: Option<Input>) {
    let (Some(pipe), Some(mut from)) = (to.and_then(|fd| Pipe::new(fd).ok()), from) else {
        return;
    };
    while let Some(Ok(data)) = from.recv().await {
        // Whoever reads no more gets no more.
        if pipe.write_all(&data).await.is_err() {
            return;
        }
    }
}

async fn follow_size(terminal: Option<OwnedFd>, sizes: Option<Input>) {
    let (Some(terminal), Some(mut sizes)) = (terminal, sizes) else {
        return;
    };
    while let Some(Ok(size)) = sizes.recv().await {
        // Go's encoder ends a size with a line; several may come at once.
        for size in serde_json::Deserializer::from_slice(&size)
            .into_iter::<Value>()
            .flatten()
        {
            resize(&terminal, &size);
        }
    }
}

/// Gives a terminal the size in `{"Width": 80, "Height": 24}`.
fn resize(terminal: &OwnedFd, size: &Value) {
    let field = |name: &str| {
        size.get(name)
            .and_then(Value::as_u64)
            .and_then(|n| u16::try_from(n).ok())
    };
    if let Some((ws_col, ws_row)) = field("Width").zip(field("Height")) {
        let size = Winsize {
            ws_row,
            ws_col,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // A terminal whose process has ended has no size to change.
        let _ = rustix::termios::tcsetwinsize(terminal.as_fd(), size);
    }
}

/// How a process ended, as clients read it from the error channel (`remotecommand.v4ErrorDecoder`).
fn exit_status(ended: Result<i32, String>) -> Value {
    match ended {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(message) => {
            json!({"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500})
        }
    }
}
