//! Which sources there are: every `ManifestSource` in the store has a keeper for as long as it is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use crate::model::{self, Clock, Kind, MANIFESTS_SOURCE, Object, PRUNE_FINALIZER, SourceSpec};
use crate::source::Overlays;
use crate::store::{Store, StoreError, Watcher};

struct Registry {
    store: Store,
    clock: Arc<dyn Clock>,
    overlays: Overlays,
    stop: CancellationToken,
    keepers: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
}

/// A source at work.
struct Running {
    uid: String,
    spec: SourceSpec,
    stop: CancellationToken,
}

/// Keeps the store like its sources until `stop`; `manifests` is the directory that every node watches, and `overlays` says
/// what overlays may do.
pub async fn run(store: Store, clock: Arc<dyn Clock>, manifests: PathBuf, overlays: Overlays, stop: CancellationToken) {
    register_manifests(&store, &manifests);
    let mut registry = Registry {
        store,
        clock,
        overlays,
        stop: stop.clone(),
        keepers: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    let mut changes = registry.list();
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => break,
            change = changes.next() => change,
            Some(_) = registry.tasks.join_next() => continue,
        };
        match change {
            Ok(change) if change.object.kind() == kind() => registry.take(&change.object),
            Ok(_) => {}
            Err(_) => changes = registry.list(),
        }
    }
    while registry.tasks.join_next().await.is_some() {}
}

fn kind() -> &'static Kind {
    model::kind("kubelocal.dev/v1alpha1", "ManifestSource").expect("in the table")
}

fn register_manifests(store: &Store, manifests: &std::path::Path) {
    let spec = json!({"paths": [manifests], "ephemeral": false});
    let metadata = json!({"name": MANIFESTS_SOURCE, "finalizers": [PRUNE_FINALIZER]});
    let object =
        json!({"apiVersion": "kubelocal.dev/v1alpha1", "kind": "ManifestSource", "metadata": metadata, "spec": spec});
    let object = Object::new(object).expect("a kind of the table, with a name");
    let key = object.key().clone();
    if let Err(StoreError::AlreadyExists(_)) = store.create(object) {
        // The home may have moved.
        let _ = store.update(&key, |present| present.value_mut()["spec"] = spec);
    }
}

impl Registry {
    fn list(&mut self) -> Watcher {
        loop {
            let sources = self.store.list(kind(), None);
            let names: Vec<_> = sources.items.iter().map(|source| source.key().name.clone()).collect();
            self.keepers
                .retain(|name, running| names.contains(name) || running.end());
            sources.items.iter().for_each(|source| self.take(source));
            if let Ok(watcher) = self.store.watch(sources.resource_version) {
                return watcher;
            }
        }
    }

    fn take(&mut self, source: &Arc<Object>) {
        let name = &source.key().name;
        if self
            .store
            .get(source.key())
            .is_none_or(|present| present.uid() != source.uid())
        {
            self.keepers
                .retain(|other, running| other != name || running.uid != source.uid() || running.end());
            return;
        }
        let spec: SourceSpec = source
            .at("/spec")
            .and_then(|s| serde_json::from_value(s.clone()).ok())
            .unwrap_or_default();
        let is_known = self
            .keepers
            .get(name)
            .is_some_and(|running| running.uid == source.uid() && running.spec == spec);
        if is_known {
            return;
        }
        if let Some(running) = self.keepers.remove(name) {
            running.end();
        }
        let stop = self.stop.child_token();
        let keeper = Keeper::new(
            self.store.clone(),
            self.clock.clone(),
            source,
            spec.clone(),
            self.overlays.clone(),
            stop.clone(),
        );
        self.tasks.spawn(keeper.run());
        self.keepers.insert(
            name.clone(),
            Running {
                uid: source.uid().to_owned(),
                spec,
                stop,
            },
        );
    }
}

impl Running {
    /// Ends the keeper; false, for `retain`.
    fn end(&self) -> bool {
        self.stop.cancel();
        false
    }
}
