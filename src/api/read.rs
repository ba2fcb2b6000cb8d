//! get, list and watch, in each of the forms that clients ask for.

mod flow;

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use flow::{Encoder, Flow};

use super::body::{self, Answer};
use super::error::ApiError;
use super::fields::FieldSelector;
use super::page::Page;
use super::pieces::Pieces;
use super::request::{Query, Target};
use super::table::{IncludeObject, KindTable, table_for};
use super::write::scale_of;
use crate::admit::apply::shown;
use crate::model::{Kind, LabelSelector, Object};
use crate::store::{Snapshot, Store};

/// How long a watch lasts when the client does not say: upstream takes 30 to 60 minutes.
const WATCH: Duration = Duration::from_secs(45 * 60);

/// How often a watcher that asked for them gets bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// The form of the answer, from `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Table(IncludeObject),
    Metadata,
}

impl Form {
    /// The first clause that we can produce; plain JSON if none fits (clients take it).
    fn of(accept: &str, query: &Query) -> Result<Self, ApiError> {
        for clause in accept
            .split(',')
            .map(str::trim)
            .filter(|clause| clause.starts_with("application/json"))
        {
            let parameter = |name: &str| clause.split(';').find_map(|p| p.trim().strip_prefix(name));
            match (parameter("as="), parameter("v=")) {
                (None, _) => return Ok(Self::Plain),
                (Some("Table"), Some("v1")) => {
                    let include = IncludeObject::parse(query.text("includeObject"));
                    return include.map(Self::Table).map_err(ApiError::bad_request);
                }
                (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => return Ok(Self::Metadata),
                _ => {}
            }
        }
        Ok(Self::Plain)
    }
}

/// Which objects are asked for.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    kind: &'static Kind,
    namespace: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    pub(super) fn of(target: &Target, query: &Query) -> Result<Self, ApiError> {
        let labels = LabelSelector::parse(query.text("labelSelector"));
        Ok(Self {
            kind: target.kind,
            namespace: target.namespace.clone(),
            labels: labels.map_err(|e| ApiError::bad_request(e.to_string()))?,
            fields: FieldSelector::parse(query.text("fieldSelector"), target.kind)?,
        })
    }

    fn matches(&self, object: &Object) -> bool {
        object.kind() == self.kind
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == object.key().namespace)
            && self.labels.matches(&object.labels())
            && self.fields.matches(object)
    }

    pub(super) fn list(&self, store: &Store) -> Snapshot {
        let mut snapshot = store.list(self.kind, self.namespace.as_deref());
        snapshot.items.retain(|object| self.matches(object));
        snapshot
    }
}

/// One object.
pub(super) fn get(store: &Store, target: &Target, query: &Query, accept: &str, now: Timestamp) -> Answer {
    let key = target.key()?;
    Page::check_moment(query, store)?;
    let object = store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
    let answer = match Form::of(accept, query)? {
        Form::Plain => shown(object.value().clone()),
        Form::Metadata => partial(object.value()),
        Form::Table(include) => {
            let metadata = json!({"resourceVersion": object.text("/metadata/resourceVersion")});
            table(target.kind).render([object.value()], include, metadata, true, now)
        }
    };
    Ok(body::json(StatusCode::OK, &answer))
}

/// How many replicas an object has and wants.
pub(super) fn scale(store: &Store, target: &Target) -> Answer {
    let key = target.key()?;
    let object = store.get(&key).ok_or_else(|| ApiError::not_found(&key))?;
    Ok(body::json(StatusCode::OK, &scale_of(&object)))
}

/// A collection.
pub(super) fn list(store: &Store, target: &Target, query: &Query, accept: &str, now: Timestamp) -> Answer {
    let (filter, page) = (Filter::of(target, query)?, Page::of(query)?);
    let mut snapshot = page.list(store, target.kind, target.namespace.as_deref())?;
    snapshot.items.retain(|object| filter.matches(object));
    let is_selected = !query.text("labelSelector").is_empty() || !query.text("fieldSelector").is_empty();
    let metadata = page.cut(&mut snapshot.items, snapshot.resource_version, is_selected);
    let form = Form::of(accept, query)?;
    let (envelope, list) = match form {
        Form::Plain => {
            let kind = format!("{}List", target.kind.kind);
            let version = target.kind.api_version();
            (
                json!({"kind": kind, "apiVersion": version, "metadata": metadata}),
                "items",
            )
        }
        Form::Metadata => {
            let (kind, version) = ("PartialObjectMetadataList", "meta.k8s.io/v1");
            (
                json!({"kind": kind, "apiVersion": version, "metadata": metadata}),
                "items",
            )
        }
        Form::Table(_) => (table(target.kind).envelope(metadata), "rows"),
    };
    let of_kind = table(target.kind);
    let pieces = Pieces::new(&envelope, list, snapshot.items, move |object| match form {
        Form::Plain => shown(object.value().clone()),
        Form::Metadata => partial(object.value()),
        Form::Table(include) => of_kind.render_row(object.value(), include, now),
    });
    Ok(body::typed(StatusCode::OK, "application/json", pieces.into_body()))
}

/// A collection's changes, as a flow of JSON lines.
pub(super) fn watch(store: &Store, target: &Target, query: &Query, accept: &str, clock: super::SharedClock) -> Answer {
    let filter = Filter::of(target, query)?;
    let form = Form::of(accept, query)?;
    let start = Start::of(query)?;
    let (mut initial, version) = (Vec::new(), start.version());
    let events = Encoder {
        form,
        kind: target.kind,
        has_columns: false,
        clock,
    };
    let from = match version {
        Some(version) if version > 0 => version,
        _ => {
            let snapshot = filter.list(store);
            initial = snapshot.items;
            snapshot.resource_version
        }
    };
    let end_of_initial = (start == Start::InitialEvents).then(|| events.bookmark(from, true));
    let watcher = store
        .watch(from)
        .map_err(|expired| ApiError::expired(expired.to_string()))?;
    let seconds = query.number::<u64>("timeoutSeconds")?;
    let deadline = tokio::time::Instant::now() + seconds.map_or(WATCH, Duration::from_secs);
    let bookmarks = query.flag("allowWatchBookmarks").then_some(BOOKMARKS);
    let flow = Flow {
        watcher,
        filter,
        events,
        initial: initial.into_iter(),
        end_of_initial,
        lines: VecDeque::new(),
        deadline,
        bookmarks,
        at: from,
        is_over: false,
    };
    let lines = stream::unfold(flow, |mut flow| async move {
        flow.next().await.map(|line| (Ok(line), flow))
    });
    Ok(body::typed(StatusCode::OK, "application/json", body::flowing(lines)))
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// With what is there now.
    Now,
    /// With what is there now, and a mark where that ends (`sendInitialEvents`).
    InitialEvents,
    /// After this version.
    After(u64),
}

impl Start {
    fn of(query: &Query) -> Result<Self, ApiError> {
        if query.flag("sendInitialEvents") {
            if query.text("resourceVersionMatch") != "NotOlderThan" {
                let message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                let (field, reason) = ("resourceVersionMatch", "FieldValueForbidden");
                return Err(ApiError::invalid_option("ListOptions", field, reason, message));
            }
            return Ok(Self::InitialEvents);
        }
        Ok(query.number("resourceVersion")?.map_or(Self::Now, Self::After))
    }

    fn version(self) -> Option<u64> {
        match self {
            Self::Now | Self::InitialEvents => None,
            Self::After(version) => Some(version),
        }
    }
}

fn table(kind: &'static Kind) -> &'static KindTable {
    table_for(kind.group, kind.plural)
}

fn partial(object: &Value) -> Value {
    shown(json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.get("metadata")}))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    /// Counts how often the time was asked for, which every row of a table does.
    #[derive(Debug, Default)]
    struct CountingClock(AtomicUsize);

    impl crate::model::Clock for CountingClock {
        fn now(&self) -> Timestamp {
            self.0.fetch_add(1, Ordering::Relaxed);
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test]
    async fn a_watcher_that_does_not_read_costs_one_chunk_of_what_was_there() {
        let clock = Arc::new(CountingClock::default());
        let store = Store::in_memory(Arc::new(crate::model::SystemClock));
        for n in 0..1000 {
            let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"text": "x".repeat(1000)},
                "metadata": {"name": format!("m{n}"), "namespace": "default"}});
            store.create(Object::new(value).expect("an object")).expect("is new");
        }
        let target = Target::parse("/api/v1/namespaces/default/configmaps").expect("a collection");
        let query = Query::parse(
            "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&includeObject=Object",
        );
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let mut body = watch(&store, &target, &query, accept, clock.clone())
            .expect("answers")
            .into_body();
        let mut seen = body
            .frame()
            .await
            .expect("goes on")
            .expect("a chunk")
            .into_data()
            .expect("data")
            .to_vec();
        let shown = clock.0.load(Ordering::Relaxed);
        assert!(shown < 200, "{shown} of 1000");
        while !String::from_utf8_lossy(&seen).contains("BOOKMARK") {
            seen.extend(
                body.frame()
                    .await
                    .expect("goes on")
                    .expect("a chunk")
                    .into_data()
                    .expect("data"),
            );
        }
        assert_eq!(seen.iter().filter(|byte| **byte == b'\n').count(), 1001);
    }
}
