//! One pod's group and those of its containers below it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::plan::{Setting, Version, plan_settings};
use super::{Controller, Limits, Tree, Usage, below, enabling};

/// A pod's group. It is reached by descriptors, so that it stays in reach where another file system hides its own.
#[derive(Debug)]
pub struct Group {
    name: String,
    version: Version,
    controllers: BTreeSet<Controller>,
    /// The group from the root of version 2, as OCI's `cgroupsPath` has it.
    path: Option<PathBuf>,
    /// The directories that the pod's are in, and whose they are: for none in particular in version 2.
    parents: Vec<(Option<Controller>, OwnedFd)>,
}

impl Group {
    /// Where the group of that name is, or will be: to be written down before it is made.
    pub fn paths(tree: &Tree, name: &str) -> Vec<PathBuf> {
        parents(tree).into_iter().map(|(_, dir)| dir.join(name)).collect()
    }

    /// Makes a pod's group, or takes over one that is there.
    ///
    /// # Errors
    /// The kernel refused it: the message names the file.
    pub fn make(tree: &Tree, name: &str, limits: &Limits) -> io::Result<Group> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |(controller, path): (_, PathBuf)| match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(dir) => Ok((controller, dir)),
            Err(error) => Err(at(&path, error.into())),
        };
        let group = Group {
            name: name.to_owned(),
            version: tree.version(),
            controllers: tree.controllers(),
            path: tree.unified().map(|(_, path)| path.join(name)),
            parents: parents(tree).into_iter().map(open).collect::<Result<_, _>>()?,
        };
        for dir in group.dirs() {
            make_dir(&dir)?;
        }
        if let Tree::Unified { controllers, .. } = tree {
            let wanted = enabling(controllers);
            group
                .dirs()
                .try_for_each(|dir| write(&dir.join("cgroup.subtree_control"), &wanted))?;
        }
        group.limit(None, limits)?;
        Ok(group)
    }

    /// A container's group, as OCI's `cgroupsPath` has it; of version 2.
    pub fn oci_path(&self, leaf: &str) -> Option<PathBuf> {
        self.path.as_ref().map(|path| path.join(leaf))
    }

    /// Makes the group of a container.
    ///
    /// # Errors
    /// The kernel refused it: the message names the file.
    pub fn make_leaf(&self, leaf: &str, limits: &Limits) -> io::Result<()> {
        for dir in self.dirs() {
            make_dir(&dir.join(leaf))?;
        }
        self.limit(Some(leaf), limits)
    }

    /// Sets the limits of the pod, or of a container.
    ///
    /// # Errors
    /// The kernel refused one: the message names the file.
    pub fn limit(&self, leaf: Option<&str>, limits: &Limits) -> io::Result<()> {
        let mut settings = plan_settings(limits, self.version, &self.controllers);
        // One that may not be above another is taken once that one has been raised.
        settings.retain(|setting| self.write_setting(leaf, setting).is_err());
        settings
            .iter()
            .try_for_each(|setting| self.write_setting(leaf, setting))
    }

    fn write_setting(&self, leaf: Option<&str>, setting: &Setting) -> io::Result<()> {
        let Some(dir) = self.dir(setting.controller, leaf) else {
            return Ok(());
        };
        match write(&dir.join(&setting.file), &setting.value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !setting.is_needed => Ok(()),
            other => other,
        }
    }

    /// Moves the calling process into a container's groups of version 1. Into that of version 2 the OCI runtime puts what it makes, and if
    /// that fails, it kills everything there.
    ///
    /// # Errors
    /// The kernel refused it.
    pub fn enter(&self, leaf: &str) -> io::Result<()> {
        let split = self.parents.iter().filter(|(controller, _)| controller.is_some());
        let mut dirs = split.map(|(_, parent)| reach(parent).join(&self.name).join(leaf));
        dirs.try_for_each(|dir| write(&dir.join("cgroup.procs"), "0"))
    }

    /// How many processes of a container the kernel has killed for want of memory.
    pub fn oom_kills(&self, leaf: &str) -> u64 {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        self.read(Controller::Memory, leaf, file)
            .and_then(|text| number_in(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// What a container has used; `None` where there is no account of it.
    pub fn usage(&self, leaf: &str) -> Option<Usage> {
        let read = |controller, file: &str| self.read(controller, leaf, file);
        let (cpu_nanos, used, reclaimable) = match self.version {
            Version::One => (
                read(Controller::CpuAcct, "cpuacct.usage")?.trim().parse().ok()?,
                read(Controller::Memory, "memory.usage_in_bytes")?,
                number_in(&read(Controller::Memory, "memory.stat")?, "total_inactive_file")?,
            ),
            Version::Two => (
                number_in(&read(Controller::Cpu, "cpu.stat")?, "usage_usec")?.saturating_mul(1000),
                read(Controller::Memory, "memory.current")?,
                number_in(&read(Controller::Memory, "memory.stat")?, "inactive_file")?,
            ),
        };
        let used: u64 = used.trim().parse().ok()?;
        Some(Usage {
            cpu_nanos,
            memory_bytes: used.saturating_sub(reclaimable),
            tasks: self.tasks(leaf),
        })
    }

    /// How many processes and threads are in a leaf. Without the controller that counts them those below it are left out.
    fn tasks(&self, leaf: &str) -> u64 {
        let counted = self.read(Controller::Pids, leaf, "pids.current");
        let list = match self.version {
            Version::One => "tasks",
            Version::Two => "cgroup.threads",
        };
        let listed = || Some(self.read(Controller::Memory, leaf, list)?.lines().count() as u64);
        counted
            .and_then(|count| count.trim().parse().ok())
            .or_else(listed)
            .unwrap_or(0)
    }

    /// Removes a container's group once it is empty.
    pub fn remove_leaf(&self, leaf: &str) {
        // One that is still in use goes with the pod's.
        self.dirs().for_each(|dir| remove_tree(&dir.join(leaf), 0));
    }

    /// The processes of a leaf and below it.
    pub fn processes(&self, leaf: &str) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        self.dirs()
            .for_each(|dir| find_processes(&dir.join(leaf), 0, &mut found));
        found
    }

    /// Removes the pod's group and what is left below it.
    pub fn remove(&self) {
        self.dirs().for_each(|dir| remove_tree(&dir, 0));
    }

    fn read(&self, controller: Controller, leaf: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.dir(controller, Some(leaf))?.join(file)).ok()
    }

    /// Where the files of a controller are.
    fn dir(&self, controller: Controller, leaf: Option<&str>) -> Option<PathBuf> {
        let is_it = |of: &Option<Controller>| of.map_or(self.version == Version::Two, |of| of == controller);
        let (_, parent) = self.parents.iter().find(|(of, _)| is_it(of))?;
        let dir = reach(parent).join(&self.name);
        Some(leaf.map_or_else(|| dir.clone(), |leaf| dir.join(leaf)))
    }

    fn dirs(&self) -> impl Iterator<Item = PathBuf> {
        self.parents.iter().map(|(_, parent)| reach(parent).join(&self.name))
    }
}

/// Collects processes of a group and of those that a container made below it, as far down as any container has reason to.
fn find_processes(dir: &Path, depth: usize, found: &mut BTreeSet<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    found.extend(
        text.lines()
            .filter_map(|line| line.parse::<i32>().ok())
            .filter(|pid| *pid > 0),
    );
    if depth < DEEPEST {
        let below = fs::read_dir(dir).into_iter().flatten().flatten();
        let groups = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        groups.for_each(|group| find_processes(&group.path(), depth + 1, found));
    }
}

/// Removes the groups that a dead supervisor has left.
pub fn remove_left(paths: &[PathBuf]) {
    paths.iter().for_each(|path| remove_tree(path, 0));
}

/// How deep groups are looked for below a container's: a privileged one may have made some.
const DEEPEST: usize = 16;

/// Groups are removed by rmdir alone, the leaves first.
fn remove_tree(path: &Path, depth: usize) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| depth < DEEPEST && entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path(), depth + 1);
    }
    // One that is still in use stays, and is found by whoever looks next.
    let _ = fs::remove_dir(path);
}

/// The directories that pods' groups are in. Controllers of version 1 that are mounted as one have one.
fn parents(tree: &Tree) -> Vec<(Option<Controller>, PathBuf)> {
    let split = match tree {
        Tree::Unified { .. } => None,
        Tree::Split { dirs, .. } => Some(dirs),
    };
    let split = split
        .into_iter()
        .flatten()
        .map(|(controller, dir)| (Some(*controller), dir.clone()));
    let unified = tree.unified().map(|(mount, path)| (None, below(mount, path)));
    split.chain(unified).collect()
}

fn reach(dir: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("{DESCRIPTORS}{}", dir.as_raw_fd()))
}

const DESCRIPTORS: &str = "/proc/self/fd/";

fn make_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(at(path, error)),
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::write(path, value).map_err(|e| at(path, e))
}

fn at(path: &Path, error: io::Error) -> io::Error {
    // Numbers of descriptors tell nobody anything.
    let path = path.to_string_lossy();
    let shown = path.strip_prefix(DESCRIPTORS).and_then(|rest| rest.split_once('/'));
    let shown = shown.map_or(&*path, |(_, path)| path);
    io::Error::new(error.kind(), format!("{shown}: {error}"))
}

/// The number after a word at a line's beginning.
fn number_in(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == word)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of a kernel, without one: directories whose files are there before they are written.
    fn machine() -> (tempfile::TempDir, Tree) {
        let mount = tempfile::tempdir().expect("a directory");
        let tree = Tree::Unified {
            mount: mount.path().to_owned(),
            path: PathBuf::from("/mine"),
            controllers: [Controller::Memory].into(),
        };
        fs::create_dir(mount.path().join("mine")).expect("a directory");
        (mount, tree)
    }

    #[test]
    fn the_processes_of_a_container_are_found_in_what_it_made_of_its_group() {
        let (mount, tree) = machine();
        let group = Group::make(&tree, "pod", &Limits::default()).expect("it is made");
        let leaf = mount.path().join("mine/pod/run");
        fs::create_dir_all(leaf.join("inner")).expect("directories");
        // A process that is not of the reader's pid namespace is 0.
        fs::write(leaf.join("cgroup.procs"), "7\n0\n8\n").expect("writes");
        fs::write(leaf.join("inner/cgroup.procs"), "9\n").expect("writes");
        assert_eq!(group.processes("run"), BTreeSet::from([7, 8, 9]));
        assert_eq!(group.processes("other"), BTreeSet::new());
    }

    #[test]
    fn a_pods_group_holds_its_containers_and_goes_with_all_that_is_below() {
        let (mount, tree) = machine();
        assert_eq!(Group::paths(&tree, "pod"), [mount.path().join("mine/pod")]);
        let group = Group::make(&tree, "pod", &Limits::default()).expect("it is made");
        assert_eq!(group.oci_path("run"), Some(PathBuf::from("/mine/pod/run")));
        let limits = Limits {
            memory: Some(4096),
            ..Limits::default()
        };
        group.make_leaf("run", &limits).expect("it is made");
        let read = |file: &str| fs::read_to_string(mount.path().join("mine/pod").join(file)).unwrap_or_default();
        assert_eq!(
            (read("run/memory.max").as_str(), read("memory.max").as_str()),
            ("4096", "max")
        );
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        group.enter("run").expect("there is nothing to enter");
        assert_eq!(read("run/cgroup.procs"), "");
    }

    #[test]
    fn processes_enter_the_groups_of_version_one_themselves() {
        let mount = tempfile::tempdir().expect("a directory");
        let dir = |name: &str| mount.path().join(name);
        let tree = Tree::Split {
            dirs: [(Controller::Memory, dir("memory")), (Controller::Pids, dir("pids"))].into(),
            beside: Some((mount.path().to_owned(), PathBuf::from("/unified"))),
        };
        for name in ["memory", "pids", "unified"] {
            fs::create_dir(dir(name)).expect("a directory");
        }
        let group = Group::make(&tree, "pod", &Limits::default()).expect("it is made");
        group.make_leaf("run", &Limits::default()).expect("it is made");
        group.enter("run").expect("it may");
        let entered = |name: &str| dir(name).join("pod/run/cgroup.procs").exists();
        assert_eq!(["memory", "pids", "unified"].map(entered), [true, true, false]);
        assert_eq!(group.oci_path("run"), Some(PathBuf::from("/unified/pod/run")));
    }

    #[test]
    fn what_is_killed_and_used_is_read_from_the_containers_own_files() {
        let (mount, tree) = machine();
        let group = Group::make(&tree, "pod", &Limits::default()).expect("it is made");
        group.make_leaf("run", &Limits::default()).expect("it is made");
        assert_eq!((group.oom_kills("run"), group.usage("run")), (0, None));
        for (file, text) in [
            ("memory.events", "low 0\noom 2\noom_kill 3\noom_group_kill 1\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 3000\ninactive_file 1000\n"),
            ("cpu.stat", "usage_usec 7\nuser_usec 5\n"),
            ("cgroup.threads", "1\n2\n3\n"),
        ] {
            fs::write(mount.path().join("mine/pod/run").join(file), text).expect("a file");
        }
        let usage = Usage {
            cpu_nanos: 7000,
            memory_bytes: 4000,
            tasks: 3,
        };
        assert_eq!((group.oom_kills("run"), group.usage("run")), (3, Some(usage)));
    }

    #[test]
    fn what_the_kernel_refuses_is_told_with_its_file() {
        let (mount, tree) = machine();
        let group = Group::make(&tree, "pod", &Limits::default()).expect("it is made");
        fs::create_dir_all(mount.path().join("mine/pod/run/memory.max")).expect("a directory in the way");
        let error = group
            .make_leaf("run", &Limits::default())
            .expect_err("refused")
            .to_string();
        assert!(error.starts_with("pod/run/memory.max: "), "{error}");
    }
}
