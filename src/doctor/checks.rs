//! Judging the facts: one function for each check, pure. A verdict names what does not work and the exact command that mends
//! it; what needs another decision than the user's (a reboot, another file system) says so.

mod network;

use network::{egress_rules, network, pasta, service_rules, tun};
use std::collections::BTreeSet;

use super::facts::{Facts, Helper, IdRange};
use crate::cgroup::{Controller, Lack};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Fine,
    /// The node runs, but something in it does less.
    Warning,
    /// The node can't run.
    Error,
}

/// One check, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What was checked.
    pub check: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found, and what follows from it.
    pub found: String,
    /// The command that mends it, to be pasted into a shell.
    pub mend: Option<String>,
}

fn fine(check: &'static str, found: impl Into<String>) -> Verdict {
    Verdict {
        check,
        level: Level::Fine,
        found: found.into(),
        mend: None,
    }
}

fn warning(check: &'static str, found: impl Into<String>, mend: Option<String>) -> Verdict {
    Verdict {
        check,
        level: Level::Warning,
        found: found.into(),
        mend,
    }
}

fn error(check: &'static str, found: impl Into<String>, mend: Option<String>) -> Verdict {
    Verdict {
        check,
        level: Level::Error,
        found: found.into(),
        mend,
    }
}

/// A sysctl for now and for every boot.
fn sysctl(setting: &str) -> Option<String> {
    Some(format!(
        "echo '{setting}' | sudo tee -a /etc/sysctl.d/99-kubelocal.conf && sudo sysctl -w '{setting}'"
    ))
}

/// Judges all that a node on this host depends on; root needs less.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Verdict> {
    let always = [
        kernel,
        overlay,
        cgroups,
        network,
        service_rules,
        egress_rules,
        pasta,
        tun,
        inotify,
        disk,
        linger,
        devices,
    ];
    let rootless = [user_namespaces, subordinate_ids, id_helpers];
    let is_root = facts.uid == 0;
    let checks = rootless.into_iter().filter(|_| !is_root).chain(always);
    checks.map(|check| check(facts)).collect()
}

fn user_namespaces(facts: &Facts) -> Verdict {
    const CHECK: &str = "user namespaces";
    match (&facts.probe.user_namespace, &facts.probe.mount_namespace) {
        (Some(Ok(())), Some(Ok(()))) => return fine(CHECK, "can be made"),
        (None, _) => return warning(CHECK, "could not be tried out", None),
        _ => {}
    }
    if facts.max_user_namespaces == Some(0) {
        return error(
            CHECK,
            "are off (user.max_user_namespaces is 0)",
            sysctl("user.max_user_namespaces=15000"),
        );
    }
    if facts.unprivileged_userns_clone == Some(0) {
        return error(
            CHECK,
            "are for root only (kernel.unprivileged_userns_clone is 0)",
            sysctl("kernel.unprivileged_userns_clone=1"),
        );
    }
    if facts.apparmor_restrict_userns == Some(1) {
        return error(
            CHECK,
            "are refused to programs without an AppArmor profile",
            Some(apparmor_profile(facts)),
        );
    }
    let results = [&facts.probe.user_namespace, &facts.probe.mount_namespace];
    let why = results
        .into_iter()
        .flatten()
        .find_map(|result| result.as_ref().err())
        .cloned()
        .unwrap_or_default();
    error(
        CHECK,
        format!("are refused: {why}; a security policy or a kernel without CONFIG_USER_NS may be why"),
        None,
    )
}

/// Allows namespaces to this program alone, where turning the restriction off would allow them to all.
fn apparmor_profile(facts: &Facts) -> String {
    format!(
        "printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile kubelocal \"{}\" flags=(unconfined) {{\\n  userns,\\n}}\\n' | \
         sudo tee /etc/apparmor.d/kubelocal && sudo apparmor_parser -r /etc/apparmor.d/kubelocal",
        facts.program.display()
    )
}

/// What images expect: every id up to 65535.
const WANTED_IDS: u64 = 65_536;

fn subordinate_ids(facts: &Facts) -> Verdict {
    const CHECK: &str = "subordinate ids";
    let count = |ranges: &[IdRange]| {
        facts
            .own(ranges)
            .iter()
            .map(|range| u64::from(range.count))
            .sum::<u64>()
    };
    let (uids, gids) = (count(&facts.subuid), count(&facts.subgid));
    if uids.min(gids) >= WANTED_IDS {
        return fine(CHECK, format!("{} are {}'s", uids.min(gids), facts.user));
    }
    let first = free_range(facts.subuid.iter().chain(&facts.subgid));
    let last = u64::from(first) + WANTED_IDS - 1;
    let flags: Vec<String> = [("uids", uids), ("gids", gids)]
        .into_iter()
        .filter(|(_, count)| *count < WANTED_IDS)
        .map(|(word, _)| format!("--add-sub{word} {first}-{last}"))
        .collect();
    let found = match uids.min(gids) {
        0 => format!(
            "{} has none: containers can only run as root, and files of other owners belong to it",
            facts.user
        ),
        some => format!(
            "{} has only {some} of {WANTED_IDS}: users with higher ids can't run in containers",
            facts.user
        ),
    };
    warning(
        CHECK,
        found,
        Some(format!("sudo usermod {} {}", flags.join(" "), facts.user)),
    )
}

/// A start above every range that somebody has, on a round number.
fn free_range<'a>(taken: impl Iterator<Item = &'a IdRange>) -> u32 {
    let end = taken
        .map(|range| range.first.saturating_add(range.count))
        .max()
        .unwrap_or(0);
    end.max(100_000).div_ceil(1000) * 1000
}

fn id_helpers(facts: &Facts) -> Verdict {
    const CHECK: &str = "newuidmap and newgidmap";
    match facts.id_helpers {
        Helper::Usable => fine(CHECK, "are there"),
        Helper::Missing => warning(
            CHECK,
            "are missing: without them subordinate ids can't be used",
            Some(install(facts, UIDMAP)),
        ),
        Helper::Powerless => warning(
            CHECK,
            "are there, but have no privilege",
            Some("sudo chmod u+s \"$(command -v newuidmap)\" \"$(command -v newgidmap)\"".to_owned()),
        ),
    }
}

fn is_like(facts: &Facts, word: &str) -> bool {
    facts.distribution.split_whitespace().any(|id| id == word)
}

/// What a package is called on Debian and Ubuntu, Arch, Alpine, SUSE, and elsewhere.
type Package = [&'static str; 5];
const UIDMAP: Package = ["uidmap", "shadow", "shadow-subids", "shadow", "shadow-utils"];
const PASST: Package = ["passt"; 5];

fn install(facts: &Facts, [debian, arch, alpine, suse, elsewhere]: Package) -> String {
    let is = |word: &str| is_like(facts, word);
    if is("debian") || is("ubuntu") {
        format!("sudo apt-get install -y {debian}")
    } else if is("arch") {
        format!("sudo pacman -S --needed {arch}")
    } else if is("alpine") {
        format!("sudo apk add {alpine}")
    } else if is("suse") || is("opensuse") {
        format!("sudo zypper install -y {suse}")
    } else {
        format!("sudo dnf install -y {elsewhere}")
    }
}

fn kernel(facts: &Facts) -> Verdict {
    const CHECK: &str = "kernel";
    match facts.kernel {
        // 5.11 brought overlayfs to user namespaces, 5.13 what it needs to be used through them safely.
        Some((major, minor)) if (major, minor) >= (5, 13) => fine(CHECK, format!("{major}.{minor}")),
        Some((major, minor)) => error(
            CHECK,
            format!("{major}.{minor} is too old: 5.13 is the oldest that is supported"),
            None,
        ),
        None => warning(CHECK, "has a version that can't be read", None),
    }
}

fn overlay(facts: &Facts) -> Verdict {
    const CHECK: &str = "overlay file systems";
    match &facts.probe.overlay {
        Some(Ok(())) => fine(CHECK, format!("can be mounted at {}", facts.home.display())),
        Some(Err(why)) if why.contains("No such device") => error(
            CHECK,
            "are not in this kernel",
            Some("sudo modprobe overlay && echo overlay | sudo tee /etc/modules-load.d/overlay.conf".to_owned()),
        ),
        Some(Err(why)) => error(
            CHECK,
            format!(
                "can't be mounted at {} ({why}): network file systems and overlays can't be their upper layer",
                facts.home.display()
            ),
            Some("export KUBELOCAL_HOME=/var/tmp/kubelocal-$USER  # any directory on ext4, xfs or btrfs".to_owned()),
        ),
        None => warning(CHECK, "could not be tried out", None),
    }
}

/// What makes the next start of the host one with cgroups of version 2.
fn to_version_2(facts: &Facts) -> &'static str {
    if is_like(facts, "debian") || is_like(facts, "ubuntu") {
        "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&systemd.unified_cgroup_hierarchy=1 /' /etc/default/grub && sudo update-grub  # then reboot"
    } else {
        "sudo grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1  # then reboot"
    }
}

fn cgroups(facts: &Facts) -> Verdict {
    const CHECK: &str = "cgroups";
    let in_scope = facts.cgroups.scope.then(|| {
        let has = |c: &&Controller| facts.cgroups.manager.iter().any(|name| name == c.name());
        let has: BTreeSet<Controller> = Controller::LIMITING.iter().filter(has).copied().collect();
        let names: Vec<_> = has.iter().map(|c| c.name()).collect();
        (
            format!("v2, {}, in a scope that systemd makes for the node", names.join(" ")),
            has,
        )
    });
    let (said, has) = match (in_scope, &facts.cgroups.here) {
        (Some(in_scope), _) => in_scope,
        (None, Ok(tree)) => (tree.to_string(), tree.controllers()),
        (None, Err(lack)) => {
            let found = format!("{lack}: limits are not enforced");
            return warning(CHECK, found, mend_cgroups(lack, facts));
        }
    };
    let missing: Vec<&str> = WANTED.iter().filter(|c| !has.contains(c)).map(|c| c.name()).collect();
    if missing.is_empty() {
        return fine(CHECK, said);
    }
    let found = format!(
        "{} not delegated to {}: such limits are not enforced",
        missing.join(", "),
        facts.user
    );
    warning(CHECK, found, facts.has_systemd.then(delegate))
}

/// Without these some limits that manifests commonly have are not enforced.
const WANTED: [Controller; 3] = [Controller::Cpu, Controller::Memory, Controller::Pids];

fn mend_cgroups(lack: &Lack, facts: &Facts) -> Option<String> {
    match lack {
        Lack::NotMounted | Lack::Refused(_) => None,
        Lack::VersionOne => Some(to_version_2(facts).to_owned()),
        Lack::NotDelegated(_) | Lack::NoSubgroup(_) | Lack::NoControllers(_) if !facts.has_systemd => Some(format!(
            "G=/sys/fs/cgroup/kubelocal-{user}; echo '+cpu +memory +pids' | sudo tee /sys/fs/cgroup/cgroup.subtree_control && sudo mkdir $G && \
             sudo chown {user} $G $G/cgroup.procs $G/cgroup.subtree_control && echo $$ | sudo tee $G/cgroup.procs  # then start the node in this shell",
            user = facts.user
        )),
        // The user's systemd, which would have made a scope for the node, does not run or did not want to.
        Lack::NotDelegated(_) | Lack::NoSubgroup(_) => Some(format!(
            "sudo loginctl enable-linger {user} && export XDG_RUNTIME_DIR=/run/user/{uid} && systemd-run --user --scope --property=Delegate=yes kubelocal node",
            user = facts.user,
            uid = facts.uid,
        )),
        Lack::NoControllers(_) => Some(delegate()),
    }
}

fn delegate() -> String {
    "sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | \
     sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload  # then log in anew"
        .to_owned()
}

fn inotify(facts: &Facts) -> Verdict {
    const CHECK: &str = "inotify";
    // An editor and a few tools beside us use thousands of watches; every watcher of files is an instance.
    if let Some(watches) = facts.inotify_watches.filter(|watches| *watches < 65_536) {
        let found = format!("only {watches} watches: changes in large directories may be seen late");
        return warning(CHECK, found, sysctl("fs.inotify.max_user_watches=524288"));
    }
    if let Some(instances) = facts.inotify_instances.filter(|instances| *instances < 128) {
        let found = format!("only {instances} instances: containers that watch files may fail");
        return warning(CHECK, found, sysctl("fs.inotify.max_user_instances=512"));
    }
    fine(CHECK, "has room")
}

const MIB: u64 = 1 << 20;

fn disk(facts: &Facts) -> Verdict {
    const CHECK: &str = "disk space";
    let place = facts.home.display();
    match (facts.free_bytes, facts.free_inodes) {
        (Some(bytes), _) if bytes < 100 * MIB => {
            error(CHECK, format!("only {} MiB left at {place}", bytes / MIB), None)
        }
        (Some(bytes), _) if bytes < 2048 * MIB => {
            let mend = Some("kubelocal image ls  # `kubelocal image rm` removes what is not needed".to_owned());
            warning(CHECK, format!("only {} MiB left at {place}", bytes / MIB), mend)
        }
        (_, Some(inodes)) if inodes < 10_000 => warning(CHECK, format!("only {inodes} inodes left at {place}"), None),
        (Some(bytes), _) => fine(CHECK, format!("{} GiB left at {place}", bytes / MIB / 1024)),
        (None, _) => warning(CHECK, format!("{place} can't be looked at"), None),
    }
}

fn linger(facts: &Facts) -> Verdict {
    const CHECK: &str = "after logout";
    if facts.uid == 0 || !facts.has_systemd || facts.lingers {
        return fine(CHECK, "pods run on");
    }
    let found = "the session manager may end the node and its pods with your last session";
    warning(
        CHECK,
        found,
        Some(format!("sudo loginctl enable-linger {}", facts.user)),
    )
}

fn devices(facts: &Facts) -> Verdict {
    const CHECK: &str = "devices";
    if !facts.devices.problems.is_empty() {
        return warning(CHECK, facts.devices.problems.join("; "), None);
    }
    let names: Vec<_> = facts.devices.counts().map(|(name, ..)| name).collect();
    match names.is_empty() {
        true => fine(CHECK, "none that pods could ask for"),
        false => fine(CHECK, format!("pods can ask for {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests;
