//! The work queue of all controllers: each task stands in it at most once, now or later; failed ones come again ever later; and
//! the first controllers of the table go first. A value: time is an argument.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::model::Key;

/// The first wait after a failure; each further one doubles it. Most failures are conflicts that are over at once.
const FIRST_RETRY: SignedDuration = SignedDuration::from_millis(10);

/// The longest wait after failures.
const LAST_RETRY: SignedDuration = SignedDuration::from_mins(5);

/// A key of one controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Task {
    /// Its place in the table of controllers.
    pub(super) controller: usize,
    pub(super) key: Key,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// A line for each controller, by its place in the table.
    ready: BTreeMap<usize, VecDeque<Task>>,
    is_ready: HashSet<Task>,
    later: BTreeSet<(Timestamp, Task)>,
    /// The same, by task.
    due: BTreeMap<Task, Timestamp>,
    failures: HashMap<Task, u32>,
}

impl Queue {
    /// Wants a task done now. Standing in line already, it keeps its place.
    pub(super) fn push(&mut self, task: Task) {
        self.postpone_nothing(&task);
        if self.is_ready.insert(task.clone()) {
            self.ready.entry(task.controller).or_default().push_back(task);
        }
    }

    /// The next task that is to be done at `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Task> {
        while let Some((due, task)) = self.later.first().cloned() {
            if due > now {
                break;
            }
            self.push(task);
        }
        let task = self.ready.values_mut().find_map(VecDeque::pop_front)?;
        self.is_ready.remove(&task);
        Some(task)
    }

    /// A task was done; it is wanted again at `recheck` at the latest.
    pub(super) fn settle(&mut self, task: Task, recheck: Option<Timestamp>) {
        self.failures.remove(&task);
        if let Some(at) = recheck {
            self.push_at(task, at);
        }
    }

    /// A task failed; it comes again after its back-off.
    pub(super) fn retry(&mut self, task: Task, now: Timestamp) {
        let failures = self.failures.entry(task.clone()).or_default();
        *failures += 1;
        let wait = plan_backoff(*failures);
        self.push_at(task, now.saturating_add(wait).unwrap_or(now));
    }

    /// When the next task is due, if none is to be done now.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(due, _)| *due)
    }

    fn push_at(&mut self, task: Task, at: Timestamp) {
        if self.is_ready.contains(&task) || self.due.get(&task).is_some_and(|due| *due <= at) {
            return;
        }
        self.postpone_nothing(&task);
        self.due.insert(task.clone(), at);
        self.later.insert((at, task));
    }

    /// Forgets that a task was wanted later: it is wanted earlier now.
    fn postpone_nothing(&mut self, task: &Task) {
        if let Some(due) = self.due.remove(task) {
            self.later.remove(&(due, task.clone()));
        }
    }
}

/// How long to wait after this many failures in a row.
fn plan_backoff(failures: u32) -> SignedDuration {
    let doubled = 1_i32
        .checked_shl(failures.saturating_sub(1))
        .filter(|factor| *factor > 0);
    let wait = doubled.and_then(|factor| FIRST_RETRY.checked_mul(factor));
    wait.map_or(LAST_RETRY, |wait| wait.min(LAST_RETRY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kind;

    fn task(name: &str) -> Task {
        let pod = kind("v1", "Pod").expect("in the table");
        Task {
            controller: 0,
            key: Key::new(pod, "default", name),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("small")
    }

    #[test]
    fn a_task_stands_in_line_once_and_keeps_its_place() {
        let mut queue = Queue::default();
        for name in ["a", "b", "a"] {
            queue.push(task(name));
        }
        assert_eq!(queue.pop(at(0)), Some(task("a")));
        assert_eq!(queue.pop(at(0)), Some(task("b")));
        assert_eq!(queue.pop(at(0)), None);
    }

    #[test]
    fn the_first_controllers_go_first() {
        let mut queue = Queue::default();
        let second = |name| Task {
            controller: 1,
            ..task(name)
        };
        queue.push(second("a"));
        queue.push(task("b"));
        assert_eq!(queue.pop(at(0)), Some(task("b")));
        assert_eq!(queue.pop(at(0)), Some(second("a")));
    }

    #[test]
    fn the_earliest_of_several_times_counts() {
        let mut queue = Queue::default();
        for second in [5, 3, 9] {
            queue.settle(task("a"), Some(at(second)));
        }
        assert_eq!(queue.next_due(), Some(at(3)));
        assert_eq!(queue.pop(at(2)), None);
        assert_eq!(queue.pop(at(3)), Some(task("a")));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn what_is_wanted_now_is_not_wanted_later_too() {
        let mut queue = Queue::default();
        queue.settle(task("a"), Some(at(3)));
        queue.push(task("a"));
        assert_eq!(queue.pop(at(0)), Some(task("a")));
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn failures_wait_ever_longer_until_a_success() {
        let waits: Vec<_> = [1, 2, 3, 15, 16, 40].map(|n| plan_backoff(n).as_millis()).into();
        assert_eq!(waits, [10, 20, 40, 163_840, 300_000, 300_000]);
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.retry(task("a"), at(0));
            queue.pop(at(1));
        }
        queue.settle(task("a"), None);
        queue.retry(task("a"), at(0));
        assert_eq!(queue.next_due(), Some(at(0) + FIRST_RETRY));
    }
}
