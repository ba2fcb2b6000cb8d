//! `proxy`: HTTP to what listens in a pod or behind a Service, and to the node, through the API
//! (`pkg/registry/core/pod/rest/subresources.go`, `.../service/storage/rest.go`).
//!
//! What goes through is not looked at. What was said to the API alone, who asks and for whom, is left out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Api;
use super::body::{self, Answer, Body};
use super::error::ApiError;
use super::request::Target;
use crate::access::rights::{Caller, Deed};
use crate::admit::apply::shown;
use crate::model::{Object, SERVICE_NAME, kind, list_at, number_at};
use crate::net::Protocol;
use crate::os::tls_to_anyone;
use crate::runtime::{PodUid, RuntimeError, words};
use crate::service::{backends, number};

/// Headers that are about one connection only (RFC 9110, 7.6.1).
const OF_CONNECTIONS: [HeaderName; 7] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A path through the API to something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passage {
    target: Target,
    /// Whether TLS is spoken there.
    is_tls: bool,
    /// The port's name or number; empty for the first one.
    port: String,
    /// The path there, without its first slash, as the client wrote it; `None` where even that slash is missing.
    path: Option<String>,
}

impl Passage {
    /// Reads `/api/v1/namespaces/default/services/web:http/proxy/index.html` and its like; `None` if it is no such path.
    ///
    /// # Errors
    /// 400 for a scheme that is not spoken.
    pub(super) fn parse(path: &str) -> Option<Result<Self, ApiError>> {
        let rest = path.strip_prefix("/api/v1/")?;
        let in_namespace = rest.starts_with("namespaces/");
        let pieces: Vec<&str> = rest.splitn(if in_namespace { 6 } else { 4 }, '/').collect();
        let (plural, named, rest) = match pieces.as_slice() {
            [
                "namespaces",
                _,
                plural @ ("pods" | "services"),
                named,
                "proxy",
                rest @ ..,
            ]
            | [plural @ "nodes", named, "proxy", rest @ ..] => (*plural, *named, rest),
            _ => return None,
        };
        let named = named.replace("%3A", ":").replace("%3a", ":");
        let parts: Vec<&str> = named.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => {
                return Some(Err(ApiError::bad_request(format!(
                    "invalid {plural} request {named:?}"
                ))));
            }
        };
        if !["", "http", "https"].contains(&scheme) {
            return Some(Err(ApiError::bad_request(format!(
                "invalid {plural} request {named:?}"
            ))));
        }
        let place = if in_namespace {
            format!("namespaces/{}/", pieces[1])
        } else {
            String::new()
        };
        let target = Target::parse(&format!("/api/v1/{place}{plural}/{name}/proxy"))?;
        Some(Ok(Self {
            target,
            is_tls: scheme == "https",
            port: port.to_owned(),
            path: rest.first().map(|rest| (*rest).to_owned()),
        }))
    }

    /// What going through does: by the method, as upstream.
    fn deed(&self, method: &Method) -> Deed {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "get",
        };
        Deed {
            verb: verb.to_owned(),
            resource: self.target.kind.plural.to_owned(),
            subresource: "proxy".to_owned(),
            namespace: self.target.namespace.clone().unwrap_or_default(),
            name: self.target.name.clone().unwrap_or_default(),
            ..Deed::default()
        }
    }
}

impl Api {
    /// Passes a request on, and the answer back.
    pub(super) async fn pass(&self, passage: Passage, caller: &Caller, request: Request<Incoming>) -> Answer {
        self.authorize(caller, &passage.deed(request.method()))?;
        let key = passage.target.key()?;
        let object = self.store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
        if key.kind().kind == "Node" {
            return self
                .node_answer(&object, passage.path.as_deref().unwrap_or_default())
                .await;
        }
        let Some(path) = &passage.path else {
            // Links in what comes back are relative to it.
            return moved(request.uri());
        };
        let stream = match key.kind().kind {
            "Pod" => self.pod_stream(&object, &passage.port).await?,
            _ => self.service_stream(&object, &passage.port).await?,
        };
        let address = stream
            .peer_addr()
            .map_err(|error| ApiError::unavailable(error.to_string()))?;
        if !passage.is_tls {
            return exchange(stream, address, path, request).await;
        }
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(tls_to_anyone()).connect(name, stream).await;
        let stream =
            stream.map_err(|error| ApiError::unavailable(format!("error trying to reach service: {error}")))?;
        exchange(stream, address, path, request).await
    }

    async fn pod_stream(&self, pod: &Object, port: &str) -> Result<TcpStream, ApiError> {
        let port = match port {
            "" => plan_pod_port(pod),
            port => port.parse().ok().filter(|port| *port > 0),
        };
        let port = port.ok_or_else(|| ApiError::bad_request("the pod's port is not a number"))?;
        let ip: IpAddr = pod
            .text("/status/podIP")
            .parse()
            .map_err(|_| ApiError::unavailable("address not allocated"))?;
        let uid = PodUid(pod.uid().to_owned());
        let address = SocketAddr::new(ip, port);
        self.runtime
            .connect(&uid, address)
            .await
            .map_err(|error| unreached(address, error))
    }

    async fn service_stream(&self, service: &Object, port: &str) -> Result<TcpStream, ApiError> {
        let key = service.key();
        let nobody = || ApiError::unavailable(format!("no endpoints available for service {:?}", key.name));
        let name = plan_service_port(service, port).ok_or_else(nobody)?;
        let of = kind("discovery.k8s.io/v1", "EndpointSlice").expect("in the table");
        let mut slices = self.store.list(of, Some(&key.namespace)).items;
        slices.retain(|slice: &Arc<Object>| slice.labels().get(SERVICE_NAME) == Some(&key.name.as_str()));
        let backends: Vec<_> = backends(&name, Protocol::Tcp, &slices).into_iter().collect();
        // Each request may go elsewhere; which one does not matter, only that it is not always the same.
        let turn = usize::try_from(uuid::Uuid::new_v4().as_u128() & 0xffff).expect("sixteen bits");
        let chosen = backends.get(turn % backends.len().max(1)).ok_or_else(nobody)?;
        // Whoever may write endpoints must not reach by them what only the host's own programs can.
        let is_link_local = match chosen.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if chosen.ip.is_loopback() || is_link_local || chosen.ip.is_unspecified() {
            return Err(ApiError::bad_request("address not allowed"));
        }
        let address = SocketAddr::new(chosen.ip, chosen.port);
        self.runtime
            .dial(address)
            .await
            .map_err(|error| unreached(address, error))
    }

    /// What kubelet says of itself, as far as there is a kubelet here.
    async fn node_answer(&self, node: &Object, path: &str) -> Answer {
        match path.trim_end_matches('/') {
            "healthz" => Ok(body::typed(StatusCode::OK, "text/plain", body::whole("ok"))),
            "stats/summary" => self.summary(node).await,
            "pods" => {
                let pods = self.store.list(kind("v1", "Pod").expect("in the table"), None);
                let items: Vec<Value> = pods.items.iter().map(|pod| shown(pod.value().clone())).collect();
                let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
                Ok(body::json(StatusCode::OK, &list))
            }
            _ => Err(ApiError::no_such_path()),
        }
    }
}

/// The port of a pod that names none: the first that it has.
fn plan_pod_port(pod: &Object) -> Option<u16> {
    let containers = list_at(pod.value(), "/spec/containers").iter();
    let mut ports = containers.flat_map(|container| list_at(container, "/ports"));
    ports.next().map_or(Some(80), |port| number(&port["containerPort"]))
}

/// The name of the Service's port that a client means by a name or number; a Service with one port need not be told which.
fn plan_service_port(service: &Object, asked: &str) -> Option<String> {
    let ports = list_at(service.value(), "/spec/ports");
    let is_it = |port: &&Value| match asked {
        "" => ports.len() == 1 || port["name"] == "",
        asked => port["name"] == asked || number_at(port, "/port").to_string() == asked,
    };
    let port = ports.iter().find(is_it)?;
    Some(port["name"].as_str().unwrap_or_default().to_owned())
}

fn unreached(address: SocketAddr, error: RuntimeError) -> ApiError {
    let why = match error {
        RuntimeError::Connect(error) => format!("connect: {}", words(&error)),
        other => other.to_string(),
    };
    ApiError::unavailable(format!("error trying to reach service: dial tcp {address}: {why}"))
}

fn moved(uri: &Uri) -> Answer {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let place = HeaderValue::from_str(&format!("{}/{query}", uri.path()));
    let mut answer = body::typed(StatusCode::MOVED_PERMANENTLY, "text/plain", body::whole(""));
    answer.headers_mut().insert(
        LOCATION,
        place.map_err(|error| ApiError::bad_request(error.to_string()))?,
    );
    Ok(answer)
}

/// One request over one connection; where both sides want it, another protocol after it.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    path: &str,
    mut request: Request<Incoming>,
) -> Answer {
    let failed = |error: hyper::Error| ApiError::unavailable(format!("error trying to reach service: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // It ends with the answer's body, or when nobody wants that any more.
    tokio::spawn(connection.with_upgrades());
    let ours = hyper::upgrade::on(&mut request);
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let uri = format!("/{path}{query}")
        .parse()
        .map_err(|error: http::uri::InvalidUri| ApiError::bad_request(error.to_string()))?;
    *request.uri_mut() = uri;
    plan_headers(request.headers_mut(), &address.to_string());
    let mut answer = sender.send_request(request).await.map_err(failed)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(&mut answer);
        tokio::spawn(join(ours, theirs));
        return Ok(answer.map(|_| body::whole("")));
    }
    for name in &OF_CONNECTIONS {
        answer.headers_mut().remove(name);
    }
    Ok(answer.map(passed))
}

fn passed(body: Incoming) -> Body {
    body.map_err(std::io::Error::other).boxed_unsync()
}

/// Leaves out what is for us, or for this connection only; a wish for another protocol is passed on.
fn plan_headers(headers: &mut HeaderMap, host: &str) {
    let upgrade = headers.get(UPGRADE).cloned();
    OF_CONNECTIONS
        .iter()
        .chain([&AUTHORIZATION])
        .for_each(|name| drop(headers.remove(name)));
    let for_us: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for_us.iter().for_each(|name| drop(headers.remove(name)));
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(HOST, host);
    }
}

async fn join(ours: OnUpgrade, theirs: OnUpgrade) {
    let both: Result<(Upgraded, Upgraded), hyper::Error> = async { Ok((ours.await?, theirs.await?)) }.await;
    if let Ok((ours, theirs)) = both {
        // Who ends first ends both; there is nobody left to tell of an error.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_through_the_api_name_a_port_and_a_path() {
        let parsed = |path: &str| {
            let passage = Passage::parse(path)?.ok()?;
            let (kind, name) = (passage.target.kind.plural, passage.target.name.unwrap_or_default());
            let namespace = passage.target.namespace.unwrap_or_default();
            let tls = if passage.is_tls { "tls " } else { "" };
            Some(format!(
                "{kind} {namespace}/{name} {tls}{} {:?}",
                passage.port, passage.path
            ))
        };
        let text = |text: &str| Some(text.to_owned());
        for (path, expected) in [
            ("/api/v1/namespaces/a/pods/web/proxy", text("pods a/web  None")),
            (
                "/api/v1/namespaces/a/pods/web:80/proxy/",
                text("pods a/web 80 Some(\"\")"),
            ),
            (
                "/api/v1/namespaces/a/pods/web:80/proxy/x/y%2Fz",
                text("pods a/web 80 Some(\"x/y%2Fz\")"),
            ),
            (
                "/api/v1/namespaces/a/services/http:web:http/proxy/",
                text("services a/web http Some(\"\")"),
            ),
            ("/api/v1/nodes/n/proxy/healthz", text("nodes /n  Some(\"healthz\")")),
            ("/api/v1/namespaces/a/pods/web/log", None),
            (
                "/api/v1/namespaces/a/services/https:web:1/proxy/",
                text("services a/web tls 1 Some(\"\")"),
            ),
            ("/api/v1/namespaces/a/services/ftp:web:1/proxy/", None),
            ("/api/v1/namespaces/a/configmaps/web/proxy/", None),
            ("/apis/apps/v1/nodes/n/proxy/", None),
        ] {
            assert_eq!(parsed(path), expected, "{path}");
        }
    }

    #[test]
    fn a_services_port_is_meant_by_name_or_number() {
        let service = |ports: Value| {
            let metadata = json!({"name": "web", "namespace": "default"});
            let value = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}});
            Object::new(value).expect("a Service")
        };
        let one = service(json!([{"port": 80}]));
        let two = service(json!([{"name": "http", "port": 80}, {"name": "admin", "port": 81}]));
        for (service, asked, expected) in [
            (&one, "", Some("")),
            (&one, "80", Some("")),
            (&one, "81", None),
            (&two, "", None),
            (&two, "admin", Some("admin")),
            (&two, "81", Some("admin")),
        ] {
            assert_eq!(plan_service_port(service, asked).as_deref(), expected, "{asked}");
        }
    }

    #[test]
    fn what_is_said_to_the_api_alone_goes_no_further() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer x"),
            ("impersonate-user", "x"),
            ("te", "trailers"),
            ("accept", "a/b"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        plan_headers(&mut headers, "10.0.0.1:80");
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(
            (left.len(), &headers["accept"], &headers["host"]),
            (
                2,
                &HeaderValue::from_static("a/b"),
                &HeaderValue::from_static("10.0.0.1:80")
            )
        );
    }
}
