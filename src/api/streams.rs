//! exec and attach over a WebSocket: one byte of channel number, then data (`v5.channel.k8s.io`, `v4.channel.k8s.io`;
//! `k8s.io/apimachinery/pkg/util/remotecommand`).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use http::header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::termios::Winsize;
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::body::{self, Answer, Body};
use super::error::ApiError;
use crate::runtime::Session;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// v5: the client says that a channel has ended.
const CLOSE: u8 = 255;

/// Protocols, the best first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Switches the connection to a WebSocket and joins it with `session`.
pub(super) fn join(mut request: Request<Incoming>, session: Session) -> Answer {
    let (response, upgrade) = (accept(request.headers())?, hyper::upgrade::on(&mut request));
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
                serve(socket, session).await;
            }
            Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
        }
    });
    Ok(response)
}

/// Refuses what is not a WebSocket before anything is started for it.
pub(super) fn check(headers: &HeaderMap) -> Result<(), ApiError> {
    accept(headers).map(drop)
}

fn accept(headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| ApiError::bad_request("Upgrade request required"))?;
    let offered: Vec<_> = text(SEC_WEBSOCKET_PROTOCOL.as_str())
        .split(',')
        .map(str::trim)
        .collect();
    let chosen = PROTOCOLS.into_iter().find(|protocol| offered.contains(protocol));
    let chosen =
        chosen.ok_or_else(|| ApiError::bad_request(format!("none of the protocols {offered:?} is supported")))?;
    let mut response = Response::new(body::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = derive_accept_key(key.as_bytes());
    let headers = response.headers_mut();
    headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        SEC_WEBSOCKET_ACCEPT,
        HeaderValue::from_str(&accept).expect("base64 is plain text"),
    );
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
    Ok(response)
}

/// Carries data both ways until the process has ended and all it wrote was sent, or the client went.
async fn serve(socket: Socket, session: Session) {
    let (sink, mut messages) = socket.split();
    let (frames, queue) = mpsc::channel(16);
    let Session {
        stdin,
        stdout,
        stderr,
        terminal,
        ended,
    } = session;
    let mut input = stdin.and_then(|fd| Stream::new(fd).ok());
    let outputs = [(STDOUT, stdout), (STDERR, stderr)];
    let readers: Vec<_> = outputs
        .into_iter()
        .filter_map(|(channel, fd)| Some(tokio::spawn(pump(channel, fd?, frames.clone()))))
        .collect();
    let writer = tokio::spawn(send(queue, sink));
    let last = frames.clone();
    let finish = async move {
        let status = exit_status(ended.await);
        for reader in readers {
            // A reader ends with its stream; it does not panic.
            let _ = reader.await;
        }
        let _ = last.send(frame(ERROR, status.to_string().as_bytes())).await;
    };
    tokio::pin!(finish);
    loop {
        tokio::select! {
            () = &mut finish => break,
            message = messages.next() => match message {
                Some(Ok(Message::Binary(data))) => take(&data, &mut input, terminal.as_ref()).await,
                Some(Ok(Message::Text(text))) => take(text.as_bytes(), &mut input, terminal.as_ref()).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    writer.abort();
                    return;
                }
            },
        }
    }
    drop(frames);
    // The writer closes the socket after the last frame.
    let _ = writer.await;
}

async fn send(mut queue: mpsc::Receiver<Vec<u8>>, mut sink: SplitSink<Socket, Message>) {
    while let Some(frame) = queue.recv().await {
        if sink.send(Message::binary(frame)).await.is_err() {
            return;
        }
    }
    // Go's clients take any other end for a failure. The client may have closed first.
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    let _ = sink.send(Message::Close(Some(normal))).await;
    let _ = sink.close().await;
}

async fn pump(channel: u8, fd: OwnedFd, frames: mpsc::Sender<Vec<u8>>) {
    let Ok(stream) = Stream::new(fd) else { return };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if frames.send(frame(channel, &buffer[..count])).await.is_err() {
            return;
        }
    }
}

fn frame(channel: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(data.len() + 1);
    frame.push(channel);
    frame.extend_from_slice(data);
    frame
}

async fn take(data: &[u8], input: &mut Option<Stream>, terminal: Option<&OwnedFd>) {
    match data.split_first() {
        Some((&STDIN, data)) => {
            let written = match input {
                Some(input) => input.write_all(data).await,
                None => Ok(()),
            };
            // Whoever reads no more gets no more.
            if written.is_err() {
                *input = None;
            }
        }
        Some((&CLOSE, [STDIN])) => *input = None,
        Some((&RESIZE, size)) => {
            if let Some((terminal, size)) = terminal.zip(serde_json::from_slice(size).ok()) {
                resize(terminal, &size);
            }
        }
        _ => {}
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

/// A pipe or terminal, read and written without blocking.
struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        crate::os::watch_both(fd).map(Self)
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *buffer)?)) {
                // A terminal whose other side is closed says EIO where a pipe says 0.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
                Ok(Ok(count)) => data = &data[count..],
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}
