//! Events: what happened to an object, told to people, as core/v1 `Event` objects in the store.
//!
//! A recorder never fails and never waits: what it can't tell is dropped. It knows nothing of the kinds it tells about; what is
//! worth telling is decided where it happens. Which occurrences become an object of their own, which only count and which are
//! too many is decided in `correlate`, purely.

mod correlate;
mod expiry;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::model::{Clock, Object, kind, object_time};
use crate::store::{Store, StoreError};

use correlate::{Correlator, Occurrence, Telling};

/// How long an event is kept after it last happened (kube-apiserver `--event-ttl`).
const TTL: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// How many events are kept: an hour of fifty pods that come and go is ten times that, and takes more memory than all else. The
/// oldest go first.
const MOST: usize = 500;

/// So many new events are waited for before the oldest go: they go in batches.
const BATCH: usize = 100;

/// The longest message that is kept; the rest is cut (`core.ValidateEventUpdate`: NoteLengthLimit).
const MESSAGE_LIMIT: usize = 1024;

/// Whether something went as it should (`Event.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It did.
    Normal,
    /// Someone may want to look.
    Warning,
}

impl EventKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Tells events. Clones share what was told, so that equal events count up whoever tells them.
#[derive(Clone)]
pub struct EventRecorder {
    shared: Arc<Shared>,
    component: &'static str,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    host: String,
    /// Held while an event is decided and written, so that one occurrence is counted once and in order.
    correlator: Mutex<Correlator>,
    /// Rings when an event was written: the sweep sleeps without a deadline while there is none.
    told: Notify,
    /// How many were made since the last sweep; with [`BATCH`] of them `crowded` rings.
    made: AtomicUsize,
    crowded: Notify,
}

impl EventRecorder {
    /// A recorder that writes to `store`; `host` is the node's name. Its events come from the component `kubelocal` until
    /// [`EventRecorder::component`] says otherwise.
    pub fn new(store: Store, clock: Arc<dyn Clock>, host: impl Into<String>) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                clock,
                host: host.into(),
                correlator: Mutex::default(),
                told: Notify::new(),
                made: AtomicUsize::new(0),
                crowded: Notify::new(),
            }),
            component: "kubelocal",
        }
    }

    /// The same recorder, speaking as `component` (`source.component`): `kubelet`, `deployment-controller`.
    #[must_use]
    pub fn component(&self, component: &'static str) -> Self {
        Self {
            shared: self.shared.clone(),
            component,
        }
    }

    /// Tells what happened to `regarding`.
    pub fn event(&self, regarding: &Object, kind: EventKind, reason: &str, message: &str) {
        self.event_at(regarding, None, kind, reason, message);
    }

    /// Tells what happened to a part of `regarding`, such as `spec.containers{web}`.
    pub fn event_at(&self, regarding: &Object, field_path: Option<&str>, kind: EventKind, reason: &str, message: &str) {
        let now = self.shared.clock.now();
        let occurrence = Occurrence {
            component: self.component,
            regarding: reference(regarding, field_path),
            kind,
            reason: reason.to_owned(),
            message: cut(message, MESSAGE_LIMIT).to_owned(),
        };
        let mut correlator = self.shared.correlator.lock().expect("no holder panics");
        let Some(telling) = correlator.correlate(&occurrence, now) else {
            return;
        };
        if let Err(error) = self.write(&occurrence, &telling, now) {
            tracing::debug!(%error, reason, "an event was not kept");
        }
        drop(correlator);
        self.shared.told.notify_one();
        if telling.count == 1 && self.shared.made.fetch_add(1, Ordering::Relaxed) >= BATCH {
            self.shared.crowded.notify_one();
        }
    }

    /// Counts the event up where it is still there, and makes it where it is not.
    fn write(&self, occurrence: &Occurrence, telling: &Telling, now: Timestamp) -> Result<(), StoreError> {
        let event = self.render(occurrence, telling, now);
        if telling.count == 1 {
            return self.shared.store.create(event).map(drop);
        }
        let again = self.shared.store.update(event.key(), |present| {
            for field in ["count", "lastTimestamp", "message"] {
                present.value_mut()[field] = event.value()[field].clone();
            }
        });
        match again {
            Err(StoreError::NotFound(_)) => self.shared.store.create(event).map(drop),
            other => other.map(drop),
        }
    }

    fn render(&self, occurrence: &Occurrence, telling: &Telling, now: Timestamp) -> Object {
        let regarding = &occurrence.regarding;
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": telling.name, "namespace": namespace(regarding)},
            "involvedObject": regarding,
            "reason": occurrence.reason,
            "message": telling.message,
            "type": occurrence.kind.as_str(),
            "source": {"component": occurrence.component, "host": self.shared.host},
            "firstTimestamp": object_time(telling.first),
            "lastTimestamp": object_time(now),
            "count": telling.count,
            // Upstream prints it although only the newer events API sets it.
            "eventTime": null,
            "reportingComponent": "kubelocal",
            "reportingInstance": self.shared.host,
        });
        Object::new(event).expect("an Event with a name")
    }
}

/// Where the event lives: beside its object, or in `default` when that has no namespace.
fn namespace(regarding: &Value) -> &str {
    match regarding["namespace"].as_str() {
        None | Some("") => "default",
        Some(namespace) => namespace,
    }
}

/// `core/v1` `ObjectReference`.
fn reference(object: &Object, field_path: Option<&str>) -> Value {
    let mut reference = json!({
        "apiVersion": object.kind().api_version(),
        "kind": object.kind().kind,
        "name": object.key().name,
        "uid": object.uid(),
        "resourceVersion": object.text("/metadata/resourceVersion"),
    });
    if object.kind().namespaced {
        reference["namespace"] = object.key().namespace.as_str().into();
    }
    if let Some(path) = field_path {
        reference["fieldPath"] = path.into();
    }
    reference
}

fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at));
    text.get(..end.unwrap_or(0)).unwrap_or(text)
}

fn events() -> &'static crate::model::Kind {
    kind("v1", "Event").expect("in the table")
}
