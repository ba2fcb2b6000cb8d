//! The ReplicaSets of a Deployment as drafts: observed, and as they are to be.

use std::sync::Arc;

use jiff::Timestamp;

use super::desired::Desired;
use super::revision;
use crate::controller::plan::{Plan, Write};
use crate::controller::replicaset::replicas;
use crate::event::EventKind;
use crate::model::Object;

/// Says to how many replicas of the Deployment the ReplicaSet's size was fitted.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

/// Says how many pods the Deployment could have then, surge included.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet.
#[derive(Debug, Clone)]
pub(super) struct Set {
    /// As it is; `None` when it is to be made.
    observed: Option<Arc<Object>>,
    /// As it is to be.
    pub(super) wanted: Object,
}

impl Set {
    pub(super) fn observed(object: Arc<Object>) -> Self {
        Self {
            wanted: Object::clone(&object),
            observed: Some(object),
        }
    }

    pub(super) fn new(wanted: Object) -> Self {
        Self { observed: None, wanted }
    }

    pub(super) fn name(&self) -> &str {
        &self.wanted.key().name
    }

    /// How many replicas it is to have, as far as the pass has come.
    pub(super) fn replicas(&self) -> i64 {
        replicas(&self.wanted)
    }

    /// A number of its status.
    pub(super) fn count(&self, field: &str) -> i64 {
        self.wanted.number(&format!("/status/{field}")).unwrap_or(0)
    }

    /// How many available pods it will certainly keep. Its status may be older than its size: then what it is losing still
    /// stands there as available.
    pub(super) fn available(&self) -> i64 {
        self.count("availableReplicas").min(self.replicas())
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        self.wanted.annotations().get(name).copied()
    }

    pub(super) fn annotation_number(&self, name: &str) -> Option<i64> {
        self.annotation(name)?.parse().ok()
    }

    /// Sets an annotation.
    pub(super) fn annotate(&mut self, name: &str, value: &str) {
        let annotations = self.wanted.metadata_mut().entry("annotations");
        annotations.or_insert_with(|| serde_json::json!({}))[name] = value.into();
    }

    /// Gives it a size that fits the Deployment.
    pub(super) fn scale(&mut self, to: i64, desired: &Desired) {
        self.wanted.value_mut()["spec"]["replicas"] = to.max(0).into();
        self.annotate(DESIRED, &desired.replicas.to_string());
        self.annotate(MAX, &(desired.replicas + desired.max_surge()).to_string());
    }

    /// Oldest first; the name where the second is the same.
    fn age(&self) -> (Option<Timestamp>, String) {
        (self.wanted.creation_timestamp(), self.name().to_owned())
    }

    fn write_into(self, plan: &mut Plan) {
        let to = self.replicas();
        let name = self.name().to_owned();
        let from = self.observed.as_deref().map_or(0, replicas);
        match self.observed {
            None => plan.write(Write::Create(self.wanted)),
            Some(observed) if *observed != self.wanted => plan.write(Write::Update(self.wanted)),
            Some(_) => {}
        }
        if from != to {
            let direction = if to > from { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
            plan.tell(EventKind::Normal, "ScalingReplicaSet", message);
        }
    }
}

/// All ReplicaSets of a Deployment.
#[derive(Debug, Clone)]
pub(super) struct Sets {
    /// The one whose template is the Deployment's.
    pub(super) new: Option<Set>,
    /// The others, oldest first.
    pub(super) old: Vec<Set>,
}

impl Sets {
    /// Finds the new one: the oldest with the Deployment's template (`deploymentutil.FindNewReplicaSet`).
    pub(super) fn sort(deployment: &Object, owned: Vec<Arc<Object>>) -> Self {
        let mut old: Vec<_> = owned.into_iter().map(Set::observed).collect();
        old.sort_by_cached_key(Set::age);
        let place = old
            .iter()
            .position(|set| revision::has_template(&set.wanted, deployment));
        Self {
            new: place.map(|place| old.remove(place)),
            old,
        }
    }

    /// New and old.
    pub(super) fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// New and old.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Set> {
        self.old.iter_mut().chain(&mut self.new)
    }

    /// The sum of something over all.
    pub(super) fn sum(&self, of: impl Fn(&Set) -> i64) -> i64 {
        self.all().map(of).sum()
    }

    /// Writes the drafts that differ from what was observed; the new one first, so that growth comes before shrinking.
    pub(super) fn write_into(&self, plan: &mut Plan) {
        for set in self.new.iter().chain(&self.old) {
            set.clone().write_into(plan);
        }
    }
}
