//! Starting a supervisor, and knowing one again.

use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, WaitOptions};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::client::socket_of;
use super::record::{PodDir, SupervisorRecord, read_json};
use crate::runtime::{PodUid, RuntimeOptions, SandboxConfig};

/// What earlier supervisors of the pod said is kept up to this size; one of them says less.
const MAX_LOG: u64 = 128 << 10;

/// The variable that tells a supervisor how many descriptors it and its pod may have: the node has taken more for itself, and takes nothing
/// back before it starts a program, for that would keep the standard library from posix_spawn.
pub(super) const DESCRIPTORS: &str = "KUBELOCAL_DESCRIPTORS";

/// A supervisor's process, this node's child or not.
pub(super) struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process that a pod's record names, if it still is that process.
    pub fn find(dir: &PodDir) -> Option<Process> {
        let record: SupervisorRecord = read_json(&dir.supervisor())?;
        let pid = Pid::from_raw(record.pid)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Read after the pidfd was opened: if it is the same process now, the pidfd is its own.
        if SupervisorRecord::of(record.pid).ok()? != record {
            return None;
        }
        Some(Process {
            pid,
            pidfd: crate::os::watch_readable(pidfd).ok()?,
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Names it for the kernel, and never another one.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.get_ref().as_fd()
    }

    /// Waits until it has ended, and with it all that it ran; and reaps it if it is this process's child.
    ///
    /// Only this pid is waited for, so that whoever else has children here is not disturbed.
    pub async fn ended(&self) {
        // An error means that it cannot be polled, which a pidfd can.
        let _ = self.pidfd.readable().await;
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
    }

    /// Kills it, and so everything in the pod.
    pub fn kill(&self) {
        // It may be gone, which is what is wanted.
        let _ = rustix::process::pidfd_send_signal(self.pidfd.get_ref(), rustix::process::Signal::KILL);
    }
}

/// Starts the supervisor of a pod whose `sandbox.json` is written, and waits until it serves.
///
/// # Errors
/// It could not be started, or not make its namespaces; the text is for people.
pub(super) async fn start(options: &RuntimeOptions, dir: &PodDir, config: &SandboxConfig) -> Result<Process, String> {
    let (mut birth, mut first) = {
        let (options, dir, config) = (options.clone(), dir.clone(), config.clone());
        let begun = tokio::task::spawn_blocking(move || spawn(&options, &dir, &config)).await;
        begun
            .map_err(|e| e.to_string())?
            .map_err(|e| format!("pod supervisor: {e}"))?
    };
    let mut said = String::new();
    birth
        .read_to_string(&mut said)
        .await
        .map_err(|e| format!("pod supervisor: {e}"))?;
    // It forked and ended before the pipe was closed by the other.
    let _ = first.wait();
    let process = Process::find(dir);
    if said == "ready\n" {
        return process.ok_or_else(|| "the pod supervisor ended at once".to_owned());
    }
    if let Some(process) = process {
        process.kill();
        process.ended().await;
    }
    match said.strip_prefix("error ") {
        Some(text) => Err(format!("pod supervisor: {}", text.trim_end())),
        None => Err("the pod supervisor ended before it was ready".to_owned()),
    }
}

fn spawn(options: &RuntimeOptions, dir: &PodDir, config: &SandboxConfig) -> io::Result<(pipe::Receiver, Child)> {
    // Before anything else: from here to the supervisor's end, and whoever dies meanwhile, the pod is taken.
    let Some(log) = dir.lock()? else {
        return Err(io::Error::other("the pod has one already"));
    };
    if log.metadata()?.len() > MAX_LOG {
        log.set_len(0)?;
    }
    let listener = listen(&options.run_dir, &config.uid)?;
    let (birth, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Without pre-exec hooks, and without a directory either, which the supervisor changes itself: so the standard library uses
    // posix_spawn. Forking a large process is slow.
    let first = Command::new(&options.supervisor_exe)
        .arg0("kubelocal")
        .arg("pod-supervisor")
        .arg(format!("{}/{}", config.namespace, config.name))
        .arg(dir.path())
        .env_clear()
        .envs(crate::os::ordinary_descriptors().map(|most| (DESCRIPTORS, most.to_string())))
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::from(tell))
        .stderr(Stdio::from(log))
        .spawn()?;
    Ok((pipe::Receiver::from_owned_fd(birth)?, first))
}

fn listen(run_dir: &Path, pod: &PodUid) -> io::Result<UnixListener> {
    let socket = socket_of(run_dir, pod)?;
    // One of a supervisor that is gone.
    let _ = std::fs::remove_file(socket.path());
    let listener = UnixListener::bind(socket.path())?;
    std::fs::set_permissions(socket.path(), Permissions::from_mode(0o600))?;
    Ok(listener)
}
