//! `events.k8s.io`: the same events under other names of their fields (`pkg/apis/core/v1` conversions of `events/v1`). They are kept as core
//! events; here requests are put into those words, and answers back.

use bytes::Bytes;
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Map, Value};

use super::body::{self, Answer, Body};
use super::error::ApiError;
use super::request::{Query, Target, Verb};
use super::{Api, entry, write};
use crate::access::rights::Caller;
use crate::model::{Honoured, Kind};

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
                let (headers, bytes) = to_core(headers, &write::read(request).await?)?;
                self.write(verb, &target, &query, &headers, &bytes, may_create).await?
            }
        };
        from_core(answer, verb == Verb::Watch).await
    }
}

/// A body in the words of core events. A JSON patch names fields by paths, in which nothing is put into other words: it is refused.
fn to_core(mut headers: HeaderMap, bytes: &[u8]) -> Result<(HeaderMap, Bytes), ApiError> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let content_type = write::media_type(content_type).to_owned();
    let is_patch = content_type.ends_with("-patch+json");
    if content_type == "application/json-patch+json" {
        let message = "events of this group are not changed by JSON patches here: patch those of the core group";
        return Err(ApiError::unsupported_media_type(message));
    }
    let decoded_as = if is_patch { "application/json" } else { &content_type };
    let mut value = write::decode(decoded_as, bytes, (API_VERSION, "Event"))?;
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::bad_request("the body is not an object"));
    };
    rename(fields, |(theirs, ours)| (theirs, ours));
    if fields.get("apiVersion").is_some_and(|version| version == API_VERSION) {
        fields.insert("apiVersion".to_owned(), "v1".into());
    }
    let is_decoded = content_type == "application/vnd.kubernetes.protobuf" || content_type == "application/yaml";
    if is_decoded {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok((headers, value.to_string().into()))
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
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_has_other_names_in_each_group_and_loses_nothing() {
        let theirs = json!({"kind": "Event", "apiVersion": API_VERSION, "metadata": {"name": "e"}, "note": "hello", "action": "a",
            "regarding": {"kind": "Pod", "name": "web"}, "reportingController": "me", "deprecatedCount": 2});
        let (_, bytes) = to_core(HeaderMap::new(), theirs.to_string().as_bytes()).expect("is an event");
        let mut ours: Value = serde_json::from_slice(&bytes).expect("JSON");
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
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json-patch+json"));
        assert!(to_core(headers, b"[]").is_err());
        assert!(to_core(HeaderMap::new(), b"[1]").is_err());
        assert_eq!(
            selector_to_core("fieldSelector=regarding.name%3Dx"),
            "fieldSelector=involvedObject.name%3Dx"
        );
    }
}
