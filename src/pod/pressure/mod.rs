//! When the machine runs short of memory, disk or processes (kubelet's eviction manager): the node says so, by conditions, taints and
//! events; what nobody needs is removed; and if that is not enough, one pod after the other goes, those that take more than they asked
//! for first.
//!
//! Looked at every few seconds while pods run, and not at all otherwise: a look is five system calls, so a day of looks costs less CPU
//! than the start of one pod. The kernel could tell of memory by itself (PSI), but of a disk that fills up it does not.

mod look;
mod plan;
mod settings;
mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Rooms, images_in_use};
use crate::image::Prune;
use crate::model::{kind, later};
use crate::store::Store;
use look::{candidates, is_evicted_one_alive, look, pods_here, remove_ended};
use plan::{Memory, message, plan_grace, plan_victim};
use settings::{Pressure, Signal, Threshold};
pub use tell::conditions;
pub(super) use tell::{is_borne, plan_refusal};

pub use settings::{Said, Thresholds};

/// How often is looked (kubelet's eviction manager: `monitoringInterval`).
const INTERVAL: Duration = Duration::from_secs(10);
/// How long what nobody needs is not looked for again: it takes a walk through all images.
const RECLAIM_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// How long one that was evicted is waited for beyond its time (kubelet `podCleanupTimeout`).
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// How much there is of something, and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fact {
    available: u64,
    capacity: u64,
}

/// What is known of the machine.
pub(super) type Facts = BTreeMap<Signal, Fact>;

/// Works until `stop`.
pub async fn run_pressure(rooms: Arc<Rooms>, thresholds: Thresholds, images_dir: PathBuf, stop: CancellationToken) {
    let mut watch = Watch {
        rooms,
        thresholds,
        images_dir,
        memory: Memory::default(),
        reclaimed: None,
        ending: None,
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = watch.round() => {}
        }
        let is_idle = !watch.memory.is_pressed() && pods_here(&watch.rooms).is_empty();
        let again = async {
            match is_idle {
                true => a_pod_comes(&watch.rooms.store).await,
                false => tokio::time::sleep(INTERVAL).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = again => {}
        }
    }
}

/// Returns when a pod comes, or when one may have come unseen.
async fn a_pod_comes(store: &Store) {
    let pods = kind("v1", "Pod").expect("in the table");
    let Ok(mut changes) = store.watch(store.resource_version()) else {
        return;
    };
    while let Ok(change) = changes.next().await {
        if change.object.kind() == pods {
            return;
        }
    }
}

struct Watch {
    rooms: Arc<Rooms>,
    thresholds: Thresholds,
    images_dir: PathBuf,
    memory: Memory,
    /// When what nobody needs was removed last.
    reclaimed: Option<Timestamp>,
    /// Until when the last one that was evicted is waited for, if it does not end before. A node that starts waits for none.
    ending: Option<Timestamp>,
}

impl Watch {
    async fn look(&self) -> Facts {
        let (pods_dir, images_dir) = (self.rooms.host.pods_dir.clone(), self.images_dir.clone());
        // A disk behind a network may take its time.
        let looked = tokio::task::spawn_blocking(move || look(&pods_dir, &images_dir)).await;
        looked.expect("looking does not panic")
    }

    /// One look, and one pod less at the most (kubelet `synchronize`).
    async fn round(&mut self) {
        let facts = self.look().await;
        let now = self.rooms.clock.now();
        let outlook = self.memory.judge(&self.thresholds, &facts, now);
        tell::tell_node(&self.rooms, &outlook.pressures, now);
        let Some(threshold) = outlook.due.cloned() else { return };
        if pods_here(&self.rooms).is_empty() && self.reclaimed.is_some() {
            return;
        }
        tell::tell_attempt(&self.rooms, threshold.signal.resource());
        if self.reclaim(&threshold, now).await && !threshold.is_unresolved(&self.look().await) {
            return;
        }
        // What it takes is free when it has ended, and not before.
        if self.ending.is_some_and(|until| now < until) && is_evicted_one_alive(&self.rooms).await {
            return;
        }
        let candidates = candidates(&self.rooms, threshold.signal).await;
        let Some(victim) = plan_victim(&candidates, threshold.signal) else {
            return;
        };
        let Some(pod) = self.rooms.store.get(&victim.pod) else {
            return;
        };
        tracing::warn!(pod = %victim.pod, resource = threshold.signal.resource(), "a pod is evicted");
        let grace = plan_grace(&threshold, &self.thresholds);
        self.ending = Some(later(now, grace.saturating_add(PATIENCE)));
        let why = message(&threshold, facts[&threshold.signal], victim);
        super::evict::carry_out(&self.rooms, &pod, &why, grace);
    }

    /// Removes what nobody needs, if that can help; says whether it did.
    async fn reclaim(&mut self, threshold: &Threshold, now: Timestamp) -> bool {
        if threshold.signal.pressure() != Pressure::Disk {
            return false;
        }
        remove_ended(&self.rooms).await;
        if self.reclaimed.is_some_and(|at| now.duration_since(at) < RECLAIM_AGAIN) {
            return true;
        }
        self.reclaimed = Some(now);
        let (images, in_use) = (self.rooms.images.clone(), images_in_use(&self.rooms.store));
        let pruned = tokio::task::spawn_blocking(move || images.prune(Prune::Unused, &in_use)).await;
        match pruned.expect("pruning does not panic") {
            Ok(gone) if !gone.images.is_empty() => {
                let images = gone.images.join(", ");
                tracing::info!(
                    bytes = gone.bytes,
                    images,
                    "the disk is short; images that nothing uses are gone"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "images that are not used can't be removed"),
        }
        true
    }
}
