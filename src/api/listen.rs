//! Who connects and how: the unix socket, and TLS on loopback with certificates on both sides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::entry::Connection;

/// How long a client may take to prove who it is. On loopback that takes a millisecond.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many may be proving it at once. Other users of the machine can connect too, and must neither take all descriptors nor the
/// owner's turn: whoever comes after that many takes the place of the oldest, who would have been done long ago.
const HANDSHAKES: usize = 128;

/// How many connections there may be without a certificate. Pods that follow many kinds have one for each; other users of the machine, who
/// have no token, can take no more than these, and none of the owner's.
const STRANGERS: usize = 1024;

/// How long the head of a request may take; hyper's own figure.
const HEAD: Duration = Duration::from_secs(30);

/// Answers requests of the owner, who alone may open the socket, until `stop`; then lets those under way end.
pub async fn serve(api: Arc<Api>, listener: UnixListener, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(api.clone(), stream, Connection::Owner, stop.clone()));
                }
                Err(error) => not_accepted(&error).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Answers requests of whoever has a certificate of the authority that `tls` names, or a token, until `stop`.
pub async fn serve_tls(
    api: Arc<Api>,
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut newest = VecDeque::with_capacity(HANDSHAKES);
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let acceptor = TlsAcceptor::from(tls.borrow().clone());
                    let (api, stop, given_up) = (api.clone(), stop.clone(), stop.child_token());
                    let strangers = strangers.clone();
                    if newest.len() == HANDSHAKES {
                        let oldest: Option<CancellationToken> = newest.pop_front();
                        oldest.into_iter().for_each(|oldest| oldest.cancel());
                    }
                    newest.push_back(given_up.clone());
                    connections.spawn(async move {
                        let Some(stream) = handshake(&acceptor, stream, &given_up).await else { return };
                        if stream.get_ref().1.peer_certificates().is_some() {
                            return connection(api, stream, Connection::Owner, stop).await;
                        }
                        // Without room they come again.
                        if let Ok(_room) = strangers.try_acquire() {
                            connection(api, stream, Connection::Stranger, stop).await;
                        }
                    });
                }
                Err(error) => not_accepted(&error).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    given_up: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    // Terminals send single keys.
    let _ = stream.set_nodelay(true);
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE, acceptor.accept(stream)) => shaken,
        () = given_up.cancelled() => return None,
    };
    match shaken {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client was not let in");
            None
        }
        Err(_elapsed) => None,
    }
}

async fn not_accepted(error: &std::io::Error) {
    // Out of descriptors, most likely: others must end before the next can begin.
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn connection(
    api: Arc<Api>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    whose: Connection,
    stop: CancellationToken,
) {
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, std::convert::Infallible>(api.answer(request, whose).await) }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(http);
    let ended = tokio::select! {
        ended = http.as_mut() => ended,
        // Flows have no end of their own: they are cut, and clients connect to the next node.
        () = stop.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
