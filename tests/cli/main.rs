//! The command line as its users meet it: the real binary against a node that answers from a script, letter by letter.
//!
//! The answers are canned, so that what is printed depends on nothing else; what the real node answers is tested with
//! the API.

mod scripted_node;

use scripted_node::{Exchange, ScriptedNode};
use serde_json::{Value, json};

const PODS: &str = "GET /api/v1/namespaces/default/pods as Table";

fn pod(name: &str, phase: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"),
        "resourceVersion": "5", "labels": {"app": name}, "managedFields": [{}]},
        "spec": {"containers": [{"name": "app"}]}, "status": {"phase": phase}})
}

fn ready_pod(name: &str) -> Value {
    let mut pod = pod(name, "Running");
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    pod
}

fn not_found(resource: &str, name: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
        "message": format!("{resource} {name:?} not found"), "details": {"name": name, "kind": resource}})
}

fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items})
}

fn event(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string() + "\n"
}

fn table(rows: &[(&str, &str)]) -> Value {
    let row = |(name, status): &(&str, &str)| {
        json!({"cells": [name, status, "10.0.0.1"],
            "object": {"metadata": {"name": name, "namespace": "default", "labels": {"app": name}}}})
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7"},
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
        "columnDefinitions": [{"name": "Name", "format": "name", "priority": 0, "type": "string"},
            {"name": "Status", "priority": 0, "type": "string"}, {"name": "IP", "priority": 1, "type": "string"}]})
}

#[tokio::test]
async fn get_prints_a_table_in_one_request() {
    let node = ScriptedNode::start()
        .await
        .on(PODS, table(&[("web", "Running"), ("a-longer-name", "Pending")]));
    node.run("get pods")
        .await
        .printed("NAME            STATUS\nweb             Running\na-longer-name   Pending\n");
    assert_eq!(node.heard().len(), 1);
}

#[tokio::test]
async fn get_shows_namespaces_wide_columns_and_labels() {
    let request = "GET /api/v1/pods?labelSelector=app%3Dweb as Table";
    let node = ScriptedNode::start().await.on(request, table(&[("web", "Running")]));
    let text = "NAMESPACE   NAME   STATUS    IP         LABELS\ndefault     web    Running   10.0.0.1   app=web\n";
    node.run("get po -A -o wide --show-labels -l app=web")
        .await
        .printed(text);
}

#[tokio::test]
async fn get_of_nothing_says_so_and_succeeds() {
    let node = ScriptedNode::start().await.on(PODS, table(&[]));
    node.run("get pods")
        .await
        .failed(0, "No resources found in default namespace.\n");
    let node = ScriptedNode::start().await.on("GET /api/v1/pods as Table", table(&[]));
    node.run("get pods -A").await.failed(0, "No resources found\n");
}

#[tokio::test]
async fn get_shows_what_is_there_and_tells_what_is_not() {
    let node = ScriptedNode::start()
        .await
        .on(
            "GET /api/v1/namespaces/default/pods/web as Table",
            table(&[("web", "Running")]),
        )
        .on_status(
            "GET /api/v1/namespaces/default/pods/x as Table",
            404,
            not_found("pods", "x"),
        );
    let ran = node.run("get pod web x").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, "NAME   STATUS\nweb    Running\n"));
    assert_eq!(ran.err, "Error from server (NotFound): pods \"x\" not found\n");
}

#[tokio::test]
async fn a_list_is_what_several_names_get_and_what_is_not_there_brings_no_kind() {
    const WEB: &str = "GET /api/v1/namespaces/default/pods/web";
    const NOPE: &str = "GET /api/v1/namespaces/default/pods/x";
    let node = ScriptedNode::start()
        .await
        .on(WEB, pod("web", "Running"))
        .on_status(NOPE, 404, not_found("pods", "x"));
    let ran = node
        .run("get pods web x -o jsonpath={.kind}/{.items[*].metadata.name}")
        .await;
    assert_eq!((ran.code, ran.out.as_str()), (1, "List/web"));
    let node = ScriptedNode::start()
        .await
        .on_status(
            "GET /apis/apps/v1/namespaces/default/deployments/x as Table",
            404,
            not_found("deployments.apps", "x"),
        )
        .on(
            "GET /api/v1/namespaces/default/pods/web as Table",
            table(&[("web", "Running")]),
        );
    let ran = node.run("get deploy/x pod/web").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, "NAME   STATUS\nweb    Running\n"));
}

#[tokio::test]
async fn get_takes_kubectls_other_flags() {
    const WEB: &str = "GET /api/v1/namespaces/default/pods/web";
    let node = ScriptedNode::start().await.on(WEB, pod("web", "Running"));
    std::fs::write(
        node.path("a.yaml"),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b}]}\n",
    )
    .expect("written");
    node.run("get -f a.yaml -o name").await.printed("pod/web\n");
    let node = ScriptedNode::start().await.on(WEB, pod("web", "Running"));
    node.run("get pod web -o jsonpath-as-json={.metadata.name} --request-timeout=5s --chunk-size=500")
        .await
        .printed("[\n    \"web\"\n]\n");
    let node = ScriptedNode::start().await.on(PODS, table(&[("web", "Running")]));
    node.run("get pods -A=false")
        .await
        .printed("NAME   STATUS\nweb    Running\n");
    let node = ScriptedNode::start().await.on_text("GET /version?pretty=true", "ok");
    node.run("get --raw /version?pretty=true").await.printed("ok");
    let node = ScriptedNode::start()
        .await
        .on("GET /api/v1/namespaces/default/pods", list(&[pod("web", "Running")]));
    node.run("get pods --sort-by=.nope -o name").await.failed(
        1,
        "error: couldn't find any field with the path of --sort-by in the list of objects\n",
    );
}

#[tokio::test]
async fn a_refused_list_says_what_was_asked_for() {
    let refused =
        json!({"kind": "Status", "status": "Failure", "reason": "BadRequest", "code": 400, "message": "no such label"});
    let node = ScriptedNode::start().await.on_status(
        "GET /apis/apps/v1/namespaces/default/deployments?labelSelector=a%3Db%3Dc as Table",
        400,
        refused,
    );
    node.run("get deploy -l a=b=c").await.failed(
        1,
        "Error from server (BadRequest): Unable to find \"apps/v1, Resource=deployments\" that match label selector \"a=b=c\", \
         field selector \"\": no such label\n",
    );
}

#[tokio::test]
async fn get_all_puts_kinds_before_names_and_blank_lines_between() {
    let node = ScriptedNode::start()
        .await
        .on(PODS, table(&[("web-1", "Running")]))
        .on("GET /api/v1/namespaces/default/services as Table", table(&[]))
        .on(
            "GET /apis/apps/v1/namespaces/default/deployments as Table",
            table(&[("web", "x")]),
        )
        .on("GET /apis/apps/v1/namespaces/default/replicasets as Table", table(&[]));
    let text = "NAME        STATUS\npod/web-1   Running\n\nNAME                  STATUS\ndeployment.apps/web   x\n";
    node.run("get all").await.printed(text);
}

#[tokio::test]
async fn get_prints_objects_in_every_format() {
    const GET: &str = "GET /api/v1/namespaces/default/pods/web";
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    app: web\n  name: web\n  namespace: default\n  \
                resourceVersion: \"5\"\n  uid: uid-web\nspec:\n  containers:\n  - name: app\nstatus:\n  phase: Running\n";
    for (line, text) in [
        ("get pod web -o yaml", yaml),
        ("get pod web -o jsonpath={.status.phase}", "Running"),
        ("get pod/web -o name", "pod/web\n"),
        (
            "get pod web -o custom-columns=N:.metadata.name,X:.x",
            "N     X\nweb   <none>\n",
        ),
    ] {
        ScriptedNode::start()
            .await
            .on(GET, pod("web", "Running"))
            .run(line)
            .await
            .printed(text);
    }
    let pods = list(&[pod("a", "Running"), pod("b", "Pending")]);
    let node = ScriptedNode::start()
        .await
        .on("GET /api/v1/namespaces/default/pods", pods);
    node.run("get pods -o jsonpath={range.items[*]}{.metadata.name},{end}")
        .await
        .printed("a,b,");
}

#[tokio::test]
async fn get_sorts_by_a_path() {
    let rows = json!({"kind": "Table", "columnDefinitions": [{"name": "Name", "format": "name"}], "rows": [
        {"cells": ["b"], "object": {"n": 10}}, {"cells": ["a"], "object": {"n": 9}}]});
    let node = ScriptedNode::start().await.on(
        "GET /api/v1/namespaces/default/pods?includeObject=Object as Table",
        rows,
    );
    node.run("get pods --sort-by=.n").await.printed("NAME\na\nb\n");
}

#[tokio::test]
async fn get_watches_after_it_has_listed() {
    let change = |kind: &str, rows: &[(&str, &str)]| {
        let mut object = table(rows);
        object["columnDefinitions"] = Value::Null;
        event(kind, &object)
    };
    let changes = change("MODIFIED", &[("web", "Running")]) + &change("DELETED", &[("web", "Terminating")]);
    let node = ScriptedNode::start()
        .await
        .on(PODS, table(&[("web", "Pending")]))
        .on_text(
            "GET /api/v1/namespaces/default/pods?resourceVersion=7&watch=true as Table",
            &changes,
        );
    node.run("get pods -w")
        .await
        .printed("NAME   STATUS\nweb    Pending\nweb    Running\nweb    Terminating\n");
}

#[tokio::test]
async fn an_unknown_kind_is_refused_without_asking_anyone() {
    let node = ScriptedNode::start().await;
    node.run("get gateway")
        .await
        .failed(1, "error: the server doesn't have a resource type \"gateway\"\n");
}

const GET_MAP: &str = "GET /api/v1/namespaces/default/configmaps/c";
const APPLY_MAP: &str =
    "PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=kubelocal-apply&fieldValidation=Strict&force=true";
const APPLY_MAP_DRY: &str = "PATCH /api/v1/namespaces/default/configmaps/c?fieldManager=kubelocal-apply&fieldValidation=Strict&force=true&dryRun=All";

fn map_file(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{k: {data}}}\n")
}

fn map(version: &str, data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "resourceVersion": version}, "data": {"k": data}})
}

#[tokio::test]
async fn apply_says_what_became_of_each_object() {
    let new = ScriptedNode::start()
        .await
        .on_status(GET_MAP, 404, not_found("configmaps", "c"))
        .on(APPLY_MAP, map("1", "a"));
    new.run_with_input("apply -f -", &map_file("a"))
        .await
        .printed("configmap/c created\n");
    let sent: Value = serde_json::from_str(&new.heard()[1].1).expect("JSON");
    assert_eq!(sent["data"], json!({"k": "a"}));
    let same = ScriptedNode::start()
        .await
        .on(GET_MAP, map("1", "a"))
        .on(APPLY_MAP, map("1", "a"));
    same.run_with_input("apply -f -", &map_file("a"))
        .await
        .printed("configmap/c unchanged\n");
    let by_server = ScriptedNode::start()
        .await
        .on(GET_MAP, map("1", "a"))
        .on(APPLY_MAP, map("1", "a"));
    by_server
        .run_with_input("apply --server-side -f -", &map_file("a"))
        .await
        .printed("configmap/c serverside-applied\n");
    let other = ScriptedNode::start()
        .await
        .on(GET_MAP, map("1", "a"))
        .on(APPLY_MAP, map("2", "b"));
    other
        .run_with_input("apply -f -", &map_file("b"))
        .await
        .printed("configmap/c configured\n");
}

/// As the node shows a map that this very file made.
fn applied_map(name: &str) -> Value {
    let fields = json!({"f:data": {"f:k": {}}});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "a"}, "metadata": {
        "name": name, "namespace": "default", "resourceVersion": "7", "managedFields": [
            {"manager": "kubelocal-apply", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": fields}]}})
}

#[tokio::test]
async fn apply_does_not_send_what_would_change_nothing() {
    let same = ScriptedNode::start().await.on(GET_MAP, applied_map("c"));
    let file = map_file("a").replace("name: c", "name: c, namespace: default");
    same.run_with_input("apply -f -", &file)
        .await
        .printed("configmap/c unchanged\n");
    let mut another = applied_map("c");
    another["metadata"]["managedFields"][0]["manager"] = json!("kubectl");
    let others = ScriptedNode::start()
        .await
        .on(GET_MAP, another)
        .on(APPLY_MAP, applied_map("c"));
    others
        .run_with_input("apply -f -", &file)
        .await
        .printed("configmap/c unchanged\n");
    let dry = "apply -f - --dry-run=server";
    let asked = ScriptedNode::start()
        .await
        .on(GET_MAP, applied_map("c"))
        .on(APPLY_MAP_DRY, applied_map("c"));
    asked
        .run_with_input(dry, &file)
        .await
        .printed("configmap/c unchanged (server dry run)\n");
}

#[tokio::test]
async fn apply_asks_once_for_many_objects_of_a_kind() {
    const LIST: &str = "GET /api/v1/namespaces/default/configmaps?limit=16";
    let names = ["a", "b", "c", "d"];
    let file: Vec<_> = names
        .iter()
        .map(|name| map_file("a").replace("name: c", &format!("name: {name}, namespace: default")))
        .collect();
    let items = |names: &[&str]| names.iter().map(|name| applied_map(name)).collect::<Vec<_>>();
    let whole = ScriptedNode::start()
        .await
        .on(LIST, json!({"metadata": {}, "items": items(&names)}));
    let unchanged = "configmap/a unchanged\nconfigmap/b unchanged\nconfigmap/c unchanged\nconfigmap/d unchanged\n";
    whole
        .run_with_input("apply -f -", &file.join("---\n"))
        .await
        .printed(unchanged);
    let page = json!({"metadata": {"continue": "more"}, "items": items(&["a", "b", "d"])});
    let long = ScriptedNode::start().await.on(LIST, page).on(GET_MAP, applied_map("c"));
    long.run_with_input("apply -f -", &file.join("---\n"))
        .await
        .printed(unchanged);
}

#[tokio::test]
async fn apply_refuses_an_object_that_two_files_name() {
    let node = ScriptedNode::start().await;
    for file in ["a.yaml", "b.yaml"] {
        std::fs::write(node.path(file), map_file("a")).expect("written");
    }
    let ran = node.run("apply -f a.yaml -f b.yaml").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.starts_with("b.yaml:3:18: error: ") && ran.err.contains("configmap/c is in a.yaml already"),
        "{}",
        ran.err
    );
    assert_eq!(node.heard(), []);
}

#[tokio::test]
async fn apply_sends_nothing_while_a_file_is_wrong() {
    let node = ScriptedNode::start().await;
    let file = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndatta: {}\n";
    std::fs::write(node.path("a.yaml"), file).expect("written");
    let ran = node.run("apply -f a.yaml").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.starts_with("a.yaml:4:1: error: ") && ran.err.contains("4 | datta: {}\n"),
        "{}",
        ran.err
    );
    assert_eq!(node.heard(), []);
}

#[tokio::test]
async fn diff_exits_with_one_when_something_differs() {
    let differs = ScriptedNode::start()
        .await
        .on(GET_MAP, map("1", "a"))
        .on(APPLY_MAP_DRY, map("1", "b"));
    let ran = differs.run_with_input("diff -f -", &map_file("b")).await;
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    assert!(ran.out.contains("\n-  k: a\n+  k: b\n"), "{}", ran.out);
    let same = ScriptedNode::start()
        .await
        .on(GET_MAP, map("1", "b"))
        .on(APPLY_MAP_DRY, map("1", "b"));
    same.run_with_input("diff -f -", &map_file("b")).await.printed("");
}

#[tokio::test]
async fn diff_exits_with_two_when_it_can_not_tell() {
    let node = ScriptedNode::start().await;
    for line in ["diff -f -", "diff", "diff -f nowhere.yaml"] {
        let ran = node.run_with_input(line, "kind: Nonsense\n").await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line}: {}", ran.err);
    }
}

#[tokio::test]
async fn wait_without_time_looks_once() {
    const WEB: &str = "GET /api/v1/namespaces/default/pods/web";
    let there = ScriptedNode::start().await.on(WEB, ready_pod("web"));
    there
        .run("wait --for=condition=Ready pod/web --timeout=0")
        .await
        .printed("pod/web condition met\n");
    let pending = ScriptedNode::start().await.on(WEB, pod("web", "Pending"));
    pending
        .run("wait --for=condition=Ready pod/web --timeout=0")
        .await
        .failed(1, "error: condition not met for pods/web\n");
    let absent = ScriptedNode::start()
        .await
        .on_status(WEB, 404, not_found("pods", "web"));
    absent
        .run("wait --for=create pod/web --timeout=0")
        .await
        .failed(1, "error: timed out waiting for the condition\n");
}

#[tokio::test]
async fn delete_waits_until_the_object_is_gone() {
    let node = ScriptedNode::start()
        .await
        .on("DELETE /api/v1/namespaces/default/pods/web", pod("web", "Running"))
        .on("GET /api/v1/pods", list(&[pod("web", "Running")]))
        .on_text(
            "GET /api/v1/pods?resourceVersion=7&watch=true",
            &event("DELETED", &pod("web", "Running")),
        );
    node.run("delete pod web --grace-period=5")
        .await
        .printed("pod \"web\" deleted\n");
    let options: Value = serde_json::from_str(&node.heard()[0].1).expect("JSON");
    assert_eq!(
        (&options["gracePeriodSeconds"], &options["propagationPolicy"]),
        (&json!(5), &json!("Background"))
    );
}

#[tokio::test]
async fn delete_without_wait_asks_and_leaves() {
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "web", "uid": "u"}});
    let node = ScriptedNode::start()
        .await
        .on("DELETE /apis/apps/v1/namespaces/x/deployments/web", deployment);
    node.run("-n x delete deploy/web --wait=false")
        .await
        .printed("deployment.apps \"web\" deleted\n");
}

#[tokio::test]
async fn delete_tells_what_a_dry_run_would_delete_in_the_order_of_the_words() {
    let node = ScriptedNode::start().await;
    node.run("delete pod b a c --dry-run=client")
        .await
        .printed("pod \"b\" deleted (dry run)\npod \"a\" deleted (dry run)\npod \"c\" deleted (dry run)\n");
    assert_eq!(node.heard(), []);
    let node = ScriptedNode::start()
        .await
        .on("DELETE /api/v1/namespaces/default/pods/web", pod("web", "Running"));
    node.run("delete pod web --dry-run=server")
        .await
        .printed("pod \"web\" deleted (server dry run)\n");
    let options: Value = serde_json::from_str(&node.heard()[0].1).expect("JSON");
    assert_eq!(options["dryRun"], json!(["All"]));
}

#[tokio::test]
async fn wait_ends_when_the_condition_holds() {
    let node = ScriptedNode::start()
        .await
        .on("GET /api/v1/namespaces/default/pods/web", pod("web", "Pending"))
        .on(
            "GET /api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dweb",
            list(&[pod("web", "Pending")]),
        )
        .on_text(
            "GET /api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dweb&resourceVersion=7&watch=true",
            &event("MODIFIED", &ready_pod("web")),
        );
    node.run("wait --for=condition=Ready pod/web")
        .await
        .printed("pod/web condition met\n");
}

#[tokio::test]
async fn logs_name_the_default_container_and_pass_flags_on() {
    let mut two = pod("web", "Running");
    two["spec"]["containers"] = json!([{"name": "app"}, {"name": "side"}]);
    let log = "GET /api/v1/namespaces/default/pods/web/log?container=app&timestamps=true&tailLines=3";
    let node = ScriptedNode::start()
        .await
        .on("GET /api/v1/namespaces/default/pods/web", two)
        .on_text(log, "hello\nworld\n");
    let ran = node.run("logs web --tail=3 --timestamps").await;
    assert_eq!((ran.code, ran.out.as_str()), (0, "hello\nworld\n"));
    assert_eq!(ran.err, "Defaulted container \"app\" out of: app, side\n");
}

#[tokio::test]
async fn logs_refuse_in_kubectls_words() {
    const WEB: &str = "GET /api/v1/namespaces/default/pods/web";
    let node = ScriptedNode::start().await;
    node.run("logs web --tail=-2")
        .await
        .failed(1, "error: --tail must be greater than or equal to -1\n");
    let node = ScriptedNode::start()
        .await
        .on_status(WEB, 404, not_found("pods", "web"));
    node.run("logs web").await.failed(
        1,
        "error: error from server (NotFound): pods \"web\" not found in namespace \"default\"\n",
    );
    let node = ScriptedNode::start().await.on(WEB, pod("web", "Running"));
    node.run("logs web -c x")
        .await
        .failed(1, "error: container x is not valid for pod web\n");
    let node = ScriptedNode::start().await.on(WEB, pod("web", "Running"));
    node.run("exec web -c x -- true").await.failed(
        1,
        "Error from server (BadRequest): container x is not valid for pod web\n",
    );
}

#[tokio::test]
async fn logs_of_many_pods_stand_behind_their_names() {
    let pods = list(&[pod("a", "Running"), pod("b", "Running")]);
    let node = ScriptedNode::start()
        .await
        .on("GET /api/v1/namespaces/default/pods?labelSelector=x", pods)
        .on_text(
            "GET /api/v1/namespaces/default/pods/a/log?container=app&tailLines=10",
            "one\n",
        )
        .on_text(
            "GET /api/v1/namespaces/default/pods/b/log?container=app&tailLines=10",
            "two",
        );
    node.run("logs -l x --prefix")
        .await
        .printed("[pod/a/app] one\n[pod/b/app] two");
}

#[tokio::test]
async fn warnings_of_the_server_go_to_standard_error() {
    let node = ScriptedNode::start().await.push(Exchange {
        request: "DELETE /api/v1/namespaces/default/pods/web",
        status: 200,
        warning: Some("take \\\"care\\\""),
        answer: pod("web", "Running").to_string(),
    });
    let ran = node.run("delete pod web --wait=false").await;
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (0, "pod \"web\" deleted\n", "Warning: take \"care\"\n")
    );
}

#[tokio::test]
async fn exec_refuses_what_has_ended() {
    let node = ScriptedNode::start()
        .await
        .on("GET /api/v1/namespaces/default/pods/web", pod("web", "Succeeded"));
    let message = "error: cannot exec into a container in a completed pod; current phase is Succeeded\n";
    node.run("exec web -- true").await.failed(1, message);
}

fn source(status: Value) -> Value {
    json!({"kind": "ManifestSource", "metadata": {"name": "s"}, "status": status})
}

async fn watched(source: Value, pods: &[Value]) -> ScriptedNode {
    let node = ScriptedNode::start()
        .await
        .on("POST /kubelocal/v1/sources", json!({"name": "s", "created": true}))
        .on(
            "GET /apis/kubelocal.dev/v1alpha1/manifestsources?fieldSelector=metadata.name%3Ds",
            list(&[source]),
        )
        .on("GET /api/v1/events?fieldSelector=type%3DWarning", list(&[]))
        .on("GET /api/v1/pods", list(pods))
        .on("GET /apis/apps/v1/replicasets", list(&[]))
        .on("GET /apis/apps/v1/deployments", list(&[]));
    std::fs::write(node.path("a.yaml"), "").expect("written");
    node
}

#[tokio::test]
async fn watch_once_ends_when_all_is_ready() {
    let status = json!({"objects": [{"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web"}],
        "conditions": [{"type": "Synced", "status": "True", "reason": "Synced", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let node = watched(source(status), &[ready_pod("web")]).await;
    node.run("watch a.yaml --once").await.printed("pod/web 0/1 Running\n");
    let request: Value = serde_json::from_str(&node.heard()[0].1).expect("JSON");
    assert_eq!(request["paths"], json!([node.path("a.yaml")]));
}

#[tokio::test]
async fn watch_once_fails_at_file_and_line() {
    let problem =
        json!({"severity": "error", "file": "a.yaml", "line": 3, "column": 1, "message": "bad", "excerpt": "x: 1"});
    let node = watched(source(json!({"problems": [problem]})), &[]).await;
    let ran = node.run("watch a.yaml --once").await;
    assert_eq!((ran.code, ran.out.as_str()), (1, "error: a.yaml:3:1: bad\n    x: 1\n"));
    assert_eq!(
        ran.err,
        "error: a.yaml:3:1: bad\nhint: it stays watched; `kubelocal down a.yaml` ends it\n"
    );
}

#[tokio::test]
async fn status_and_stop_start_no_node() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (verb, code) in [("status", 1), ("stop", 0)] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_kubelocal"))
            .arg(verb)
            .env_clear()
            .env("HOME", directory.path())
            .output()
            .await
            .expect("runs");
        assert_eq!(output.status.code(), Some(code), "{verb}");
        assert_eq!(output.stdout, b"kubelocal is not running\n", "{verb}");
    }
    assert_eq!(
        std::fs::read_dir(directory.path()).expect("reads").count(),
        0,
        "nothing was made"
    );
}

#[tokio::test]
async fn completions_are_made_for_three_shells() {
    let node = ScriptedNode::start().await;
    for shell in ["bash", "zsh", "fish"] {
        let ran = node.run(&format!("completion {shell}")).await;
        assert!(
            ran.code == 0 && ran.out.contains("kubelocal") && ran.out.contains("describe"),
            "{shell}"
        );
    }
}
