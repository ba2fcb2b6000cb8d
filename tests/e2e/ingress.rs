//! Ingresses in front of real pods: by name and path, over TLS, and what they say of themselves.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

use crate::home::Home;
use crate::machine::{Machine, OUTSIDE};
use crate::manifest::{Manifest, documents, pod};

/// The port at which Ingresses are served by `http` or `https`.
fn door(home: &Home, scheme: &str) -> u16 {
    let status: Value = serde_json::from_str(&home.must("status -o json")).expect("JSON");
    let urls = status["ingress"]
        .as_array()
        .expect("is served")
        .iter()
        .filter_map(Value::as_str);
    let mut ports = urls.filter_map(|url| url.strip_prefix(&format!("{scheme}://localhost:"))?.parse().ok());
    ports.next_back().expect("has a port that needs no rights")
}

fn ask(mut stream: impl Read + Write, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    if stream.write_all(request.as_bytes()).is_ok() {
        // Who closes without a word in TLS has said all of it before.
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("is set");
    stream
}

fn get(home: &Home, host: &str, path: &str) -> String {
    ask(connect(door(home, "http")), host, path)
}

fn over_tls(home: &Home, authority: &str, host: &'static str) -> Option<String> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate");
    roots.add(authority).expect("is one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host).expect("a name");
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).expect("begins");
    let mut stream = connect(door(home, "https"));
    tls.complete_io(&mut stream).ok()?;
    Some(ask(rustls::StreamOwned::new(tls, stream), host, "/"))
}

fn web(name: &str) -> [Manifest; 2] {
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}});
    let pod = pod(name, "serve").with("/metadata/labels", json!({"app": name}));
    [pod.with("/spec/containers/0/ports", ports), Manifest(service)]
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"name": "web"}}}})
}

fn ingress(name: &str, spec: Value) -> Manifest {
    Manifest(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec}))
}

fn apply(home: &Home, manifests: impl IntoIterator<Item = Manifest>) {
    let applied = home.run_with(documents(manifests), "apply -f -");
    assert_eq!((applied.code, applied.stderr.as_str()), (0, ""));
}

#[test]
fn an_ingress_leads_by_host_and_path_to_pods_that_are_ready_and_says_where_it_is() {
    let home = Home::new();
    home.start(documents(web("one").into_iter().chain(web("two"))));
    let paths = json!([
        path("/", "Prefix", "one"),
        path("/echo", "Prefix", "two"),
        path("/none", "Exact", "gone")
    ]);
    apply(
        &home,
        [ingress(
            "site",
            json!({"rules": [{"host": "site.example", "http": {"paths": paths}}]}),
        )],
    );
    home.until("it leads to the pod", || {
        get(&home, "site.example", "/").ends_with("one\n")
    });
    assert!(get(&home, "site.example", "/echo?hello").ends_with("hello\n"));
    assert!(get(&home, "other.example", "/").starts_with("HTTP/1.1 404"));
    assert!(get(&home, "site.example", "/none").starts_with("HTTP/1.1 503"));
    let port = door(&home, "http");
    let ports = home.field("ingress site", "/status/loadBalancer/ingress/0/ports");
    assert!(ports.to_string().contains(&format!("\"port\":{port},")), "{ports}");
    let row = home.must("get ingress");
    for word in ["CLASS", "site.example", "127.0.0.1", &port.to_string()] {
        assert!(row.contains(word), "{word}: {row}");
    }
    let described = home.must("describe ingress site");
    assert!(
        described.contains("one:web (Prefix)") && described.contains("ServiceNotFound"),
        "{described}"
    );
    // A pod that goes is left alone before it is gone.
    home.must("delete pod one --wait=true");
    home.until("nobody is ready", || {
        get(&home, "site.example", "/").starts_with("HTTP/1.1 503")
    });
}

#[test]
fn a_service_answers_by_its_own_name_without_an_ingress() {
    let home = Home::new();
    home.start(documents(web("shop")));
    home.until("it answers", || {
        get(&home, "shop.default.localhost", "/").ends_with("shop\n")
    });
    assert!(get(&home, "none.default.localhost", "/").starts_with("HTTP/1.1 404"));
    home.kill_node();
    // The next node starts with the command.
    home.must("get pods");
    home.until("the next node answers", || {
        get(&home, "shop.default.localhost", "/").ends_with("shop\n")
    });
}

#[test]
fn tls_shows_the_secrets_certificate_or_one_that_the_nodes_authority_signed() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let home = Home::new();
    let own = rcgen::generate_simple_self_signed(vec!["own.example".to_owned()]).expect("makes");
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "own"},
        "data": {"tls.crt": encode(&chain), "tls.key": encode(&key)}});
    let rule = |host: &str| json!({"host": host, "http": {"paths": [path("/", "Prefix", "web")]}});
    let spec = json!({"tls": [{"hosts": ["own.example"], "secretName": "own"}, {"hosts": ["any.example"]}],
        "rules": [rule("own.example"), rule("any.example")]});
    home.start(documents(
        web("web").into_iter().chain([Manifest(secret), ingress("site", spec)]),
    ));
    home.until("the Secret's certificate is shown", || {
        over_tls(&home, &chain, "own.example").is_some_and(|answer| answer.ends_with("web\n"))
    });
    let config = home.must("kubeconfig");
    let authority = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("certificate-authority-data: "));
    let authority = base64::engine::general_purpose::STANDARD
        .decode(authority.expect("has one"))
        .expect("is base64");
    let authority = String::from_utf8(authority).expect("is PEM");
    let answer = over_tls(&home, &authority, "any.example").expect("is signed by the node");
    assert!(answer.ends_with("web\n"), "{answer}");
    assert_eq!(
        over_tls(&home, &authority, "own.example"),
        None,
        "the node did not sign this one"
    );
}

#[test]
fn the_port_of_ingresses_stays_over_restarts_and_is_told_where_it_is_not_the_usual_one() {
    let home = Home::new();
    home.start(documents(web("web")));
    let ports = |home: &Home| [door(home, "http"), door(home, "https")];
    let before = ports(&home);
    home.kill_node();
    home.must("get pods");
    home.until("the next node serves", || {
        home.run("status").stdout.contains("https://localhost:")
    });
    assert_eq!(ports(&home), before);
    let status = home.must("status");
    let is_told = status.contains(&format!("are served at port {}", before[0]));
    assert_eq!(is_told, before[0] != 10_080, "{status}");
    apply(
        &home,
        [ingress(
            "site",
            json!({"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}),
        )],
    );
    assert_eq!(home.text("ingress site", "/spec/ingressClassName"), "kubelocal");
}

#[test]
fn a_crowd_that_says_nothing_does_not_keep_others_out() {
    let home = Home::new();
    home.start(documents(web("web")));
    home.until("it answers", || {
        get(&home, "web.default.localhost", "/").ends_with("web\n")
    });
    let port = door(&home, "http");
    let silent: Vec<TcpStream> = (0..700)
        .map_while(|_| TcpStream::connect(("127.0.0.1", port)).ok())
        .collect();
    assert!(silent.len() > 300, "{} are no crowd", silent.len());
    assert!(get(&home, "web.default.localhost", "/").ends_with("web\n"));
}

#[test]
fn ingresses_of_other_classes_are_left_alone_and_told_why() {
    let home = Home::new();
    home.start(documents(web("web")));
    let spec = |class: &str| json!({"ingressClassName": class, "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}});
    apply(&home, [ingress("site", spec("nginx"))]);
    home.until("it is told", || {
        let events = home.must("get events --field-selector involvedObject.name=site");
        events.contains("NotServed") && events.contains("there is no class \"nginx\"")
    });
    assert!(get(&home, "any.example", "/").starts_with("HTTP/1.1 404"));
    let class = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
        "spec": {"controller": "kubelocal.dev/ingress"}});
    apply(&home, [Manifest(class)]);
    home.until("the class is ours now", || {
        get(&home, "any.example", "/").ends_with("web\n")
    });
    let classes = home.must("get ingressclasses");
    assert!(classes.contains("kubelocal.dev/ingress"), "{classes}");
}

#[test]
fn a_name_elsewhere_is_a_backend_as_the_host_resolves_it_and_never_the_hosts_loopback() {
    let home = Home::on(Machine::new());
    home.machine().set_resolver(&format!("nameserver {OUTSIDE}\n"));
    home.machine().serve_outside(&format!("name-server {OUTSIDE}"));
    home.machine().serve("serve --port 7777");
    home.start(documents(web("web")));
    let alias = |name: &str, other: &str| {
        let spec = json!({"type": "ExternalName", "externalName": other});
        Manifest(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))
    };
    // The paths are some that the servers know.
    let at = |path: &str, name: &str, port: u16| {
        let backend = json!({"service": {"name": name, "port": {"number": port}}});
        json!({"path": path, "pathType": "Prefix", "backend": backend})
    };
    let paths = json!([
        at("/client", "far", 80),
        at("/env", "inside", 80),
        at("/healthz", "here", 7777),
        at("/echo", "docker", 7777),
    ]);
    apply(
        &home,
        [
            alias("far", "any.example"),
            alias("here", "127.0.0.1"),
            alias("docker", "host.docker.internal"),
            alias("inside", "web.default.svc.cluster.local"),
            ingress("site", json!({"rules": [{"http": {"paths": paths}}]})),
        ],
    );
    // The doors are on the machine's loopback, where only its own programs come in.
    let (port, machine) = (door(&home, "http"), home.machine());
    let got = |path: &str| machine.said(false, &format!("fetch 127.0.0.1:{port}{path}"));
    home.until("it leads outside", || got("/client").contains("200 OK"));
    home.until("it leads to the Service that it names", || {
        got("/env").contains("200 OK")
    });
    for path in ["/healthz", "/echo"] {
        let answer = got(path);
        assert!(
            answer.contains(" 502 ") && answer.contains("names do not lead to"),
            "{path}: {answer}"
        );
    }
}
