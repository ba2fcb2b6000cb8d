//! How many of something each of many may have, beside how many there may be: a flood of one leaves the others theirs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

/// Hands out places.
#[derive(Debug)]
pub struct Shares<K> {
    of_one: usize,
    of_all: usize,
    // Held to count, never across an await.
    held: Arc<Mutex<HashMap<K, usize>>>,
}

/// A place: given back when it is dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    of: K,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// So many places for each, and so many in all.
    pub fn new(of_one: usize, of_all: usize) -> Self {
        Self {
            of_one,
            of_all,
            held: Arc::default(),
        }
    }

    /// A place, unless this one has its share, or there is none.
    pub fn take(&self, of: K) -> Option<Share<K>> {
        let mut held = self.held.lock().expect("nothing panics while it counts");
        let is_full = held.values().sum::<usize>() >= self.of_all;
        let own = held.get(&of).copied().unwrap_or_default();
        if is_full || own >= self.of_one {
            return None;
        }
        held.insert(of.clone(), own + 1);
        Some(Share {
            of,
            held: self.held.clone(),
        })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().expect("nothing panics while it counts");
        match held.get_mut(&self.of) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_its_share_and_others_theirs_until_all_is_given() {
        let shares = Shares::new(2, 3);
        let first = [shares.take("a"), shares.take("a")];
        assert!(first.iter().all(Option::is_some));
        assert!(shares.take("a").is_none(), "its share");
        let other = shares.take("b");
        assert!(other.is_some() && shares.take("c").is_none(), "all is given");
        drop(first);
        assert!(
            shares.take("a").is_some() && shares.take("c").is_some(),
            "places come back"
        );
        assert_eq!(shares.held.lock().expect("whole").len(), 1, "and are forgotten");
    }
}
