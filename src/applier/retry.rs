//! When to try again what was refused.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What is refused now may be taken later for reasons that tell nobody: a limit that was lifted, a disk that has room again.
const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(60);

/// A wait that doubles each time that it was in vain.
pub(super) struct Retry {
    /// Set while something is refused.
    at: Option<Instant>,
    wait: Duration,
}

impl Retry {
    /// Nothing is refused yet.
    pub(super) fn new() -> Self {
        Self { at: None, wait: FIRST }
    }

    /// Something new is to be tried, for which nobody has waited.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::new();
    }

    /// The wait is over: if it was in vain, the next one is longer. Only time itself makes it longer, or a burst of changes would.
    pub(super) fn is_due(&mut self) {
        self.wait = (self.wait * 2).min(LAST);
    }

    /// What was tried is settled, or refused and to be tried again.
    pub(super) fn settled(&mut self, is_refused: bool) {
        if is_refused {
            self.at = Some(Instant::now() + self.wait);
        } else {
            self.begin_anew();
        }
    }

    /// Returns when it is time to try again; never if nothing was refused.
    pub(super) async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long the next wait is, without waiting.
    fn next(retry: &Retry) -> Option<Duration> {
        retry.at.map(|at| at - Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn only_waits_in_vain_make_the_next_one_longer() {
        let mut retry = Retry::new();
        assert_eq!(next(&retry), None);
        for _ in 0..10 {
            retry.settled(true);
        }
        assert_eq!(next(&retry), Some(FIRST));
        retry.is_due();
        retry.settled(true);
        assert_eq!(next(&retry), Some(FIRST * 2));
        for _ in 0..10 {
            retry.is_due();
        }
        retry.settled(true);
        assert_eq!(next(&retry), Some(LAST));
        retry.settled(false);
        assert_eq!(next(&retry), None);
        retry.settled(true);
        assert_eq!(next(&retry), Some(FIRST));
    }
}
