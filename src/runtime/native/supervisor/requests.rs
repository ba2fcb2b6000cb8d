//! What the node may ask, and how it is done.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use libcontainer::oci_spec::runtime::Spec;

use super::super::oci::{self, Bundle, Launched};
use super::super::record::write_json;
use super::super::rootfs;
use super::super::spec::{Place, plan_exec};
use super::super::wire::{Fault, Reply, Request, State};
use super::cgroup;
use super::container::{Container, Stage};
use super::jobs::{self, Job, Purpose, Streams};
use super::output::Source;
use super::peers::{kill, list};
use super::poller::{self, Token};
use super::{Exec, LAST_GRACE, Leaving, Supervisor, Watched};
use crate::runtime::{AttachConfig, ContainerConfig, ContainerId, ExecConfig, Exit, Stop};

impl Supervisor {
    pub(super) fn serve(&mut self, peer: Token, request: Request, fds: Vec<OwnedFd>) {
        let done = match request {
            Request::Watch => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.watches = true;
                }
                return;
            }
            Request::Create(config) => self.create(*config),
            Request::Start(id) => match self.start(peer, &id) {
                // The answer comes when the process runs.
                Ok(false) => return,
                Ok(true) => Ok(()),
                Err(fault) => Err(fault),
            },
            Request::Stop {
                id,
                signal,
                grace_ms,
                is_drain,
            } => {
                let grace = Duration::from_millis(grace_ms);
                self.stop(
                    &id,
                    &Stop {
                        signal,
                        grace,
                        is_drain,
                    },
                )
            }
            Request::Resize(resize) => self.resize(&resize),
            Request::Remove(id) => self.remove(&id),
            Request::Exec(id, exec) => match self.exec(peer, &id, &exec, fds) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::Attach(id, attach) => match self.attach(peer, &id, &attach, fds) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            },
            Request::Usage => {
                let used = self.usage();
                return self.reply(peer, &Reply::Used(used), &[]);
            }
            Request::Shutdown => return self.shut_down(peer),
        };
        let reply = done.map_or_else(Reply::Failed, |()| Reply::Done);
        self.reply(peer, &reply, &[]);
    }

    fn container(&mut self, id: &ContainerId) -> Result<&mut Container, Fault> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| Fault::NoContainer(id.clone()))
    }

    fn create(&mut self, config: ContainerConfig) -> Result<(), Fault> {
        if self.containers.contains_key(&config.id) {
            return Ok(());
        }
        if self.leaving.is_some() {
            return Err(Fault::Create("the sandbox is being stopped".to_owned()));
        }
        let dir = self.dir.container(&config.name, config.attempt);
        let dir =
            dir.ok_or_else(|| Fault::Create(format!("container name {:?} cannot name a directory", config.name)))?;
        let bundle = Bundle {
            id: config.id.0.clone(),
            path: self.dir.run().join("bundles").join(&config.id.0),
            state: self.dir.run().join("oci"),
            seccomp_cache: self.record.run_dir.join("seccomp"),
            tty: config.tty,
            has_cgroup: self.cgroup.as_ref().is_some_and(|group| group.oci_path("").is_some()),
        };
        let id = config.id.clone();
        let cgroup = self.cgroup.as_ref().and_then(|group| group.oci_path(&id.0));
        let mount_points = rootfs::mount_points(&self.record.run_dir);
        let place = self.place_of(&config)?;
        let container = Container::create(config, dir, bundle, &place, &mount_points, cgroup);
        let container = container?;
        self.limit(&container)?;
        self.containers.insert(id, container);
        self.tell_watchers();
        Ok(())
    }

    /// The facts of the place for one container: it may want to see another one's processes.
    fn place_of(&self, config: &ContainerConfig) -> Result<Place, Fault> {
        let mut place = self.place.clone();
        let sees_its_own = place.pid_namespace.is_none() && !place.host_pid;
        if let Some(target) = config.pid_target.as_ref().filter(|_| sees_its_own) {
            let target = self.containers.get(target).map(|container| &container.stage);
            let Some(Stage::Running(running)) = target else {
                return Err(Fault::Create("the target container does not run".to_owned()));
            };
            // Its number is its own for as long as this process has not reaped it.
            place.pid_namespace = Some(PathBuf::from(format!("/proc/{}/ns/pid", running.pid)));
        }
        Ok(place)
    }

    /// Begins a start. True if it runs already.
    fn start(&mut self, peer: Token, id: &ContainerId) -> Result<bool, Fault> {
        let container = self.container(id)?;
        match container.stage {
            Stage::Running(_) => return Ok(true),
            Stage::Exited => return Err(Fault::WrongState(id.clone(), State::Exited)),
            Stage::Starting => {
                container.starters.push(peer);
                return Ok(false);
            }
            Stage::Created => {}
        }
        container.stage = Stage::Starting;
        container.starters.push(peer);
        if let Err(text) = self.fork_start(id) {
            self.start_failed(id, text);
        }
        Ok(false)
    }

    fn fork_start(&mut self, id: &ContainerId) -> Result<(), String> {
        let io = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
        let Some(container) = self.containers.get_mut(id) else {
            return Ok(());
        };
        container.output.open(&container.config.log_path).map_err(io("log"))?;
        let (mut streams, mut outputs) = (Streams::default(), Vec::new());
        if !container.config.tty {
            let (out, err) = (pipe().map_err(io("pipe"))?, pipe().map_err(io("pipe"))?);
            (streams.stdout, streams.stderr) = (Some(out.1), Some(err.1));
            outputs = vec![(Source::Out, out.0), (Source::Err, err.0)];
            if container.config.stdin {
                let (input, write) = pipe().map_err(io("pipe"))?;
                (streams.stdin, container.stdin) = (Some(input), Some(write));
            }
        }
        let (bundle, program) = (container.bundle.clone(), self.record.oci_runtime.clone());
        let group = self.cgroup.as_ref();
        let job = jobs::fork_job(streams, || {
            cgroup::enter(group, id)?;
            oci::chosen(program.as_ref()).run(&bundle)
        });
        let job = job.map_err(io("fork"))?;
        for (source, fd) in outputs {
            self.read_output(id, source, fd).map_err(io("epoll"))?;
        }
        self.watch_job(job, Purpose::Start(id.clone())).map_err(io("epoll"))
    }

    fn read_output(&mut self, id: &ContainerId, source: Source, fd: OwnedFd) -> std::io::Result<()> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        self.poller
            .add(&fd, poller::READABLE, Watched::Output(id.clone(), source))?;
        if let Some(container) = self.containers.get_mut(id) {
            container.output.read_from(source, fd);
        }
        Ok(())
    }

    fn watch_job(&mut self, (pid, answer): (i32, OwnedFd), purpose: Purpose) -> std::io::Result<()> {
        let token = self.poller.add(&answer, poller::READABLE, Watched::Job)?;
        self.jobs.insert(token, Job::new(pid, answer, purpose));
        Ok(())
    }

    /// A job has answered, or died.
    pub(super) fn finish_job(&mut self, token: Token) {
        self.poller.forget(token);
        let Some(job) = self.jobs.remove(&token) else { return };
        let outcome = jobs::outcome(&job.answer);
        let pid = outcome.as_ref().ok().map(|launched| launched.pid);
        match job.purpose {
            Purpose::Start(id) => self.finish_start(&id, outcome),
            Purpose::Exec { exec, process } => {
                let _ = std::fs::remove_file(process);
                self.finish_exec(exec, outcome);
            }
        }
        // It may have ended before it was known who it is.
        if let Some(pid) = pid
            && let Some(ended) = self.early.remove(&pid)
        {
            self.process_ended(pid, ended);
        }
        if self.jobs.is_empty() {
            self.early.clear();
        }
    }

    fn finish_start(&mut self, id: &ContainerId, outcome: Result<Launched, String>) {
        let started = outcome.and_then(|launched| self.set_running(id, launched));
        match started {
            Ok(()) => {
                self.answer_starters(id, &Reply::Done);
                self.tell_watchers();
            }
            Err(text) if self.was_out_of_memory(id) => {
                self.start_failed(
                    id,
                    format!("its limit of memory is too low for it to be started: {text}"),
                );
            }
            Err(text) => self.start_failed(id, text),
        }
    }

    fn set_running(&mut self, id: &ContainerId, launched: Launched) -> Result<(), String> {
        if let Some(terminal) = &launched.terminal {
            let reader = terminal.try_clone().map_err(|e| format!("terminal: {e}"))?;
            self.read_output(id, Source::Out, reader)
                .map_err(|e| format!("terminal: {e}"))?;
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.set_running(launched);
        }
        Ok(())
    }

    /// Records that a container never ran, as containerd does, and tells who waited.
    fn start_failed(&mut self, id: &ContainerId, text: String) {
        let exit = Exit {
            started_at: None,
            finished_at: Timestamp::now(),
            code: 128,
            signal: None,
            reason: "StartError".to_owned(),
            message: text.clone(),
            was_drained: false,
        };
        self.record_exit(id, exit);
        self.answer_starters(id, &Reply::Failed(Fault::Start(text)));
    }

    fn answer_starters(&mut self, id: &ContainerId, reply: &Reply) {
        let starters = self
            .containers
            .get_mut(id)
            .map(|c| std::mem::take(&mut c.starters))
            .unwrap_or_default();
        for peer in starters {
            self.reply(peer, reply, &[]);
        }
    }

    fn stop(&mut self, id: &ContainerId, stop: &Stop) -> Result<(), Fault> {
        let container = self.container(id)?;
        match container.stage {
            Stage::Exited => {}
            Stage::Starting | Stage::Running(_) => container.stop(stop),
            Stage::Created => {
                let now = Timestamp::now();
                let exit = Exit {
                    started_at: None,
                    finished_at: now,
                    code: 137,
                    signal: None,
                    reason: "Error".to_owned(),
                    message: "stopped before it was started".to_owned(),
                    was_drained: stop.is_drain,
                };
                self.record_exit(id, exit);
            }
        }
        Ok(())
    }

    fn remove(&mut self, id: &ContainerId) -> Result<(), Fault> {
        let container = self.container(id)?;
        let state = match container.stage {
            Stage::Created | Stage::Exited => None,
            Stage::Starting => Some(State::Starting),
            Stage::Running(_) => Some(State::Running),
        };
        if let Some(state) = state {
            return Err(Fault::WrongState(id.clone(), state));
        }
        container
            .remove()
            .map_err(|e| Fault::Sandbox(format!("removing container {id}: {e}")))?;
        let is_its = |watched: &Watched| matches!(watched, Watched::Output(of, _) | Watched::Sink(of) if of == id);
        for token in self.poller.tokens_of(is_its) {
            self.poller.forget(token);
        }
        self.containers.remove(id);
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove_leaf(&id.0);
        }
        self.tell_watchers();
        Ok(())
    }

    fn exec(&mut self, peer: Token, id: &ContainerId, exec: &ExecConfig, fds: Vec<OwnedFd>) -> Result<(), Fault> {
        let container = self.container(id)?;
        let state = match &container.stage {
            Stage::Running(running) => Ok(running.pid),
            Stage::Created => Err(State::Created),
            Stage::Starting => Err(State::Starting),
            Stage::Exited => Err(State::Exited),
        };
        let first = state.map_err(|state| Fault::WrongState(id.clone(), state))?;
        let bundle = Bundle {
            tty: exec.tty,
            ..container.bundle.clone()
        };
        let process = bundle.path.join(format!("exec-{peer}.json"));
        let program = self.record.oci_runtime.clone();
        let (streams, group) = (exec_streams(exec, fds), self.cgroup.as_ref());
        let job = jobs::fork_job(streams, || {
            write_process(&bundle, &process, exec)?;
            cgroup::enter(group, id)?;
            oci::chosen(program.as_ref()).exec(&bundle, &process, first)
        });
        let job = job.and_then(|job| {
            self.watch_job(
                job,
                Purpose::Exec {
                    exec: Exec {
                        peer,
                        dies_with_peer: exec.dies_with_session,
                    },
                    process: process.clone(),
                },
            )
        });
        job.map_err(|e| Fault::Start(format!("fork: {e}")))
    }

    fn finish_exec(&mut self, exec: Exec, outcome: Result<Launched, String>) {
        let peer = exec.peer;
        match outcome {
            Ok(launched) => {
                self.reply(peer, &Reply::Started, &list(launched.terminal.as_ref()));
                if self.is_connected(peer) {
                    self.execs.insert(launched.pid, exec);
                } else if exec.dies_with_peer && !self.early.contains_key(&launched.pid) {
                    kill(launched.pid);
                }
            }
            Err(text) => {
                self.reply(peer, &Reply::Failed(Fault::Start(text)), &[]);
                self.hang_up(peer);
            }
        }
    }

    fn attach(&mut self, peer: Token, id: &ContainerId, ask: &AttachConfig, fds: Vec<OwnedFd>) -> Result<(), Fault> {
        let container = self.container(id)?;
        let state = match container.stage {
            Stage::Running(_) => None,
            Stage::Created => Some(State::Created),
            Stage::Starting => Some(State::Starting),
            Stage::Exited => Some(State::Exited),
        };
        if let Some(state) = state {
            return Err(Fault::WrongState(id.clone(), state));
        }
        let mut fds = fds.into_iter();
        let attached = container.output.attach(peer, fds.next(), fds.next());
        attached.map_err(|e| Fault::Start(format!("attach: {e}")))?;
        container.attached.push(peer);
        let tty = container.terminal.is_some();
        let input = if tty {
            container.terminal.as_ref()
        } else {
            container.stdin.as_ref().filter(|_| ask.stdin)
        };
        let input = input.map(OwnedFd::try_clone).transpose();
        let input = input.map_err(|e| Fault::Start(format!("attach: {e}")))?;
        if ask.stdin && container.config.stdin_once {
            // The one who attached holds the last write end now: when it closes, the container sees the end.
            container.stdin = None;
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.attached = Some(id.clone());
        }
        self.reply(
            peer,
            &Reply::Attached {
                tty,
                input: input.is_some(),
            },
            &list(input.as_ref()),
        );
        Ok(())
    }

    fn shut_down(&mut self, peer: Token) {
        let all: Vec<ContainerId> = self.containers.keys().cloned().collect();
        for id in all {
            // It cannot fail for a container that is there.
            let _ = self.stop(&id, &Stop::KILL);
        }
        let leaving = self.leaving.get_or_insert_with(|| Leaving {
            asked_by: Vec::new(),
            until: Instant::now() + LAST_GRACE,
        });
        leaving.asked_by.push(peer);
    }
}

fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// The node's descriptors in the order of the protocol.
fn exec_streams(exec: &ExecConfig, fds: Vec<OwnedFd>) -> Streams {
    let mut fds = fds.into_iter();
    let stdin = if exec.stdin && !exec.tty { fds.next() } else { None };
    Streams {
        stdin,
        stdout: fds.next(),
        stderr: fds.next(),
    }
}

/// Writes the description of a command's process. In the job, because it takes reading the bundle's whole config.
fn write_process(bundle: &Bundle, path: &Path, exec: &ExecConfig) -> Result<(), String> {
    let spec = Spec::load(bundle.path.join("config.json")).map_err(|e| format!("bundle config: {e}"))?;
    let process = spec.process().as_ref().ok_or("the bundle's config has no process")?;
    write_json(path, &plan_exec(process, exec), false).map_err(|e| format!("{}: {e}", path.display()))
}
