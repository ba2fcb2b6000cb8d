//! Doors, proxy and endpoints together, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::Dialer;
use super::doors::{Doors, OpenDoors};
use super::proxy::Proxy;
use super::routes::{Backend, Endpoint, Path, Routes, Speech};
use super::{Settings, tls};
use crate::access::Authority;
use crate::model::{Complaints, SystemClock};

/// Doors at ports of their own, behind which these routes are; closed when it is dropped.
struct Served {
    http: SocketAddr,
    https: SocketAddr,
    authority: Authority,
    _routes: watch::Sender<Arc<Routes>>,
    _stop: DropGuard,
}

async fn serve(routes: Routes) -> Served {
    let (sender, receiver) = watch::channel(Arc::new(routes));
    let stop = CancellationToken::new();
    let authority = Authority::for_tests(Arc::new(SystemClock));
    let settings = Settings {
        address: Some(Ipv4Addr::LOCALHOST.into()),
        http: Some(0),
        https: Some(0),
        loopback_but: None,
        memory: PathBuf::new(),
    };
    let (open, proxy) = (
        OpenDoors::default(),
        Arc::new(Proxy::new(receiver.clone(), Dialer::new(None, None))),
    );
    let config = tls::config(receiver, authority.clone());
    Doors::new(
        settings,
        proxy,
        config,
        (open.clone(), Complaints::default()),
        stop.clone(),
    )
    .settle(true)
    .await;
    let port = |scheme: &str| {
        let list = open.list();
        let url = list.iter().find(|url| url.starts_with(scheme)).expect("is open");
        let port = url.rsplit(':').next().expect("has a port").parse().expect("a number");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    Served {
        http: port("http:"),
        https: port("https:"),
        authority,
        _routes: sender,
        _stop: stop.drop_guard(),
    }
}

/// All paths of all hosts lead to these endpoints.
fn to(endpoints: impl IntoIterator<Item = SocketAddr>, app_protocol: &str) -> Routes {
    let endpoints = endpoints.into_iter().map(Endpoint::Address).collect();
    let speech = Speech::of(app_protocol).expect("is known");
    let backend = Backend::new("default/web:80".to_owned(), endpoints, speech);
    let mut routes = Routes::default();
    let path = Path {
        path: "/served".to_owned(),
        is_exact: false,
        backend: Arc::new(backend),
    };
    routes.rules.enter("", path);
    routes
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    (listener, address)
}

/// An endpoint that says what it was told.
async fn endpoint() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let heads: Vec<String> = request
                    .headers()
                    .iter()
                    .map(|(name, value)| format!("{name}: {value:?}"))
                    .collect();
                let (path, heads) = (request.uri().to_string(), heads.join("\n"));
                let body = request.into_body().collect().await?.to_bytes();
                let said = format!("{path}\n{heads}\n{}", String::from_utf8_lossy(&body));
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(said))))
            });
            let http = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(http);
        }
    });
    address
}

/// Sends text and reads all that comes.
async fn exchange(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("writes");
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.expect("reads");
    heard
}

async fn get(address: SocketAddr, path: &str) -> String {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// A port where nobody listens, and which nobody else is given as long as this process lives.
fn nobody() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("binds");
    let address = socket.local_addr().expect("is bound").as_socket().expect("of IP");
    std::mem::forget(socket);
    address
}

#[tokio::test]
async fn a_request_is_answered_by_an_endpoint_that_can_be_reached() {
    let served = serve(to([nobody(), endpoint().await, nobody()], "")).await;
    for _ in 0..6 {
        let answer = get(served.http, "/served/a?b=c").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        for line in [
            "/served/a?b=c",
            "host: \"web.example\"",
            "x-forwarded-proto: \"http\"",
            "x-forwarded-for: \"127.0.0.1\"",
        ] {
            assert!(answer.contains(line), "{line}: {answer}");
        }
        let post = "POST /served HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
        let answer = exchange(served.http, post).await;
        assert!(
            answer.ends_with("hello") && answer.starts_with("HTTP/1.1 200 OK"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn who_is_not_served_is_told_why() {
    let served = serve(to([nobody()], "")).await;
    let empty = serve(to([], "")).await;
    for (address, path, status, why) in [
        (served.http, "/other", "404", "no Ingress"),
        (served.http, "/served", "502", "can't be connected"),
        (empty.http, "/served", "503", "no endpoint of default/web:80 is ready"),
    ] {
        let answer = get(address, path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(why),
            "{answer}"
        );
    }
    let long = format!("/served/{}", "a".repeat(64 << 10));
    let mut stream = TcpStream::connect(served.http).await.expect("connects");
    let request = format!("GET {long} HTTP/1.1\r\nHost: a\r\n\r\n");
    // It may hang up before it has heard everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 12];
    if stream.read_exact(&mut answer).await.is_ok() {
        assert_eq!(answer, b"HTTP/1.1 431");
    }
}

#[tokio::test]
async fn protocols_change_and_bytes_flow_both_ways() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("reads"));
        }
        let head = String::from_utf8(head).expect("text").to_lowercase();
        assert!(
            head.contains("upgrade: websocket") && head.contains("sec-websocket-key: x"),
            "{head}"
        );
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("writes");
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let served = serve(to([address], "")).await;
    let mut client = TcpStream::connect(served.http).await.expect("connects");
    let request = "GET /served HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("reads"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(
        head.starts_with("http/1.1 101") && head.contains("sec-websocket-accept: y"),
        "{head}"
    );
    assert!(head.contains("upgrade: websocket"), "{head}");
    for word in ["ping", "pong"] {
        client.write_all(word.as_bytes()).await.expect("writes");
        let mut heard = [0; 4];
        client.read_exact(&mut heard).await.expect("reads");
        assert_eq!(heard, word.as_bytes());
    }
}

/// A client of a name, over TLS, that trusts the authority; says what was agreed on.
async fn over_tls(served: &Served, name: &'static str, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(served.authority.certificate_for_tests())
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(served.https).await.expect("connects");
    let name = ServerName::try_from(name).expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .expect("agrees")
}

#[tokio::test]
async fn any_name_has_a_certificate_of_the_nodes_authority() {
    let served = serve(to([endpoint().await], "")).await;
    for name in ["web.example", "other.example"] {
        let mut stream = over_tls(&served, name, b"http/1.1").await;
        let request = format!("GET /served HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        assert!(answer.contains("x-forwarded-proto: \"https\""), "{answer}");
    }
}

#[tokio::test]
async fn grpc_passes_with_its_trailers_over_http_2_on_both_sides() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async move {
                let asked = (
                    request.uri().authority().map(ToString::to_string),
                    request.headers().get("te").cloned(),
                );
                let body = request.into_body().collect().await?.to_bytes();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().expect("a value"));
                let frames = [
                    Frame::data(Bytes::from(format!("{asked:?} {body:?}"))),
                    Frame::trailers(trailers),
                ];
                let frames = futures::stream::iter(frames.map(Ok::<_, hyper::Error>));
                Ok::<_, hyper::Error>(Response::new(StreamBody::new(frames)))
            });
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    let served = serve(to([address], "grpc")).await;
    let tls = over_tls(&served, "grpc.example", b"h2").await;
    let plain = TcpStream::connect(served.http).await.expect("connects");
    let builder = || hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (first, carry) = builder().handshake(TokioIo::new(tls)).await.expect("begins");
    tokio::spawn(carry);
    let (second, carry) = builder().handshake(TokioIo::new(plain)).await.expect("begins");
    tokio::spawn(carry);
    for mut client in [first, second] {
        for _ in 0..2 {
            let request = Request::post("https://grpc.example/served/Call").header("te", "trailers");
            let request = request.body(Full::new(Bytes::from("hello"))).expect("a request");
            let response = client.send_request(request).await.expect("answers");
            assert_eq!(response.status(), StatusCode::OK);
            let whole = response.into_body().collect().await.expect("reads");
            assert_eq!(whole.trailers().expect("has trailers")["grpc-status"], "0");
            let text = String::from_utf8_lossy(&whole.to_bytes()).into_owned();
            assert!(
                text.contains("grpc.example") && text.contains("trailers") && text.contains("hello"),
                "{text}"
            );
        }
    }
}

/// What speaks TLS with a certificate that nobody knows, and agrees on this protocol only.
fn acceptor(protocol: &str) -> TlsAcceptor {
    let own = rcgen::generate_simple_self_signed(vec!["own.example".to_owned()]).expect("makes");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("is one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has them").with_no_client_auth();
    let mut config = config
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("fits");
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// An endpoint that speaks TLS, and HTTP as agreed; it says by which version it was asked. Who wants another protocol gets what it sends back.
async fn over_tls_only(protocol: &'static str) -> SocketAddr {
    let ((listener, address), acceptor) = (listener().await, acceptor(protocol));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = service_fn(|mut request: Request<Incoming>| async move {
                let mut response = Response::new(Full::new(Bytes::from(format!("{:?}", request.version()))));
                if request.headers().contains_key("upgrade") {
                    let upgrade = hyper::upgrade::on(&mut request);
                    tokio::spawn(async move {
                        let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.expect("changes")));
                        let _ = tokio::io::copy(&mut from, &mut to).await;
                    });
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    *response.body_mut() = Full::default();
                    for (name, value) in [("upgrade", "websocket"), ("connection", "upgrade")] {
                        response.headers_mut().insert(name, value.parse().expect("a value"));
                    }
                }
                Ok::<_, hyper::Error>(response)
            });
            let stream = TokioIo::new(stream);
            if protocol == "h2" {
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http.serve_connection(stream, service));
            } else {
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(stream, service).with_upgrades());
            }
        }
    });
    address
}

#[tokio::test]
async fn a_port_that_speaks_tls_is_spoken_to_so_whoever_signed_its_certificate() {
    for (app_protocol, protocol, version) in [("https", "http/1.1", "HTTP/1.1"), ("grpcs", "h2", "HTTP/2.0")] {
        let served = serve(to([over_tls_only(protocol).await], app_protocol)).await;
        for _ in 0..2 {
            let answer = get(served.http, "/served").await;
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.ends_with(version),
                "{answer}"
            );
        }
        // What does not speak it is not reached: nothing is sent that it could misunderstand.
        let served = serve(to([endpoint().await], app_protocol)).await;
        let answer = get(served.http, "/served").await;
        assert!(
            answer.starts_with("HTTP/1.1 502") && answer.contains("can't be connected"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn protocols_change_over_tls_too() {
    let served = serve(to([over_tls_only("http/1.1").await], "kubernetes.io/wss")).await;
    let mut client = TcpStream::connect(served.http).await.expect("connects");
    let request = "GET /served HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("reads"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    client.write_all(b"ping").await.expect("writes");
    let mut heard = [0; 4];
    client.read_exact(&mut heard).await.expect("reads");
    assert_eq!(&heard, b"ping");
}
