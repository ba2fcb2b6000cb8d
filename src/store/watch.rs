//! Following changes. A watcher is a place in the ring and a bell: it buffers nothing, so slow readers cost nothing.

use std::collections::VecDeque;

use futures::FutureExt;
use tokio::sync::watch as bell;

use super::{Change, Store};

/// Changes after the asked resourceVersion are no longer known (HTTP 410 `Expired`): list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({current})")]
pub struct Expired {
    /// From where the watcher wanted to go on.
    pub asked: u64,
    /// The newest resourceVersion.
    pub current: u64,
}

/// How many changes are taken from the ring under one lock.
const BATCH: usize = 64;

/// Follows changes in order.
pub struct Watcher {
    store: Store,
    newest: bell::Receiver<u64>,
    /// Everything up to here was taken from the ring.
    taken: u64,
    batch: VecDeque<Change>,
}

impl Watcher {
    pub(super) fn new(store: Store, resource_version: u64) -> Result<Self, Expired> {
        let newest = store.inner.newest.subscribe();
        let mut watcher = Self {
            store,
            newest,
            taken: resource_version,
            batch: VecDeque::new(),
        };
        watcher.fill()?;
        Ok(watcher)
    }

    /// Hands over a change and all that are there already with it: one look at things, or one transaction, may do for many.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn drain(&mut self, first: &Change, mut take: impl FnMut(&Change)) -> Result<(), Expired> {
        take(first);
        while let Some(change) = self.next().now_or_never() {
            take(&change?);
        }
        Ok(())
    }

    /// The next change; waits for it. Safe to drop while waiting.
    ///
    /// # Errors
    /// When the watcher fell so far behind that changes were forgotten.
    pub async fn next(&mut self) -> Result<Change, Expired> {
        loop {
            if let Some(change) = self.batch.pop_front() {
                return Ok(change);
            }
            self.newest.borrow_and_update();
            self.fill()?;
            if self.batch.is_empty() {
                // The sender lives in the store that this watcher holds, so the bell can't be gone.
                self.newest.changed().await.expect("the store outlives its watchers");
            }
        }
    }

    /// The next change, if it is there already. An error comes again from [`Watcher::next`].
    pub fn ready(&mut self) -> Option<Result<Change, Expired>> {
        if self.batch.is_empty()
            && let Err(expired) = self.fill()
        {
            return Some(Err(expired));
        }
        self.batch.pop_front().map(Ok)
    }

    fn fill(&mut self) -> Result<(), Expired> {
        let state = self.store.lock();
        let expired = Expired {
            asked: self.taken,
            current: state.resource_version(),
        };
        let changes = state.changes_after(self.taken).ok_or(expired)?;
        self.batch.extend(changes.take(BATCH).cloned());
        if let Some(last) = self.batch.back() {
            self.taken = last.resource_version;
        }
        Ok(())
    }
}
