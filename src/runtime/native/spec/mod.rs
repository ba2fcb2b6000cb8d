//! A container's OCI bundle config, from what was asked and the facts of the place. Pure: everything that has to be looked up
//! (users, capabilities of this process, group maps) is an argument.
//!
//! The result is what containerd writes for a pod's container, with these differences: namespaces that the supervisor holds are
//! inherited (and so not named), `noNewPrivileges` is written only when true (libcontainer tests its presence), and
//! no resources are written, since limits are in force before a runtime is called (`supervisor::cgroup`).

mod capabilities;
mod hooks;
mod mounts;
mod namespaces;
mod seccomp;
mod seccomp_names;

use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBuilder, LinuxCapabilitiesBuilder, LinuxSeccomp, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

pub(super) use capabilities::CapabilitySet;
use capabilities::plan_capabilities;
#[cfg(test)]
pub(super) use seccomp::default_profile;

use super::users::Identity;
use crate::runtime::{ContainerConfig, ExecConfig, Mount, Seccomp};

/// What images rely on when they set no `PATH`.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The POSIX message queues that a container sees (mq_overview(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queues {
    /// Those of an IPC namespace that is ours.
    Own,
    /// The host's, where it has mounted them: nobody else may.
    Hosts,
    /// None: the host has not.
    Nowhere,
}

/// Facts that are the same for every container of a pod.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Whether this runs in a user namespace.
    pub in_user_namespace: bool,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `spec.hostPID`.
    pub host_pid: bool,
    /// Where POSIX message queues are seen.
    pub queues: Queues,
    /// The tmpfs that the pod's containers share as `/dev/shm`.
    pub shm: PathBuf,
    /// The pid namespace that they share, if they do.
    pub pid_namespace: Option<PathBuf>,
    /// What containers may have at most.
    pub bounding: CapabilitySet,
    /// Below this, `oom_score_adj` may not be set.
    pub oom_floor: i32,
    /// Whether group 5 exists, which owns terminals.
    pub tty_group: bool,
    /// Whether processes may have supplementary groups: not where an unprivileged user mapped one id only.
    pub may_set_groups: bool,
    /// What `hostname` says: containers find it in `HOSTNAME`, as containerd and CRI-O have it.
    pub hostname: String,
}

/// Plans the config of a container with this root file system, in which these mounts were asked for.
///
/// # Errors
/// Something that was asked does not exist; the text is for people.
pub(super) fn plan_spec(
    config: &ContainerConfig,
    asked: &[Mount],
    identity: &Identity,
    place: &Place,
    rootfs: &Path,
    cgroup: Option<&Path>,
) -> Result<Spec, String> {
    let capabilities = plan_capabilities(&config.security, place.bounding)?;
    let process = plan_process(config, identity, place, capabilities).map_err(unbuildable)?;
    let root = RootBuilder::default()
        .path(rootfs)
        .readonly(config.security.read_only_rootfs)
        .build();
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces::plan_namespaces(place).map_err(unbuildable)?)
        .masked_paths(if config.security.privileged {
            Vec::new()
        } else {
            config.security.masked_paths.clone()
        })
        .readonly_paths(if config.security.privileged {
            Vec::new()
        } else {
            config.security.read_only_paths.clone()
        })
        .build()
        .map_err(unbuildable)?;
    linux
        .set_resources(None)
        .set_devices(None)
        .set_cgroups_path(cgroup.map(Path::to_owned));
    linux.set_mount_label(config.security.selinux.as_ref().map(|labels| labels.files.clone()));
    if !config.security.privileged {
        linux.set_seccomp(plan_seccomp(&config.security.seccomp, capabilities)?);
    }
    let spec = SpecBuilder::default()
        .version("1.0.2")
        .process(process)
        .root(root.map_err(unbuildable)?)
        .mounts(mounts::plan_mounts(config, asked, place).map_err(unbuildable)?)
        .linux(linux);
    let mut spec = spec.build().map_err(unbuildable)?;
    spec.set_hostname(None)
        .set_hooks(hooks::plan_hooks(&config.hooks).map_err(unbuildable)?);
    Ok(spec)
}

fn plan_seccomp(asked: &Seccomp, capabilities: CapabilitySet) -> Result<Option<LinuxSeccomp>, String> {
    match asked {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => seccomp::default_profile(capabilities).map(Some).map_err(unbuildable),
        Seccomp::Localhost(text) => serde_json::from_str(text)
            .map(Some)
            .map_err(|error| format!("seccomp profile: {error}")),
    }
}

/// Plans the process of a command executed in a container: the container's own, with other arguments.
pub(super) fn plan_exec(process: &Process, exec: &ExecConfig) -> Process {
    let mut process = process.clone();
    process.set_args(Some(exec.args.clone())).set_terminal(Some(exec.tty));
    if exec.tty {
        let mut env = process.env().clone().unwrap_or_default();
        add_missing(&mut env, "TERM=xterm");
        process.set_env(Some(env));
    }
    process
}

fn plan_process(
    config: &ContainerConfig,
    identity: &Identity,
    place: &Place,
    capabilities: CapabilitySet,
) -> oci_spec::Result<Process> {
    let set = capabilities.to_oci();
    let mut sets = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .build()?;
    // Inheritable ones would come back through any program with file capabilities (CVE-2022-24769).
    sets.set_inheritable(None).set_ambient(None);
    let groups = if place.may_set_groups {
        identity.groups.clone()
    } else {
        Vec::new()
    };
    let mut process = ProcessBuilder::default()
        .args(config.args.clone())
        .env(plan_env(config, &identity.home, &place.hostname))
        .cwd(if config.cwd.is_empty() { "/" } else { &config.cwd })
        .terminal(config.tty)
        .user(
            UserBuilder::default()
                .uid(identity.uid)
                .gid(identity.gid)
                .additional_gids(groups)
                .build()?,
        )
        .capabilities(sets)
        .oom_score_adj(config.oom_score_adj.clamp(place.oom_floor, 1000))
        .build()?;
    process.set_rlimits(None);
    process.set_apparmor_profile(config.security.apparmor.clone());
    process.set_selinux_label(config.security.selinux.as_ref().map(|labels| labels.process.clone()));
    process.set_no_new_privileges((!config.security.allow_privilege_escalation).then_some(true));
    Ok(process)
}

fn plan_env(config: &ContainerConfig, home: &str, hostname: &str) -> Vec<String> {
    let mut env = config.env.clone();
    add_missing(&mut env, DEFAULT_PATH);
    add_missing(&mut env, &format!("HOSTNAME={hostname}"));
    add_missing(&mut env, &format!("HOME={home}"));
    if config.tty {
        add_missing(&mut env, "TERM=xterm");
    }
    env
}

fn add_missing(env: &mut Vec<String>, variable: &str) {
    let name = variable.split_inclusive('=').next().unwrap_or(variable);
    if !env.iter().any(|existing| existing.starts_with(name)) {
        env.push(variable.to_owned());
    }
}

fn unbuildable(error: OciSpecError) -> String {
    format!("OCI config: {error}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::runtime::{ContainerId, Limits, Security};

    pub fn security() -> Security {
        Security {
            privileged: false,
            allow_privilege_escalation: true,
            read_only_rootfs: false,
            add_capabilities: Vec::new(),
            drop_capabilities: Vec::new(),
            seccomp: Seccomp::RuntimeDefault,
            masked_paths: vec!["/proc/kcore".to_owned()],
            read_only_paths: vec!["/proc/sys".to_owned()],
            apparmor: None,
            selinux: None,
        }
    }

    pub fn config() -> ContainerConfig {
        ContainerConfig {
            id: ContainerId("c".repeat(64)),
            name: "web".to_owned(),
            attempt: 0,
            image: "busybox".to_owned(),
            image_id: "sha256:0".to_owned(),
            layers: vec![PathBuf::from("/layers/a")],
            root: None,
            args: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: String::new(),
            user: String::new(),
            supplemental_groups: Vec::new(),
            has_strict_groups: false,
            mounts: Vec::new(),
            log_path: PathBuf::from("/logs/0.log"),
            stdin: false,
            stdin_once: false,
            tty: false,
            security: security(),
            oom_score_adj: 1000,
            pid_target: None,
            limits: Limits::default(),
            hooks: Vec::new(),
            annotations: Default::default(),
        }
    }

    pub fn place() -> Place {
        Place {
            in_user_namespace: true,
            host_network: false,
            host_pid: false,
            queues: Queues::Own,
            shm: PathBuf::from("/pod/run/shm"),
            pid_namespace: None,
            bounding: CapabilitySet(u64::MAX),
            oom_floor: 0,
            tty_group: true,
            may_set_groups: true,
            hostname: "web-0".to_owned(),
        }
    }

    fn planned(config: &ContainerConfig, place: &Place) -> serde_json::Value {
        let identity = Identity {
            uid: 7,
            gid: 8,
            groups: vec![9],
            home: "/home/seven".to_owned(),
        };
        let spec = plan_spec(config, &config.mounts, &identity, place, Path::new("/rootfs"), None)
            .expect("the config is a good one");
        serde_json::to_value(spec).expect("a spec is JSON")
    }

    #[test]
    fn what_nobody_asked_for_is_not_there() {
        let spec = planned(&config(), &place());
        for absent in [
            "/hostname",
            "/hooks",
            "/process/rlimits",
            "/process/noNewPrivileges",
            "/linux/resources",
        ] {
            assert_eq!(spec.pointer(absent), None, "{absent}");
        }
        for absent in [
            "/linux/cgroupsPath",
            "/linux/devices",
            "/process/capabilities/inheritable",
        ] {
            assert_eq!(spec.pointer(absent), None, "{absent}");
        }
        let namespaces = spec.pointer("/linux/namespaces").expect("namespaces are always named");
        assert_eq!(
            *namespaces,
            serde_json::json!([{"type": "pid"}, {"type": "mount"}, {"type": "cgroup"}])
        );
    }

    #[test]
    fn the_process_is_who_it_should_be() {
        let spec = planned(&config(), &place());
        assert_eq!(
            spec["process"]["user"],
            serde_json::json!({"uid": 7, "gid": 8, "additionalGids": [9]})
        );
        assert_eq!(spec["process"]["cwd"], "/");
        let env = serde_json::json!([DEFAULT_PATH, "HOSTNAME=web-0", "HOME=/home/seven"]);
        assert_eq!(spec["process"]["env"], env);
        let mut own = config();
        own.env = ["PATH=/x", "HOSTNAME=z", "HOME=/y", "PATHS=1"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            planned(&own, &place())["process"]["env"],
            serde_json::json!(["PATH=/x", "HOSTNAME=z", "HOME=/y", "PATHS=1"])
        );
    }

    #[test]
    fn groups_are_left_out_where_none_may_be_set() {
        let single = Place {
            may_set_groups: false,
            ..place()
        };
        assert_eq!(
            planned(&config(), &single)["process"]["user"]["additionalGids"],
            serde_json::json!([])
        );
    }

    #[test]
    fn no_new_privileges_is_written_only_when_true() {
        let mut wanted = config();
        wanted.security.allow_privilege_escalation = false;
        assert_eq!(planned(&wanted, &place())["process"]["noNewPrivileges"], true);
    }

    #[test]
    fn what_the_hosts_kernel_confines_by_is_the_processes() {
        let mut wanted = config();
        wanted.security.apparmor = Some("strict".to_owned());
        wanted.security.selinux = Some(crate::runtime::Labels {
            process: "u:r:t:s0".to_owned(),
            files: "u:object_r:f:s0".to_owned(),
        });
        let spec = planned(&wanted, &place());
        assert_eq!(spec["process"]["apparmorProfile"], "strict");
        assert_eq!(spec["process"]["selinuxLabel"], "u:r:t:s0");
        assert_eq!(spec["linux"]["mountLabel"], "u:object_r:f:s0");
    }

    #[test]
    fn privileged_means_no_profile_no_masks_and_every_capability() {
        let mut wanted = config();
        wanted.security.privileged = true;
        let spec = planned(&wanted, &place());
        assert_eq!(spec.pointer("/linux/seccomp"), None);
        assert_eq!(spec["linux"]["maskedPaths"], serde_json::json!([]));
        assert_eq!(
            spec["process"]["capabilities"]["bounding"].as_array().map(Vec::len),
            Some(41)
        );
    }

    #[test]
    fn the_oom_score_stays_in_what_may_be_set() {
        let mut wanted = config();
        for (asked, floor, given) in [(-997, 0, 0), (-997, -1000, -997), (1000, 0, 1000), (2000, 0, 1000)] {
            wanted.oom_score_adj = asked;
            let place = Place {
                oom_floor: floor,
                ..place()
            };
            assert_eq!(planned(&wanted, &place)["process"]["oomScoreAdj"], given);
        }
    }

    #[test]
    fn an_executed_command_is_the_containers_own_process_with_other_arguments() {
        let identity = Identity {
            uid: 7,
            gid: 8,
            groups: vec![],
            home: "/".to_owned(),
        };
        let process = plan_process(&config(), &identity, &place(), CapabilitySet(1)).expect("the config is a good one");
        let exec = ExecConfig {
            args: vec!["id".to_owned()],
            tty: true,
            stdin: false,
            size: None,
            dies_with_session: false,
        };
        let planned = plan_exec(&process, &exec);
        assert_eq!(
            (planned.user(), planned.capabilities()),
            (process.user(), process.capabilities())
        );
        assert_eq!(
            (planned.args().as_deref(), planned.terminal()),
            (Some(&["id".to_owned()][..]), Some(true))
        );
        assert!(planned.env().iter().flatten().any(|v| v == "TERM=xterm"));
    }
}
