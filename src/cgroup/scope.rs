//! A group of the node's own where it was started in one that is another's: a scope that systemd makes for it (systemd.scope(5)).
//!
//! A shell's session belongs to root; a service of systemd before version 254 starts its process in the very group that is to hold
//! pods' groups, and could not be started again while pods run. `systemd-run --scope` asks the user's systemd for a scope that is delegated,
//! and becomes the program then: the process, its descriptors and its place as main process of a service stay. What of pods' supervisors is
//! in the scope stays there when the node ends, so no unit's end is theirs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::PidfdFlags;

use super::{Lack, Tree, look};

/// How long systemd may take to make a scope: some milliseconds, on an idle machine. One that hangs is as good as none.
const PATIENCE: Duration = Duration::from_secs(3);

/// Set for the process that has become a scope's, which asks for no other.
const TRIED: &str = "KUBELOCAL_SCOPE";

/// Becomes this program with these arguments anew, in a scope of its own, where this process's group does not do and systemd is there to
/// ask. Returns where nothing is to be done, and where systemd refuses. To be called before anything is opened that must not be
/// opened twice.
pub fn enter_scope(arguments: impl Iterator<Item = OsString>) {
    if std::env::var_os(TRIED).is_some() || !is_offered(&look()) {
        return;
    }
    // systemd-run would take `/proc/self/exe` for itself. A program that was replaced meanwhile goes on where it is.
    let Some(program) = std::env::current_exe().ok().filter(|path| path.exists()) else {
        return;
    };
    // Returns only if it can't be; what the caller lacks then is told as anywhere.
    let _ = systemd_run().arg(program).args(arguments).env(TRIED, "1").exec();
}

/// Whether a node that is started here, where this is what it finds, gets a scope from systemd. Tries it out, by a scope that ends at once: who has become
/// systemd-run can't come back.
pub fn is_offered(found: &Result<Tree, Lack>) -> bool {
    let is_anothers = match found {
        Err(Lack::NotDelegated(_) | Lack::NoSubgroup(_)) => true,
        // No scope has more.
        Err(Lack::NotMounted | Lack::VersionOne | Lack::NoControllers(_) | Lack::Refused(_)) | Ok(_) => false,
    };
    // In a container with a pid namespace of its own, into which the socket was mounted, pids are not systemd's.
    let runs_here = || std::fs::read("/proc/1/comm").is_ok_and(|name| name == b"systemd\n");
    if !is_anothers || !runs_here() || !manager_socket(rustix::process::getuid().as_raw(), &runtime_dir()).exists() {
        return false;
    }
    let mut trial = systemd_run();
    trial
        .arg("true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ends_well(&mut trial)
}

/// Whether a program succeeds within [`PATIENCE`]. Without a thread: whoever asks enters a user namespace next.
fn ends_well(command: &mut Command) -> bool {
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    let opened = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let opened = opened.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    let has_ended = opened.is_some_and(|pidfd| {
        let limit = Timespec::try_from(PATIENCE).expect("some seconds");
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
    });
    if !has_ended {
        // It may have ended just now.
        let _ = child.kill();
    }
    child.wait().is_ok_and(|status| has_ended && status.success())
}

/// Where the systemd of a user listens for its own tools (`bus_connect_user_systemd`): with no D-Bus daemon between.
fn manager_socket(uid: u32, runtime_dir: &Path) -> PathBuf {
    match uid {
        0 => "/run/systemd/private".into(),
        _ => runtime_dir.join("systemd/private"),
    }
}

/// The user's directory of this kind, which `su`, `cron` and others do not name though it is there.
fn runtime_dir() -> PathBuf {
    let named = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    named.map_or_else(
        || format!("/run/user/{}", rustix::process::getuid().as_raw()).into(),
        PathBuf::from,
    )
}

fn systemd_run() -> Command {
    let mut command = Command::new("systemd-run");
    if !rustix::process::getuid().is_root() {
        command.arg("--user").env("XDG_RUNTIME_DIR", runtime_dir());
    }
    // Where the node is the service of that name, the scope ends after it: at a shutdown the node brings the pods to their ends first, if it is to.
    command.arg("--property=Before=kubelocal.service");
    command
        .args(["--scope", "--quiet", "--collect", "--property=Delegate=yes"])
        .args(["--description=kubelocal, a Kubernetes node, and its pods", "--"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_the_users_own_systemd_is_asked() {
        let socket = |uid| manager_socket(uid, Path::new("/run/user/7"));
        assert_eq!(socket(7), Path::new("/run/user/7/systemd/private"));
        assert_eq!(socket(0), Path::new("/run/systemd/private"));
    }

    #[test]
    fn a_program_that_hangs_does_not_end_well() {
        assert!(ends_well(&mut Command::new("true")) && !ends_well(&mut Command::new("false")));
        assert!(!ends_well(Command::new("sleep").arg("60")));
        assert!(!ends_well(&mut Command::new("/nowhere")));
    }

    #[test]
    fn no_scope_is_asked_for_where_it_would_have_no_more() {
        for lack in [
            Lack::VersionOne,
            Lack::NotMounted,
            Lack::NoControllers("/a".into()),
            Lack::Refused("no".to_owned()),
        ] {
            assert!(!is_offered(&Err(lack)));
        }
    }
}
