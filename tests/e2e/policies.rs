//! Network policies between real pods: who reaches whom, and who does not any more.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::home::Home;
use crate::machine::{Machine, OUTSIDE};
use crate::manifest::{Manifest, documents, namespace, pod};

fn labelled(name: &str, app: &str) -> Manifest {
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    pod(name, "serve")
        .with("/metadata/labels", json!({"app": app}))
        .with("/spec/containers/0/ports", ports)
}

fn policy(name: &str, spec: Value) -> Manifest {
    Manifest(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}),
    )
}

fn apply(home: &Home, manifest: Manifest) {
    let applied = home.run_with(manifest.to_string(), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert_eq!(applied.stderr, "", "nothing of it is left out");
}

/// Whether a pod reaches a port. What is dropped is silence, which the client waits out.
fn reaches(home: &Home, from: &str, target: &str) -> bool {
    home.run(format!("exec {from} -- /kubelocal demo connect {target} --within 700"))
        .code
        == 0
}

fn until(home: &Home, from: &str, target: &str, expected: bool) {
    home.until(&format!("{from} to {target}: {expected}"), || {
        reaches(home, from, target) == expected
    });
}

fn address(home: &Home, pod: &str) -> String {
    home.text(&format!("pod {pod}"), "/status/podIP")
}

fn web() -> Value {
    json!({"matchLabels": {"app": "web"}})
}

#[test]
fn a_pod_that_a_policy_isolates_is_reached_by_those_that_it_names_and_by_the_node() {
    let home = Home::new();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    // What probes it is the node, which is never kept out.
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1});
    home.start(documents([
        labelled("web", "web").with("/spec/containers/0/readinessProbe", probe),
        labelled("friend", "friend"),
        labelled("stranger", "stranger"),
        Manifest(service),
    ]));
    let direct = format!("{}:8080", address(&home, "web"));
    for from in ["friend", "stranger"] {
        until(&home, from, "web:80", true);
    }
    apply(&home, policy("closed", json!({"podSelector": web()})));
    for (from, target) in [
        ("friend", "web:80"),
        ("stranger", "web:80"),
        ("stranger", direct.as_str()),
    ] {
        until(&home, from, target, false);
    }
    let from = json!([{"podSelector": {"matchLabels": {"app": "friend"}}}]);
    let rules = json!([{"from": from, "ports": [{"port": "http"}]}]);
    apply(
        &home,
        policy("friends", json!({"podSelector": web(), "ingress": rules})),
    );
    until(&home, "friend", "web:80", true);
    assert!(reaches(&home, "friend", &direct));
    assert!(!reaches(&home, "stranger", &direct) && !reaches(&home, "stranger", "web:80"));
    // What the node says of it is what happens.
    let wiring = home.must("net");
    assert!(wiring.contains("default/closed,default/friends"), "{wiring}");
    home.must("net trace friend web:80");
    let traced = home.run("net trace stranger web:80");
    assert!(
        traced.code == 1
            && traced
                .stdout
                .contains("dropped: isolated by default/closed, default/friends"),
        "{}",
        traced.stdout
    );
    // It reaches others as before, and itself through its Service.
    assert!(reaches(&home, "web", &format!("{}:8080", address(&home, "stranger"))));
    assert!(reaches(&home, "web", "web.default.svc:80"));
    assert_eq!(home.field("pod web", "/status/containerStatuses/0/ready"), json!(true));
    home.must("delete networkpolicy closed friends");
    until(&home, "stranger", &direct, true);
}

#[test]
fn a_pod_is_isolated_before_its_first_packet_and_after_its_node_was_killed() {
    let home = Home::new();
    let nothing = json!({"podSelector": {"matchLabels": {"app": "sealed"}}, "policyTypes": ["Ingress", "Egress"]});
    home.start(documents([labelled("web", "web"), policy("sealed", nothing)]));
    let target = format!("{}:8080", address(&home, "web"));
    // The first thing that it does is to connect.
    let sealed = pod("sealed", &format!("connect {target} --within 700"))
        .with("/metadata/labels", json!({"app": "sealed"}))
        .with("/spec/restartPolicy", json!("Never"));
    let open = pod("open", &format!("connect {target} --within 5000")).with("/spec/restartPolicy", json!("Never"));
    apply(&home, sealed);
    apply(&home, open);
    home.until_phase("sealed", "Failed");
    home.until_phase("open", "Succeeded");
    apply(&home, labelled("still", "sealed"));
    home.until_ready("still");
    assert!(!reaches(&home, "still", &target));
    home.kill_node();
    // The next node starts with the command.
    assert!(!reaches(&home, "still", &target));
    assert!(reaches(&home, "web", &target));
}

#[test]
fn what_leaves_is_held_back_from_pods_names_and_the_outside_but_for_what_is_named() {
    let home = Home::on(Machine::new());
    home.start(documents([labelled("web", "web"), labelled("client", "client")]));
    let (web_at, outside) = (format!("{}:8080", address(&home, "web")), format!("{OUTSIDE}:80"));
    for target in [web_at.as_str(), outside.as_str(), "web:8080"] {
        until(&home, "client", target, true);
    }
    let client = json!({"matchLabels": {"app": "client"}});
    let spec = |rules: Value| json!({"podSelector": client, "policyTypes": ["Egress"], "egress": rules});
    apply(&home, policy("egress", spec(json!([]))));
    for target in [web_at.as_str(), outside.as_str(), "web:8080"] {
        until(&home, "client", target, false);
    }
    let asked = format!("exec client -- /kubelocal demo ask {OUTSIDE}:5353 hello");
    assert_ne!(home.run(asked.as_str()).code, 0, "datagrams do not leave either");
    // Who calls it is answered.
    assert!(reaches(&home, "web", &format!("{}:8080", address(&home, "client"))));
    let names = json!({"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}], "ports": [{"port": 53, "protocol": "UDP"}]});
    let to_web = json!({"to": [{"podSelector": web()}], "ports": [{"port": 8000, "endPort": 8100}]});
    apply(&home, policy("egress", spec(json!([names, to_web]))));
    until(&home, "client", "web:8080", true);
    assert!(!reaches(&home, "client", &outside));
    let block = json!({"to": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.2/32"]}}]});
    apply(&home, policy("egress", spec(json!([block]))));
    until(&home, "client", &outside, true);
    home.until("datagrams leave", || home.run(asked.as_str()).code == 0);
    assert!(!reaches(&home, "client", &web_at));
    // What the block takes out would be refused at once if it were asked.
    let own = home.run("exec client -- /kubelocal demo connect 203.0.113.2:81 --within 700");
    assert!(!own.stderr.contains("refused"), "{}", own.stderr);
}

#[test]
fn namespaces_are_told_apart_by_their_labels_and_policies_follow_them() {
    let home = Home::new();
    home.start(documents([
        namespace("team").with("/metadata/labels", json!({"team": "a"})),
        labelled("web", "web"),
        labelled("other", "other").in_namespace("team"),
    ]));
    let target = format!("{}:8080", address(&home, "web"));
    let words = format!("exec -n team other -- /kubelocal demo connect {target} --within 700");
    let reaches_now = || home.run(words.as_str()).code == 0;
    let from = json!([{"namespaceSelector": {"matchLabels": {"team": "a"}}}]);
    apply(
        &home,
        policy("team", json!({"podSelector": {}, "ingress": [{"from": from}]})),
    );
    home.until("the team comes in", reaches_now);
    apply(&home, namespace("team").with("/metadata/labels", json!({"team": "b"})));
    home.until("it is another team", || !reaches_now());
    apply(&home, namespace("team").with("/metadata/labels", json!({"team": "a"})));
    home.until("the team is back", reaches_now);
    let described = home.must("describe networkpolicy team");
    assert!(described.contains("NamespaceSelector: team=a"), "{described}");
    assert!(home.must("get networkpolicies").contains("POD-SELECTOR"));
}

/// A connection of a pod that is used all the time: says when it is there, and what ended it.
struct Lasting {
    program: std::process::Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Lasting {
    fn begin(home: &Home, from: &str, target: &str) -> Lasting {
        let mut command = home.command(format!("exec {from} -- /kubelocal demo stay {target}"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut program = command.spawn().expect("the program runs");
        let mut said = BufReader::new(program.stdout.take().expect("is piped"));
        let mut first = String::new();
        said.read_line(&mut first).expect("it speaks");
        assert!(first.contains("200 OK"), "{from} to {target}: {first}");
        Lasting { program, said }
    }

    fn goes_on(&mut self) {
        for _ in 0..10 {
            let mut next = String::new();
            self.said.read_line(&mut next).expect("it speaks");
            assert!(next.contains("200 OK"), "{next}");
        }
    }

    fn end(mut self) -> String {
        // To the end: who can't print any more would end for that.
        self.said.read_to_string(&mut String::new()).expect("it speaks");
        let output = self.program.wait_with_output().expect("it ends");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn what_is_connected_ends_when_a_policy_comes_to_refuse_it_and_nothing_else_does() {
    let home = Home::on(Machine::new());
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    let datagrams = pod("datagrams", "answer").with("/metadata/labels", json!({"app": "web"}));
    home.start(documents([
        labelled("web", "web"),
        labelled("friend", "friend"),
        labelled("stranger", "stranger"),
        datagrams,
        Manifest(service),
    ]));
    let direct = format!("{}:8080", address(&home, "web"));
    // Always from the same port, so that the kernel knows the client again.
    let ask = |from: &str| {
        let to = address(&home, "datagrams");
        home.run(format!(
            "exec {from} -- /kubelocal demo ask {to}:8080 hello --from 4000"
        ))
        .code
            == 0
    };
    until(&home, "stranger", &direct, true);
    home.until("datagrams are answered", || ask("stranger") && ask("friend"));
    let outside = format!("{OUTSIDE}:80");
    until(&home, "stranger", &outside, true);
    let mut friend = Lasting::begin(&home, "friend", &direct);
    let to_pod = Lasting::begin(&home, "stranger", &direct);
    let mut leaving = Lasting::begin(&home, "stranger", &outside);
    let from = json!([{"podSelector": {"matchLabels": {"app": "friend"}}}]);
    let spec = json!({"podSelector": web(), "ingress": [{"from": from}]});
    apply(&home, policy("friends", spec));
    let why = to_pod.end();
    assert!(why.contains("reset"), "{why}");
    home.until("its datagrams are refused, too", || !ask("stranger"));
    assert!(ask("friend"));
    friend.goes_on();
    leaving.goes_on();
    let stranger = json!({"matchLabels": {"app": "stranger"}});
    apply(
        &home,
        policy("kept", json!({"podSelector": stranger, "policyTypes": ["Egress"]})),
    );
    let why = leaving.end();
    assert!(why.contains("reset"), "{why}");
    friend.goes_on();
}

#[test]
fn a_connection_by_a_service_ends_like_any_other() {
    let home = Home::new();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    home.start(documents([
        labelled("web", "web"),
        labelled("stranger", "stranger"),
        Manifest(service),
    ]));
    until(&home, "stranger", "web:80", true);
    let lasting = Lasting::begin(&home, "stranger", "web:80");
    apply(&home, policy("closed", json!({"podSelector": web()})));
    let why = lasting.end();
    assert!(why.contains("reset"), "{why}");
}
