//! The machine: what pods see of it, and the `Node` object that tells clients.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::conditions;
use super::config::Config;
use super::ways_out::Readiness;
use crate::api::KUBERNETES_VERSION;
use crate::cgroup::{Controller, Lack, Tree};
use crate::model::{DNS, Family, Object};
use crate::pod::{Host, Modules};

/// How many pods the node takes on: what the kernel's default of 32,768 processes and a laptop's memory bear with ease.
const MOST_PODS: u32 = 1000;

/// Looks at the machine.
pub fn host(
    pods_dir: PathBuf,
    has_network: bool,
    addresses: watch::Receiver<Vec<String>>,
    api_port: u16,
    config: &Config,
) -> Host {
    Host {
        node_name: node_name(),
        addresses,
        dns: has_network.then_some(DNS.into()),
        cpus: std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1)),
        memory: memory(),
        storage: storage(&pods_dir),
        api_port,
        pod_pids: config.pod_pids_limit,
        pods_dir,
        allowed_sysctls: config.allowed_unsafe_sysctls.clone(),
        modules: modules(),
    }
}

/// The hostname in the letters that names may have (kubelet `GetHostname`).
fn node_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let fits = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = name.chars().map(fits).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name.to_owned()
    }
}

/// What the kernel confines processes by, as container runtimes tell.
fn modules() -> Modules {
    let apparmor = fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    Modules {
        has_apparmor: apparmor.starts_with('Y'),
        has_selinux: Path::new("/sys/fs/selinux/enforce").exists(),
    }
}

/// Bytes of memory (`proc_meminfo(5)`).
fn memory() -> i64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse()
            .ok()
    });
    total.map_or(0, |kilobytes: i64| kilobytes * 1024)
}

/// Bytes of the disk that a directory is on, or that it will be on (`statvfs(3)`).
fn storage(dir: &Path) -> i64 {
    let disk = dir.ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok());
    disk.map_or(0, |disk| {
        i64::try_from(disk.f_blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX)
    })
}

/// The node's object. `families` are those of the addresses that its pods have, `handlers` are the runtimes that pods may choose.
pub fn node_object(
    host: &Host,
    families: &[Family],
    ways_out: &Readiness,
    handlers: &[String],
    now: Timestamp,
) -> Object {
    let ranges: Vec<String> = families.iter().map(|family| family.pods().to_string()).collect();
    let labels = json!({
        "kubernetes.io/hostname": host.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        "node-role.kubernetes.io/control-plane": "",
    });
    // The one without a name is that of pods that choose none.
    let runtimes: Value = [""]
        .into_iter()
        .chain(handlers.iter().map(String::as_str))
        .map(handler)
        .collect();
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": host.node_name, "labels": labels},
        "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
        "status": {
            "addresses": addresses(&host.node_name, &host.ips()),
            "capacity": resources(host),
            "allocatable": resources(host),
            "conditions": conditions::all(ways_out, now),
            "runtimeHandlers": runtimes,
            "nodeInfo": info(),
        },
    });
    Object::new(node).expect("a kind of the table, with a name")
}

fn handler(name: &str) -> Value {
    json!({"name": name, "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}})
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    }
}

/// The node's addresses as its status has them.
pub fn addresses(node_name: &str, ips: &[String]) -> Value {
    let internal = ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip}));
    internal
        .chain([json!({"type": "Hostname", "address": node_name})])
        .collect()
}

fn resources(host: &Host) -> Value {
    json!({
        "cpu": host.cpus.to_string(),
        "memory": format!("{}Ki", host.memory / 1024),
        "ephemeral-storage": format!("{}Ki", host.storage / 1024),
        "pods": MOST_PODS.to_string(),
    })
}

fn info() -> Value {
    let system = rustix::system::uname();
    let text = |file: &str| fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    let release = text("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "machineID": text("/etc/machine-id"),
        "systemUUID": "",
        "bootID": text("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": system.release().to_string_lossy(),
        "osImage": name.unwrap_or_default().trim_matches('"'),
        "containerRuntimeVersion": format!("kubelocal://{}", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": KUBERNETES_VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    })
}

/// What of cgroups there is for limits, in a few words.
pub fn cgroups(found: &Result<Tree, Lack>) -> String {
    match found {
        Ok(tree) => tree.to_string(),
        Err(lack) => format!("none: {lack}"),
    }
}

/// What is said where limits are not enforced.
pub fn no_limits(found: &Result<Tree, Lack>) -> Option<String> {
    let missing = match found {
        Ok(tree) => {
            let has = tree.controllers();
            let wanted = [Controller::Cpu, Controller::Memory, Controller::Pids];
            let missing: Vec<_> = wanted
                .into_iter()
                .filter(|c| !has.contains(c))
                .map(Controller::name)
                .collect();
            Some(format!("no {} in the node's cgroup", missing.join(", "))).filter(|_| !missing.is_empty())
        }
        Err(lack) => Some(lack.to_string()),
    };
    missing.map(|why| format!("limits of pods are not enforced ({why}): see `kubelocal doctor`"))
}
