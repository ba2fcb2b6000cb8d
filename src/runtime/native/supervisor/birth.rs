//! How a supervisor comes into its namespaces, and is known to be there before it does anything.
//!
//! The process that the node starts only unshares and forks: the child is PID 1 of the new pid namespace. Before it goes on, its
//! pid is on disk, so a node that dies at any moment of this leaves a supervisor that the next node finds, or none. That it
//! never has two is the lock's matter, which the node took on what is this process's standard error.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::UnshareFlags;

use super::super::record::{NetworkRecord, PodDir, SandboxRecord, SupervisorRecord, read_json, write_json};
use super::super::sys;
use crate::net;

/// What a supervisor is born with.
pub(super) struct Born {
    pub dir: PodDir,
    pub record: SandboxRecord,
    /// The node's network namespace, if there is one.
    pub node_network: Option<OwnedFd>,
}

/// Forks into new namespaces; returns in the child.
///
/// # Errors
/// The text is for people.
pub(super) fn begin(dir: PodDir, birth: &OwnedFd) -> Result<Born, String> {
    let record: SandboxRecord = read_json(&dir.sandbox()).ok_or("sandbox.json cannot be read")?;
    let node_network = record.network.as_ref().map(open_node_network).transpose()?;
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWUTS;
    if !record.config.host_pid {
        flags |= UnshareFlags::NEWPID;
    }
    if !record.config.host_ipc {
        flags |= UnshareFlags::NEWIPC;
    }
    if !record.config.host_network {
        flags |= UnshareFlags::NEWNET;
    }
    sys::unshare(flags).map_err(|e| format!("new namespaces: {e}"))?;
    let go = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| format!("pipe: {e}"))?;
    match sys::fork().map_err(|e| format!("fork: {e}"))? {
        sys::Fork::Parent(pid) => {
            let known = SupervisorRecord::of(pid).and_then(|record| write_json(&dir.supervisor(), &record, false));
            if let Err(error) = known.and_then(|()| File::from(go.1).write_all(b"!")) {
                // The child sees the pipe end and goes.
                tell(birth, &format!("error supervisor.json: {error}\n"));
                std::process::exit(1);
            }
            std::process::exit(0)
        }
        sys::Fork::Child => {
            drop(go.1);
            if File::from(go.0).read_exact(&mut [0]).is_err() {
                std::process::exit(1);
            }
            // Away from the terminal and the process group of whoever started the node.
            rustix::process::setsid().map_err(|e| format!("setsid: {e}"))?;
            if record.config.host_pid {
                stand_in_for_init().map_err(|e| format!("child subreaper: {e}"))?;
            }
            // It was started by a descriptor, whose number would be its name.
            rustix::thread::set_name(c"kubelocal-pod").map_err(|e| format!("name: {e}"))?;
            Ok(Born {
                dir,
                record,
                node_network,
            })
        }
    }
}

/// Among the host's processes it is no process 1, to which orphans come and which only the outside can end: it gets what it can of both.
fn stand_in_for_init() -> rustix::io::Result<()> {
    sys::ignore_endings();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Opens the node's network while `/proc` still shows the node. The number may be another process's by now, so what it leads to is
/// compared.
fn open_node_network(record: &NetworkRecord) -> Result<OwnedFd, String> {
    let failed = |e: std::io::Error| format!("the node's network: {e}");
    let namespace = OwnedFd::from(File::open(&record.node).map_err(failed)?);
    if net::identity_of(namespace.as_fd()).map_err(failed)? != record.identity {
        return Err("the node's network is gone".to_owned());
    }
    Ok(namespace)
}

/// Tells the node how it went, and lets go of the pipe.
pub(super) fn announce(birth: OwnedFd, outcome: Result<(), &str>) {
    match outcome {
        Ok(()) => tell(&birth, "ready\n"),
        Err(text) => tell(&birth, &format!("error {}\n", text.replace('\n', " "))),
    }
    drop(birth);
}

fn tell(birth: &OwnedFd, text: &str) {
    // A node that is gone will read the records instead.
    let _ = rustix::io::write(birth, text.as_bytes());
}
