//! What a write may not do, whoever asks for it: rename, move, run dry only nearly, reach what its caller may not; and how ownership goes
//! from hand to hand.

use http::StatusCode;
use serde_json::{Value, json};

use super::{APPLY, Asked, JSON, MAPS, MERGE, map};

const JSON_PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn as_type(content_type: &str) -> [(&str, &str); 1] {
    [("content-type", content_type)]
}

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }})
}

fn message(status: &Value) -> &str {
    status["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn no_patch_renames_an_object_or_moves_it() {
    let asked = Asked::start().await;
    asked.must("POST", MAPS, map("a", json!({"k": "v"}))).await;
    let of = |field: &str, value: &str| {
        let path = format!("/metadata/{field}");
        [
            (JSON_PATCH, json!([{"op": "replace", "path": path, "value": value}])),
            (MERGE, json!({"metadata": {field: value}})),
            (STRATEGIC, json!({"metadata": {field: value}})),
        ]
    };
    for (how, patch) in of("name", "b").into_iter().chain(of("namespace", "kube-system")) {
        let (code, status) = asked
            .ask_as("PATCH", &format!("{MAPS}/a"), &as_type(how), patch.clone())
            .await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{how} {patch}: {status}");
        assert!(message(&status).contains("does not match"), "{status}");
    }
    let (code, status) = asked
        .ask_as(
            "PATCH",
            &format!("{MAPS}/a"),
            &as_type(MERGE),
            json!({"metadata": {"name": "b"}}),
        )
        .await;
    let text = "the name of the object (b) does not match the name on the URL (a)";
    assert_eq!((code, message(&status)), (StatusCode::BAD_REQUEST, text));
    let (code, _) = asked
        .ask_as(
            "PATCH",
            &format!("{MAPS}/a"),
            &as_type(MERGE),
            json!({"metadata": {"uid": "another"}}),
        )
        .await;
    assert_eq!(
        code,
        StatusCode::CONFLICT,
        "another object of the name is another object"
    );
    asked.must("POST", DEPLOYMENTS, deployment("d")).await;
    let rename = json!([{"op": "replace", "path": "/metadata/name", "value": "e"}]);
    let (code, _) = asked
        .ask_as("PATCH", &format!("{DEPLOYMENTS}/d/scale"), &as_type(JSON_PATCH), rename)
        .await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "neither does one of its scale");
}

#[tokio::test]
async fn a_dry_run_of_an_unknown_sort_is_refused_and_nothing_happens() {
    let asked = Asked::start().await;
    asked.must("POST", MAPS, map("there", json!({}))).await;
    let there = format!("{MAPS}/there");
    let changed = map("there", json!({"a": "b"}));
    for (method, path, headers, body) in [
        (
            "POST",
            format!("{MAPS}?dryRun=all"),
            as_type(JSON),
            map("new", json!({})),
        ),
        ("PUT", format!("{there}?dryRun=all"), as_type(JSON), changed.clone()),
        ("PATCH", format!("{there}?dryRun=all"), as_type(MERGE), changed.clone()),
        (
            "PATCH",
            format!("{there}?dryRun=all&fieldManager=m"),
            as_type(APPLY),
            changed.clone(),
        ),
        ("DELETE", format!("{there}?dryRun=all"), as_type(JSON), Value::Null),
        ("DELETE", there.clone(), as_type(JSON), json!({"dryRun": ["Foo"]})),
        (
            "DELETE",
            format!("{MAPS}?dryRun=All&dryRun=x"),
            as_type(JSON),
            Value::Null,
        ),
    ] {
        let (code, status) = asked.ask_as(method, &path, &headers, body).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path}: {status}");
        assert!(message(&status).contains("supported values: \"All\""), "{status}");
    }
    let (code, _) = asked.ask("DELETE", &there, json!({"gracePeriodSeconds": "5"})).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "what can't be read is not left out");
    let seen = asked.must("GET", &there, Value::Null).await;
    assert_eq!(seen["data"], json!({}));
    let (code, _) = asked.ask("GET", &format!("{MAPS}/new"), Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn namespaces_do_not_go_all_at_once() {
    let asked = Asked::start().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "aaa"}});
    asked.must("POST", "/api/v1/namespaces", namespace).await;
    let (code, _) = asked.ask("DELETE", "/api/v1/namespaces", json!({})).await;
    assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);
    let seen = asked.must("GET", "/api/v1/namespaces/aaa", Value::Null).await;
    assert_eq!(seen["metadata"]["deletionTimestamp"], Value::Null);
    let told = asked.must("GET", "/api/v1", Value::Null).await;
    let resources = told["resources"].as_array().expect("a list");
    let verbs = &resources.iter().find(|r| r["name"] == "namespaces").expect("is told")["verbs"];
    assert!(
        !verbs.as_array().expect("a list").contains(&json!("deletecollection")),
        "{verbs}"
    );
}

#[tokio::test]
async fn an_apply_makes_only_what_its_caller_may_create() {
    let asked = Asked::start().await;
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = |verbs: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "po"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}]})
    };
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "po"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "po"},
        "subjects": [{"kind": "ServiceAccount", "name": "po", "namespace": "default"}]});
    asked
        .must("POST", &format!("{rbac}/roles"), role(json!(["patch"])))
        .await;
    asked.must("POST", &format!("{rbac}/rolebindings"), binding).await;
    let headers = [
        ("content-type", APPLY),
        ("impersonate-user", "system:serviceaccount:default:po"),
    ];
    let path = format!("{MAPS}/new?fieldManager=po");
    let (code, status) = asked.ask_as("PATCH", &path, &headers, map("new", json!({}))).await;
    assert_eq!(code, StatusCode::FORBIDDEN, "{status}");
    assert!(
        message(&status).contains("cannot create resource \"configmaps\""),
        "{status}"
    );
    asked
        .must("PUT", &format!("{rbac}/roles/po"), role(json!(["patch", "create"])))
        .await;
    let (code, _) = asked.ask_as("PATCH", &path, &headers, map("new", json!({}))).await;
    assert_eq!(code, StatusCode::CREATED);
    asked
        .must("PUT", &format!("{rbac}/roles/po"), role(json!(["patch"])))
        .await;
    let (code, _) = asked
        .ask_as("PATCH", &path, &headers, map("new", json!({"a": "b"})))
        .await;
    assert_eq!(code, StatusCode::OK, "what is there it may change");
}

#[tokio::test]
async fn what_is_in_a_namespace_is_not_made_outside_of_any() {
    let asked = Asked::start().await;
    let mut lost = map("lost", json!({}));
    lost["metadata"]["namespace"] = json!("nope");
    let (code, _) = asked.ask("POST", "/api/v1/configmaps", lost).await;
    assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);
    let (code, _) = asked.ask("GET", &format!("{MAPS}/x/status"), Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND, "what has no status has no place for one");
}

#[tokio::test]
async fn dependents_are_orphaned_in_the_old_words_too() {
    let asked = Asked::start().await;
    for name in ["a", "b"] {
        asked.must("POST", MAPS, map(name, json!({}))).await;
    }
    let both = json!({"orphanDependents": true, "propagationPolicy": "Orphan"});
    let (code, _) = asked.ask("DELETE", &format!("{MAPS}/a"), both).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let (code, _) = asked
        .ask("DELETE", &format!("{MAPS}/a"), json!({"propagationPolicy": "Shred"}))
        .await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let pending = asked
        .must("DELETE", &format!("{MAPS}/a"), json!({"orphanDependents": true}))
        .await;
    assert_eq!(pending["metadata"]["finalizers"], json!(["orphan"]));
    let pending = asked
        .must("DELETE", &format!("{MAPS}/b?orphanDependents=true"), Value::Null)
        .await;
    assert_eq!(pending["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn text_in_secrets_is_nothing_to_warn_of() {
    let asked = Asked::start().await;
    let path = "/api/v1/namespaces/default/secrets";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}});
    for (method, path) in [("POST", path.to_owned()), ("PUT", format!("{path}/s"))] {
        let answer = asked.send(method, &path, &[], &secret).await;
        assert!(
            answer.status().is_success() && !answer.headers().contains_key("warning"),
            "{answer:?}"
        );
    }
    let seen = asked.must("GET", &format!("{path}/s"), Value::Null).await;
    assert_eq!(seen["data"], json!({"a": "Yg=="}));
}

#[tokio::test]
async fn fields_given_twice_are_refused_told_or_passed_over_as_asked() {
    let asked = Asked::start().await;
    let twice = r#"{"metadata":{"name":"twice"},"data":{"a":"b","a":"c"}}"#;
    let post = async |how: &str| {
        let path = format!("{MAPS}?dryRun=All&fieldValidation={how}");
        let request = super::request("POST", &path, JSON, twice);
        asked
            .0
            .connect()
            .await
            .send_request(request)
            .await
            .expect("is answered")
    };
    assert_eq!(
        post("Warn").await.headers()["warning"],
        "299 - \"duplicate field \\\"data.a\\\"\""
    );
    let ignored = post("Ignore").await;
    assert!(ignored.status() == StatusCode::CREATED && !ignored.headers().contains_key("warning"));
    assert_eq!(post("Strict").await.status(), StatusCode::BAD_REQUEST);
}

/// As kubectl does it when it turns from its own apply to the server's, and helm with it.
#[tokio::test]
async fn ownership_is_handed_over_by_a_patch_of_the_books() {
    let asked = Asked::start().await;
    let path = format!("{MAPS}/applied");
    let made = map("applied", json!({"a": "1", "b": "2"}));
    let made = asked
        .must("POST", &format!("{MAPS}?fieldManager=kubectl-client-side-apply"), made)
        .await;
    let mut managers = made["metadata"]["managedFields"].clone();
    managers[0]["manager"] = json!("kubectl");
    managers[0]["operation"] = json!("Apply");
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": managers},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
    ]);
    let (code, patched) = asked.ask_as("PATCH", &path, &as_type(JSON_PATCH), patch).await;
    assert_eq!(
        (code, &patched["metadata"]["managedFields"]),
        (StatusCode::OK, &managers)
    );
    let (code, applied) = asked.apply("kubectl", "", json!({"a": "1"})).await;
    assert_eq!((code, &applied["data"]), (StatusCode::OK, &json!({"a": "1"})));
}

#[tokio::test]
async fn an_apply_says_what_it_is_and_conflicts_with_what_was_there_before() {
    let asked = Asked::start().await;
    asked.must("POST", MAPS, map("applied", json!({"a": "1"}))).await;
    let path = format!("{MAPS}/applied");
    let forget = json!({"metadata": {"managedFields": [{}]}});
    let (_, bare) = asked.ask_as("PATCH", &path, &as_type(MERGE), forget).await;
    assert_eq!(bare["metadata"]["managedFields"], Value::Null);
    let (code, status) = asked.apply("me", "", json!({"a": "2"})).await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert!(message(&status).contains("before-first-apply"), "{status}");
    let nameless = json!({"metadata": {"name": "applied"}, "data": {}});
    let (code, _) = asked
        .ask_as("PATCH", &format!("{path}?fieldManager=me"), &as_type(APPLY), nameless)
        .await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_scale_is_applied_as_its_owners() {
    let asked = Asked::start().await;
    asked
        .must("POST", &format!("{DEPLOYMENTS}?fieldManager=me"), deployment("d"))
        .await;
    let path = format!("{DEPLOYMENTS}/d/scale");
    let scale =
        |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas}});
    let (code, status) = asked
        .ask_as("PATCH", &format!("{path}?fieldManager=hpa"), &as_type(APPLY), scale(3))
        .await;
    assert_eq!(code, StatusCode::CONFLICT, "{status}");
    let forced = format!("{path}?fieldManager=hpa&force=true");
    let (code, scaled) = asked.ask_as("PATCH", &forced, &as_type(APPLY), scale(3)).await;
    assert_eq!(
        (code, &scaled["kind"], &scaled["spec"]["replicas"]),
        (StatusCode::OK, &json!("Scale"), &json!(3))
    );
    let (code, status) = asked.ask_as("PATCH", &forced, &as_type(APPLY), scale(-1)).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        message(&status).starts_with("Scale.autoscaling \"d\" is invalid: spec.replicas: "),
        "{status}"
    );
}

#[tokio::test]
async fn options_that_mean_nothing_are_refused() {
    let asked = Asked::start().await;
    asked.must("POST", MAPS, map("a", json!({}))).await;
    let mut versioned = map("v", json!({}));
    versioned["metadata"]["resourceVersion"] = json!("5");
    let long = "m".repeat(129);
    for (method, path, body, wanted) in [
        ("GET", format!("{MAPS}/a?resourceVersion=99999999"), Value::Null, 504),
        ("POST", MAPS.to_owned(), versioned, 400),
        ("POST", format!("{MAPS}?fieldManager={long}"), map("b", json!({})), 422),
        (
            "GET",
            format!("{MAPS}?continue=abc&resourceVersion=7"),
            Value::Null,
            400,
        ),
    ] {
        let (code, status) = asked.ask(method, &path, body).await;
        assert_eq!(code.as_u16(), wanted, "{method} {path}: {status}");
    }
    let extra = [("impersonate-extra-scopes", "view")];
    let (code, _) = asked.ask_as("GET", MAPS, &extra, Value::Null).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pods_come_in_with_an_account_that_is_there() {
    let asked = Asked::start().await;
    let path = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
        "spec": {"serviceAccountName": "nope", "containers": [{"name": "c", "image": "i"}]}});
    let (code, status) = asked.ask("POST", path, pod.clone()).await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    let text =
        "pods \"x\" is forbidden: error looking up service account default/nope: serviceaccount \"nope\" not found";
    assert_eq!(message(&status), text);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nope"}});
    asked
        .must("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        .await;
    asked.must("POST", path, pod).await;
}

#[tokio::test]
async fn what_nothing_acts_on_is_kept_with_a_warning() {
    let asked = Asked::start().await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true}]}});
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "v"}, "webhooks": [{"name": "v.example.com", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1/x"}}]});
    for (path, object) in [
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            hook,
        ),
    ] {
        let answer = asked.send("POST", path, &[], &object).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{path}");
        let warning = answer.headers()["warning"].to_str().expect("text");
        assert!(warning.contains("without effect here"), "{warning}");
        let name = object["metadata"]["name"].as_str().expect("text");
        let seen = asked.must("GET", &format!("{path}/{name}"), Value::Null).await;
        assert_eq!(seen["spec"], object["spec"]);
    }
    let ask = json!({"spec": {"user": "x", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}});
    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let review = asked.must("POST", local, ask.clone()).await;
    assert_eq!(review["status"]["allowed"], false);
    let other = "/apis/authorization.k8s.io/v1/namespaces/kube-system/localsubjectaccessreviews";
    assert_eq!(asked.ask("POST", other, ask).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_namespace_goes_when_who_holds_it_lets_go() {
    let asked = Asked::start().await;
    let path = "/api/v1/namespaces/held";
    let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "held"},
        "spec": {"finalizers": ["example.com/me"]}});
    asked.must("POST", "/api/v1/namespaces", namespace.clone()).await;
    asked.must("DELETE", path, Value::Null).await;
    asked.must("GET", path, Value::Null).await;
    namespace["spec"]["finalizers"] = json!([]);
    asked.must("PUT", &format!("{path}/finalize"), namespace).await;
    assert_eq!(asked.ask("GET", path, Value::Null).await.0, StatusCode::NOT_FOUND);
    let (code, _) = asked
        .ask("GET", "/api/v1/namespaces/default/finalize", Value::Null)
        .await;
    assert_eq!(code, StatusCode::METHOD_NOT_ALLOWED);
}

/// Time stands still but for who waits, so that the wait is nobody's.
#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asked = Asked::start().await;
    let mut stream = tokio::net::UnixStream::connect(asked.0.socket())
        .await
        .expect("listens");
    let head = format!("POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.expect("is read");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(&answer, b"HTTP/1.1 504");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_so_to_who_writes_it_whole_first() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asked = Asked::start().await;
    let mut stream = tokio::net::UnixStream::connect(asked.0.socket())
        .await
        .expect("listens");
    let body = vec![b' '; 12 << 20];
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("is read");
    stream.write_all(&body).await.expect("is read to its end");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("is answered");
    assert_eq!(&answer, b"HTTP/1.1 413");
}
