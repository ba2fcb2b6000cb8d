//! What a container may do, as seen from inside.

use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{documents, job, pod};

const STATUS: &str = "cat /proc/self/status";

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

fn security(name: &str, args: &str, context: Value) -> crate::manifest::Manifest {
    job(name, args).with("/spec/containers/0/securityContext", context)
}

#[test]
fn containers_are_confined_unless_they_ask_for_more() {
    let home = Home::new();
    home.must(format!(
        "apply -f {}",
        home.file(
            "a.yaml",
            documents([
                job("default", STATUS),
                security(
                    "confined",
                    STATUS,
                    json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}})
                ),
                security(
                    "more",
                    STATUS,
                    json!({"capabilities": {"add": ["NET_ADMIN"], "drop": ["CHOWN"]}})
                ),
            ])
        )
    ));
    for name in ["default", "confined", "more"] {
        home.until_phase(name, "Succeeded");
    }
    let status = home.must("logs default");
    // The fourteen capabilities that container runtimes give by default.
    assert_eq!(field(&status, "CapEff"), "00000000a80425fb");
    assert_eq!(field(&status, "CapBnd"), "00000000a80425fb");
    assert_eq!(field(&status, "Seccomp"), "2");
    let status = home.must("logs confined");
    assert_eq!(field(&status, "CapEff"), "0000000000000000");
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    let status = home.must("logs more");
    assert_eq!(field(&status, "CapEff"), "00000000a80435fa");
}

#[test]
fn a_pod_may_see_the_hosts_processes_and_ends_as_any_other() {
    let home = Home::new();
    let mut open = pod("open", "serve");
    open = open.with("/spec/hostPID", json!(true));
    let shared = pod("both", "serve")
        .with("/spec/hostPID", json!(true))
        .with("/spec/shareProcessNamespace", json!(true));
    let error = home.fails(format!("apply -f {}", home.file("b.yaml", shared)));
    assert!(
        error.contains("ShareProcessNamespace and HostPID cannot both be enabled"),
        "{error}"
    );
    home.start(open);
    home.until_ready("open");
    let own = std::process::id();
    let seen = home.must("exec open -- /kubelocal demo ls /proc");
    assert!(seen.split_whitespace().any(|name| name == own.to_string()), "{seen}");
    let status = home.must(format!("exec open -- /kubelocal demo cat /proc/{own}/status"));
    assert_eq!(field(&status, "Pid"), own.to_string());
    home.must("delete pod open");
    home.until_gone("pod open");
    assert!(home.processes().iter().all(|(_, line)| !line.contains("serve")));
}

/// Of a host that has AppArmor, only that the profile must be loaded there can be said.
#[test]
fn a_profile_of_apparmor_is_enforced_or_the_pod_fails_and_labels_are_left_to_hosts_that_have_them() {
    let home = Home::new();
    let localhost = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "no-such-profile"}});
    let default = json!({"appArmorProfile": {"type": "RuntimeDefault"}});
    let labels = json!({"seLinuxOptions": {"level": "s0:c1,c2"}});
    home.must(format!(
        "apply -f {}",
        home.file(
            "a.yaml",
            documents([
                security("profile", "id", localhost),
                security("default", "id", default),
                security("labels", "id", labels),
            ])
        )
    ));
    home.until_phase("default", "Succeeded");
    if std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        println!("this host has SELinux: what its policy makes of the labels is not looked at");
    } else {
        home.until_phase("labels", "Succeeded");
    }
    if std::path::Path::new("/sys/module/apparmor/parameters/enabled").exists() {
        home.until("it does not run", || {
            home.must("events --for pod/profile").contains("AppArmor")
        });
        return;
    }
    home.until_phase("profile", "Failed");
    assert_eq!(home.text("pod profile", "/status/reason"), "AppArmor");
    assert_eq!(
        home.text("pod profile", "/status/message"),
        "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host"
    );
}

#[test]
fn kernel_files_are_masked_or_read_only() {
    let home = Home::new();
    home.must(format!("watch --once {}", home.file("a.yaml", pod("web", "serve"))));
    let mounts = home.must("exec web -- /kubelocal demo mounts");
    let options = |at: &str| {
        let line = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some(at));
        line.and_then(|line| line.split(' ').nth(5))
            .unwrap_or_else(|| panic!("no {at} in {mounts}"))
    };
    for path in ["/sys", "/sys/fs/cgroup", "/proc/sys", "/proc/irq"] {
        assert!(options(path).starts_with("ro"), "{path}: {}", options(path));
    }
    let keys = home.must("exec web -- /kubelocal demo stat /proc/keys");
    assert!(keys.contains("char"), "/dev/null lies over it: {keys}");
    let said = home.run("exec web -- /kubelocal demo write /proc/sys/kernel/hostname x");
    assert_eq!(said.code, 1, "{}", said.stdout);
}

#[test]
fn a_read_only_root_file_system_can_not_be_written() {
    let home = Home::new();
    home.must(format!(
        "apply -f {}",
        home.file(
            "a.yaml",
            documents([
                job("writable", "write /file x"),
                security("read-only", "write /file x", json!({"readOnlyRootFilesystem": true})),
            ])
        )
    ));
    home.until_phase("writable", "Succeeded");
    home.until_phase("read-only", "Failed");
    assert!(home.must("logs read-only").contains("Read-only file system"));
}

#[test]
fn users_and_groups_are_what_was_asked_for() {
    let home = Home::new();
    let user = security("user", "id", json!({"runAsUser": 1234, "runAsGroup": 2345})).with(
        "/spec/securityContext",
        json!({"supplementalGroups": [5, 6], "runAsUser": 1}),
    );
    let root = pod("root", "serve").with("/spec/securityContext", json!({"runAsNonRoot": true}));
    let other = security("other", "id", json!({"runAsNonRoot": true, "runAsUser": 7}));
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", documents([user, root, other]))
    ));
    home.until_phase("user", "Succeeded");
    assert!(
        home.must("logs user").starts_with("uid=1234 gid=2345 groups=5,6"),
        "{}",
        home.must("logs user")
    );
    home.until_phase("other", "Succeeded");
    assert!(home.must("logs other").starts_with("uid=7 "));
    home.until("the reason is told", || {
        let waiting = home.field("pod root", "/status/containerStatuses/0/state/waiting");
        waiting["reason"] == "CreateContainerConfigError"
            && waiting["message"]
                .as_str()
                .unwrap_or_default()
                .contains("container has runAsNonRoot and image will run as root")
    });
}

#[test]
fn settings_of_the_kernel_are_the_pods_own_where_they_are_safe_or_allowed() {
    let home = Home::new();
    std::fs::create_dir_all(home.path("")).expect("a directory");
    std::fs::write(home.path("config.yaml"), "allowedUnsafeSysctls: [net.ipv4.conf.*]").expect("writes");
    let with = |name: &str, sysctl: &str, value: &str| {
        let path = format!("cat /proc/sys/{}", sysctl.replace('.', "/"));
        let sysctls = json!({"sysctls": [{"name": sysctl, "value": value}]});
        job(name, &path).with("/spec/securityContext", sysctls)
    };
    let all = [
        with("safe", "net.ipv4.ip_local_port_range", "40000 40010"),
        with("allowed", "net.ipv4.conf.all.log_martians", "1"),
        with("forbidden", "kernel.msgmax", "1000"),
    ];
    home.must(format!("apply -f {}", home.file("a.yaml", documents(all))));
    home.until_phase("safe", "Succeeded");
    home.until_phase("allowed", "Succeeded");
    home.until_phase("forbidden", "Failed");
    assert_eq!(home.must("logs safe"), "40000\t40010\n");
    assert_eq!(home.must("logs allowed"), "1\n");
    assert_eq!(home.text("pod forbidden", "/status/reason"), "SysctlForbidden");
    let message = home.text("pod forbidden", "/status/message");
    assert_eq!(
        message,
        "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted"
    );
}

#[test]
fn a_seccomp_profile_of_the_users_holds() {
    let home = Home::new();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
    std::fs::create_dir_all(home.path("seccomp")).expect("a directory");
    std::fs::write(home.path("seccomp/no-mkdir.json"), profile.to_string()).expect("writes");
    let shell = crate::images::load_busybox(&home, "sleep 1000");
    let with = |name: &str, file: &str| {
        let profile = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": file}});
        shell
            .clone()
            .with("/metadata/name", json!(name))
            .with("/spec/restartPolicy", json!("Never"))
            .with(
                "/spec/containers/0/command",
                json!(["sh", "-c", "mkdir /tmp/x 2>&1; echo code $?"]),
            )
            .with("/spec/containers/0/securityContext", profile)
    };
    let all = [with("held", "no-mkdir.json"), with("absent", "none.json")];
    home.must(format!("apply -f {}", home.file("a.yaml", documents(all))));
    home.until_phase("held", "Succeeded");
    let log = home.must("logs held");
    assert!(
        log.contains("Operation not permitted") && log.ends_with("code 1\n"),
        "{log}"
    );
    home.until_waiting("absent", "CreateContainerError");
}

#[test]
fn a_pod_of_the_hosts_ipc_has_the_groups_that_were_asked_for() {
    let home = Home::new();
    let context = json!({"supplementalGroups": [5], "supplementalGroupsPolicy": "Strict"});
    let strict = job("strict", "id")
        .with("/spec/hostIPC", json!(true))
        .with("/spec/securityContext", context);
    home.must(format!("apply -f {}", home.file("a.yaml", documents([strict]))));
    home.until_phase("strict", "Succeeded");
    let log = home.must("logs strict");
    assert!(log.trim_end().ends_with("groups=5"), "{log}");
}
