//! Many clients at once, and clients that mean no good: nobody misses a change, nobody takes the node from others.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use kubelocal::api::serve_tls;
use kubelocal::model::{Key, kind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

#[path = "support/served.rs"]
mod served;

use served::{Rush, Served, config_map, request, rush};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_watcher_misses_a_change_or_sees_two_in_the_wrong_order() {
    let (served, ..) = Served::start().await;
    let outcome = rush(
        &served,
        Rush {
            objects: 1000,
            watchers: 20,
            writes: 2000,
            rate: None,
        },
    )
    .await;
    println!("{:.1?}", outcome.took);
    assert_eq!(outcome.anew, 0, "what is remembered is enough for so many");
}

#[tokio::test]
async fn who_reads_nothing_is_told_to_begin_anew_and_holds_nobody_up() {
    let (served, ..) = Served::start().await;
    let mut idle = UnixStream::connect(served.socket()).await.expect("listens");
    let ask = "GET /api/v1/configmaps?watch=true&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n";
    idle.write_all(ask.as_bytes()).await.expect("writes");
    // More than sockets and the store's memory of changes hold.
    for number in 0..10_000 {
        served
            .store
            .create(config_map(&format!("c{number}")))
            .expect("a free name");
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut other = served.connect().await;
    let answer = other
        .send_request(request("GET", "/api/v1/configmaps?limit=1", "", ""))
        .await
        .expect("is answered");
    assert_eq!(answer.status(), StatusCode::OK);
    let mut seen = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    let read = async {
        loop {
            let count = idle.read(&mut buffer).await.expect("reads");
            seen.extend_from_slice(&buffer[..count]);
            if count == 0 || seen.windows(7).any(|window| window == b"Expired") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .expect("it is told");
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_deep_are_refused() {
    let (served, ..) = Served::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    for (content_type, body, code) in [
        (
            "application/json",
            "x".repeat(4 << 20).into_bytes(),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        ("application/json", b"[".repeat(1 << 20), StatusCode::BAD_REQUEST),
        ("application/json", br#"{"a":"#.repeat(100_000), StatusCode::BAD_REQUEST),
        ("application/yaml", b"- ".repeat(100_000), StatusCode::BAD_REQUEST),
        (
            "application/vnd.kubernetes.protobuf",
            b"k8s\0".repeat(1000),
            StatusCode::BAD_REQUEST,
        ),
        ("application/cbor", b"x".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let mut sender = served.connect().await;
        let answer = sender
            .send_request(request("POST", path, content_type, body))
            .await
            .expect("is answered");
        assert_eq!(answer.status(), code, "{content_type}");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let status: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(status["kind"], "Status");
    }
    let deep = "[".repeat(1 << 20);
    let mut sender = served.connect().await;
    let patch = request(
        "PATCH",
        &format!("{path}/kube-root-ca.crt"),
        "application/merge-patch+json",
        deep,
    );
    assert_eq!(
        sender.send_request(patch).await.expect("is answered").status(),
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn those_who_never_finish_a_request_are_in_nobodys_way() {
    let (served, ..) = Served::start().await;
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut stream = UnixStream::connect(served.socket()).await.expect("listens");
        let begun = if number % 2 == 0 {
            "GET /api/v1/pods HTTP/1.1\r\nX-A: "
        } else {
            "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"
        };
        stream.write_all(begun.as_bytes()).await.expect("writes");
        slow.push(stream);
    }
    let mut sender = served.connect().await;
    let answer = sender
        .send_request(request("GET", "/api/v1/pods", "", ""))
        .await
        .expect("is answered");
    assert_eq!(answer.status(), StatusCode::OK);
}

/// A request over TLS with this certificate and token; what came back, or why nothing did.
async fn ask(port: u16, config: ClientConfig, token: Option<&str>) -> Result<String, std::io::Error> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let token = token
        .map(|token| format!("Authorization: Bearer {token}\r\n"))
        .unwrap_or_default();
    let head = format!("GET /api/v1/namespaces/default/pods HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn trusting(authority: &str) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM"))
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("ring has them").with_root_certificates(roots)
}

#[tokio::test]
async fn only_a_certificate_of_ours_or_a_token_opens_the_port() {
    let (served, api, access) = Served::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let config = access.server_config().expect("certificates");
    let (_newest, tls) = tokio::sync::watch::channel(config);
    tokio::spawn(serve_tls(api, listener, tls, CancellationToken::new()));
    let authority = access.authority_certificate();
    let nobody = || trusting(authority).with_no_client_auth();
    for token in [None, Some("x"), Some("a.b.c"), Some("")] {
        let answer = ask(port, nobody(), token).await.expect("is answered");
        assert!(
            answer.starts_with("HTTP/1.1 401") && answer.contains("Unauthorized"),
            "{token:?}: {answer}"
        );
    }
    let accounts = kind("v1", "ServiceAccount").expect("in the table");
    let account = served
        .store
        .get(&Key::new(accounts, "default", "default"))
        .expect("is made at the start");
    let key = access.token_key().expect("a key");
    let wanted = kubelocal::access::token::Wanted {
        account: &account,
        bound: None,
        audiences: &[],
        seconds: 600,
    };
    let token = key.sign(wanted, jiff::Timestamp::now()).expect("signs").text;
    let answer = ask(port, nobody(), Some(&token)).await.expect("is answered");
    assert!(
        answer.starts_with("HTTP/1.1 403"),
        "an account without roles is known, and may nothing: {answer}"
    );
    served.store.remove(account.key(), account.uid()).expect("is there");
    let answer = ask(port, nobody(), Some(&token)).await.expect("is answered");
    assert!(
        answer.starts_with("HTTP/1.1 401"),
        "a token ends with its account: {answer}"
    );
    // A certificate of another authority.
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("makes one");
    let (certificate, key) = (
        signed.cert.der().clone(),
        PrivateKeyDer::try_from(signed.signing_key.serialize_der()),
    );
    let stranger = trusting(authority)
        .with_client_auth_cert(vec![certificate], key.expect("a key"))
        .expect("fits");
    assert!(ask(port, stranger, None).await.is_err());
}
