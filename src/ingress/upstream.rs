//! Sending a request to an endpoint, over a connection that is there already or a new one.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version, header, request};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::SendRequest;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tower::Service;

use super::dial::{Dialer, Wire};
use super::routes::{Endpoint, Speech};

/// How long a connection is kept that nobody uses, and how many for each endpoint: less than servers keep theirs.
const IDLE: Duration = Duration::from_secs(4);
const SPARE: usize = 32;

/// Why an endpoint gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It could not be connected; another one may be asked.
    #[error("can't be connected: {0}")]
    Unreached(String),
    /// The connection broke before there was an answer.
    #[error("gave no answer: {0}")]
    Broken(String),
}

/// A request's body, which a second endpoint may be sent if the first one was sent nothing of it.
#[derive(Clone)]
pub(super) struct SharedBody(Arc<Held>);

struct Held {
    // Held for one look at the next part.
    body: Mutex<Incoming>,
    is_touched: AtomicBool,
}

impl SharedBody {
    pub(super) fn new(body: Incoming) -> SharedBody {
        SharedBody(Arc::new(Held {
            body: Mutex::new(body),
            is_touched: AtomicBool::new(false),
        }))
    }

    /// Whether nothing of it was sent.
    pub(super) fn is_whole(&self) -> bool {
        !self.0.is_touched.load(Ordering::Relaxed)
    }

    fn body(&self) -> MutexGuard<'_, Incoming> {
        self.0.body.lock().expect("nothing panics while it holds a body")
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.is_touched.store(true, Ordering::Relaxed);
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

/// Connects to the endpoint that a URI names, with TLS if its scheme says so.
#[derive(Clone)]
struct Connector(Arc<Dialer>);

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Wire>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.0.clone();
        Box::pin(async move {
            let endpoint = uri
                .authority()
                .and_then(|authority| Endpoint::of_authority(authority.as_str()));
            let endpoint = endpoint.ok_or(io::ErrorKind::InvalidInput)?;
            let speech = Speech {
                is_tls: uri.scheme() == Some(&Scheme::HTTPS),
                is_http2: false,
            };
            dialer.dial(&endpoint, speech).await.map(TokioIo::new)
        })
    }
}

/// Connections to endpoints.
pub(super) struct Upstream {
    dialer: Arc<Dialer>,
    http1: Client<Connector, SharedBody>,
    // Held for a look-up or a change.
    http2: Mutex<HashMap<(Endpoint, Speech), SendRequest<SharedBody>>>,
}

impl Upstream {
    pub(super) fn new(dialer: Dialer) -> Upstream {
        let dialer = Arc::new(dialer);
        let http1 = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(SPARE)
            .pool_timer(TokioTimer::new())
            .set_host(false)
            .build(Connector(dialer.clone()));
        Upstream {
            dialer,
            http1,
            http2: Mutex::default(),
        }
    }

    /// Sends a request to an endpoint, and returns as soon as its answer begins.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        speech: Speech,
        head: &request::Parts,
        body: SharedBody,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = head.method.clone();
        *request.headers_mut() = head.headers.clone();
        *request.uri_mut() = head.uri.clone();
        if speech.is_http2 {
            *request.version_mut() = Version::HTTP_2;
            // The host is part of the URI there.
            let host = request.headers_mut().remove(header::HOST);
            let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
            *request.uri_mut() = absolute(&head.uri, authority, (endpoint, speech))?;
            let mut connection = self.connection(endpoint, speech).await?;
            let sent = connection.send_request(request).await;
            return sent.map_err(|error| Failure::Broken(error.to_string()));
        }
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = absolute(&head.uri, None, (endpoint, speech))?;
        self.http1.request(request).await.map_err(|error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            match error.is_connect() {
                true => Failure::Unreached(why),
                false => Failure::Broken(why),
            }
        })
    }

    /// A connection that many requests share.
    async fn connection(&self, endpoint: &Endpoint, speech: Speech) -> Result<SendRequest<SharedBody>, Failure> {
        let key = (endpoint.clone(), speech);
        let known = || self.http2.lock().expect("nothing panics while it holds connections");
        if let Some(connection) = known().get(&key).filter(|one| !one.is_closed()) {
            return Ok(connection.clone());
        }
        let unreached = |error: &dyn ToString| Failure::Unreached(error.to_string());
        let dialled = self.dialer.dial(endpoint, speech).await;
        let stream = dialled.map_err(|error| unreached(&error))?;
        let shaken = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(TokioIo::new(stream));
        let (connection, carry) = shaken.await.map_err(|error| unreached(&error))?;
        // It ends with its last request and its place in the table.
        let name = endpoint.authority();
        tokio::spawn(async move {
            if let Err(error) = carry.await {
                tracing::debug!(endpoint = name, %error, "a connection to an endpoint broke");
            }
        });
        let mut known = known();
        known.retain(|_, connection| !connection.is_closed());
        known.insert(key, connection.clone());
        Ok(connection)
    }

    /// Ends connections to endpoints that are none any more, once their requests are answered.
    pub(super) fn keep_only(&self, is_wanted: impl Fn(&Endpoint) -> bool) {
        let mut known = self.http2.lock().expect("nothing panics while it holds connections");
        known.retain(|(endpoint, _), _| is_wanted(endpoint));
    }
}

/// The URI with a host: the one that is given, else the endpoint.
fn absolute(uri: &Uri, authority: Option<Authority>, (endpoint, speech): (&Endpoint, Speech)) -> Result<Uri, Failure> {
    let broken = |error: http::Error| Failure::Broken(error.to_string());
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(if speech.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    // A name may have bytes that no URI has.
    let of_endpoint = || Authority::try_from(endpoint.authority()).map_err(|error| broken(error.into()));
    parts.authority = Some(authority.map_or_else(of_endpoint, Ok)?);
    parts
        .path_and_query
        .get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|error| broken(error.into()))
}
