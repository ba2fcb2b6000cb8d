//! Clients that stay with their endpoint (`sessionAffinity: ClientIP`), by rules of the kernel and by the node's own proxy.

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::home::Home;
use crate::manifest::{Manifest, documents, pod};

fn web(name: &str) -> Manifest {
    pod(name, "serve").with("/metadata/labels", json!({"app": "web"}))
}

/// A Service of three servers whose clients stay with theirs.
fn sticky(name: &str, seconds: u32) -> Manifest {
    let config = json!({"clientIP": {"timeoutSeconds": seconds}});
    let ports = json!([{"port": 80, "targetPort": 8080}]);
    let spec = json!({"type": "NodePort", "selector": {"app": "web"}, "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": config, "ports": ports});
    Manifest(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))
}

#[test]
fn clients_stay_with_their_endpoint_until_it_goes_or_they_have_not_come_for_a_while() {
    assert_stay(&Home::new(), true);
}

#[test]
fn clients_stay_with_their_endpoint_by_the_proxy_too_while_the_node_lives() {
    let home = Home::new().with_settings("services: proxy\n");
    assert_stay(&home, false);
}

fn assert_stay(home: &Home, outlives_the_node: bool) {
    home.start(documents([
        sticky("long", 10_800),
        sticky("short", 1),
        web("a"),
        web("b"),
        web("c"),
        pod("client", "serve"),
        pod("other", "serve"),
    ]));
    // The last line of what a server says is its name.
    let asked = |who: &str, service: &str| {
        let answer = home.run(format!("exec {who} -- /kubelocal demo fetch {service}:80"));
        answer.stdout.lines().last().unwrap_or_default().to_owned()
    };
    let served = || home.must("get endpoints long --no-headers").matches(":8080").count();
    home.until("all are endpoints, and it answers", || {
        served() == 3 && !asked("other", "long").is_empty() && !asked("client", "long").is_empty()
    });
    let first = asked("client", "long");
    for _ in 0..10 {
        assert_eq!(asked("client", "long"), first, "it stays");
    }
    if outlives_the_node {
        let node = home.node_pid().expect("it runs");
        kill_process(node, Signal::KILL).expect("is ours");
        home.until_ended(node);
        home.must("get nodes");
        home.until("names are back", || !asked("client", "long").is_empty());
        for _ in 0..5 {
            let now = asked("client", "long");
            assert_eq!(now, first, "another node is no reason to go elsewhere");
        }
    }
    home.must(format!("delete pod {first} --wait=true"));
    let second = asked("client", "long");
    assert!(!second.is_empty() && second != first, "{first} {second}");
    for _ in 0..10 {
        assert_eq!(asked("client", "long"), second, "it stays with the next");
    }
    // Longer than the time for which it counts, at each try: asking in between would begin it anew.
    let before = asked("client", "short");
    home.until("it comes to another one", || {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let now = asked("client", "short");
        !now.is_empty() && now != before
    });
}
