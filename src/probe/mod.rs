//! Probes: asking a container, from outside of it, whether it has started, lives and is ready (kubelet `prober`, `pkg/probe`).
//!
//! ```text
//!  pod's worker ── Check ──► run_prober: one timer ─► ask: exec, HTTP, TCP, gRPC ─► Tally ─── Word ──► pod's worker
//! ```
//!
//! What a probe is is planned and pure ([`plan_check`], [`Tally`]); asking it needs a [`crate::runtime::Runtime`] and nothing in the
//! container's image. A prober speaks when its result changes and when a check fails. The room does not know what follows from
//! a result: whoever listens decides.

mod ask;
mod grpc;
mod http;
mod plan;
mod prober;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use ask::{Outcome, Target, ask, run_hook};
pub use plan::{Check, Endpoint, Handler, HookAction, HttpGet, plan_check, plan_hook};
pub use prober::{Prober, Word, run_prober};
pub use tally::Tally;

use crate::runtime::ContainerId;

/// What a probe asks after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Whether the container has started: the others wait for it.
    Startup,
    /// Whether it lives: when not, it is restarted.
    Liveness,
    /// Whether it can be given work.
    Readiness,
}

impl ProbeKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];
}

/// As events spell it (kubelet `probeType`).
impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        })
    }
}

/// What probes have come to so far, by run and kind. What is not here is not known yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results(BTreeMap<(ContainerId, ProbeKind), bool>);

impl Results {
    /// What a probe of a run came to.
    pub fn get(&self, run: &ContainerId, kind: ProbeKind) -> Option<bool> {
        self.0.get(&(run.clone(), kind)).copied()
    }

    /// Takes a result down.
    pub fn set(&mut self, run: ContainerId, kind: ProbeKind, passed: bool) {
        self.0.insert((run, kind), passed);
    }

    /// Forgets runs.
    pub fn retain(&mut self, mut keep: impl FnMut(&ContainerId) -> bool) {
        self.0.retain(|(run, _), _| keep(run));
    }
}
