//! What is mounted into a container: what every container has, then what was asked. Pure.

use oci_spec::runtime::{Mount as OciMount, MountBuilder};

use super::{Place, Queues};
use crate::runtime::{ContainerConfig, Mount};

/// Plans the mounts in the order in which they are made. One that was asked for takes the place of a default one.
pub(super) fn plan_mounts(config: &ContainerConfig, asked: &[Mount], place: &Place) -> oci_spec::Result<Vec<OciMount>> {
    let mut mounts = defaults(config.security.privileged, place)?;
    mounts.retain(|mount| {
        !asked
            .iter()
            .any(|asked| mount.destination().as_os_str() == &*asked.container_path)
    });
    for asked in asked {
        mounts.push(bind(asked)?);
    }
    Ok(mounts)
}

fn defaults(privileged: bool, place: &Place) -> oci_spec::Result<Vec<OciMount>> {
    let access = if privileged { "rw" } else { "ro" };
    // Group 5 owns terminals, where it is mapped.
    let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let terminals = if place.tty_group {
        &terminals[..]
    } else {
        &terminals[..5]
    };
    // A new sysfs needs a network namespace that one owns.
    let sys = if place.host_network && place.in_user_namespace {
        virtual_mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", access])?
    } else {
        virtual_mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access])?
    };
    // And a new view of processes a pid namespace that one owns.
    let hosts = ["rbind", "nosuid", "noexec", "nodev"];
    let proc = if place.host_pid && place.in_user_namespace {
        virtual_mount("/proc", "none", "/proc", &hosts)?
    } else {
        virtual_mount("/proc", "proc", "proc", &hosts[1..])?
    };
    let shm = place.shm.to_string_lossy();
    let mut mounts = vec![
        proc,
        virtual_mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        )?,
        virtual_mount("/dev/pts", "devpts", "devpts", terminals)?,
        virtual_mount(
            "/dev/shm",
            "bind",
            &shm,
            &["rbind", "rprivate", "nosuid", "noexec", "nodev"],
        )?,
        sys,
        virtual_mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        )?,
    ];
    match place.queues {
        Queues::Own => mounts.push(virtual_mount("/dev/mqueue", "mqueue", "mqueue", &hosts[1..])?),
        Queues::Hosts => mounts.push(virtual_mount("/dev/mqueue", "none", "/dev/mqueue", &hosts)?),
        Queues::Nowhere => {}
    }
    Ok(mounts)
}

fn virtual_mount(destination: &str, typ: &str, source: &str, options: &[&str]) -> oci_spec::Result<OciMount> {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    MountBuilder::default()
        .destination(destination)
        .typ(typ)
        .source(source)
        .options(options)
        .build()
}

fn bind(asked: &Mount) -> oci_spec::Result<OciMount> {
    let access = match (asked.read_only, asked.is_read_only_below) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    };
    let propagation = if asked.follows_host { "rslave" } else { "rprivate" };
    let mut options = vec!["rbind", propagation, access];
    if !asked.image_layers.is_empty() {
        // Upstream promises both of image volumes.
        options.extend(["noexec", "nosuid", "nodev"]);
    }
    let options = options.into_iter().map(str::to_owned);
    let options: Vec<_> = options.chain(asked.options.iter().cloned()).collect();
    MountBuilder::default()
        .destination(&asked.container_path)
        .typ("bind")
        .source(&asked.host_path)
        .options(options)
        .build()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::tests::{config, place};
    use super::*;

    fn asked(path: &str, read_only: bool) -> Mount {
        Mount::of_host(path.to_owned(), PathBuf::from("/host"), read_only)
    }

    fn planned(config: &ContainerConfig, place: &Place) -> Vec<String> {
        let mounts = plan_mounts(config, &config.mounts, place).expect("every builder is given all it needs");
        let line = |mount: &OciMount| {
            let options = mount.options().clone().unwrap_or_default().join(",");
            format!(
                "{} {} {options}",
                mount.destination().display(),
                mount.typ().clone().unwrap_or_default()
            )
        };
        mounts.iter().map(line).collect()
    }

    #[test]
    fn asked_mounts_come_last_in_their_order_and_replace_defaults() {
        let mut wanted = config();
        wanted.mounts = vec![asked("/etc/hosts", true), asked("/dev/shm", false), asked("/a", false)];
        let lines = planned(&wanted, &place());
        assert_eq!(
            lines[lines.len() - 3..],
            [
                "/etc/hosts bind rbind,rprivate,ro",
                "/dev/shm bind rbind,rprivate,rw",
                "/a bind rbind,rprivate,rw"
            ]
        );
        assert_eq!(lines.iter().filter(|line| line.starts_with("/dev/shm ")).count(), 1);
    }

    #[test]
    fn mounts_are_as_read_only_and_as_open_to_the_host_as_was_asked() {
        let mut wanted = config();
        wanted.mounts = vec![asked("/a", true), asked("/b", false), asked("/c", true)];
        wanted.mounts[0].is_read_only_below = true;
        wanted.mounts[1].follows_host = true;
        wanted.mounts[2].image_layers = vec![PathBuf::from("/layer")];
        let lines = planned(&wanted, &place());
        assert_eq!(
            lines[lines.len() - 3..],
            [
                "/a bind rbind,rprivate,rro",
                "/b bind rbind,rslave,rw",
                "/c bind rbind,rprivate,ro,noexec,nosuid,nodev"
            ]
        );
    }

    #[test]
    fn sysfs_and_cgroup_are_read_only_unless_privileged() {
        let mut wanted = config();
        let access = |lines: &[String]| {
            lines
                .iter()
                .filter(|l| l.starts_with("/sys"))
                .map(|l| l.ends_with("ro"))
                .collect::<Vec<_>>()
        };
        assert_eq!(access(&planned(&wanted, &place())), [true, true]);
        wanted.security.privileged = true;
        assert_eq!(access(&planned(&wanted, &place())), [false, false]);
    }

    #[test]
    fn the_hosts_network_brings_the_hosts_sysfs_in_a_user_namespace() {
        let own = Place {
            host_network: true,
            ..place()
        };
        assert!(
            planned(&config(), &own)
                .iter()
                .any(|l| l.starts_with("/sys none rbind"))
        );
        let root = Place {
            in_user_namespace: false,
            ..own
        };
        assert!(planned(&config(), &root).iter().any(|l| l.starts_with("/sys sysfs")));
    }

    #[test]
    fn the_hosts_processes_are_seen_by_the_hosts_own_view_where_no_other_can_be_made() {
        let proc = |in_user_namespace, host_pid| {
            let place = Place {
                in_user_namespace,
                host_pid,
                ..place()
            };
            let lines = planned(&config(), &place);
            lines
                .into_iter()
                .find(|line| line.starts_with("/proc "))
                .expect("is there")
        };
        assert_eq!(proc(true, true), "/proc none rbind,nosuid,noexec,nodev");
        assert_eq!(proc(true, false), "/proc proc nosuid,noexec,nodev");
        assert_eq!(proc(false, true), "/proc proc nosuid,noexec,nodev");
    }

    #[test]
    fn terminals_belong_to_group_five_only_where_it_exists() {
        let single = Place {
            tty_group: false,
            ..place()
        };
        assert!(!planned(&config(), &single).iter().any(|l| l.contains("gid=5")));
    }
}
