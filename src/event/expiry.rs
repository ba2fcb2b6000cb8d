//! Events go an hour after they last happened, or earlier when there are too many. The sweep sleeps until the oldest is due, and
//! without a deadline while there are none: an idle node is not woken for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{EventRecorder, MOST, TTL, events};
use crate::model::Object;

/// How much later than due an event may go, so that those which happened together go together.
const SLACK: SignedDuration = SignedDuration::from_mins(1);

impl EventRecorder {
    /// Removes events as they expire, until `stop`.
    pub async fn run_expiry(&self, stop: &CancellationToken) {
        loop {
            let next = self.sweep(self.shared.clock.now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.told.notified(), if next.is_none() => {}
                () = self.shared.crowded.notified() => {}
                () = sleep_until(next, self.shared.clock.now()), if next.is_some() => {}
            }
        }
    }

    /// Removes what has expired at `now`, and the oldest of what is too much; says when to look again, if anything is left.
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        let store = &self.shared.store;
        self.shared.made.store(0, Ordering::Relaxed);
        let due = |event: Arc<Object>| (last_seen(&event, now).saturating_add(TTL).unwrap_or(now), event);
        let mut all: Vec<(Timestamp, Arc<Object>)> = store.list(events(), None).items.into_iter().map(due).collect();
        all.sort_by_key(|(due, event)| (*due, event.resource_version()));
        let surplus = all.len().saturating_sub(MOST);
        let is_over = |place: usize, due: Timestamp| place < surplus || due <= now;
        let mut next = None;
        for (place, (due, event)) in all.into_iter().enumerate() {
            if is_over(place, due) {
                // Gone already, or written again this moment: then the next sweep sees it.
                let _ = store.remove(event.key(), event.uid());
            } else {
                next = next.or(Some(due));
            }
        }
        self.shared.correlator.lock().expect("no holder panics").forget(now);
        next.map(|due| due.saturating_add(SLACK).unwrap_or(due))
    }
}

/// When an event last happened. One without any time counts from when it was stored.
fn last_seen(event: &Object, now: Timestamp) -> Timestamp {
    let parse = |field: &str| event.text(field).parse().ok();
    parse("/lastTimestamp")
        .or_else(|| parse("/series/lastObservedTime"))
        .or_else(|| parse("/eventTime"))
        .or_else(|| event.creation_timestamp())
        .unwrap_or(now)
}

async fn sleep_until(due: Option<Timestamp>, now: Timestamp) {
    let wait = due.map_or(SignedDuration::ZERO, |due| due.duration_since(now));
    tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
}
