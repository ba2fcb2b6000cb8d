//! Connections that stop being HTTP: `exec`, `attach` and `port-forward`, in the protocols that Kubernetes' clients speak.
//!
//! There are three, and all carry the same: some streams of bytes each way (`Input`, `Outlet`). A WebSocket with a byte of channel number
//! before each message (`channels`: kubectl for `exec` since 1.30, the libraries in Python and Rust), SPDY (older kubectl, and what is made
//! with Go's library), and SPDY inside of a WebSocket (kubectl for `port-forward` since 1.31). What is done with the streams,
//! `process` and `forward`, does not know which it is.

mod channels;
mod fd;
mod forward;
mod process;

use std::future::{Future, ready};
use std::io;

use futures::{SinkExt, StreamExt, TryStreamExt};
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::body::{self, Body};
use super::error::ApiError;
use crate::spdy::{self, Input};
use channels::Channels;

pub(super) use forward::{Forward, ports_of};
pub(super) use process::{Process, Wanted};

const SPDY: &str = "SPDY/3.1";
const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// The largest message of a WebSocket. kubectl's have 32 kB.
const MESSAGE: usize = 8 << 20;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Where bytes of one stream go.
trait Outlet: Send + Sync + 'static {
    /// Sends bytes as soon as there is room for them; false when nobody gets them any more.
    fn send(&self, bytes: &[u8]) -> impl Future<Output = bool> + Send;

    /// Says that nothing more comes, where the protocol has a word for it.
    fn finish(self) -> impl Future<Output = ()> + Send;
}

impl Outlet for spdy::Output {
    async fn send(&self, bytes: &[u8]) -> bool {
        self.send(bytes).await
    }

    async fn finish(self) {
        self.finish().await;
    }
}

/// What can be done over a connection.
pub(super) trait Work: Send + 'static {
    /// The protocols in which it can be done.
    const PROTOCOLS: Protocols;

    /// Does it over channels.
    fn over_channels(self, channels: Channels) -> impl Future<Output = ()> + Send;

    /// Does it over streams that the client opens, until all is done.
    fn over_streams(self, streams: mpsc::Receiver<spdy::Stream>) -> impl Future<Output = ()> + Send;
}

/// The names of protocols.
#[derive(Debug)]
pub(super) struct Protocols {
    /// Of a WebSocket's channels, the best first.
    channels: &'static [&'static str],
    /// Of SPDY inside of a WebSocket.
    tunnel: Option<&'static str>,
    /// Of what goes over SPDY.
    spdy: &'static str,
}

/// A request for another protocol, understood.
#[derive(Debug)]
pub(super) struct Upgrade {
    transport: Transport,
    answer: Response<Body>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Channels {
        /// Whether a client can say that a channel has ended.
        can_close: bool,
    },
    Tunnel,
    Spdy,
}

impl Upgrade {
    /// Finds the protocol that both sides speak, before anything is started for it.
    ///
    /// # Errors
    /// 400 when there is none, or none is asked for.
    pub(super) fn negotiate<W: Work>(headers: &HeaderMap) -> Result<Self, ApiError> {
        if let Some(key) = headers.get(SEC_WEBSOCKET_KEY) {
            return Self::to_websocket(headers, derive_accept_key(key.as_bytes()), &W::PROTOCOLS);
        }
        let asked = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
        if asked.is_some_and(|asked| asked.eq_ignore_ascii_case(SPDY)) {
            return Self::to_spdy(headers, &W::PROTOCOLS);
        }
        Err(ApiError::bad_request("Upgrade request required"))
    }

    fn to_websocket(headers: &HeaderMap, accept: String, protocols: &Protocols) -> Result<Self, ApiError> {
        let offered = words(headers, &SEC_WEBSOCKET_PROTOCOL);
        let is_offered = |protocol: &&'static str| offered.contains(protocol);
        let tunnel = protocols.tunnel.filter(is_offered);
        let channels = || protocols.channels.iter().copied().find(is_offered);
        let chosen = tunnel.or_else(channels);
        let chosen =
            chosen.ok_or_else(|| ApiError::bad_request(format!("none of the protocols {offered:?} is supported")))?;
        let transport = match tunnel {
            Some(_) => Transport::Tunnel,
            None => Transport::Channels {
                can_close: chosen.starts_with("v5."),
            },
        };
        let accept = HeaderValue::from_str(&accept).expect("base64 is plain text");
        let answer = switching(
            "websocket",
            [
                (SEC_WEBSOCKET_ACCEPT, accept),
                (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen)),
            ],
        );
        Ok(Self { transport, answer })
    }

    fn to_spdy(headers: &HeaderMap, protocols: &Protocols) -> Result<Self, ApiError> {
        let offered = words(headers, &SPDY_PROTOCOL);
        if !offered.contains(&protocols.spdy) {
            let message = format!(
                "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {:?}",
                [protocols.spdy]
            );
            return Err(ApiError::bad_request(message));
        }
        let answer = switching(SPDY, [(SPDY_PROTOCOL, HeaderValue::from_static(protocols.spdy))]);
        Ok(Self {
            transport: Transport::Spdy,
            answer,
        })
    }

    /// Switches, and does `work` over the connection for as long as its client is there.
    pub(super) fn switch(self, mut request: Request<Incoming>, work: impl Work) -> Response<Body> {
        let (transport, upgrade) = (self.transport, hyper::upgrade::on(&mut request));
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => run(transport, TokioIo::new(upgraded), work).await,
                Err(error) => tracing::debug!(%error, "a connection was not upgraded"),
            }
        });
        self.answer
    }
}

/// What one message may take: a library may send all of its input in one, but nobody may fill the memory.
pub(super) fn limits() -> WebSocketConfig {
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(MESSAGE);
    limits.max_frame_size = Some(MESSAGE);
    limits
}

async fn run(transport: Transport, io: TokioIo<Upgraded>, work: impl Work) {
    match transport {
        Transport::Channels { can_close } => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits())).await;
            work.over_channels(Channels::new(socket, can_close)).await;
        }
        Transport::Tunnel => {
            let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits())).await;
            let (reader, writer) = tunnel(socket);
            over_spdy(reader, writer, work).await;
        }
        Transport::Spdy => {
            let (reader, writer) = tokio::io::split(io);
            over_spdy(reader, writer, work).await;
        }
    }
}

async fn over_spdy(reader: impl AsyncRead + Unpin + Send, writer: impl AsyncWrite + Unpin + Send, work: impl Work) {
    let (streams, connection) = spdy::serve(reader, writer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        // What was said last is sent still.
        () = work.over_streams(streams) => connection.await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection with streams broke");
    }
}

/// A WebSocket whose messages are pieces of one flow of bytes.
fn tunnel(socket: Socket) -> (impl AsyncRead + Unpin + Send, impl AsyncWrite + Unpin + Send) {
    let (sink, messages) = socket.split();
    let bytes = messages
        .take_while(|message| ready(!matches!(message, Ok(Message::Close(_)))))
        .map_err(io::Error::other)
        .try_filter_map(|message| {
            ready(Ok(match message {
                Message::Binary(bytes) => Some(bytes),
                Message::Text(text) => Some(text.into()),
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => None,
            }))
        });
    let sink = sink
        .sink_map_err(io::Error::other)
        .with(|bytes| ready(Ok::<_, io::Error>(Message::Binary(bytes))));
    (StreamReader::new(bytes), SinkWriter::new(CopyToBytes::new(sink)))
}

/// What a header lists, be it one header or several.
fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).collect()
}

fn switching(to: &'static str, more: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Response<Body> {
    let mut response = Response::new(body::whole(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(to));
    headers.extend(more);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<W: Work>(headers: &[(&'static str, &'static str)]) -> Result<Transport, u16> {
        let header = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(header) {
            map.append(name, value);
        }
        let upgrade = Upgrade::negotiate::<W>(&map).map_err(|error| error.code.as_u16())?;
        assert_eq!(upgrade.answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        Ok(upgrade.transport)
    }

    #[test]
    fn each_client_is_spoken_to_in_its_best_protocol() {
        let websocket = |protocols| [("sec-websocket-key", "a"), ("sec-websocket-protocol", protocols)];
        let v4 = Transport::Channels { can_close: false };
        let v5 = Transport::Channels { can_close: true };
        for (protocols, process, forward) in [
            ("v5.channel.k8s.io", Ok(v5), Err(400)),
            ("v4.channel.k8s.io", Ok(v4), Ok(v4)),
            ("v4.channel.k8s.io, v5.channel.k8s.io", Ok(v5), Ok(v4)),
            ("SPDY/3.1+portforward.k8s.io", Err(400), Ok(Transport::Tunnel)),
            (
                "v4.channel.k8s.io,SPDY/3.1+portforward.k8s.io",
                Ok(v4),
                Ok(Transport::Tunnel),
            ),
            ("chat", Err(400), Err(400)),
        ] {
            assert_eq!(chosen::<Process>(&websocket(protocols)), process, "{protocols}");
            assert_eq!(chosen::<Forward>(&websocket(protocols)), forward, "{protocols}");
        }
        let name = "x-stream-protocol-version";
        let spdy = [
            ("upgrade", "SPDY/3.1"),
            (name, "v5.channel.k8s.io"),
            (name, "v4.channel.k8s.io"),
        ];
        assert_eq!(chosen::<Process>(&spdy), Ok(Transport::Spdy));
        assert_eq!(chosen::<Forward>(&spdy), Err(400));
        let forward = [("upgrade", "spdy/3.1"), (name, "portforward.k8s.io")];
        assert_eq!(chosen::<Forward>(&forward), Ok(Transport::Spdy));
        assert_eq!(chosen::<Process>(&[]), Err(400));
    }
}
