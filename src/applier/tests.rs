//! Sources against a store, without files and with a clock that only moves when nothing else does.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use crate::model::{Clock, Key, ManualClock, Object, SourceSpec, kind};
use crate::source::Overlays;
use crate::store::{DeleteOptions, Deleted, Store};

/// Stores an object as it stands here.
fn created(store: &Store, value: Value) -> Arc<Object> {
    let object = Object::new(value).expect("a kind of the table, with a name");
    store.create(object).expect("is new")
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_namespace_to_end_is_there_as_soon_as_it_has() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = Store::in_memory(clock.clone());
    let held = json!({"name": "team", "finalizers": ["test/held"]});
    let namespace = created(
        &store,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": held}),
    );
    let deleted = store.delete(namespace.key(), &DeleteOptions::default());
    assert!(matches!(deleted, Ok(Deleted::Pending(_))));
    let documents = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: team}}";
    let spec = json!({"documents": documents, "ephemeral": false});
    let source = created(
        &store,
        json!({"apiVersion": "kubelocal.dev/v1alpha1", "kind": "ManifestSource", "metadata": {"name": "s"}, "spec": spec}),
    );
    let spec: SourceSpec = serde_json::from_value(spec).expect("is one");
    let mut changes = store.watch(store.resource_version()).expect("is new");
    let stop = CancellationToken::new();
    let keeper = Keeper::new(store.clone(), clock, &source, spec, Overlays::default(), stop.clone());
    let keeper = tokio::spawn(keeper.run());
    let mut next = async || changes.next().await.expect("few changes").object;
    while !next()
        .await
        .text("/status/problems/0/message")
        .contains("being terminated")
    {}
    let ended = Instant::now();
    let release = |namespace: &mut Object| drop(namespace.metadata_mut().remove("finalizers"));
    store.update(namespace.key(), release).expect("is there");
    let wanted = Key::new(kind("v1", "ConfigMap").expect("in the table"), "team", "settings");
    while *next().await.key() != wanted {}
    assert_eq!(ended.elapsed().as_millis(), 0, "no timer had to run out");
    stop.cancel();
    keeper.await.expect("does not panic");
}

#[tokio::test(start_paused = true)]
async fn what_a_source_takes_back_is_told_to_both_parties() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let store = Store::in_memory(clock.clone());
    created(
        &store,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
    );
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "team"}, "data": {"a": "theirs"}});
    created(
        &store,
        crate::admit::apply::track_update(None, &theirs, "kubectl", "", clock.now()),
    );
    let documents = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: team}, data: {a: ours}}";
    let spec = json!({"documents": documents, "ephemeral": false});
    let source = created(
        &store,
        json!({"apiVersion": "kubelocal.dev/v1alpha1", "kind": "ManifestSource", "metadata": {"name": "s"}, "spec": spec}),
    );
    let spec: SourceSpec = serde_json::from_value(spec).expect("is one");
    let mut changes = store.watch(store.resource_version()).expect("is new");
    let stop = CancellationToken::new();
    let keeper = Keeper::new(store.clone(), clock, &source, spec, Overlays::default(), stop.clone());
    let keeper = tokio::spawn(keeper.run());
    let told = "source \"s\" took back .data.a from \"kubectl\"";
    let (mut event, mut problem) = (false, false);
    while !(event && problem) {
        let change = changes.next().await.expect("few changes").object;
        event |= change.kind().kind == "Event" && change.text("/message") == told;
        problem |= change.text("/status/problems/0/message").ends_with(told);
    }
    stop.cancel();
    keeper.await.expect("does not panic");
}
