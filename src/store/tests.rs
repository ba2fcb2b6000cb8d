use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::model::{ManualClock, kind};

fn store() -> Store {
    Store::in_memory(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)))
}

fn object(kind: &str, name: &str) -> Object {
    let metadata = json!({"name": name, "namespace": "default"});
    Object::new(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})).expect("a known kind")
}

fn pod(name: &str) -> Object {
    let mut pod = object("Pod", name);
    pod.value_mut()["spec"] = json!({"terminationGracePeriodSeconds": 30, "containers": []});
    pod
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions {
        grace_seconds: Some(seconds),
        ..DeleteOptions::default()
    }
}

#[test]
fn a_new_object_gets_uid_generation_and_version() {
    let created = store().create(pod("a")).expect("free name");
    assert!(!created.uid().is_empty());
    assert_eq!(created.generation(), 1);
    assert_eq!(created.resource_version(), 1001);
}

#[test]
fn a_write_that_changes_nothing_is_not_a_write() {
    let store = store();
    let created = store.create(pod("a")).expect("free name");
    let written = store.update(created.key(), |_| {}).expect("it is there");
    assert!(!written.changed);
    assert_eq!(store.resource_version(), created.resource_version());
}

#[test]
fn a_dry_store_answers_as_the_write_would_and_changes_nothing() {
    let store = store();
    let pod = store.create(pod("a")).expect("free name");
    let dry = store.dry();
    let again = dry.create(object("Pod", "a"));
    assert_eq!(again.expect_err("taken"), StoreError::AlreadyExists(pod.key().clone()));
    assert!(!dry.create(object("Pod", "b")).expect("free name").uid().is_empty());
    let stale = |object: &mut Object| drop(object.metadata_mut().insert("resourceVersion".into(), "1".into()));
    assert!(matches!(dry.update(pod.key(), stale), Err(StoreError::Conflict { .. })));
    let changed = dry.update(pod.key(), |object| object.value_mut()["spec"]["x"] = json!(1));
    assert_eq!(changed.expect("it is there").object.generation(), 2);
    let deleted = dry.delete(pod.key(), &DeleteOptions::default());
    assert!(matches!(deleted, Ok(Deleted::Pending(marked)) if marked.is_deleting()));
    assert!(matches!(dry.delete(pod.key(), &grace(0)), Ok(Deleted::Gone(_))));
    assert_eq!(store.resource_version(), pod.resource_version());
    assert_eq!(store.list(pod.kind(), None).items, [pod]);
}

#[test]
fn status_and_spec_are_written_apart() {
    let store = store();
    let created = store.create(pod("a")).expect("free name");
    let change_both = |object: &mut Object| {
        object.value_mut()["status"] = json!({"phase": "Running"});
        object.value_mut()["spec"]["x"] = json!(1);
    };
    let desired = store.update(created.key(), change_both).expect("it is there").object;
    assert_eq!((desired.generation(), desired.at("/status")), (2, None));
    let observed = store.update_status(created.key(), |o| o.value_mut()["status"] = json!({"phase": "Running"}));
    let observed = observed.expect("it is there").object;
    assert_eq!((observed.generation(), observed.text("/status/phase")), (2, "Running"));
}

#[test]
fn a_stale_version_is_a_conflict() {
    let store = store();
    let created = store.create(pod("a")).expect("free name");
    let stale = |object: &mut Object| drop(object.metadata_mut().insert("resourceVersion".into(), "7".into()));
    assert!(matches!(
        store.update(created.key(), stale),
        Err(StoreError::Conflict { .. })
    ));
}

#[test]
fn grace_only_shrinks() {
    let store = store();
    let key = store.create(pod("a")).expect("free name").key().clone();
    let seconds = |deleted: Deleted| match deleted {
        Deleted::Pending(object) => object.number("/metadata/deletionGracePeriodSeconds"),
        Deleted::Gone(_) => None,
    };
    for (asked, expected) in [(20, Some(20)), (25, Some(20)), (5, Some(5)), (0, None)] {
        assert_eq!(
            seconds(store.delete(&key, &grace(asked)).expect("still there")),
            expected,
            "{asked}"
        );
    }
    assert!(store.get(&key).is_none());
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_gone() {
    let store = store();
    let mut config = object("ConfigMap", "c");
    config.metadata_mut().insert("finalizers".into(), json!(["x/y"]));
    let key = store.create(config).expect("free name").key().clone();
    assert!(matches!(
        store.delete(&key, &DeleteOptions::default()),
        Ok(Deleted::Pending(_))
    ));
    let add = |o: &mut Object| drop(o.metadata_mut().insert("finalizers".into(), json!(["x/y", "z"])));
    assert!(matches!(store.update(&key, add), Err(StoreError::NewFinalizers(_))));
    store
        .update(&key, |o| drop(o.metadata_mut().remove("finalizers")))
        .expect("it is there");
    assert!(store.get(&key).is_none());
}

#[test]
fn finalizers_in_the_spec_hold_as_those_in_metadata_do() {
    let store = store();
    let mut namespace = object("Namespace", "shop");
    namespace.value_mut()["spec"] = json!({"finalizers": ["kubernetes"]});
    let key = store.create(namespace).expect("free name").key().clone();
    assert!(matches!(
        store.delete(&key, &DeleteOptions::default()),
        Ok(Deleted::Pending(_))
    ));
    store
        .update(&key, |o| o.value_mut()["spec"] = json!({}))
        .expect("it is there");
    assert!(store.get(&key).is_none());
}

#[test]
fn a_name_may_be_used_again_only_under_its_own_uid() {
    let store = store();
    let old = store.create(object("ConfigMap", "c")).expect("free name");
    store.remove(old.key(), old.uid()).expect("it is there");
    store.create(object("ConfigMap", "c")).expect("free again");
    assert!(matches!(
        store.remove(old.key(), old.uid()),
        Err(StoreError::Conflict { .. })
    ));
}

#[tokio::test]
async fn a_watcher_sees_every_change_in_order() {
    let store = store();
    let mut watcher = store.watch(store.resource_version()).expect("nothing forgotten");
    let created = store.create(object("ConfigMap", "c")).expect("free name");
    store
        .update(created.key(), |o| o.value_mut()["data"] = json!({"a": "b"}))
        .expect("it is there");
    store
        .delete(created.key(), &DeleteOptions::default())
        .expect("it is there");
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(watcher.next().await.expect("near").kind);
    }
    assert_eq!(seen, [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted]);
}

#[test]
fn a_watcher_from_too_long_ago_is_told_so() {
    let store = store();
    let start = store.resource_version();
    for n in 0..10_000 {
        store.create(object("ConfigMap", &format!("c{n}"))).expect("free name");
    }
    assert!(store.watch(start).is_err());
}

#[tokio::test]
async fn what_is_durable_is_there_after_a_restart_under_higher_versions() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("journal");
    let clock = || Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let first = Store::open(&file, clock()).expect("a new journal");
    let kept = first.create(object("ConfigMap", "kept")).expect("free name");
    let gone = first.create(object("ConfigMap", "gone")).expect("free name");
    first
        .delete(gone.key(), &DeleteOptions::default())
        .expect("it is there");
    let durable = first.durable(first.resource_version()).await;
    durable.expect("the disk takes it");
    let newest = first.resource_version();
    first.close();
    drop(first);
    let second = Store::open(&file, clock()).expect("its own journal");
    let config = kind("v1", "ConfigMap").expect("in the table");
    let names: Vec<Value> = second
        .list(config, None)
        .items
        .iter()
        .map(|o| o.value().clone())
        .collect();
    assert_eq!(names, [kept.value().clone()]);
    assert!(second.resource_version() > newest);
}

#[tokio::test]
async fn at_rest_old_changes_go_and_a_watcher_that_kept_up_misses_nothing() {
    let store = store();
    let start = store.resource_version();
    let mut watcher = store.watch(start).expect("nothing forgotten");
    for n in 0..200 {
        store.create(object("ConfigMap", &format!("c{n}"))).expect("free name");
        watcher.next().await.expect("it keeps up");
    }
    store.forget_changes();
    assert!(store.watch(start).is_err());
    let created = store.create(object("ConfigMap", "last")).expect("free name");
    assert_eq!(watcher.next().await.expect("it kept up").object.key(), created.key());
    assert!(store.watch(store.resource_version() - 10).is_ok());
}

#[tokio::test(start_paused = true)]
async fn rest_comes_after_the_last_change_only() {
    let store = store();
    let rest = Duration::from_secs(5);
    let mut rested = std::pin::pin!(store.rested(rest));
    assert!(
        timeout(Duration::from_secs(60), &mut rested).await.is_err(),
        "nothing has changed"
    );
    store.create(object("ConfigMap", "a")).expect("free name");
    assert!(timeout(Duration::from_secs(3), &mut rested).await.is_err());
    store.create(object("ConfigMap", "b")).expect("free name");
    assert!(timeout(Duration::from_secs(3), &mut rested).await.is_err());
    assert!(timeout(Duration::from_secs(3), &mut rested).await.is_ok());
}

#[test]
fn some_namespaces_stay_whoever_deletes_them() {
    let store = store();
    let namespace = |name: &str| {
        let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let stored = store
            .create(Object::new(value).expect("a known kind"))
            .expect("free name");
        stored.key().clone()
    };
    let (default, shop) = (namespace("default"), namespace("shop"));
    let refused = StoreError::Immortal(default.clone());
    let options = DeleteOptions::default();
    assert_eq!(store.delete(&default, &options).err(), Some(refused.clone()));
    assert_eq!(store.dry().delete(&default, &options).err(), Some(refused));
    assert!(store.dry().delete(&shop, &options).is_ok());
    assert!(store.get(&shop).is_some(), "a question deletes nothing");
    assert!(store.delete(&shop, &options).is_ok());
}

#[test]
fn large_changes_push_each_other_out_of_the_ring_before_many_small_ones_would() {
    let store = store();
    let key = store.create(object("ConfigMap", "a")).expect("free name").key().clone();
    let first = store.resource_version();
    let write = |number: usize, bytes: usize| {
        let text = format!("{number}{}", "x".repeat(bytes));
        let change = |map: &mut Object| map.value_mut()["data"] = json!({"text": text});
        store.update(&key, change).expect("it is there");
    };
    (0..100).for_each(|number| write(number, 10));
    assert!(store.watch(first).is_ok());
    (0..40).for_each(|number| write(number, 1 << 20));
    assert!(store.watch(first).is_err(), "40 MB are not remembered");
    assert!(store.watch(store.resource_version() - 10).is_ok());
    // One that is larger than all of it is told nevertheless.
    write(0, 40 << 20);
    assert!(store.watch(store.resource_version() - 1).is_ok());
}
