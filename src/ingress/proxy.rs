//! One request: where it leads, what its headers become, and what the client is told when nobody answers.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::dial::Dialer;
use super::routes::{Backend, Routes};
use super::upstream::{Failure, SharedBody, Upstream};

/// What a client is answered: what the endpoint says, or why it says nothing.
pub(super) type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Where those who pass requests on leave their names, so that they know them again (RFC 8586). Not `via`: some servers do not compress for it.
const LOOP: &str = "cdn-loop";
const OWN_NAME: &str = "kubelocal";
/// How often a request may come by: an Ingress may lead to another one, by a name of the outside.
const MOST_PASSES: usize = 4;

/// Headers that are about one connection and not about the request (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// How a request came in.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) client: IpAddr,
    pub(super) is_tls: bool,
    pub(super) port: u16,
    /// Held for as long as anything of the connection lives.
    pub(super) permit: Arc<OwnedSemaphorePermit>,
    pub(super) stop: CancellationToken,
}

/// Answers requests.
pub(super) struct Proxy {
    routes: watch::Receiver<Arc<Routes>>,
    upstream: Upstream,
}

impl Proxy {
    pub(super) fn new(routes: watch::Receiver<Arc<Routes>>, dialer: Dialer) -> Proxy {
        Proxy {
            routes,
            upstream: Upstream::new(dialer),
        }
    }

    /// See [`Upstream::keep_only`].
    pub(super) fn forget_endpoints(&self) {
        let routes = self.routes.borrow().clone();
        self.upstream.keep_only(|endpoint| {
            let mut backends = routes.backends();
            backends.any(|backend| backend.endpoints.contains(endpoint))
        });
    }

    /// Answers a request. Nothing fails: what does is an answer.
    pub(super) async fn answer(&self, mut request: Request<Incoming>, arrival: &Arrival) -> Answer {
        if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
            return said(
                StatusCode::BAD_REQUEST,
                "a request names one host (RFC 9112, section 3.2)",
            );
        }
        if passes(request.headers()) >= MOST_PASSES {
            return said(StatusCode::LOOP_DETECTED, "Ingresses lead to each other in a circle");
        }
        let host = host_of(&request).to_owned();
        let routes = self.routes.borrow().clone();
        let Some(backend) = routes.find(&host, request.uri().path()) else {
            return said(
                StatusCode::NOT_FOUND,
                &format!("no Ingress and no Service is for {host:?} and this path"),
            );
        };
        if backend.endpoints.is_empty() {
            return said(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("no endpoint of {} is ready", backend.name),
            );
        }
        let upgrade = wants_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        forward_headers(&mut head.headers, &host, arrival, upgrade.is_some());
        let body = SharedBody::new(body);
        match self.send(backend, &head, body).await {
            Ok(response) => take(response, upgrade, arrival),
            Err(failure) => {
                tracing::debug!(backend = backend.name, %failure, "a request is not answered");
                said(StatusCode::BAD_GATEWAY, &format!("{} {failure}", backend.name))
            }
        }
    }

    async fn send(
        &self,
        backend: &Backend,
        head: &http::request::Parts,
        body: SharedBody,
    ) -> Result<Response<Incoming>, Failure> {
        let mut last = Failure::Unreached("it has no endpoint".to_owned());
        for endpoint in backend.turn() {
            match self.upstream.send(&endpoint, backend.speech, head, body.clone()).await {
                Err(failure @ Failure::Unreached(_)) if body.is_whole() => last = failure,
                answered => return answered,
            }
        }
        Err(last)
    }
}

/// Passes an answer on. After a change of protocols bytes are carried until one side ends.
fn take(mut response: Response<Incoming>, upgrade: Option<OnUpgrade>, arrival: &Arrival) -> Answer {
    let has_changed = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(client) = upgrade.filter(|_| has_changed) {
        let server = hyper::upgrade::on(&mut response);
        let (permit, stop) = (arrival.permit.clone(), arrival.stop.clone());
        tokio::spawn(async move {
            let carried = async {
                if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    // Who hangs up has said all.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            };
            stop.run_until_cancelled(carried).await;
            drop(permit);
        });
    } else {
        remove_hop_by_hop(response.headers_mut());
    }
    *response.version_mut() = Version::HTTP_11;
    response.map(Either::Left)
}

fn said(status: StatusCode, why: &str) -> Answer {
    let mut response = Response::new(Either::Right(Full::from(format!("{status}: {why}\n"))));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// The host that a request is for.
fn host_of<T>(request: &Request<T>) -> &str {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let of_uri = request.uri().authority().map(http::uri::Authority::as_str);
    // In HTTP/2, and in a request to a proxy, the URI says it.
    of_uri.or(named).unwrap_or_default()
}

fn wants_upgrade<T>(request: &Request<T>) -> bool {
    let words = request.headers().get_all(header::CONNECTION).iter();
    let mut words = words
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    request.version() == Version::HTTP_11
        && request.headers().contains_key(header::UPGRADE)
        && words.any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// What the endpoint is told: the host as the client called it, and who asked how. What the client says of itself there is not passed on.
fn forward_headers(headers: &mut HeaderMap, host: &str, arrival: &Arrival, is_upgrade: bool) {
    let upgrade = headers.get(header::UPGRADE).filter(|_| is_upgrade).cloned();
    let has_trailers = headers
        .get(header::TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    remove_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    // gRPC asks for it.
    if has_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let scheme = if arrival.is_tls { "https" } else { "http" };
    let said = [
        ("host", host.to_owned()),
        ("x-forwarded-for", arrival.client.to_string()),
        ("x-real-ip", arrival.client.to_string()),
        ("x-forwarded-host", host.to_owned()),
        ("x-forwarded-port", arrival.port.to_string()),
        ("x-forwarded-proto", scheme.to_owned()),
    ];
    headers.remove("forwarded");
    headers.append(LOOP, HeaderValue::from_static(OWN_NAME));
    for (name, value) in said {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// How often a request has come by here.
fn passes(headers: &HeaderMap) -> usize {
    headers.get_all(LOOP).iter().filter(|name| *name == OWN_NAME).count()
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter();
    let named = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let named: Vec<HeaderName> = named.filter_map(|name| name.trim().parse().ok()).collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::sync::Semaphore;

    use super::*;

    fn arrival() -> Arrival {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("there is room");
        Arrival {
            client: Ipv4Addr::LOCALHOST.into(),
            is_tls: true,
            port: 443,
            permit: Arc::new(permit),
            stop: CancellationToken::new(),
        }
    }

    fn forwarded(pairs: &[(&'static str, &'static str)], is_upgrade: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        forward_headers(&mut headers, "web.example:443", &arrival(), is_upgrade);
        headers
    }

    #[test]
    fn the_endpoint_is_told_who_asks_and_not_what_the_client_claims() {
        let headers = forwarded(
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("accept", "a/b"),
            ],
            false,
        );
        for (name, value) in [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-host", "web.example:443"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "https"),
            ("host", "web.example:443"),
            ("accept", "a/b"),
        ] {
            assert_eq!(headers.get(name).and_then(|v| v.to_str().ok()), Some(value), "{name}");
        }
        assert!(!headers.contains_key("forwarded"));
        assert_eq!(
            (
                passes(&headers),
                passes(&forwarded(&[("cdn-loop", "kubelocal")], false))
            ),
            (1, 2)
        );
    }

    #[test]
    fn what_is_about_one_connection_stays_there() {
        let pairs = [
            ("connection", "close, X-Own"),
            ("x-own", "1"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
        ];
        let headers = forwarded(&pairs, false);
        for name in ["connection", "x-own", "te", "transfer-encoding", "upgrade"] {
            assert!(!headers.contains_key(name), "{name}");
        }
        let socket = forwarded(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], true);
        assert_eq!(
            (socket["connection"].as_bytes(), socket["upgrade"].as_bytes()),
            (&b"upgrade"[..], &b"websocket"[..])
        );
        assert_eq!(forwarded(&[("te", "trailers")], false)["te"], "trailers");
    }

    #[test]
    fn only_http_1_changes_protocols_and_only_if_both_headers_say_so() {
        let request = |connection: &'static str, upgrade: bool, version: Version| {
            let mut request = Request::new(());
            *request.version_mut() = version;
            request
                .headers_mut()
                .insert("connection", HeaderValue::from_static(connection));
            if upgrade {
                request
                    .headers_mut()
                    .insert("upgrade", HeaderValue::from_static("websocket"));
            }
            wants_upgrade(&request)
        };
        assert!(request("Upgrade", true, Version::HTTP_11));
        assert!(request("keep-alive, upgrade", true, Version::HTTP_11));
        assert!(!request("close", true, Version::HTTP_11));
        assert!(!request("upgrade", false, Version::HTTP_11));
        assert!(!request("upgrade", true, Version::HTTP_2));
    }
}
