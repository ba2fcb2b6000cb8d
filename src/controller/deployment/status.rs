//! The status of a Deployment: what its ReplicaSets add up to, and how the rollout goes (`syncRolloutStatus`).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::desired::Desired;
use super::revision::NewSet;
use super::sets::{Set, Sets};
use crate::controller::condition::{Condition, Conditions};
use crate::controller::plan::Plan;
use crate::controller::replicaset::REPLICA_FAILURE;
use crate::model::{Object, REVISION};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";

/// The rollout is over.
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
/// Nothing has moved for longer than the progress deadline.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
/// Nobody is to move anything.
const PAUSED: &str = "DeploymentPaused";

/// What kind of pass it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The Deployment is being deleted: it is only counted.
    Ignored,
    /// It is paused; at most its size was changed.
    Paused,
    /// Its size was changed.
    Scaling,
    /// A step was taken, or is waited for.
    Rolling,
    /// There was no step to take.
    Settled,
}

/// A status in the making.
pub(super) struct Draft<'a> {
    deployment: &'a Object,
    conditions: Conditions,
    collisions: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    terminating: i64,
}

/// Whether the status that is there says that the rollout is over.
pub(super) fn was_complete(deployment: &Object, desired: &Desired) -> bool {
    let observed = deployment.number("/status/observedGeneration").unwrap_or(0);
    observed >= deployment.generation() && Counts::told(deployment).are_complete(desired)
}

impl<'a> Draft<'a> {
    pub(super) fn of(deployment: &'a Object) -> Self {
        Self {
            deployment,
            conditions: Conditions::with_update_time(deployment),
            collisions: deployment.number("/status/collisionCount"),
        }
    }

    /// Says that it was paused or goes on (`checkPausedConditions`). A rollout that timed out stays so.
    pub(super) fn note_pause(&mut self, desired: &Desired, now: Timestamp) {
        let reason = self.conditions.reason(PROGRESSING);
        if desired.progress_deadline.is_none() || reason == TIMED_OUT {
            return;
        }
        let (reason, message) = match (desired.is_paused, reason == PAUSED) {
            (true, false) => (PAUSED, "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            (true, true) | (false, false) => return,
        };
        self.progressing("Unknown", reason, message.to_owned(), now);
    }

    /// Says where the new ReplicaSet came from.
    pub(super) fn note_new(&mut self, new: NewSet, desired: &Desired, sets: &Sets, now: Timestamp) {
        let name = sets.new.as_ref().map_or("", Set::name);
        let has_deadline = desired.progress_deadline.is_some();
        match new {
            NewSet::Made if has_deadline => {
                let message = format!("Created new replica set {name:?}");
                self.progressing("True", "NewReplicaSetCreated", message, now);
            }
            NewSet::Found if has_deadline && self.conditions.get(PROGRESSING).is_none() => {
                let message = format!("Found new replica set {name:?}");
                self.progressing("True", "FoundNewReplicaSet", message, now);
            }
            NewSet::Made | NewSet::Found => {}
            NewSet::NameTaken => self.collisions = Some(self.collisions.unwrap_or(0) + 1),
        }
    }

    /// Counts, judges and writes the status if it changed; asks to look again when the deadline passes.
    pub(super) fn finish(mut self, desired: &Desired, sets: &Sets, pass: Progress, now: Timestamp, plan: &mut Plan) {
        let counts = Counts::of(sets);
        self.note_availability(desired, &counts, now);
        match pass {
            Progress::Ignored | Progress::Paused | Progress::Scaling => {}
            Progress::Rolling | Progress::Settled => {
                self.judge(desired, sets, &counts, now);
                self.copy_failure(sets);
                if let Some(deadline) = self.deadline(desired).filter(|_| !counts.are_complete(desired)) {
                    // Times in conditions are whole seconds: one later it has passed for certain.
                    let at = deadline
                        .saturating_add(SignedDuration::from_secs(1))
                        .unwrap_or(deadline);
                    plan.recheck_at(at.max(now));
                }
            }
        }
        let mut wanted = self.deployment.clone();
        if let Some(revision) = sets.new.as_ref().and_then(|new| new.annotation(REVISION)) {
            let annotations = wanted.metadata_mut().entry("annotations").or_insert_with(|| json!({}));
            annotations[REVISION] = revision.into();
        }
        wanted.value_mut()["status"] = counts.into_json(self.deployment, self.conditions, self.collisions);
        plan.write_status(self.deployment, wanted);
    }

    fn note_availability(&mut self, desired: &Desired, counts: &Counts, now: Timestamp) {
        let (status, reason, message) = match counts.available >= desired.min_available() {
            true => (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            ),
            false => (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            ),
        };
        let condition = Condition {
            kind: AVAILABLE,
            status,
            reason,
            message: message.to_owned(),
        };
        self.conditions.set(condition, now);
    }

    /// Says how the rollout goes.
    fn judge(&mut self, desired: &Desired, sets: &Sets, counts: &Counts, now: Timestamp) {
        if desired.progress_deadline.is_none() {
            self.conditions.remove(PROGRESSING);
            return;
        }
        let is_over = counts.replicas == counts.updated && self.conditions.reason(PROGRESSING) == NEW_AVAILABLE;
        if is_over {
            return;
        }
        let subject = match &sets.new {
            Some(new) => format!("ReplicaSet {:?}", new.name()),
            None => format!("Deployment {:?}", self.deployment.key().name),
        };
        if counts.are_complete(desired) {
            let message = format!("{subject} has successfully progressed.");
            self.progressing("True", NEW_AVAILABLE, message, now);
        } else if counts.is_progress_from(&Counts::told(self.deployment)) {
            let condition = Condition {
                kind: PROGRESSING,
                status: "True",
                reason: "ReplicaSetUpdated",
                message: format!("{subject} is progressing."),
            };
            // Renewed even if it says the same: the deadline runs from the last progress.
            self.conditions.renew(condition, now);
        } else if self.deadline(desired).is_some_and(|deadline| deadline < now) {
            let message = format!("{subject} has timed out progressing.");
            self.progressing("False", TIMED_OUT, message, now);
        }
    }

    /// When the rollout times out, if it can.
    fn deadline(&self, desired: &Desired) -> Option<Timestamp> {
        let reason = self.conditions.reason(PROGRESSING);
        let may_time_out = reason != NEW_AVAILABLE && reason != TIMED_OUT;
        let from = self
            .conditions
            .time(PROGRESSING, "lastUpdateTime")
            .filter(|_| may_time_out)?;
        from.checked_add(desired.progress_deadline?).ok()
    }

    /// Repeats why a ReplicaSet can't make pods; the new one's reason first.
    fn copy_failure(&mut self, sets: &Sets) {
        let failure = |set: &Set| Conditions::of(&set.wanted).get(REPLICA_FAILURE).cloned();
        match sets.new.iter().chain(&sets.old).find_map(failure) {
            Some(mut condition) => {
                condition["lastUpdateTime"] = condition["lastTransitionTime"].clone();
                self.conditions.copy(&condition);
            }
            None => self.conditions.remove(REPLICA_FAILURE),
        }
    }

    fn progressing(&mut self, status: &'static str, reason: &'static str, message: String, now: Timestamp) {
        let condition = Condition {
            kind: PROGRESSING,
            status,
            reason,
            message,
        };
        self.conditions.set(condition, now);
    }
}

impl Counts {
    /// What the ReplicaSets add up to.
    fn of(sets: &Sets) -> Self {
        let sum = |field: &str| sets.sum(|set| set.count(field));
        Self {
            replicas: sum("replicas"),
            updated: sets.new.as_ref().map_or(0, |new| new.count("replicas")),
            ready: sum("readyReplicas"),
            available: sum("availableReplicas"),
            terminating: sum("terminatingReplicas"),
        }
    }

    /// What the status says so far.
    fn told(deployment: &Object) -> Self {
        let number = |field: &str| deployment.number(&format!("/status/{field}")).unwrap_or(0);
        Self {
            replicas: number("replicas"),
            updated: number("updatedReplicas"),
            ready: number("readyReplicas"),
            available: number("availableReplicas"),
            terminating: number("terminatingReplicas"),
        }
    }

    /// Whether all pods are new and available (`deploymentutil.DeploymentComplete`).
    fn are_complete(&self, desired: &Desired) -> bool {
        let wanted = desired.replicas;
        self.updated == wanted && self.replicas == wanted && self.available == wanted
    }

    /// Whether there are more new pods, fewer old ones, or more ready or available ones (`DeploymentProgressing`).
    fn is_progress_from(&self, before: &Self) -> bool {
        self.updated > before.updated
            || self.replicas - self.updated < before.replicas - before.updated
            || self.ready > before.ready
            || self.available > before.available
    }

    fn into_json(self, deployment: &Object, conditions: Conditions, collisions: Option<i64>) -> Value {
        let counts = [
            ("observedGeneration", deployment.generation()),
            ("replicas", self.replicas),
            ("updatedReplicas", self.updated),
            ("readyReplicas", self.ready),
            ("availableReplicas", self.available),
            ("unavailableReplicas", (self.replicas - self.available).max(0)),
            ("terminatingReplicas", self.terminating),
        ];
        // As upstream's JSON: what is zero is not there.
        let present = counts.into_iter().filter(|(_, number)| *number != 0);
        let mut status: Map<_, _> = present
            .map(|(field, number)| (field.to_owned(), number.into()))
            .collect();
        if let Some(count) = collisions {
            status.insert("collisionCount".to_owned(), count.into());
        }
        if let Some(conditions) = conditions.into_json() {
            status.insert("conditions".to_owned(), conditions);
        }
        status.into()
    }
}
