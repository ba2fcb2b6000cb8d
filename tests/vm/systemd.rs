//! The node under systemd: as a user's service, installed as deploy/README.md says; started by hand in a session; as a service of the system. And
//! AppArmor, which the kernel of such a machine has.

use std::path::Path;

use serde_json::{Value, json};

use crate::archive::Archive;
use crate::machine::{self, Said, Scene, read};
use crate::pod;

const PASSWD: &str = "\
root:x:0:0::/root:/bin/sh
messagebus:x:100:100::/nonexistent:/bin/false
alice:x:1000:1000::/home/alice:/bin/sh
nobody:x:65534:65534::/nonexistent:/bin/false
";
const GROUP: &str = "root:x:0:\ntty:x:5:\nmessagebus:x:100:\nalice:x:1000:\nnogroup:x:65534:\n";
/// Whoever comes is let in, and gets a session and a systemd of its own.
const PAM: &str = "\
auth required pam_permit.so
account required pam_permit.so
session required pam_permit.so
session optional pam_systemd.so
";
/// What the machine is there for.
const TARGET: &str = "[Unit]\nRequires=basic.target\nWants=scene.service\nAfter=basic.target\n";

/// A pod that runs until it is told to end.
fn lasting(name: &str, args: &str) -> Value {
    let mut pod = pod(name, args, &json!({"limits": {"cpu": "500m", "memory": "64Mi"}}));
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["spec"]["terminationGracePeriodSeconds"] = json!(8);
    pod
}

fn confined(name: &str, profile: &str) -> Value {
    let mut pod = lasting(name, "sleep forever");
    let profile = json!({"type": "Localhost", "localhostProfile": profile});
    pod["spec"]["securityContext"] = json!({"appArmorProfile": profile});
    pod
}

/// The commands that deploy/README.md tells users to run, but for the last one, which needs polkit.
fn install_notes() -> String {
    let notes = include_str!("../../deploy/README.md");
    let block = notes.split("```\n").nth(1).expect("they hold commands");
    let (commands, lingering) = block.trim_end().rsplit_once('\n').expect("several of them");
    assert!(lingering.starts_with("loginctl enable-linger"), "{lingering}");
    commands.to_owned()
}

fn fill(archive: &mut Archive, kernel: &Path) {
    let systemd = kernel.join("systemd");
    archive.dir("usr");
    archive.tree(&systemd);
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        archive.link(link, target);
    }
    // Those that a user needs to make a user namespace.
    for program in ["newuidmap", "newgidmap"] {
        let path = format!("usr/bin/{program}");
        archive.set_uid(&path, &read(&systemd.join(&path)));
    }
    for dir in [
        "dev",
        "proc",
        "etc",
        "etc/pam.d",
        "etc/systemd",
        "etc/systemd/system",
        "scene",
        "scene/checkout",
    ] {
        archive.dir(dir);
    }
    archive.program("init", include_bytes!("systemd/init"));
    for (file, text) in [
        ("passwd", PASSWD),
        ("group", GROUP),
        ("subuid", "alice:100000:65536\n"),
        ("subgid", "alice:100000:65536\n"),
        ("hosts", "127.0.0.1 localhost\n"),
        ("hostname", "machine\n"),
        ("resolv.conf", ""),
        ("os-release", "ID=debian\n"),
        ("machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("pam.d/login", PAM),
        ("pam.d/systemd-user", PAM),
        ("systemd/system/scene.target", TARGET),
        ("systemd/system/scene.service", include_str!("systemd/scene.service")),
    ] {
        archive.file(&format!("etc/{file}"), text.as_bytes());
    }
    for dir in [
        "deploy",
        "target",
        "target/x86_64-unknown-linux-gnu",
        "target/x86_64-unknown-linux-gnu/release",
    ] {
        archive.dir(&format!("scene/checkout/{dir}"));
    }
    archive.program(
        "scene/checkout/target/x86_64-unknown-linux-gnu/release/kubelocal",
        &machine::program(),
    );
    archive.file(
        "scene/checkout/deploy/kubelocal.service",
        include_bytes!("../../deploy/kubelocal.service"),
    );
    let mut last = lasting("last", "sleep forever");
    last["spec"]["priorityClassName"] = json!("system-node-critical");
    let pods = [lasting("web", "ignore-term"), last].map(|pod| pod.to_string());
    for (file, text) in [
        ("install.sh", install_notes().as_str()),
        ("say.sh", include_str!("say.sh")),
        ("root.sh", include_str!("systemd/root.sh")),
        ("unit.sh", include_str!("systemd/unit.sh")),
        ("session.sh", include_str!("systemd/session.sh")),
        ("going.sh", include_str!("systemd/going.sh")),
        ("gone.sh", include_str!("systemd/gone.sh")),
        ("profile", include_str!("systemd/profile")),
        ("pods.yaml", &pods.join("\n---\n")),
        ("later.yaml", &lasting("later", "sleep forever").to_string()),
        ("confined.yaml", &confined("confined", "confined").to_string()),
        ("unknown.yaml", &confined("unknown", "nobody-loaded-it").to_string()),
    ] {
        archive.file(&format!("scene/{file}"), text.as_bytes());
    }
}

#[test]
fn systemd_starts_stops_and_revives_the_node_and_pods_live_on_or_end_in_order() {
    let scene = Scene {
        tested: "SYSTEMD",
        needs: &["systemd"],
        told: "systemd.unit=scene.target systemd.show_status=0 apparmor=1 security=apparmor",
        fill: &fill,
    };
    let Some(said) = machine::run(&scene) else {
        return;
    };
    the_unit_is_ready_when_it_says_so_and_limits_are_enforced(&said);
    pods_live_on_whatever_happens_to_the_node(&said);
    pods_end_with_the_unit_where_that_was_asked_for(&said);
    a_node_that_is_started_by_hand_has_limits_too(&said);
    a_service_of_the_system_does_the_same(&said);
    profiles_of_apparmor_confine(&said);
}

fn the_unit_is_ready_when_it_says_so_and_limits_are_enforced(said: &Said) {
    said.is("ready", "running");
    said.is("cgroups", "v2, cpu memory pids");
    said.is("enforced", "");
    said.is("limit", "67108864");
    said.is("limit-of-later", "67108864");
    let (unit, systemd) = (said.text("unit"), said.number("systemd"));
    match systemd {
        ..254 => assert!(unit.starts_with("run-") && unit.ends_with(".scope"), "{unit}"),
        254.. => assert_eq!(unit, "kubelocal.service", "it knows DelegateSubgroup="),
    }
}

fn pods_live_on_whatever_happens_to_the_node(said: &Said) {
    for after in ["restarted", "revived", "adopted", "still-there"] {
        said.is(after, "yes");
    }
    said.is("left-alone", "3");
}

/// `web` ignores the signal until its grace is over; `last` is critical, and has its turn then.
fn pods_end_with_the_unit_where_that_was_asked_for(said: &Said) {
    said.is("stopped", "success");
    said.is("left-over", "0");
    said.is("groups-left", "");
    for (ends, codes) in [("ends", "codes"), ("shutdown-ends", "shutdown-codes")] {
        let words: Vec<&str> = said.text(ends).split(' ').collect();
        let ["web", web, "last", last] = words[..] else {
            panic!("{ends}: {words:?}");
        };
        assert!(web <= last, "{ends}: {words:?}");
        said.is(codes, "last=0 later=0 web=137");
    }
}

fn a_node_that_is_started_by_hand_has_limits_too(said: &Said) {
    assert!(said.text("session").starts_with("session-"), "{}", said.text("session"));
    said.is("session-cgroups", "v2, cpu memory pids");
    said.is("session-limit", "67108864");
    said.is(
        "doctor",
        "v2, cpu memory pids, in a scope that systemd makes for the node",
    );
}

fn a_service_of_the_system_does_the_same(said: &Said) {
    said.is("root-status", "root");
    let cgroups = said.text("root-cgroups");
    assert!(cgroups.starts_with("v2, cpu memory pids"), "{cgroups}");
    said.is("root-limit", "67108864");
    said.is("root-same", "yes");
}

fn profiles_of_apparmor_confine(said: &Said) {
    for who in ["root", "rootless"] {
        said.is(&format!("{who}-profile"), "confined (enforce)");
        let denied = said.text(&format!("{who}-may-not"));
        assert!(denied.contains("Permission denied"), "{who}: {denied}");
    }
    said.is("root-may", "yes");
    let unknown = "the AppArmor profile \"nobody-loaded-it\" is not loaded on this host";
    said.is("root-unknown", unknown);
}
