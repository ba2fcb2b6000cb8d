//! Follows policies, pods, namespaces and addresses, and tells the kernel what changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::facts::Facts;
use super::plan::plan_isolation;
use crate::event::{EventKind, EventRecorder};
use crate::model::{Kind, kind, known_kind};
use crate::net::{Isolation, Isolator, NodeNetwork};
use crate::store::{Change, Expired, Store, Watcher};

/// After the kernel refused rules: what it lacks now (memory, a module that loads) it may have soon.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Keeper {
    store: Store,
    recorder: EventRecorder,
    network: Arc<NodeNetwork>,
    isolator: Isolator,
    /// What the kernel was told last; none before, and after it refused.
    told: Option<Option<Isolation>>,
    /// Why policies can't be kept, if they can't, and the policies that are told (by uid).
    carried: watch::Receiver<Option<String>>,
    warned: BTreeSet<String>,
    /// When the kernel is told again, if it has refused what it was told last.
    retry_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(
        store: Store,
        recorder: EventRecorder,
        network: Arc<NodeNetwork>,
        carried: watch::Receiver<Option<String>>,
    ) -> Keeper {
        Keeper {
            isolator: Isolator::new(network.clone()),
            store,
            recorder,
            network,
            told: None,
            carried,
            warned: BTreeSet::new(),
            retry_at: None,
        }
    }

    /// Works until it is dropped.
    pub(super) async fn run(&mut self) {
        let mut addresses = self.network.addresses().follow();
        loop {
            let Err(expired) = self.follow(&mut addresses).await;
            tracing::debug!(%expired, "changes were lost; looking at all policies again");
        }
    }

    async fn follow(&mut self, addresses: &mut watch::Receiver<()>) -> Result<std::convert::Infallible, Expired> {
        let mut changes = self.store.watch(self.store.resource_version())?;
        self.settle().await;
        loop {
            let retry_at = self.retry_at;
            let is_due = tokio::select! {
                change = changes.next() => is_about(self.has_policies(), &change?, &mut changes)?,
                rung = addresses.changed() => {
                    rung.expect("the network that rings is held here");
                    self.has_policies()
                }
                Ok(()) = self.carried.changed() => true,
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => true,
            };
            if is_due {
                self.settle().await;
            }
        }
    }

    /// Without policies pods may come and go as they like.
    fn has_policies(&self) -> bool {
        !matches!(self.told, Some(None))
    }

    async fn settle(&mut self) {
        let why = self.carried.borrow_and_update().clone();
        if let Some(why) = why {
            return self.give_up(&why).await;
        }
        let wanted = plan_isolation(&self.facts());
        if self.told.as_ref() == Some(&wanted) {
            return;
        }
        match self.isolator.apply(wanted.as_ref()).await {
            Ok(()) => {
                self.told = Some(wanted);
                self.retry_at = None;
            }
            Err(error) => {
                // Told once: it is tried again for as long as the kernel does not take it.
                if self.retry_at.is_none() {
                    tracing::warn!(%error, "the kernel refuses the rules of network policies");
                    self.tell(&format!("pods are not kept apart: the kernel refuses {error}"));
                }
                self.told = None;
                self.retry_at = Some(Instant::now() + PATIENCE);
            }
        }
    }

    /// Keeps no policy, and tells those whose they are.
    async fn give_up(&mut self, why: &str) {
        if self.told != Some(None) {
            // A kernel that takes no rules has none to remove.
            if let Err(error) = self.isolator.apply(None).await {
                tracing::debug!(%error, "there are no rules of network policies to remove");
            }
            (self.told, self.retry_at) = (Some(None), None);
        }
        let message =
            format!("pods are not kept apart: the node's own proxy serves Services ({why}), and hides who connects");
        for policy in self.store.list(policies(), None).items {
            if self.warned.insert(policy.uid().to_owned()) {
                self.recorder
                    .event(&policy, EventKind::Warning, "NotEnforced", &message);
            }
        }
    }

    fn tell(&self, message: &str) {
        for policy in self.store.list(policies(), None).items {
            self.recorder.event(&policy, EventKind::Warning, "NotEnforced", message);
        }
    }

    fn facts(&self) -> Facts {
        let policies = self.store.list(policies(), None).items;
        if policies.is_empty() {
            return Facts::default();
        }
        let pods = self.store.list(known_kind("v1", "Pod"), None).items;
        let namespaces = self.store.list(known_kind("v1", "Namespace"), None).items;
        let addresses = self.network.addresses();
        let pods = pods.iter().map(|pod| (pod.as_ref(), addresses.address(pod.uid())));
        Facts::read(pods, &namespaces, &policies)
    }
}

/// Whether a change, or one that is there already with it, may alter what is let through. Without policies it takes a policy.
fn is_about(has_policies: bool, first: &Change, changes: &mut Watcher) -> Result<bool, Expired> {
    let is_one = |change: &Change| match change.object.kind().kind {
        "NetworkPolicy" => true,
        "Namespace" | "Pod" => has_policies,
        _ => false,
    };
    let mut is_due = false;
    changes.drain(first, |change| is_due |= is_one(change))?;
    Ok(is_due)
}

fn policies() -> &'static Kind {
    kind("networking.k8s.io/v1", "NetworkPolicy").expect("in the table")
}
