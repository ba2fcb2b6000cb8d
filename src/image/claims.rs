//! Who is making what just now, so that nobody makes what another is about to have, and how many may work at once.
//!
//! Whoever waits here may be given up meanwhile, and then waits no longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a waiting thread looks whether its work was given up, of which nobody wakes it.
const LOOK: Duration = Duration::from_millis(200);

/// The things that are being made, by key. Between processes nothing is claimed: there the first to finish wins.
#[derive(Debug, Default)]
pub(super) struct Claims {
    busy: Mutex<BTreeSet<String>>,
    freed: Condvar,
}

/// A number of places for each of those whom work is had from: whoever comes when all of them are taken waits, and one that
/// is slow keeps nobody from the others. A place is taken last, after every claim, so that nobody who has one waits for anyone.
#[derive(Debug)]
pub(super) struct Places {
    each: usize,
    taken: Mutex<BTreeMap<String, usize>>,
    freed: Condvar,
}

/// A place; it is free again when this goes.
pub(super) struct Place<'p> {
    places: &'p Places,
    from: String,
}

impl Places {
    pub(super) fn new(each: usize) -> Places {
        Places {
            each,
            taken: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Waits for a place; none if the work is given up.
    pub(super) fn wait(&self, from: &str, is_given_up: &dyn Fn() -> bool) -> Option<Place<'_>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |taken: &BTreeMap<String, usize>| taken.get(from).is_some_and(|taken| *taken >= self.each);
        let mut taken = wait_while(&self.freed, taken, is_full, is_given_up)?;
        *taken.entry(from.to_owned()).or_default() += 1;
        Some(Place {
            places: self,
            from: from.to_owned(),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get_mut(&self.from).expect("was counted when it was taken");
        *count -= 1;
        if *count == 0 {
            taken.remove(&self.from);
        }
        // Others wait for other places.
        self.places.freed.notify_all();
    }
}

/// The right to make one thing; whoever waits for it has it next.
pub(super) struct Claim<'c> {
    claims: &'c Claims,
    key: String,
}

impl Claims {
    /// Waits until nobody else makes it; none if the work is given up.
    pub(super) fn wait_for(&self, key: &str, is_given_up: &dyn Fn() -> bool) -> Option<Claim<'_>> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy = wait_while(&self.freed, busy, |busy| busy.contains(key), is_given_up)?;
        busy.insert(key.to_owned());
        Some(Claim {
            claims: self,
            key: key.to_owned(),
        })
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

fn wait_while<'g, T>(
    freed: &Condvar,
    mut state: MutexGuard<'g, T>,
    must_wait: impl Fn(&T) -> bool,
    is_given_up: &dyn Fn() -> bool,
) -> Option<MutexGuard<'g, T>> {
    while must_wait(&state) {
        if is_given_up() {
            return None;
        }
        state = freed
            .wait_timeout(state, LOOK)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_of_those_whom_work_is_had_from_and_waits_end_when_work_is_given_up() {
        let (places, claims) = (Places::new(1), Claims::default());
        let slow = places.wait("slow", &|| false);
        assert!(slow.is_some() && places.wait("slow", &|| true).is_none());
        assert!(places.wait("other", &|| false).is_some());
        drop(slow);
        assert!(places.wait("slow", &|| false).is_some());
        let claim = claims.wait_for("a", &|| false);
        assert!(claim.is_some() && claims.wait_for("a", &|| true).is_none());
        drop(claim);
        assert!(claims.wait_for("a", &|| true).is_some(), "nobody has to be waited for");
    }
}
