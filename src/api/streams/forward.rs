//! `port-forward`: connections to what listens on a pod's own loopback, as kubelet makes them (`pkg/kubelet/cri/streaming/portforward`).

use std::collections::HashMap;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::channels::Channels;
use super::{Input, Outlet, Protocols, Work};
use crate::api::error::ApiError;
use crate::api::request::Query;
use crate::runtime::{PodUid, Runtime, RuntimeError, words};
use crate::spdy;

/// How many connections may be known by one of their two streams only. The other follows at once.
const HALVES: usize = 64;

/// How much is carried at once.
const CHUNK: usize = 32 << 10;

/// The most ports in one request: channels have numbers of a byte, and each port takes two.
const MOST_PORTS: usize = 127;

/// A pod's ports, for whoever wants to connect.
#[derive(Clone)]
pub(in crate::api) struct Forward {
    /// What reaches into pods.
    pub runtime: Arc<dyn Runtime>,
    /// The pod.
    pub pod: PodUid,
    /// Its name.
    pub name: String,
    /// What the query names; a client of SPDY names ports later.
    pub ports: Vec<u16>,
}

/// The ports that a query names, be it once or in a list.
///
/// # Errors
/// 400 for what is no port (`portforward.BuildV4Options`).
pub(in crate::api) fn ports_of(query: &Query) -> Result<Vec<u16>, ApiError> {
    let named: Vec<_> = query.all("ports").flat_map(|list| list.split(',')).collect();
    if named.len() > MOST_PORTS {
        return Err(ApiError::bad_request(format!(
            "at most {MOST_PORTS} ports in one request"
        )));
    }
    let port = |text: &str| match text.parse() {
        Ok(0) => Err(ApiError::bad_request(format!("port {text:?} must be > 0"))),
        Ok(port) => Ok(port),
        Err(error) => Err(ApiError::bad_request(format!(
            "unable to parse {text:?} as a port: {error}"
        ))),
    };
    named.into_iter().map(port).collect()
}

impl Work for Forward {
    const PROTOCOLS: Protocols = Protocols {
        channels: &["v4.channel.k8s.io"],
        tunnel: Some("SPDY/3.1+portforward.k8s.io"),
        spdy: "portforward.k8s.io",
    };

    /// Two channels for each port: data, and an error if there is one. Both begin with the port's number.
    async fn over_channels(self, mut channels: Channels) {
        let mut connections = JoinSet::new();
        for (number, port) in (0..).step_by(2).zip(self.ports.clone()) {
            let (input, data) = (channels.input(number), channels.outlet(number));
            let (error, forward) = (channels.outlet(number + 1), self.clone());
            connections.spawn(async move {
                let number = port.to_le_bytes();
                if data.send(&number).await && error.send(&number).await {
                    forward.connection(port, input, data, error).await;
                }
            });
        }
        channels
            .carry(async move { while connections.join_next().await.is_some() {} })
            .await;
    }

    /// Two streams for each connection, which name it by an id of the client's.
    async fn over_streams(self, mut streams: mpsc::Receiver<spdy::Stream>) {
        let (mut connections, mut halves) = (JoinSet::new(), HashMap::new());
        loop {
            let stream = tokio::select! {
                stream = streams.recv() => stream,
                Some(_) = connections.join_next() => continue,
            };
            let Some(stream) = stream else { return };
            let (id, port) = (stream.headers.get("requestid"), stream.headers.get("port").parse());
            let (id, Ok(port @ 1..)) = (id.to_owned(), port) else {
                stream.output.reset().await;
                continue;
            };
            let is_data = stream.headers.get("streamtype") == "data";
            let (error, data) = match halves.remove(&id) {
                None if halves.len() < HALVES => {
                    halves.insert(id, (is_data, stream));
                    continue;
                }
                Some((false, error)) if is_data => (error, stream),
                Some((true, data)) if !is_data => (stream, data),
                None | Some(_) => {
                    stream.output.reset().await;
                    continue;
                }
            };
            let forward = self.clone();
            connections.spawn(async move {
                forward.connection(port, data.input, data.output, error.output).await;
            });
        }
    }
}

impl Forward {
    /// One connection, from its beginning to its end.
    async fn connection<O: Outlet>(self, port: u16, input: Input, data: O, error: O) {
        match self.connect(port).await {
            Ok(stream) => carry(stream, input, &data).await,
            Err(message) => drop(error.send(message.as_bytes()).await),
        }
        data.finish().await;
        error.finish().await;
    }

    /// Connects to the pod's loopback.
    ///
    /// # Errors
    /// In the words of kubelet and its runtime.
    async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let dial = async |ip: IpAddr| {
            let address = SocketAddr::new(ip, port);
            let connected = self.runtime.connect(&self.pod, address).await;
            connected.map_err(|error| match error {
                RuntimeError::Connect(error) => format!("dial tcp {address}: connect: {}", words(&error)),
                error => error.to_string(),
            })
        };
        let v4 = match dial(Ipv4Addr::LOCALHOST.into()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let v6 = match dial(Ipv6Addr::LOCALHOST.into()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        Err(format!(
            "error forwarding port {port} to pod {}, uid {}: failed to connect to localhost:{port} inside the pod, IPv4: {v4} IPv6: {v6}",
            self.name, self.pod
        ))
    }
}

/// Carries data both ways until the pod's side has ended, or the client gave up. A client that only says that it sends no more may
/// wait for an answer still.
async fn carry<O: Outlet>(stream: TcpStream, mut input: Input, output: &O) {
    let (mut from_pod, mut to_pod) = stream.into_split();
    let up = async move {
        loop {
            match input.recv().await {
                Some(Ok(bytes)) if to_pod.write_all(&bytes).await.is_ok() => {}
                Some(Err(spdy::Reset)) => return,
                // Nothing more to send, or nobody who takes it: there may be something to read still.
                Some(Ok(_)) | None => break,
            }
        }
        // What else comes must not wait for a reader.
        drop(input);
        // Who has closed already needs no telling.
        let _ = to_pod.shutdown().await;
        pending().await
    };
    let down = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from_pod.read(&mut buffer).await {
            if !output.send(&buffer[..count]).await {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_once_or_in_lists() {
        let ports = |query: &str| ports_of(&Query::parse(query)).map_err(|error| error.message);
        assert_eq!(ports("ports=80&ports=443"), Ok(vec![80, 443]));
        assert_eq!(ports("ports=80%2C443"), Ok(vec![80, 443]));
        assert_eq!(ports(""), Ok(Vec::new()));
        assert_eq!(ports("ports=0"), Err("port \"0\" must be > 0".to_owned()));
        assert!(
            ports("ports=http")
                .expect_err("a name")
                .contains("unable to parse \"http\" as a port")
        );
        assert!(ports("ports=70000").is_err());
        assert!(ports(&"ports=80&".repeat(200)).is_err());
    }
}
