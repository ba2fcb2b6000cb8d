//! Keeps the store like one source: applies what it names, prunes what left it, and when it goes removes all it made.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use super::apply::{ApplyError, Request, apply};
use super::combine::{combine, problem};
use super::heirs::{bequeath, broken_in};
use super::owner::{self, manager_of, sources_of};
use super::report;
use super::retry::Retry;
use crate::admit::{Problem, Refused, Severity};
use crate::event::EventRecorder;
use crate::model::{self, Clock, KINDS, Key, Object, PRUNE_FINALIZER, SOURCE, SourceSpec, storage};
use crate::source::{
    self, Applied, External, Listing, Overlays, RunningSource, SourceId, SourcedObject, plan_source, rank,
};
use crate::store::{Change, ChangeKind, DeleteOptions, Precondition, Store, StoreError, Watcher};

mod notes;

use notes::MADE_FOR;

/// One source's keeper.
pub(super) struct Keeper {
    store: Store,
    clock: Arc<dyn Clock>,
    key: Key,
    uid: String,
    spec: SourceSpec,
    overlays: Overlays,
    stop: CancellationToken,
    /// What was applied and is to stay as applied.
    applied: BTreeMap<Key, Applied>,
    /// Objects that must go before something can be applied: pods to be replaced, objects of other sources, namespaces that end.
    blocked: BTreeSet<Key>,
    /// When to try again what was refused.
    retry: Retry,
    /// The files that were broken when an earlier keeper looked last, until this one has read the source whole.
    broken_before: Option<BTreeSet<PathBuf>>,
    /// What was taken back from others when an object was last applied.
    taken: BTreeMap<Key, Problem>,
    recorder: EventRecorder,
}

impl Keeper {
    pub(super) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        source: &Object,
        spec: SourceSpec,
        overlays: Overlays,
        stop: CancellationToken,
    ) -> Self {
        let (key, uid) = (source.key().clone(), source.uid().to_owned());
        let recorder = EventRecorder::new(store.clone(), clock.clone(), "").component("manifest-source");
        let mut keeper = Self {
            store,
            clock,
            key,
            uid,
            spec,
            overlays,
            stop,
            applied: BTreeMap::new(),
            blocked: BTreeSet::new(),
            retry: Retry::new(),
            broken_before: Some(broken_in(&report::status_of(source))),
            taken: BTreeMap::new(),
            recorder,
        };
        keeper.applied = keeper.recall(source);
        keeper
    }

    /// Works until the source goes or the node ends.
    pub(super) async fn run(mut self) {
        let mut sources = self.spawn();
        let mut changes = self.watch();
        // What went before it was watched.
        self.recheck();
        let owner = Owner::open(self.spec.owner_pid.filter(|_| self.spec.ephemeral));
        let mut listing = Arc::new(Listing::unread(self.id()));
        loop {
            if self.is_deleting() {
                self.prune_all();
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = next_listing(&mut sources) => {
                    let listings: Vec<_> = sources.iter_mut().map(|s| s.listings.borrow_and_update().clone()).collect();
                    listing = Arc::new(combine(self.id(), &listings));
                    self.retry.begin_anew();
                    self.settle(&listing);
                }
                change = changes.next() => match change {
                    Ok(change) => if self.forget_if_gone(&change) { self.settle(&listing) },
                    Err(_) => { changes = self.watch(); self.recheck(); self.settle(&listing); }
                },
                () = self.retry.due() => { self.retry.is_due(); self.settle(&listing); }
                () = owner.ended() => drop(self.store.delete(&self.key, &DeleteOptions::default())),
            }
        }
        self.stop.cancel();
        for source in sources {
            // A reader that panicked was printed; there is nothing to save.
            let _ = source.task.await;
        }
    }

    fn id(&self) -> SourceId {
        SourceId(self.key.name.clone())
    }

    fn external(&self) -> External {
        let asked = self.spec.search_path.as_ref().map(OsString::from);
        External {
            search_path: asked.or_else(|| std::env::var_os("PATH")).unwrap_or_default(),
            helm: self.overlays.helm.clone(),
        }
    }

    fn spawn(&self) -> Vec<RunningSource> {
        let at = |spec: source::SourceSpec| {
            let namespace = Some(self.spec.namespace.clone()).filter(|n| !n.is_empty());
            let namespace = namespace.unwrap_or_else(|| crate::admit::DEFAULT_NAMESPACE.to_owned());
            let overlays = Overlays {
                external: self.spec.external.then(|| self.external()),
                ..self.overlays.clone()
            };
            let spec = source::SourceSpec {
                namespace,
                overlays,
                ..spec
            };
            source::spawn(spec, self.clock.clone(), self.stop.clone())
        };
        let text = self
            .spec
            .documents
            .as_ref()
            .map(|text| source::SourceSpec::text(&self.key.name, "-", text.as_bytes()));
        let paths = self
            .spec
            .paths
            .iter()
            .map(|path| source::SourceSpec::at(&self.key.name, PathBuf::from(path)));
        text.into_iter().chain(paths).map(at).collect()
    }

    fn watch(&self) -> Watcher {
        loop {
            // A burst of writes between the two calls may push the version out of the ring.
            if let Ok(watcher) = self.store.watch(self.store.resource_version()) {
                return watcher;
            }
        }
    }

    fn is_deleting(&self) -> bool {
        self.store
            .get(&self.key)
            .is_none_or(|source| source.uid() != self.uid || source.is_deleting())
    }

    /// What an earlier keeper of this source applied.
    fn recall(&self, source: &Object) -> BTreeMap<Key, Applied> {
        let kinds = KINDS.iter().filter(|kind| kind.honoured.is_for_files());
        let all: Vec<_> = kinds.flat_map(|kind| self.store.list(kind, None).items).collect();
        owner::recall(source, all.iter().map(Arc::as_ref))
    }

    /// Takes note of what went. True if that calls for another look at the listing.
    fn forget_if_gone(&mut self, change: &Change) -> bool {
        let key = change.object.key();
        if change.kind != ChangeKind::Deleted {
            return false;
        }
        let uid = change.object.uid();
        let was_applied = self.applied.get(key).is_some_and(|applied| applied.uid == uid);
        if was_applied {
            self.applied.remove(key);
        }
        self.blocked.remove(key) || was_applied
    }

    /// Forgets what went while nobody looked.
    fn recheck(&mut self) {
        let store = self.store.clone();
        let is_there = |key: &Key, uid: &str| store.get(key).is_some_and(|live| live.uid() == uid);
        self.applied.retain(|key, applied| is_there(key, &applied.uid));
        self.blocked.clear();
    }

    /// Notes where what was applied is written now: an equal document may have moved to another file.
    fn follow(&mut self, listing: &Listing) {
        for object in listing.last_good.iter().chain(&listing.objects) {
            if let Some(applied) = self.applied.get_mut(&object.key).filter(|a| a.origin != *object.origin) {
                applied.origin = object.origin.to_path_buf();
            }
        }
    }

    fn settle(&mut self, listing: &Listing) {
        if listing.complete
            && let Some(broken_before) = self.broken_before.take()
        {
            bequeath(&mut self.applied, listing, &broken_before);
        }
        let plan = plan_source(&self.applied, listing);
        let mut problems = listing.problems.clone();
        let mut is_refused = false;
        for object in &plan.apply {
            match self.apply(object) {
                Ok(uid) => {
                    let applied = Applied {
                        origin: object.origin.to_path_buf(),
                        digest: Some(object.digest),
                        uid,
                    };
                    self.applied.insert(object.key.clone(), applied);
                }
                Err(found) => {
                    is_refused |= !found.is_empty();
                    problems.extend(found);
                }
            }
        }
        for object in &listing.objects {
            problems.extend(self.pending_namespace(object));
            problems.extend(self.foreign_node(object));
            problems.extend(self.taken.get(&object.key).cloned());
        }
        for key in &plan.prune {
            self.prune(key);
            self.applied.remove(key);
            self.taken.remove(key);
        }
        self.follow(listing);
        self.retry.settled(is_refused);
        report::write(
            &self.store,
            &self.key,
            listing,
            &self.applied,
            problems,
            self.clock.now(),
        );
    }

    /// Applies one object and returns its uid, or says why not. A pod whose fixed fields changed is deleted gracefully and applied
    /// when it is gone.
    fn apply(&mut self, object: &SourcedObject) -> Result<String, Vec<Problem>> {
        let live = self.store.get(&object.key);
        if let Some(live) = &live {
            self.check_owner(object, live)?;
            if live.is_deleting() {
                self.blocked.insert(object.key.clone());
                return Err(Vec::new());
            }
        }
        self.make_namespace(object);
        let config = marked(&object.config, &self.key.name);
        let manager = manager_of(&self.key.name);
        let now = self.clock.now();
        let request = Request {
            config: &config,
            key: &object.key,
            manager: &manager,
            subresource: "",
            // The files are the truth: what an author wrote there is theirs, whoever wrote the field in between.
            force: true,
            may_resize: true,
            may_create: true,
            now,
        };
        match apply(&self.store, request) {
            Ok(applied) => {
                self.tell_taken(object, &applied);
                Ok(applied.object.uid().to_owned())
            }
            Err(ApplyError::Refused(refused)) if matches!(*refused, Refused::NeedsReplacement(..)) => {
                self.blocked.insert(object.key.clone());
                tracing::info!(object = %object.key, "replacing it: what changed can't change in a living pod");
                self.prune(&object.key);
                Err(Vec::new())
            }
            Err(error) => {
                if let ApplyError::Store(StoreError::Terminating(_)) = &error {
                    self.blocked.insert(namespace_of(&object.key));
                }
                let message = format!("{}: {error}", object.key);
                Err(vec![problem(object, Severity::Error, message)])
            }
        }
    }

    /// Two sources can't keep one object: the first has it.
    fn check_owner(&mut self, object: &SourcedObject, live: &Object) -> Result<(), Vec<Problem>> {
        let others = sources_of(live).filter(|name| *name != self.key.name);
        let present = |name: &str| self.store.get(&Key::new(self.key.kind(), "", name));
        let Some(source) = others.into_iter().find_map(present) else {
            return Ok(());
        };
        let other = &source.key().name;
        self.blocked.insert(object.key.clone());
        let place = report::origin_of(&source, &object.key).unwrap_or_else(|| format!("source {other}"));
        let message = format!("{} is already given at {place}, in source {other:?}", object.key);
        Err(vec![problem(object, Severity::Error, message)])
    }

    /// A namespace that files use and nobody made: made here, as the machine is the user's own.
    fn make_namespace(&self, object: &SourcedObject) {
        let namespace = &object.key.namespace;
        if namespace.is_empty() || self.store.get(&namespace_of(&object.key)).is_some() {
            return;
        }
        let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": namespace, "annotations": {MADE_FOR: self.key.name},
        }});
        let made = crate::admit::admit(&made, None);
        // A name that no namespace can have fails with the object itself, which tells more.
        if let Ok(made) = made {
            let _ = self.store.create(made);
        }
    }

    fn prune(&self, key: &Key) {
        let Some(live) = self.store.get(key).filter(|live| !live.is_deleting()) else {
            return;
        };
        // Someone may have made their own of the name meanwhile.
        if self.applied.get(key).is_none_or(|applied| applied.uid != live.uid()) {
            return;
        }
        if storage::holds_data(key.kind()) {
            return self.let_go(key);
        }
        let options = DeleteOptions {
            precondition: Precondition {
                uid: Some(live.uid().to_owned()),
                resource_version: None,
            },
            ..DeleteOptions::default()
        };
        match self.store.delete(key, &options) {
            Ok(_) | Err(StoreError::NotFound(_)) => {}
            Err(error) => tracing::warn!(object = %key, %error, "can't be pruned"),
        }
    }

    /// What holds data stays when its file goes: only who asks for that by name loses it.
    fn let_go(&self, key: &Key) {
        tracing::info!(object = %key, "it is in no file any more; its data stays until it is deleted");
        // It may be gone: then there is nothing to let go.
        let _ = self
            .store
            .update(key, |object: &mut Object| owner::let_go(object, &self.key.name));
    }

    /// Removes all that the source made, and then the source.
    fn prune_all(&self) {
        let mut keys: Vec<_> = self.applied.keys().collect();
        keys.sort_by_key(|key| rank(key));
        keys.into_iter().for_each(|key| self.prune(key));
        let release = |source: &mut Object| source.remove_finalizer(PRUNE_FINALIZER);
        // It may be gone: then there is nothing to release.
        let _ = self.store.update(&self.key, release);
    }
}

/// The namespace that an object is in.
fn namespace_of(key: &Key) -> Key {
    let kind = model::kind("v1", "Namespace").expect("in the table");
    Key::new(kind, "", &key.namespace)
}

/// What the author wrote, and the mark by which the source knows it again.
fn marked(config: &Value, source: &str) -> Value {
    let mut config = config.clone();
    config["metadata"]["annotations"][SOURCE] = source.into();
    config
}

/// Returns when a reader told something new.
async fn next_listing(sources: &mut [RunningSource]) {
    let changed = sources.iter_mut().map(|source| {
        Box::pin(async {
            if source.listings.changed().await.is_err() {
                // It has told all that it ever will.
                std::future::pending::<()>().await;
            }
        })
    });
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(changed).await;
}

/// The process with which an ephemeral source goes.
struct Owner(Option<AsyncFd<OwnedFd>>);

impl Owner {
    fn open(pid: Option<u32>) -> Self {
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        let fd = pid.and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK).ok());
        Self(fd.and_then(|fd| crate::os::watch_readable(fd).ok()))
    }

    /// Returns when it has ended; never where there is none.
    async fn ended(&self) {
        match &self.0 {
            // An error would mean that the pidfd can't be polled, which it can.
            Some(fd) => drop(fd.readable().await),
            None => std::future::pending().await,
        }
    }
}
