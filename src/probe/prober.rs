//! One probe of one run: a timer, a check, a count, and a word when there is something to say.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::ProbeKind;
use super::ask::{Outcome, Target, ask};
use super::plan::Check;
use super::tally::Tally;
use crate::runtime::ContainerId;

/// A probe of a run.
#[derive(Clone)]
pub struct Prober {
    /// What is asked.
    pub target: Target,
    /// How.
    pub check: Check,
    /// Time to the first check.
    pub first: Duration,
    /// The result that everybody takes for granted until there is another.
    pub known: Option<bool>,
}

/// What a prober has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The result is another than before.
    Result {
        /// Of this run.
        run: ContainerId,
        /// Of this probe.
        kind: ProbeKind,
        /// What it is now.
        passed: bool,
    },
    /// A check failed, or has a remark: something for the pod's events.
    Event {
        /// Of this run.
        run: ContainerId,
        /// `Unhealthy` or `ProbeWarning`.
        reason: &'static str,
        /// In kubelet's words.
        message: String,
    },
}

/// Probes until nobody listens or the result is final: a startup probe's first one, a liveness probe's failure.
pub async fn run_prober(prober: Prober, words: UnboundedSender<Word>) {
    let Prober {
        target,
        check,
        first,
        mut known,
    } = prober;
    let handler = check.handler.map(|handler| handler.at(target.ip));
    let mut tally = Tally::new(check.success_threshold, check.failure_threshold);
    let mut timer = interval_at(Instant::now() + first, check.period);
    // A check that took longer than the period is followed by the next one in its turn, not by all that were missed.
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        timer.tick().await;
        let outcome = match &handler {
            Ok(handler) => ask(&target, handler, check.timeout).await,
            Err(error) => Outcome::Error(error.clone()),
        };
        if let Some((reason, message)) = plan_event(check.kind, &outcome) {
            let run = target.run.clone();
            if words.send(Word::Event { run, reason, message }).is_err() {
                return;
            }
        }
        let passed = match outcome {
            Outcome::Success | Outcome::Warning(_) => true,
            Outcome::Failure(_) => false,
            // It says nothing about the container, so it does not count.
            Outcome::Error(_) => continue,
        };
        let Some(passed) = tally.take(passed) else { continue };
        if known != Some(passed) {
            known = Some(passed);
            let (run, kind) = (target.run.clone(), check.kind);
            if words.send(Word::Result { run, kind, passed }).is_err() {
                return;
            }
        }
        if is_final(check.kind, passed) {
            return;
        }
    }
}

fn is_final(kind: ProbeKind, passed: bool) -> bool {
    match kind {
        ProbeKind::Startup => true,
        ProbeKind::Liveness => !passed,
        ProbeKind::Readiness => false,
    }
}

/// The event of a check (kubelet `prober.probe`).
fn plan_event(kind: ProbeKind, outcome: &Outcome) -> Option<(&'static str, String)> {
    match outcome {
        Outcome::Success => None,
        Outcome::Warning(text) => Some(("ProbeWarning", format!("{kind} probe warning: {text}"))),
        Outcome::Failure(text) => Some(("Unhealthy", format!("{kind} probe failed: {text}"))),
        Outcome::Error(text) => Some((
            "Unhealthy",
            format!("{kind} probe errored and resulted in unknown state: {text}"),
        )),
    }
}
