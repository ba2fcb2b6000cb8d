//! What goes on beside a pod's worker: a task for each probe, and one for each hook. They do not touch the pod; they ask, and send
//! words that the worker hears when it has time. All end with the worker.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::task::AbortOnDropHandle;

use super::health::PlannedProbe;
use crate::probe::{self, HookAction, ProbeKind, Prober, Target, Word, run_prober};
use crate::runtime::ContainerId;

/// Which hook of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Hook {
    /// After its start.
    PostStart,
    /// Before its end.
    PreStop,
}

/// What a worker hears.
#[derive(Debug)]
pub(super) enum Heard {
    /// Of a probe.
    Probe(Word),
    /// A hook has ended.
    Hook {
        run: ContainerId,
        hook: Hook,
        outcome: Result<(), String>,
    },
}

/// The tasks of one pod. Few words wait at any time: each probe sends at most two for a check.
pub(super) struct Tasks {
    words: (UnboundedSender<Word>, UnboundedReceiver<Word>),
    ends: (UnboundedSender<Heard>, UnboundedReceiver<Heard>),
    probers: HashMap<(ContainerId, ProbeKind), AbortOnDropHandle<()>>,
    hooks: HashMap<(ContainerId, Hook), AbortOnDropHandle<()>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            words: unbounded_channel(),
            ends: unbounded_channel(),
            probers: HashMap::new(),
            hooks: HashMap::new(),
        }
    }
}

impl Tasks {
    /// Waits for the next word. May be cancelled.
    pub(super) async fn next(&mut self) -> Heard {
        tokio::select! {
            Some(word) = self.words.1.recv() => Heard::Probe(word),
            Some(end) = self.ends.1.recv() => end,
            else => unreachable!("both senders are held here"),
        }
    }

    /// A word that is there already.
    pub(super) fn waiting(&mut self) -> Option<Heard> {
        let word = self.words.1.try_recv().ok().map(Heard::Probe);
        word.or_else(|| self.ends.1.try_recv().ok())
    }

    /// Asks these probes and no others.
    pub(super) fn ask(
        &mut self,
        planned: BTreeMap<(ContainerId, ProbeKind), PlannedProbe>,
        target: impl Fn(&ContainerId) -> Target,
    ) {
        self.probers.retain(|key, _| planned.contains_key(key));
        for (key, PlannedProbe { check, first, known }) in planned {
            let words = self.words.0.clone();
            let prober = || Prober {
                target: target(&key.0),
                check,
                first,
                known,
            };
            self.probers
                .entry(key.clone())
                .or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(run_prober(prober(), words))));
        }
    }

    /// Starts a hook.
    pub(super) fn run_hook(&mut self, target: Target, hook: Hook, action: Result<HookAction, String>) {
        let (run, ends) = (target.run.clone(), self.ends.0.clone());
        let key = (run.clone(), hook);
        let task = tokio::spawn(async move {
            let outcome = match action {
                Ok(action) => probe::run_hook(&target, &action).await,
                Err(error) => Err(error),
            };
            // Nobody listens only when the worker has ended.
            let _ = ends.send(Heard::Hook { run, hook, outcome });
        });
        self.hooks.insert(key, AbortOnDropHandle::new(task));
    }

    /// Gives the hooks of other runs up.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&ContainerId) -> bool) {
        self.hooks.retain(|(run, _), _| keep(run));
    }
}
