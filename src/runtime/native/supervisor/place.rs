//! Furnishes the pod's namespaces: mounts, host name, loopback, shared memory.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::super::oci;
use super::super::record::{PodDir, SandboxRecord, make_dir, remove_tree};
use super::super::spec::{CapabilitySet, Place, Queues};
use super::super::sys;
use super::cgroup;
use super::note;
use super::pause;
use crate::cgroup::Group;
use crate::net;
use crate::runtime::MemoryDir;

/// Sizes of the pod's two tmpfs, upper limits that cost nothing until used: `/dev/shm` (containerd's default), and
/// the runtimes' state.
const SHM_OPTIONS: &std::ffi::CStr = c"mode=1777,size=67108864";
const RUN_OPTIONS: &std::ffi::CStr = c"mode=0700,size=16777216";

/// What a pod's own network allows its containers, as containerd's defaults do: any port, and ping.
const NETWORK_SETTINGS: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    // The kernel refuses groups that are not mapped.
    ("/proc/sys/net/ipv4/ping_group_range", "0 65535"),
];

/// Furnishes the namespaces.
///
/// # Errors
/// The text is for people.
pub(super) fn make(
    dir: &PodDir,
    record: &SandboxRecord,
    node_network: Option<&OwnedFd>,
) -> Result<(Place, Option<Group>), String> {
    // Before mounts of ours hide where groups are.
    let cgroup = cgroup::make(dir, record)?;
    mount_all(dir, record.config.host_pid)?;
    record.config.memory_dirs.iter().try_for_each(mount_memory)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    std::env::set_current_dir("/").map_err(|e| format!("/: {e}"))?;
    if !record.config.host_network {
        set_up_network(&record.config.hostname)?;
    }
    if let (Some(node), Some(ips)) = (node_network, record.ips()) {
        net::wire_pod(node.as_fd(), ips).map_err(|e| format!("network: {e}"))?;
    }
    for (name, value) in &record.config.sysctls {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::write(&path, value).map_err(|e| format!("sysctl {name}: {e}"))?;
    }
    // As kubelet has it for the pause container. Only root may; an unprivileged user's supervisors are as likely to be killed
    // as anything else of theirs.
    let may_lower_score = fs::write("/proc/self/oom_score_adj", "-998").is_ok();
    let in_user_namespace = is_user_namespace(&read("/proc/self/uid_map"));
    let view = oci::view_of_shared(&dir.run().join("oci"));
    let share_pid = record.config.share_pid.then(|| pause::start(&dir.run(), &view));
    let place = Place {
        in_user_namespace,
        host_network: record.config.host_network,
        host_pid: record.config.host_pid,
        queues: queues(record.config.host_ipc && in_user_namespace),
        shm: if record.config.host_ipc {
            PathBuf::from("/dev/shm")
        } else {
            dir.run().join("shm")
        },
        pid_namespace: share_pid.transpose()?,
        bounding: bounding_set(&read("/proc/self/status")),
        oom_floor: oom_floor(in_user_namespace, may_lower_score, own_oom_score()),
        tty_group: is_mapped(5, &read("/proc/self/gid_map")),
        may_set_groups: read("/proc/self/setgroups").trim() != "deny",
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    Ok((place, cgroup))
}

/// Mounts, in this namespace alone, what the pod needs.
fn mount_all(dir: &PodDir, host_pid: bool) -> Result<(), String> {
    let failed = |what: &'static str| move |e: rustix::io::Errno| format!("mount {what}: {e}");
    // Mounts that appear on the host shall appear here (hostPath volumes), not the other way round.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", slave).map_err(failed("propagation"))?;
    // Among the host's processes the host's is the right one.
    if !host_pid {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("proc", "/proc", "proc", flags, None).map_err(failed("/proc"))?;
    }
    let run = dir.run();
    remove_tree(&run)
        .and_then(|()| make_dir(&run))
        .map_err(|e| format!("{}: {e}", run.display()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &run, "tmpfs", flags, Some(RUN_OPTIONS)).map_err(failed("run"))?;
    for name in ["shm", "oci", "links"] {
        make_dir(&run.join(name)).map_err(|e| format!("{name}: {e}"))?;
    }
    let flags = flags | MountFlags::NOEXEC;
    rustix::mount::mount("shm", run.join("shm"), "tmpfs", flags, Some(SHM_OPTIONS)).map_err(failed("shm"))?;
    cgroup::present_unified().map_err(|e| format!("control groups: {e}"))
}

/// `is_foreign` is whether the IPC namespace is one in which we may mount nothing.
fn queues(is_foreign: bool) -> Queues {
    match is_foreign {
        false => Queues::Own,
        true if Path::new("/dev/mqueue").is_dir() => Queues::Hosts,
        true => Queues::Nowhere,
    }
}

/// Makes a directory in memory, in this namespace alone: it goes with the pod.
fn mount_memory(wanted: &MemoryDir) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", wanted.path.display());
    fs::create_dir_all(&wanted.path).map_err(failed)?;
    // As an emptyDir on the disk: whoever a container runs as writes here.
    let mode = match wanted.group {
        Some(group) => format!("mode=2777,gid={group}"),
        None => "mode=0777".to_owned(),
    };
    let options = CString::new(format!("{mode},size={}", wanted.size)).expect("numbers have no zero bytes");
    let mounted = rustix::mount::mount("tmpfs", &wanted.path, "tmpfs", MountFlags::empty(), Some(&*options));
    mounted.map_err(|e| failed(e.into()))
}

fn set_up_network(hostname: &str) -> Result<(), String> {
    rustix::system::sethostname(hostname.as_bytes()).map_err(|e| format!("host name {hostname:?}: {e}"))?;
    sys::loopback_up().map_err(|e| format!("loopback: {e}"))?;
    for (path, value) in NETWORK_SETTINGS {
        // A kernel without the setting has no such restriction to lift, or no ping to allow.
        if let Err(error) = fs::write(path, value) {
            note(&format!("{path}: {error}"));
        }
    }
    Ok(())
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Whether the map is another than the whole range onto itself (user_namespaces(7)).
fn is_user_namespace(uid_map: &str) -> bool {
    uid_map.split_ascii_whitespace().ne(["0", "0", "4294967295"])
}

/// Whether an id exists in a user namespace with this map.
pub(super) fn is_mapped(id: u64, map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line
            .split_ascii_whitespace()
            .map(|number| number.parse::<u64>().unwrap_or(0));
        let (Some(first), Some(_), Some(length)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        (first..first + length).contains(&id)
    })
}

fn bounding_set(status: &str) -> CapabilitySet {
    let text = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    CapabilitySet(
        text.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(0),
    )
}

/// The lowest score that a container's process may give itself: any with CAP_SYS_RESOURCE on the machine, which root in a container
/// of someone else's need not have; else our own.
fn oom_floor(in_user_namespace: bool, may_lower: bool, own: i32) -> i32 {
    if in_user_namespace || !may_lower { own } else { -1000 }
}

fn own_oom_score() -> i32 {
    read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_onto_itself_is_the_host() {
        assert!(!is_user_namespace("         0          0 4294967295\n"));
        assert!(is_user_namespace(
            "         0       1000          1\n         1     100000      65536\n"
        ));
    }

    #[test]
    fn only_who_could_lower_a_score_may_go_to_the_bottom() {
        assert_eq!(oom_floor(false, true, -998), -1000);
        assert_eq!(oom_floor(false, false, 0), 0, "root in someone else's container");
        assert_eq!(oom_floor(true, true, -998), -998);
    }

    #[test]
    fn the_terminals_group_is_looked_up_in_the_map() {
        assert!(is_mapped(5, "0 1000 1\n1 100000 65536\n"));
        assert!(!is_mapped(5, "0 1000 1\n"));
    }

    #[test]
    fn the_bounding_set_is_read_from_the_status() {
        assert_eq!(
            bounding_set("CapEff:\t0\nCapBnd:\t000001ffffffffff\n"),
            CapabilitySet(0x1ff_ffff_ffff)
        );
    }
}
