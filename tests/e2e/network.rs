//! Pods on their network: addresses, names, and who reaches whom.

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::home::Home;
use crate::manifest::{documents, pod};

fn address(home: &Home, pod: &str) -> String {
    home.text(&format!("pod {pod}"), "/status/podIP")
}

#[test]
fn every_pod_has_an_address_of_its_own_and_pods_reach_each_other() {
    let home = Home::new();
    let own = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    let web = pod("web", "serve").with("/spec/containers/0/env", own);
    home.start(documents([web, pod("other", "serve")]));
    let (web, other) = (address(&home, "web"), address(&home, "other"));
    assert!(
        web.starts_with("10.244.") && other.starts_with("10.244.") && web != other,
        "{web} {other}"
    );
    assert_eq!(home.field("pod web", "/status/podIPs"), json!([{"ip": web}]));
    let heard = home.must(format!("exec other -- /kubelocal demo connect {web}:8080"));
    assert!(heard.contains(&format!("connected to {web}:8080")), "{heard}");
    // A pod reaches itself by its address too, and knows it.
    home.must(format!("exec web -- /kubelocal demo connect {web}:8080"));
    let env = home.must("exec web -- /kubelocal demo env");
    assert!(env.contains(&format!("IP={web}\n")), "{env}");
    let hosts = home.must("exec web -- /kubelocal demo cat /etc/hosts");
    assert!(hosts.contains(&format!("\n{web}\tweb\n")), "{hosts}");
    let wide = home.must("get pods -o wide");
    assert!(wide.contains(&web), "{wide}");
}

#[test]
fn pods_keep_their_network_when_the_node_is_killed_and_the_next_node_finds_it() {
    let home = Home::new();
    home.start(documents([pod("web", "serve"), pod("other", "serve")]));
    let before = (address(&home, "web"), home.container_ids());
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::KILL).expect("is ours");
    home.until_ended(node);
    // The next node starts with the command.
    home.must(format!("exec other -- /kubelocal demo connect {}:8080", before.0));
    assert_eq!((address(&home, "web"), home.container_ids()), before);
    // Pods of the new node are on the same network, at other addresses.
    home.start(pod("new", "serve"));
    let new = address(&home, "new");
    assert_ne!(new, before.0);
    home.must(format!("exec other -- /kubelocal demo connect {new}:8080"));
    home.must(format!("exec new -- /kubelocal demo connect {}:8080", before.0));
}

#[test]
fn a_pod_says_itself_whom_it_asks_for_names_and_what_it_is_called() {
    let home = Home::new();
    let config =
        json!({"nameservers": ["192.0.2.53"], "searches": ["lab"], "options": [{"name": "ndots", "value": "2"}]});
    let own = pod("own", "serve")
        .with("/spec/dnsPolicy", json!("None"))
        .with("/spec/dnsConfig", config);
    let whole = pod("whole", "serve")
        .with("/spec/subdomain", json!("shop"))
        .with("/spec/setHostnameAsFQDN", json!(true));
    home.start(documents([own, whole]));
    let resolver = home.must("exec own -- /kubelocal demo cat /etc/resolv.conf");
    assert_eq!(resolver, "search lab\nnameserver 192.0.2.53\noptions ndots:2\n");
    let name = home.must("exec whole -- /kubelocal demo cat /etc/hostname");
    assert_eq!(name, "whole.shop.default.svc.cluster.local\n");
}
