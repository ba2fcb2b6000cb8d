//! Who is making what just now, so that nobody makes what another is about to have.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// The things that are being made, by key. Between processes nothing is claimed: there the first to finish wins.
#[derive(Debug, Default)]
pub(super) struct Claims {
    busy: Mutex<BTreeSet<String>>,
    freed: Condvar,
}

/// A number of places, for work that takes memory: whoever comes when all are taken waits. A place is taken last, after
/// every claim, so that nobody who has one waits for anyone.
#[derive(Debug)]
pub(super) struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place; it is free again when this goes.
pub(super) struct Place<'p> {
    places: &'p Places,
}

impl Places {
    pub(super) fn new(places: usize) -> Places {
        Places {
            free: Mutex::new(places),
            freed: Condvar::new(),
        }
    }

    pub(super) fn wait(&self) -> Place<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .freed
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Place { places: self }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.places.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.places.freed.notify_one();
    }
}

/// The right to make one thing; whoever waits for it has it next.
pub(super) struct Claim<'c> {
    claims: &'c Claims,
    key: String,
}

impl Claims {
    pub(super) fn wait_for(&self, key: &str) -> Claim<'_> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy = self
            .freed
            .wait_while(busy, |busy| busy.contains(key))
            .unwrap_or_else(PoisonError::into_inner);
        busy.insert(key.to_owned());
        Claim {
            claims: self,
            key: key.to_owned(),
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
        self.claims.freed.notify_all();
    }
}
