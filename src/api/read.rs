//! get, list and watch, in each of the forms that clients ask for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

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
use crate::store::{Change, ChangeKind, Snapshot, Store, Watcher};

/// How long a watch lasts when the client does not say: upstream takes 30 to 60 minutes.
const WATCH: Duration = Duration::from_secs(45 * 60);

/// How often a watcher that asked for them gets bookmarks.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// How much of a rush of changes is written at once.
const CHUNK: usize = 64 << 10;

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

/// A watch under way.
struct Flow {
    watcher: Watcher,
    filter: Filter,
    events: Encoder,
    /// What was there at the start and is still to be sent.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// The mark behind it.
    end_of_initial: Option<Bytes>,
    /// What is ready to be sent.
    lines: VecDeque<Bytes>,
    deadline: tokio::time::Instant,
    bookmarks: Option<Duration>,
    /// The newest version that the client has, or could have.
    at: u64,
    is_over: bool,
}

impl Flow {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.next_initial() {
            // Others have their turn between two chunks, however fast this client reads.
            tokio::task::yield_now().await;
            return Some(chunk);
        }
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(self.with_more(line));
            }
            if self.is_over {
                return None;
            }
            let pause = tokio::time::Instant::now() + self.bookmarks.unwrap_or(WATCH);
            tokio::select! {
                change = self.watcher.next() => match change {
                    Ok(change) => self.take(&change),
                    Err(expired) => {
                        let status = ApiError::expired(expired.to_string()).status();
                        self.lines.push_back(line(&json!({"type": "ERROR", "object": status})));
                        self.is_over = true;
                    }
                },
                () = tokio::time::sleep_until(pause.min(self.deadline)) => {
                    self.is_over = tokio::time::Instant::now() >= self.deadline;
                    if self.bookmarks.is_some() {
                        self.lines.push_back(self.events.bookmark(self.at, false));
                    }
                }
            }
        }
    }

    /// Some of what was there at the start, written only now that it is read.
    fn next_initial(&mut self) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK {
            match self.initial.next() {
                Some(object) => chunk.extend_from_slice(&self.events.event("ADDED", &object)),
                None => {
                    chunk.extend_from_slice(&self.end_of_initial.take().unwrap_or_default());
                    break;
                }
            }
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    /// A line, and those that are there already with it: in a rush of changes one write of the socket takes many.
    fn with_more(&mut self, line: Bytes) -> Bytes {
        while self.lines.is_empty()
            && let Some(Ok(change)) = self.watcher.ready()
        {
            self.take(&change);
        }
        if self.lines.is_empty() {
            return line;
        }
        let mut chunk = BytesMut::from(&line[..]);
        while chunk.len() < CHUNK {
            match self.lines.pop_front() {
                Some(line) => chunk.extend_from_slice(&line),
                None => match self.watcher.ready() {
                    Some(Ok(change)) => self.take(&change),
                    // What is wrong is told in its turn.
                    Some(Err(_)) | None => break,
                },
            }
        }
        chunk.freeze()
    }

    /// An object that begins to match is new to the client, and one that ceases to is gone.
    fn take(&mut self, change: &Change) {
        self.at = change.resource_version;
        let was = change.old.as_ref().is_some_and(|old| self.filter.matches(old));
        let is = change.kind != ChangeKind::Deleted && self.filter.matches(&change.object);
        let kind = match (was, is) {
            (false, false) => return,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        let line = match &change.old {
            // The client is told what it knew last, under the version of the change.
            Some(old) if kind == "DELETED" && change.kind != ChangeKind::Deleted => {
                let mut last = Object::clone(old);
                let version = change.resource_version.to_string();
                last.metadata_mut().insert("resourceVersion".to_owned(), version.into());
                self.events.event(kind, &Arc::new(last))
            }
            _ => self.events.change(kind, change),
        };
        self.lines.push_back(line);
    }
}

/// Turns changes into lines.
struct Encoder {
    form: Form,
    kind: &'static Kind,
    /// Whether the columns of the table were already sent.
    has_columns: bool,
    clock: super::SharedClock,
}

impl Encoder {
    /// A change. As plain JSON it is the same for all who follow.
    fn change(&mut self, kind: &str, change: &Change) -> Bytes {
        if self.form != Form::Plain {
            return self.event(kind, &change.object);
        }
        let shown = change.shown.get_or_init(|| {
            let object = shown(change.object.value().clone());
            serde_json::to_vec(&object)
                .expect("JSON values have string keys")
                .into()
        });
        let mut line = BytesMut::with_capacity(shown.len() + 40);
        line.extend_from_slice(br#"{"type":""#);
        line.extend_from_slice(kind.as_bytes());
        line.extend_from_slice(br#"","object":"#);
        line.extend_from_slice(shown);
        line.extend_from_slice(b"}\n");
        line.freeze()
    }

    fn event(&mut self, kind: &str, object: &Arc<Object>) -> Bytes {
        let object = match self.form {
            Form::Plain => shown(object.value().clone()),
            Form::Metadata => partial(object.value()),
            Form::Table(include) => {
                let metadata = json!({"resourceVersion": object.text("/metadata/resourceVersion")});
                let with_columns = !std::mem::replace(&mut self.has_columns, true);
                table(self.kind).render([object.value()], include, metadata, with_columns, self.clock.now())
            }
        };
        line(&json!({"type": kind, "object": object}))
    }

    fn bookmark(&self, version: u64, ends_initial_events: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if ends_initial_events {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata});
        line(&json!({"type": "BOOKMARK", "object": object}))
    }
}

fn line(event: &Value) -> Bytes {
    let mut bytes = serde_json::to_vec(event).expect("JSON values have string keys");
    bytes.push(b'\n');
    bytes.into()
}

fn table(kind: &'static Kind) -> &'static KindTable {
    table_for(kind.group, kind.plural)
}

fn partial(object: &Value) -> Value {
    shown(json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.get("metadata")}))
}

#[cfg(test)]
mod tests {
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
