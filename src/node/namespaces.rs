//! Becoming "root": one user namespace for the node and all its pods, and a mount namespace of its own. Called before the process
//! has a second thread, as `unshare(2)` demands.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Gid, Pid, Uid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::os::find_program;

/// How the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As the machine's root, without a user namespace.
    Root,
    /// In a user namespace with the user's whole range of subordinate ids.
    Rootless,
    /// In a user namespace with the user's own id only.
    SingleId,
}

impl Mode {
    /// In a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Rootless => "rootless",
            Self::SingleId => "rootless, single id",
        }
    }

    /// What can't work in this mode.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Root | Self::Rootless => None,
            Self::SingleId => Some(
                "newuidmap or a range of subordinate ids is missing, so every container user but root is refused, and files of other \
                 owners in images belong to root: see `kubelocal doctor`",
            ),
        }
    }
}

/// Why the namespaces can't be had.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The kernel or a policy refuses user namespaces.
    #[error("user namespaces can't be used ({0}): `kubelocal doctor` tells how to allow them")]
    User(io::Error),
    /// Ids could not be mapped.
    #[error("ids can't be mapped: {0}")]
    Map(io::Error),
    /// The mount namespace could not be made.
    #[error("no mount namespace can be made ({0}): `kubelocal doctor` tells how to allow it")]
    Mount(io::Error),
}

/// Enters the namespaces: those of `alive`, a process of an earlier node, if there is one, for only in them are its pods ours.
///
/// # Errors
/// See [`NamespaceError`].
pub fn enter(alive: Option<Pid>) -> Result<Mode, NamespaceError> {
    let uid = rustix::process::geteuid();
    let mode = if uid.is_root() {
        Mode::Root
    } else {
        enter_user(uid, alive)?
    };
    // SAFETY: a new mount namespace changes no memory and no open file of this process; it has one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(|e| NamespaceError::Mount(e.into()))?;
    // What the host mounts later is to be seen; what we mount is not to be seen there.
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", propagation).map_err(|e| NamespaceError::Mount(e.into()))?;
    Ok(mode)
}

fn enter_user(uid: Uid, alive: Option<Pid>) -> Result<Mode, NamespaceError> {
    let gid = rustix::process::getegid();
    let joined = alive.and_then(|pid| join(pid).ok());
    let mode = match joined {
        Some(()) => mode_of_map().map_err(NamespaceError::Map)?,
        None => make(uid, gid)?,
    };
    become_root(mode).map_err(NamespaceError::Map)?;
    Ok(mode)
}

fn join(pid: Pid) -> io::Result<()> {
    let namespace = fs::File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero()))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))?;
    Ok(())
}

/// A map of one id is a single-id map, whoever made it.
fn mode_of_map() -> io::Result<Mode> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let ids = map
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    Ok(if ids.sum::<u64>() > 1 {
        Mode::Rootless
    } else {
        Mode::SingleId
    })
}

fn make(uid: Uid, gid: Gid) -> Result<Mode, NamespaceError> {
    let ranges = Ranges::of(uid, gid);
    let helper = ranges
        .map(|ranges| Helper::spawn(&ranges))
        .transpose()
        .map_err(NamespaceError::Map)?;
    // SAFETY: as in `enter`.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }.map_err(|e| NamespaceError::User(e.into()))?;
    if helper.is_some_and(Helper::finish) {
        return Ok(Mode::Rootless);
    }
    let write = |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text).map_err(NamespaceError::Map);
    write("uid_map", format!("0 {} 1", uid.as_raw()))?;
    // The kernel demands it before a map without privilege (user_namespaces(7)).
    write("setgroups", "deny".to_owned())?;
    write("gid_map", format!("0 {} 1", gid.as_raw()))?;
    Ok(Mode::SingleId)
}

fn become_root(mode: Mode) -> io::Result<()> {
    // Through libc, which tells all threads; there is one.
    // SAFETY: plain system calls with no pointers but an empty list.
    let failed = unsafe {
        (mode == Mode::Rootless && libc::setgroups(0, std::ptr::null()) != 0)
            || libc::setresgid(0, 0, 0) != 0
            || libc::setresuid(0, 0, 0) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    // Changing ids makes /proc/self belong to the machine's root; this gives it back.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
    Ok(())
}

/// Subordinate ids and the programs that map them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges {
    uid: (u32, u32, u32),
    gid: (u32, u32, u32),
    programs: [PathBuf; 2],
}

impl Ranges {
    /// The user's ranges (`subuid(5)`, `subgid(5)`); `None` where one is missing or the programs are.
    fn of(uid: Uid, gid: Gid) -> Option<Self> {
        let name = user_name(uid.as_raw());
        let range = |file: &str| subordinate_range(&fs::read_to_string(file).ok()?, name.as_deref(), uid.as_raw());
        let ((uids, uid_count), (gids, gid_count)) = (range("/etc/subuid")?, range("/etc/subgid")?);
        let programs = [find_program("newuidmap")?, find_program("newgidmap")?];
        Some(Self {
            uid: (uid.as_raw(), uids, uid_count),
            gid: (gid.as_raw(), gids, gid_count),
            programs,
        })
    }
}

fn user_name(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let entry = passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    let listed = entry.and_then(|line| line.split(':').next()).map(str::to_owned);
    // Users that are not in the file (LDAP) are known to their session.
    listed.or_else(|| std::env::var("USER").ok())
}

/// The first range for a user, by name or number.
fn subordinate_range(file: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    file.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next().filter(|owner| Some(*owner) == name || *owner == uid)?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (!owner.is_empty() && range.1 > 0).then_some(range)
    })
}

/// A process that stays outside and writes the maps from there, as `newuidmap(1)` must.
struct Helper {
    pid: Pid,
    start: OwnedFd,
}

impl Helper {
    fn spawn(ranges: &Ranges) -> io::Result<Self> {
        let target = rustix::process::getpid();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // SAFETY: the process has one thread, so the child may do whatever this one could.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(write);
                let done = wait_for(read) && map_ids(target, ranges);
                // SAFETY: ends this child without running what the parent has registered for its own end.
                unsafe { libc::_exit(i32::from(!done)) }
            }
            pid => Ok(Self {
                pid: Pid::from_raw(pid).expect("fork gives a child's id"),
                start: write,
            }),
        }
    }

    /// Lets the helper begin and tells whether it mapped the ids.
    fn finish(self) -> bool {
        let told = fs::File::from(self.start).write_all(b"x");
        let status = rustix::process::waitpid(Some(self.pid), rustix::process::WaitOptions::empty());
        told.is_ok() && status.is_ok_and(|ended| ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
    }
}

/// Whether the parent said go; that it died instead shows as an end of file.
fn wait_for(start: OwnedFd) -> bool {
    fs::File::from(start).read_exact(&mut [0]).is_ok()
}

fn map_ids(target: Pid, ranges: &Ranges) -> bool {
    let maps = [ranges.uid, ranges.gid];
    ranges
        .programs
        .iter()
        .zip(maps)
        .all(|(program, map)| map_with(program, target, map))
}

/// 0 is the user, 1 and on are the subordinate ids.
fn map_with(program: &Path, target: Pid, (own, start, count): (u32, u32, u32)) -> bool {
    let words = [target.as_raw_nonzero().get().unsigned_abs(), 0, own, 1, 1, start, count].map(|n| n.to_string());
    Command::new(program)
        .args(words)
        .status()
        .is_ok_and(|status| status.success())
}

/// Gives the process a name by which people find it; `comm` has 15 characters.
pub fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // A name is for people: without one everything works.
        let _ = rustix::thread::set_name(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_range_of_a_user_counts_by_name_or_number() {
        let file = "root:1:5\nann:100000:65536\n1001:200000:65536\nann:300000:1\nempty:1:0\n";
        assert_eq!(subordinate_range(file, Some("ann"), 7), Some((100_000, 65_536)));
        assert_eq!(subordinate_range(file, Some("bob"), 1001), Some((200_000, 65_536)));
        assert_eq!(subordinate_range(file, Some("empty"), 7), None);
        assert_eq!(subordinate_range(file, None, 7), None);
    }
}
