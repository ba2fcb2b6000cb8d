//! What Kubernetes' documentation says of every API, whatever the kind: pages, watches, tables, patches, server-side apply, preconditions,
//! finalizers, validation of fields. Asked by plain HTTP, because libraries hide half of it.

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

#[path = "machinery/documented.rs"]
mod documented;
#[path = "support/served.rs"]
mod served;
#[path = "machinery/writes.rs"]
mod writes;

use served::{Rush, Served, request, rush};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

/// The API with a client at hand.
struct Asked(Served);

impl Asked {
    async fn start() -> Self {
        let (served, ..) = Served::start().await;
        Self(served)
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> http::Response<Incoming> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut request = request(method, path, JSON, body);
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        self.0.connect().await.send_request(request).await.expect("is answered")
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask_as(method, path, &[], body).await
    }

    async fn ask_as(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> (StatusCode, Value) {
        let answer = self.send(method, path, headers, &body).await;
        let code = answer.status();
        let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&bytes).expect("JSON"))
    }

    async fn write_more_than_is_remembered(&self) {
        let done = rush(
            &self.0,
            Rush {
                objects: 10,
                watchers: 0,
                writes: 9000,
                rate: None,
            },
        )
        .await;
        println!("{:.1?}, {} watchers had to begin anew", done.took, done.anew);
    }

    async fn must(&self, method: &str, path: &str, body: Value) -> Value {
        let (code, value) = self.ask(method, path, body).await;
        assert!(code.is_success(), "{method} {path}: {value}");
        value
    }

    async fn apply(&self, manager: &str, options: &str, data: Value) -> (StatusCode, Value) {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data});
        let path = format!("{MAPS}/applied?fieldManager={manager}{options}");
        self.ask_as("PATCH", &path, &[("content-type", APPLY)], map).await
    }
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().expect("a name"))
        .collect()
}

/// The first lines of a watch, until one is of this type.
async fn lines(body: Incoming, last: &str) -> Vec<Value> {
    let mut body = body;
    let (mut text, mut found) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(frame.expect("goes on").data_ref().map_or(&[], |bytes| &bytes[..]));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).expect("JSON");
            let is_last = event["type"] == last;
            found.push(event);
            if is_last {
                return found;
            }
        }
    }
    found
}

fn told(events: &[Value]) -> Vec<String> {
    let one = |event: &Value| format!("{} {}", event["type"], event["object"]["metadata"]["name"]).replace('"', "");
    events.iter().map(one).collect()
}

#[tokio::test]
async fn pages_are_of_one_moment_whatever_is_written_meanwhile() {
    let asked = Asked::start().await;
    for name in ["a", "b", "c", "d"] {
        asked.must("POST", MAPS, map(name, json!({}))).await;
    }
    let whole = asked.must("GET", MAPS, Value::Null).await;
    let first = asked.must("GET", &format!("{MAPS}?limit=2"), Value::Null).await;
    assert_eq!(names(&first), names(&whole)[..2]);
    assert_eq!(first["metadata"]["remainingItemCount"], json!(names(&whole).len() - 2));
    asked.must("POST", MAPS, map("bb", json!({}))).await;
    asked.must("DELETE", &format!("{MAPS}/c"), Value::Null).await;
    let token = first["metadata"]["continue"]
        .as_str()
        .expect("there is more")
        .to_owned();
    let rest = asked
        .must("GET", &format!("{MAPS}?limit=10&continue={token}"), Value::Null)
        .await;
    assert_eq!(names(&rest), names(&whole)[2..]);
    assert_eq!(rest["metadata"]["continue"], Value::Null);
    let (code, status) = asked
        .ask("GET", &format!("{MAPS}?limit=2&continue=bogus"), Value::Null)
        .await;
    assert_eq!(
        (code, &status["reason"]),
        (StatusCode::BAD_REQUEST, &json!("BadRequest"))
    );
    asked.write_more_than_is_remembered().await;
    let (code, status) = asked
        .ask("GET", &format!("{MAPS}?limit=2&continue={token}"), Value::Null)
        .await;
    assert_eq!((code, &status["reason"]), (StatusCode::GONE, &json!("Expired")));
}

#[tokio::test]
async fn a_watch_tells_what_begins_and_ceases_to_match() {
    let asked = Asked::start().await;
    let list = asked.must("GET", MAPS, Value::Null).await;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    let path = format!("{MAPS}?watch=true&resourceVersion={version}&labelSelector=team%3Da&timeoutSeconds=30");
    let watch = asked.send("GET", &path, &[], &Value::Null).await;
    let labelled = |team: &str| {
        let mut value = map("m", json!({}));
        value["metadata"]["labels"] = json!({"team": team});
        value
    };
    asked.must("POST", MAPS, labelled("b")).await;
    asked.must("PUT", &format!("{MAPS}/m"), labelled("a")).await;
    let mut changed = labelled("a");
    changed["data"] = json!({"x": "y"});
    asked.must("PUT", &format!("{MAPS}/m"), changed).await;
    asked.must("PUT", &format!("{MAPS}/m"), labelled("b")).await;
    let events = lines(watch.into_body(), "DELETED").await;
    assert_eq!(told(&events), ["ADDED m", "MODIFIED m", "DELETED m"]);
    let versions: Vec<u64> = events
        .iter()
        .map(|event| {
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .expect("text")
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(versions.is_sorted() && versions[0] > version.parse().expect("a number"));
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_own_bookmark() {
    let asked = Asked::start().await;
    asked.must("POST", MAPS, map("here", json!({}))).await;
    let options = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let watch = asked.send("GET", &format!("{MAPS}?{options}"), &[], &Value::Null).await;
    let events = lines(watch.into_body(), "BOOKMARK").await;
    let (last, items) = events.split_last().expect("a bookmark at least");
    assert!(items.iter().all(|event| event["type"] == "ADDED"));
    assert_eq!(
        last["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let (code, status) = asked
        .ask("GET", &format!("{MAPS}?watch=true&sendInitialEvents=true"), Value::Null)
        .await;
    assert_eq!(
        (code, &status["reason"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("Invalid"))
    );
}

#[tokio::test]
async fn a_watch_ends_when_it_was_asked_to_and_one_from_long_ago_is_refused() {
    let asked = Asked::start().await;
    let watch = asked
        .send("GET", &format!("{MAPS}?watch=true&timeoutSeconds=1"), &[], &Value::Null)
        .await;
    let events = lines(watch.into_body(), "never").await;
    assert!(events.iter().all(|event| event["type"] == "ADDED"), "{events:?}");
    asked.write_more_than_is_remembered().await;
    let (code, status) = asked
        .ask("GET", &format!("{MAPS}?watch=true&resourceVersion=1001"), Value::Null)
        .await;
    assert_eq!((code, &status["reason"]), (StatusCode::GONE, &json!("Expired")));
    let (code, _) = asked
        .ask("GET", &format!("{MAPS}?resourceVersion=99999999"), Value::Null)
        .await;
    assert_eq!(code, StatusCode::GATEWAY_TIMEOUT, "a moment that is yet to come");
}

#[tokio::test]
async fn unknown_fields_are_refused_told_or_dropped_as_asked() {
    let asked = Asked::start().await;
    let mut wrong = map("w", json!({}));
    wrong["bogus"] = json!(1);
    let path = |how: &str| format!("{MAPS}?fieldValidation={how}&dryRun=All");
    let (code, status) = asked.ask("POST", &path("Strict"), wrong.clone()).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|text| text.contains("unknown field \"bogus\"")),
        "{status}"
    );
    let warned = asked.send("POST", &path("Warn"), &[], &wrong).await;
    assert_eq!(warned.headers()["warning"], "299 - \"unknown field \\\"bogus\\\"\"");
    let ignored = asked.send("POST", &path("Ignore"), &[], &wrong).await;
    assert!(ignored.status() == StatusCode::CREATED && !ignored.headers().contains_key("warning"));
    let (code, _) = asked.ask("POST", &path("Loud"), wrong).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let (code, _) = asked.ask("GET", &format!("{MAPS}/w"), Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND, "a dry run makes nothing");
}

#[tokio::test]
async fn managers_share_an_object_and_conflicts_name_them() {
    let asked = Asked::start().await;
    assert_eq!(
        asked.apply("one", "", json!({"a": "1", "b": "1"})).await.0,
        StatusCode::CREATED
    );
    assert_eq!(asked.apply("two", "", json!({"c": "2"})).await.0, StatusCode::OK);
    let (code, status) = asked.apply("two", "", json!({"a": "2", "c": "2"})).await;
    assert_eq!((code, &status["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    assert_eq!(status["details"]["causes"][0]["reason"], "FieldManagerConflict");
    assert_eq!(status["details"]["causes"][0]["field"], ".data.a");
    assert!(
        status["message"].as_str().is_some_and(|text| text.contains("\"one\"")),
        "{status}"
    );
    let (code, forced) = asked.apply("two", "&force=true", json!({"a": "2", "c": "2"})).await;
    assert_eq!(
        (code, &forced["data"]),
        (StatusCode::OK, &json!({"a": "2", "b": "1", "c": "2"}))
    );
    let (_, left) = asked.apply("one", "", json!({})).await;
    assert_eq!(
        left["data"],
        json!({"a": "2", "c": "2"}),
        "what its only owner gives up goes"
    );
    let before = left["metadata"]["resourceVersion"].clone();
    let (_, same) = asked.apply("two", "", json!({"a": "2", "c": "2"})).await;
    assert_eq!(
        same["metadata"]["resourceVersion"], before,
        "what changes nothing is no write"
    );
    let (code, _) = asked.apply("", "", json!({})).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "who applies has a name");
}

#[tokio::test]
async fn writes_are_conditional_where_they_say_so() {
    let asked = Asked::start().await;
    let made = asked.must("POST", MAPS, map("m", json!({"a": "1"}))).await;
    let path = format!("{MAPS}/m");
    let (code, status) = asked.ask("POST", MAPS, map("m", json!({}))).await;
    assert_eq!(
        (code, &status["reason"]),
        (StatusCode::CONFLICT, &json!("AlreadyExists"))
    );
    let mut stale = made.clone();
    asked.must("PUT", &path, map("m", json!({"a": "2"}))).await;
    stale["data"] = json!({"a": "3"});
    let (code, status) = asked.ask("PUT", &path, stale).await;
    assert_eq!((code, &status["reason"]), (StatusCode::CONFLICT, &json!("Conflict")));
    let patch = json!({"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"a": "4"}});
    let (code, _) = asked.ask_as("PATCH", &path, &[("content-type", MERGE)], patch).await;
    assert_eq!(code, StatusCode::CONFLICT);
    let (code, _) = asked
        .ask("DELETE", &path, json!({"preconditions": {"uid": "another"}}))
        .await;
    assert_eq!(code, StatusCode::CONFLICT);
    let (code, _) = asked.ask("PUT", &path, map("n", json!({}))).await;
    assert_eq!(code, StatusCode::BAD_REQUEST, "the name is the path's");
    let mut elsewhere = map("o", json!({}));
    elsewhere["metadata"]["namespace"] = json!("other");
    let (code, _) = asked.ask("POST", MAPS, elsewhere).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    let (code, status) = asked
        .ask("POST", "/api/v1/namespaces/nowhere/configmaps", map("o", json!({})))
        .await;
    assert_eq!(
        (code, &status["details"]["kind"]),
        (StatusCode::NOT_FOUND, &json!("namespaces"))
    );
}

#[tokio::test]
async fn finalizers_hold_an_object_and_none_comes_to_a_dying_one() {
    let asked = Asked::start().await;
    let mut held = map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/a"]);
    asked.must("POST", MAPS, held.clone()).await;
    let path = format!("{MAPS}/held");
    let dying = asked.must("DELETE", &path, Value::Null).await;
    assert!(dying["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}});
    let (code, _) = asked.ask_as("PATCH", &path, &[("content-type", MERGE)], more).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let none = json!({"metadata": {"finalizers": null}});
    let (code, _) = asked.ask_as("PATCH", &path, &[("content-type", MERGE)], none).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(asked.ask("GET", &path, Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_collection_is_deleted_by_its_selectors() {
    let asked = Asked::start().await;
    for (name, team) in [("x", "a"), ("y", "a"), ("z", "b")] {
        let mut value = map(name, json!({}));
        value["metadata"]["labels"] = json!({"team": team});
        asked.must("POST", MAPS, value).await;
    }
    let gone = asked
        .must("DELETE", &format!("{MAPS}?labelSelector=team%3Da"), Value::Null)
        .await;
    assert_eq!(names(&gone), ["x", "y"]);
    let left = asked
        .must("GET", &format!("{MAPS}?labelSelector=team"), Value::Null)
        .await;
    assert_eq!(names(&left), ["z"]);
    let (code, status) = asked
        .ask("GET", &format!("{MAPS}?fieldSelector=data.x%3Dy"), Value::Null)
        .await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert!(
        status["message"]
            .as_str()
            .is_some_and(|text| text.contains("field label not supported")),
        "{status}"
    );
}

#[tokio::test]
async fn tables_carry_as_much_of_their_objects_as_is_asked() {
    let asked = Asked::start().await;
    asked.must("POST", MAPS, map("m", json!({"a": "b"}))).await;
    let table = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    for (include, kind, has_data) in [
        ("", json!("PartialObjectMetadata"), false),
        ("?includeObject=Metadata", json!("PartialObjectMetadata"), false),
        ("?includeObject=Object", json!("ConfigMap"), true),
        ("?includeObject=None", Value::Null, false),
    ] {
        let (_, shown) = asked
            .ask_as("GET", &format!("{MAPS}/m{include}"), &table, Value::Null)
            .await;
        assert_eq!(shown["kind"], "Table");
        assert_eq!(shown["columnDefinitions"][0]["name"], "Name");
        let row = &shown["rows"][0];
        assert_eq!((&row["cells"][0], &row["cells"][1]), (&json!("m"), &json!(1)));
        assert_eq!(
            (&row["object"]["kind"], row["object"]["data"].is_object()),
            (&kind, has_data),
            "{include}"
        );
    }
    let (code, _) = asked
        .ask_as("GET", &format!("{MAPS}?includeObject=Half"), &table, Value::Null)
        .await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    let metadata = [(
        "accept",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )];
    let (_, list) = asked.ask_as("GET", MAPS, &metadata, Value::Null).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert!(
        list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|item| item["data"].is_null())
    );
}

#[tokio::test]
async fn an_event_is_the_same_in_both_of_its_groups() {
    let asked = Asked::start().await;
    let (core, group) = (
        "/api/v1/namespaces/default/events",
        "/apis/events.k8s.io/v1/namespaces/default/events",
    );
    let event = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"generateName": "e-"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/me", "reportingInstance": "me-1",
        "action": "Tried", "reason": "Done", "note": "it is done", "type": "Normal",
        "regarding": {"kind": "ConfigMap", "namespace": "default", "name": "m"}});
    let made = asked.must("POST", group, event).await;
    assert_eq!(
        (&made["apiVersion"], &made["note"]),
        (&json!("events.k8s.io/v1"), &json!("it is done"))
    );
    let name = made["metadata"]["name"].as_str().expect("a name").to_owned();
    let seen = asked.must("GET", &format!("{core}/{name}"), Value::Null).await;
    assert_eq!(
        (&seen["message"], &seen["involvedObject"]["name"]),
        (&json!("it is done"), &json!("m"))
    );
    let found = asked
        .must("GET", &format!("{group}?fieldSelector=regarding.name%3Dm"), Value::Null)
        .await;
    assert_eq!(
        (names(&found), &found["apiVersion"]),
        (vec![name.as_str()], &json!("events.k8s.io/v1"))
    );
    let watch = asked
        .send("GET", &format!("{group}?watch=true"), &[], &Value::Null)
        .await;
    let events = lines(watch.into_body(), "ADDED").await;
    assert_eq!(events[0]["object"]["note"], "it is done");
    let patch = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}, "note": "twice"});
    let (code, again) = asked
        .ask_as("PATCH", &format!("{group}/{name}"), &[("content-type", MERGE)], patch)
        .await;
    assert_eq!(
        (code, &again["note"], &again["series"]["count"]),
        (StatusCode::OK, &json!("twice"), &json!(2))
    );
}

#[tokio::test]
async fn names_are_made_up_where_that_is_asked() {
    let asked = Asked::start().await;
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gen-"}});
    let (first, second) = (
        asked.must("POST", MAPS, value.clone()).await,
        asked.must("POST", MAPS, value).await,
    );
    let name = |made: &Value| made["metadata"]["name"].as_str().expect("a name").to_owned();
    assert!(name(&first).starts_with("gen-") && name(&first).len() == 9 && name(&first) != name(&second));
}
