//! Trying out what the node needs of the kernel, in a process of its own that ends at once: settings can say yes where a
//! policy says no, and the other way round.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::net;

/// What came of trying. Each is `None` while it was not tried, and says why where it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Making a user namespace and being root in it.
    pub user_namespace: Option<Result<(), String>>,
    /// Making a mount namespace in it.
    pub mount_namespace: Option<Result<(), String>>,
    /// Mounting an overlay where the node keeps its files.
    pub overlay: Option<Result<(), String>>,
    /// Making a network namespace in it.
    pub network_namespace: Option<Result<(), String>>,
    /// Writing the rules of Services there.
    pub service_rules: Option<Result<(), String>>,
    /// Writing the rules of ways out there.
    pub egress_rules: Option<Result<(), String>>,
}

/// The argument that tells the program to be the trying process.
pub const ARGUMENT: &str = "--probe";

/// Tries in a new process of this program; `directory` is where the overlay is tried, and stays as it was.
#[must_use]
pub fn run(directory: &Path) -> Probe {
    let output = Command::new("/proc/self/exe")
        .args(["doctor", ARGUMENT])
        .arg(directory)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let answer = output
        .ok()
        .and_then(|output| serde_json::from_slice(&output.stdout).ok());
    answer.unwrap_or_default()
}

/// The trying process. To be called before it has a second thread: the kernel makes no user namespace for a process
/// with several.
#[must_use]
pub fn here(directory: &Path) -> Probe {
    let mut probe = Probe::default();
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let made = user_namespace();
        let is_made = made.is_ok();
        probe.user_namespace = Some(made.map_err(|error| error.to_string()));
        if !is_made {
            return probe;
        }
    }
    let made = namespace(UnshareFlags::NEWNS);
    let is_made = made.is_ok();
    probe.mount_namespace = Some(made.map_err(|error| error.to_string()));
    if is_made {
        probe.overlay = Some(overlay(directory).map_err(|error| error.to_string()));
    }
    let made = namespace(UnshareFlags::NEWNET);
    if made.is_ok() {
        probe.service_rules = Some(net::try_service_rules().map_err(|error| error.to_string()));
        probe.egress_rules = Some(net::try_egress_rules().map_err(|error| error.to_string()));
    }
    probe.network_namespace = Some(made.map_err(|error| error.to_string()));
    probe
}

fn namespace(kind: UnshareFlags) -> io::Result<()> {
    // SAFETY: these kinds change no memory and no open file of this process; it has one thread and ends soon.
    unsafe { rustix::thread::unshare_unsafe(kind) }.map_err(io::Error::from)
}

/// With the map of one id: what the kernel alone allows. The whole range is the business of `newuidmap`.
fn user_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    namespace(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn overlay(directory: &Path) -> io::Result<()> {
    // Else the mount would be seen outside, and stay there.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let base = directory.join(format!(".kubelocal-doctor-{}", std::process::id()));
    let outcome = try_overlay(&base);
    // The mount ends with this process; the directories must go now. What failed above is what counts.
    let _ = rustix::mount::unmount(base.join("merged"), rustix::mount::UnmountFlags::DETACH);
    let _ = fs::remove_dir_all(&base);
    outcome
}

fn try_overlay(base: &Path) -> io::Result<()> {
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(base.join(name))?;
    }
    fs::write(base.join("lower/file"), "below")?;
    let at = |name: &str| base.join(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},userxattr",
        at("lower"),
        at("upper"),
        at("work")
    );
    let options = std::ffi::CString::new(options)?;
    mount(
        "overlay",
        base.join("merged"),
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )?;
    // Copying up is where file systems that can't be an upper layer fail.
    fs::write(base.join("merged/file"), "above")?;
    match fs::read_to_string(base.join("upper/file"))?.as_str() {
        "above" => Ok(()),
        _ => Err(io::Error::other("a change did not come to the upper layer")),
    }
}
