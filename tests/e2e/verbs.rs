//! The verbs say what kubectl says, in its forms and with its exit codes.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{config_map, container, deployment, documents, job, pod};

#[test]
fn apply_diff_and_delete_say_what_kubectl_says() {
    let home = Home::new();
    let file = home.file(
        "all.yaml",
        documents([config_map("c", json!({"k": "1"})), pod("web", "serve")]),
    );
    assert_eq!(
        home.must(format!("apply -f {file}")),
        "configmap/c created\npod/web created\n"
    );
    home.must("wait --for=condition=Ready pod/web --timeout=60s");
    assert_eq!(
        home.must(format!("apply -f {file}")),
        "configmap/c unchanged\npod/web unchanged\n"
    );
    assert_eq!(home.must(format!("diff -f {file}")), "");
    let edited = home.file("edited.yaml", config_map("c", json!({"k": "2"})));
    let diff = home.run(format!("diff -f {edited}"));
    assert_eq!(diff.code, 1, "{}", diff.stderr);
    assert!(diff.stdout.contains("-  k: \"1\"\n+  k: \"2\"\n"), "{}", diff.stdout);
    assert_eq!(
        home.must(format!("apply -f {edited} --dry-run=server")),
        "configmap/c configured (server dry run)\n"
    );
    assert_eq!(home.text("configmap c", "/data/k"), "1");
    assert_eq!(home.must(format!("apply -f {edited}")), "configmap/c configured\n");
    assert_eq!(home.must("delete configmap c"), "configmap \"c\" deleted\n");
    assert_eq!(home.must("delete pod/web"), "pod \"web\" deleted\n");
    assert!(home.get("pod web").is_null(), "delete waits until the pod is gone");
    assert_eq!(
        home.fails("delete pod web"),
        "Error from server (NotFound): pods \"web\" not found\n"
    );
    assert_eq!(home.must("delete pod web --ignore-not-found"), "");
    assert_eq!(
        home.fails("get pod web"),
        "Error from server (NotFound): pods \"web\" not found\n"
    );
}

#[test]
fn an_immutable_field_of_a_pod_is_refused() {
    let home = Home::new();
    let file = home.file("a.yaml", pod("web", "serve"));
    home.must(format!("apply -f {file}"));
    let file = home.file("a.yaml", pod("web", "serve --port 81"));
    let said = home.fails(format!("apply -f {file}"));
    assert!(
        said.contains("The Pod \"web\" is invalid: spec: Forbidden: pod updates may not change fields"),
        "{said}"
    );
}

#[test]
fn get_has_every_form_of_output() {
    let home = Home::new();
    let labelled = pod("a", "serve").with("/metadata/labels", json!({"app": "one"}));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
    let file = home.file(
        "all.yaml",
        documents([
            crate::manifest::Manifest(namespace),
            labelled,
            pod("b", "serve"),
            pod("c", "serve").in_namespace("other"),
        ]),
    );
    home.must(format!("watch --once {file}"));
    assert_eq!(home.must("get pods -o name"), "pod/a\npod/b\n");
    assert_eq!(home.must("get pods -l app=one -o name"), "pod/a\n");
    assert_eq!(home.must("get pods -l app!=one -o name"), "pod/b\n");
    assert_eq!(home.must("get pods -n other -o name"), "pod/c\n");
    assert_eq!(home.must("get po b -o jsonpath={.status.phase}"), "Running");
    assert_eq!(
        home.must("get pods -o custom-columns=NAME:.metadata.name,APP:.metadata.labels.app"),
        "NAME   APP\na      one\nb      <none>\n"
    );
    let table = home.must("get pods -A");
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(words[1][..5], ["default", "a", "1/1", "Running", "0"]);
    assert_eq!(words[3][..5], ["other", "c", "1/1", "Running", "0"]);
    let wide = home.must("get pods -o wide");
    assert!(wide.lines().next().expect("headings").contains("NODE"), "{wide}");
    let list: Value = serde_json::from_str(&home.must("get pods -o json")).expect("is JSON");
    assert_eq!(
        (&list["kind"], list["items"].as_array().map(Vec::len)),
        (&json!("List"), Some(2))
    );
    let yaml = home.must("get pod a -o yaml");
    assert!(
        yaml.starts_with("apiVersion: v1\nkind: Pod\n") && !yaml.contains("managedFields"),
        "{yaml}"
    );
    let none = home.run("get pods -n nowhere");
    assert_eq!(
        (none.code, none.stderr.as_str()),
        (0, "No resources found in nowhere namespace.\n")
    );
}

#[test]
fn describe_shows_the_pod_and_its_events() {
    let home = Home::new();
    home.must(format!("watch --once {}", home.file("a.yaml", pod("web", "serve"))));
    let text = home.must("describe pod web");
    for line in [
        "Name:             web",
        "Status:           Running",
        "    Restart Count:  0",
    ] {
        assert!(
            text.lines().any(|found| found.starts_with(line)),
            "{line} is missing:\n{text}"
        );
    }
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        assert!(
            text.contains(&format!("  Normal  {reason}")),
            "{reason} is missing:\n{text}"
        );
    }
    assert!(home.must("events --for pod/web").contains("Started container main"));
}

#[test]
fn wait_comes_to_its_goal_or_to_its_end() {
    let home = Home::new();
    let file = home.file(
        "a.yaml",
        documents([pod("web", "serve"), deployment("api", 1, "serve")]),
    );
    home.must(format!("apply -f {file}"));
    assert_eq!(
        home.must("wait --for=condition=Ready pod/web --timeout=60s"),
        "pod/web condition met\n"
    );
    home.must("wait --for=condition=Available deployment/api --timeout=60s");
    home.must([
        "wait",
        "--for=jsonpath={.status.phase}=Running",
        "pod/web",
        "--timeout=60s",
    ]);
    let said = home.fails("wait --for=condition=Nonsense pod/web --timeout=1s");
    assert_eq!(said, "error: timed out waiting for the condition on pods/web\n");
    home.must("delete pod web --wait=false");
    home.must("wait --for=delete pod/web --timeout=60s");
}

#[test]
fn watch_once_ends_with_0_when_all_is_ready_and_with_1_when_something_fails() {
    let home = Home::new();
    let good = home.file("good.yaml", documents([pod("web", "serve"), job("once", "exit 0")]));
    let shown = home.must(format!("watch --once {good}"));
    assert!(shown.contains("pod/web 1/1 Running"), "{shown}");
    let bad = home.file(
        "bad.yaml",
        job("bad", "serve").with("/spec/initContainers", json!([container("init", "exit 3")])),
    );
    let said = home.fails(format!("watch --once --timeout 60s {bad}"));
    assert!(said.contains("bad"), "{said}");
    let never = home.file(
        "never.yaml",
        pod("never", "serve").with("/spec/containers/0/image", json!("nowhere/at:all")),
    );
    let said = home.fails(format!("watch --once --timeout 3s {never}"));
    assert!(said.contains("never"), "{said}");
}

#[test]
fn watch_once_does_not_take_a_start_for_a_success() {
    let home = Home::new();
    let ended = home.file("ended.yaml", job("ended", "exit 3"));
    let said = home.fails(format!("watch --once --timeout 60s {ended}"));
    assert!(said.contains("exited with 3"), "{said}");
    let crashing = home.file("crashing.yaml", pod("crashing", "exit 3"));
    let said = home.fails(format!("watch --once --timeout 3s {crashing}"));
    assert!(said.contains("CrashLoopBackOff"), "{said}");
}

#[test]
fn watch_rm_tears_down_on_exit() {
    let home = Home::new();
    let file = home.file(
        "a.yaml",
        documents([pod("web", "serve"), deployment("api", 2, "serve")]),
    );
    home.must(format!("watch --once --rm {file}"));
    assert!(home.pods("").is_empty());
    assert!(home.get("deployment api").is_null());
    // The same when the terminal sends Ctrl-C.
    let mut child = home.spawn(home.command(format!("watch --rm {file}")).stdout(Stdio::null()));
    home.until_ready("web");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert!(child.wait().expect("it ends").success());
    assert!(home.pods("").is_empty());
}

#[test]
fn a_watch_outlives_a_killed_node_and_ends_with_one_that_is_stopped() {
    let home = Home::new();
    let file = home.file("mine/a.yaml", pod("web", "serve"));
    let directory = file.trim_end_matches("/a.yaml");
    let mut watch = home.command(format!("watch {directory}"));
    let mut watch = home.spawn(watch.stdout(Stdio::null()).stderr(Stdio::piped()));
    home.until_ready("web");
    home.kill_node();
    // Nobody else asks for a node here: it is the watch that starts the next one.
    home.until("a node runs again", || home.node_pid().is_some());
    home.file("mine/b.yaml", pod("api", "serve"));
    home.until_ready("api");
    assert!(watch.try_wait().expect("ours").is_none(), "it goes on");
    home.must("stop");
    let said = watch.wait_with_output().expect("it ends");
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.starts_with("the node ended without being told to"), "{said}");
    assert!(said.contains("error: the node ended the connection"), "{said}");
    assert_eq!(home.run("status").stdout, "kubelocal is not running\n");
}

#[test]
fn down_removes_what_a_path_made() {
    let home = Home::new();
    let file = home.file(
        "a.yaml",
        documents([pod("web", "serve"), deployment("api", 2, "serve")]),
    );
    let other = home.file("b.yaml", pod("other", "serve"));
    home.must(format!("watch --once {file}"));
    home.must(format!("watch --once {other}"));
    let said = home.must(format!("down {file}"));
    assert!(
        said.contains("pod/web deleted") && said.contains("deployment.apps/api deleted"),
        "{said}"
    );
    assert_eq!(home.pods("").into_iter().collect::<Vec<_>>(), ["other"]);
    home.must("down --all");
    assert!(home.pods("").is_empty());
}

#[test]
fn standard_input_is_a_source_and_a_file() {
    let home = Home::new();
    let applied = home.run_with(pod("web", "serve").to_string(), "apply -f -");
    assert_eq!(
        (applied.code, applied.stdout.as_str()),
        (0, "pod/web created\n"),
        "{}",
        applied.stderr
    );
    let watched = home.run_with(pod("api", "serve").to_string(), "watch --once -");
    assert_eq!(watched.code, 0, "{}", watched.stderr);
    home.until_ready("api");
    assert_eq!(watched.stderr, "");
    let instead = home.run_with(pod("db", "serve").to_string(), "watch --once -");
    assert!(instead.stderr.contains("gives way to this"), "{}", instead.stderr);
    home.until_gone("pod api");
    let broken = home.run_with("{bad", "apply -f -");
    assert_eq!(broken.code, 1);
    assert!(broken.stderr.starts_with("-:1:1: error: "), "{}", broken.stderr);
    let deleted = home.run_with(pod("web", "serve").to_string(), "delete -f -");
    assert_eq!(deleted.stdout, "pod \"web\" deleted\n");
}
