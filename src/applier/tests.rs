//! Sources against a store: without files and with a clock that only moves when nothing else does; and on files, over the lives of
//! several nodes.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use crate::model::{Clock, Key, ManualClock, Object, SOURCE, SourceSpec, SystemClock, kind};
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

/// A store, and a source of the files in `m/`, which nodes keep one after the other.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    source: Arc<Object>,
    marks: u32,
}

/// A node's keeper of the source.
struct Life {
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Life {
    /// Ends it. What the store holds then is what it held when the node was killed.
    async fn end(self) {
        self.stop.cancel();
        self.keeper.await.expect("does not panic");
    }
}

impl Bench {
    fn of(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::in_memory(Arc::new(SystemClock));
        let spec = json!({"paths": [dir.path().join("m")], "ephemeral": false});
        let source = json!({"apiVersion": "kubelocal.dev/v1alpha1", "kind": "ManifestSource", "metadata": {"name": "s"},
            "spec": spec});
        let source = created(&store, source);
        let bench = Self {
            dir,
            store,
            source,
            marks: 0,
        };
        fs::create_dir(bench.dir.path().join("m")).expect("made");
        files.iter().for_each(|(name, text)| bench.write(name, text));
        bench
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        // As a whole: no reader comes between.
        let new = path.with_extension("new");
        fs::write(&new, text).expect("written");
        fs::rename(new, path).expect("renamed");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join(name)).expect("removed");
    }

    fn get(&self, name: &str) -> Option<Arc<Object>> {
        self.store.get(&config_map(name))
    }

    /// The source as the store has it.
    fn source(&self) -> Arc<Object> {
        self.store.get(self.source.key()).expect("nobody deletes it")
    }

    /// Begins a node, and waits until it has done what the files ask for.
    async fn begin(&mut self) -> Life {
        let (source, stop) = (self.source(), CancellationToken::new());
        let spec = source.at("/spec").expect("has one").clone();
        let spec = serde_json::from_value(spec).expect("is one");
        let overlays = Overlays::default();
        let keeper = Keeper::new(
            self.store.clone(),
            Arc::new(SystemClock),
            &source,
            spec,
            overlays,
            stop.clone(),
        );
        let keeper = tokio::spawn(keeper.run());
        self.settled().await;
        Life { stop, keeper }
    }

    /// Waits until the files were looked at: a file more is, and all is done at once then, as nothing else runs meanwhile.
    async fn settled(&mut self) {
        self.marks += 1;
        let name = format!("mark-{}", self.marks);
        self.write(&format!("m/{name}.yaml"), &map(&name, "1"));
        self.until(|bench| bench.get(&name).is_some()).await;
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changes = self.store.watch(self.store.resource_version()).expect("is new");
        let wait = async {
            while !is_so(self) {
                changes.next().await.expect("few changes");
            }
        };
        let waited = timeout(Duration::from_secs(30), wait).await;
        waited.unwrap_or_else(|_| panic!("never came; the source: {}", self.source().value()));
    }
}

fn config_map(name: &str) -> Key {
    Key::new(kind("v1", "ConfigMap").expect("in the table"), "default", name)
}

fn map(name: &str, value: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {{v: '{value}'}}}}\n")
}

#[tokio::test]
async fn what_a_broken_file_or_overlay_named_outlives_any_number_of_nodes() {
    let overlay = "resources: [../../base]\n";
    let mut bench = Bench::of(&[
        ("m/a.yaml", &map("of-file", "1")),
        ("m/ov/kustomization.yaml", overlay),
        ("base/kustomization.yaml", "resources: [b.yaml]\n"),
        ("base/b.yaml", &map("of-base", "1")),
    ]);
    let life = bench.begin().await;
    bench.write("m/a.yaml", "kind: [\n");
    bench.write("m/ov/kustomization.yaml", "resources: [../../base\n");
    bench.settled().await;
    life.end().await;
    for _ in 0..3 {
        bench.begin().await.end().await;
        let uids = ["of-file", "of-base"].map(|name| bench.get(name).is_some_and(|object| !object.is_deleting()));
        assert_eq!(uids, [true, true], "{}", bench.source().value());
    }
    let said =
        super::report::origin_of(&bench.source(), &config_map("of-base")).expect("it is told where it was written");
    assert!(said.ends_with("base/b.yaml:1"), "{said}");
}

#[tokio::test]
async fn a_file_that_broke_and_moved_while_no_node_ran_keeps_what_it_named_until_it_can_be_read() {
    let mut bench = Bench::of(&[
        ("m/a.yaml", &map("of-file", "1")),
        ("m/stale.yaml", "x: [\n"),
        ("m/gone.yaml", &map("gone", "1")),
    ]);
    bench.begin().await.end().await;
    bench.remove("m/gone.yaml");
    bench.begin().await.end().await;
    assert!(
        bench.get("gone").is_none(),
        "the file that is broken was so when the other one went"
    );
    bench.remove("m/a.yaml");
    bench.write("m/b.yaml", "kind: [\n");
    for _ in 0..2 {
        bench.begin().await.end().await;
        assert!(bench.get("of-file").is_some(), "{}", bench.source().value());
    }
    let life = bench.begin().await;
    bench.write("m/b.yaml", &map("other", "1"));
    bench
        .until(|bench| bench.get("other").is_some() && bench.get("of-file").is_none())
        .await;
    life.end().await;
}

#[tokio::test]
async fn a_copy_with_the_sources_annotation_is_the_users() {
    let mut bench = Bench::of(&[("m/a.yaml", &map("orig", "1"))]);
    bench.begin().await.end().await;
    let original = bench.get("orig").expect("applied");
    assert_eq!(original.annotations().get(SOURCE), Some(&"s"));
    let metadata = json!({"name": "copy", "namespace": "default", "annotations": original.annotations()});
    created(
        &bench.store,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}),
    );
    let life = bench.begin().await;
    assert!(bench.get("copy").is_some());
    bench
        .store
        .update(bench.source.key(), |source| {
            source
                .metadata_mut()
                .insert("finalizers".into(), json!([crate::model::PRUNE_FINALIZER]));
        })
        .expect("is there");
    let deleted = bench.store.delete(bench.source.key(), &DeleteOptions::default());
    assert!(matches!(deleted, Ok(Deleted::Pending(_))));
    life.keeper.await.expect("ends with its source");
    assert_eq!(
        (bench.get("orig").is_some(), bench.get("copy").is_some()),
        (false, true)
    );
}

#[tokio::test]
async fn a_start_of_the_node_changes_nothing_and_an_edit_of_the_file_does() {
    let mut bench = Bench::of(&[("m/a.yaml", &map("a", "1"))]);
    bench.begin().await.end().await;
    let set = |object: &mut Object| object.value_mut()["data"]["v"] = "by hand".into();
    bench.store.update(&config_map("a"), set).expect("is there");
    let before = bench.get("a");
    let life = bench.begin().await;
    assert_eq!(bench.get("a"), before, "it is as it was left");
    bench.write("m/a.yaml", &map("a", "2"));
    bench
        .until(|bench| bench.get("a").is_some_and(|a| a.text("/data/v") == "2"))
        .await;
    life.end().await;
}

#[tokio::test]
async fn what_goes_while_its_file_is_broken_comes_back_as_it_was_last_good() {
    let mut bench = Bench::of(&[("m/a.yaml", &map("a", "1"))]);
    let life = bench.begin().await;
    bench.write("m/a.yaml", "kind: [\n");
    bench.settled().await;
    let gone = bench.get("a").expect("kept");
    bench
        .store
        .delete(gone.key(), &DeleteOptions::default())
        .expect("is there");
    let is_back = |a: Arc<Object>| a.uid() != gone.uid() && a.text("/data/v") == "1";
    bench.until(|bench| bench.get("a").is_some_and(is_back)).await;
    life.end().await;
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
