//! Who is making what just now, so that nobody makes what another is about to have.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// The things that are being made, by key. Between processes nothing is claimed: there the first to finish wins.
#[derive(Debug, Default)]
pub(super) struct Claims {
    busy: Mutex<BTreeSet<String>>,
    freed: Condvar,
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
