//! The ways in from the host: host ports, node ports and load balancers, with real pods and clients on the host.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, deployment, documents, pod};

/// A port of the host that nobody has at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.local_addr().expect("is bound").port()
}

fn with_host_port(pod: Manifest, at: &str, port: u16) -> Manifest {
    pod.with(
        &format!("{at}/containers/0/ports"),
        json!([{"name": "http", "containerPort": 8080, "hostPort": port}]),
    )
}

fn published(name: &str, port: u16) -> Manifest {
    with_host_port(pod(name, "serve"), "/spec", port)
}

fn service(name: &str, spec: Value) -> Manifest {
    Manifest(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))
}

/// What the server of a pod says: its name.
fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split("\r\n\r\n").nth(1).map(|body| body.trim().to_owned());
    body.filter(|body| !body.is_empty())
        .ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn events_of(home: &Home, name: &str) -> String {
    home.must(format!(
        "get events --no-headers --field-selector involvedObject.name={name}"
    ))
}

#[test]
fn a_deployments_host_port_answers_on_localhost_and_is_refused_when_the_pod_is_gone() {
    let home = Home::new();
    let port = free_port();
    let web = deployment("web", 1, "serve");
    home.start(with_host_port(web, "/spec/template/spec", port));
    let pod = home.pods("app=web").into_iter().next().expect("one pod");
    assert_eq!(get(port).expect("it answers"), pod);
    let six = TcpStream::connect(("::1", port));
    assert!(
        six.is_ok() || TcpListener::bind("[::1]:0").is_err(),
        "localhost is also ::1: {six:?}"
    );
    let status = home.must("status");
    assert!(
        status.contains(&format!("127.0.0.1:{port}/TCP -> pod/{pod} in default")),
        "{status}"
    );
    let described = home.must(format!("describe pod {pod}"));
    assert!(described.contains(&format!("{port}/TCP")), "{described}");
    home.must("delete deployment web --wait=true");
    home.until("nobody listens any more", || is_refused(port));
}

#[test]
fn the_port_survives_its_pod_and_the_node() {
    let home = Home::new();
    let port = free_port();
    let web = deployment("web", 1, "serve");
    home.start(with_host_port(web, "/spec/template/spec", port));
    let first = get(port).expect("it answers");
    // The new pod takes over while the old one ends: those who come meanwhile wait.
    home.must(format!("delete pod {first} --wait=false"));
    home.until("the next pod answers", || match get(port) {
        Ok(answer) => answer != first,
        // What had reached the old pod ends with it.
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "the port stays open");
            false
        }
    });
    let second = get(port).expect("it answers");
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::KILL).expect("is ours");
    home.until_ended(node);
    assert!(is_refused(port), "without the node nobody listens");
    home.must("get nodes");
    home.until("the next node listens again", || {
        get(port).is_ok_and(|name| name == second)
    });
}

#[test]
fn the_second_pod_with_a_port_waits_for_the_first_and_then_has_it() {
    let home = Home::new();
    let port = free_port();
    home.start(published("a", port));
    let applied = home.run_with(published("b", port).to_string(), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    home.until("it is told what is in the way", || {
        let events = events_of(&home, "b");
        events.contains("FailedScheduling") && events.contains(&format!("pod default/a has hostPort {port}/TCP"))
    });
    assert_eq!(home.text("pod b", "/status/phase"), "Pending");
    assert_eq!(get(port).expect("the first answers"), "a");
    home.must("delete pod a --wait=true");
    home.until_ready("b");
    home.until("the second answers", || get(port).is_ok_and(|name| name == "b"));
}

#[test]
fn a_port_that_another_process_has_is_told_and_taken_when_it_is_free() {
    let home = Home::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = other.local_addr().expect("is bound").port();
    home.start(published("web", port));
    // Only a node that is root sees into processes outside of its namespace.
    let me = [
        format!("process {} (", std::process::id()),
        "another process of yours has it".to_owned(),
    ];
    home.until("the event says who has it", || {
        let events = events_of(&home, "web");
        events.contains("PortInUse") && me.iter().any(|me| events.contains(me)) && events.contains(&port.to_string())
    });
    assert!(home.must("status").contains("not open"));
    drop(other);
    home.until("the pod has it", || get(port).is_ok_and(|name| name == "web"));
    home.until("and that is told", || events_of(&home, "web").contains("PortOpened"));
}

#[test]
fn a_port_below_those_of_users_is_told_with_what_allows_it() {
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("is there");
    let first: u16 = first.trim().parse().expect("a port");
    if rustix::process::getuid().is_root() || first < 2 {
        eprintln!("SKIPPED: every port may be opened here (ip_unprivileged_port_start = {first}, or root)");
        return;
    }
    let home = Home::new();
    let low = first - 1;
    home.start(published("web", low));
    home.until("the event names the setting", || {
        events_of(&home, "web").contains(&format!("sysctl net.ipv4.ip_unprivileged_port_start={low}"))
    });
}

#[test]
fn a_node_port_is_given_kept_and_answers() {
    let home = Home::new();
    let spec = json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    home.start(documents([service("web", spec.clone()), deployment("web", 2, "serve")]));
    let port = u16::try_from(
        home.field("service web", "/spec/ports/0/nodePort")
            .as_u64()
            .expect("is given"),
    )
    .expect("a port");
    assert!((30_000..=32_767).contains(&port), "{port}");
    let table = home.must("get service web");
    assert!(table.contains(&format!("80:{port}/TCP")), "{table}");
    let described = home.must("describe service web");
    assert!(described.contains(&format!("{port}/TCP")), "{described}");
    home.until("both pods answer in turn", || {
        let names: std::collections::BTreeSet<_> = (0..4).filter_map(|_| get(port).ok()).collect();
        names == home.pods("app=web")
    });
    // Another one that asks for the same number is refused.
    let mut same = spec.clone();
    same["ports"][0]["nodePort"] = port.into();
    let refused = home.run_with(service("other", same).to_string(), "apply -f -");
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("provided port is already allocated"),
        "{}",
        refused.stderr
    );
    home.must("delete deployment web --wait=true");
    home.until("without endpoints it is refused", || is_refused(port));
    let cluster = json!({"type": "ClusterIP", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    let applied = home.run_with(service("web", cluster).to_string(), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    home.until("the number is given back", || {
        home.field("service web", "/spec/ports/0/nodePort").is_null()
    });
}

#[test]
fn a_load_balancer_answers_at_its_own_port_on_loopback_and_says_so() {
    let home = Home::new();
    let port = free_port();
    let spec =
        json!({"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": port, "targetPort": 8080}]});
    home.start(documents([service("web", spec.clone()), deployment("web", 1, "serve")]));
    home.until("it answers", || get(port).is_ok());
    home.until("it says where", || {
        home.text("service web", "/status/loadBalancer/ingress/0/ip") == "127.0.0.1"
    });
    let table = home.must("get service web");
    assert!(table.contains("127.0.0.1"), "{table}");
    // A second one with the same port is told who has it, and is still reached at its node port.
    let applied = home.run_with(service("more", spec).to_string(), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    home.until("it is told", || {
        let events = events_of(&home, "more");
        events.contains("service default/web has it as its port")
            && events.contains("meanwhile the Service answers at localhost:")
    });
    let status = home.field("service more", "/status/loadBalancer");
    assert!(status["ingress"].is_null(), "the port is not its: {status}");
    let node_port = home
        .field("service more", "/spec/ports/0/nodePort")
        .as_u64()
        .expect("is given");
    home.until("at its node port", || {
        get(u16::try_from(node_port).expect("a port")).is_ok()
    });
    home.must("delete service web");
    home.until("the port is free for it", || {
        home.text("service more", "/status/loadBalancer/ingress/0/ip") == "127.0.0.1"
    });
}

#[test]
fn datagrams_reach_a_pod_and_its_answers_come_back() {
    let home = Home::new();
    let port = free_port();
    let ports = json!([{"containerPort": 5000, "hostPort": port, "protocol": "UDP"}]);
    let spec = json!({"type": "NodePort", "selector": {"app": "echo"}, "ports": [{"port": 5000, "protocol": "UDP"}]});
    let echo = pod("echo", "datagrams 5000")
        .with("/metadata/labels", json!({"app": "echo"}))
        .with("/spec/containers/0/ports", ports);
    home.start(documents([service("echo", spec), echo]));
    let node_port = home
        .field("service echo", "/spec/ports/0/nodePort")
        .as_u64()
        .expect("is given");
    for port in [port, u16::try_from(node_port).expect("a port")] {
        let clients = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").expect("binds"));
        for (place, client) in clients.iter().enumerate() {
            client
                .set_read_timeout(Some(Duration::from_millis(500)))
                .expect("a time");
            let question = format!("{port} {place}");
            home.until("what was sent comes back", || {
                client.send_to(question.as_bytes(), ("127.0.0.1", port)).expect("sends");
                let mut answer = [0; 64];
                client
                    .recv(&mut answer)
                    .is_ok_and(|length| answer[..length] == *question.as_bytes())
            });
        }
    }
}

#[test]
fn a_rolling_update_behind_a_node_port_fails_no_request_of_the_host() {
    let home = Home::new();
    let spec = json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    let probe = json!({"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1});
    let version = |version: &str| {
        deployment("web", 2, "serve")
            .with("/spec/template/spec/containers/0/readinessProbe", probe.clone())
            .with(
                "/spec/template/spec/containers/0/env",
                json!([{"name": "VERSION", "value": version}]),
            )
    };
    home.start(documents([service("web", spec), version("1")]));
    let port = home
        .field("service web", "/spec/ports/0/nodePort")
        .as_u64()
        .expect("is given");
    let port = u16::try_from(port).expect("a port");
    home.until("it answers", || get(port).is_ok());
    let before = home.pods("app=web");
    let (is_over, count, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    count.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = get(port) {
                        eprintln!("a request failed: {error}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let applied = home.run_with(version("2").to_string(), "apply -f -");
        let is_new = || {
            let now = home.pods("app=web");
            now.len() == 2 && now.is_disjoint(&before)
        };
        let is_done = applied.code == 0 && crate::home::within(crate::home::DEADLINE, is_new);
        is_over.store(true, Ordering::Relaxed);
        assert!(is_done, "the rollout does not end: {}", applied.stderr);
    });
    let (count, failed) = (count.into_inner(), failed.into_inner());
    assert!(count > 50, "{count} requests are no load");
    assert_eq!(failed, 0, "of {count} requests");
}

#[test]
fn clients_that_are_silent_and_do_not_read_leave_others_their_turn() {
    let home = Home::new();
    let port = free_port();
    home.start(published("web", port));
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).expect("is let in"));
    }
    for client in silent.iter_mut().take(50) {
        // Asks for much and reads nothing.
        let _ = client.write_all(&b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(200));
    }
    for _ in 0..20 {
        assert_eq!(get(port).expect("others are served"), "web");
    }
    drop(silent);
    assert_eq!(get(port).expect("and after them"), "web");
}

#[test]
fn a_client_of_a_published_port_stays_with_its_endpoint() {
    let home = Home::new();
    let config = json!({"clientIP": {"timeoutSeconds": 600}});
    let spec = json!({"type": "NodePort", "selector": {"app": "web"}, "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": config, "ports": [{"port": 80, "targetPort": 8080}]});
    home.start(documents([
        service("web", spec),
        deployment("web", 3, "serve").with("/spec/template/metadata/labels", json!({"app": "web"})),
    ]));
    let node_port = home.field("service web", "/spec/ports/0/nodePort").as_u64();
    let port = u16::try_from(node_port.expect("is given")).expect("a port");
    home.until("all are endpoints", || {
        home.must("get endpoints web --no-headers").matches(":8080").count() == 3
    });
    home.until("it answers", || get(port).is_ok());
    let first = get(port).expect("it answers");
    for _ in 0..10 {
        assert_eq!(get(port).expect("it answers"), first);
    }
    home.must(format!("delete pod {first} --wait=true"));
    home.until("the next one answers", || get(port).is_ok_and(|name| name != first));
}
