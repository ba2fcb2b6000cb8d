//! Where clients come in: ports of the host, on loopback unless the settings say otherwise.
//!
//! The ports 80 and 443 are those that people type, and often somebody else's or root's: so they are taken if that is allowed and there is an
//! Ingress, beside ports that nobody needs to be allowed, which are open always.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::memory::Memory;
use super::proxy::{Arrival, Proxy};
use super::unheard::{Guest, Unheard};
use crate::model::Complaints;

/// The ports that people type, for HTTP and for TLS.
const KNOWN: [u16; 2] = [80, 443];
/// Those that are open always, as other rootless nodes have them.
const UNPRIVILEGED: [u16; 2] = [10_080, 10_443];

/// So many clients may be connected: each has two descriptors or more. Those beyond wait in the kernel.
const CLIENTS: usize = 1024;
/// So many of them may not have said what they want.
const UNHEARD: usize = 256;
/// How long a client may take to say what it wants, and be silent between two requests (nginx: 60 and 75 seconds).
const HEAD: Duration = Duration::from_secs(60);
/// How long it may take to agree on a key.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a client with HTTP/2 that is silent is asked whether it is still there.
const ALIVE: Duration = Duration::from_secs(60);
/// The longest head of a request: four times what nginx takes.
const LONGEST_HEAD: usize = 32 << 10;
/// How many requests a client with HTTP/2 may have at a time.
const STREAMS: u32 = 250;
/// After the system refused a descriptor or memory: trying at once would only turn in a circle.
const SHORTAGE: Duration = Duration::from_millis(100);
/// How HTTP/2 begins without TLS (RFC 9113, 3.4); no method of HTTP/1 begins so.
const PREFACE: &[u8] = b"PRI";

/// Where clients come in at this moment. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct OpenDoors(Arc<Mutex<BTreeMap<(bool, u16), SocketAddr>>>);

impl OpenDoors {
    /// As addresses for browsers: `http://localhost:10080`.
    pub fn list(&self) -> Vec<String> {
        let doors = self.0.lock().expect("nothing panics while it holds the list");
        let url = |((is_tls, port), address): (&(bool, u16), &SocketAddr)| {
            let scheme = if *is_tls { "https" } else { "http" };
            let host = match address.ip() {
                ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            match KNOWN[usize::from(*is_tls)] == *port {
                true => format!("{scheme}://{host}"),
                false => format!("{scheme}://{host}:{port}"),
            }
        };
        doors.iter().map(url).collect()
    }

    /// As `status.loadBalancer` of an Ingress has it.
    pub(super) fn status(&self) -> Value {
        let doors = self.0.lock().expect("nothing panics while it holds the list");
        let Some(address) = doors.values().next() else {
            return json!({});
        };
        let ports: Vec<Value> = doors
            .keys()
            .map(|(_, port)| json!({"port": port, "protocol": "TCP"}))
            .collect();
        let ip = match address.ip() {
            ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            ip => ip,
        };
        json!({"ingress": [{"ip": ip.to_string(), "ports": ports}]})
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<(bool, u16), SocketAddr>)) {
        change(&mut self.0.lock().expect("nothing panics while it holds the list"));
    }
}

/// The doors, and who stands behind them.
pub(super) struct Doors {
    settings: Settings,
    proxy: Arc<Proxy>,
    tls: Arc<ServerConfig>,
    open: OpenDoors,
    complaints: Complaints,
    memory: Memory,
    room: Arc<Semaphore>,
    unheard: Unheard,
    stop: CancellationToken,
    /// Whether those that are open always have been opened.
    has_begun: bool,
    /// Ends those at the known ports.
    known: Option<CancellationToken>,
}

impl Doors {
    pub(super) fn new(
        settings: Settings,
        proxy: Arc<Proxy>,
        tls: Arc<ServerConfig>,
        (open, complaints): (OpenDoors, Complaints),
        stop: CancellationToken,
    ) -> Doors {
        let memory = Memory::read(&settings.memory);
        Doors {
            settings,
            proxy,
            tls,
            open,
            complaints,
            memory,
            room: Arc::new(Semaphore::new(CLIENTS)),
            unheard: Unheard::new(UNHEARD),
            stop,
            has_begun: false,
            known: None,
        }
    }

    /// Whoever answers behind them.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Opens what is to be open.
    pub(super) async fn settle(&mut self, has_ingresses: bool) {
        let wanted = [self.settings.http, self.settings.https];
        if !self.has_begun {
            self.has_begun = true;
            for (is_tls, wanted) in [false, true].into_iter().zip(wanted) {
                self.begin(is_tls, wanted).await;
            }
        }
        if !has_ingresses {
            self.known.take().into_iter().for_each(|known| known.cancel());
            return;
        }
        if self.known.is_none() {
            let stop = self.stop.child_token();
            for (is_tls, wanted) in [false, true].into_iter().zip(wanted) {
                if wanted.is_none()
                    && let Err(error) = self.open_first(is_tls, &[KNOWN[usize::from(is_tls)]], &stop).await
                {
                    tracing::debug!(%error, is_tls, "the known port is not open");
                }
            }
            self.known = Some(stop);
        }
    }

    /// Opens a door that is open always: at the port that the settings name, else at that of the last time, else at the one that people
    /// know, else at any; and says so where it is not one that people know.
    async fn begin(&mut self, is_tls: bool, wanted: Option<u16>) {
        let known = UNPRIVILEGED[usize::from(is_tls)];
        let ports = match wanted {
            Some(port) => vec![port],
            None => self.memory.port(is_tls).into_iter().chain([known, 0]).collect(),
        };
        let (scheme, about) = [("http", "ingress-http"), ("https", "ingress-https")][usize::from(is_tls)];
        let opened = self.open_first(is_tls, &ports, &self.stop.child_token()).await;
        let sentence = match (opened, wanted) {
            (Ok(port), None) => {
                if let Err(error) = self.memory.keep(is_tls, port) {
                    tracing::warn!(%error, "the next node may serve Ingresses at another port");
                }
                (port != known).then(|| {
                    format!(
                        "Ingresses and {scheme}://SERVICE.NAMESPACE.localhost are served at port {port}, now and by later nodes: {known} was \
                         another's; ingress.{scheme}Port in the settings chooses"
                    )
                })
            }
            (Ok(_), Some(_)) => None,
            (Err(error), _) => Some(format!(
                "Ingresses are not served by {scheme}: port {}: {error}",
                ports[0]
            )),
        };
        if let Some(sentence) = &sentence {
            tracing::warn!("{sentence}");
        }
        self.complaints.set(about, sentence);
    }

    /// Opens the first of the ports that can be had, at both families' loopback if no address is said, and returns it.
    async fn open_first(&self, is_tls: bool, ports: &[u16], stop: &CancellationToken) -> io::Result<u16> {
        let ip = self.settings.address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for port in ports {
            let listener = match TcpListener::bind((ip, *port)).await {
                Ok(listener) => listener,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            let address = listener.local_addr()?;
            let port = address.port();
            let mut listeners = vec![listener];
            if self.settings.address.is_none() {
                // `localhost` is an address of IPv6 first, where there is that.
                listeners.extend(TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok());
            }
            self.open.change(|open| {
                open.insert((is_tls, port), address);
            });
            for listener in listeners {
                let door = Door {
                    proxy: self.proxy.clone(),
                    tls: is_tls.then(|| TlsAcceptor::from(self.tls.clone())),
                    room: self.room.clone(),
                    unheard: self.unheard.clone(),
                    complaints: self.complaints.clone(),
                    port,
                    stop: stop.clone(),
                };
                let open = self.open.clone();
                tokio::spawn(async move {
                    door.serve(listener).await;
                    open.change(|open| {
                        open.remove(&(is_tls, port));
                    });
                });
            }
            return Ok(port);
        }
        Err(last)
    }
}

struct Door {
    proxy: Arc<Proxy>,
    tls: Option<TlsAcceptor>,
    room: Arc<Semaphore>,
    unheard: Unheard,
    complaints: Complaints,
    port: u16,
    stop: CancellationToken,
}

impl Door {
    /// Lets clients in until it is told to stop.
    async fn serve(self, listener: TcpListener) {
        let mut clients = JoinSet::new();
        loop {
            let next = async {
                let permit = self.room().await;
                listener.accept().await.map(|(stream, client)| (stream, client, permit))
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                came = next => match came {
                    Ok((stream, client, permit)) => {
                        let arrival = self.arrival(client.ip(), permit);
                        let guest = self.unheard.enter();
                        clients.spawn(serve_client(self.proxy.clone(), self.tls.clone(), stream, arrival, guest));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a client was not let in");
                        sleep(SHORTAGE).await;
                    }
                },
                Some(_) = clients.join_next() => {}
            }
        }
    }

    /// A place for a client. That there is none is complained of for as long as it is so.
    async fn room(&self) -> OwnedSemaphorePermit {
        const ABOUT: &str = "ingress-room";
        if let Ok(permit) = self.room.clone().try_acquire_owned() {
            return permit;
        }
        let sentence = format!("{CLIENTS} clients of Ingresses are connected, as many as there may be: others wait");
        tracing::warn!("{sentence}");
        self.complaints.set(ABOUT, Some(sentence));
        let permit = self.room.clone().acquire_owned().await.expect("is never closed");
        self.complaints.set(ABOUT, None);
        permit
    }

    fn arrival(&self, client: IpAddr, permit: OwnedSemaphorePermit) -> Arrival {
        Arrival {
            client: client.to_canonical(),
            is_tls: self.tls.is_some(),
            port: self.port,
            permit: Arc::new(permit),
            stop: self.stop.clone(),
        }
    }
}

async fn serve_client(proxy: Arc<Proxy>, tls: Option<TlsAcceptor>, stream: TcpStream, arrival: Arrival, guest: Guest) {
    crate::os::tune(&stream);
    let own = guest.clone();
    let serve = async {
        match tls {
            None => {
                if let Ok(Ok(is_http2)) = timeout(HEAD, begins_http2(&stream)).await {
                    serve_http(proxy, stream, is_http2, arrival, own).await;
                }
            }
            Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve_http(proxy, stream, is_http2, arrival, own).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on TLS"),
                Err(_elapsed) => {}
            },
        }
    };
    tokio::select! {
        () = serve => {}
        () = guest.sent_away() => tracing::debug!("a client that said nothing has left its place to another"),
    }
}

/// Whether a client without TLS begins as in HTTP/2.
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut first).await?;
        let seen = &first[..length];
        if length == first.len() || !PREFACE.starts_with(seen) || length == 0 {
            return Ok(seen == PREFACE);
        }
        // The rest is on its way; looking at once would only turn in a circle.
        sleep(Duration::from_millis(5)).await;
    }
}

async fn serve_http(
    proxy: Arc<Proxy>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    is_http2: bool,
    arrival: Arrival,
    guest: Guest,
) {
    let service = service_fn(move |request| {
        guest.is_heard();
        let (proxy, arrival) = (proxy.clone(), arrival.clone());
        async move { Ok::<_, std::convert::Infallible>(proxy.answer(request, &arrival).await) }
    });
    let stream = TokioIo::new(stream);
    let served = match is_http2 {
        true => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(ALIVE)
                .max_concurrent_streams(STREAMS)
                .max_header_list_size(u32::try_from(LONGEST_HEAD).expect("32 KiB"))
                .serve_connection(stream, service)
                .await
        }
        false => {
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(LONGEST_HEAD)
                .serve_connection(stream, service)
                .with_upgrades()
                .await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a client's connection broke");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn doors_are_told_as_people_type_them() {
        let open = OpenDoors::default();
        assert_eq!(open.status(), json!({}));
        open.change(|open| {
            for (is_tls, port) in [(false, 80), (false, 10_080), (true, 10_443)] {
                open.insert((is_tls, port), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
        });
        assert_eq!(
            open.list(),
            ["http://localhost", "http://localhost:10080", "https://localhost:10443"]
        );
        let port = |port: u16| json!({"port": port, "protocol": "TCP"});
        let ports = [port(80), port(10_080), port(10_443)];
        assert_eq!(open.status(), json!({"ingress": [{"ip": "127.0.0.1", "ports": ports}]}));
    }

    #[tokio::test]
    async fn a_client_is_known_by_its_first_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        for (parts, expected) in [
            (vec!["GET / HTTP/1.1\r\n"], false),
            (vec!["PRI * HTTP/2.0\r\n"], true),
            (vec!["P", "RI * HTTP/2.0\r\n"], true),
            (vec!["P", "OST / HTTP/1.1\r\n"], false),
            (vec![], false),
        ] {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (mut client, (stream, _)) = (client.expect("connects"), accepted.expect("accepts"));
            let send = async move {
                for part in &parts {
                    client.write_all(part.as_bytes()).await.expect("writes");
                    tokio::task::yield_now().await;
                }
                client.shutdown().await.expect("ends");
                client
            };
            let (seen, _client) = tokio::join!(begins_http2(&stream), send);
            assert_eq!(seen.expect("sees"), expected);
        }
    }
}
