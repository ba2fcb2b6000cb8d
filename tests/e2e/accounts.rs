//! Service accounts: what a pod finds to speak to the API, and what it may do there; the node's own object; ways through the API.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::home::Home;
use crate::kubectl::with_each;
use crate::manifest::{Manifest, documents, job, pod};

/// The account of the test, with a role that lets it read pods.
fn reader() -> String {
    let group = "rbac.authorization.k8s.io";
    documents([
        Manifest(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}})),
        Manifest(json!({
            "apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "read-pods"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        })),
        Manifest(json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": "read-pods"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "read-pods"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
        })),
    ])
}

/// A kubeconfig that has a token in the place of the owner's certificate.
fn with_token(home: &Home, token: &str) -> PathBuf {
    let owners = std::fs::read_to_string(home.path("kubeconfig")).expect("the node wrote it");
    let mut config: Value = serde_yaml::from_str(&owners).expect("YAML");
    config["users"][0]["user"] = json!({"token": token});
    home.file("token-kubeconfig", config).into()
}

#[test]
fn a_token_may_do_what_roles_say_and_a_wrong_one_nothing() {
    let home = Home::new();
    home.must("get nodes");
    assert_eq!(home.run_with(reader(), "apply -f -").code, 0);
    with_each(&home, |kubectl| {
        let token = kubectl.must("create token reader --duration 10m");
        let run = |token: &str, line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let mut command: Command = kubectl.command(&words);
            let output = command
                .env("KUBECONFIG", with_token(&home, token))
                .output()
                .expect("kubectl runs");
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        };
        let token = token.trim();
        assert!(run(token, "get pods").0);
        for (line, why) in [
            (
                "get secrets",
                "secrets is forbidden: User \"system:serviceaccount:default:reader\" cannot list resource \"secrets\"",
            ),
            ("get pods -n kube-system", "in the namespace \"kube-system\""),
            ("delete pod x", "cannot delete resource \"pods\""),
            (
                "create role mine --verb=* --resource=*",
                "cannot create resource \"roles\"",
            ),
            ("get --raw /kubelocal/v1/status", "forbidden"),
        ] {
            let (is_done, text) = run(token, line);
            assert!(!is_done && text.contains(why), "{line}: {text}");
        }
        let mut forged = token.to_owned();
        forged.replace_range(token.len() - 6.., "AAAAAA");
        let (is_done, text) = run(&forged, "get pods");
        assert!(
            !is_done && text.contains("You must be logged in to the server"),
            "{text}"
        );
        assert!(
            kubectl
                .must("auth can-i list pods --as system:serviceaccount:default:reader")
                .starts_with("yes")
        );
        assert!(
            kubectl
                .run("auth can-i list secrets --as system:serviceaccount:default:reader")
                .stdout
                .starts_with("no")
        );
    });
}

#[test]
fn a_program_in_a_pod_finds_the_api_as_in_a_cluster() {
    let home = Home::new();
    home.must("get nodes");
    assert_eq!(home.run_with(reader(), "apply -f -").code, 0);
    with_each(&home, |kubectl| {
        let program = kubectl.program().display().to_string();
        let asks = |name: &str, account: &str| {
            job(name, "")
                .with("/spec/serviceAccountName", json!(account))
                .with(
                    "/spec/containers/0/command",
                    json!(["/kubectl", "get", "pods", "-o", "name"]),
                )
                .with("/spec/containers/0/args", json!([]))
                .with(
                    "/spec/containers/0/volumeMounts",
                    json!([{"name": "k", "mountPath": "/kubectl"}]),
                )
                .with("/spec/volumes", json!([{"name": "k", "hostPath": {"path": program}}]))
        };
        let both = documents([asks("may", "reader"), asks("may-not", "default")]);
        assert_eq!(home.run_with(both, "apply -f -").code, 0);
        home.until_phase("may", "Succeeded");
        home.until_phase("may-not", "Failed");
        assert!(home.must("logs may").contains("pod/may"));
        assert!(home.must("logs may-not").contains("cannot list resource \"pods\""));
        home.must("delete pod may may-not");
    });
}

#[test]
fn an_account_or_pod_that_wants_no_token_gets_none() {
    let home = Home::new();
    home.must("get nodes");
    let quiet = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "quiet"}, "automountServiceAccountToken": false});
    assert_eq!(home.run_with(Manifest(quiet).to_string(), "apply -f -").code, 0);
    let place = "/var/run/secrets/kubernetes.io/serviceaccount";
    let projected = json!([{"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}}]}}]);
    home.start(documents([
        pod("with", "serve"),
        pod("without", "serve").with("/spec/automountServiceAccountToken", json!(false)),
        pod("quiet", "serve").with("/spec/serviceAccountName", json!("quiet")),
        pod("own", "serve").with("/spec/volumes", projected).with(
            "/spec/containers/0/volumeMounts",
            json!([{"name": "t", "mountPath": "/t"}]),
        ),
    ]));
    let mounts = |name: &str| home.get(&format!("pod {name}"))["spec"]["containers"][0]["volumeMounts"].to_string();
    assert!(mounts("with").contains(place) && mounts("own").contains(place));
    assert!(!mounts("without").contains(place) && !mounts("quiet").contains(place));
    let read = |pod: &str, path: &str| home.must(["exec", pod, "--", "/kubelocal", "demo", "cat", path]);
    assert_eq!(read("with", &format!("{place}/namespace")), "default");
    assert!(read("with", &format!("{place}/ca.crt")).contains("BEGIN CERTIFICATE"));
    let token = read("own", "/t/vault");
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token.trim(), "audiences": ["vault"]}});
    with_each(&home, |kubectl| {
        let file = home.file("review.json", &review);
        let answer: Value = serde_json::from_str(&kubectl.must(&format!("create -o json -f {file}"))).expect("JSON");
        assert_eq!(answer["status"]["authenticated"], true, "{answer}");
        assert_eq!(
            answer["status"]["user"]["username"],
            "system:serviceaccount:default:default"
        );
        let mut for_us = review.clone();
        for_us["spec"]["audiences"] = json!([]);
        let file = home.file("for-us.json", for_us);
        let answer: Value = serde_json::from_str(&kubectl.must(&format!("create -o json -f {file}"))).expect("JSON");
        assert_eq!(
            answer["status"]["authenticated"], false,
            "a token for others is none for the API"
        );
    });
}

#[test]
fn what_people_say_of_the_node_stays() {
    let home = Home::new();
    home.must("get nodes");
    with_each(&home, |kubectl| {
        let node = kubectl.must("get nodes -o name").trim().to_owned();
        let name = node.trim_start_matches("node/");
        for line in [
            format!("label {node} disk=ssd"),
            format!("annotate {node} owner=me"),
            format!("taint node {name} dedicated=db:PreferNoSchedule"),
            format!("cordon {name}"),
        ] {
            kubectl.must(&line);
        }
        home.must("stop");
        let node_of = || home.get(&format!("node {name}"));
        let seen = node_of();
        assert_eq!(seen["metadata"]["labels"]["disk"], "ssd");
        assert_eq!(seen["metadata"]["annotations"]["owner"], "me");
        assert_eq!(seen["spec"]["unschedulable"], true);
        assert_eq!(seen["spec"]["taints"][0]["key"], "dedicated");
        assert!(kubectl.must("get nodes").contains("Ready,SchedulingDisabled"));
        for line in [
            format!("label {node} disk-"),
            format!("annotate {node} owner-"),
            format!("taint node {name} dedicated-"),
            format!("uncordon {name}"),
        ] {
            kubectl.must(&line);
        }
        assert_eq!(node_of()["metadata"]["labels"]["disk"], Value::Null);
        assert_eq!(
            kubectl.run(&format!("delete {node}")).code,
            1,
            "there is one node, and it stays"
        );
    });
}

#[test]
fn pods_and_services_are_reached_through_the_api() {
    let home = Home::new();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    home.start(documents([
        pod("web", "serve --port 8080").with("/metadata/labels", json!({"app": "web"})),
        Manifest(service),
    ]));
    with_each(&home, |kubectl| {
        let raw = |path: &str| kubectl.run(&format!("get --raw /api/v1/{path}"));
        for path in [
            "pods/web:8080/proxy/",
            "services/web/proxy/",
            "services/web:http/proxy/",
            "services/web:80/proxy/",
        ] {
            let answer = raw(&format!("namespaces/default/{path}"));
            assert!(answer.code == 0 && answer.stdout.contains("web"), "{path}: {answer:?}");
        }
        assert!(
            raw("namespaces/default/services/web:81/proxy/")
                .stderr
                .contains("no endpoints available")
        );
        assert!(
            raw("namespaces/default/pods/web:1/proxy/")
                .stderr
                .contains("connection refused")
        );
        let node = kubectl.must("get nodes -o jsonpath={.items[0].metadata.name}");
        assert_eq!(raw(&format!("nodes/{node}/proxy/healthz")).stdout, "ok");
        let summary: Value =
            serde_json::from_str(&raw(&format!("nodes/{node}/proxy/stats/summary")).stdout).expect("JSON");
        assert_eq!(summary["node"]["nodeName"], node.as_str());
        let of_pod = &summary["pods"][0];
        assert_eq!(
            (&of_pod["podRef"]["name"], &of_pod["containers"][0]["name"]),
            (&json!("web"), &json!("main"))
        );
        assert!(of_pod["memory"]["workingSetBytes"].is_u64(), "{summary}");
    });
}

#[test]
fn a_secret_of_an_account_has_its_token_and_goes_with_it() {
    let home = Home::new();
    home.must("get nodes");
    let of = |account: Value| {
        Manifest(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
            "metadata": {"name": "robot", "annotations": {"kubernetes.io/service-account.name": account}},
        }))
    };
    let refused = home.run_with(of(json!("")).to_string(), "apply -f -");
    let why = "metadata.annotations[kubernetes.io/service-account.name]: Required value";
    assert!(refused.code == 1 && refused.stderr.contains(why), "{refused:?}");
    // It waits for its account.
    assert_eq!(home.run_with(of(json!("reader")).to_string(), "apply -f -").code, 0);
    assert_eq!(home.run_with(reader(), "apply -f -").code, 0);
    let data = |field: &str| {
        let text = home.text("secret robot", &format!("/data/{field}"));
        let bytes = STANDARD.decode(text).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    home.until("it has a token", || !data("token").is_empty());
    assert_eq!(data("namespace"), "default");
    assert!(data("ca.crt").starts_with("-----BEGIN CERTIFICATE-----"));
    let token = data("token");
    with_each(&home, |kubectl| {
        let ask = |what: &str| {
            let mut command = kubectl.command(&["get", what]);
            let output = command.env("KUBECONFIG", with_token(&home, &token)).output();
            output.expect("kubectl runs").status.success()
        };
        assert!(ask("pods"));
        assert!(!ask("secrets"));
    });
    home.must("delete serviceaccount reader");
    home.until_gone("secret robot");
}
