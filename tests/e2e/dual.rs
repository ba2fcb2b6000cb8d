//! Both families of addresses: pods, Services, names and policies by IPv6 as by IPv4.

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, documents, pod};

/// The pod's addresses.
fn ips(home: &Home, pod: &str) -> Vec<String> {
    let all = home.field(&format!("pod {pod}"), "/status/podIPs");
    let all = all.as_array().expect("it has some").iter();
    all.map(|one| one["ip"].as_str().expect("text").to_owned()).collect()
}

/// The one of IPv6, as it stands before a port.
fn second(home: &Home, pod: &str) -> String {
    let ips = ips(home, pod);
    assert!(ips.len() == 2 && ips[1].starts_with("fd00:10:244::"), "{ips:?}");
    format!("[{}]", ips[1])
}

fn web(name: &str) -> Manifest {
    let ports = json!([{"name": "http", "containerPort": 8080}]);
    pod(name, "serve")
        .with("/metadata/labels", json!({"app": "web"}))
        .with("/spec/containers/0/ports", ports)
}

fn service(name: &str, more: Value) -> Manifest {
    let spec = json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
    let mut manifest = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let spec = manifest["spec"].as_object_mut().expect("an object");
    spec.extend(more.as_object().expect("an object").clone());
    Manifest(manifest)
}

fn apply(home: &Home, manifest: impl ToString) {
    let applied = home.run_with(manifest.to_string(), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert_eq!(applied.stderr, "", "nothing of it is left out");
}

fn connect(home: &Home, from: &str, target: &str) -> bool {
    home.run(format!("exec {from} -- /kubelocal demo connect {target} --within 2000"))
        .code
        == 0
}

fn resolve(home: &Home, name: &str) -> Vec<String> {
    let found = home.run(format!("exec client -- /kubelocal demo resolve {name}"));
    found.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_pod_has_an_address_of_each_family_and_is_reached_by_both_also_after_its_node_was_killed() {
    let home = Home::new();
    let own = json!([{"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}]);
    home.start(documents([
        web("web").with("/spec/containers/0/env", own),
        pod("client", "serve"),
    ]));
    let ip = second(&home, "web");
    let bare = ip.trim_matches(['[', ']']);
    assert!(connect(&home, "client", &format!("{ip}:8080")));
    assert!(connect(&home, "web", &format!("{ip}:8080")), "a pod reaches itself");
    assert!(connect(&home, "web", "[::1]:8080"), "and its loopback");
    let hosts = home.must("exec web -- /kubelocal demo cat /etc/hosts");
    assert!(hosts.contains(&format!("\n{bare}\tweb\n")), "{hosts}");
    let env = home.must("exec web -- /kubelocal demo env");
    assert!(env.contains(&format!("IPS={}\n", ips(&home, "web").join(","))), "{env}");
    let wiring = home.must("net");
    assert!(wiring.contains("dual stack") && wiring.contains(bare), "{wiring}");
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::KILL).expect("is ours");
    home.until_ended(node);
    home.start(pod("new", "serve"));
    assert_eq!(second(&home, "web"), ip);
    assert!(connect(&home, "new", &format!("{ip}:8080")));
}

#[test]
fn a_service_of_both_families_answers_at_both_of_its_addresses() {
    for home in [Home::new(), Home::new().with_settings("services: proxy\n")] {
        assert_answers(&home);
    }
}

fn assert_answers(home: &Home) {
    let dual = service("web", json!({"ipFamilyPolicy": "PreferDualStack"}));
    home.start(documents([dual, web("a"), web("b"), pod("client", "serve")]));
    let spec = home.field("service web", "/spec");
    assert_eq!(spec["ipFamilies"], json!(["IPv4", "IPv6"]));
    let addresses: Vec<&str> = spec["clusterIPs"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(addresses[1].starts_with("fd00:10:96::"), "{addresses:?}");
    assert_eq!(resolve(home, "web"), addresses);
    for target in [format!("{}:80", addresses[0]), format!("[{}]:80", addresses[1])] {
        home.until(&format!("{target} answers"), || connect(home, "client", &target));
        home.until("a pod reaches itself by its Service", || connect(home, "a", &target));
    }
    let slices = home.must("get endpointslices -l kubernetes.io/service-name=web --no-headers");
    assert!(slices.contains("IPv4") && slices.contains("IPv6"), "{slices}");
    let traced = home.must(format!("net trace client [{}]:80", addresses[1]));
    assert!(traced.contains(&second(home, "a")), "{traced}");
    // Of IPv6 only, and of none at all.
    apply(home, service("six", json!({"ipFamilies": ["IPv6"]})));
    home.until("it answers", || connect(home, "client", "six:80"));
    assert!(resolve(home, "six").iter().all(|ip| ip.contains(':')));
    apply(
        home,
        service("nobody", json!({"ipFamilies": ["IPv6"], "selector": {"app": "none"}})),
    );
    home.until("a Service without endpoints refuses at once", || {
        let answer = home.run("exec client -- /kubelocal demo connect nobody:80");
        answer.stderr.contains("refused")
    });
    // The second address goes with the policy.
    apply(home, service("web", json!({"ipFamilyPolicy": "SingleStack"})));
    assert_eq!(home.field("service web", "/spec/clusterIPs"), json!([addresses[0]]));
    home.until("its second name is gone", || resolve(home, "web") == [addresses[0]]);
    let second = format!("[{}]:80", addresses[1]);
    home.until("nobody answers there", || !connect(home, "client", &second));
    assert!(connect(home, "client", "web:80"));
}

#[test]
fn a_headless_service_of_both_families_has_names_for_all_addresses_and_one_port_for_each_pod() {
    let home = Home::new();
    let headless = json!({"clusterIP": "None", "ipFamilyPolicy": "RequireDualStack"});
    let bare = json!({"clusterIP": "None", "ports": null});
    home.start(documents([
        service("db", headless),
        service("bare", bare),
        web("a")
            .with("/spec/hostname", json!("one"))
            .with("/spec/subdomain", json!("db")),
        pod("client", "serve"),
    ]));
    let a = ips(&home, "a");
    home.until("its name has both addresses", || resolve(&home, "db") == a);
    assert_eq!(resolve(&home, "one.db"), a);
    home.until("without ports too", || resolve(&home, "bare") == a[..1]);
}

#[test]
fn datagrams_reach_a_service_by_ipv6_and_follow_it_to_other_endpoints() {
    let home = Home::new();
    let answering = |name: &str| pod(name, "answer").with("/metadata/labels", json!({"app": "web"}));
    let ports = json!([{"name": "udp", "port": 80, "protocol": "UDP", "targetPort": 8080}]);
    let spec = json!({"ipFamilies": ["IPv6"], "ports": ports});
    home.start(documents([
        service("web", spec),
        answering("a"),
        pod("client", "serve"),
    ]));
    let ask = || {
        home.run("exec client -- /kubelocal demo ask web:80 hello --from 4000")
            .stdout
    };
    home.until("it answers", || ask().starts_with("a heard hello from fd00:10:244::"));
    home.start(answering("b"));
    home.must("delete pod a --wait=true");
    home.until("the other one answers the same client", || ask().starts_with("b heard"));
}

#[test]
fn clients_stay_with_their_endpoint_by_ipv6_too_and_over_a_node_that_was_killed() {
    let home = Home::new();
    let sticky = service("web", json!({"ipFamilies": ["IPv6"], "sessionAffinity": "ClientIP"}));
    home.start(documents([
        sticky,
        web("a"),
        web("b"),
        web("c"),
        pod("client", "serve"),
    ]));
    // The last line of what a server says is its name.
    let asked = || {
        let answer = home.run("exec client -- /kubelocal demo fetch web:80");
        answer.stdout.lines().last().unwrap_or_default().to_owned()
    };
    let served = || home.must("get endpoints web --no-headers").matches(":8080").count();
    home.until("all are endpoints, and it answers", || {
        served() == 3 && !asked().is_empty()
    });
    let first = asked();
    let stays = |who: &str| (0..10).for_each(|_| assert_eq!(asked(), who));
    stays(&first);
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::KILL).expect("is ours");
    home.until_ended(node);
    home.must("get nodes");
    home.until("names are back", || !asked().is_empty());
    stays(&first);
    home.must(format!("delete pod {first} --wait=true"));
    let second = asked();
    assert!(!second.is_empty() && second != first, "{first} {second}");
    stays(&second);
}

#[test]
fn a_policy_holds_for_ipv6_as_for_ipv4() {
    let home = Home::new();
    let dual = service("web", json!({"ipFamilyPolicy": "RequireDualStack"}));
    home.start(documents([
        dual,
        web("web"),
        pod("friend", "serve").with("/metadata/labels", json!({"app": "friend"})),
        pod("stranger", "serve"),
    ]));
    let direct = format!("{}:8080", second(&home, "web"));
    let by_service = home.field("service web", "/spec/clusterIPs");
    let by_service = format!("[{}]:80", by_service[1].as_str().expect("text"));
    let all = [direct.as_str(), by_service.as_str()];
    let until = |from: &str, target: &str, expected: bool| {
        home.until(&format!("{from} to {target}: {expected}"), || {
            connect(&home, from, target) == expected
        });
    };
    for target in all {
        until("stranger", target, true);
    }
    let policy = |name: &str, spec: Value| {
        Manifest(
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}),
        )
    };
    let web = json!({"matchLabels": {"app": "web"}});
    let from = json!([{"podSelector": {"matchLabels": {"app": "friend"}}}]);
    let rules = json!([{"from": from, "ports": [{"port": "http"}]}]);
    apply(&home, policy("friends", json!({"podSelector": web, "ingress": rules})));
    for target in all {
        until("stranger", target, false);
        assert!(connect(&home, "friend", target), "{target}");
    }
    let traced = home.run(format!("net trace stranger {direct}"));
    assert!(
        traced.code == 1 && traced.stdout.contains("default/friends"),
        "{}",
        traced.stdout
    );
    // By blocks: the stranger's own address is in the block, and the friend's is taken out of it.
    let friend = ips(&home, "friend")[1].clone();
    let block = json!({"cidr": "fd00:10:244::/64", "except": [format!("{friend}/128")]});
    let rules = json!([{"from": [{"ipBlock": block}]}]);
    apply(&home, policy("friends", json!({"podSelector": web, "ingress": rules})));
    until("friend", &direct, false);
    until("stranger", &direct, true);
    // A block of one family lets nobody in by the other.
    let first = format!("{}:8080", ips(&home, "web")[0]);
    assert!(!connect(&home, "stranger", &first));
}
