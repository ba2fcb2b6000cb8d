//! Devices of the host that pods get by a resource's name, as `nvidia.com/gpu` or `kubelocal.dev/fuse`.
//!
//! Files in the format of the Container Device Interface say which there are and what a container needs for one (`cdi`, pure); `look`
//! finds them, tells which can be used here, and adds a few of our own; `plan` decides who gets which, and is pure; the [`Ledger`] remembers who
//! has which. The room knows neither pods nor how containers are made.

mod cdi;
mod ledger;
mod look;
mod plan;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use ledger::{Ledger, LedgerError, Setting, Settings};
pub use plan::{Shortage, Want, plan_allocation};

/// Whose devices those are that need no file.
const OWN_VENDOR: &str = "kubelocal.dev";

/// How many may share a device: more than pods fit on a node.
pub const MOST_SHARED: u32 = 10_000;

/// Where files are looked for besides a node's own directory; the later ones are believed more.
const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// One share of a device: which it is, and which of those who may have it at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Share {
    /// The resource: `vendor.com/class`.
    pub resource: String,
    /// The device's name in its class.
    pub device: String,
    /// 0 where it belongs to one alone.
    pub place: u32,
}

/// As CDI names devices.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.resource, self.device)
    }
}

/// What a container gets with a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Device nodes.
    pub nodes: Vec<Node>,
    /// Files and directories of the host.
    pub mounts: Vec<Mount>,
    /// Programs of the host that are run for it.
    pub hooks: Vec<Hook>,
    /// Groups beside the user's own.
    pub groups: Vec<u32>,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where the container finds it.
    pub path: String,
    /// Where the host has it.
    pub host_path: PathBuf,
    /// What it must be; whatever device it is if nothing is said.
    pub kind: Option<NodeKind>,
    /// Whether it is written to.
    pub is_written: bool,
}

/// What a device node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// `c` or `u`.
    Character,
    /// `b`.
    Block,
    /// `p`.
    Pipe,
}

/// Files of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where the container finds them.
    pub path: String,
    /// Where the host has them.
    pub host_path: PathBuf,
    /// Whether they can't be changed.
    pub is_read_only: bool,
    /// `nosuid`, `nodev` and `noexec`, as far as they were asked for.
    pub options: Vec<String>,
}

/// A program that the OCI runtime runs at some point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When: `createContainer` for example.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Its arguments, its own name first.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// How many seconds it may take.
    pub timeout: Option<u32>,
}

impl Edits {
    /// Adds what others bring. Of two variables, nodes or mounts at the same place the later one counts.
    fn add(&mut self, more: &Edits) {
        let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
        put(&mut self.env, &more.env, name);
        put(&mut self.nodes, &more.nodes, |node| node.path.clone());
        put(&mut self.mounts, &more.mounts, |mount| mount.path.clone());
        for hook in &more.hooks {
            if !self.hooks.contains(hook) {
                self.hooks.push(hook.clone());
            }
        }
        for group in &more.groups {
            if !self.groups.contains(group) {
                self.groups.push(*group);
            }
        }
    }
}

fn put<T: Clone>(list: &mut Vec<T>, more: &[T], key: impl Fn(&T) -> String) {
    for entry in more {
        let of_entry = key(entry);
        list.retain(|present| key(present) != of_entry);
        list.push(entry.clone());
    }
}

/// A device of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// What a container gets with it alone.
    pub own: Edits,
    /// What a container gets with any device of its file.
    pub common: Edits,
    /// Why it can't be used, if it can't.
    pub problem: Option<String>,
}

/// The devices of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Class {
    /// Those that are counted: no other names of them, no bundles of them.
    pub devices: Vec<Device>,
    /// How many may have one at a time.
    pub shared_by: u32,
}

impl Class {
    /// How many shares there are, and how many of them can be given out.
    fn counts(&self) -> (u64, u64) {
        let count = |devices: usize| devices as u64 * u64::from(self.shared_by);
        let usable = self.devices.iter().filter(|device| device.problem.is_none());
        (count(self.devices.len()), count(usable.count()))
    }
}

/// All devices that there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// By resource.
    pub classes: BTreeMap<String, Class>,
    /// What is wrong with files and devices.
    pub problems: Vec<String>,
}

impl Catalogue {
    /// What the node has: all, and what pods may get.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.classes.iter().map(|(name, class)| {
            let (all, usable) = class.counts();
            (name.as_str(), all, usable)
        })
    }

    /// What a container that has these shares gets.
    ///
    /// # Errors
    /// One of them is not there any more, or can't be used by now.
    pub fn edits(&self, shares: &[Share]) -> Result<Edits, String> {
        let mut edits = Edits::default();
        for share in shares {
            let class = self.classes.get(&share.resource);
            let device = class.and_then(|class| class.devices.iter().find(|device| device.name == share.device));
            let device = device.ok_or_else(|| format!("device {share} is not there any more"))?;
            if let Some(problem) = &device.problem {
                return Err(format!("device {share}: {problem}"));
            }
            edits.add(&device.common);
            edits.add(&device.own);
        }
        Ok(edits)
    }
}

/// Where a node that keeps its files in `home` looks for files; the later ones are believed more.
pub fn directories(home: &Path) -> Vec<PathBuf> {
    let own = own_directory(home);
    DIRECTORIES.iter().map(PathBuf::from).chain([own]).collect()
}

/// The directory for files of the user's own.
pub fn own_directory(home: &Path) -> PathBuf {
    home.join("cdi")
}

/// What is there.
pub fn look(directories: &[PathBuf], shared_by: &Settings) -> Catalogue {
    look::look(directories, shared_by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_edits_of_one_place_the_later_one_counts() {
        let edits = |value: &str| Edits {
            env: vec![format!("A={value}"), "B".to_owned()],
            groups: vec![5],
            ..Edits::default()
        };
        let mut sum = edits("1");
        sum.add(&edits("2"));
        assert_eq!((sum.env, sum.groups), (vec!["A=2".to_owned(), "B".to_owned()], vec![5]));
    }
}
