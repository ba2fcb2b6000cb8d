//! One run of a container: made, started, signalled, ended; and its record on disk.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::super::oci::{Bundle, Launched};
use super::super::record::{RunDir, make_dir, remove_tree, write_json};
use super::super::spec::{Place, plan_spec};
use super::super::sys;
use super::super::wire::Fault;
use super::super::{parts, rootfs, users};
use super::note;
use super::output::Output;
use super::place::{is_mapped, read};
use super::poller::Token;
use super::processes;
use crate::runtime::{ContainerConfig, ContainerState, Exit, Mount, RUN_USER, Resized, Stop};

/// A run of a container.
pub(super) struct Container {
    pub config: ContainerConfig,
    pub dir: RunDir,
    pub bundle: Bundle,
    pub stage: Stage,
    pub output: Output,
    /// The write end of its standard input, while somebody may attach to it.
    pub stdin: Option<OwnedFd>,
    /// The master side of its terminal.
    pub terminal: Option<OwnedFd>,
    /// Who waits for its start.
    pub starters: Vec<Token>,
    /// Who is attached and wants to know its end.
    pub attached: Vec<Token>,
    stop: Option<PlannedStop>,
}

/// What a run does.
pub(super) enum Stage {
    Created,
    Starting,
    Running(Running),
    Exited,
}

/// A running container's first process.
pub(super) struct Running {
    pub pid: i32,
    /// `None` if it had ended before its start was known.
    pub pidfd: Option<OwnedFd>,
    pub started_at: Timestamp,
    /// The inode of its mount namespace, which tells its processes from others in a shared pid namespace.
    pub mount_namespace: Option<u64>,
}

/// It was asked to end.
struct PlannedStop {
    signal: i32,
    kill_at: Instant,
    is_drain: bool,
}

impl Container {
    /// Prepares a run: root file system, bundle, records. What was half made when it fails is gone again.
    ///
    /// # Errors
    /// The text is for people.
    pub fn create(
        config: ContainerConfig,
        dir: RunDir,
        bundle: Bundle,
        place: &Place,
        mount_points: &Path,
        cgroup: Option<PathBuf>,
    ) -> Result<Container, Fault> {
        let mut container = Container {
            config,
            dir,
            bundle,
            stage: Stage::Created,
            output: Output::default(),
            stdin: None,
            terminal: None,
            starters: Vec::new(),
            attached: Vec::new(),
            stop: None,
        };
        match container.prepare(place, mount_points, cgroup.as_deref()) {
            Ok(()) => Ok(container),
            Err(fault) => {
                if let Err(error) = container.remove() {
                    note(&format!("undoing {}: {error}", container.config.id));
                }
                Err(fault)
            }
        }
    }

    fn prepare(&mut self, place: &Place, mount_points: &Path, cgroup: Option<&Path>) -> Result<(), Fault> {
        let root = self.mount_root(place, mount_points).map_err(Fault::Create)?;
        if let Some(why) = rootfs::refusal(&root, &self.config.mounts) {
            return Err(Fault::Config(why));
        }
        rootfs::make_dir_in_root(&root, &self.config.cwd).map_err(Fault::Config)?;
        let links = self.bundle.state.with_file_name("links").join(&self.config.id.0);
        let mounts = parts::pin_all(&self.config.mounts, &self.bundle.parts(), &links)?;
        rootfs::make_behind_links(&root, &mounts).map_err(Fault::Create)?;
        self.describe(place, &root, &mounts, cgroup).map_err(Fault::Create)
    }

    /// Makes the run's directories, and mounts its root file system.
    fn mount_root(&self, place: &Place, mount_points: &Path) -> Result<PathBuf, String> {
        let config = &self.config;
        let io = |e: std::io::Error| format!("{}: {e}", self.dir.path().display());
        remove_tree(self.dir.path()).map_err(io)?;
        make_dir(self.dir.path()).map_err(io)?;
        make_dir(&self.bundle.path).map_err(io)?;
        let links = self.bundle.state.with_file_name("links").join(&config.id.0);
        let root = self.bundle.rootfs();
        let layers: Vec<&Path> = std::iter::once(mount_points)
            .chain(config.layers.iter().map(PathBuf::as_path))
            .collect();
        let source = processes::source_of(&config.id.0, place.host_pid);
        rootfs::mount_overlay(source, (&layers, config.root.as_deref()), &self.dir, &root, &links)?;
        Ok(root)
    }

    /// Writes the bundle's config, and the records.
    fn describe(&mut self, place: &Place, root: &Path, mounts: &[Mount], cgroup: Option<&Path>) -> Result<(), String> {
        let config = &self.config;
        let io = |e: std::io::Error| format!("{}: {e}", self.dir.path().display());
        let in_root = |path| rootfs::read_in_root(root, path);
        let (passwd, group) = (in_root("/etc/passwd"), in_root("/etc/group"));
        let (groups, is_strict) = (&config.supplemental_groups, config.has_strict_groups);
        let identity = users::resolve(&config.user, &passwd, &group, groups, is_strict)?;
        if !is_mapped(identity.uid.into(), &read("/proc/self/uid_map")) {
            let why = "this user namespace has no such id (is newuidmap installed, and a range in /etc/subuid?)";
            return Err(format!("user {}: {why}", identity.uid));
        }
        let spec = plan_spec(config, mounts, &identity, place, root, cgroup)?;
        write_json(&self.bundle.path.join("config.json"), &spec, false).map_err(io)?;
        write_json(&self.dir.status(), &ContainerState::Created, false).map_err(io)?;
        self.config.annotations.insert(RUN_USER.to_owned(), identity.to_text());
        // Last: a directory without it was never completed, and is nobody's.
        write_json(&self.dir.config(), &self.config, false).map_err(|e| format!("{}: {e}", self.dir.path().display()))
    }

    /// Writes down that it has other limits now.
    ///
    /// # Errors
    /// The record can't be written.
    pub fn resize(&mut self, resized: &Resized) -> std::io::Result<()> {
        self.config.limits.clone_from(&resized.limits);
        self.config.annotations.extend(resized.annotations.clone());
        write_json(&self.dir.config(), &self.config, false)
    }

    /// The process runs, or has run: a short one may have been reaped before its start was known.
    pub fn set_running(&mut self, launched: Launched) {
        let Launched {
            pid,
            mount_namespace,
            terminal,
        } = launched;
        let open = |pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
        let pidfd = rustix::process::Pid::from_raw(pid).and_then(open);
        let started_at = Timestamp::now();
        self.terminal = terminal;
        self.stage = Stage::Running(Running {
            pid,
            pidfd,
            started_at,
            mount_namespace,
        });
        self.write_status(&ContainerState::Running { started_at }, false);
        if let Some(stop) = &self.stop {
            self.signal(stop.signal);
        }
    }

    /// It is over.
    pub fn set_exited(&mut self, exit: Exit) {
        self.stdin = None;
        self.terminal = None;
        self.write_status(&ContainerState::Exited(exit), true);
        self.stage = Stage::Exited;
        if let Err(error) = self.clear() {
            note(&format!("clearing {}: {error}", self.bundle.path.display()));
        }
    }

    /// Takes the root file system away, and what only a running container needs.
    fn clear(&self) -> std::io::Result<()> {
        rootfs::unmount(&self.bundle.rootfs())?;
        parts::unpin_all(&self.bundle.parts())?;
        remove_tree(&self.bundle.state_dir())?;
        remove_tree(&self.bundle.path)
    }

    /// When SIGKILL is due.
    pub fn kill_at(&self) -> Option<Instant> {
        match (&self.stage, &self.stop) {
            (Stage::Running(_), Some(stop)) => Some(stop.kill_at),
            _ => None,
        }
    }

    /// Asks it to end. The first signal is sent once, and of several deadlines the earliest holds.
    pub fn stop(&mut self, asked: &Stop) {
        let (signal, is_drain) = (asked.signal, asked.is_drain);
        let kill_at = Instant::now() + asked.grace;
        match &mut self.stop {
            Some(stop) => stop.kill_at = stop.kill_at.min(kill_at),
            None => {
                self.stop = Some(PlannedStop {
                    signal,
                    kill_at,
                    is_drain,
                });
                self.signal(signal);
            }
        }
    }

    /// Whether it was asked to end because the node ends.
    pub fn is_drained(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.is_drain)
    }

    /// Sends SIGKILL, and plans no other.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        // Far enough not to wake for again; the kernel needs no second one.
        let far = Instant::now() + Duration::from_secs(3600);
        self.stop = Some(PlannedStop {
            signal: libc::SIGKILL,
            kill_at: far,
            is_drain: self.is_drained(),
        });
    }

    fn signal(&self, signal: i32) {
        if let Stage::Running(Running { pidfd: Some(pidfd), .. }) = &self.stage {
            // It may be over already, which its exit will tell.
            let _ = sys::signal_pidfd(pidfd.as_fd(), signal);
        }
    }

    fn write_status(&self, state: &ContainerState, durable: bool) {
        if let Err(error) = write_json(&self.dir.status(), state, durable) {
            note(&format!("{}: {error}", self.dir.status().display()));
        }
    }

    /// Takes the root file system away and removes the run's directory.
    pub fn remove(&self) -> std::io::Result<()> {
        self.clear()?;
        remove_tree(self.dir.path())
    }
}
