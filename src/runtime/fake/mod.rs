//! A runtime for tests of other rooms: no processes, only their words.
//!
//! Containers "run" until told to end, or as long as their [`Script`] says on tokio's clock, which tests pause. Every
//! call is recorded, and any call can be made to fail. It keeps the contract of [`super::Runtime`]: repeating a call changes
//! nothing, the earlier deadline of two stops holds, and a sandbox whose supervisor "died" has only ended containers.

mod calls;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{
    ContainerConfig, ContainerId, ContainerState, Controller, Exit, PodUid, PodUsage, RuntimeError, SandboxConfig,
    SandboxStatus, Stop, Usage,
};

/// Which call of [`super::Runtime`] was made, in the order of the trait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// `run_pod_sandbox`
    RunSandbox,
    /// `stop_pod_sandbox`
    StopSandbox,
    /// `remove_pod_sandbox`
    RemoveSandbox,
    /// `create_container`
    Create,
    /// `start_container`
    Start,
    /// `stop_container`
    Stop,
    /// `resize`
    Resize,
    /// `remove_container`
    Remove,
    /// `exec`
    Exec,
    /// `attach`
    Attach,
    /// `connect`
    Connect,
}

/// One recorded call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub verb: Verb,
    /// Of which pod.
    pub pod: PodUid,
    /// The container's name; empty for calls on the sandbox.
    pub container: String,
}

/// How the runs of a container behave.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Ends by itself after this time with this code; `None` runs until told.
    pub exit: Option<(Duration, i32)>,
    /// Ends only by SIGKILL when asked to stop.
    pub ignores_signals: bool,
    /// What commands executed in it return.
    pub exec_code: i32,
    /// How long they take.
    pub exec_takes: Duration,
}

struct FakeContainer {
    config: ContainerConfig,
    state: ContainerState,
    kill_at: Option<Instant>,
    is_drained: bool,
}

struct FakeSandbox {
    config: SandboxConfig,
    alive: bool,
    created_at: Timestamp,
    containers: Vec<FakeContainer>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<PodUid, FakeSandbox>,
    scripts: HashMap<String, Script>,
    usages: HashMap<String, Usage>,
    failures: HashMap<Verb, VecDeque<String>>,
    calls: Vec<Call>,
}

/// The runtime itself; clones are the same one.
#[derive(Clone)]
pub struct FakeRuntime {
    // Held for a few lines at a time and never across an await: tests call from several tasks.
    state: Arc<Mutex<State>>,
    epoch: (Timestamp, Instant),
    hints: mpsc::UnboundedSender<PodUid>,
    receiver: Arc<Mutex<Option<mpsc::UnboundedReceiver<PodUid>>>>,
}

impl FakeRuntime {
    /// A runtime with nothing in it whose wall clock says `now`, and goes on with tokio's clock.
    pub fn new(now: Timestamp) -> FakeRuntime {
        let (hints, receiver) = mpsc::unbounded_channel();
        FakeRuntime {
            state: Arc::default(),
            epoch: (now, Instant::now()),
            hints,
            receiver: Arc::new(Mutex::new(Some(receiver))),
        }
    }

    /// Sets how the containers of this name behave from their next start on.
    pub fn script(&self, container: &str, script: Script) {
        self.lock().scripts.insert(container.to_owned(), script);
    }

    /// Sets what the runs of containers of this name have used.
    pub fn set_usage(&self, container: &str, usage: Usage) {
        self.lock().usages.insert(container.to_owned(), usage);
    }

    /// Makes the next call of this kind fail with this text; several calls queue up.
    pub fn fail_next(&self, verb: Verb, text: &str) {
        self.lock().failures.entry(verb).or_default().push_back(text.to_owned());
    }

    /// Everything that was asked, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Ends the newest run of a container with this code. Says whether one was running.
    pub fn exit(&self, pod: &PodUid, container: &str, code: i32) -> bool {
        let id = self.lock().sandboxes.get(pod).and_then(|sandbox| {
            sandbox
                .containers
                .iter()
                .rev()
                .find(|c| c.config.name == container)
                .map(|c| c.config.id.clone())
        });
        id.is_some_and(|id| self.end(pod, &id, code, None))
    }

    /// Kills the supervisor: what ran in the sandbox is gone, and how it ended is not known.
    pub fn kill_supervisor(&self, pod: &PodUid) {
        let now = self.now();
        if let Some(sandbox) = self.lock().sandboxes.get_mut(pod) {
            sandbox.alive = false;
            for container in &mut sandbox.containers {
                if let ContainerState::Running { started_at } = container.state {
                    container.state =
                        ContainerState::Exited(exit(Some(started_at), now, 137, None, "ContainerStatusUnknown"));
                }
            }
        }
        self.hint(pod);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the fake's lock")
    }

    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.epoch.1.elapsed()).unwrap_or(SignedDuration::MAX);
        self.epoch.0.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn hint(&self, pod: &PodUid) {
        // Nobody may be listening, which is what a hint allows.
        let _ = self.hints.send(pod.clone());
    }

    /// Records the call and says how it was told to fail, if it was.
    fn record(&self, verb: Verb, pod: &PodUid, container: &str) -> Option<String> {
        let mut state = self.lock();
        state.calls.push(Call {
            verb,
            pod: pod.clone(),
            container: container.to_owned(),
        });
        state.failures.get_mut(&verb).and_then(VecDeque::pop_front)
    }

    fn name_of(&self, pod: &PodUid, id: &ContainerId) -> String {
        let state = self.lock();
        let found = state
            .sandboxes
            .get(pod)
            .and_then(|s| s.containers.iter().find(|c| c.config.id == *id));
        found.map(|c| c.config.name.clone()).unwrap_or_default()
    }

    fn with<T>(
        &self,
        pod: &PodUid,
        id: &ContainerId,
        work: impl FnOnce(&mut FakeContainer) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let mut state = self.lock();
        let sandbox = state
            .sandboxes
            .get_mut(pod)
            .ok_or_else(|| RuntimeError::NoSandbox(pod.clone()))?;
        let container = sandbox.containers.iter_mut().find(|c| c.config.id == *id);
        work(container.ok_or_else(|| RuntimeError::NoContainer(id.clone()))?)
    }

    fn end(&self, pod: &PodUid, id: &ContainerId, code: i32, signal: Option<i32>) -> bool {
        let now = self.now();
        let ended = self.with(pod, id, |container| {
            let ContainerState::Running { started_at } = container.state else {
                return Ok(false);
            };
            let reason = if code == 0 { "Completed" } else { "Error" };
            let was_drained = container.is_drained;
            let exit = exit(Some(started_at), now, code, signal, reason);
            container.state = ContainerState::Exited(Exit { was_drained, ..exit });
            Ok(true)
        });
        let ended = ended.unwrap_or(false);
        if ended {
            self.hint(pod);
        }
        ended
    }

    fn end_later(&self, pod: &PodUid, id: &ContainerId, after: Duration, code: i32, signal: Option<i32>) {
        let (fake, pod, id) = (self.clone(), pod.clone(), id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            fake.end(&pod, &id, code, signal);
        });
    }

    fn start(&self, pod: &PodUid, id: &ContainerId) -> Result<(), RuntimeError> {
        let (now, name) = (self.now(), self.name_of(pod, id));
        let script = self.lock().scripts.get(&name).cloned().unwrap_or_default();
        let started = self.with(pod, id, |container| match &container.state {
            ContainerState::Created => {
                container.state = ContainerState::Running { started_at: now };
                Ok(true)
            }
            ContainerState::Running { .. } => Ok(false),
            ContainerState::Exited(_) => Err(RuntimeError::WrongState {
                id: id.clone(),
                state: "exited",
            }),
        })?;
        if started {
            self.hint(pod);
            if let Some((after, code)) = script.exit {
                self.end_later(pod, id, after, code, None);
            }
        }
        Ok(())
    }

    fn stop(&self, pod: &PodUid, id: &ContainerId, stop: &Stop) -> Result<(), RuntimeError> {
        let name = self.name_of(pod, id);
        let script = self.lock().scripts.get(&name).cloned().unwrap_or_default();
        let deadline = Instant::now() + stop.grace;
        let nearer = self.with(pod, id, |container| {
            let nearer = container.kill_at.is_none_or(|at| deadline < at);
            if nearer {
                container.kill_at = Some(deadline);
                container.is_drained = stop.is_drain;
            }
            Ok(nearer)
        })?;
        if !script.ignores_signals && stop.signal != libc::SIGKILL {
            self.end(pod, id, 128 + stop.signal, Some(stop.signal));
        } else if nearer {
            self.end_later(pod, id, stop.grace, 128 + libc::SIGKILL, Some(libc::SIGKILL));
        }
        Ok(())
    }

    fn stop_sandbox(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        let running: Vec<ContainerId> = match self.lock().sandboxes.get_mut(pod) {
            Some(sandbox) => {
                sandbox.alive = false;
                sandbox.containers.iter().map(|c| c.config.id.clone()).collect()
            }
            None => return Ok(()),
        };
        for id in running {
            self.end(pod, &id, 137, Some(libc::SIGKILL));
        }
        self.hint(pod);
        Ok(())
    }

    fn usages(&self) -> Vec<PodUsage> {
        let state = self.lock();
        let sandboxes = state.sandboxes.iter();
        let of_pod = |(pod, sandbox): (&PodUid, &FakeSandbox)| {
            let running = |c: &&FakeContainer| matches!(c.state, ContainerState::Running { .. });
            let runs = sandbox.containers.iter().filter(running);
            let used = |c: &FakeContainer| {
                let usage = state.usages.get(&c.config.name).copied();
                (c.config.id.clone(), usage.unwrap_or_default())
            };
            PodUsage {
                pod: pod.clone(),
                containers: runs.map(used).collect(),
            }
        };
        sandboxes.map(of_pod).collect()
    }

    fn statuses(&self) -> Vec<SandboxStatus> {
        self.lock().sandboxes.values().map(FakeSandbox::status).collect()
    }
}

impl FakeSandbox {
    fn status(&self) -> SandboxStatus {
        SandboxStatus {
            config: self.config.clone(),
            alive: self.alive,
            ips: Vec::new(),
            controllers: Controller::LIMITING.into(),
            created_at: self.created_at,
            containers: self
                .containers
                .iter()
                .map(|c| c.config.status(c.state.clone()))
                .collect(),
        }
    }
}

fn exit(started_at: Option<Timestamp>, now: Timestamp, code: i32, signal: Option<i32>, reason: &str) -> Exit {
    Exit {
        started_at,
        finished_at: now,
        code,
        signal,
        reason: reason.to_owned(),
        message: String::new(),
        was_drained: false,
    }
}
