//! Clients that have connected and not yet said what they want. There may be only so many: of more, the first ones have to go, so that a
//! crowd of the silent does not keep out who has something to say.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tokio_util::sync::CancellationToken;

/// A client, until it is gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Guest(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_heard: AtomicBool,
    /// Somebody else needs its place.
    sent_away: CancellationToken,
}

impl Guest {
    /// It has said what it wants: it stays.
    pub(super) fn is_heard(&self) {
        self.0.is_heard.store(true, Ordering::Relaxed);
    }

    /// Returns when it has to go.
    pub(super) async fn sent_away(&self) {
        self.0.sent_away.cancelled().await;
    }
}

/// Those who were not heard yet, the first ones first. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Unheard {
    most: usize,
    // Held to enter one, never across an await.
    guests: Arc<Mutex<VecDeque<Weak<Inner>>>>,
}

impl Unheard {
    pub(super) fn new(most: usize) -> Unheard {
        Unheard {
            most,
            guests: Arc::default(),
        }
    }

    /// Lets one in, and sends the first one away if there are too many.
    pub(super) fn enter(&self) -> Guest {
        let guest = Guest::default();
        let mut guests = self.guests.lock().expect("nothing panics while it holds the guests");
        guests.push_back(Arc::downgrade(&guest.0));
        if guests.len() > self.most {
            let waits = |one: &Weak<Inner>| one.upgrade().is_some_and(|one| !one.is_heard.load(Ordering::Relaxed));
            guests.retain(waits);
        }
        while guests.len() > self.most {
            let first = guests.pop_front().and_then(|first| first.upgrade());
            first.into_iter().for_each(|first| first.sent_away.cancel());
        }
        guest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_who_say_nothing_the_first_goes() {
        let unheard = Unheard::new(2);
        let is_sent = |guest: &Guest| guest.0.sent_away.is_cancelled();
        let (heard, silent) = (unheard.enter(), unheard.enter());
        heard.is_heard();
        drop(unheard.enter());
        let next = unheard.enter();
        assert!(!is_sent(&heard) && !is_sent(&silent), "one has spoken and one has gone");
        let last = unheard.enter();
        assert_eq!(
            [&heard, &silent, &next, &last].map(is_sent),
            [false, true, false, false]
        );
    }
}
