//! The only place that reads a clock; planners get the time as an argument.

use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};

/// `metav1.Time` has seconds and no fraction; a fraction would make equal statuses differ.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a second of a valid time is valid")
}

/// So much after a time; the end of all time if that is nearer.
pub fn later(time: Timestamp, by: impl TryInto<SignedDuration>) -> Timestamp {
    let by = by.try_into().unwrap_or(SignedDuration::MAX);
    time.saturating_add(by).expect("no calendar units")
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// A time as objects carry it (`metav1.Time`): whole seconds, in UTC.
pub fn object_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that a test moves.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves it.
    pub fn advance(&self, by: std::time::Duration) {
        let mut now = self.0.lock().expect("no holder panics");
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().expect("no holder panics")
    }
}
