//! What the tests of the loop stand on: a store, the controllers, a node that only pretends, and ways to wait.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::access::token::TokenKey;
use crate::controller::pods::ready_since;
use crate::controller::{Signer, run};
use crate::event::EventRecorder;
use crate::model::{Clock, Key, Kind, Object, kind, object_time};
use crate::store::{Change, ChangeKind, DeleteOptions, Propagation, Store, Watcher};

/// The paused time of tokio as a clock.
struct PausedClock {
    start: Timestamp,
    origin: Instant,
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }
}

fn signer(clock: Arc<dyn Clock>) -> Signer {
    let kept = TokenKey::make().expect("there are random bytes");
    let key = Arc::new(TokenKey::read(&kept).expect("it was just made"));
    Signer::new(&key, &clock)
}

/// A store, the controllers on it, and a node that starts and ends pods.
pub(super) struct Cluster {
    pub(super) store: Store,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    /// The fewest available and the most living pods of `app=web` seen since the last reset.
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) fewest_ready: usize,
    pub(super) most_living: usize,
    /// Whether pods of two versions lived at once.
    pub(super) mixed: bool,
}

const NOTHING_SEEN: Seen = Seen {
    fewest_ready: usize::MAX,
    most_living: 0,
    mixed: false,
};

impl Cluster {
    pub(super) fn start() -> Self {
        let clock = Arc::new(PausedClock {
            start: "2026-01-01T00:00:00Z".parse().expect("a valid timestamp"),
            origin: Instant::now(),
        });
        let store = Store::in_memory(clock.clone());
        let recorder = EventRecorder::new(store.clone(), clock.clone(), "laptop");
        let stop = CancellationToken::new();
        let seen = Arc::new(Mutex::new(NOTHING_SEEN));
        let changes = store.watch(store.resource_version()).expect("nothing forgotten");
        let tasks = vec![
            tokio::spawn(run(store.clone(), recorder, signer(clock.clone()), stop.clone())),
            tokio::spawn(run_node(store.clone(), changes, clock, stop.clone(), seen.clone())),
        ];
        Self {
            store,
            stop,
            tasks,
            seen,
        }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("no panic");
        }
    }

    pub(super) fn create(&self, object: Value) -> Arc<Object> {
        let object = Object::new(object).expect("a known kind, with a name");
        self.store.create(object).expect("a free name")
    }

    pub(super) fn edit(&self, key: &Key, change: impl FnOnce(&mut Value)) {
        let edit = |object: &mut Object| change(object.value_mut());
        self.store.update(key, edit).expect("it is there");
    }

    pub(super) fn delete(&self, key: &Key, propagation: Propagation) {
        let options = DeleteOptions {
            propagation,
            ..DeleteOptions::default()
        };
        self.store.delete(key, &options).expect("it is there");
    }

    pub(super) fn list(&self, api_version: &str, word: &str) -> Vec<Arc<Object>> {
        self.store.list(the(api_version, word), None).items
    }

    pub(super) fn pods(&self) -> Vec<Arc<Object>> {
        self.list("v1", "Pod")
    }

    pub(super) fn sets(&self) -> Vec<Arc<Object>> {
        self.list("apps/v1", "ReplicaSet")
    }

    /// Waits until a condition holds, with a deadline in paused time; what is there is printed when it is missed.
    pub(super) async fn wait_for(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let mut changes = self
            .store
            .watch(self.store.resource_version())
            .expect("nothing forgotten");
        let deadline = Instant::now() + Duration::from_secs(3000);
        while !holds(self) {
            let change = tokio::time::timeout_at(deadline, changes.next()).await;
            let Ok(change) = change else {
                let kinds = [
                    ("v1", "Namespace"),
                    ("apps/v1", "Deployment"),
                    ("apps/v1", "ReplicaSet"),
                    ("v1", "Pod"),
                ];
                let all: Vec<_> = kinds
                    .iter()
                    .flat_map(|(version, kind)| self.list(version, kind))
                    .collect();
                let all: Vec<_> = all.iter().map(|o| o.value().to_string()).collect();
                panic!(
                    "{what}:
{}",
                    all.join(
                        "
"
                    )
                );
            };
            change.expect("the watcher keeps up");
        }
    }

    /// Waits until the rollout is over in the words of `kubectl rollout status`.
    pub(super) async fn wait_for_rollout(&self, key: &Key) {
        let is_over = |cluster: &Self| {
            let web = cluster.store.get(key).expect("it is there");
            let number = |at: &str| web.number(at).unwrap_or(0);
            let wanted = number("/spec/replicas");
            number("/status/observedGeneration") >= web.generation()
                && number("/status/updatedReplicas") == wanted
                && number("/status/replicas") == wanted
                && number("/status/availableReplicas") == wanted
                && reason(&web, "Progressing") == "NewReplicaSetAvailable"
        };
        self.wait_for("the rollout is over", is_over).await;
    }

    pub(super) fn watch_pods(&self) {
        *self.seen.lock().expect("no holder panics") = NOTHING_SEEN;
    }

    pub(super) fn seen(&self) -> Seen {
        *self.seen.lock().expect("no holder panics")
    }

    /// Reasons and counts of events by the name of their object's kind.
    pub(super) fn told(&self, kind: &str) -> Vec<(String, String)> {
        let events = self.list("v1", "Event");
        let about = events.iter().filter(|e| e.text("/involvedObject/kind") == kind);
        about
            .map(|e| (e.text("/reason").to_owned(), e.text("/message").to_owned()))
            .collect()
    }
}

fn the(api_version: &str, word: &str) -> &'static Kind {
    kind(api_version, word).expect("in the table")
}

/// The reason of a condition; empty if it was never stated.
pub(super) fn reason(object: &Object, condition: &str) -> String {
    let conditions = object.at("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|c| c["type"] == condition);
    found.and_then(|c| c["reason"].as_str()).unwrap_or_default().to_owned()
}

/// A node: every pod becomes ready two seconds after it was made and is gone one second after it was asked to end.
async fn run_node(
    store: Store,
    mut changes: Watcher,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
) {
    let mut due: BTreeMap<(Instant, Key), bool> = BTreeMap::new();
    loop {
        let next = due.first_key_value().map(|((at, _), _)| *at);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let ((_, key), ends) = due.pop_first().expect("it was just seen");
                if ends { end(&store, &key) } else { make_ready(&store, &key, clock.now()) }
            }
            change = changes.next() => {
                let Ok(Change { kind, object, old, .. }) = change else {
                    changes = store.watch(store.resource_version()).expect("nothing forgotten");
                    continue;
                };
                let key = object.key().clone();
                if key.kind() != the("v1", "Pod") {
                    continue;
                }
                let is_asked_to_end = object.is_deleting() && !old.is_some_and(|old| old.is_deleting());
                if kind == ChangeKind::Added {
                    due.insert((Instant::now() + Duration::from_secs(2), key), false);
                } else if is_asked_to_end {
                    due.insert((Instant::now() + Duration::from_secs(1), key), true);
                }
                observe(&store, &seen);
            }
        }
    }
}

fn end(store: &Store, key: &Key) {
    if let Some(pod) = store.get(key) {
        store.remove(key, pod.uid()).expect("it was just seen");
    }
}

fn make_ready(store: &Store, key: &Key, now: Timestamp) {
    let since = object_time(now);
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
    let begin = |pod: &mut Object| pod.value_mut()["status"] = json!({"phase": "Running", "conditions": ready});
    // A pod that was deleted before it began is not there.
    let _ = store.update_status(key, begin);
}

fn observe(store: &Store, seen: &Mutex<Seen>) {
    let pods = store.list(the("v1", "Pod"), None).items;
    let ready = pods
        .iter()
        .filter(|p| ready_since(p).is_some() && !p.is_deleting())
        .count();
    let mut versions: Vec<_> = pods.iter().map(|p| p.text("/spec/containers/0/image")).collect();
    versions.sort_unstable();
    versions.dedup();
    let living = pods.iter().filter(|p| !p.is_deleting()).count();
    let mut seen = seen.lock().expect("no holder panics");
    seen.fewest_ready = seen.fewest_ready.min(ready);
    seen.most_living = seen.most_living.max(living);
    seen.mixed |= versions.len() > 1;
}
