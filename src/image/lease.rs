//! Which images may not go just now, whoever wants them gone.
//!
//! Whoever has an [`Image`](super::Image) holds a lease on it, taken before its record was read, and no record goes but
//! through [`Leases::unless_held`]. So what was found stays until whoever found it lets it go: there is no instant
//! between a look and its use in which a removal fits. Of other processes this knows nothing; a home has one node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::digest::Digest;

/// The images that are held, and by how many.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: Mutex<BTreeMap<Digest, usize>>,
}

/// Keeps an image and its layers where they are for as long as it, or a clone of it, lives.
#[derive(Debug, Clone)]
pub struct Lease {
    hold: Arc<Hold>,
}

#[derive(Debug)]
struct Hold {
    leases: Arc<Leases>,
    id: Digest,
}

impl Leases {
    /// Holds an image. Whether it is there has to be looked at afterwards.
    pub(super) fn take(self: &Arc<Leases>, id: Digest) -> Lease {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held.entry(id.clone()).or_default() += 1;
        let leases = self.clone();
        Lease {
            hold: Arc::new(Hold { leases, id }),
        }
    }

    /// Removes an image unless it is held. Whoever wants it meanwhile waits for the few unlinks that `remove` is, and then
    /// does not find it.
    pub(super) fn unless_held<T>(&self, id: &Digest, remove: impl FnOnce() -> T) -> Option<T> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (!held.contains_key(id)).then(remove)
    }

    /// The images that are held, for a plan; what is carried out asks again.
    pub(super) fn held(&self) -> BTreeSet<Digest> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.keys().cloned().collect()
    }
}

impl Lease {
    /// The image's id.
    pub(super) fn id(&self) -> &Digest {
        &self.hold.id
    }
}

/// Leases on the same image say the same.
impl PartialEq for Lease {
    fn eq(&self, other: &Lease) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Lease {}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get_mut(&self.id).expect("was counted when it was taken");
        *count -= 1;
        if *count == 0 {
            held.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_goes_when_the_last_lets_go() {
        let (leases, id) = (Arc::new(Leases::default()), Digest::of(b"x"));
        let goes = || leases.unless_held(&id, || ()).is_some();
        assert!(goes());
        let first = leases.take(id.clone());
        let clone = first.clone();
        let second = leases.take(id.clone());
        assert_eq!(leases.held(), BTreeSet::from([id.clone()]));
        drop(first);
        drop(second);
        assert!(!goes(), "a clone holds as well");
        drop(clone);
        assert!(goes());
        assert_eq!(leases.held(), BTreeSet::new());
    }
}
