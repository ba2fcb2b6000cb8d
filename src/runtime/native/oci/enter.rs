//! A command in a running container, made by ourselves.
//!
//! libcontainer forks a command into the container's pid namespace first and joins its mount namespace after that. In between the process is
//! in the container's sight with the supervisor's root, and a container with CAP_SYS_PTRACE that looks at `/proc/<pid>/root` at that moment
//! sees the host. Here a process leaves everything that is the supervisor's, descriptors and root, while nobody in the container can see it,
//! and only its child is born among the container's processes. (Its memory is a copy of the supervisor's, as with every runtime that
//! forks and does not execute itself anew.)

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::syscall::syscall::create_syscall;
use libcontainer::workload::Executor;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pty::OpenptFlags;
use rustix::thread::{Gid, LinkNameSpaceType, Uid};

use super::super::sys;
use super::executor::Exec;
use super::{Bundle, Launched};

/// Where version 2 of control groups is mounted for runtimes.
const GROUPS: &str = "/sys/fs/cgroup";

/// A container's namespaces that are not the supervisor's own.
struct Namespaces {
    mount: OwnedFd,
    cgroup: OwnedFd,
    /// None where the container sees the host's processes: into that one nobody may come, not even who is in it.
    pid: Option<OwnedFd>,
}

impl Namespaces {
    /// Of the container whose first process is this.
    fn of(pid: i32) -> io::Result<Namespaces> {
        let open = |name: &str| File::open(format!("/proc/{pid}/ns/{name}"));
        let (own, its) = (File::open("/proc/self/ns/pid")?, open("pid")?);
        let is_own = own.metadata()?.ino() == its.metadata()?.ino();
        Ok(Namespaces {
            mount: open("mnt")?.into(),
            cgroup: open("cgroup")?.into(),
            pid: (!is_own).then(|| its.into()),
        })
    }

    /// Joins them; into the last one only children come.
    fn join(&self) -> io::Result<()> {
        let join = |namespace: &OwnedFd, kind| rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind));
        join(&self.cgroup, LinkNameSpaceType::ControlGroup)?;
        join(&self.mount, LinkNameSpaceType::Mount)?;
        if let Some(pid) = &self.pid {
            join(pid, LinkNameSpaceType::ProcessID)?;
        }
        Ok(())
    }

    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let always = [&self.mount, &self.cgroup].into_iter();
        always.chain(&self.pid).map(AsRawFd::as_raw_fd)
    }
}

/// A pid namespace in which there are others already, who must not see a process before it has left the supervisor's root behind. libcontainer
/// is told nothing of it, and makes the container among the supervisor's processes, where nobody of the pod looks; the last thing that is done
/// is to fork the process into it.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    namespace: Arc<OwnedFd>,
    /// Where the pid is told.
    tell: Arc<OwnedFd>,
}

impl Shared {
    /// By the path of the namespace; with the pipe in which the pid will be told.
    ///
    /// # Errors
    /// It is gone.
    pub fn open(path: &Path) -> io::Result<(Shared, OwnedFd)> {
        let (told, tell) = pipe()?;
        let shared = Shared {
            namespace: Arc::new(File::open(path)?.into()),
            tell: Arc::new(tell),
        };
        Ok((shared, told))
    }

    /// Returns in the process that is there, which has no descriptor of the supervisor's but `kept`: others may look through it until it has
    /// become its program. It can only become it, or exit.
    pub fn come_into(&self, kept: RawFd) -> io::Result<()> {
        rustix::thread::move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
        let terminal = rustix::termios::isatty(rustix::stdio::stdin()).then(rustix::stdio::stdin);
        if terminal.is_some() {
            // One session at a time has a terminal.
            sys::leave_terminal()?;
        }
        match sys::fork_sibling()? {
            sys::Fork::Parent(pid) => {
                // If nobody reads, nobody waits.
                let _ = rustix::io::write(&self.tell, &pid.to_le_bytes());
                sys::exit_now(0)
            }
            sys::Fork::Child => {
                sys::close_others(&[kept])?;
                rustix::process::setsid()?;
                terminal.map_or(Ok(()), |terminal| Ok(rustix::process::ioctl_tiocsctty(terminal)?))
            }
        }
    }
}

/// Where the process that is to be the command tells how it went.
struct Ends {
    /// Its pid, from whoever made it.
    pid: OwnedFd,
    /// Its terminal, if it has one.
    terminal: Option<OwnedFd>,
}

/// Runs the process of `spec` in the container whose first process is `first`. What goes wrong from the birth of the command on is told
/// through `executor`.
///
/// # Errors
/// The text is for people.
pub(super) fn run(bundle: &Bundle, spec: &Spec, executor: &Exec, first: i32) -> Result<Launched, String> {
    let failed = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let process = spec.process().as_ref().ok_or("the bundle's config has no process")?;
    let namespaces = Namespaces::of(first).map_err(failed("the container's namespaces"))?;
    enter_group(bundle, spec).map_err(failed("control group"))?;
    if let Some(score) = process.oom_score_adj() {
        fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(failed("oom_score_adj"))?;
    }
    let (told, tell) = pipe().map_err(failed("pipe"))?;
    let terminals = bundle.tty.then(pair).transpose().map_err(failed("socket"))?;
    let (terminal, to_terminal) = terminals.unzip();
    let ends = Ends {
        pid: tell,
        terminal: to_terminal,
    };
    match sys::fork_sibling().map_err(failed("fork"))? {
        sys::Fork::Child => pass_over(spec, executor, &namespaces, &ends),
        sys::Fork::Parent(_) => drop(ends),
    }
    // Else whoever was to tell it has told why not.
    let pid = read_pid(told).ok_or_else(String::new)?;
    Ok(Launched {
        pid,
        mount_namespace: None,
        terminal: terminal.as_ref().and_then(take_terminal),
    })
}

/// The pid that was told, if one was.
pub(super) fn read_pid(told: OwnedFd) -> Option<i32> {
    let mut pid = [0; 4];
    File::from(told).read_exact(&mut pid).ok()?;
    Some(i32::from_le_bytes(pid))
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let made = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    Ok(made?)
}

/// Waits for the terminal, or for the end of who was to send it.
fn take_terminal(from: &OwnedFd) -> Option<OwnedFd> {
    let mut fds = Vec::new();
    sys::receive(from, &mut [0; 1], &mut fds).ok()?;
    fds.pop()
}

/// Into the container's group of version 2, where it has one; those of version 1 the caller is in.
fn enter_group(bundle: &Bundle, spec: &Spec) -> io::Result<()> {
    let group = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let Some(group) = group.filter(|_| bundle.has_cgroup) else {
        return Ok(());
    };
    let group = group.strip_prefix("/").unwrap_or(group);
    fs::write(Path::new(GROUPS).join(group).join("cgroup.procs"), "0")
}

/// Leaves what is the supervisor's, and forks the command where the container is.
fn pass_over(spec: &Spec, executor: &Exec, namespaces: &Namespaces, ends: &Ends) -> ! {
    let report = |what: &str, error: io::Error| executor.report(&format!("{what}: {error}"));
    let kept = namespaces
        .descriptors()
        .chain([ends.pid.as_raw_fd(), executor.descriptor()]);
    let kept: Vec<_> = kept.chain(ends.terminal.as_ref().map(AsRawFd::as_raw_fd)).collect();
    let left = sys::close_others(&kept).and_then(|()| namespaces.join());
    if let Err(error) = left {
        report("joining the container", error);
        sys::exit_now(1);
    }
    match sys::fork_sibling() {
        Ok(sys::Fork::Child) => {
            let kept = [executor.descriptor()].into_iter();
            let kept: Vec<_> = kept.chain(ends.terminal.as_ref().map(AsRawFd::as_raw_fd)).collect();
            match sys::close_others(&kept) {
                Ok(()) => become_command(spec, executor, ends.terminal.as_ref()),
                Err(error) => report("descriptors", error),
            }
        }
        Ok(sys::Fork::Parent(pid)) => {
            // If nobody reads, nobody waits.
            let _ = rustix::io::write(&ends.pid, &pid.to_le_bytes());
            sys::exit_now(0);
        }
        Err(error) => report("fork", error),
    }
    sys::exit_now(1)
}

/// In the container's namespaces: becomes who the command is to be, and the command. Returns when that failed and was told.
fn become_command(spec: &Spec, executor: &Exec, terminal: Option<&OwnedFd>) {
    let process = spec.process().as_ref().expect("it was there before the fork");
    match furnish(process, terminal) {
        Ok(()) => {
            // It returns only when it failed, and has told why.
            let _ = executor.exec(spec);
        }
        Err(text) => executor.report(&text),
    }
}

fn furnish(process: &Process, terminal: Option<&OwnedFd>) -> Result<(), String> {
    let failed = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let errno = |what: &'static str| move |e: rustix::io::Errno| format!("{what}: {e}");
    rustix::process::setsid().map_err(errno("session"))?;
    if let Some(to) = terminal {
        open_terminal(to.as_fd()).map_err(failed("terminal"))?;
    }
    if let Some(profile) = process.apparmor_profile() {
        label(&["apparmor/exec", "exec"], &format!("exec {profile}")).map_err(failed("AppArmor profile"))?;
    }
    if process.no_new_privileges() == Some(true) {
        rustix::thread::set_no_new_privs(true).map_err(errno("no new privileges"))?;
    }
    // As root, who may go everywhere; where even root may not, as the user.
    let is_elsewhere = match rustix::process::chdir(process.cwd()) {
        Ok(()) => false,
        Err(rustix::io::Errno::PERM) => true,
        Err(error) => return Err(format!("working directory {}: {error}", process.cwd().display())),
    };
    become_user(process).map_err(errno("user"))?;
    let syscall = create_syscall();
    reset_effective(&*syscall).map_err(|e| format!("capabilities: {e}"))?;
    if let Some(capabilities) = process.capabilities() {
        drop_privileges(capabilities, &*syscall).map_err(|e| format!("capabilities: {e}"))?;
    }
    if is_elsewhere {
        rustix::process::chdir(process.cwd()).map_err(errno("working directory"))?;
    }
    // A directory outside of the root, had by a descriptor, has no path (CVE-2024-21626).
    match rustix::process::getcwd(Vec::new()).map_err(errno("working directory"))? {
        path if path.as_bytes().starts_with(b"/") => Ok(()),
        path => Err(format!("working directory {path:?} is outside of the container")),
    }
}

/// Tells the kernel's module what this process is to be confined by when it becomes its program: by the first of these files that there is.
/// What the container has put in their place is not written to.
pub(super) fn label(files: &[&str], text: &str) -> io::Result<()> {
    let mut tried = Err(io::ErrorKind::NotFound.into());
    for file in files {
        tried = OpenOptions::new()
            .write(true)
            .open(format!("/proc/thread-self/attr/{file}"))
            .and_then(|mut opened| {
                if rustix::fs::fstatfs(&opened)?.f_type != sys::PROC_MAGIC {
                    return Err(io::Error::other("/proc is not the kernel's"));
                }
                opened.write_all(text.as_bytes())
            });
        if tried.is_ok() {
            return tried;
        }
    }
    tried
}

fn become_user(process: &Process) -> rustix::io::Result<()> {
    let user = process.user();
    let groups = user.additional_gids().iter().flatten();
    let groups: Vec<_> = groups.map(|gid| Gid::from_raw(*gid)).collect();
    if !groups.is_empty() {
        rustix::thread::set_thread_groups(&groups)?;
    }
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)
}

/// Makes a terminal in the container, has it for this session and its streams, and sends away its other side. What the container has put in
/// the place of the device fails to be one.
fn open_terminal(to: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let not_waiting = (rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(not_waiting.cast_signed());
    let master = OwnedFd::from(options.open("/dev/ptmx")?);
    rustix::pty::unlockpt(&master)?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    rustix::io::ioctl_fionbio(&master, false)?;
    sys::send(to, b"t", &[master.as_fd()])?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    Ok(rustix::stdio::dup2_stderr(&terminal)?)
}
