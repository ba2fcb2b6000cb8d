//! What each client does against a node: every kubectl there is, helm 3 and 4, the Python client, kube-rs (`rust`). The outcome is a table;
//! the README shows it as it is, failing cells included, and no cell may become worse than it says. `scripts/clients` fetches what a machine
//! lacks.

#[path = "matrix/rust.rs"]
mod rust;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::home::{DEADLINE, Home, within};
use crate::images::load_busybox;
use crate::kubectl::{Kubectl, fetched, programs};
use crate::manifest::{Manifest, deployment, documents, namespace, pod};

/// Command to client to what went wrong; empty text is success.
type Cells = BTreeMap<String, BTreeMap<String, String>>;

const YES: &str = "yes";
const NO: &str = "no";

/// One kubectl in a namespace of its own.
struct Session<'h> {
    kubectl: &'h Kubectl<'h>,
    home: &'h Home,
    namespace: String,
}

type Done = Result<(), String>;

/// What a command is called, and how it is tried.
type Step = (&'static str, fn(&Session<'_>) -> Done);

impl Session<'_> {
    /// Runs a command, which has to succeed.
    fn run(&self, line: &str) -> Result<String, String> {
        let output = self.kubectl.run(&format!("-n {} {line}", self.namespace));
        match output.code {
            0 => Ok(output.stdout),
            code => Err(format!("{line}: exit code {code}: {} {}", output.stdout, output.stderr)),
        }
    }

    /// Runs a command whose output has to show this.
    fn shows(&self, line: &str, wanted: &str) -> Done {
        let text = self.run(line)?;
        let is_shown = text.contains(wanted);
        is_shown
            .then_some(())
            .ok_or_else(|| format!("{line}: no {wanted:?} in {text}"))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut all = vec!["-n", &self.namespace];
        all.extend(words);
        self.kubectl.command(&all)
    }

    fn file(&self, name: &str, text: impl ToString) -> String {
        self.home.file(&format!("{}/{name}", self.namespace), text)
    }
}

/// What people do, in an order in which each finds what it needs.
const COMMANDS: &[Step] = &[
    ("apply", |s| {
        let web = deployment("web", 1, "serve");
        // Older ones take a file that begins with a brace for JSON, in which there are no several documents.
        let file = s.file("web.yaml", format!("# two\n{}", documents([web, service()])));
        s.shows(&format!("apply -f {file}"), "deployment.apps/web created")?;
        s.shows(&format!("apply -f {file}"), "deployment.apps/web unchanged")
    }),
    ("apply --server-side -k", |s| {
        let config =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "built"}, "data": {"a": "before"}});
        s.file("overlay/map.yaml", config);
        let file = s.file("overlay/kustomization.yaml", "resources: [map.yaml]\nnamePrefix: x-\n");
        let overlay = Path::new(&file)
            .parent()
            .expect("it is in a directory")
            .display()
            .to_string();
        s.shows(
            &format!("apply --server-side -k {overlay}"),
            "configmap/x-built serverside-applied",
        )
    }),
    ("rollout status", |s| {
        s.shows("rollout status deploy/web --timeout=60s", "successfully rolled out")
    }),
    ("wait", |s| {
        s.shows(
            "wait --for=condition=Available deploy/web --timeout=60s",
            "condition met",
        )
    }),
    ("get -A -o wide", |s| s.shows("get pods -A -o wide", "NODE")),
    ("get -w", |s| {
        let mut child = s
            .command(&["get", "deploy", "web", "-w"])
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut lines = BufReader::new(child.stdout.take().expect("is piped"))
            .lines()
            .map_while(Result::ok);
        let shown = lines.find(|line| line.starts_with("web "));
        let _ = child.kill().and_then(|()| child.wait());
        shown.map(drop).ok_or_else(|| "nothing was shown".to_owned())
    }),
    ("describe", |s| s.shows("describe deploy web", "StrategyType")),
    ("logs deploy/", |s| s.run("logs deploy/web").map(drop)),
    ("logs -f", |s| {
        let counter = pod("counter", "count --interval 1 --to 3").with("/spec/restartPolicy", json!("Never"));
        s.run(&format!("apply -f {}", s.file("counter.yaml", counter)))?;
        s.run("wait --for=jsonpath={.status.phase}=Succeeded pod/counter --timeout=60s")?;
        s.shows("logs -f counter", "3")
    }),
    ("exec", |s| {
        s.shows("exec deploy/web -- /kubelocal demo echo hello", "hello")
    }),
    ("port-forward", forward),
    ("cp", |s| {
        s.run(&format!(
            "apply -f {}",
            s.file("shell.yaml", load_busybox(s.home, "sleep 1000"))
        ))?;
        s.run("wait --for=condition=Ready pod/shell --timeout=60s")?;
        let (there, back) = (s.file("there.txt", "carried"), s.file("back.txt", ""));
        s.run(&format!("cp {there} shell:/tmp/copy"))?;
        s.run(&format!("cp shell:/tmp/copy {back}"))?;
        let text = std::fs::read_to_string(back).map_err(|e| e.to_string())?;
        (text == "carried").then_some(()).ok_or(text)
    }),
    ("debug", |s| {
        s.run("debug shell --image=kubelocal.dev/demo --image-pull-policy=IfNotPresent -- /kubelocal demo echo hello")
            .map(drop)
    }),
    ("scale", |s| s.shows("scale deploy/web --replicas=2", "scaled")),
    ("rollout restart", |s| {
        s.shows("rollout restart deploy/web", "restarted")
    }),
    ("rollout history", |s| s.shows("rollout history deploy/web", "REVISION")),
    ("rollout undo", |s| s.shows("rollout undo deploy/web", "rolled back")),
    ("rollout pause, resume", |s| {
        s.shows("rollout pause deploy/web", "paused")?;
        s.shows("rollout resume deploy/web", "resumed")
    }),
    ("set image", |s| {
        s.shows("set image deploy/web main=kubelocal.dev/demo:latest", "image updated")
    }),
    ("label, annotate", |s| {
        s.shows("label deploy web a=b", "labeled")?;
        s.shows("annotate deploy web a=b", "annotate")
    }),
    ("patch", |s| {
        s.shows("patch deploy web -p {\"spec\":{\"minReadySeconds\":1}}", "patched")
    }),
    ("edit", |s| {
        let mut command = s.command(&["edit", "configmap", "x-built"]);
        let output = command
            .env("KUBE_EDITOR", "sed -i s/before/after/")
            .output()
            .map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        text.contains("edited").then_some(()).ok_or(text)
    }),
    ("diff", |s| {
        let web = deployment("web", 5, "serve");
        let output = s
            .kubectl
            .run(&format!("-n {} diff -f {}", s.namespace, s.file("diff.yaml", web)));
        let is_shown = output.code == 1 && output.stdout.contains("replicas: 5");
        is_shown.then_some(()).ok_or_else(|| format!("{output:?}"))
    }),
    ("explain", |s| s.shows("explain pod.spec.containers", "livenessProbe")),
    ("events", |s| s.shows("events", "Scheduled")),
    ("top pod", |s| s.shows("top pod", "CPU")),
    ("create token", |s| s.shows("create token default", ".")),
    ("auth whoami", |s| s.shows("auth whoami", "kubelocal-admin")),
    ("auth can-i", |s| s.shows("auth can-i delete pods", "yes")),
    ("run, attach", |s| {
        // What a program says before anybody is attached is not shown, here as in a cluster: so it goes on for a while.
        s.shows(
            "run once --image=kubelocal.dev/demo --image-pull-policy=IfNotPresent --restart=Never -i --rm --command -- /kubelocal demo count --interval 200 --to 9",
            "9\n",
        )
    }),
    ("expose", |s| {
        s.shows(
            "expose deploy web --name=exposed --port=80 --target-port=8080",
            "exposed",
        )
    }),
    ("get --raw .../proxy/", |s| {
        s.run(&format!(
            "get --raw /api/v1/namespaces/{}/services/web:80/proxy/",
            s.namespace
        ))
        .map(drop)
    }),
    ("cordon, taint, drain", |s| {
        let node = s.run("get nodes -o jsonpath={.items[0].metadata.name}")?;
        let drained = s.run(&format!("taint node {node} a=b:PreferNoSchedule")).and_then(|_| {
            s.run(&format!(
                "drain {node} --pod-selector=app=web --ignore-daemonsets --delete-emptydir-data --timeout=60s"
            ))
        });
        let undone = s
            .run(&format!("uncordon {node}"))
            .and_then(|_| s.run(&format!("taint node {node} a-")));
        drained.and(undone).map(drop)
    }),
    ("api-resources", |s| s.shows("api-resources", "events.k8s.io/v1")),
    ("delete", |s| {
        s.shows("delete deploy,svc,pod --all --timeout=60s", "deleted")
    }),
];

fn service() -> Manifest {
    Manifest(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    )
}

fn forward(s: &Session<'_>) -> Done {
    let mut child = s
        .command(&["port-forward", "svc/web", ":80"])
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut line = String::new();
    // Kept open: kubectl says of each connection that it handles it.
    let mut said = BufReader::new(child.stdout.take().expect("is piped"));
    let read = said.read_line(&mut line);
    let fetched = read.map_err(|e| e.to_string()).and_then(|_| {
        let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:"));
        let mut stream = TcpStream::connect(address.ok_or(line.clone())?).map_err(|e| e.to_string())?;
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        asked
            .and_then(|()| stream.read_to_string(&mut answer))
            .map_err(|e| e.to_string())?;
        answer.starts_with("HTTP/1.1 200").then_some(()).ok_or(answer)
    });
    let _ = child.kill().and_then(|()| child.wait());
    fetched
}

/// What people do with helm.
const HELM: &[(&str, &str, &str)] = &[
    (
        "install --wait",
        "install web CHART --wait --timeout 60s",
        "STATUS: deployed",
    ),
    ("list", "list", "web"),
    ("status", "status web", "deployed"),
    (
        "upgrade --wait",
        "upgrade web CHART --set replicas=2 --wait --timeout 60s",
        "has been upgraded",
    ),
    ("history", "history web", "superseded"),
    (
        "rollback --wait",
        "rollback web 1 --wait --timeout 60s",
        "Rollback was a success",
    ),
    ("get manifest", "get manifest web", "kind: Deployment"),
    ("test", "test web --timeout 60s", "Succeeded"),
    ("uninstall --wait", "uninstall web --wait --timeout 60s", "uninstalled"),
];

/// Where this repository's own files for clients are.
fn own(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A program with the node's kubeconfig.
fn client(home: &Home, program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("KUBECONFIG", home.path("kubeconfig"))
        .env("HOME", home.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn ask_helm(home: &Home, program: &Path, name: &str, cells: &mut Cells) {
    for (label, line, wanted) in HELM {
        let line = line.replace("CHART", &own("chart"));
        let words = line.split_whitespace().chain(["-n", name]);
        let output = client(home, program).args(words).output().expect("helm runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let is_done = output.status.success() && text.contains(wanted);
        let why = if is_done {
            String::new()
        } else {
            format!("{line}: {text}")
        };
        cells
            .entry((*label).to_owned())
            .or_default()
            .insert(name.to_owned(), why);
    }
}

fn ask_python(home: &Home, cells: &mut Cells) -> bool {
    let (library, python) = (fetched().join("python"), PathBuf::from("/usr/bin/python3"));
    if !library.join("kubernetes").is_dir() || !python.exists() {
        return false;
    }
    home.run_with(namespace("python").to_string(), "apply -f -");
    let mut command = client(home, &python);
    command
        .args([own("client.py"), "python".to_owned()])
        .env("PYTHONPATH", library);
    let output = command.output().expect("python runs");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    for (name, said) in lines.lines().filter_map(|line| line.split_once(' ')) {
        let why = if said == "ok" { String::new() } else { said.to_owned() };
        cells
            .entry(name.to_owned())
            .or_default()
            .insert("Python".to_owned(), why);
    }
    !lines.is_empty()
}

/// A table of the README: its name, the order of its rows, and what was seen.
fn table(rows: &[&str], cells: &Cells) -> String {
    let clients: Vec<&String> = cells
        .values()
        .next()
        .map(|row| row.keys().collect())
        .unwrap_or_default();
    let mut text = String::from("| |");
    clients.iter().for_each(|client| text.push_str(&format!(" {client} |")));
    text.push_str("\n|---|");
    clients.iter().for_each(|_| text.push_str("---|"));
    for row in rows {
        text.push_str(&format!("\n| `{row}` |"));
        for client in &clients {
            let why = cells.get(*row).and_then(|row| row.get(*client));
            let cell = if why.is_some_and(String::is_empty) { YES } else { NO };
            text.push_str(&format!(" {cell} |"));
        }
    }
    text
}

/// (row, client) of a table in Markdown to what its cell says.
fn read_table(text: &str) -> BTreeMap<(String, String), String> {
    let mut lines = text.lines().map(|line| {
        let cells = line.trim().trim_matches('|').split('|');
        cells
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect::<Vec<_>>()
    });
    let clients = lines.next().unwrap_or_default();
    let mut found = BTreeMap::new();
    for cells in lines.skip(1) {
        for (client, cell) in clients.iter().zip(&cells).skip(1) {
            found.insert((cells[0].clone(), client.clone()), cell.clone());
        }
    }
    found
}

/// Compares a table with that of the README; returns which cells became worse.
fn compare(name: &str, seen: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("a README");
    let begin = format!("<!-- matrix: {name} -->\n");
    let shown = readme
        .split_once(&begin)
        .and_then(|(_, rest)| rest.split_once("\n<!-- end -->"));
    let shown = read_table(shown.map_or("", |(table, _)| table));
    println!("{begin}{seen}\n<!-- end -->");
    let mut worse = Vec::new();
    for (cell, now) in read_table(seen) {
        match shown.get(&cell) {
            Some(before) if *before == now => {}
            Some(before) if before == YES => worse.push(format!("{cell:?}: README.md says {before}, seen: {now}")),
            before => println!("README.md IS OUT OF DATE: {cell:?} is {now}, and not {before:?}"),
        }
    }
    worse
}

fn finish(name: &str, rows: &[&str], cells: &Cells) {
    for (row, clients) in cells {
        for (client, why) in clients.iter().filter(|(_, why)| !why.is_empty()) {
            println!("{name} {client} {row}: {why}");
        }
    }
    let worse = compare(name, &table(rows, cells));
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}

#[test]
fn every_kubectl_does_what_the_readme_says() {
    let home = Home::new();
    home.must("get nodes");
    let mut cells = Cells::new();
    for (minor, program) in programs() {
        let kubectl = Kubectl::new(&home, (minor, program));
        let session = Session {
            kubectl: &kubectl,
            home: &home,
            namespace: format!("kubectl-{minor}"),
        };
        kubectl.must(&format!("create namespace {}", session.namespace));
        for (label, command) in COMMANDS {
            let why = command(&session)
                .err()
                .map(|why| format!("it failed: {why}"))
                .unwrap_or_default();
            cells
                .entry((*label).to_owned())
                .or_default()
                .insert(format!("1.{minor}"), why);
        }
        kubectl.must(&format!("delete namespace {} --wait=false", session.namespace));
    }
    if cells.is_empty() {
        println!("NOT TESTED: kubectl is not installed, so nothing was asked with it");
        return;
    }
    let rows: Vec<&str> = COMMANDS.iter().map(|(label, _)| *label).collect();
    finish("kubectl", &rows, &cells);
}

#[test]
fn every_helm_does_what_the_readme_says() {
    let home = Home::new();
    home.must("get nodes");
    let mut cells = Cells::new();
    for name in ["helm3", "helm4"] {
        let program = fetched().join(name);
        if !program.exists() {
            println!(
                "NOT TESTED: {name} is not in {}: run scripts/clients",
                fetched().display()
            );
            continue;
        }
        assert_eq!(home.run_with(namespace(name).to_string(), "apply -f -").code, 0);
        let is_there = || {
            home.get("sa -A")
                .to_string()
                .contains(&format!("\"namespace\":\"{name}\""))
        };
        assert!(within(DEADLINE, is_there), "the namespace has its account");
        ask_helm(&home, &program, name, &mut cells);
    }
    let rows: Vec<&str> = HELM.iter().map(|(label, ..)| *label).collect();
    if !cells.is_empty() {
        finish("helm", &rows, &cells);
    }
}

#[test]
fn the_python_client_does_what_the_readme_says() {
    let home = Home::new();
    home.must("get nodes");
    let mut cells = Cells::new();
    if !ask_python(&home, &mut cells) {
        println!(
            "NOT TESTED: the Python client is not in {}: run scripts/clients",
            fetched().display()
        );
        return;
    }
    let rows: Vec<String> = cells.keys().cloned().collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    finish("Python", &rows, &cells);
}

#[test]
fn a_table_is_read_as_it_is_written() {
    let cells = Cells::from([
        (
            "a".to_owned(),
            BTreeMap::from([("x".to_owned(), String::new()), ("y".to_owned(), "why".to_owned())]),
        ),
        (
            "b".to_owned(),
            BTreeMap::from([("x".to_owned(), String::new()), ("y".to_owned(), String::new())]),
        ),
    ]);
    let read = read_table(&table(&["a", "b"], &cells));
    let cell = |row: &str, client: &str| read[&(row.to_owned(), client.to_owned())].clone();
    assert_eq!([cell("a", "x"), cell("a", "y"), cell("b", "y")], [YES, NO, YES]);
}
