//! One pass of a rollout: the next step from the old ReplicaSets to the new one, if availability allows one.

use std::sync::Arc;

use jiff::Timestamp;

use super::desired::{Desired, Strategy};
use super::revision::{self, NewSet};
use super::scale;
use super::sets::{Set, Sets};
use super::status::{Draft, Progress};
use crate::controller::claim::controller_uid;
use crate::controller::pods::is_terminal;
use crate::model::Object;

/// What a pass is decided on, beside the ReplicaSets.
pub(super) struct Rollout<'a> {
    pub(super) deployment: &'a Object,
    pub(super) desired: &'a Desired,
    /// All ReplicaSets of the namespace, whoever owns them.
    pub(super) namesakes: &'a [Arc<Object>],
    /// The pods of the Deployment's ReplicaSets, if it recreates.
    pub(super) pods: &'a [Arc<Object>],
    pub(super) now: Timestamp,
}

impl Rollout<'_> {
    /// Changes the drafts by one pass and says what kind of pass it was.
    pub(super) fn plan_pass(&self, sets: &mut Sets, draft: &mut Draft) -> Progress {
        let desired = self.desired;
        if desired.is_paused || scale::is_resized(desired, sets) {
            // A paused Deployment still follows its size, but makes no ReplicaSet.
            revision::sync_new(self.deployment, desired, sets);
            scale::plan_scale(self.deployment, desired, sets);
            return if desired.is_paused {
                Progress::Paused
            } else {
                Progress::Scaling
            };
        }
        match desired.strategy {
            Strategy::Recreate => self.plan_recreate(sets, draft),
            Strategy::RollingUpdate { .. } => self.plan_rolling(sets, draft),
        }
    }

    fn plan_rolling(&self, sets: &mut Sets, draft: &mut Draft) -> Progress {
        if !self.ensure_new(sets, draft) {
            return Progress::Rolling;
        }
        if grow_new(self.desired, sets) || shrink_old(self.desired, sets) {
            Progress::Rolling
        } else {
            Progress::Settled
        }
    }

    fn plan_recreate(&self, sets: &mut Sets, draft: &mut Draft) -> Progress {
        let mut has_shrunk = false;
        for set in sets.old.iter_mut().filter(|set| set.replicas() > 0) {
            set.scale(0, self.desired);
            has_shrunk = true;
        }
        if has_shrunk || self.has_old_pods(sets) {
            revision::sync_new(self.deployment, self.desired, sets);
            return Progress::Rolling;
        }
        if !self.ensure_new(sets, draft) {
            return Progress::Rolling;
        }
        let new = sets.new.as_mut().expect("it was just ensured");
        if new.replicas() == self.desired.replicas {
            return Progress::Settled;
        }
        new.scale(self.desired.replicas, self.desired);
        Progress::Rolling
    }

    /// Whether pods of other ReplicaSets than the new one have not ended, those that are being deleted included.
    fn has_old_pods(&self, sets: &Sets) -> bool {
        let new = sets.new.as_ref().map(|set| set.wanted.uid());
        let is_old = |pod: &&Arc<Object>| controller_uid(pod) != new;
        self.pods.iter().filter(is_old).any(|pod| !is_terminal(pod))
    }

    /// Whether there is a new ReplicaSet now; its annotations are brought up to date.
    fn ensure_new(&self, sets: &mut Sets, draft: &mut Draft) -> bool {
        let outcome = revision::ensure_new(self.deployment, self.desired, self.namesakes, sets);
        revision::sync_new(self.deployment, self.desired, sets);
        draft.note_new(outcome, self.desired, sets, self.now);
        match outcome {
            NewSet::Found | NewSet::Made => true,
            NewSet::NameTaken => false,
        }
    }
}

/// Lets the new ReplicaSet grow as far as the surge allows (`reconcileNewReplicaSet`). Says whether it changed.
fn grow_new(desired: &Desired, sets: &mut Sets) -> bool {
    let room = desired.replicas + desired.max_surge() - sets.sum(Set::replicas);
    let new = sets.new.as_mut().expect("rollouts have a new ReplicaSet");
    let missing = desired.replicas - new.replicas();
    let step = if missing > 0 { missing.min(room.max(0)) } else { missing };
    if step != 0 {
        new.scale(new.replicas() + step, desired);
    }
    step != 0
}

/// Lets the old ReplicaSets shrink as far as availability allows, what is not available first (`reconcileOldReplicaSets`). Says
/// whether any changed.
fn shrink_old(desired: &Desired, sets: &mut Sets) -> bool {
    let new_unavailable = sets.new.as_ref().map_or(0, |new| new.replicas() - new.available());
    let most = sets.sum(Set::replicas) - desired.min_available() - new_unavailable;
    if most <= 0 {
        return false;
    }
    let mut unhealthy = most;
    let mut has_shrunk = take(desired, sets, &mut unhealthy, |set| set.replicas() - set.available());
    let mut spare = sets.sum(Set::available) - desired.min_available();
    has_shrunk |= take(desired, sets, &mut spare, Set::replicas);
    has_shrunk
}

/// Takes replicas from the old ReplicaSets, oldest first, up to `budget` in all and `of` each. Says whether any were taken.
fn take(desired: &Desired, sets: &mut Sets, budget: &mut i64, of: impl Fn(&Set) -> i64) -> bool {
    let before = *budget;
    for set in &mut sets.old {
        let step = of(set).min(*budget);
        if step > 0 {
            set.scale(set.replicas() - step, desired);
            *budget -= step;
        }
    }
    *budget != before
}
