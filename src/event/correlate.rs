//! Which occurrences become an event, which only count one up, and which are too many: client-go's `EventCorrelator`
//! (`tools/record/events_cache.go`) as a value. Knows no store and no clock.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{EventKind, TTL};

/// The tenth different message about one object and reason, and those after it, are told as one
/// (`defaultAggregateMaxEvents`).
const MAX_DIFFERENT: usize = 9;

/// Similar events further apart than this are not similar (`defaultAggregateIntervalInSeconds`).
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// How many events an object may have at once (`defaultSpamBurst`).
const BURST: f64 = 25.0;

/// After a burst, one more per this many seconds (`defaultSpamQPS`).
const REFILL_SECONDS: f64 = 300.0;

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct Occurrence {
    pub(super) component: &'static str,
    /// `ObjectReference` of what it happened to.
    pub(super) regarding: Value,
    pub(super) kind: EventKind,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What to tell of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Telling {
    /// The event's name; the same for occurrences that count up.
    pub(super) name: String,
    /// How often it happened; 1 for a new event.
    pub(super) count: u64,
    /// When it first happened.
    pub(super) first: Timestamp,
    /// What to say: the occurrence's words, perhaps with a prefix.
    pub(super) message: String,
}

/// Who says it about what part of which object. The object's resourceVersion does not count: it changes with every write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Subject {
    component: &'static str,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Similar {
    subject: Subject,
    kind: EventKind,
    reason: String,
}

#[derive(Debug)]
struct Messages {
    different: HashSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Told {
    name: String,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    similar: HashMap<Similar, Messages>,
    /// By similarity and message; the message is `None` for those told as one.
    told: HashMap<(Similar, Option<String>), Told>,
    buckets: HashMap<Subject, Bucket>,
    /// The last name's number: names are times, and two events in one nanosecond are still two.
    last_number: i128,
}

impl Correlator {
    /// What to tell of an occurrence; nothing when its object has had too many. It counts nevertheless.
    pub(super) fn correlate(&mut self, occurrence: &Occurrence, now: Timestamp) -> Option<Telling> {
        let similar = Similar::of(occurrence);
        let subject = Subject {
            // One bucket per object: its containers share it.
            field_path: String::new(),
            ..similar.subject.clone()
        };
        let telling = if self.is_one_of_many(&similar, &occurrence.message, now) {
            let message = format!("(combined from similar events): {}", occurrence.message);
            self.count_up((similar, None), message, now)
        } else {
            let message = occurrence.message.clone();
            self.count_up((similar, Some(message.clone())), message, now)
        };
        let bucket = self.buckets.entry(subject).or_insert(Bucket {
            tokens: BURST,
            filled: now,
        });
        bucket.take(now).then_some(telling)
    }

    /// Drops what no longer matters at `now`, so that the memory is bounded by what happened in the last hours.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let is_recent = |last: Timestamp, span: SignedDuration| now.duration_since(last) < span;
        self.told.retain(|_, told| is_recent(told.last, TTL));
        self.similar
            .retain(|_, messages| is_recent(messages.last, SIMILAR_WITHIN));
        self.buckets.retain(|_, bucket| bucket.level(now) < BURST);
    }

    fn is_one_of_many(&mut self, similar: &Similar, message: &str, now: Timestamp) -> bool {
        let fresh = || Messages {
            different: HashSet::new(),
            last: now,
        };
        let messages = self.similar.entry(similar.clone()).or_insert_with(fresh);
        if now.duration_since(messages.last) > SIMILAR_WITHIN {
            *messages = fresh();
        }
        messages.last = now;
        let has_room = messages.different.len() < MAX_DIFFERENT;
        if has_room || messages.different.contains(message) {
            messages.different.insert(message.to_owned());
            return false;
        }
        true
    }

    fn count_up(&mut self, key: (Similar, Option<String>), message: String, now: Timestamp) -> Telling {
        let number = i128::max(now.as_nanosecond(), self.last_number + 1);
        let object = key.0.subject.name.clone();
        let told = self.told.entry(key).or_insert_with(|| Told {
            // 16 digits of hexadecimal for the present: nanoseconds since 1970.
            name: format!("{object}.{number:016x}"),
            count: 0,
            first: now,
            last: now,
        });
        if told.count == 0 {
            self.last_number = number;
        }
        told.count += 1;
        told.last = now;
        Telling {
            name: told.name.clone(),
            count: told.count,
            first: told.first,
            message,
        }
    }
}

impl Similar {
    fn of(occurrence: &Occurrence) -> Self {
        let text = |field: &str| occurrence.regarding[field].as_str().unwrap_or_default().to_owned();
        Self {
            subject: Subject {
                component: occurrence.component,
                kind: text("kind"),
                namespace: text("namespace"),
                name: text("name"),
                uid: text("uid"),
                field_path: text("fieldPath"),
            },
            kind: occurrence.kind,
            reason: occurrence.reason.clone(),
        }
    }
}

impl Bucket {
    fn level(&self, now: Timestamp) -> f64 {
        let waited = now.duration_since(self.filled).as_secs_f64().max(0.0);
        f64::min(BURST, self.tokens + waited / REFILL_SECONDS)
    }

    fn take(&mut self, now: Timestamp) -> bool {
        self.tokens = self.level(now);
        self.filled = now;
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}
