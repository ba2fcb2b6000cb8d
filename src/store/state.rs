//! The objects in memory, with the indexes that keep every question proportional to its answer, and the ring of recent changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::model::{Key, Kind, Object};

/// How many changes a watcher may lag behind before it must list again. A busy second of fifty starting pods writes about
/// three hundred; a client that lists ten thousand objects and then follows them needs some seconds of a thousand writes each. An entry
/// holds at most one object that is otherwise gone (a few kB), so that a burst takes some tens of MB for as long as it lasts.
const RING: usize = 8192;

/// How much text the objects of the ring may hold together: most changes are of some kB, and then the number counts before the size does.
/// What is kept of an object takes some times its text, so that a rush of large objects takes no more than a hundred MB or two.
const RING_BYTES: usize = 32 << 20;

/// How many changes are kept when nothing happens any more: enough for a client that connects anew after a moment.
const RING_AT_REST: usize = 64;

/// The first resourceVersion of a new store: far from 0, which clients take for "any".
const FIRST: u64 = 1000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the change holds its last state under a new resourceVersion.
    Deleted,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The resourceVersion of the change.
    pub resource_version: u64,
    /// The object after it.
    pub object: Arc<Object>,
    /// The object before it; `None` when it is new. Watches with selectors need it.
    pub old: Option<Arc<Object>>,
    /// The object as clients are shown it: whoever shows it first does so for all who follow.
    pub shown: Arc<OnceLock<Box<[u8]>>>,
}

/// A change in the ring.
struct Remembered {
    change: Change,
    /// How much text its object holds.
    bytes: usize,
}

/// How much text a value holds, about as much as it takes as JSON.
fn text_of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(text_of).sum::<usize>() + 8,
        Value::Object(fields) => {
            fields
                .iter()
                .map(|(name, field)| name.len() + text_of(field))
                .sum::<usize>()
                + 8
        }
    }
}

/// Everything the store knows.
pub(super) struct State {
    objects: BTreeMap<Key, Arc<Object>>,
    /// Owner's uid to the objects that name it.
    dependents: HashMap<String, BTreeSet<Key>>,
    resource_version: u64,
    ring: VecDeque<Remembered>,
    /// How much the ring holds.
    ring_bytes: usize,
    /// Changes up to here are not in the ring.
    forgotten: u64,
}

impl State {
    pub(super) fn empty() -> Self {
        Self::restored(Vec::new(), FIRST)
    }

    /// The state after a restart: `resource_version` is above all that was ever handed out.
    pub(super) fn restored(objects: Vec<Object>, resource_version: u64) -> Self {
        let mut state = Self {
            objects: BTreeMap::new(),
            dependents: HashMap::new(),
            resource_version,
            ring: VecDeque::new(),
            ring_bytes: 0,
            forgotten: resource_version,
        };
        for object in objects {
            state.index(&object);
            state.objects.insert(object.key().clone(), Arc::new(object));
        }
        state
    }

    pub(super) fn resource_version(&self) -> u64 {
        self.resource_version
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn list(&self, kind: &'static Kind, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let first = Key::new(kind, namespace.unwrap_or_default(), "");
        let of_kind = self.objects.range(first..).take_while(|(key, _)| key.kind() == kind);
        of_kind
            .take_while(|(key, _)| namespace.is_none_or(|n| !kind.namespaced || key.namespace == n))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// What [`State::list`] was at `resource_version`: the present with every change since then taken back. `None` when some of
    /// them are forgotten.
    pub(super) fn list_at(
        &self,
        kind: &'static Kind,
        namespace: Option<&str>,
        resource_version: u64,
    ) -> Option<Vec<Arc<Object>>> {
        let changes: Vec<_> = self.changes_after(resource_version)?.collect();
        let present = self.list(kind, namespace).into_iter();
        let mut items: BTreeMap<Key, _> = present.map(|object| (object.key().clone(), object)).collect();
        for change in changes.into_iter().rev() {
            let key = change.object.key();
            if key.kind() != kind || namespace.is_some_and(|n| kind.namespaced && key.namespace != n) {
                continue;
            }
            match &change.old {
                Some(old) => items.insert(key.clone(), old.clone()),
                None => items.remove(key),
            };
        }
        Some(items.into_values().collect())
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        let keys = self.dependents.get(uid).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    /// The changes after `resource_version`, or `None` when some of them are forgotten.
    pub(super) fn changes_after(&self, resource_version: u64) -> Option<impl Iterator<Item = &Change>> {
        let known = resource_version >= self.forgotten;
        let start = self
            .ring
            .partition_point(|kept| kept.change.resource_version <= resource_version);
        known.then(|| self.ring.range(start..).map(|kept| &kept.change))
    }

    /// Stores an object under the next resourceVersion.
    pub(super) fn put(&mut self, mut object: Object) -> Change {
        let resource_version = self.stamp(&mut object);
        let key = object.key().clone();
        let old = self.objects.get(&key).cloned();
        if let Some(old) = &old {
            self.unindex(old);
        }
        self.index(&object);
        let object = Arc::new(object);
        self.objects.insert(key, object.clone());
        let kind = if old.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        self.remember(Change {
            kind,
            resource_version,
            object,
            old,
            shown: Arc::default(),
        })
    }

    /// Removes an object, if it is there.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Change> {
        let old = self.objects.remove(key)?;
        self.unindex(&old);
        let mut last = Object::clone(&old);
        let resource_version = self.stamp(&mut last);
        let object = Arc::new(last);
        Some(self.remember(Change {
            kind: ChangeKind::Deleted,
            resource_version,
            object,
            old: Some(old),
            shown: Arc::default(),
        }))
    }

    fn stamp(&mut self, object: &mut Object) -> u64 {
        self.resource_version += 1;
        let text = self.resource_version.to_string();
        object.metadata_mut().insert("resourceVersion".to_owned(), text.into());
        self.resource_version
    }

    fn remember(&mut self, change: Change) -> Change {
        // The object before the change is most often the one after an earlier change, which is counted there.
        let bytes = text_of(change.object.value());
        self.ring_bytes += bytes;
        self.ring.push_back(Remembered {
            change: change.clone(),
            bytes,
        });
        // The newest stays whatever its size: watchers that are not behind want it.
        while self.ring.len() > 1 && (self.ring.len() > RING || self.ring_bytes > RING_BYTES) {
            self.forget_oldest();
        }
        change
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.ring.pop_front() {
            self.ring_bytes -= oldest.bytes;
            self.forgotten = oldest.change.resource_version;
        }
    }

    /// Lets go of all but the newest changes, and of the memory that they took.
    pub(super) fn forget_changes(&mut self) {
        while self.ring.len() > RING_AT_REST {
            self.forget_oldest();
        }
        self.ring.shrink_to_fit();
    }

    fn index(&mut self, object: &Object) {
        for owner in object.owners() {
            self.dependents
                .entry(owner.uid)
                .or_default()
                .insert(object.key().clone());
        }
    }

    fn unindex(&mut self, object: &Object) {
        for owner in object.owners() {
            if let Some(keys) = self.dependents.get_mut(&owner.uid) {
                keys.remove(object.key());
                if keys.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }
}
