//! Probes against real listeners, and probers on a clock that stands still.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::runtime::fake::{FakeRuntime, Script, Verb};
use crate::runtime::{ContainerConfig, Limits, PodUid, Runtime, SandboxConfig, Seccomp, Security};

const SECOND: Duration = Duration::from_secs(1);

/// A pod with one container that runs.
async fn target(runtime: &FakeRuntime) -> Target {
    let sandbox = SandboxConfig {
        uid: PodUid("u".into()),
        namespace: "default".into(),
        name: "p".into(),
        hostname: "p".into(),
        host_network: false,
        share_pid: false,
        host_ipc: false,
        host_pid: false,
        sysctls: Default::default(),
        memory_dirs: Vec::new(),
        limits: Limits::default(),
        runtime_handler: String::new(),
    };
    let config = container_config();
    runtime.run_pod_sandbox(&sandbox).await.expect("the fake does it");
    runtime
        .create_container(&sandbox.uid, &config)
        .await
        .expect("the fake does it");
    runtime
        .start_container(&sandbox.uid, &config.id)
        .await
        .expect("the fake does it");
    Target {
        runtime: Arc::new(runtime.clone()),
        pod: PodUid("u".into()),
        run: config.id,
        ip: None,
    }
}

fn container_config() -> ContainerConfig {
    let security = Security {
        privileged: false,
        allow_privilege_escalation: false,
        read_only_rootfs: false,
        add_capabilities: Vec::new(),
        drop_capabilities: Vec::new(),
        seccomp: Seccomp::Unconfined,
        masked_paths: Vec::new(),
        read_only_paths: Vec::new(),
        apparmor: None,
        selinux: None,
    };
    ContainerConfig {
        id: ContainerId("c0".into()),
        name: "c".into(),
        attempt: 0,
        image: String::new(),
        image_id: String::new(),
        layers: Vec::new(),
        root: None,
        args: Vec::new(),
        env: Vec::new(),
        cwd: String::new(),
        user: String::new(),
        supplemental_groups: Vec::new(),
        has_strict_groups: false,
        mounts: Vec::new(),
        log_path: "/log".into(),
        stdin: false,
        stdin_once: false,
        tty: false,
        security,
        oom_score_adj: 0,
        pid_target: None,
        limits: Limits::default(),
        hooks: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

fn check(kind: ProbeKind, probe: Value) -> Check {
    let probe = serde_json::from_value(probe).expect("a probe");
    plan_check(kind, &probe, &Container::default())
}

async fn asked(probe: Value) -> Outcome {
    let runtime = FakeRuntime::new(Timestamp::UNIX_EPOCH);
    let target = target(&runtime).await;
    let check = check(ProbeKind::Readiness, probe);
    let handler = check.handler.as_ref().expect("it can be asked");
    ask(&target, handler, check.timeout).await
}

fn failure(text: impl Into<String>) -> Outcome {
    Outcome::Failure(text.into())
}

/// Answers every request with the text that `answer` makes of it. The port, and the heads of the requests.
async fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> (u16, Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("is bound").port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8(head).expect("text");
            let text = answer(&head);
            seen.lock().expect("nobody panics with it").push(head);
            // Whoever asked may have gone.
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (port, heads, task)
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn an_answer_below_400_is_a_success() {
    let (port, heads, _server) = serve(|head| {
        let path = head.split(' ').nth(1).expect("a path");
        match path {
            "/ok" => response("200 OK", "", "fine"),
            "/moved" => response("302 Found", "Location: /ok\r\n", ""),
            "/away" => response("302 Found", "Location: http://example.com/\r\n", "gone"),
            "/round" => response("302 Found", "Location: /round\r\n", ""),
            _ => response("500 Internal Server Error", "", "no"),
        }
    })
    .await;
    let get = |path: &str| asked(json!({"httpGet": {"path": path, "port": port}}));
    assert_eq!(get("/ok").await, Outcome::Success);
    assert_eq!(get("/moved").await, Outcome::Success);
    assert_eq!(
        get("/away").await,
        Outcome::Warning("Probe terminated redirects, Response body: gone".into())
    );
    assert_eq!(
        get("/round").await,
        failure(format!(
            "Get \"http://127.0.0.1:{port}/round\": stopped after 10 redirects"
        ))
    );
    assert_eq!(get("/bad").await, failure("HTTP probe failed with statuscode: 500"));
    let header = json!([{"name": "Host", "value": "web.example"}, {"name": "X-A", "value": "b"}]);
    asked(json!({"httpGet": {"path": "/ok?q=1", "port": port, "httpHeaders": header}})).await;
    let heads = heads.lock().expect("nobody panics with it");
    let last = heads.last().expect("it was asked").to_lowercase();
    let lines: Vec<_> = last.trim().split("\r\n").collect();
    assert_eq!(lines[0], "get /ok?q=1 http/1.1");
    for line in [
        "host: web.example",
        "x-a: b",
        "user-agent: kube-probe/1.37",
        "accept: */*",
        "connection: close",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
}

#[tokio::test]
async fn no_answer_is_a_failure_and_says_why() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("is bound").port();
    // Connections wait to be accepted: there is a listener, and no answer.
    assert_eq!(
        asked(json!({"httpGet": {"path": "/", "port": port}})).await,
        failure(format!(
            "Get \"http://127.0.0.1:{port}/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        ))
    );
    assert_eq!(asked(json!({"tcpSocket": {"port": port}})).await, Outcome::Success);
    drop(listener);
    let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(asked(json!({"tcpSocket": {"port": port}})).await, failure(&refused));
    assert_eq!(
        asked(json!({"tcpSocket": {"port": port, "host": "localhost"}})).await,
        failure(&refused)
    );
    assert_eq!(
        asked(json!({"httpGet": {"path": "/", "port": port}})).await,
        failure(format!("Get \"http://127.0.0.1:{port}/\": {refused}"))
    );
    let (port, _, _server) = serve(|_| "nonsense\r\n\r\n".into()).await;
    let said = asked(json!({"httpGet": {"path": "/", "port": port}})).await;
    assert!(matches!(said, Outcome::Failure(_)), "{said:?}");
}

#[tokio::test]
async fn https_takes_any_certificate() {
    let signed = rcgen::generate_simple_self_signed(["elsewhere.example".to_owned()]).expect("a certificate");
    let key = signed.signing_key.serialize_der().try_into().expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks them")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("they belong together");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("is bound").port();
    let _server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = [0; 1024];
            let answered = async {
                assert!(stream.read(&mut head).await? > 0);
                stream.write_all(response("200 OK", "", "").as_bytes()).await
            };
            answered.await.expect("the probe waits for it");
        }
    });
    let get = json!({"path": "/", "port": port, "scheme": "HTTPS"});
    assert_eq!(asked(json!({"httpGet": get})).await, Outcome::Success);
    let plain = asked(json!({"httpGet": {"path": "/", "port": port}})).await;
    assert!(matches!(plain, Outcome::Failure(_)), "{plain:?}");
}

#[tokio::test]
async fn an_endless_body_is_read_no_further_than_it_is_shown() {
    let (port, _, _server) = serve(|_| {
        let body = "x".repeat(1 << 20);
        response("302 Found", "Location: http://elsewhere/\r\n", &body)
    })
    .await;
    match asked(json!({"httpGet": {"path": "/", "port": port}})).await {
        Outcome::Warning(text) => assert!(text.len() < 11 << 10, "{}", text.len()),
        other => panic!("{other:?}"),
    }
}

/// A gRPC server that answers as `SERVING` (1) for the service `good`, with another status for `bad`, and knows no other.
async fn serve_grpc() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("is bound").port();
    let answer = |request: hyper::Request<hyper::body::Incoming>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let body = request.into_body().collect().await?.to_bytes();
        let (status, code) = match &body[5..] {
            b"\x0a\x04good" => (1, "0"),
            b"\x0a\x03bad" => (2, "0"),
            _ => (0, "5"),
        };
        let mut trailers = ::http::HeaderMap::new();
        trailers.insert("grpc-status", code.parse().expect("a value"));
        let message = Full::new(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
        let message = message.with_trailers(std::future::ready(Some(Ok(trailers))));
        let response = hyper::Response::builder().header("content-type", "application/grpc");
        Ok::<_, hyper::Error>(response.body(message).expect("it is well formed"))
    };
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A probe that has its answer hangs up.
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        }
    });
    (port, task)
}

#[tokio::test]
async fn a_grpc_health_service_must_say_serving() {
    let (port, _server) = serve_grpc().await;
    let of = |service: &str| asked(json!({"grpc": {"port": port, "service": service}}));
    assert_eq!(of("good").await, Outcome::Success);
    assert_eq!(
        of("bad").await,
        failure("service unhealthy (responded with \"NOT_SERVING\")")
    );
    assert_eq!(
        of("").await,
        failure("error: health rpc probe failed: rpc error: code = NotFound desc = ")
    );
    let (port, _, _server) = serve(|_| response("200 OK", "", "")).await;
    let said = asked(json!({"grpc": {"port": port}})).await;
    assert!(matches!(said, Outcome::Failure(_)), "{said:?}");
}

/// Everything that a prober says, with the second in which it says it.
async fn heard(mut words: UnboundedReceiver<Word>, start: Instant, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.len() < count
        && let Some(word) = words.recv().await
    {
        let text = match word {
            Word::Result { kind, passed, .. } => format!("{kind} {passed}"),
            Word::Event { reason, message, .. } => format!("{reason} {message}"),
        };
        heard.push(format!("{}: {text}", start.elapsed().as_secs()));
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn a_prober_speaks_when_the_result_changes_and_when_a_check_fails() {
    let runtime = FakeRuntime::new(Timestamp::UNIX_EPOCH);
    let prober = Prober {
        target: target(&runtime).await,
        check: check(
            ProbeKind::Readiness,
            json!({"exec": {"command": ["x"]}, "periodSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 3}),
        ),
        first: 2 * SECOND,
        known: Some(false),
    };
    let (sender, words) = unbounded_channel();
    let start = Instant::now();
    let task = tokio::spawn(run_prober(prober, sender));
    let script = |exec_code, seconds| Script {
        exec_code,
        exec_takes: Duration::from_secs(seconds),
        ..Script::default()
    };
    let changes = async {
        // Checks at 2, 7 pass; those at 12 and 17 fail; the one at 22 hangs; the one at 27 can't be made; then all is well.
        tokio::time::sleep(10 * SECOND).await;
        runtime.script("c", script(1, 0));
        tokio::time::sleep(10 * SECOND).await;
        runtime.script("c", script(0, 60));
        tokio::time::sleep(6 * SECOND).await;
        runtime.fail_next(Verb::Exec, "no such program");
        runtime.script("c", script(0, 0));
    };
    let ((), said) = tokio::join!(changes, heard(words, start, 7));
    assert_eq!(
        said,
        [
            "2: Readiness true",
            "12: Unhealthy Readiness probe failed: ",
            "17: Unhealthy Readiness probe failed: ",
            "17: Readiness false",
            "25: Unhealthy Readiness probe failed: command \"x\" timed out",
            "27: Unhealthy Readiness probe errored and resulted in unknown state: no such program",
            "32: Readiness true",
        ]
    );
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn startup_probes_end_with_their_result_and_liveness_probes_with_a_failure() {
    let runtime = FakeRuntime::new(Timestamp::UNIX_EPOCH);
    for (kind, exec_code, known, expected) in [
        (ProbeKind::Startup, 0, None, &["0: Startup true"][..]),
        (
            ProbeKind::Startup,
            1,
            None,
            &[
                "0: Unhealthy Startup probe failed: ",
                "10: Unhealthy Startup probe failed: ",
                "10: Startup false",
            ],
        ),
        (
            ProbeKind::Liveness,
            1,
            Some(true),
            &[
                "0: Unhealthy Liveness probe failed: ",
                "10: Unhealthy Liveness probe failed: ",
                "10: Liveness false",
            ],
        ),
    ] {
        runtime.script(
            "c",
            Script {
                exec_code,
                ..Script::default()
            },
        );
        let prober = Prober {
            target: target(&runtime).await,
            check: check(kind, json!({"exec": {"command": ["x"]}, "failureThreshold": 2})),
            first: Duration::ZERO,
            known,
        };
        let (sender, words) = unbounded_channel();
        let start = Instant::now();
        run_prober(prober, sender).await;
        // The sender is gone, so what is heard is all that was said; its times are of when it is read.
        let said = heard(words, start, usize::MAX).await;
        let words_of = |line: &str| line.split_once(": ").map(|(_, text)| text.to_owned());
        assert_eq!(
            said.iter().map(|line| words_of(line)).collect::<Vec<_>>(),
            expected.iter().map(|line| words_of(line)).collect::<Vec<_>>(),
            "{kind}"
        );
    }
}
