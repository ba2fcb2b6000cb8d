//! Connecting to an endpoint: an address, or a name elsewhere as the host resolves it at that moment; with TLS where its port speaks it.
//!
//! A name may lead anywhere, and whoever writes a Service is not always whoever owns the machine: by a name nobody gets into the pods' network
//! (Services have names of their own there), to neighbours that only the link knows, or to the host's loopback, unless the settings open that
//! to pods; and there never to the node's API.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::routes::{Endpoint, Speech};
use crate::model::{HOST_NAMES, is_inside, is_nowhere};
use crate::net::NodeNetwork;
use crate::os::{lookup, tls_to_anyone};

/// How long an endpoint may take to be connected: most are on this machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects. Endpoints inside are reached in the pods' network, others in the host's.
pub(super) struct Dialer {
    network: Option<Arc<NodeNetwork>>,
    /// All ports of the host's loopback but this one may be reached by names; none without it.
    loopback_but: Option<u16>,
}

/// What carries a connection.
pub(super) struct Wire(Either<TcpStream, TlsStream<TcpStream>>);

impl Dialer {
    pub(super) fn new(network: Option<Arc<NodeNetwork>>, loopback_but: Option<u16>) -> Dialer {
        Dialer { network, loopback_but }
    }

    /// Connects to an endpoint.
    ///
    /// # Errors
    /// What the system, the resolver or TLS says, or that the endpoint may not be reached.
    pub(super) async fn dial(&self, endpoint: &Endpoint, speech: Speech) -> io::Result<Wire> {
        let dialled = async {
            let stream = self.connect(endpoint).await?;
            crate::os::tune(&stream);
            if !speech.is_tls {
                return Ok(Wire(Either::Left(stream)));
            }
            // An address is not told as the server's name (RFC 6066, 3): pods are asked as other controllers ask them.
            let name = match endpoint {
                Endpoint::Address(address) => ServerName::IpAddress(address.ip().into()),
                Endpoint::Name(name, _) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            };
            let stream = TlsConnector::from(tls(speech)).connect(name, stream).await?;
            Ok(Wire(Either::Right(stream)))
        };
        timeout(PATIENCE, dialled).await.map_err(io::Error::from)?
    }

    async fn connect(&self, endpoint: &Endpoint) -> io::Result<TcpStream> {
        let (name, port) = match endpoint {
            Endpoint::Name(name, port) => (name, *port),
            Endpoint::Address(address) => {
                // A pod on the network of a host without address, or a slice that somebody wrote. Without a network all endpoints are the host's.
                let is_inner = is_inside(address.ip());
                if self.network.is_some() && !is_inner && !may_lead(address.ip(), address.port(), self.loopback_but) {
                    let why = format!("Ingresses do not lead to {address}");
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
                }
                return match self.network.as_deref().filter(|_| is_inner) {
                    Some(network) => network.connect(*address).await,
                    None => TcpStream::connect(address).await,
                };
            }
        };
        let found = match HOST_NAMES.contains(&name.as_str()) {
            true => vec![Ipv4Addr::LOCALHOST.into()],
            false => lookup(name).await?,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for ip in found {
            if !may_lead(ip, port, self.loopback_but) {
                let why = format!("names do not lead to {ip}:{port}");
                last = io::Error::new(io::ErrorKind::PermissionDenied, why);
                continue;
            }
            match TcpStream::connect(SocketAddr::new(ip, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Whether somebody may be led to an address outside of the pods' network.
fn may_lead(ip: IpAddr, port: u16, loopback_but: Option<u16>) -> bool {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return loopback_but.is_some_and(|api| api != port);
    }
    !is_nowhere(ip) && !is_inside(ip)
}

/// TLS that agrees on one protocol before: servers of gRPC insist on that.
fn tls(speech: Speech) -> Arc<ClientConfig> {
    static CONFIGS: LazyLock<[Arc<ClientConfig>; 2]> = LazyLock::new(|| {
        ["http/1.1", "h2"].map(|protocol| {
            let mut config = (*tls_to_anyone()).clone();
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            Arc::new(config)
        })
    });
    CONFIGS[usize::from(speech.is_http2)].clone()
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_outside_and_to_loopback_only_where_the_settings_open_it() {
        for (address, closed, open) in [
            ("192.0.2.1:443", true, true),
            ("[2001:db8::1]:443", true, true),
            ("127.0.0.1:5432", false, true),
            ("[::1]:5432", false, true),
            ("[::ffff:127.0.0.1]:5432", false, true),
            ("127.0.0.1:6443", false, false),
            ("[::1]:6443", false, false),
            ("0.0.0.0:80", false, false),
            ("[::]:80", false, false),
            ("169.254.169.254:80", false, false),
            ("169.254.1.2:80", false, false),
            ("[fe80::1]:80", false, false),
            ("[ff02::1]:80", false, false),
            ("10.96.0.1:443", false, false),
            ("[::ffff:10.244.0.1]:6443", false, false),
        ] {
            let address: SocketAddr = address.parse().expect("an address");
            let may = |loopback_but| may_lead(address.ip(), address.port(), loopback_but);
            assert_eq!((may(None), may(Some(6443))), (closed, open), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_is_an_address_is_held_to_the_same() {
        let dialer = Dialer::new(None, None);
        for name in ["127.0.0.1", "localhost", "10.96.0.1", "host.docker.internal"] {
            let endpoint = Endpoint::Name(name.to_owned(), 9);
            let parsed = Endpoint::of_authority(&endpoint.authority());
            assert_eq!(parsed.as_ref(), Some(&endpoint));
            let error = dialer
                .dial(&endpoint, Speech::default())
                .await
                .err()
                .expect("is refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
        }
    }
}
