//! Rates from counters: two readings, and the time between them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::model::Clock;
use crate::runtime::{ContainerId, Runtime, RuntimeError, Usage};

/// A rate over less than this says nothing: whoever asks again within it gets the last answer.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// A rate over more than this is not of now (the metrics server's default resolution, four times).
const LONGEST: SignedDuration = SignedDuration::from_secs(60);
/// How long is waited between two readings when there is no earlier one.
const WINDOW: Duration = Duration::from_secs(1);

/// Counters at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    at: Timestamp,
    node: Usage,
    runs: BTreeMap<ContainerId, Usage>,
}

/// What is used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metered {
    /// When the window ended.
    pub at: Timestamp,
    /// Over which time CPU was measured.
    pub window: SignedDuration,
    /// The whole machine.
    pub node: Rate,
    /// The runs of containers.
    pub runs: BTreeMap<ContainerId, Rate>,
}

/// What somebody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// Billionths of a CPU.
    pub nano_cpu: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// Keeps the last reading. One asks at a time; others wait and get the same answer.
#[derive(Debug, Default)]
pub struct Meter {
    last: Mutex<Option<(Reading, Metered)>>,
}

impl Meter {
    /// Measures, over the time since somebody asked last, or over a second.
    pub(super) async fn read(&self, runtime: &dyn Runtime, clock: &dyn Clock) -> Result<Metered, RuntimeError> {
        let mut last = self.last.lock().await;
        let age = last.as_ref().map(|(reading, _)| clock.now().duration_since(reading.at));
        let before = match last.take().zip(age) {
            Some(((reading, metered), age)) if age < SHORTEST => {
                *last = Some((reading, metered.clone()));
                return Ok(metered);
            }
            Some(((reading, _), age)) if age <= LONGEST => reading,
            _ => {
                let reading = take(runtime, clock).await?;
                tokio::time::sleep(WINDOW).await;
                reading
            }
        };
        let after = take(runtime, clock).await?;
        let metered = plan_rates(&before, &after);
        *last = Some((after, metered.clone()));
        Ok(metered)
    }
}

async fn take(runtime: &dyn Runtime, clock: &dyn Clock) -> Result<Reading, RuntimeError> {
    let pods = runtime.usage().await?;
    Ok(Reading {
        at: clock.now(),
        node: machine(),
        runs: pods.into_iter().flat_map(|pod| pod.containers).collect(),
    })
}

/// What was used between two readings. A run that was not in the first began after it, from nothing.
fn plan_rates(before: &Reading, after: &Reading) -> Metered {
    let window = after.at.duration_since(before.at).max(SignedDuration::from_millis(1));
    let millis = u128::try_from(window.as_millis()).unwrap_or(1).max(1);
    let rate = |from: Usage, to: Usage| {
        let used = u128::from(to.cpu_nanos.saturating_sub(from.cpu_nanos));
        Rate {
            nano_cpu: u64::try_from(used * 1000 / millis).unwrap_or(u64::MAX),
            memory_bytes: to.memory_bytes,
        }
    };
    let runs = after.runs.iter();
    let of_run = |(id, to): (&ContainerId, &Usage)| {
        let from = before.runs.get(id).copied().unwrap_or_default();
        (id.clone(), rate(from, *to))
    };
    Metered {
        at: after.at,
        window,
        node: rate(before.node, after.node),
        runs: runs.map(of_run).collect(),
    }
}

fn machine() -> Usage {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    Usage {
        cpu_nanos: busy_in(&read("/proc/stat")).saturating_mul(1_000_000_000 / ticks),
        memory_bytes: working_set_in(&read("/proc/meminfo")),
        tasks: 0,
    }
}

/// Ticks in which CPUs did something (proc_stat(5)): all but idle and waiting. Guests' are counted in the first two already.
fn busy_in(stat: &str) -> u64 {
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let fields = fields
        .into_iter()
        .flat_map(str::split_ascii_whitespace)
        .take(8)
        .enumerate();
    let busy = fields.filter(|(place, _)| !matches!(place, 3 | 4));
    busy.filter_map(|(_, field)| field.parse::<u64>().ok()).sum()
}

/// Bytes that are in use and can't be reclaimed at ease (cAdvisor's working set of the root).
fn working_set_in(meminfo: &str) -> u64 {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        number.unwrap_or(0)
    };
    let used = field("MemTotal:").saturating_sub(field("MemFree:"));
    used.saturating_sub(field("Inactive(file):")) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ManualClock;
    use crate::runtime::fake::FakeRuntime;

    fn usage(cpu_nanos: u64, memory_bytes: u64) -> Usage {
        Usage {
            cpu_nanos,
            memory_bytes,
            tasks: 0,
        }
    }

    fn reading(second: i64, node: Usage, runs: &[(&str, Usage)]) -> Reading {
        Reading {
            at: Timestamp::from_second(second).expect("a time"),
            node,
            runs: runs
                .iter()
                .map(|(id, usage)| (ContainerId((*id).to_owned()), *usage))
                .collect(),
        }
    }

    #[test]
    fn a_rate_is_what_was_used_over_the_time_it_took() {
        let before = reading(10, usage(5_000, 1), &[("old", usage(100, 1)), ("gone", usage(9, 9))]);
        let after = reading(14, usage(9_000, 2), &[("new", usage(400, 3)), ("old", usage(500, 4))]);
        let metered = plan_rates(&before, &after);
        let rate = |nano_cpu, memory_bytes| Rate { nano_cpu, memory_bytes };
        assert_eq!(
            (metered.node, metered.window),
            (rate(1000, 2), SignedDuration::from_secs(4))
        );
        let runs: Vec<_> = metered.runs.into_iter().map(|(id, rate)| (id.0, rate)).collect();
        assert_eq!(
            runs,
            [("new".to_owned(), rate(100, 3)), ("old".to_owned(), rate(100, 4))]
        );
    }

    #[test]
    fn a_counter_that_went_back_and_a_clock_that_stood_still_are_survived() {
        let before = reading(10, usage(5_000, 1), &[]);
        let metered = plan_rates(&before, &reading(10, usage(4_000, 1), &[]));
        assert_eq!(metered.node.nano_cpu, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_at_once_gets_the_same_answer() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let (meter, runtime) = (Meter::default(), FakeRuntime::new(Timestamp::UNIX_EPOCH));
        let first = meter.read(&runtime, &clock).await.expect("the fake answers");
        assert_eq!(meter.read(&runtime, &clock).await.expect("the fake answers"), first);
        clock.advance(Duration::from_secs(5));
        let later = meter.read(&runtime, &clock).await.expect("the fake answers");
        assert_eq!(later.window, SignedDuration::from_secs(5));
    }

    #[test]
    fn the_machines_account_is_read() {
        let stat = "cpu  10 1 5 1000 500 2 3 4 7 0\ncpu0 1 1 1 1\n";
        assert_eq!(busy_in(stat), 25);
        let meminfo =
            "MemTotal:        1000 kB\nMemFree:          300 kB\nInactive(file):   200 kB\nActive(file):  9 kB\n";
        assert_eq!(working_set_in(meminfo), 500 * 1024);
        assert_eq!((busy_in(""), working_set_in("")), (0, 0));
    }
}
