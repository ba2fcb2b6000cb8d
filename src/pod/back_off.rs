//! How long a container that ended waits before it runs again (kubelet `doBackOff`, `flowcontrol.Backoff`): the first restart comes
//! at once, the next after 10 s, then doubling up to 5 minutes; a run of 10 minutes starts the count anew. The delay is written
//! on the run when it starts, so that it survives any restart of ours. An end that the node asked for because it ended itself counts for
//! nothing.

use std::time::Duration;

use jiff::Timestamp;

use super::history::{BACK_OFF, History};
use crate::model::later;
use crate::runtime::{ContainerStatus, Exit};

/// The first delay that is not zero (kubelet `backOffPeriod`).
const FIRST: Duration = Duration::from_secs(10);

/// The longest delay (kubelet `MaxContainerBackOff`).
const LONGEST: Duration = Duration::from_secs(300);

/// A run this long was no crash loop: twice [`LONGEST`], as `flowcontrol.Backoff` forgets its entries.
const GOOD_RUN: Duration = Duration::from_secs(600);

/// The delay to write on the next run of a container with this history.
pub fn plan_back_off(history: &History<'_>) -> Duration {
    match (history.latest(), history.exit()) {
        (Some(run), Some(exit)) if exit.was_drained => delay_of(run),
        (Some(run), Some(exit)) if !is_good_run(exit) => (delay_of(run) * 2).clamp(FIRST, LONGEST),
        (Some(_), Some(_)) => FIRST,
        _ => Duration::ZERO,
    }
}

/// When a container that ended may run again, and the delay that makes it so. `None` if it has not ended.
pub fn next_start(history: &History<'_>) -> Option<(Timestamp, Duration)> {
    let (run, exit) = (history.latest()?, history.exit()?);
    let delay = if is_good_run(exit) || exit.was_drained {
        Duration::ZERO
    } else {
        delay_of(run)
    };
    Some((later(exit.finished_at, delay), delay))
}

/// When something that failed `tries` times in a row, the last time at `at`, is tried again: the same row of delays without the
/// free first try.
pub fn next_try(at: Timestamp, tries: u32) -> Timestamp {
    let delay = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(5)).min(LONGEST);
    later(at, delay)
}

fn is_good_run(exit: &Exit) -> bool {
    let Some(started) = exit.started_at else { return false };
    exit.finished_at.duration_since(started).unsigned_abs() >= GOOD_RUN && exit.finished_at > started
}

fn delay_of(run: &ContainerStatus) -> Duration {
    let seconds = run.annotations.get(BACK_OFF).and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}
