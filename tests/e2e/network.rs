//! Pods on their network: addresses, names, and who reaches whom.

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, deployment, documents, namespace, pod};

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
    assert_eq!(home.field("pod web", "/status/podIPs/0"), json!({"ip": web}));
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

/// A Service of the pods of an application.
fn service(name: &str, spec: Value) -> Manifest {
    Manifest(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))
}

fn web(name: &str) -> Manifest {
    pod(name, "serve").with("/metadata/labels", json!({"app": "web"})).with(
        "/spec/containers/0/ports",
        json!([{"name": "http", "containerPort": 8080}]),
    )
}

fn resolve(home: &Home, name: &str) -> Vec<String> {
    let found = home.run(format!("exec client -- /kubelocal demo resolve {name}"));
    found.stdout.lines().map(str::to_owned).collect()
}

/// Whether the client reaches it.
fn reaches(home: &Home, target: &str) -> bool {
    home.run(format!("exec client -- /kubelocal demo connect {target}"))
        .code
        == 0
}

#[test]
fn a_service_answers_at_its_name_and_address_for_all_its_ready_pods() {
    assert_answers(&Home::new());
}

#[test]
fn where_the_nodes_own_proxy_serves_a_service_answers_so_too_and_the_node_says_who_serves() {
    let home = by_proxy();
    assert_answers(&home);
    let status = home.must("status");
    assert!(
        status.contains("warning: the node's own proxy serves Services"),
        "{status}"
    );
    let conditions = home.get("nodes")["items"][0]["status"]["conditions"].clone();
    let is_said = |condition: &Value| {
        (&condition["type"], &condition["status"], &condition["reason"])
            == (&json!("ServiceRules"), &json!("False"), &json!("ProxyServes"))
    };
    assert!(
        conditions.as_array().is_some_and(|all| all.iter().any(is_said)),
        "{conditions}"
    );
    // A policy is not kept, and is told so.
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"},
        "spec": {"podSelector": {}}});
    home.start(documents([web("a"), Manifest(policy)]));
    home.until("it is told that it is not kept", || {
        let events = home.must("get events --no-headers --field-selector involvedObject.name=closed");
        events.contains("NotEnforced") && events.contains("the node's own proxy serves Services")
    });
    home.until("pods reach each other", || {
        reaches(&home, "web:80") || reaches(&home, "a:8080")
    });
}

/// A home whose node serves Services by its own proxy.
fn by_proxy() -> Home {
    Home::new().with_settings("services: proxy\n")
}

fn assert_answers(home: &Home) {
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]});
    home.start(documents([
        service("web", spec),
        web("a"),
        web("b"),
        pod("client", "serve"),
    ]));
    let ip = home.text("service web", "/spec/clusterIP");
    assert!(ip.starts_with("10.96."), "{ip}");
    for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"] {
        assert_eq!(resolve(home, name), [ip.as_str()], "{name}");
        home.until(&format!("{name} answers"), || reaches(home, &format!("{name}:80")));
    }
    let served = || {
        let slices = home.get("endpointslices -l kubernetes.io/service-name=web");
        let endpoints = slices["items"][0]["endpoints"].as_array().cloned().unwrap_or_default();
        let ready = endpoints
            .into_iter()
            .filter(|endpoint| endpoint["conditions"]["ready"] == true);
        ready.count()
    };
    home.until("both pods are endpoints", || served() == 2);
    let endpoints = home.must("get endpoints web");
    for name in ["a", "b"] {
        assert!(
            endpoints.contains(&format!("{}:8080", address(home, name))),
            "{endpoints}"
        );
    }
    // A pod that is in the Service reaches itself by it, and the node's own pods by their names.
    home.must("exec a -- /kubelocal demo connect web:80");
    assert!(resolve(home, "a").contains(&address(home, "a")));
    // Both answer: each is asked alone when the other is gone.
    home.must("delete pod a --wait=true");
    home.until("one endpoint is left", || served() == 1);
    for _ in 0..20 {
        home.must("exec client -- /kubelocal demo connect web:80");
    }
    home.must("delete pod b --wait=true");
    home.until("a Service without endpoints refuses at once", || {
        let answer = home.run("exec client -- /kubelocal demo connect web:80");
        answer.stderr.contains("refused")
    });
    home.must("delete service web");
    home.until("its name is gone", || resolve(home, "web").is_empty());
    home.until_gone("endpoints web");
}

#[test]
fn a_headless_service_is_the_names_of_its_pods_and_an_external_one_another_name() {
    let home = Home::new();
    let headless = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 8080}]});
    let named = web("a")
        .with("/spec/hostname", json!("one"))
        .with("/spec/subdomain", json!("db"));
    let external = service(
        "far",
        json!({"type": "ExternalName", "externalName": "db.default.svc.cluster.local"}),
    );
    home.start(documents([
        service("db", headless),
        external,
        named,
        web("b"),
        pod("client", "serve"),
    ]));
    let (a, b) = (address(&home, "a"), address(&home, "b"));
    home.until("both pods are addresses of the name", || {
        let found = resolve(&home, "db");
        found.contains(&a) && found.contains(&b) && found.len() == 2
    });
    assert_eq!(resolve(&home, "one.db"), [a]);
    assert_eq!(resolve(&home, "far").len(), 2, "the other name's addresses");
    let hosts = home.must("exec a -- /kubelocal demo cat /etc/hosts");
    assert!(hosts.contains("one.db.default.svc.cluster.local\tone"), "{hosts}");
    assert!(resolve(&home, "nobody.db").is_empty());
}

#[test]
fn a_service_without_a_selector_leads_where_its_endpoints_say() {
    for home in [Home::new(), by_proxy()] {
        assert_leads_to_its_endpoints(&home);
    }
}

fn assert_leads_to_its_endpoints(home: &Home) {
    home.start(documents([pod("target", "serve"), pod("client", "serve")]));
    let subsets = json!([{"addresses": [{"ip": address(home, "target")}], "ports": [{"port": 8080}]}]);
    let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "own"}, "subsets": subsets});
    let own = service("own", json!({"ports": [{"port": 80}]}));
    let applied = home.run_with(documents([own, Manifest(endpoints)]), "apply -f -");
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    home.until("it leads there", || reaches(home, "own:80"));
}

#[test]
fn containers_find_services_by_variables_unless_they_want_none() {
    let home = Home::new();
    let applied = home.run_with(
        service("my-web", json!({"clusterIP": "10.96.0.77", "ports": [{"port": 80}]})).to_string(),
        "apply -f -",
    );
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    let without = pod("without", "serve").with("/spec/enableServiceLinks", json!(false));
    home.start(documents([pod("with", "serve"), without]));
    let with = home.must("exec with -- /kubelocal demo env");
    for line in [
        "MY_WEB_SERVICE_HOST=10.96.0.77",
        "MY_WEB_SERVICE_PORT=80",
        "MY_WEB_PORT_80_TCP=tcp://10.96.0.77:80",
    ] {
        assert!(with.contains(line), "{with}");
    }
    assert!(!home.must("exec without -- /kubelocal demo env").contains("MY_WEB"));
}

#[test]
fn a_service_has_its_address_in_the_answer_and_nobody_gets_that_of_another() {
    let home = Home::new();
    home.start(documents([web("a"), pod("client", "serve")]));
    let spec = || json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    // What a dry run says is what is given.
    let answer = |words: &str| -> Value {
        let applied = home.run_with(service("web", spec()).to_string(), words);
        assert_eq!(applied.code, 0, "{}", applied.stderr);
        serde_json::from_str(&applied.stdout).expect("JSON")
    };
    let planned = answer("apply -f - --dry-run=server -o json");
    let given = answer("apply -f - -o json");
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ports"] {
        let (planned, given) = (&planned["spec"][field], &given["spec"][field]);
        assert!(!given.is_null() && planned == given, "{field}: {planned} {given}");
    }
    assert!(given["spec"]["ports"][0]["nodePort"].is_number(), "{given}");
    let ip = given["spec"]["clusterIP"].as_str().expect("text").to_owned();
    home.until("it answers", || reaches(&home, &format!("{ip}:80")));
    for taken in [&*ip, "10.96.0.1", "10.96.0.10"] {
        // Before all others in the order of names.
        let thief = service("a-thief", json!({"clusterIP": taken, "ports": [{"port": 80}]})).in_namespace("aaa");
        let refused = home.run_with(documents([namespace("aaa"), thief]), "apply -f -");
        let expected = format!("failed to allocate IP {taken}: provided IP is already allocated");
        assert!(
            refused.code != 0 && refused.stderr.contains(&expected),
            "{}",
            refused.stderr
        );
    }
    let outside = service("far", json!({"clusterIP": "192.0.2.1", "ports": [{"port": 80}]}));
    let file = home.file("far.yaml", outside.to_string());
    let refused = home.run(format!("watch --once {file}"));
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(
        said.contains("the provided IP (192.0.2.1) is not in the valid range"),
        "{said}"
    );
    assert!(reaches(&home, &format!("{ip}:80")), "it is still its own");
}

#[test]
fn on_the_hosts_network_no_name_of_the_cluster_is_asked_of_anybody_and_the_api_is_on_loopback() {
    let home = Home::new();
    let on_host = pod("on-host", "sleep forever")
        .with("/spec/hostNetwork", json!(true))
        .with("/spec/dnsPolicy", json!("ClusterFirstWithHostNet"));
    let applied = home.run_with(on_host.to_string(), "apply -f -");
    let warning = "spec.dnsPolicy: approximated: with hostNetwork as Default";
    assert!(applied.stderr.contains(warning), "{}", applied.stderr);
    home.until_ready("on-host");
    let resolver = home.must("exec on-host -- /kubelocal demo cat /etc/resolv.conf");
    assert!(
        !resolver.contains("10.96.") && !resolver.contains("cluster.local"),
        "{resolver}"
    );
    let variables = home.must("exec on-host -- /kubelocal demo env");
    assert!(variables.contains("KUBERNETES_SERVICE_HOST=127.0.0.1\n"), "{variables}");
    assert!(!variables.contains("10.96."), "{variables}");
    let port = variables
        .lines()
        .find_map(|line| line.strip_prefix("KUBERNETES_SERVICE_PORT="));
    let port = port.expect("is given");
    home.must(format!("exec on-host -- /kubelocal demo connect 127.0.0.1:{port}"));
}

#[test]
fn services_keep_working_while_the_node_is_down_and_names_come_back_with_it() {
    let home = Home::new();
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    home.start(documents([service("web", spec), web("a"), pod("client", "serve")]));
    home.until("it answers", || reaches(&home, "web:80"));
    let ip = home.text("service web", "/spec/clusterIP");
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::KILL).expect("is ours");
    home.until_ended(node);
    // The next node starts with the command, and finds the rules of its predecessor.
    home.must(format!("exec client -- /kubelocal demo connect {ip}:80"));
    home.until("its name is back", || resolve(&home, "web") == [ip.as_str()]);
}

#[test]
fn rolling_updates_behind_a_service_fail_no_request_though_servers_end_at_once() {
    assert_rolls(&Home::new());
}

#[test]
fn rolling_updates_fail_no_request_by_the_proxy_either() {
    assert_rolls(&by_proxy());
}

fn assert_rolls(home: &Home) {
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    let probe = json!({"httpGet": {"port": 8080, "path": "/healthz"}, "periodSeconds": 1});
    // No preStop hook: nothing but the node's own order keeps connections from servers that listen no more.
    let version = |version: usize| {
        deployment("web", 3, "serve")
            .with("/spec/selector/matchLabels", json!({"app": "web"}))
            .with("/spec/template/metadata/labels", json!({"app": "web"}))
            .with("/spec/template/spec/containers/0/readinessProbe", probe.clone())
            .with(
                "/spec/template/spec/containers/0/env",
                json!([{"name": "VERSION", "value": version.to_string()}]),
            )
    };
    home.start(documents([service("web", spec), version(0), pod("client", "serve")]));
    home.until("it answers", || reaches(home, "web:80"));
    let said = std::thread::scope(|scope| {
        let load = scope.spawn(|| home.run("exec client -- /kubelocal demo load web:80 4 /done"));
        // No assertion while the load is on: it would wait for the load, and that for the file.
        let is_new = |round: usize| {
            let before = home.pods("app=web");
            let applied = home.run_with(version(round).to_string(), "apply -f -");
            let is_new = || {
                let now = home.pods("app=web");
                now.len() == 3 && now.is_disjoint(&before)
            };
            applied.code == 0 && crate::home::within(crate::home::DEADLINE, is_new)
        };
        let is_done = (1..=3).all(is_new);
        home.must("exec client -- /kubelocal demo write /done yes");
        let said = load.join().expect("does not panic");
        assert!(is_done, "a rollout does not end");
        said
    });
    assert_eq!(said.code, 0, "{} {}", said.stdout, said.stderr);
    let answered: usize = said
        .stdout
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number");
    assert!(answered > 100, "{answered} requests are no load");
}
