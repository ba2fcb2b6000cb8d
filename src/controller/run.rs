//! The loop that drives every controller: one watcher, one queue, one task of the runtime. A reconcile reads and writes memory
//! only, so they take turns instead of running in parallel: at most one per key comes for free.

use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::queue::{Queue, Task};
use super::{CONTROLLERS, Signer, apply};
use crate::event::EventRecorder;
use crate::store::{Change, Expired, Store, Watcher};

/// How long a change that was lost stays unnoticed. The store tells a watcher when it lost changes, so this repairs only what
/// should not happen, and may be slow.
pub(super) const FULL_PASS: SignedDuration = SignedDuration::from_mins(10);

pub(super) struct Loop {
    store: Store,
    recorder: EventRecorder,
    signer: Signer,
    queue: Queue,
}

impl Loop {
    pub(super) fn new(store: Store, recorder: EventRecorder, signer: Signer) -> Self {
        Self {
            store,
            recorder,
            signer,
            queue: Queue::default(),
        }
    }

    /// Works until `stop`: everything once, then what changes.
    pub(super) async fn run(&mut self, stop: &CancellationToken) {
        // When following changes ends without `stop`, some were lost or the time for a full pass has come: both mean everything.
        while !stop.is_cancelled() {
            if let Err(expired) = self.follow(stop).await {
                tracing::debug!(%expired, "changes were lost; looking at everything again");
            }
        }
    }

    /// One full pass and the changes after it, until the next full pass is due.
    async fn follow(&mut self, stop: &CancellationToken) -> Result<(), Expired> {
        // The watch begins before the listing, so no change falls between them.
        let mut changes = self.store.watch(self.store.resource_version())?;
        self.push_everything();
        let now = self.signer.clock.now();
        let full_pass = now.saturating_add(FULL_PASS).unwrap_or(now);
        loop {
            self.work_off(&mut changes, stop).await?;
            let now = self.signer.clock.now();
            let wake = self.queue.next_due().map_or(full_pass, |due| due.min(full_pass));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                change = changes.next() => self.push_touched(&change?),
                () = tokio::time::sleep(until(wake, now)) => {}
            }
            if self.signer.clock.now() >= full_pass {
                return Ok(());
            }
        }
    }

    /// Reconciles until nothing is ready.
    async fn work_off(&mut self, changes: &mut Watcher, stop: &CancellationToken) -> Result<(), Expired> {
        loop {
            // All changes that are already known come first: many of them are about one key.
            while let Some(change) = changes.next().now_or_never() {
                self.push_touched(&change?);
            }
            let now = self.signer.clock.now();
            let Some(task) = self.queue.pop(now).filter(|_| !stop.is_cancelled()) else {
                return Ok(());
            };
            self.reconcile(task, now);
            // A long queue must not keep the runtime's thread from others.
            tokio::task::yield_now().await;
        }
    }

    fn reconcile(&mut self, task: Task, now: Timestamp) {
        let controller = CONTROLLERS[task.controller];
        let recorder = self.recorder.component(controller.name());
        let observed = self.store.get(&task.key);
        let plan = controller.plan(&self.store, &task.key, now);
        let recheck = plan.recheck;
        let Err(error) = apply::execute(&self.store, &recorder, &self.signer, observed.as_deref(), plan) else {
            self.queue.settle(task, recheck);
            return;
        };
        tracing::debug!(controller = controller.name(), key = %task.key, %error, "a plan was refused; planning again");
        let excuse = controller.plan_failure(&self.store, &task.key, &error, now);
        if let Err(error) = apply::execute(&self.store, &recorder, &self.signer, observed.as_deref(), excuse) {
            tracing::debug!(controller = controller.name(), key = %task.key, %error, "nor could its failure be told");
        }
        self.queue.retry(task, now);
    }

    fn push_everything(&mut self) {
        for (place, controller) in CONTROLLERS.iter().enumerate() {
            for key in controller.all(&self.store) {
                self.queue.push(Task { controller: place, key });
            }
        }
    }

    fn push_touched(&mut self, change: &Change) {
        for (place, controller) in CONTROLLERS.iter().enumerate() {
            for key in controller.touched(&self.store, change) {
                self.queue.push(Task { controller: place, key });
            }
        }
    }
}

fn until(wake: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(wake.duration_since(now)).unwrap_or_default()
}
