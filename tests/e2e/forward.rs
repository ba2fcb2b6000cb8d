//! `port-forward`, of kubelocal and of every kubectl that this machine has: bytes both ways, many connections at once, errors, and pods that are replaced.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::home::Home;
use crate::images::load_busybox;
use crate::kubectl::with_each;
use crate::manifest::{deployment, documents, pod};

/// A port-forward under way.
struct Forward {
    child: Child,
    port: u16,
    lines: Receiver<String>,
}

impl Forward {
    /// Starts one to any free port, and waits until it listens.
    fn start(home: &Home, command: &mut Command) -> Forward {
        let mut child = home.spawn(command);
        let (sender, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("is piped")),
            Box::new(child.stderr.take().expect("is piped")),
        ];
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    // The test may have ended.
                    let _ = sender.send(line);
                }
            });
        }
        let mut forward = Forward { child, port: 0, lines };
        let line = forward.said("Forwarding from 127.0.0.1:");
        let port = line.trim_start_matches("Forwarding from 127.0.0.1:").split(' ').next();
        forward.port = port.and_then(|port| port.parse().ok()).expect("a port");
        forward
    }

    /// Waits for a line with these words.
    fn said(&self, words: &str) -> String {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => said.push(line),
                Err(_) => panic!("no {words:?} in {said:#?}"),
            }
        }
    }

    fn connect(&self) -> TcpStream {
        connect(self.port)
    }

    /// What an HTTP server in the pod answers.
    fn ask(&self, path: &str, body: &str) -> String {
        ask(self.port, path, body)
    }
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).expect("it listens")
}

/// What an HTTP server behind this port answers to a body at a path; nothing if it can't be reached.
fn ask(port: u16, path: &str, body: &str) -> String {
    let mut stream = connect(port);
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    // A connection that can't be made to its end may be cut.
    let _ = stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

impl Drop for Forward {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pod whose port 9000 gives back what it gets and then says `end`.
fn echoing(home: &Home) -> String {
    let script = "while :; do nc -l -p 9000 -e sh -c 'cat; echo end'; done";
    let shell = load_busybox(home, "sh").with("/spec/containers/0/args", json!(["-c", script]));
    documents([pod("web", "serve"), shell])
}

fn check(forward: &Forward, echo: &Forward) {
    assert!(forward.ask("/", "").contains("web"), "the pod's name");
    let port = forward.port;
    thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || {
                let body = format!("{number} ").repeat(20_000);
                assert!(ask(port, "/echo", &body).ends_with(&body), "connection {number}");
            });
        }
    });
    // The pod learns of the end of what it gets, and its answer comes after that.
    let mut stream = echo.connect();
    let sent = "0123456789abcdef".repeat(1 << 16);
    let mut answer = String::new();
    thread::scope(|scope| {
        let mut writer = stream.try_clone().expect("a descriptor");
        let sent = &sent;
        scope.spawn(move || {
            writer.write_all(sent.as_bytes()).expect("writes");
            writer.shutdown(Shutdown::Write).expect("half-closes");
        });
        stream.read_to_string(&mut answer).expect("reads");
    });
    assert_eq!(answer.len(), sent.len() + "end\n".len());
    assert!(answer.starts_with(&sent) && answer.ends_with("end\n"));
}

#[test]
fn bytes_go_both_ways_in_many_connections_at_once() {
    let home = Home::new();
    home.start(echoing(&home));
    let to = |words: &str| Forward::start(&home, &mut home.command(format!("port-forward {words}")));
    check(&to("web :8080"), &to("shell :9000"));
}

#[test]
fn kubectl_forwards_ports() {
    let home = Home::new();
    home.start(echoing(&home));
    with_each(&home, |kubectl| {
        let to = |words: &[&str]| Forward::start(&home, &mut kubectl.command(words));
        check(
            &to(&["port-forward", "pod/web", ":8080"]),
            &to(&["port-forward", "shell", ":9000"]),
        );
        let closed = to(&["port-forward", "pod/web", ":81"]);
        assert_eq!(closed.ask("/", ""), "");
        closed.said("dial tcp 127.0.0.1:81: connect: connection refused");
    });
}

#[test]
fn services_and_deployments_lead_to_their_pods() {
    let home = Home::new();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}, "spec": {
        "selector": {"app": "app"}, "ports": [{"port": 80, "name": "http", "targetPort": "web"}]}});
    let app = deployment("app", 1, "serve").with(
        "/spec/template/spec/containers/0/ports",
        json!([{"name": "web", "containerPort": 8080}]),
    );
    home.start(documents([app, crate::manifest::Manifest(service)]));
    let to = |words: &str| Forward::start(&home, &mut home.command(format!("port-forward {words}")));
    for target in [
        "svc/front :80",
        "svc/front :http",
        "deploy/app :8080",
        "deploy/app :web",
    ] {
        assert!(to(target).ask("/", "").contains("app-"), "{target}");
    }
    for (line, wanted) in [
        ("svc/front 81", "Service front does not have a service port 81"),
        ("deploy/app nothing", "does not have a named port 'nothing'"),
        ("nobody 80", "pods \"nobody\" not found"),
    ] {
        let said = home.fails(format!("port-forward {line}"));
        assert!(said.contains(wanted), "{said}");
    }
    with_each(&home, |kubectl| {
        let forward = Forward::start(&home, &mut kubectl.command(&["port-forward", "svc/front", ":80"]));
        assert!(forward.ask("/", "").contains("app-"));
    });
}

#[test]
fn the_next_connection_goes_to_the_pod_that_took_the_others_place() {
    let home = Home::new();
    home.start(deployment("app", 1, "serve"));
    let forward = Forward::start(&home, &mut home.command("port-forward deploy/app :8080"));
    let first = forward.ask("/", "");
    assert!(first.contains("app-"), "{first}");
    home.must("delete pod --all");
    home.must("wait --for=condition=Available deploy/app --timeout=60s");
    home.until("the next pod answers", || {
        let next = forward.ask("/", "");
        next.contains("app-") && next != first
    });
    forward.said("is gone, forwarding to pod/app-");
    // What nobody listens on is told, and does not end the rest.
    let closed = Forward::start(&home, &mut home.command("port-forward deploy/app :8080 :81"));
    let port = closed.said("-> 81");
    let port = port
        .split(' ')
        .nth(2)
        .expect("an address")
        .rsplit(':')
        .next()
        .expect("a port");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "nothing comes");
    closed.said("dial tcp 127.0.0.1:81: connect: connection refused");
    assert!(closed.ask("/", "").contains("app-"));
}

#[test]
fn a_pod_of_the_hosts_network_is_reached_at_the_hosts_loopback() {
    let home = Home::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("has one").port();
    home.start(pod("host", "sleep forever").with("/spec/hostNetwork", json!(true)));
    let forward = Forward::start(&home, &mut home.command(format!("port-forward host :{port}")));
    let mut stream = forward.connect();
    stream.write_all(b"hello").expect("writes");
    listener.set_nonblocking(true).expect("can be");
    let mut accepted = None;
    home.until("the connection is there", || {
        accepted = listener.accept().ok();
        accepted.is_some()
    });
    let (mut accepted, _) = accepted.expect("came");
    accepted.set_nonblocking(false).expect("can be");
    let mut bytes = [0; 5];
    accepted.read_exact(&mut bytes).expect("reads");
    assert_eq!(&bytes, b"hello");
}
