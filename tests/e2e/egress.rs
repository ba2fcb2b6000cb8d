//! Pods and what is outside of their network: what they reach, what they do not, and how it looks to them.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::home::{Home, Output};
use crate::machine::{Machine, OUTSIDE, OUTSIDE_V6, OWN};
use crate::manifest::{Manifest, documents, namespace, pod};

/// Runs a demo program in the pod `client`.
fn client(home: &Home, words: &str) -> Output {
    home.run(format!("exec client -- /kubelocal demo {words}"))
}

/// A home whose node runs on a machine of its own, with a pod there.
fn home_with_client() -> Home {
    let home = Home::on(Machine::new());
    home.start(pod("client", "serve"));
    home
}

/// The internet's servers take a moment to come.
fn until_outside_serves(home: &Home) {
    home.until("the outside serves", || {
        let (http, datagrams) = (client(home, &format!("fetch {OUTSIDE}:80")), ask_outside(home));
        http.code == 0 && datagrams.code == 0
    });
}

fn ask_outside(home: &Home) -> Output {
    client(home, &format!("ask {OUTSIDE}:5353 hello"))
}

/// The outside serves pods by TCP and UDP.
fn assert_serves(home: &Home, outside: &str) {
    let page = client(home, &format!("fetch {outside}:80"));
    assert!(page.stdout.contains("200 OK"), "{}{}", page.stdout, page.stderr);
    let answers = client(home, &format!("ask {outside}:5353 hello --times 3"));
    assert_eq!(
        answers.stdout.lines().count(),
        3,
        "{}{}",
        answers.stdout,
        answers.stderr
    );
    assert!(answers.stdout.contains("heard hello"), "{}", answers.stdout);
}

#[test]
fn pods_reach_the_outside_and_what_can_not_be_reached_looks_as_it_does_to_the_host() {
    let home = home_with_client();
    until_outside_serves(&home);
    assert_serves(&home, OUTSIDE);
    for (words, expected) in [
        (format!("connect {OUTSIDE}:81"), "Connection refused"),
        // The machine's own addresses are anybody's; and it says of every datagram that it is refused, others of a few in a second.
        (format!("connect {OWN}:81"), "Connection refused"),
        (format!("ask {OWN}:81 hello"), "Connection refused"),
        ("connect 198.51.100.1:80".to_owned(), "No route to host"),
        ("ask 198.51.100.1:80 hello".to_owned(), "No route to host"),
        ("connect 198.18.0.1:80".to_owned(), "No route to host"),
        ("connect 169.254.169.254:80".to_owned(), "Network is unreachable"),
    ] {
        let answer = client(&home, &words);
        assert!(
            answer.stderr.contains(expected),
            "{words}: {}{}",
            answer.stdout,
            answer.stderr
        );
    }
    let node = home.get("nodes");
    let conditions = node["items"][0]["status"]["conditions"].clone();
    assert_eq!(
        (&conditions[1]["type"], &conditions[1]["status"]),
        (&json!("EgressReady"), &json!("True"))
    );
}

#[test]
fn pods_reach_the_outside_by_ipv6_too_and_a_machine_without_a_way_refuses_at_once() {
    let home = home_with_client();
    home.until("the outside serves", || {
        let http = client(&home, &format!("fetch {OUTSIDE_V6}:80"));
        http.code == 0 && client(&home, &format!("ask {OUTSIDE_V6}:5353 hello")).code == 0
    });
    assert_serves(&home, OUTSIDE_V6);
    for (words, expected) in [
        (format!("connect {OUTSIDE_V6}:81"), "Connection refused"),
        (format!("ask {OUTSIDE_V6}:81 hello"), "Connection refused"),
        ("connect [2001:db8:2::1]:80".to_owned(), "No route to host"),
        ("connect [2001:db8:3::1]:80".to_owned(), "Network is unreachable"),
        ("connect [fe80::1]:80".to_owned(), ""),
    ] {
        let answer = client(&home, &words);
        assert!(
            answer.code != 0 && answer.stderr.contains(expected),
            "{words}: {}{}",
            answer.stdout,
            answer.stderr
        );
    }
}

#[test]
fn pods_follow_the_machine_to_another_network_and_another_node() {
    let home = home_with_client();
    let on_host = pod("on-host", "sleep forever").with("/spec/hostNetwork", json!(true));
    home.start(on_host);
    let host_ip = || home.text("pod on-host", "/status/podIP");
    assert_eq!(host_ip(), OWN);
    until_outside_serves(&home);
    let machine = home.machine();
    machine.ip("address flush dev wan");
    machine.ip("address add 203.0.113.9/24 dev wan");
    machine.ip("route replace default via 203.0.113.1");
    home.until("the pod on the host's network has the host's new address", || {
        host_ip() == "203.0.113.9"
    });
    assert_eq!(home.text("pod client", "/status/hostIP"), "203.0.113.9");
    let addresses = home.get("nodes")["items"][0]["status"]["addresses"].clone();
    assert_eq!(addresses[0]["address"], "203.0.113.9");
    until_outside_serves(&home);
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::KILL).expect("is ours");
    home.until_ended(node);
    // The next node starts with the command.
    assert_eq!(client(&home, &format!("fetch {OUTSIDE}:80")).code, 0);
    assert_eq!(ask_outside(&home).code, 0);
}

#[test]
fn a_service_may_lead_outside() {
    for settings in ["", "services: proxy\n"] {
        let home = Home::on(Machine::new()).with_settings(settings);
        home.start(pod("client", "serve"));
        assert_leads_outside(&home);
    }
}

fn assert_leads_outside(home: &Home) {
    until_outside_serves(home);
    let subsets = json!([{"addresses": [{"ip": OUTSIDE}], "ports": [{"port": 80}]}]);
    let metadata = json!({"name": "far"});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 8000, "targetPort": 80}]}});
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets});
    let applied = home.run_with(documents([Manifest(service), Manifest(endpoints)]), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    home.until("it leads there", || {
        let page = client(home, "fetch far:8000");
        page.stdout.contains("200 OK")
    });
}

#[test]
fn an_external_address_of_a_service_is_the_services_for_pods_whoever_has_it() {
    let home = home_with_client();
    until_outside_serves(&home);
    let server = pod("web", "serve").with("/metadata/labels", json!({"app": "web"}));
    let spec = json!({"selector": {"app": "web"}, "externalIPs": [OUTSIDE, "198.51.100.7"],
        "ports": [{"port": 81, "targetPort": 8080}]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec});
    home.start(documents([Manifest(service), server]));
    for address in [OUTSIDE, "198.51.100.7"] {
        home.until(&format!("{address} leads to the pod"), || {
            client(&home, &format!("fetch {address}:81")).stdout.ends_with("web\n")
        });
    }
    // Its other ports are whose they were.
    until_outside_serves(&home);
}

#[test]
fn a_namespace_is_cut_off_and_let_out_again_while_its_pods_run() {
    let home = home_with_client();
    until_outside_serves(&home);
    // A name would carry as much as a packet.
    home.machine().serve_outside("name-server 203.0.113.77");
    home.machine().set_resolver(&format!("nameserver {OUTSIDE}\n"));
    let knows_names = || client(&home, "resolve secret.example").stdout.contains("203.0.113.77");
    home.until("names are known", knows_names);
    let set = |word: &str| {
        let cut = namespace("default").with("/metadata/annotations", json!({"kubelocal.dev/egress": word}));
        let applied = home.run_with(cut.to_string(), "apply -f -");
        assert_eq!(applied.code, 0, "{}", applied.stderr);
    };
    // A client that has asked before, and goes on to ask.
    let words = format!("exec client -- /kubelocal demo ask {OUTSIDE}:5353 hello --times 1000000000");
    let mut going_on = home.spawn(home.command(words).stdout(Stdio::null()).stderr(Stdio::null()));
    set("false");
    let answer = going_on.wait().expect("it ends");
    assert!(!answer.success(), "it is told that it is cut off");
    for words in [format!("connect {OUTSIDE}:80"), format!("ask {OUTSIDE}:5353 hello")] {
        let answer = client(&home, &words);
        assert!(
            answer.stderr.contains("Connection refused"),
            "{words}: {}{}",
            answer.stdout,
            answer.stderr
        );
    }
    assert!(!knows_names());
    // Its own network stays.
    let own = home.text("pod client", "/status/podIP");
    assert_eq!(client(&home, &format!("connect {own}:8080")).code, 0);
    set("true");
    until_outside_serves(&home);
    home.until("names are known again", knows_names);
}

#[test]
fn names_are_asked_of_the_resolvers_that_the_host_has_by_then() {
    let home = Home::on(Machine::new());
    home.machine().serve_outside("name-server 203.0.113.77");
    home.machine().set_resolver(&format!("nameserver {OUTSIDE}\n"));
    let default = pod("default", "serve").with("/spec/dnsPolicy", json!("Default"));
    home.start(documents([pod("client", "serve"), default]));
    let address = |pod: &str| {
        let found = home.run(format!("exec {pod} -- /kubelocal demo resolve any.example"));
        found.stdout.trim().to_owned()
    };
    for pod in ["client", "default"] {
        home.until(&format!("{pod} knows the name"), || address(pod) == "203.0.113.77");
    }
    // Another network, whose resolver listens on the host's loopback only, as systemd-resolved does.
    home.machine().serve("name-server 203.0.113.78");
    home.machine().set_resolver("nameserver 127.0.0.1\n");
    home.until("the new resolver is asked", || address("client") == "203.0.113.78");
    let late = pod("late", "serve").with("/spec/dnsPolicy", json!("Default"));
    home.start(late);
    assert_eq!(address("late"), "203.0.113.78");
}

/// A server on the host's loopback that greets whoever comes.
fn on_loopback() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
    let port = listener.local_addr().expect("is bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut client = client;
            let _ = client.write_all(b"from the loopback");
        }
    });
    port
}

#[test]
fn the_hosts_loopback_is_not_reached_by_any_address() {
    let home = Home::new();
    home.start(pod("client", "serve"));
    let port = on_loopback();
    for address in ["10.244.0.1", "169.254.1.2", "10.96.0.10", "127.0.0.1", "0.0.0.0"] {
        let answer = client(&home, &format!("connect {address}:{port}"));
        assert_eq!(answer.code, 1, "{address}: {}", answer.stdout);
    }
    let named = client(&home, &format!("connect host.containers.internal:{port}"));
    assert_eq!(named.code, 1, "{}", named.stdout);
}

#[test]
fn the_hosts_loopback_is_reached_by_its_names_if_the_settings_allow_it() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("")).expect("a directory");
    std::fs::write(home.path("config.yaml"), "egress: {hostLoopback: true}\n").expect("writes");
    home.start(pod("client", "serve"));
    let port = on_loopback();
    for name in ["host.containers.internal", "host.docker.internal"] {
        let answer = client(&home, &format!("connect {name}:{port}"));
        assert!(
            answer.stdout.contains("from the loopback"),
            "{name}: {}{}",
            answer.stdout,
            answer.stderr
        );
    }
    let kubeconfig = std::fs::read_to_string(home.path("kubeconfig")).expect("the node wrote it");
    let api = kubeconfig.split("127.0.0.1:").nth(1).expect("the API's port");
    let api: String = api.chars().take_while(char::is_ascii_digit).collect();
    let answer = client(&home, &format!("connect host.containers.internal:{api}"));
    assert!(
        answer.stderr.contains("Connection refused"),
        "{}{}",
        answer.stdout,
        answer.stderr
    );
}

#[test]
fn the_node_says_when_its_machine_has_no_way_out_and_when_it_has_one_again() {
    let home = home_with_client();
    let reason = || home.get("nodes")["items"][0]["status"]["conditions"][1]["reason"].clone();
    assert_eq!(reason(), "EgressReady");
    home.machine().ip("route del default");
    home.until("it says that there is no way", || reason() == "NoDefaultRoute");
    home.machine().ip(&format!("route add default via {OUTSIDE}"));
    home.until("it says that there is one again", || reason() == "EgressReady");
}

#[test]
fn a_node_without_egress_refuses_at_once_and_says_so() {
    let home = Home::on(Machine::new());
    let mut node = home.command("node --no-egress");
    let mut node = home.spawn(node.stdout(Stdio::null()).stderr(Stdio::null()));
    home.until("it answers", || home.run("status").code == 0);
    home.start(pod("client", "serve"));
    for words in [format!("connect {OUTSIDE}:80"), format!("ask {OUTSIDE}:5353 hello")] {
        let answer = client(&home, &words);
        assert!(
            answer.stderr.contains("Connection refused"),
            "{words}: {}{}",
            answer.stdout,
            answer.stderr
        );
    }
    let condition = home.get("nodes")["items"][0]["status"]["conditions"][1].clone();
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("EgressDisabled"))
    );
    kill_process(Pid::from_child(&node), Signal::TERM).expect("it runs");
    assert!(node.wait().expect("it ends").success());
}

#[test]
fn a_client_of_datagrams_is_sent_to_the_next_endpoint_when_its_own_is_gone() {
    for settings in ["", "services: proxy\n"] {
        assert_moves_on(&Home::new().with_settings(settings));
    }
}

fn assert_moves_on(home: &Home) {
    let server = |name: &str| pod(name, "answer").with("/metadata/labels", json!({"app": "echo"}));
    let spec = json!({"selector": {"app": "echo"}, "ports": [{"port": 53, "targetPort": 8080, "protocol": "UDP"}]});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": spec});
    home.start(documents([Manifest(service), server("first"), pod("client", "serve")]));
    // Always from the same port, so that the kernel knows the client again.
    let asked = || client(home, "ask echo:53 hello --from 4000");
    home.until("the first answers", || asked().stdout.contains("first heard hello"));
    home.start(server("second"));
    home.must("delete pod first --wait=true");
    home.until("the second answers", || asked().stdout.contains("second heard hello"));
}

/// A home on a machine whose way out is pasta, with a pod there that has found the outside.
fn home_by_pasta() -> Home {
    home_by_pasta_with("egress: {via: pasta}\n")
}

fn home_by_pasta_with(settings: &str) -> Home {
    let has_pasta = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join("pasta").is_file());
    assert!(
        has_pasta,
        "PASTA IS NOT INSTALLED: this test needs it (package passt; `scripts/setup test` installs it)"
    );
    let home = Home::on(Machine::new()).with_settings(settings);
    // Whoever is root there is the user, who may ping.
    let allow = "echo '0 0' > /proc/sys/net/ipv4/ping_group_range";
    let allowed = home.machine().command("sh").args(["-c", allow]).status();
    assert!(allowed.is_ok_and(|status| status.success()), "who may ping can be said");
    home.start(pod("client", "serve"));
    until_outside_serves(&home);
    home
}

/// The pasta that the node of a home has started.
fn pasta_of(home: &Home) -> Option<Pid> {
    let node = home.node_pid()?.as_raw_nonzero();
    let children = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        let is_it = (name.contains("pasta") || name.contains("passt")) && state != "Z" && parent == node.to_string();
        Pid::from_raw(pid).filter(|_| is_it)
    });
    children.into_iter().next()
}

#[test]
fn by_pasta_pods_ping_the_outside_too_and_what_can_not_be_reached_looks_as_it_does() {
    let home = home_by_pasta();
    for address in [OUTSIDE, OWN] {
        let answer = client(&home, &format!("ping {address}"));
        assert_eq!(answer.code, 0, "{address}: {}{}", answer.stdout, answer.stderr);
    }
    for (words, expected) in [
        (format!("connect {OUTSIDE}:81"), "Connection refused"),
        (format!("connect {OWN}:81"), "Connection refused"),
        ("connect 169.254.169.254:80".to_owned(), "Network is unreachable"),
        ("connect 169.254.1.2:80".to_owned(), "Connection refused"),
    ] {
        let answer = client(&home, &words);
        assert!(
            answer.stderr.contains(expected),
            "{words}: {}{}",
            answer.stdout,
            answer.stderr
        );
    }
    // Addresses of nobody stay inside, though there is a way out.
    for address in ["10.244.200.1:80", "10.96.200.1:80"] {
        assert_eq!(client(&home, &format!("connect {address}")).code, 1, "{address}");
    }
    assert_leads_outside(&home);
    let condition = home.get("nodes")["items"][0]["status"]["conditions"][1].clone();
    assert_eq!(condition["reason"], "EgressReady");
    assert!(condition["message"].to_string().contains("pasta"), "{condition}");
    let status = home.must("status");
    assert!(status.contains("by pasta"), "{status}");
}

#[test]
fn by_pasta_nobody_reaches_the_hosts_loopback_and_who_is_cut_off_or_isolated_reaches_nothing() {
    let home = home_by_pasta();
    home.machine().serve("serve --port 7777");
    home.until("the host's loopback serves", || {
        home.machine().said(false, "fetch 127.0.0.1:7777").contains("200 OK")
    });
    // The server is at all addresses of the machine: only its loopback is nobody's.
    for address in [
        "10.244.0.1",
        "169.254.1.2",
        "169.254.1.3",
        "169.254.1.4",
        "127.0.0.1",
        "0.0.0.0",
    ] {
        let answer = client(&home, &format!("connect {address}:7777"));
        assert_eq!(answer.code, 1, "{address}: {}", answer.stdout);
    }
    let set = |word: &str| {
        let cut = namespace("default").with("/metadata/annotations", json!({"kubelocal.dev/egress": word}));
        let applied = home.run_with(cut.to_string(), "apply -f -");
        assert_eq!(applied.code, 0, "{}", applied.stderr);
    };
    set("false");
    home.until("it is cut off", || {
        client(&home, &format!("connect {OUTSIDE}:80"))
            .stderr
            .contains("Connection refused")
    });
    assert!(ask_outside(&home).stderr.contains("Connection refused"));
    assert_eq!(client(&home, &format!("ping {OUTSIDE}")).code, 1);
    set("true");
    until_outside_serves(&home);
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "sealed"}, "spec": spec});
    let applied = home.run_with(Manifest(policy).to_string(), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    home.until("it is isolated", || {
        client(&home, &format!("connect {OUTSIDE}:80 --within 500")).code == 1
    });
    assert_eq!(client(&home, &format!("ping {OUTSIDE}")).code, 1);
}

#[test]
fn beside_pasta_the_hosts_loopback_is_reached_where_the_settings_say_so() {
    let home = home_by_pasta_with("egress: {via: pasta, hostLoopback: true}\n");
    home.machine().serve("serve --port 7777");
    home.until("a pod reaches the host's loopback", || {
        client(&home, "fetch host.containers.internal:7777")
            .stdout
            .contains("200 OK")
    });
}

#[test]
fn pasta_is_started_again_when_it_ends_and_ends_with_the_node() {
    let home = home_by_pasta();
    let first = pasta_of(&home).expect("it runs");
    kill_process(first, Signal::KILL).expect("is ours");
    home.until("another one runs", || pasta_of(&home).is_some_and(|pid| pid != first));
    until_outside_serves(&home);
    let second = pasta_of(&home).expect("it runs");
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::KILL).expect("is ours");
    home.until_ended(node);
    home.until("it ends with the node", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", second.as_raw_nonzero())).unwrap_or_default();
        stat.is_empty()
            || stat
                .rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('Z'))
    });
    // The next node starts with the command, and has one of its own.
    until_outside_serves(&home);
    assert_eq!(client(&home, &format!("ping {OUTSIDE}")).code, 0);
}
