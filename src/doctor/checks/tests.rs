//! Each fact that lacks something, and what is said of it.

use std::path::PathBuf;

use super::super::facts::Cgroups;
use super::super::probe::Probe;
use super::*;
use crate::cgroup::Tree;
use crate::device::Catalogue;

/// A host on which everything is as it should be.
fn host() -> Facts {
    let range = |first| {
        vec![IdRange {
            owner: "ada".into(),
            first,
            count: 65_536,
        }]
    };
    Facts {
        uid: 1000,
        user: "ada".into(),
        home: PathBuf::from("/home/ada/.kubelocal"),
        program: PathBuf::from("/usr/bin/kubelocal"),
        distribution: "debian".into(),
        kernel: Some((6, 1)),
        probe: Probe {
            user_namespace: Some(Ok(())),
            mount_namespace: Some(Ok(())),
            overlay: Some(Ok(())),
            network_namespace: Some(Ok(())),
            service_rules: Some(Ok(())),
            egress_rules: Some(Ok(())),
        },
        max_user_namespaces: Some(15_000),
        unprivileged_userns_clone: Some(1),
        apparmor_restrict_userns: Some(0),
        subuid: range(100_000),
        subgid: range(100_000),
        id_helpers: Helper::Usable,
        cgroups: cgroups(Ok(tree(&WANTED)), &["cpu", "io", "memory", "pids"]),
        has_systemd: true,
        lingers: true,
        wants_pasta: true,
        has_pasta: true,
        gid: 1000,
        ping_groups: Some((0, 2_147_483_647)),
        has_tun: true,
        inotify_watches: Some(524_288),
        inotify_instances: Some(128),
        free_bytes: Some(100 << 30),
        free_inodes: Some(1_000_000),
        devices: Catalogue::default(),
    }
}

fn cgroups(here: Result<Tree, Lack>, manager: &[&str]) -> Cgroups {
    Cgroups {
        here,
        scope: false,
        manager: manager.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Of who is in another's group, with a systemd that makes scopes.
fn in_scope(manager: &[&str]) -> Cgroups {
    Cgroups {
        scope: true,
        ..cgroups(Err(Lack::NotDelegated("/session".into())), manager)
    }
}

#[test]
fn a_node_that_gets_a_scope_of_its_own_lacks_nothing() {
    let facts = Facts {
        cgroups: in_scope(&["cpu", "memory", "pids"]),
        ..host()
    };
    let said = super::cgroups(&facts);
    assert_eq!(said.level, Level::Fine);
    assert_eq!(
        said.found,
        "v2, cpu memory pids, in a scope that systemd makes for the node"
    );
}

fn tree(controllers: &[Controller]) -> Tree {
    Tree::Unified {
        mount: "/sys/fs/cgroup".into(),
        path: "/k".into(),
        controllers: controllers.iter().copied().collect(),
    }
}

fn refused(word: &str) -> Option<Result<(), String>> {
    Some(Err(word.to_owned()))
}

#[test]
fn a_good_host_has_nothing_to_mend() {
    assert!(
        judge(&host())
            .iter()
            .all(|verdict| verdict.level == Level::Fine && verdict.mend.is_none())
    );
}

#[test]
fn root_needs_no_user_namespace() {
    let facts = Facts {
        uid: 0,
        id_helpers: Helper::Missing,
        subuid: Vec::new(),
        ..host()
    };
    assert!(judge(&facts).iter().all(|verdict| verdict.level == Level::Fine));
}

#[test]
fn every_missing_setting_is_named_with_the_command_that_mends_it() {
    let without_userns = Probe {
        user_namespace: refused("Operation not permitted"),
        ..Probe::default()
    };
    let probe = |probe: Probe| Facts { probe, ..host() };
    let cases: Vec<(Facts, &str, Level, &str)> = vec![
        (
            Facts {
                max_user_namespaces: Some(0),
                ..probe(without_userns.clone())
            },
            "user namespaces",
            Level::Error,
            "user.max_user_namespaces=15000",
        ),
        (
            Facts {
                unprivileged_userns_clone: Some(0),
                ..probe(without_userns.clone())
            },
            "user namespaces",
            Level::Error,
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            Facts {
                apparmor_restrict_userns: Some(1),
                ..probe(Probe {
                    mount_namespace: refused("Permission denied"),
                    ..host().probe
                })
            },
            "user namespaces",
            Level::Error,
            "profile kubelocal \"/usr/bin/kubelocal\" flags=(unconfined)",
        ),
        (
            Facts {
                subuid: Vec::new(),
                ..host()
            },
            "subordinate ids",
            Level::Warning,
            "sudo usermod --add-subuids 166000-231535 ada",
        ),
        (
            Facts {
                subuid: Vec::new(),
                subgid: Vec::new(),
                ..host()
            },
            "subordinate ids",
            Level::Warning,
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ada",
        ),
        (
            Facts {
                id_helpers: Helper::Missing,
                ..host()
            },
            "newuidmap and newgidmap",
            Level::Warning,
            "sudo apt-get install -y uidmap",
        ),
        (
            Facts {
                id_helpers: Helper::Missing,
                distribution: "fedora".into(),
                ..host()
            },
            "newuidmap and newgidmap",
            Level::Warning,
            "sudo dnf install -y shadow-utils",
        ),
        (
            Facts {
                id_helpers: Helper::Powerless,
                ..host()
            },
            "newuidmap and newgidmap",
            Level::Warning,
            "sudo chmod u+s",
        ),
        (
            Facts {
                cgroups: cgroups(Ok(tree(&[Controller::Memory, Controller::Pids])), &["memory", "pids"]),
                ..host()
            },
            "cgroups",
            Level::Warning,
            "Delegate=cpu cpuset io memory pids",
        ),
        (
            Facts {
                cgroups: cgroups(Err(Lack::VersionOne), &[]),
                ..host()
            },
            "cgroups",
            Level::Warning,
            "/etc/default/grub && sudo update-grub",
        ),
        (
            Facts {
                cgroups: cgroups(Err(Lack::VersionOne), &[]),
                distribution: "fedora".into(),
                ..host()
            },
            "cgroups",
            Level::Warning,
            "sudo grubby --update-kernel=ALL --args=systemd.unified_cgroup_hierarchy=1",
        ),
        (
            Facts {
                cgroups: cgroups(Err(Lack::NotDelegated("/s".into())), &[]),
                ..host()
            },
            "cgroups",
            Level::Warning,
            "sudo loginctl enable-linger ada && export XDG_RUNTIME_DIR=/run/user/1000 && systemd-run --user --scope",
        ),
        (
            Facts {
                cgroups: in_scope(&["memory", "pids"]),
                ..host()
            },
            "cgroups",
            Level::Warning,
            "Delegate=cpu cpuset io memory pids",
        ),
        (
            Facts {
                cgroups: cgroups(Err(Lack::NoControllers("/s".into())), &[]),
                has_systemd: false,
                ..host()
            },
            "cgroups",
            Level::Warning,
            "sudo mkdir $G",
        ),
        (
            Facts {
                cgroups: cgroups(Err(Lack::NoSubgroup("/s".into())), &["cpu", "memory", "pids"]),
                ..host()
            },
            "cgroups",
            Level::Warning,
            "systemd-run --user --scope",
        ),
        (
            probe(Probe {
                overlay: refused("No such device (os error 19)"),
                ..host().probe
            }),
            "overlay file systems",
            Level::Error,
            "modprobe overlay",
        ),
        (
            probe(Probe {
                overlay: refused("Invalid argument"),
                ..host().probe
            }),
            "overlay file systems",
            Level::Error,
            "KUBELOCAL_HOME=",
        ),
        (
            Facts {
                has_tun: false,
                ..host()
            },
            "/dev/net/tun",
            Level::Warning,
            "modprobe tun",
        ),
        (
            Facts {
                inotify_watches: Some(8192),
                ..host()
            },
            "inotify",
            Level::Warning,
            "fs.inotify.max_user_watches=524288",
        ),
        (
            Facts {
                inotify_instances: Some(64),
                ..host()
            },
            "inotify",
            Level::Warning,
            "fs.inotify.max_user_instances=512",
        ),
        (
            Facts {
                free_bytes: Some(1 << 30),
                ..host()
            },
            "disk space",
            Level::Warning,
            "image rm",
        ),
        (
            Facts {
                lingers: false,
                ..host()
            },
            "after logout",
            Level::Warning,
            "sudo loginctl enable-linger ada",
        ),
    ];
    for (facts, check, level, mend) in cases {
        let verdicts = judge(&facts);
        let bad: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.level != Level::Fine).collect();
        let verdict = bad
            .iter()
            .find(|verdict| verdict.check == check)
            .unwrap_or_else(|| panic!("{check} in {verdicts:?}"));
        assert_eq!(verdict.level, level, "{check}");
        assert!(
            verdict.mend.as_deref().unwrap_or_default().contains(mend),
            "{check}: {:?}",
            verdict.mend
        );
    }
}

#[test]
fn an_old_kernel_and_a_full_disk_stop_the_node() {
    for facts in [
        Facts {
            kernel: Some((5, 4)),
            ..host()
        },
        Facts {
            free_bytes: Some(1 << 20),
            ..host()
        },
    ] {
        assert!(judge(&facts).iter().any(|verdict| verdict.level == Level::Error));
    }
}

/// What is said of one check, and what mends it.
fn said_of(facts: &Facts, check: &str) -> (Level, String, String) {
    let verdict = judge(facts)
        .into_iter()
        .find(|verdict| verdict.check == check)
        .expect("is checked");
    (verdict.level, verdict.found, verdict.mend.unwrap_or_default())
}

#[test]
fn a_kernel_that_takes_no_rules_costs_this_and_that() {
    let mut host = host();
    host.probe.service_rules = refused("the kernel refuses nf_tables");
    host.probe.egress_rules = refused("no tproxy");
    let (level, found, mend) = said_of(&host, "rules of Services");
    assert!(
        level == Level::Warning && found.contains("own proxy") && found.contains("not enforced"),
        "{found}"
    );
    assert!(mend.contains("modprobe -a nf_tables nft_chain_nat"), "{mend}");
    let (level, found, mend) = said_of(&host, "ways out");
    assert!(
        level == Level::Warning && found.contains("no tproxy") && mend.contains("nft_tproxy"),
        "{found} {mend}"
    );
}

#[test]
fn pasta_is_missed_only_where_it_is_asked_for() {
    let without = Facts {
        has_pasta: false,
        ..host()
    };
    let (level, found, mend) = said_of(&without, "pasta");
    assert!(level == Level::Warning && found.contains("not installed"), "{found}");
    assert_eq!(mend, "sudo apt-get install -y passt");
    let unwanted = Facts {
        wants_pasta: false,
        ..without
    };
    assert_eq!(said_of(&unwanted, "pasta").0, Level::Fine);
    let silent = Facts {
        ping_groups: Some((1, 0)),
        ..host()
    };
    let (level, found, mend) = said_of(&silent, "pasta");
    assert!(level == Level::Warning && found.contains("no group 1000"), "{found}");
    assert!(mend.contains("net.ipv4.ping_group_range=0 2147483647"), "{mend}");
}
