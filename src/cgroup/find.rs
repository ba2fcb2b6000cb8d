//! Where pods' groups can be: found from this process's own group, and made usable.
//!
//! In version 2 a group whose children have limits holds no processes itself. So what is in the tree's root moves into a
//! group beside the pods', [`NODE_GROUP`], which is also the name that a unit gives to `DelegateSubgroup=`. In version 1 the groups of
//! whatever else the machine does lie beside ours, so all pods have one above them, [`PODS_GROUP`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{Controller, Lack, Tree, below, enabling};

/// The group of the node's own processes.
pub const NODE_GROUP: &str = "kubelocal-node";

/// The group of all pods in version 1.
const PODS_GROUP: &str = "kubelocal";

/// What a CPU counts for in `cpu.shares`, as everywhere (kubelet `SharesPerCPU`).
const SHARES_PER_CPU: usize = 1024;

/// How often what is in the tree's root is moved away: processes may be forked meanwhile.
const MOVES: usize = 16;

/// Looks where pods' groups could be, and changes nothing.
///
/// # Errors
/// See [`Lack`].
pub fn look() -> Result<Tree, Lack> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let mounts = Mounts::of(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
    if let Some(tree) = split(&mounts) {
        return Ok(tree);
    }
    let has_one = !mounts.split.is_empty();
    match &mounts.unified {
        // Beside version 1 it has no controllers.
        Some(own) => unified(own).map_err(|lack| if has_one { Lack::VersionOne } else { lack }),
        None if has_one => Err(Lack::VersionOne),
        None => Err(Lack::NotMounted),
    }
}

/// Finds the tree and makes it usable: to be called by the node before it starts anything.
///
/// # Errors
/// See [`Lack`].
pub fn prepare() -> Result<Tree, Lack> {
    let tree = look()?;
    let (mount, path, controllers) = match &tree {
        Tree::Split { dirs, beside } => return gather(dirs, beside.clone()),
        Tree::Unified {
            mount,
            path,
            controllers,
        } => (mount, path, controllers),
    };
    let dir = below(mount, path);
    let refused = |what: &str, e: io::Error| Lack::Refused(format!("{}: {what}: {e}", dir.display()));
    let enable = || fs::write(dir.join("cgroup.subtree_control"), enabling(controllers));
    match enable() {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            make_room(&dir).map_err(|e| refused("its processes can't be moved", e))?;
            enable().map_err(|e| refused("controllers can't be enabled", e))?;
        }
        Err(error) => return Err(refused("controllers can't be enabled", error)),
        Ok(()) => {}
    }
    Ok(tree)
}

/// A group for all pods, which weighs as much as the machine has CPUs, as the kubelet's `kubepods` does. Without it a pod that asks for
/// no CPU time, two shares, would get a five-hundredth of what any other program gets, and starve while a compiler runs.
fn gather(dirs: &BTreeMap<Controller, PathBuf>, beside: Option<(PathBuf, PathBuf)>) -> Result<Tree, Lack> {
    let mut below = BTreeMap::new();
    for (controller, dir) in dirs {
        let dir = dir.join(PODS_GROUP);
        let refused = |e: io::Error| Lack::Refused(format!("{}: {e}", dir.display()));
        fs::create_dir_all(&dir).map_err(refused)?;
        if *controller == Controller::Cpu {
            let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            fs::write(dir.join("cpu.shares"), (SHARES_PER_CPU * cpus).to_string()).map_err(refused)?;
        }
        below.insert(*controller, dir);
    }
    Ok(Tree::Split { dirs: below, beside })
}

/// Moves all processes of a group into one below it.
fn make_room(dir: &Path) -> io::Result<()> {
    let node = dir.join(NODE_GROUP);
    match fs::create_dir(&node) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for _ in 0..MOVES {
        let pids = fs::read_to_string(dir.join("cgroup.procs"))?;
        if pids.trim().is_empty() {
            return Ok(());
        }
        for pid in pids.lines() {
            match fs::write(node.join("cgroup.procs"), pid) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
    }
    Err(io::Error::other("new ones appear without end"))
}

/// This process's groups, where they are mounted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    /// Version 2: where it is mounted, and the group from there.
    unified: Option<(PathBuf, PathBuf)>,
    /// Version 1: by controller.
    split: BTreeMap<Controller, PathBuf>,
}

impl Mounts {
    /// From `/proc/self/mountinfo` (proc_pid_mountinfo(5)) and `/proc/self/cgroup` (cgroups(7)).
    fn of(mountinfo: &str, own: &str) -> Mounts {
        let mut mounts = Mounts::default();
        for line in mountinfo.lines() {
            let Some((place, kind)) = line.split_once(" - ") else {
                continue;
            };
            let (mut place, mut kind) = (place.split(' ').skip(3), kind.split(' '));
            let (Some(root), Some(point)) = (place.next(), place.next()) else {
                continue;
            };
            let (Some(kind), Some(options)) = (kind.next(), kind.nth(1)) else {
                continue;
            };
            match kind {
                "cgroup2" => {
                    let group = own_group(own, |controllers| controllers.is_empty(), root);
                    let found = group.map(|group| (PathBuf::from(point), group));
                    mounts.unified = mounts.unified.or(found);
                }
                "cgroup" => {
                    let known = [&Controller::LIMITING[..], &[Controller::CpuAcct]].concat();
                    for controller in known {
                        let is_it = |list: &str| list.split(',').any(|name| name == controller.name());
                        if is_it(options)
                            && let Some(group) = own_group(own, is_it, root)
                        {
                            mounts.split.insert(controller, below(Path::new(point), &group));
                        }
                    }
                }
                _ => {}
            }
        }
        mounts
    }
}

/// This process's group in the hierarchy whose controllers are `is_it`, from the root that is mounted.
fn own_group(own: &str, is_it: impl Fn(&str) -> bool, root: &str) -> Option<PathBuf> {
    own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let from_root = Path::new(path).strip_prefix(root).ok()?;
        is_it(controllers).then(|| Path::new("/").join(from_root))
    })
}

/// Version 1, where this process may make groups: for root, or in directories that were given to the user.
fn split(mounts: &Mounts) -> Option<Tree> {
    let is_ours = |dir: &Path| can_write(dir) && can_write(&dir.join("cgroup.procs"));
    let own = mounts.split.iter().filter(|(_, dir)| is_ours(dir));
    let dirs: BTreeMap<_, _> = own.map(|(controller, dir)| (*controller, dir.clone())).collect();
    let limits = Controller::LIMITING
        .iter()
        .any(|controller| dirs.contains_key(controller));
    let beside = mounts
        .unified
        .clone()
        .filter(|(mount, group)| is_ours(&below(mount, group)));
    limits.then_some(Tree::Split { dirs, beside })
}

fn unified((mount, own): &(PathBuf, PathBuf)) -> Result<Tree, Lack> {
    let is_in_subgroup = own.file_name().is_some_and(|name| name == NODE_GROUP);
    let path = match own.parent() {
        Some(parent) if is_in_subgroup => parent.to_owned(),
        _ => own.clone(),
    };
    let dir = below(mount, &path);
    let is_ours = can_write(&dir)
        && ["cgroup.procs", "cgroup.subtree_control"]
            .iter()
            .all(|f| can_write(&dir.join(f)));
    if !is_ours {
        return Err(Lack::NotDelegated(path));
    }
    match unit_of(&path).map(|unit| below(mount, &unit)) {
        None => {}
        // The nearest unit is above: somebody made this group by hand.
        Some(unit) if unit != dir => {}
        Some(unit) if !is_delegated(&unit) && !is_alone(&unit) => return Err(Lack::NotDelegated(path)),
        Some(unit) if !is_in_subgroup && unit.extension().is_some_and(|kind| kind == "service") => {
            return Err(Lack::NoSubgroup(path));
        }
        Some(_) => {}
    }
    let controllers = controllers_in(&fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default());
    if controllers.is_empty() {
        return Err(Lack::NoControllers(path));
    }
    Ok(Tree::Unified {
        mount: mount.clone(),
        path,
        controllers,
    })
}

fn controllers_in(text: &str) -> BTreeSet<Controller> {
    let is_there = |controller: &Controller| text.split_ascii_whitespace().any(|name| name == controller.name());
    Controller::LIMITING.into_iter().filter(is_there).collect()
}

/// The group of the nearest unit of systemd that holds processes.
fn unit_of(path: &Path) -> Option<PathBuf> {
    let is_unit = |dir: &&Path| dir.extension().is_some_and(|kind| kind == "service" || kind == "scope");
    path.ancestors().find(is_unit).map(Path::to_owned)
}

/// How systemd marks what it leaves to others (`Delegate=` in systemd.resource-control(5)).
fn is_delegated(dir: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0_u8; 8];
        rustix::fs::getxattr(dir, *name, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// Older systemd leaves no mark that a user may read. A group with this process alone is nobody else's.
fn is_alone(dir: &Path) -> bool {
    let own = std::process::id().to_string();
    fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|pids| pids.lines().eq([own.as_str()]))
}

fn can_write(path: &Path) -> bool {
    rustix::fs::access(path, Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURE: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "\
        31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        33 23 0:29 /outer /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        34 23 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";

    #[test]
    fn this_processs_groups_are_found_where_they_are_mounted() {
        let unified = |mount: &str, group: &str| Some((PathBuf::from(mount), PathBuf::from(group)));
        let own = "0::/user.slice/x.scope\n";
        assert_eq!(
            Mounts::of(PURE, own).unified,
            unified("/sys/fs/cgroup", "/user.slice/x.scope")
        );
        assert_eq!(Mounts::of(PURE, own).split, BTreeMap::new());
        let own = "9:name=systemd:/\n4:memory:/outer/a\n3:cpu,cpuacct:/b\n0::/\n";
        let found = Mounts::of(HYBRID, own);
        assert_eq!(found.unified, unified("/sys/fs/cgroup/unified", "/"));
        let expected = [
            (Controller::Cpu, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/b")),
            (Controller::CpuAcct, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/b")),
            (Controller::Memory, PathBuf::from("/sys/fs/cgroup/memory/a")),
        ];
        assert_eq!(found.split, expected.into());
    }

    #[test]
    fn the_pods_of_version_one_weigh_together_what_the_machine_has() {
        let mount = tempfile::tempdir().expect("a directory");
        let dir = |name: &str| mount.path().join(name);
        let dirs = [(Controller::Cpu, dir("cpu")), (Controller::Memory, dir("memory"))].into();
        let tree = gather(&dirs, None).expect("they can be made");
        let below = [
            (Controller::Cpu, dir("cpu/kubelocal")),
            (Controller::Memory, dir("memory/kubelocal")),
        ];
        let expected = Tree::Split {
            dirs: below.into(),
            beside: None,
        };
        assert_eq!(tree, expected);
        let shares = fs::read_to_string(dir("cpu/kubelocal/cpu.shares")).expect("it is written");
        let shares: usize = shares.parse().expect("a number");
        assert!(shares >= 1024 && shares.is_multiple_of(1024), "{shares}");
        assert!(!dir("memory/kubelocal/cpu.shares").exists());
        assert_eq!(gather(&dirs, None).expect("it is there already"), expected);
    }

    #[test]
    fn what_is_no_table_of_mounts_has_no_groups() {
        for text in [
            "",
            "garbage",
            "1 2 3 - cgroup2",
            " - cgroup2 x y\n",
            "1 2 3 / /x rw - cgroup",
        ] {
            assert_eq!(Mounts::of(text, "0::/\n"), Mounts::default(), "{text}");
        }
    }

    #[test]
    fn the_nearest_unit_decides_whose_a_group_is() {
        let unit = |path: &str| unit_of(Path::new(path)).map(|unit| unit.display().to_string());
        assert_eq!(
            unit("/user.slice/user-7.slice/user@7.service/app.slice/k.service/by-hand").as_deref(),
            Some("/user.slice/user-7.slice/user@7.service/app.slice/k.service")
        );
        assert_eq!(unit("/by-hand"), None);
    }

    #[test]
    fn a_group_that_is_written_by_others_is_not_delegated() {
        let mount = tempfile::tempdir().expect("a directory");
        // Nothing of a group is in it, so nothing of it can be written.
        let lack = unified(&(mount.path().to_owned(), PathBuf::from("/"))).expect_err("no group");
        assert_eq!(lack, Lack::NotDelegated(PathBuf::from("/")));
    }

    /// A directory with the files of a group.
    fn group(dir: &Path, controllers: &str) {
        fs::create_dir_all(dir).expect("a directory");
        for (file, text) in [
            ("cgroup.procs", ""),
            ("cgroup.subtree_control", ""),
            ("cgroup.controllers", controllers),
        ] {
            fs::write(dir.join(file), text).expect("a file");
        }
    }

    #[test]
    fn the_tree_is_above_the_nodes_own_group() {
        let mount = tempfile::tempdir().expect("a directory");
        group(&mount.path().join("mine"), "cpuset cpu io memory\n");
        for own in ["/mine", "/mine/kubelocal-node"] {
            let tree = unified(&(mount.path().to_owned(), PathBuf::from(own))).expect("it is ours");
            let expected = Tree::Unified {
                mount: mount.path().to_owned(),
                path: PathBuf::from("/mine"),
                controllers: [Controller::Cpu, Controller::Memory].into(),
            };
            assert_eq!(tree, expected);
        }
        group(&mount.path().join("poor"), "\n");
        let lack = unified(&(mount.path().to_owned(), PathBuf::from("/poor"))).expect_err("no controllers");
        assert_eq!(lack, Lack::NoControllers(PathBuf::from("/poor")));
    }

    #[test]
    fn a_unit_must_be_delegated_and_start_its_process_below() {
        let mount = tempfile::tempdir().expect("a directory");
        let (alone, shared) = (mount.path().join("k.service"), mount.path().join("terminal.scope"));
        group(&alone, "memory");
        group(&shared, "memory");
        fs::write(shared.join("cgroup.procs"), "1\n2\n").expect("a file");
        fs::write(alone.join("cgroup.procs"), format!("{}\n", std::process::id())).expect("a file");
        let own = |group: &str| unified(&(mount.path().to_owned(), PathBuf::from(group)));
        assert_eq!(
            own("/terminal.scope"),
            Err(Lack::NotDelegated("/terminal.scope".into()))
        );
        assert_eq!(own("/k.service"), Err(Lack::NoSubgroup("/k.service".into())));
        group(&mount.path().join("run-r1.scope"), "memory");
        fs::write(
            mount.path().join("run-r1.scope/cgroup.procs"),
            format!("{}\n", std::process::id()),
        )
        .expect("a file");
        assert!(own("/run-r1.scope").is_ok());
        group(&mount.path().join("k.service/by-hand"), "memory");
        assert!(own("/k.service/by-hand").is_ok());
    }
}
