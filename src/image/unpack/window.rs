//! The memory of decoders: a zstd stream chooses how much of what it has been is kept, and images are hostile.
//!
//! All decoders of a process share [`UNITS`]. Who reads from far may take one that is free, and gives it back when somebody waits
//! for it and its own bytes don't come; who waits for memory has its bytes on this disk, so that nobody waits for a registry.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Units of memory: 8 MiB each, the window that RFC 8878 asks decoders for and encoders not to exceed. Four are one large window,
/// and leave half of 64 MiB for everything else.
const UNITS: u32 = 4;
/// How often is looked whether the work was given up, or a unit is wanted while no bytes come.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// So long somebody may wait for units whose holders' bytes come and come.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a stream may take, in the order in which it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A usual window if there is room at this moment, and for as long as nobody waits for it.
    Spare,
    /// A usual window, which is waited for.
    Usual,
    /// The largest window, which is waited for, and is alone then.
    Large,
}

impl Need {
    /// The largest window, as a power of two. Skopeo and buildkit write 32 MiB at their highest levels; zstd's own limit of 128 MiB
    /// would let a hostile layer take that much memory.
    pub(super) fn window_log(self) -> u32 {
        match self {
            Need::Spare | Need::Usual => 23,
            Need::Large => 25,
        }
    }

    /// What to try when a window was too large.
    pub(super) fn beyond(self) -> Option<Need> {
        (self != Need::Large).then_some(Need::Large)
    }
}

/// The units of all decoders.
#[derive(Debug)]
pub struct Windows {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    free: u32,
    /// Who waits, since when; the first is served first, so that small ones don't keep a large one waiting.
    queue: VecDeque<(u64, Instant)>,
    next: u64,
}

/// Units that were taken; they are free again when this goes.
#[derive(Debug)]
pub struct Grant<'w> {
    windows: &'w Windows,
    units: u32,
    gives_way: bool,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows {
            state: Mutex::new(State {
                free: UNITS,
                queue: VecDeque::new(),
                next: 0,
            }),
            freed: Condvar::new(),
        }
    }
}

impl Windows {
    /// Takes what a stream needs. Nothing if there is no room for something spare, or the work was given up meanwhile.
    pub fn take(&self, need: Need, is_given_up: &dyn Fn() -> bool) -> Option<Grant<'_>> {
        let units = match need {
            Need::Spare => return self.spare(),
            Need::Usual => 1,
            Need::Large => UNITS,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next;
        state.next += 1;
        state.queue.push_back((ticket, Instant::now()));
        loop {
            let is_first = state.queue.front().is_some_and(|(first, _)| *first == ticket);
            let is_mine = is_first && state.free >= units;
            if is_mine || is_given_up() {
                state.queue.retain(|(waiting, _)| *waiting != ticket);
                state.free -= if is_mine { units } else { 0 };
                self.freed.notify_all();
                return is_mine.then(|| self.grant(units, false));
            }
            let waited = self.freed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn spare(&self) -> Option<Grant<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = state.queue.is_empty() && state.free > 0;
        state.free -= u32::from(is_free);
        is_free.then(|| self.grant(1, true))
    }

    /// Units that were counted off. Made only then: what is made is given back when it goes.
    fn grant(&self, units: u32, gives_way: bool) -> Grant<'_> {
        Grant {
            windows: self,
            units,
            gives_way,
        }
    }
}

impl Grant<'_> {
    /// Whether it has to be given back.
    pub(super) fn is_wanted(&self, is_idle: bool) -> bool {
        if !self.gives_way {
            return false;
        }
        let state = self.windows.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = state.queue.front();
        first.is_some_and(|(_, since)| is_idle || since.elapsed() > PATIENCE)
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        self.windows.state.lock().unwrap_or_else(PoisonError::into_inner).free += self.units;
        self.windows.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> bool {
        false
    }

    #[test]
    fn there_is_so_much_and_no_more() {
        let windows = Windows::default();
        let spare: Vec<_> = (0..UNITS).filter_map(|_| windows.take(Need::Spare, &never)).collect();
        assert_eq!(spare.len(), 4);
        assert!(windows.take(Need::Spare, &never).is_none());
        assert!(windows.take(Need::Usual, &|| true).is_none(), "it was given up");
        drop(spare);
        let large = windows.take(Need::Large, &never).expect("all is free");
        assert!(windows.take(Need::Spare, &never).is_none());
        drop(large);
        assert!(windows.take(Need::Usual, &never).is_some());
    }

    #[test]
    fn who_waits_is_served_in_turn_and_what_is_spare_is_given_back() {
        let windows = Windows::default();
        let spare = windows.take(Need::Spare, &never).expect("is free");
        assert!(!spare.is_wanted(true), "nobody waits");
        std::thread::scope(|scope| {
            let large = scope.spawn(|| windows.take(Need::Large, &never).expect("comes").units);
            while !spare.is_wanted(true) {
                std::thread::yield_now();
            }
            assert!(!spare.is_wanted(false), "as long as its bytes come it has some time");
            assert!(windows.take(Need::Spare, &never).is_none(), "nobody overtakes");
            drop(spare);
            assert_eq!(large.join().expect("no panic"), UNITS);
        });
    }
}
