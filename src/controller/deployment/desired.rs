//! What a Deployment asks for, with its defaults and percentages worked out.

use jiff::SignedDuration;
use serde_json::Value;

use crate::model::Object;

/// How pods are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// All old ones end before a new one begins.
    Recreate,
    /// Step by step.
    RollingUpdate {
        /// How many more than `replicas` there may be.
        max_surge: i64,
        /// How many fewer than `replicas` may be available.
        max_unavailable: i64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) replicas: i64,
    pub(super) strategy: Strategy,
    pub(super) min_ready_seconds: i64,
    /// How long nothing may happen before that is told; `None` is for ever.
    pub(super) progress_deadline: Option<SignedDuration>,
    /// How many old ReplicaSets are kept; `None` is all.
    pub(super) history: Option<usize>,
    pub(super) is_paused: bool,
}

impl Desired {
    pub(super) fn of(deployment: &Object) -> Self {
        let number = |at: &str, default: i64| deployment.number(at).unwrap_or(default);
        let replicas = number("/spec/replicas", 1);
        // Upstream's way to say "none" is the greatest number.
        let bounded = |at: &str, default: i64| Some(number(at, default)).filter(|n| *n < i64::from(i32::MAX));
        Self {
            replicas,
            strategy: Strategy::of(deployment, replicas),
            min_ready_seconds: number("/spec/minReadySeconds", 0),
            progress_deadline: bounded("/spec/progressDeadlineSeconds", 600).map(SignedDuration::from_secs),
            history: bounded("/spec/revisionHistoryLimit", 10).map(|limit| usize::try_from(limit).unwrap_or(0)),
            is_paused: deployment.at("/spec/paused") == Some(&Value::Bool(true)),
        }
    }

    /// How many more than `replicas` there may be (`deploymentutil.MaxSurge`).
    pub(super) fn max_surge(&self) -> i64 {
        match self.strategy {
            Strategy::Recreate => 0,
            Strategy::RollingUpdate { max_surge, .. } => max_surge,
        }
    }

    /// How many must be available at any moment of a rollout (`replicas` less `deploymentutil.MaxUnavailable`).
    pub(super) fn min_available(&self) -> i64 {
        match self.strategy {
            Strategy::Recreate => self.replicas,
            Strategy::RollingUpdate { max_unavailable, .. } => self.replicas - max_unavailable.min(self.replicas),
        }
    }
}

impl Strategy {
    fn of(deployment: &Object, replicas: i64) -> Self {
        if deployment.text("/spec/strategy/type") == "Recreate" {
            return Self::Recreate;
        }
        let max_surge = scaled(
            deployment.at("/spec/strategy/rollingUpdate/maxSurge"),
            replicas,
            Round::Up,
        );
        let max_unavailable = scaled(
            deployment.at("/spec/strategy/rollingUpdate/maxUnavailable"),
            replicas,
            Round::Down,
        );
        // With both at zero nothing could ever move (`deploymentutil.ResolveFenceposts`).
        let max_unavailable = if max_surge == 0 {
            max_unavailable.max(1)
        } else {
            max_unavailable
        };
        Self::RollingUpdate {
            max_surge,
            max_unavailable,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A number, or a percentage of `total` (`intstr.GetScaledValueFromIntOrPercent`); 25% where nothing is said.
fn scaled(value: Option<&Value>, total: i64, round: Round) -> i64 {
    let percent = match value {
        Some(Value::Number(number)) => return number.as_i64().unwrap_or(0),
        Some(Value::String(text)) => text.trim_end_matches('%').parse().unwrap_or(0),
        _ => 25,
    };
    match round {
        Round::Up => (total * percent + 99) / 100,
        Round::Down => total * percent / 100,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::fixtures::deployment;

    #[test]
    fn percentages_round_in_favour_of_availability_and_never_both_to_nothing() {
        let cases = [
            (json!({}), 10, (3, 2)),
            (json!({}), 1, (1, 0)),
            (json!({"maxSurge": 2, "maxUnavailable": 0}), 10, (2, 0)),
            (json!({"maxSurge": 0, "maxUnavailable": "10%"}), 5, (0, 1)),
            (json!({"maxSurge": 0, "maxUnavailable": "100%"}), 5, (0, 5)),
            (json!({"maxSurge": "100%", "maxUnavailable": "0%"}), 3, (3, 0)),
        ];
        for (rolling, replicas, (max_surge, max_unavailable)) in cases {
            let asked = deployment("web")
                .replicas(replicas)
                .spec("strategy", json!({"rollingUpdate": rolling}));
            let expected = Strategy::RollingUpdate {
                max_surge,
                max_unavailable,
            };
            assert_eq!(
                Desired::of(&asked.object()).strategy,
                expected,
                "{rolling} of {replicas}"
            );
        }
    }

    #[test]
    fn more_than_all_can_not_be_unavailable() {
        let rolling = json!({"maxSurge": 0, "maxUnavailable": 5});
        let asked = deployment("web")
            .replicas(3)
            .spec("strategy", json!({"rollingUpdate": rolling}));
        assert_eq!(Desired::of(&asked.object()).min_available(), 0);
    }
}
