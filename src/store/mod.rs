//! Objects at rest: the current state of every object, the order in which it came about, and a journal of it on disk.
//!
//! One writer at a time (a short lock, never held across an await), any number of readers. A write is visible at once
//! and durable soon after: whoever must not act before it is (the first effect of a pod, the answer to a client) awaits
//! [`Store::durable`]. The room knows what every object has (`metadata`, `status`, finalizers, grace) and nothing of what single
//! kinds mean; defaults and validation are `admit`'s.

mod deletion;
mod journal;
mod state;
#[cfg(test)]
mod tests;
mod verbs;
mod watch;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch as bell;
use tokio::time::timeout;

use crate::model::{Clock, Key, Kind, Object};

pub use journal::{JournalError, NotDurable};
pub use state::{Change, ChangeKind};
pub use verbs::{DeleteOptions, Deleted, Precondition, Propagation, StoreError, Written};
pub use watch::{Expired, Watcher};

use journal::Journal;
use state::State;

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Writes are planned and answered, and change nothing.
    is_dry: bool,
}

struct Inner {
    /// Held by who chooses for an object what no other has, from the look at the others to the write.
    turn: Mutex<()>,
    /// Guards the objects for the moment of one read or write.
    state: Mutex<State>,
    /// Rings with the newest resourceVersion.
    newest: bell::Sender<u64>,
    journal: Journal,
    clock: Arc<dyn Clock>,
}

/// A list, and the moment at which it was true.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The objects, by namespace and name.
    pub items: Vec<Arc<Object>>,
    /// The resourceVersion from which a watch continues.
    pub resource_version: u64,
}

impl Store {
    /// Opens the journal at `file`, making it if needed, and reads what it holds.
    ///
    /// # Errors
    /// When the file can't be opened or is not a journal.
    pub fn open(file: &Path, clock: Arc<dyn Clock>) -> Result<Self, JournalError> {
        let (journal, state) = Journal::open(file)?;
        Ok(Self::with(journal, state, clock))
    }

    /// A store that forgets: for tests.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self::with(Journal::none(), State::empty(), clock)
    }

    fn with(journal: Journal, state: State, clock: Arc<dyn Clock>) -> Self {
        let (newest, _) = bell::channel(state.resource_version());
        Self {
            inner: Arc::new(Inner {
                turn: Mutex::new(()),
                state: Mutex::new(state),
                newest,
                journal,
                clock,
            }),
            is_dry: false,
        }
    }

    /// The same store for a dry run: a write is refused or answered as it would be, and changes nothing.
    #[must_use]
    pub fn dry(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            is_dry: true,
        }
    }

    /// The turn of who gives an object what no other may have: held from the look at the others to the write, so that two do not choose the
    /// same. Never across an await.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        self.inner.turn.lock().expect("no holder panics")
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        self.lock().get(key)
    }

    /// All objects of a kind, or those of one namespace.
    pub fn list(&self, kind: &'static Kind, namespace: Option<&str>) -> Snapshot {
        let state = self.lock();
        Snapshot {
            items: state.list(kind, namespace),
            resource_version: state.resource_version(),
        }
    }

    /// All objects of a kind, or those of one namespace, as they were at `resource_version`.
    ///
    /// # Errors
    /// When changes since then are no longer known.
    pub fn list_at(
        &self,
        kind: &'static Kind,
        namespace: Option<&str>,
        resource_version: u64,
    ) -> Result<Snapshot, Expired> {
        let state = self.lock();
        let expired = Expired {
            asked: resource_version,
            current: state.resource_version(),
        };
        let items = state.list_at(kind, namespace, resource_version).ok_or(expired)?;
        Ok(Snapshot {
            items,
            resource_version,
        })
    }

    /// The objects that name `uid` among their owners.
    pub fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        self.lock().dependents(uid)
    }

    /// The newest resourceVersion.
    pub fn resource_version(&self) -> u64 {
        self.lock().resource_version()
    }

    /// Follows every change after `resource_version`.
    ///
    /// # Errors
    /// When changes after that version are no longer known: list again.
    pub fn watch(&self, resource_version: u64) -> Result<Watcher, Expired> {
        Watcher::new(self.clone(), resource_version)
    }

    /// Lets go of most former states, which are kept for watchers only. Who watches on misses nothing; who comes back with an old
    /// resourceVersion may have to list again. For the times when nothing changes.
    pub fn forget_changes(&self) {
        self.lock().forget_changes();
    }

    /// Returns when nothing has changed for `rest` after at least one change; never while nothing changes at all.
    pub async fn rested(&self, rest: Duration) {
        let mut newest = self.inner.newest.subscribe();
        // The store holds the sender, so there is always another change to wait for.
        let _ = newest.changed().await;
        while timeout(rest, newest.changed()).await.is_ok() {}
    }

    /// Returns when everything up to `resource_version` would survive a loss of power.
    ///
    /// # Errors
    /// When the disk does not take it. It stays right in memory and is tried again.
    pub async fn durable(&self, resource_version: u64) -> Result<(), NotDurable> {
        self.inner.journal.durable(resource_version).await
    }

    /// Writes out what is under way and stops the journal's thread. Later writes are lost.
    pub fn close(&self) {
        self.inner.journal.close();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no holder panics")
    }
}
