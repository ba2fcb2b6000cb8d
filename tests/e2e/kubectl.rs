//! Every kubectl that this machine has, unmodified, against a node: what it prints, and how it exits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::home::{Home, Output};
use crate::manifest::{Manifest, config_map, deployment, documents, pod};

/// A kubectl, pointed at a home's node.
pub struct Kubectl<'h> {
    home: &'h Home,
    program: PathBuf,
    /// Its minor version.
    minor: u32,
}

/// Where `scripts/clients` puts what it fetches.
pub fn fetched() -> PathBuf {
    let named = std::env::var_os("KUBELOCAL_TEST_CLIENTS");
    named.map_or_else(|| "/var/tmp/kubelocal-clients".into(), PathBuf::from)
}

/// Programs called `kubectl` or `kubectl.1.30` on the PATH, or beside what a link on it points to, or among what was fetched; each version
/// once.
pub fn programs() -> Vec<(u32, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = |dir: &Path| dir.join("kubectl").canonicalize().ok()?.parent().map(Path::to_owned);
    let dirs: Vec<PathBuf> = std::env::split_paths(&path)
        .flat_map(|dir| [Some(dir.clone()), beside(&dir)])
        .flatten()
        .chain([fetched()])
        .collect();
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    let entries = dirs.iter().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_named = name == "kubectl" || name.starts_with("kubectl.1.");
        let is_program = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
        let Some(minor) = (is_named && is_program).then(|| minor(&path)).flatten() else {
            continue;
        };
        if found.iter().all(|(other, _)| *other != minor) {
            found.push((minor, path));
        }
    }
    found.sort();
    found
}

fn minor(program: &Path) -> Option<u32> {
    let said = Command::new(program)
        .args(["version", "--client", "-o", "json"])
        .output()
        .ok()?;
    let said: Value = serde_json::from_slice(&said.stdout).ok()?;
    let minor = said.pointer("/clientVersion/minor")?.as_str()?;
    minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

/// What programs in Rust have, by TLS and with the node's own certificates.
pub async fn kube_rs(home: &Home) -> Client {
    let config = Kubeconfig::read_from(home.path("kubeconfig")).expect("the node writes it");
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .expect("it is whole");
    assert_eq!(config.cluster_url.scheme_str(), Some("https"));
    Client::try_from(config).expect("a client")
}

/// Runs a test with each kubectl there is, on one node.
pub fn with_each(home: &Home, test: impl Fn(&Kubectl<'_>)) {
    home.must("get nodes");
    let programs = programs();
    if programs.is_empty() {
        eprintln!("NOT TESTED: kubectl is not installed, so nothing was asked with it");
    }
    for (minor, program) in programs {
        let kubectl = Kubectl::new(home, (minor, program));
        eprintln!("kubectl 1.{minor} ({})", kubectl.program.display());
        test(&kubectl);
    }
}

impl<'h> Kubectl<'h> {
    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its minor version.
    pub fn minor(&self) -> u32 {
        self.minor
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(words)
            .env("KUBECONFIG", self.home.path("kubeconfig"))
            .env("KUBECACHEDIR", self.home.path(&format!("cache-{}", self.minor)))
            .env("HOME", self.home.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// One of this version, for a node that runs.
    pub fn new(home: &'h Home, (minor, program): (u32, PathBuf)) -> Kubectl<'h> {
        Kubectl { home, program, minor }
    }

    pub fn run(&self, line: &str) -> Output {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.command(&words).output().expect("kubectl runs");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn must(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(
            output.code, 0,
            "kubectl 1.{} {line}\n{}\n{}",
            self.minor, output.stdout, output.stderr
        );
        output.stdout
    }

    fn fails(&self, line: &str) -> String {
        let output = self.run(line);
        assert_ne!(output.code, 0, "kubectl 1.{} {line}\n{}", self.minor, output.stdout);
        output.stderr
    }

    /// Says what stands in the text, if it does not hold what it should.
    fn shows(&self, line: &str, wanted: &[&str]) {
        let text = self.must(line);
        for wanted in wanted {
            assert!(
                text.contains(wanted),
                "kubectl 1.{} {line}: no {wanted:?} in\n{text}",
                self.minor
            );
        }
    }
}

#[test]
fn kubectl_reads_what_runs() {
    let home = Home::new();
    home.start(documents([
        config_map("settings", json!({"a": "1"})),
        pod("web", "serve").with("/metadata/labels", json!({"app": "web"})),
        pod("other", "serve"),
    ]));
    with_each(&home, |kubectl| {
        kubectl.shows("version -o json", &["\"gitVersion\": \"v1.37"]);
        kubectl.shows("get pods", &["NAME ", "READY ", "web ", "1/1 ", "Running"]);
        kubectl.shows("get pods -o wide", &["NOMINATED NODE"]);
        kubectl.shows("get pods -A -l app=web", &["NAMESPACE", "default ", "web"]);
        assert_eq!(kubectl.must("get pods -l app!=web -o name"), "pod/other\n");
        let named = "get pods --field-selector metadata.name=web -o jsonpath={.items[*].metadata.name}";
        assert_eq!(kubectl.must(named), "web");
        assert_eq!(kubectl.must("get pods --chunk-size=1 -o name"), "pod/other\npod/web\n");
        kubectl.shows(
            "get pod web -o yaml",
            &["apiVersion: v1", "kind: Pod", "phase: Running"],
        );
        kubectl.shows("get all", &["pod/web"]);
        kubectl.shows("get po,cm --show-labels", &["pod/web", "configmap/settings", "app=web"]);
        kubectl.shows("describe pod web", &["Status:", "Running", "Started"]);
        kubectl.shows("describe node", &["Capacity:", "Non-terminated Pods:"]);
        kubectl.shows("describe cm settings", &["Data"]);
        kubectl.shows("events --for pod/web", &["Started"]);
        kubectl.shows("get events", &["LAST SEEN", "pod/web"]);
        kubectl.shows("top pod", &["NAME ", "CPU(cores) ", "MEMORY(bytes)", "web ", "other "]);
        kubectl.shows(
            "top pod -A -l app=web --containers --sort-by=cpu",
            &["NAMESPACE ", "POD ", "web ", "Mi"],
        );
        kubectl.shows("top node", &["CPU(cores) ", "MEMORY(bytes) "]);
        kubectl.shows(
            "wait --for=condition=Ready pod/web --timeout=30s",
            &["pod/web condition met"],
        );
        kubectl.shows("logs web --tail=1", &[""]);
        kubectl.shows(
            "api-resources",
            &["deployments", "deploy", "apps/v1", "selfsubjectreviews"],
        );
        kubectl.shows("api-versions", &["apps/v1", "authorization.k8s.io/v1"]);
        kubectl.shows("auth can-i create deployments", &["yes"]);
        kubectl.shows("auth can-i --list", &["*.*"]);
        kubectl.shows(
            "explain pod.spec.containers.livenessProbe.httpGet",
            &["DESCRIPTION", "path", "<string>"],
        );
        kubectl.shows(
            "explain deploy.spec.template.spec.volumes",
            &["emptyDir", "EmptyDirVolumeSource"],
        );
        if kubectl.minor >= 28 {
            kubectl.shows("auth whoami", &["kubelocal-admin", "system:masters"]);
        }
        let missing = kubectl.fails("get pod nobody");
        assert_eq!(missing, "Error from server (NotFound): pods \"nobody\" not found\n");
        let unknown = kubectl.fails("get cronjobs.batch");
        assert!(
            unknown.contains("the server doesn't have a resource type \"cronjobs\""),
            "{unknown}"
        );
    });
}

#[test]
fn kubectl_writes_and_the_node_acts() {
    let home = Home::new();
    // A file that begins with a brace is JSON for kubectl, and JSON has no documents.
    let several = |manifests| format!("# several\n{}", documents(manifests));
    let manifest = home.file(
        "web.yaml",
        several([config_map("c", json!({"k": "1"})), deployment("web", 1, "serve")]),
    );
    let changed = home.file(
        "web2.yaml",
        several([config_map("c", json!({"k": "2"})), deployment("web", 2, "serve")]),
    );
    let typo = home.file(
        "typo.yaml",
        "# flow\n{apiVersion: v1, kind: ConfigMap, metadata: {name: t}, dta: {}}",
    );
    let list = home.file(
        "list.yaml",
        "# flow\n{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: l}}]}",
    );
    with_each(&home, |kubectl| {
        kubectl.shows(
            &format!("apply -f {manifest}"),
            &["configmap/c created", "deployment.apps/web created"],
        );
        kubectl.shows(
            &format!("apply -f {manifest}"),
            &["configmap/c unchanged", "deployment.apps/web unchanged"],
        );
        kubectl.shows("rollout status deploy/web --timeout=60s", &["successfully rolled out"]);
        let diff = kubectl.run(&format!("diff -f {changed}"));
        assert_eq!(diff.code, 1, "{}", diff.stderr);
        assert!(diff.stdout.contains("+  k: \"2\""), "{}", diff.stdout);
        kubectl.shows(
            &format!("apply -f {changed} --dry-run=server"),
            &["configmap/c configured (server dry run)"],
        );
        assert_eq!(home.text("cm c", "/data/k"), "1");
        kubectl.shows(
            &format!("apply -f {changed}"),
            &["configmap/c configured", "deployment.apps/web configured"],
        );
        kubectl.shows("rollout status deploy/web --timeout=60s", &["successfully rolled out"]);
        kubectl.shows("scale deploy/web --replicas=1", &["deployment.apps/web scaled"]);
        kubectl.shows(
            "scale deploy/web --replicas=2 --current-replicas=1",
            &["deployment.apps/web scaled"],
        );
        kubectl.shows("set env deploy/web A=1", &["env updated"]);
        kubectl.shows("rollout status deploy/web --timeout=60s", &["successfully rolled out"]);
        kubectl.shows("rollout history deploy/web", &["REVISION", "1", "2"]);
        kubectl.shows("rollout undo deploy/web", &["rolled back"]);
        kubectl.shows("rollout status deploy/web --timeout=60s", &["successfully rolled out"]);
        let env = home.field("deploy web", "/spec/template/spec/containers/0/env");
        assert_eq!(env, Value::Null, "undone");
        kubectl.shows("rollout restart deploy/web", &["restarted"]);
        kubectl.shows("rollout pause deploy/web", &["paused"]);
        kubectl.shows("rollout resume deploy/web", &["resumed"]);
        kubectl.shows("label cm c tier=a", &["configmap/c labeled"]);
        kubectl.shows("annotate cm c note=b", &["configmap/c annotate"]);
        let patch = |how: &str, body: &str| kubectl.must(&format!("patch cm c --type={how} -p {body}"));
        patch("merge", r#"{"data":{"m":"1"}}"#);
        patch("json", r#"[{"op":"add","path":"/data/j","value":"1"}]"#);
        patch("strategic", r#"{"data":{"s":"1","m":null}}"#);
        assert_eq!(home.field("cm c", "/data"), json!({"k": "2", "j": "1", "s": "1"}));
        // kubectl replaces the version that it has seen, which a controller may write a status to in between.
        home.until("both are replaced", || {
            let said = kubectl.run(&format!("replace -f {manifest}")).stdout;
            said.contains("configmap/c replaced") && said.contains("deployment.apps/web replaced")
        });
        assert_eq!(home.field("cm c", "/data"), json!({"k": "1"}));
        kubectl.shows(
            &format!("apply --server-side --force-conflicts -f {changed}"),
            &[
                "configmap/c serverside-applied",
                "deployment.apps/web serverside-applied",
            ],
        );
        let refused = kubectl.fails(&format!("apply -f {typo}"));
        assert!(refused.contains("unknown field \"dta\""), "{refused}");
        kubectl.must(&format!("apply -f {list}"));
        kubectl.must("create namespace team");
        kubectl.must("create configmap made --from-literal=a=b -n team");
        kubectl.must("create secret generic hidden --from-literal=a=b -n team");
        kubectl.must("create deployment made --image=kubelocal.dev/demo --replicas=0 -n team");
        assert_eq!(home.field("cm made -n team", "/data"), json!({"a": "b"}));
        assert_eq!(home.text("secret hidden -n team", "/data/a"), "Yg==");
        let again = kubectl.fails("create namespace team");
        assert!(again.contains("namespaces \"team\" already exists"), "{again}");
        kubectl.shows("delete namespace team --timeout=60s", &["namespace \"team\" deleted"]);
        kubectl.must(&format!("delete -f {manifest} -f {list} --dry-run=server"));
        assert_eq!(home.text("cm c", "/data/k"), "2");
        kubectl.must(&format!(
            "delete -f {manifest} -f {list} --cascade=foreground --timeout=60s"
        ));
        assert!(home.get("cm c").is_null() && home.get("deploy web").is_null());
    });
}

#[test]
fn kinds_that_charts_carry_are_stored_with_a_warning() {
    let home = Home::new();
    let object = |group: &str, kind: &str, rest: Value| {
        let api_version = if group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{group}/v1")
        };
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "app"}});
        let fields = object.as_object_mut().expect("made above");
        fields.extend(rest.as_object().expect("an object").clone());
        Manifest(object)
    };
    let rbac = "rbac.authorization.k8s.io";
    let rule = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let role = json!({"apiGroup": rbac, "kind": "Role", "name": "app"});
    let subjects = json!([{"kind": "ServiceAccount", "name": "app", "namespace": "default"}]);
    let budget = json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "app"}}}});
    let chart = [
        object("", "ServiceAccount", json!({})),
        object(rbac, "Role", rule.clone()),
        object(rbac, "RoleBinding", json!({"roleRef": role, "subjects": subjects})),
        object(rbac, "ClusterRole", rule).with("/metadata/name", json!("app:reader")),
        object("policy", "PodDisruptionBudget", budget),
        object(
            "networking.k8s.io",
            "Ingress",
            json!({"spec": {"defaultBackend": {"service": {"name": "app", "port": {"number": 80}}}}}),
        ),
    ];
    let chart = home.file("chart.yaml", format!("# several\n{}", documents(chart)));
    with_each(&home, |kubectl| {
        let applied = kubectl.run(&format!("apply -f {chart}"));
        assert_eq!(applied.code, 0, "{}", applied.stderr);
        let warned = "Warning: stored, without effect here: evictions do not ask it";
        assert!(applied.stderr.contains(warned), "{}", applied.stderr);
        kubectl.shows(
            &format!("apply -f {chart}"),
            &[
                "role.rbac.authorization.k8s.io/app unchanged",
                "ingress.networking.k8s.io/app unchanged",
            ],
        );
        kubectl.shows(
            "get sa,role,clusterrole,pdb,ing",
            &[
                "serviceaccount/default",
                "clusterrole.rbac.authorization.k8s.io/app:reader",
            ],
        );
        kubectl.shows("patch pdb app -p {\"spec\":{\"minAvailable\":1}}", &["patched"]);
        assert_eq!(home.field("pdb app", "/spec/minAvailable"), json!(1));
        kubectl.shows("explain ingress.spec.rules.http.paths", &["pathType"]);
        kubectl.must(&format!("delete -f {chart}"));
    });
}

#[test]
fn kubeconfig_joins_what_is_there_and_opens_only_to_its_owner() {
    let home = Home::new();
    let printed = home.must("kubeconfig");
    assert_eq!(
        printed,
        std::fs::read_to_string(home.path("kubeconfig")).expect("is there")
    );
    let mode = std::fs::metadata(home.path("kubeconfig")).expect("is there").mode();
    assert_eq!(mode & 0o777, 0o600);
    let theirs = home.file("theirs", "current-context: prod\nclusters: []\n");
    let merged = home
        .command("kubeconfig --merge")
        .env("KUBECONFIG", &theirs)
        .output()
        .expect("runs");
    assert!(merged.status.success(), "{merged:?}");
    let text = std::fs::read_to_string(&theirs).expect("is there");
    assert!(
        text.contains("current-context: prod") && text.contains("name: kubelocal"),
        "{text}"
    );
    home.must("stop");
    assert_eq!(home.must("kubeconfig"), printed, "the port and the certificates stay");
    with_each(&home, |kubectl| {
        let stranger = home.file(
            "stranger",
            printed
                .replace("client-certificate-data", "ignored")
                .replace("client-key-data", "x"),
        );
        let said = kubectl
            .command(&["get", "pods", "--request-timeout=5s"])
            .env("KUBECONFIG", &stranger)
            .output()
            .expect("runs");
        assert!(!said.status.success(), "nobody comes in without a certificate");
        kubectl.must("get pods");
    });
}

#[test]
fn strangers_at_the_port_get_nothing_and_are_in_nobodys_way() {
    let home = Home::new();
    let config = home.must("kubeconfig");
    let address = config
        .split("https://")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .expect("a server");
    let connect = || TcpStream::connect(address).expect("connects");
    // More than there are places for those who have not proved who they are.
    let silent: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
    let mut plain = connect();
    plain
        .write_all(b"GET /api/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("writes");
    let mut answer = Vec::new();
    // The server may cut the connection instead of ending it.
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
    with_each(&home, |kubectl| {
        kubectl.must("get pods --request-timeout=5s");
    });
    drop(silent);
}
