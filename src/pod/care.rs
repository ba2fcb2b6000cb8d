//! The part of a worker that looks after running containers: probes asked, hooks run, words heard, runs brought to their ends.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use super::ending::{EndStep, Ending};
use super::execute::Execution;
use super::health::{PostStart, plan_probes};
use super::plan::is_finished;
use super::tasks::{Heard, Hook};
use super::worker::Worker;
use super::{Rooms, deadline, post_start, resize};
use crate::event::EventKind;
use crate::model::Object;
use crate::probe::{Target, Word, plan_hook};
use crate::runtime::{ContainerId, PodUid, SandboxStatus};

impl Worker {
    /// Where all that belongs to the pod lies.
    pub(super) fn directory(&self) -> PathBuf {
        self.rooms.host.pods_dir.join(&self.uid.0)
    }

    /// Takes a word down. Says whether the pod has to be looked at.
    pub(super) fn hear(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Probe(Word::Event { run, reason, message }) => {
                self.tell(&run, reason, &message);
                false
            }
            Heard::Probe(Word::Result { run, kind, passed }) => {
                self.memory.health.results.set(run, kind, passed);
                true
            }
            Heard::Hook { run, hook, outcome } => {
                self.hear_hook(&run, hook, outcome);
                true
            }
        }
    }

    /// What went wrong is not told in the event, for it may hold what a secret held (kubelet `startContainer`).
    fn hear_hook(&mut self, run: &ContainerId, hook: Hook, outcome: Result<(), String>) {
        if let Err(error) = &outcome {
            tracing::debug!(pod = %self.uid, %run, ?hook, error, "a hook failed");
        }
        let post_start = self.memory.health.post_start.get_mut(run);
        match (hook, outcome) {
            (Hook::PostStart, Ok(())) => {
                if let Some(state) = post_start {
                    *state = PostStart::Done;
                }
                self.note_post_start(run);
            }
            (Hook::PostStart, Err(_)) => {
                if let Some(state) = post_start {
                    *state = PostStart::Failed;
                }
                self.tell(run, "FailedPostStartHook", "PostStartHook failed");
            }
            (Hook::PreStop, outcome) => {
                if let Some(ending) = self.memory.endings.get_mut(run) {
                    ending.in_hook = false;
                }
                if outcome.is_err() {
                    self.tell(run, "FailedPreStopHook", "PreStopHook failed");
                }
            }
        }
    }

    /// Before anyone is told that the container has started.
    fn note_post_start(&self, run: &ContainerId) {
        let Some(name) = self.memory.names.get(run) else { return };
        if let Err(error) = post_start::note_done(&self.directory(), name, run) {
            tracing::warn!(pod = %self.uid, %run, %error, "that its postStart hook is done can't be written down");
        }
    }

    /// Tells of a run in the pod's events.
    fn tell(&self, run: &ContainerId, reason: &str, message: &str) {
        let object = self.desired.borrow().object.clone();
        let Ok(pod) = object.typed::<Pod>() else { return };
        let execution = Execution {
            rooms: &self.rooms,
            object: &object,
            pod: &pod,
            uid: &self.uid,
            tokens: &self.memory.tokens_of_volumes,
        };
        let name = self.memory.names.get(run).map(String::as_str);
        execution.event_of(name, EventKind::Warning, reason, message);
    }

    /// Runs that have ended have no health, no hooks and nothing before them.
    pub(super) fn forget_ended_runs(&mut self, observed: Option<&SandboxStatus>) {
        let runs = observed.into_iter().flat_map(|s| &s.containers);
        let names = runs
            .filter(|run| run.is_running())
            .map(|run| (run.id.clone(), run.name.clone()))
            .collect();
        let memory = &mut self.memory;
        memory.names = names;
        let runs = |run: &ContainerId| memory.names.contains_key(run);
        memory.health.retain(runs);
        memory.tasks.retain(runs);
        memory.endings.retain(|run, _| runs(run));
    }

    /// Lets the probes be asked that are due in a sandbox, and no others.
    pub(super) fn ask_probes(&mut self, pod: &Pod, sandbox: Option<&SandboxStatus>, is_ending: bool, now: Timestamp) {
        let planned = sandbox.map(|sandbox| plan_probes(pod, sandbox, &self.memory.health, is_ending, now));
        let ip = sandbox.and_then(|s| self.rooms.host.ip_of(s));
        let (rooms, uid) = (&self.rooms, &self.uid);
        let target = |run: &ContainerId| target(rooms, uid, run.clone(), ip);
        self.memory.tasks.ask(planned.unwrap_or_default(), target);
    }

    /// Starts the postStart hook of a run that has just been started, if its container has one.
    pub(super) fn begin_post_start(
        &mut self,
        execution: &Execution<'_>,
        name: &str,
        run: ContainerId,
        ip: Option<IpAddr>,
    ) {
        let Some(container) = execution.container(name) else {
            return;
        };
        if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) {
            self.memory.health.post_start.insert(run.clone(), PostStart::Runs);
            self.run_hook(&container, run, ip, (Hook::PostStart, hook));
        }
    }

    /// Sends the postStart hooks again that were under way when an earlier node died.
    pub(super) fn take_up_post_start(&mut self, pod: &Pod, sandbox: Option<&SandboxStatus>, is_ending: bool) {
        let Some(sandbox) = sandbox.filter(|sandbox| sandbox.alive) else {
            return;
        };
        let is_ending = is_ending || self.draining.get().is_some();
        let directory = self.directory();
        let ip = self.rooms.host.ip_of(sandbox);
        for (container, run) in post_start::plan_unknown(pod, sandbox, &self.memory.health) {
            let is_done = post_start::is_done(&directory, &container.name, &run);
            let state = if is_done { PostStart::Done } else { PostStart::Runs };
            self.memory.health.post_start.insert(run.clone(), state);
            let hook = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
            if let Some(hook) = hook.filter(|_| !is_done && !is_ending) {
                self.run_hook(container, run, ip, (Hook::PostStart, hook));
            }
        }
    }

    fn run_hook(
        &mut self,
        container: &Container,
        run: ContainerId,
        ip: Option<IpAddr>,
        (which, hook): (Hook, &LifecycleHandler),
    ) {
        let target = target(&self.rooms, &self.uid, run, ip);
        self.memory.tasks.run_hook(target, which, plan_hook(hook, container));
    }

    /// Brings runs nearer to their ends.
    pub(super) async fn end(&mut self, execution: &Execution<'_>, steps: &[EndStep], sandbox: &SandboxStatus) {
        // What is deleted as well does not run again.
        let is_drain = self.draining.get().is_some() && !execution.object.is_deleting();
        for step in steps {
            let run = sandbox.containers.iter().find(|run| run.id == step.run);
            let run = run.expect("plans end what was observed");
            if let Some(message) = &step.tell {
                execution.event_of(Some(&run.name), EventKind::Normal, "Killing", message);
            }
            let container = execution.container(&run.name);
            let lifecycle = container.as_ref().and_then(|c| c.lifecycle.as_ref());
            let hook = lifecycle.and_then(|l| l.pre_stop.as_ref()).filter(|_| step.runs_hook);
            if let (Some(container), Some(hook)) = (&container, hook) {
                let ip = self.rooms.host.ip_of(sandbox);
                self.run_hook(container, run.id.clone(), ip, (Hook::PreStop, hook));
            }
            let before = self.memory.endings.get(&run.id);
            let ending = Ending {
                deadline: step.deadline,
                in_hook: hook.is_some() || before.is_some_and(|e| e.in_hook),
                kill_at: step.signal.or_else(|| before.and_then(|e| e.kill_at)),
            };
            self.memory.endings.insert(run.id.clone(), ending);
            if let Some(kill_at) = step.signal {
                let grace = kill_at.duration_since(self.rooms.clock.now());
                let grace = Duration::try_from(grace).unwrap_or_default();
                let gives_way = execution
                    .container(&run.name)
                    .is_some_and(|container| resize::needs_restart(&container, run));
                execution.stop(run, grace, is_drain || gives_way).await;
            }
        }
    }

    /// Tells once that the pod's time is over: before its status says so.
    pub(super) fn tell_deadline(&mut self, object: &Object, pod: &Pod, observed: Option<&SandboxStatus>) {
        let is_known = pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some(deadline::REASON);
        let is_over = pod.metadata.deletion_timestamp.is_none() && deadline::is_exceeded(pod, self.rooms.clock.now());
        if is_over && !is_known && !self.memory.is_late && !is_finished(pod, observed) {
            self.memory.is_late = true;
            let recorder = &self.rooms.recorder;
            recorder.event(object, EventKind::Normal, deadline::REASON, deadline::MESSAGE);
        }
    }
}

/// A run, for who asks it.
fn target(rooms: &Rooms, pod: &PodUid, run: ContainerId, ip: Option<IpAddr>) -> Target {
    Target {
        runtime: rooms.runtime.clone(),
        pod: pod.clone(),
        run,
        ip,
    }
}
