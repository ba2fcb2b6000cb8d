//! Whom pods see at ports that are published: clients themselves, where pods can answer them.

use serde_json::{Value, json};

use crate::home::Home;
use crate::machine::{Machine, OUTSIDE, OWN};
use crate::manifest::{Manifest, documents, pod};

/// The node's address in the pods' network.
const NODE: &str = "10.244.0.1";

/// A server whose port is published at all addresses of the machine, by a hostPort and by a Service.
fn everywhere(protocol: &str, name: &str, program: &str) -> [Manifest; 2] {
    let port = json!([{"containerPort": 8080, "hostPort": 18080, "hostIP": "0.0.0.0", "protocol": protocol}]);
    let server = pod(name, program)
        .with("/metadata/labels", json!({"app": name}))
        .with("/spec/containers/0/ports", port);
    let spec = json!({"selector": {"app": name}, "externalIPs": [OWN], "ports": [{"port": 18081, "targetPort": 8080, "protocol": protocol}]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    [server, Manifest(service)]
}

/// The last word of what a demo program says on the machine or outside of it, which is the client's address.
fn seen(home: &Home, is_outside: bool, words: &str) -> Value {
    let said = home.machine().said(is_outside, words);
    said.split_whitespace().last().unwrap_or_default().into()
}

fn published(settings: &str) -> Home {
    let home = Home::on(Machine::new()).with_settings(settings);
    let [web, of_web] = everywhere("TCP", "web", "serve");
    let [dns, of_dns] = everywhere("UDP", "datagrams", "answer");
    home.start(documents([web, of_web, dns, of_dns]));
    home
}

/// By whichever way a client comes, a pod sees it as `expected` says.
fn assert_seen(home: &Home) {
    for (is_outside, to, expected) in [
        (true, OWN, OUTSIDE),
        (false, OWN, OWN),
        // Loopback's address is every pod's own: nobody could answer it.
        (false, "127.0.0.1", NODE),
    ] {
        let ports = if to == OWN { &[18080, 18081][..] } else { &[18080] };
        for port in ports {
            home.until(&format!("a connection to {to}:{port} is that of {expected}"), || {
                seen(home, is_outside, &format!("fetch {to}:{port}/client")) == expected
            });
            home.until(&format!("a datagram to {to}:{port} is that of {expected}"), || {
                seen(home, is_outside, &format!("ask {to}:{port} hello")) == expected
            });
        }
    }
}

#[test]
fn pods_see_the_clients_of_published_ports_by_their_own_addresses() {
    let home = published("");
    assert_seen(&home);
    // Much and at length, in both directions.
    for _ in 0..20 {
        assert_eq!(seen(&home, true, &format!("fetch {OWN}:18080/client")), OUTSIDE);
    }
}

#[test]
fn clients_are_seen_where_pods_may_not_leave_too() {
    assert_seen(&published("egress: {enabled: false}\n"));
}
