//! What is so on this host. Gathered once, judged elsewhere; what can't be found out is absent and not guessed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::probe::{self, Probe};
use crate::cgroup::{self, Lack, Tree};
use crate::device;
use crate::os::find_program;

/// A range of subordinate ids (`subuid(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRange {
    /// Whose it is: a name, or a number.
    pub owner: String,
    /// The first id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// A program that must be privileged to be of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helper {
    /// It is not in the path.
    Missing,
    /// It is there, but neither set-uid nor with file capabilities.
    Powerless,
    /// It is there and privileged.
    Usable,
}

/// What of cgroups the user may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    /// Where a node that is started from here would make pods' groups, or why nowhere.
    pub here: Result<Tree, Lack>,
    /// Whether that node gets a scope of its own from the user's systemd instead.
    pub scope: bool,
    /// The controllers that the user's systemd has to give: `cpu`, `memory`, `pids` …
    pub manager: Vec<String>,
}

/// Everything that the checks look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The user.
    pub uid: u32,
    /// Its name.
    pub user: String,
    /// Where the node keeps its files.
    pub home: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// `ID` and `ID_LIKE` of `os-release(5)`.
    pub distribution: String,
    /// `major.minor` of the kernel.
    pub kernel: Option<(u32, u32)>,
    /// What came of trying.
    pub probe: Probe,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`.
    pub unprivileged_userns_clone: Option<u64>,
    /// Ubuntu's `kernel.apparmor_restrict_unprivileged_userns`.
    pub apparmor_restrict_userns: Option<u64>,
    /// All of `/etc/subuid`.
    pub subuid: Vec<IdRange>,
    /// All of `/etc/subgid`.
    pub subgid: Vec<IdRange>,
    /// `newuidmap` and `newgidmap`, the worse of the two.
    pub id_helpers: Helper,
    /// Cgroups.
    pub cgroups: Cgroups,
    /// Whether systemd runs the host.
    pub has_systemd: bool,
    /// Whether the user's services outlive its last session.
    pub lingers: bool,
    /// Whether the settings have pasta carry what pods send outside (`egress: {via: pasta}`).
    pub wants_pasta: bool,
    /// Whether that is installed.
    pub has_pasta: bool,
    /// The user's group.
    pub gid: u32,
    /// The groups that may send echoes of ICMP, first and last (`net.ipv4.ping_group_range`).
    pub ping_groups: Option<(u32, u32)>,
    /// Whether `/dev/net/tun` can be opened.
    pub has_tun: bool,
    /// `fs.inotify.max_user_watches`.
    pub inotify_watches: Option<u64>,
    /// `fs.inotify.max_user_instances`.
    pub inotify_instances: Option<u64>,
    /// Bytes that the user may still write where the node keeps its files.
    pub free_bytes: Option<u64>,
    /// Files that may still be made there.
    pub free_inodes: Option<u64>,
    /// What devices pods can get.
    pub devices: device::Catalogue,
}

impl Facts {
    /// Looks at the host.
    #[must_use]
    pub fn gather(home: &Path) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let user = user_name(uid);
        let space = nearest(home).and_then(|dir| rustix::fs::statvfs(&dir).ok());
        Self {
            uid,
            home: home.to_owned(),
            program: std::env::current_exe().unwrap_or_else(|_| "kubelocal".into()),
            distribution: distribution(),
            kernel: kernel(&rustix::system::uname().release().to_string_lossy()),
            probe: nearest(home).map(|dir| probe::run(&dir)).unwrap_or_default(),
            max_user_namespaces: sysctl("user/max_user_namespaces"),
            unprivileged_userns_clone: sysctl("kernel/unprivileged_userns_clone"),
            apparmor_restrict_userns: sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            subuid: ranges(&fs::read_to_string("/etc/subuid").unwrap_or_default()),
            subgid: ranges(&fs::read_to_string("/etc/subgid").unwrap_or_default()),
            id_helpers: worse(helper("newuidmap"), helper("newgidmap")),
            cgroups: cgroups(uid),
            has_systemd: Path::new("/run/systemd/system").is_dir(),
            lingers: Path::new("/var/lib/systemd/linger").join(&user).exists(),
            wants_pasta: wants_pasta(&fs::read_to_string(home.join("config.yaml")).unwrap_or_default()),
            has_pasta: find_program("pasta").is_some(),
            gid: rustix::process::getgid().as_raw(),
            ping_groups: groups(&fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default()),
            has_tun: fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/net/tun")
                .is_ok(),
            inotify_watches: sysctl("fs/inotify/max_user_watches"),
            inotify_instances: sysctl("fs/inotify/max_user_instances"),
            free_bytes: space
                .as_ref()
                .map(|space| space.f_bavail.saturating_mul(space.f_frsize)),
            free_inodes: space
                .as_ref()
                .filter(|space| space.f_files > 0)
                .map(|space| space.f_favail),
            devices: device::look(&device::directories(home), &device::Settings::new()),
            user,
        }
    }

    /// The ranges that are this user's, by name or number.
    #[must_use]
    pub fn own<'a>(&self, ranges: &'a [IdRange]) -> Vec<&'a IdRange> {
        let number = self.uid.to_string();
        ranges
            .iter()
            .filter(|range| range.owner == self.user || range.owner == number)
            .collect()
    }
}

fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{name}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Whether a node with these settings would start pasta. Settings that can't be read are for the node to complain of.
fn wants_pasta(config: &str) -> bool {
    let config: Option<serde_json::Value> = serde_yaml::from_str(config).ok();
    config.is_some_and(|config| config["egress"]["via"] == "pasta" && config["egress"]["enabled"] != false)
}

/// `1\t0` → (1, 0), which is nobody.
fn groups(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The directory itself, or the nearest above it that is there.
fn nearest(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|dir| dir.is_dir()).map(Path::to_owned)
}

fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut own = fields.filter(|fields| fields.get(2).is_some_and(|id| *id == uid.to_string()));
    // Users of a directory service stand in no file; their session knows the name.
    let name = own
        .next()
        .and_then(|fields| fields.first().map(|name| (*name).to_owned()));
    name.or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| uid.to_string())
}

fn distribution() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let lines = release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    lines.map(|value| value.trim_matches('"')).collect::<Vec<_>>().join(" ")
}

/// `6.8.0-45-generic` → (6, 8).
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn ranges(text: &str) -> Vec<IdRange> {
    let range = |line: &str| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        Some(IdRange {
            owner: owner.to_owned(),
            first: first.trim().parse().ok()?,
            count: count.trim().parse().ok()?,
        })
    };
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(range)
        .collect()
}

fn helper(name: &str) -> Helper {
    let Some(file) = find_program(name) else {
        return Helper::Missing;
    };
    let is_set_uid = fs::metadata(&file).is_ok_and(|meta| meta.mode() & 0o4000 != 0 && meta.uid() == 0);
    let has_capabilities = rustix::fs::getxattr(&file, "security.capability", &mut [0_u8; 64]).is_ok();
    if is_set_uid || has_capabilities {
        Helper::Usable
    } else {
        Helper::Powerless
    }
}

fn worse(a: Helper, b: Helper) -> Helper {
    let rank = |helper: Helper| match helper {
        Helper::Missing => 0,
        Helper::Powerless => 1,
        Helper::Usable => 2,
    };
    if rank(a) <= rank(b) { a } else { b }
}

fn cgroups(uid: u32) -> Cgroups {
    let manager = match uid {
        0 => "/sys/fs/cgroup/cgroup.controllers".to_owned(),
        _ => format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"),
    };
    let controllers = fs::read_to_string(manager).unwrap_or_default();
    let here = cgroup::look();
    Cgroups {
        scope: cgroup::is_offered(&here),
        here,
        manager: controllers.split_whitespace().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_kernels_are_read() {
        let read = ranges("# comment\nada:100000:65536\n1000:165536:10\nbroken\n");
        let range = |owner: &str, first, count| IdRange {
            owner: owner.into(),
            first,
            count,
        };
        assert_eq!(read, [range("ada", 100_000, 65_536), range("1000", 165_536, 10)]);
        assert_eq!(kernel("6.8.0-45-generic"), Some((6, 8)));
        assert_eq!(kernel("5.15.153.1-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(kernel("x"), None);
        assert_eq!(groups("1\t0\n"), Some((1, 0)));
        for (config, wanted) in [
            ("", false),
            ("egress: {via: pasta}", true),
            ("egress: {via: node}", false),
            ("egress: {via: pasta, enabled: false}", false),
            ("egress: [", false),
        ] {
            assert_eq!(wants_pasta(config), wanted, "{config}");
        }
    }

    #[test]
    fn looking_at_any_host_ends_with_a_judgement() {
        let tmp = tempfile::tempdir().expect("a temporary directory");
        let facts = Facts {
            probe: Probe::default(),
            ..Facts::gather(&tmp.path().join("not/yet/there"))
        };
        assert!(!super::super::judge(&facts).is_empty());
    }
}
