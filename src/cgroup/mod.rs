//! Control groups: where pods may have some, what is written into them, and what is read from them. The one room that knows of
//! version 1, version 2, delegation, or none of these.
//!
//! ```text
//!  <tree>/kubelocal-node/            the node and the supervisors (version 2, where groups with limits below hold no processes)
//!        /kubelocal-<uid>/           a pod: its limits
//!                        /<id>/      a run of a container: its limits, its processes
//! ```
//!
//! In version 1 pods' groups are in `kubelocal/` below the tree, which has a weight among the machine's other groups.
//!
//! [`look`] finds the tree, [`enter_scope`] asks systemd for one, [`prepare`] makes it usable, [`plan_settings`] is pure, [`Group`] is a pod's. It knows nothing of pods'
//! specs: numbers come in, files go out. `cgroups-rs` was weighed and not taken: it takes the controllers of the hierarchy's root for
//! those of a delegated subtree, ignores errors where they count, and brings a D-Bus client that speaks to the system's bus only.

mod find;
mod group;
mod plan;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use find::{NODE_GROUP, look, prepare};
pub use group::{Group, remove_left};
pub use plan::{Protection, Setting, Version, plan_settings};
pub use scope::{enter_scope, is_offered};

/// What of a machine can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// CPU time.
    Cpu,
    /// The account of CPU time, which version 1 has apart.
    CpuAcct,
    /// Memory.
    Memory,
    /// Processes.
    Pids,
    /// Huge pages.
    HugeTlb,
}

impl Controller {
    /// Those that limits need.
    pub const LIMITING: [Controller; 4] = [Self::Cpu, Self::Memory, Self::Pids, Self::HugeTlb];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuAcct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::HugeTlb => "hugetlb",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where pods' groups are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tree {
    /// Version 2: one directory.
    Unified {
        /// Where the hierarchy is mounted.
        mount: PathBuf,
        /// The directory from there, beginning with `/`.
        path: PathBuf,
        /// What can be limited below it.
        controllers: BTreeSet<Controller>,
    },
    /// Version 1: a directory for each controller.
    Split {
        /// Absolute paths.
        dirs: BTreeMap<Controller, PathBuf>,
        /// Version 2 beside it, where groups without limits can be made: what is mounted where, and the directory from there.
        beside: Option<(PathBuf, PathBuf)>,
    },
}

impl Tree {
    /// What can be limited in it.
    pub fn controllers(&self) -> BTreeSet<Controller> {
        match self {
            Self::Unified { controllers, .. } => controllers.clone(),
            Self::Split { dirs, .. } => dirs.keys().copied().collect(),
        }
    }

    /// Where version 2 is mounted and the directory from there, if it has a part in it.
    fn unified(&self) -> Option<(&Path, &Path)> {
        match self {
            Self::Unified { mount, path, .. } => Some((mount, path)),
            Self::Split { beside, .. } => beside.as_ref().map(|(mount, path)| (mount.as_path(), path.as_path())),
        }
    }

    /// Its version.
    pub fn version(&self) -> Version {
        match self {
            Self::Unified { .. } => Version::Two,
            Self::Split { .. } => Version::One,
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version() {
            Version::One => "v1",
            Version::Two => "v2",
        };
        let names: Vec<_> = self.controllers().into_iter().map(Controller::name).collect();
        write!(f, "{version}, {}", names.join(" "))
    }
}

/// Why there are no groups for pods.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// No hierarchy is mounted.
    #[error("cgroups are not mounted")]
    NotMounted,
    /// Version 1, of which users that are not root can use none.
    #[error("cgroups are version 1, of which only root can use any")]
    VersionOne,
    /// The group that the node is in is another's.
    #[error("the cgroup {0} is not delegated to this user")]
    NotDelegated(PathBuf),
    /// A unit of systemd that starts its process in the very group that is to hold groups: the unit could never be restarted
    /// while pods run.
    #[error("the unit of the cgroup {0} has no `DelegateSubgroup=kubelocal-node` (systemd 254)")]
    NoSubgroup(PathBuf),
    /// No controller is delegated.
    #[error("no controllers are delegated to the cgroup {0}")]
    NoControllers(PathBuf),
    /// The kernel refused something.
    #[error("{0}")]
    Refused(String),
}

/// What a group may use. What is `None` is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// CPU time, in thousandths of a CPU.
    pub cpu: Option<u64>,
    /// The part of contended CPU time, in the shares of version 1: 1024 for a CPU. Version 2 has weights, which follow from them.
    pub cpu_shares: Option<u64>,
    /// Bytes of memory, after which the kernel kills.
    pub memory: Option<u64>,
    /// Bytes of memory, after which the kernel reclaims and slows down. Version 2 only.
    pub memory_high: Option<u64>,
    /// Bytes of memory that are not reclaimed for others. Version 2 only.
    pub memory_protection: Option<Protection>,
    /// How many processes and threads.
    pub pids: Option<u64>,
    /// Bytes of huge pages, by the bytes of a page.
    pub hugepages: BTreeMap<u64, u64>,
    /// Whether the kernel, when it kills one process for want of memory, kills all of them. Version 2 only.
    pub dies_together: bool,
}

/// What a group has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time since it began, in nanoseconds.
    pub cpu_nanos: u64,
    /// Bytes of memory that can't be reclaimed at ease (kubelet's working set).
    pub memory_bytes: u64,
    /// Numbers for processes and threads, at present.
    #[serde(default)]
    pub tasks: u64,
}

/// A group's directory.
fn below(mount: &Path, group: &Path) -> PathBuf {
    mount.join(group.strip_prefix("/").unwrap_or(group))
}

/// What gives controllers to the groups below, written into `cgroup.subtree_control`.
fn enabling(controllers: &BTreeSet<Controller>) -> String {
    let words: Vec<String> = controllers.iter().map(|controller| format!("+{controller}")).collect();
    words.join(" ")
}
