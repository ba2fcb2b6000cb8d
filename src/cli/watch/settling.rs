//! Whether what is ready will stay so: of a container that nobody probes, `Ready` says no more than that it was started. Pure.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::model::{list_at as list, number_at as number, text_at as text, value_at};

/// The most that is asked of a run after a crash: whoever fails later than that is not waited for by anyone.
const LONGEST: SignedDuration = SignedDuration::from_secs(10);

/// Statuses tell whole seconds; what they name may have happened this much later.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);

/// Since when runs that nobody probes have been seen to run.
#[derive(Debug)]
pub struct Settling {
    time: SignedDuration,
    /// By container id, of which each run has its own.
    since: HashMap<String, Timestamp>,
}

impl Settling {
    /// A first run has to last for `time`; with zero nothing is asked of anyone.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self {
            time: time.try_into().unwrap_or(SignedDuration::MAX),
            since: HashMap::new(),
        }
    }

    /// When all that runs in these pods will have run for long enough; `None` if it has.
    pub fn until(&mut self, pods: &[&Value], now: Timestamp) -> Option<Timestamp> {
        if self.time.is_zero() {
            return None;
        }
        let before = std::mem::take(&mut self.since);
        let mut last = None;
        for status in pods.iter().flat_map(|pod| unprobed_runs(pod)) {
            let id = text(status, "/containerID");
            let seen = before.get(id).copied().unwrap_or(now);
            self.since.insert(id.to_owned(), seen);
            let started = time_at(status, "/state/running/startedAt").and_then(|at| at.checked_add(ROUNDING).ok());
            let began = started.map_or(seen, |started| started.min(seen));
            // A time beyond all times is never.
            let enough = began.checked_add(self.needed(status)).unwrap_or(Timestamp::MAX);
            last = last.max((enough > now).then_some(enough));
        }
        last
    }

    /// How long this run has to last: one that follows a crash, for longer than that did.
    fn needed(&self, status: &Value) -> SignedDuration {
        let crashed = value_at(status, "/lastState/terminated").filter(|state| is_crash(state));
        let length = crashed.and_then(|state| {
            let (from, to) = (time_at(state, "/startedAt")?, time_at(state, "/finishedAt")?);
            Some(to.duration_since(from) + ROUNDING)
        });
        length.map_or(self.time, |length| length.min(LONGEST).max(self.time))
    }
}

/// Not those that ended well or were told to end, by SIGTERM or SIGKILL.
fn is_crash(state: &Value) -> bool {
    !matches!(number(state, "/exitCode"), 0 | 137 | 143) || text(state, "/reason") == "OOMKilled"
}

fn unprobed_runs(pod: &Value) -> impl Iterator<Item = &Value> {
    let is_probed = |name: &str| {
        let mut containers = list(pod, "/spec/containers").iter();
        containers.any(|container| {
            text(container, "/name") == name
                && ["/readinessProbe", "/startupProbe"]
                    .iter()
                    .any(|probe| value_at(container, probe).is_some())
        })
    };
    list(pod, "/status/containerStatuses")
        .iter()
        .filter(move |status| value_at(status, "/state/running").is_some() && !is_probed(text(status, "/name")))
}

fn time_at(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(millis: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + SignedDuration::from_millis(millis)
    }

    fn running(id: &str, started: i64) -> Value {
        json!({"name": "app", "containerID": id, "state": {"running": {"startedAt": at(started).to_string()}}})
    }

    fn pod(status: Value) -> Value {
        json!({"spec": {"containers": [{"name": "app"}]}, "status": {"containerStatuses": [status]}})
    }

    fn settling() -> Settling {
        Settling::new(Duration::from_millis(500))
    }

    #[test]
    fn a_run_is_trusted_once_it_has_been_seen_for_a_while() {
        let (mut settling, run) = (settling(), pod(running("one", 60_000)));
        assert_eq!(settling.until(&[&run], at(60_100)), Some(at(60_600)));
        assert_eq!(settling.until(&[&run], at(60_599)), Some(at(60_600)));
        assert_eq!(settling.until(&[&run], at(60_600)), None);
    }

    #[test]
    fn each_run_is_judged_for_itself() {
        let mut settling = settling();
        settling.until(&[&pod(running("one", 60_000))], at(60_100));
        let next = pod(running("two", 60_000));
        assert_eq!(settling.until(&[&next], at(60_700)), Some(at(61_200)));
    }

    #[test]
    fn what_has_run_before_is_trusted_at_once() {
        assert_eq!(settling().until(&[&pod(running("one", 0))], at(1_500)), None);
    }

    #[test]
    fn a_probe_says_more_than_time() {
        for probe in ["readinessProbe", "startupProbe"] {
            let mut pod = pod(running("one", 60_000));
            pod["spec"]["containers"][0][probe] = json!({"exec": {}});
            assert_eq!(settling().until(&[&pod], at(60_000)), None, "{probe}");
        }
    }

    #[test]
    fn a_run_after_a_crash_has_to_outlive_it() {
        let after = |code: i64, length: i64| {
            let mut status = running("two", 60_000);
            status["lastState"] = json!({"terminated": {"exitCode": code, "startedAt": at(0).to_string(),
                "finishedAt": at(length).to_string()}});
            settling().until(&[&pod(status)], at(60_000))
        };
        for (code, length, wanted) in [
            (1, 3_000, 64_000),
            (1, 0, 61_000),
            (1, 50_000, 70_000),
            (0, 3_000, 60_500),
            (143, 3_000, 60_500),
        ] {
            assert_eq!(after(code, length), Some(at(wanted)), "{code} after {length} ms");
        }
    }

    #[test]
    fn nothing_is_asked_where_no_time_is_given() {
        let run = pod(running("one", 60_000));
        assert_eq!(Settling::new(Duration::ZERO).until(&[&run], at(60_000)), None);
    }
}
