//! `events.k8s.io`: the same events under other names of their fields (`pkg/apis/core/v1` conversions of `events/v1`). They are kept as core
//! events; here requests are put into those words, and answers back.

use bytes::Bytes;
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::body::{self, Answer, Body};
use super::error::{ApiError, Cause};
use super::request::{Query, Target, Verb};
use super::{Api, entry, write};
use crate::access::rights::Caller;
use crate::model::{Honoured, Kind, text_at};

/// The kind, as it is told of.
pub(super) static KIND: Kind = Kind {
    group: GROUP,
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    has_status: false,
    honoured: Honoured::Shared,
};

const GROUP: &str = "events.k8s.io";
const API_VERSION: &str = "events.k8s.io/v1";

/// Names of fields: of the group, and of core events.
const NAMES: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedCount", "count"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedSource", "source"),
];

/// The core events that a path means, if it is one of the group's.
pub(super) fn target(path: &str) -> Option<Target> {
    let rest = path.strip_prefix("/apis/events.k8s.io/v1/")?;
    Target::parse(&format!("/api/v1/{rest}")).filter(|target| target.kind.kind == "Event")
}

impl Api {
    pub(super) async fn route_events(&self, target: Target, caller: &Caller, request: Request<Incoming>) -> Answer {
        let query = Query::parse(&selector_to_core(request.uri().query().unwrap_or_default()));
        let verb = Verb::of(request.method(), &target, &query)?;
        let mut deed = entry::deed_of(&target, verb);
        deed.group = GROUP.to_owned();
        self.authorize(caller, &deed)?;
        deed.verb = "create".to_owned();
        let may_create = self.authorize(caller, &deed);
        if !target.subresource.is_empty() {
            return Err(ApiError::no_such_path());
        }
        let headers = request.headers().clone();
        let answer = match verb {
            Verb::Get | Verb::List | Verb::Watch => self.read(verb, &target, &query, &headers)?,
            Verb::Delete | Verb::DeleteCollection => {
                let bytes = write::read(request).await?;
                self.write(verb, &target, &query, &headers, &bytes, may_create).await?
            }
            Verb::Create | Verb::Update | Verb::Patch => {
                let (headers, value) = to_core(headers, &write::read(request).await?)?;
                if verb == Verb::Create {
                    check_new(&value)?;
                }
                let bytes = value.to_string().into();
                self.write(verb, &target, &query, &headers, &bytes, may_create).await?
            }
        };
        from_core(answer, verb == Verb::Watch).await
    }
}

/// A body in the words of core events.
fn to_core(mut headers: HeaderMap, bytes: &[u8]) -> Result<(HeaderMap, Value), ApiError> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let content_type = write::media_type(content_type).to_owned();
    let is_patch = content_type.ends_with("-patch+json");
    let decoded_as = if is_patch { "application/json" } else { &content_type };
    let mut value = write::decode(decoded_as, bytes, (API_VERSION, "Event"))?;
    let is_list_of_steps = content_type == "application/json-patch+json";
    match &mut value {
        Value::Array(steps) if is_list_of_steps => steps.iter_mut().for_each(step_to_core),
        Value::Object(fields) if !is_list_of_steps => fields_to_core(fields),
        _ => return Err(ApiError::bad_request("the body is not an object")),
    }
    let is_decoded = content_type == "application/vnd.kubernetes.protobuf" || content_type == "application/yaml";
    if is_decoded {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok((headers, value))
}

fn fields_to_core(fields: &mut Map<String, Value>) {
    rename(fields, |(theirs, ours)| (theirs, ours));
    if fields.get("apiVersion").is_some_and(|version| version == API_VERSION) {
        fields.insert("apiVersion".to_owned(), "v1".into());
    }
}

/// A step of a JSON patch: its paths begin with names of fields, and a step at the root has a whole event.
fn step_to_core(step: &mut Value) {
    for place in ["path", "from"] {
        let Some(path) = step.get(place).and_then(Value::as_str) else {
            continue;
        };
        let first = path.split('/').nth(1).unwrap_or_default();
        if let Some((theirs, ours)) = NAMES.into_iter().find(|(theirs, _)| *theirs == first) {
            let renamed = format!("/{ours}{}", &path[1 + theirs.len()..]);
            step[place] = renamed.into();
        }
    }
    if step["path"] == ""
        && let Some(fields) = step.get_mut("value").and_then(Value::as_object_mut)
    {
        fields_to_core(fields);
    }
}

/// Refuses an event that is made by this group and does not say what the group asks for (`ValidateEventCreate`, which names fields as core
/// events do).
fn check_new(event: &Value) -> Result<(), ApiError> {
    let causes = [missing(event), wrong(event), out_of_place(event)].concat();
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_as(
        "",
        "Event",
        text_at(event, "/metadata/name"),
        causes,
    ))
}

fn missing(event: &Value) -> Vec<Cause> {
    let required = [
        "reportingComponent",
        "reportingInstance",
        "action",
        "reason",
        "eventTime",
    ];
    let missing = required.into_iter().filter(|field| text_of(event, field).is_empty());
    let cause = |field: &str| Cause {
        reason: "FieldValueRequired".to_owned(),
        message: "Required value".to_owned(),
        field: field.replace("Component", "Controller"),
    };
    missing.map(cause).collect()
}

fn wrong(event: &Value) -> Vec<Cause> {
    const LONGEST: usize = 128;
    const LONGEST_NOTE: usize = 1024;
    let bounds = [
        ("reportingInstance", LONGEST),
        ("action", LONGEST),
        ("reason", LONGEST),
        ("message", LONGEST_NOTE),
    ];
    let long = bounds
        .into_iter()
        .filter(|(field, longest)| text_of(event, field).len() > *longest);
    let mut causes: Vec<_> = long
        .map(|(field, longest)| invalid(field, &format!("can have at most {longest} characters")))
        .collect();
    let of = text_of(event, "type");
    if !["Normal", "Warning"].contains(&of) {
        causes.push(invalid("type", &format!("has invalid value: {of}")));
    }
    causes
}

/// What only core events have.
fn out_of_place(event: &Value) -> Vec<Cause> {
    let is_set = |field: &&str| {
        let value = event.get(*field).unwrap_or(&Value::Null);
        !value.is_null() && *value != 0 && *value != json!({})
    };
    let set = ["firstTimestamp", "lastTimestamp", "count", "source"]
        .into_iter()
        .filter(is_set);
    set.map(|field| invalid(field, "needs to be unset")).collect()
}

fn text_of<'v>(event: &'v Value, field: &str) -> &'v str {
    event.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn invalid(field: &str, why: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid".to_owned(),
        message: format!("Invalid value: \"\": {why}"),
        field: field.to_owned(),
    }
}

/// An answer in the words of the group.
async fn from_core(answer: Response<Body>, is_watch: bool) -> Answer {
    let (parts, body) = answer.into_parts();
    if is_watch {
        let lines = body.into_data_stream().map(|chunk| {
            let mut shown = Vec::new();
            for line in chunk?.split_inclusive(|byte| *byte == b'\n') {
                let mut event: Value = serde_json::from_slice(line).map_err(std::io::Error::other)?;
                show(&mut event["object"]);
                serde_json::to_writer(&mut shown, &event).map_err(std::io::Error::other)?;
                shown.push(b'\n');
            }
            Ok(Bytes::from(shown))
        });
        return Ok(Response::from_parts(parts, body::flowing(lines)));
    }
    let whole = body
        .collect()
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let mut value: Value =
        serde_json::from_slice(&whole.to_bytes()).map_err(|error| ApiError::internal(error.to_string()))?;
    show(&mut value);
    Ok(Response::from_parts(parts, body::whole(value.to_string())))
}

/// Puts an event or a list of them into the words of the group; tables and refusals have none.
fn show(value: &mut Value) {
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    if let Some(items) = value
        .get_mut("items")
        .and_then(Value::as_array_mut)
        .filter(|_| kind == "EventList")
    {
        items.iter_mut().for_each(show);
    }
    if let Some(fields) = value
        .as_object_mut()
        .filter(|_| ["Event", "EventList"].contains(&kind.as_str()))
    {
        fields.insert("apiVersion".to_owned(), API_VERSION.into());
        rename(fields, |(theirs, ours)| (ours, theirs));
    }
    let managers = value
        .pointer_mut("/metadata/managedFields")
        .and_then(Value::as_array_mut);
    for entry in managers.into_iter().flatten() {
        entry["apiVersion"] = API_VERSION.into();
        if let Some(owned) = entry.get_mut("fieldsV1").and_then(Value::as_object_mut) {
            for (theirs, ours) in NAMES {
                if let Some(below) = owned.remove(&format!("f:{ours}")) {
                    owned.insert(format!("f:{theirs}"), below);
                }
            }
        }
    }
}

type Names = (&'static str, &'static str);

fn rename(fields: &mut Map<String, Value>, direction: fn(Names) -> Names) {
    for (from, to) in NAMES.map(direction) {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

/// A query whose field selector is in the words of core events.
fn selector_to_core(query: &str) -> String {
    query
        .replace("regarding.", "involvedObject.")
        .replace("reportingController", "reportingComponent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_other_names_in_each_group_and_loses_nothing() {
        let theirs = json!({"kind": "Event", "apiVersion": API_VERSION, "metadata": {"name": "e"}, "note": "hello", "action": "a",
            "regarding": {"kind": "Pod", "name": "web"}, "reportingController": "me", "deprecatedCount": 2});
        let (_, mut ours) = to_core(HeaderMap::new(), theirs.to_string().as_bytes()).expect("is an event");
        assert_eq!(
            ours,
            json!({"kind": "Event", "apiVersion": "v1", "metadata": {"name": "e"}, "message": "hello", "action": "a",
                "involvedObject": {"kind": "Pod", "name": "web"}, "reportingComponent": "me", "count": 2})
        );
        show(&mut ours);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn what_is_no_event_is_left_alone() {
        for value in [
            json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "message": "x"}),
            json!({"kind": "Status", "apiVersion": "v1", "message": "x"}),
        ] {
            let mut shown = value.clone();
            show(&mut shown);
            assert_eq!(shown["message"], value["message"]);
            assert_eq!(shown["apiVersion"], value["apiVersion"]);
        }
        assert!(to_core(json_patch(), b"{}").is_err());
        assert!(to_core(HeaderMap::new(), b"[1]").is_err());
        assert_eq!(
            selector_to_core("fieldSelector=regarding.name%3Dx"),
            "fieldSelector=involvedObject.name%3Dx"
        );
    }

    fn json_patch() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json-patch+json"));
        headers
    }

    #[test]
    fn a_json_patch_finds_the_fields_where_core_events_have_them() {
        let theirs = json!([
            {"op": "test", "path": "/note", "value": "a"},
            {"op": "replace", "path": "/regarding/name", "value": "note"},
            {"op": "move", "from": "/deprecatedCount", "path": "/metadata/note"},
            {"op": "replace", "path": "", "value": {"note": "b"}},
            {"op": "remove", "path": "/notes"},
        ]);
        let ours = json!([
            {"op": "test", "path": "/message", "value": "a"},
            {"op": "replace", "path": "/involvedObject/name", "value": "note"},
            {"op": "move", "from": "/count", "path": "/metadata/note"},
            {"op": "replace", "path": "", "value": {"message": "b"}},
            {"op": "remove", "path": "/notes"},
        ]);
        let (_, patch) = to_core(json_patch(), theirs.to_string().as_bytes()).expect("is a patch");
        assert_eq!(patch, ours);
    }

    #[test]
    fn a_new_event_says_what_the_group_asks_for() {
        let whole = json!({"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "r",
            "action": "a", "reportingComponent": "me", "reportingInstance": "i"});
        assert_eq!(check_new(&whole), Ok(()));
        for (field, value, wanted) in [
            ("eventTime", Value::Null, "eventTime: Required value"),
            ("reportingComponent", Value::Null, "reportingController: Required value"),
            ("type", json!("x"), "type: Invalid value: \"\": has invalid value: x"),
            ("count", json!(1), "count: Invalid value: \"\": needs to be unset"),
            (
                "source",
                json!({"component": "x"}),
                "source: Invalid value: \"\": needs to be unset",
            ),
            (
                "action",
                json!("x".repeat(129)),
                "action: Invalid value: \"\": can have at most 128 characters",
            ),
        ] {
            let mut event = whole.clone();
            event[field] = value;
            let refused = check_new(&event).expect_err(field);
            assert_eq!(refused.message, format!("Event \"e\" is invalid: {wanted}"));
        }
    }
}
