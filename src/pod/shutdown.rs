//! How all pods end when the node does (kubelet `nodeshutdown`): those that others need last. Pure but for the word that it has begun.

use std::sync::{Arc, OnceLock};

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::model::Object;

/// From this priority on pods are critical (`scheduling.SystemCriticalPriority`).
const CRITICAL: i64 = 2_000_000_000;

/// The most that pods get to end, where that is less than they say themselves (kubelet `shutdownGracePeriod` less
/// `shutdownGracePeriodCriticalPods`, and that).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Graces {
    /// All but critical pods.
    pub ordinary: Option<SignedDuration>,
    /// Critical pods, whose time begins when no other is left.
    pub critical: Option<SignedDuration>,
}

impl Graces {
    /// What the pods of a stage get.
    pub(super) fn of(self, stage: Stage) -> Option<SignedDuration> {
        match stage {
            Stage::Ordinary => self.ordinary,
            Stage::Critical => self.critical,
        }
    }

    /// What all of them take at the most; `None` where that is the pods' own word.
    pub fn total(self) -> Option<SignedDuration> {
        Some(self.ordinary?.saturating_add(self.critical?))
    }
}

/// Whose turn it is; the later one after the earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Ordinary,
    Critical,
}

impl Stage {
    /// When a pod has its turn.
    pub(super) fn of(pod: &Object) -> Self {
        Self::with(pod.number("/spec/priority").unwrap_or(0))
    }

    /// When a pod of this priority has its turn.
    pub(super) fn with(priority: i64) -> Self {
        match priority >= CRITICAL {
            true => Self::Critical,
            false => Self::Ordinary,
        }
    }
}

/// The stage that has come when these are the turns of all pods that are left; `None` while nothing is left.
pub(super) fn plan_stage(left: impl Iterator<Item = Stage>) -> Option<Stage> {
    left.min()
}

/// The word that all pods are to end. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    begun: CancellationToken,
    graces: Arc<OnceLock<Graces>>,
}

impl Drain {
    /// Begins it, once: what is said later does not count.
    pub fn begin(&self, graces: Graces) {
        // Set before anyone is woken.
        let _ = self.graces.set(graces);
        self.begun.cancel();
    }

    /// Returns when it begins: with what pods get.
    pub(super) async fn begins(&self) -> Graces {
        self.begun.cancelled().await;
        self.graces.get().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn critical_pods_have_their_turn_when_no_other_is_left() {
        let pod = |priority: serde_json::Value| {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n"}, "spec": {"priority": priority}});
            Stage::of(&Object::new(pod).expect("a pod"))
        };
        let (plain, high, critical) = (pod(json!(null)), pod(json!(1_999_999_999)), pod(json!(2_000_001_000)));
        assert_eq!(
            (plain, high, critical),
            (Stage::Ordinary, Stage::Ordinary, Stage::Critical)
        );
        for (left, expected) in [
            (vec![critical, high, plain], Some(Stage::Ordinary)),
            (vec![critical, critical], Some(Stage::Critical)),
            (vec![], None),
        ] {
            assert_eq!(plan_stage(left.clone().into_iter()), expected, "{left:?}");
        }
    }

    #[tokio::test]
    async fn what_pods_get_is_said_once() {
        let drain = Drain::default();
        let graces = |seconds| Graces {
            ordinary: Some(SignedDuration::from_secs(seconds)),
            critical: None,
        };
        drain.begin(graces(1));
        drain.clone().begin(graces(2));
        assert_eq!(drain.begins().await, graces(1));
    }
}
