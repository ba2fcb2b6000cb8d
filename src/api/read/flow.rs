//! A watch under way: what was there at the start, then what changes, as lines of JSON that are written when they are read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::{Filter, Form, WATCH, partial, table};
use crate::admit::apply::shown;
use crate::api::SharedClock;
use crate::api::error::ApiError;
use crate::model::{Kind, Object};
use crate::store::{Change, ChangeKind, Watcher};

/// How much of a rush of changes is written at once.
const CHUNK: usize = 64 << 10;

/// A watch under way.
pub(super) struct Flow {
    pub(super) watcher: Watcher,
    pub(super) filter: Filter,
    pub(super) events: Encoder,
    /// What was there at the start and is still to be sent.
    pub(super) initial: std::vec::IntoIter<Arc<Object>>,
    /// The mark behind it.
    pub(super) end_of_initial: Option<Bytes>,
    /// What is ready to be sent.
    pub(super) lines: VecDeque<Bytes>,
    pub(super) deadline: tokio::time::Instant,
    pub(super) bookmarks: Option<Duration>,
    /// The newest version that the client has, or could have.
    pub(super) at: u64,
    pub(super) is_over: bool,
}

impl Flow {
    pub(super) async fn next(&mut self) -> Option<Bytes> {
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
pub(super) struct Encoder {
    pub(super) form: Form,
    pub(super) kind: &'static Kind,
    /// Whether the columns of the table were already sent.
    pub(super) has_columns: bool,
    pub(super) clock: SharedClock,
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

    pub(super) fn bookmark(&self, version: u64, ends_initial_events: bool) -> Bytes {
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
