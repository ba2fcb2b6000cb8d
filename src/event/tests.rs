use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::model::ManualClock;

struct Bench {
    store: Store,
    clock: Arc<ManualClock>,
    recorder: EventRecorder,
    pod: Arc<Object>,
}

fn bench() -> Bench {
    let clock = Arc::new(ManualClock::at(
        "2026-01-01T00:00:00Z".parse().expect("a valid timestamp"),
    ));
    let store = Store::in_memory(clock.clone());
    let recorder = EventRecorder::new(store.clone(), clock.clone(), "laptop");
    let metadata = json!({"name": "web", "namespace": "shop"});
    let pod = Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).expect("a known kind");
    let pod = store.create(pod).expect("free name");
    Bench {
        store,
        clock,
        recorder,
        pod,
    }
}

impl Bench {
    fn tell(&self, reason: &str, message: &str) {
        self.recorder.event(&self.pod, EventKind::Normal, reason, message);
    }

    fn tell_of(&self, name: &str, reason: &str, message: &str) {
        let metadata = json!({"name": name, "namespace": "shop", "uid": name});
        let pod = Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).expect("a known kind");
        self.recorder.event(&pod, EventKind::Normal, reason, message);
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn events(&self) -> Vec<Arc<Object>> {
        self.store.list(events(), None).items
    }

    /// Message and count of every event, in the order in which they first happened.
    fn told(&self) -> Vec<(String, i64)> {
        let tell = |e: &Arc<Object>| (e.text("/message").to_owned(), e.number("/count").unwrap_or(0));
        self.events().iter().map(tell).collect()
    }
}

#[test]
fn an_event_looks_as_kubernetes_writes_it() {
    let bench = bench();
    let kubelet = bench.recorder.component("kubelet");
    kubelet.event_at(
        &bench.pod,
        Some("spec.containers{app}"),
        EventKind::Warning,
        "BackOff",
        "Back-off restarting failed container",
    );
    let [event] = bench.events().try_into().expect("one event");
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "web", "uid": bench.pod.uid(),
            "resourceVersion": bench.pod.text("/metadata/resourceVersion"), "fieldPath": "spec.containers{app}",
        },
        "reason": "BackOff",
        "message": "Back-off restarting failed container",
        "type": "Warning",
        "source": {"component": "kubelet", "host": "laptop"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 1,
        "eventTime": null,
        "reportingComponent": "kubelocal",
        "reportingInstance": "laptop",
    });
    let (object, hex) = event.key().name.split_once('.').expect("object and number");
    let mut without_metadata = event.value().clone();
    without_metadata.as_object_mut().expect("an object").remove("metadata");
    assert_eq!(without_metadata, expected);
    assert_eq!((object, hex.len(), event.key().namespace.as_str()), ("web", 16, "shop"));
}

#[test]
fn the_same_again_counts_up() {
    let bench = bench();
    for _ in 0..3 {
        bench.tell("Pulled", "image is there");
        bench.wait(5);
    }
    assert_eq!(bench.told(), [("image is there".to_owned(), 3)]);
    let [event] = bench.events().try_into().expect("one event");
    assert_eq!(event.text("/firstTimestamp"), "2026-01-01T00:00:00Z");
    assert_eq!(event.text("/lastTimestamp"), "2026-01-01T00:00:10Z");
}

#[test]
fn the_tenth_different_message_about_one_reason_is_combined_with_those_after_it() {
    let bench = bench();
    for n in 0..12 {
        bench.tell("Failed", &format!("try {n}"));
    }
    let mut expected: Vec<_> = (0..9).map(|n| (format!("try {n}"), 1)).collect();
    expected.push(("(combined from similar events): try 11".to_owned(), 3));
    assert_eq!(bench.told(), expected);
}

#[test]
fn an_object_gets_25_events_at_once_and_one_more_every_5_minutes() {
    let bench = bench();
    let tell_30 = || (0..30).for_each(|n| bench.tell(&format!("Reason{n}"), "x"));
    tell_30();
    assert_eq!(bench.events().len(), 25);
    bench.wait(301);
    (0..5).for_each(|n| bench.tell(&format!("Later{n}"), "x"));
    assert_eq!(bench.events().len(), 26);
}

#[test]
fn an_event_that_someone_removed_is_made_again_with_its_count() {
    let bench = bench();
    bench.tell("Pulled", "image is there");
    let [event] = bench.events().try_into().expect("one event");
    bench.store.remove(event.key(), event.uid()).expect("it is there");
    bench.tell("Pulled", "image is there");
    assert_eq!(bench.told(), [("image is there".to_owned(), 2)]);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    assert_eq!(cut("abc", 1024), "abc");
    assert_eq!(cut("aéé", 4), "aé");
}

#[tokio::test]
async fn of_too_many_events_the_newest_stay() {
    let bench = bench();
    let stop = CancellationToken::new();
    let sweep = tokio::spawn({
        let (recorder, stop) = (bench.recorder.clone(), stop.clone());
        async move { recorder.run_expiry(&stop).await }
    });
    for n in 0..MOST + 3 * BATCH {
        bench.wait(1);
        bench.tell_of(&format!("pod-{n}"), "Started", "it runs");
        tokio::task::yield_now().await;
    }
    let left = bench.events();
    assert!((MOST..=MOST + BATCH + 1).contains(&left.len()), "{}", left.len());
    let names: Vec<_> = left.iter().map(|event| event.text("/involvedObject/name")).collect();
    assert!(!names.contains(&"pod-0"));
    assert!(names.contains(&format!("pod-{}", MOST + 3 * BATCH - 1).as_str()));
    stop.cancel();
    sweep.await.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn events_go_an_hour_after_they_last_happened() {
    let bench = bench();
    let stop = CancellationToken::new();
    let sweep = tokio::spawn({
        let (recorder, stop) = (bench.recorder.clone(), stop.clone());
        async move { recorder.run_expiry(&stop).await }
    });
    bench.tell("Old", "once");
    let last = bench.store.resource_version();
    let mut watcher = bench.store.watch(last).expect("nothing forgotten");
    // The sweep must have begun to sleep before the clock moves; it begins on the next turn of the scheduler.
    tokio::task::yield_now().await;
    bench.wait(3660);
    let change = watcher.next().await.expect("near");
    assert_eq!(change.kind, crate::store::ChangeKind::Deleted);
    stop.cancel();
    sweep.await.expect("no panic");
}
