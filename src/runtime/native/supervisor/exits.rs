//! What ends: children reaped, and what follows for containers and commands.

use jiff::Timestamp;
use rustix::process::{WaitOptions, WaitStatus};

use super::super::wire::Reply;
use super::container::Stage;
use super::output::{self, Pumped, Source};
use super::{Supervisor, Watched, processes};
use crate::runtime::{ContainerId, Exit};

/// How many reads empty the largest pipe an unprivileged user can have (1 MiB); a read that gets less than it asked for has
/// emptied it.
const MAX_DRAIN: usize = 2 * (1 << 20) / output::CHUNK;

/// As a shell counts SIGKILL.
const KILLED: i32 = 128 + libc::SIGKILL;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// As a shell counts: 128 + the signal's number if one ended it.
    pub code: i32,
    pub signal: Option<i32>,
}

impl Ended {
    fn of(status: WaitStatus) -> Ended {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended { code, signal: None },
            (None, Some(signal)) => Ended {
                code: 128 + signal,
                signal: Some(signal),
            },
            (None, None) => Ended {
                code: 255,
                signal: None,
            },
        }
    }
}

impl Supervisor {
    /// Reaps everything that ended: containers, commands, jobs, and orphans of all of them, since this is PID 1.
    pub(super) fn reap(&mut self) {
        // One signal may stand for many children; the descriptor is emptied and all are looked for.
        let _ = rustix::io::read(&self.signals, &mut [0; 1024]);
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            self.process_ended(pid.as_raw_nonzero().get(), Ended::of(status));
        }
    }

    pub(super) fn process_ended(&mut self, pid: i32, ended: Ended) {
        if let Some(id) = self.container_of(pid) {
            self.container_ended(&id, ended);
        } else if let Some(exec) = self.execs.remove(&pid) {
            self.reply(exec.peer, &Reply::Ended(ended.code), &[]);
            self.hang_up(exec.peer);
        } else if let Some(job) = self
            .jobs
            .iter()
            .find(|(_, job)| job.pid == pid)
            .map(|(token, _)| *token)
        {
            self.finish_job(job);
        } else if !self.jobs.is_empty() {
            // Perhaps one that a job is just about to name.
            self.early.insert(pid, ended);
        }
    }

    fn container_of(&self, pid: i32) -> Option<ContainerId> {
        let is_first = |stage: &Stage| matches!(stage, Stage::Running(running) if running.pid == pid);
        self.containers
            .iter()
            .find(|(_, container)| is_first(&container.stage))
            .map(|(id, _)| id.clone())
    }

    pub(super) fn container_ended(&mut self, id: &ContainerId, ended: Ended) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Stage::Running(running) = &container.stage else {
            return;
        };
        let (started_at, was_drained) = (running.started_at, container.is_drained());
        let is_of_host = self.place.host_pid;
        let shares_pids = is_of_host || self.place.pid_namespace.is_some() || container.config.pid_target.is_some();
        if shares_pids {
            // Those that made a mount namespace of their own are still in its control group.
            let (group, namespace) = (self.cgroup.as_ref(), running.mount_namespace);
            processes::kill_leftovers(|| {
                let in_group = group.map(|group| group.processes(&id.0)).unwrap_or_default();
                let in_namespace = namespace.map(processes::in_mount_namespace);
                let rooted = is_of_host.then(|| processes::rooted_in(&[id.0.as_str()].into()));
                let found = in_group.into_iter().chain(in_namespace.into_iter().flatten());
                found.chain(rooted.into_iter().flatten()).collect()
            });
        }
        self.drain(id);
        // What the kernel killed for want of memory may be a child, of which a shell tells by its own exit code.
        let out_of_memory = ended.code == KILLED && self.was_out_of_memory(id);
        let exit = plan_exit(started_at, Timestamp::now(), ended, out_of_memory);
        self.record_exit(id, Exit { was_drained, ..exit });
    }

    /// Writes the end down, then tells everyone.
    pub(super) fn record_exit(&mut self, id: &ContainerId, exit: Exit) {
        let code = exit.code;
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        container.set_exited(exit);
        container.output.end(&mut self.poller);
        let attached = std::mem::take(&mut container.attached);
        for peer in attached {
            self.reply(peer, &Reply::Ended(code), &[]);
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove_leaf(&id.0);
        }
        self.tell_watchers();
    }

    /// Reads what the container has written and nobody has read yet: at most what a pipe can hold, in case someone outside
    /// got hold of one and goes on writing. Theirs is read like any output until they close it.
    fn drain(&mut self, id: &ContainerId) {
        for source in [Source::Out, Source::Err] {
            let is_it = |watched: &Watched| matches!(watched, Watched::Output(of, from) if of == id && *from == source);
            let Some(token) = self.poller.tokens_of(is_it).pop() else {
                continue;
            };
            for _ in 0..MAX_DRAIN {
                if self.pump(token, id, source) != Pumped::Some {
                    break;
                }
            }
        }
    }

    /// Reads one source of a container once.
    pub(super) fn pump(&mut self, token: super::Token, id: &ContainerId, source: Source) -> Pumped {
        let Some(container) = self.containers.get_mut(id) else {
            self.poller.forget(token);
            return Pumped::End;
        };
        let pumped = container.output.pump(source, &mut self.buffer, &mut self.poller, token);
        container
            .output
            .settle_sinks(&mut self.poller, &Watched::Sink(id.clone()));
        pumped
    }

    pub(super) fn flush_sinks(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        container.output.flush();
        if matches!(container.stage, Stage::Exited) {
            container.output.end(&mut self.poller);
        }
        container
            .output
            .settle_sinks(&mut self.poller, &Watched::Sink(id.clone()));
    }
}

/// The record of an end.
fn plan_exit(started_at: Timestamp, finished_at: Timestamp, ended: Ended, out_of_memory: bool) -> Exit {
    let reason = match ended.code {
        _ if out_of_memory => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    };
    Exit {
        started_at: Some(started_at),
        finished_at,
        code: ended.code,
        signal: ended.signal,
        reason: reason.to_owned(),
        message: String::new(),
        was_drained: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_kubernetes_reasons() {
        let now = Timestamp::UNIX_EPOCH;
        let killed = Ended {
            code: 137,
            signal: Some(9),
        };
        for (ended, out_of_memory, reason) in [
            (Ended { code: 0, signal: None }, false, "Completed"),
            (Ended { code: 3, signal: None }, false, "Error"),
            (killed, false, "Error"),
            (killed, true, "OOMKilled"),
        ] {
            assert_eq!(plan_exit(now, now, ended, out_of_memory).reason, reason);
        }
    }
}
