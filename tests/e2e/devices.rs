//! Devices by a resource's name: who gets which, what a container gets with it, and what is said of those that can't be had.

use std::fs;

use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, documents, job, pod};

/// The resource of two devices, `zero` and `full`.
const RESOURCE: &str = "devices.example/toy";

fn put(home: &Home, file: &str, text: &str) {
    fs::create_dir_all(home.path("cdi")).expect("a directory");
    fs::write(home.path("cdi").join(file), text).expect("writes");
}

/// Two devices, and a hook that tells that it ran.
fn toys(home: &Home) -> String {
    let told = home.path("hook-ran");
    let device = |name: &str| {
        let nodes = json!([{"path": "/dev/toy", "hostPath": format!("/dev/{name}"), "type": "c"}]);
        json!({"name": name, "containerEdits": {"deviceNodes": nodes, "env": [format!("TOY={name}")]}})
    };
    let hook = json!({"hookName": "createContainer", "path": "/usr/bin/touch", "args": ["touch", told]});
    let mount =
        json!({"hostPath": "/etc/passwd", "containerPath": "/lib/toy", "options": ["ro", "nosuid", "nodev", "rbind"]});
    let spec = json!({
        "cdiVersion": "0.6.0",
        "kind": RESOURCE,
        "containerEdits": {"hooks": [hook], "mounts": [mount]},
        "devices": [device("zero"), device("full")],
    });
    spec.to_string()
}

fn asking(manifest: Manifest, resource: &str) -> Manifest {
    manifest.with("/spec/containers/0/resources", json!({"limits": {resource: 1}}))
}

fn allocatable(home: &Home, resource: &str) -> Value {
    let node = home.get("nodes");
    let resource = resource.replace('/', "~1");
    let found = node.pointer(&format!("/items/0/status/allocatable/{resource}"));
    found.cloned().unwrap_or_default()
}

fn why_it_waits(home: &Home, pod: &str) -> String {
    let conditions = home.field(&format!("pod {pod}"), "/status/conditions");
    let mut all = conditions.as_array().into_iter().flatten();
    let scheduled = all.find(|c| c["type"] == "PodScheduled" && c["status"] == "False");
    scheduled.map(|c| c["message"].to_string()).unwrap_or_default()
}

#[test]
fn a_device_is_one_pods_alone_and_stays_so_when_the_node_dies() {
    let home = Home::new();
    put(&home, "toys.json", &toys(&home));
    home.start(documents([
        asking(pod("first", "serve"), RESOURCE),
        asking(pod("second", "serve"), RESOURCE),
    ]));
    let toy_of = |pod: &str| {
        let env = home.must(format!("exec {pod} -- /kubelocal demo env"));
        let line = env
            .lines()
            .find_map(|line| line.strip_prefix("TOY=").map(str::to_owned));
        line.expect("a device brings its variable")
    };
    home.until_ready("first");
    home.until_ready("second");
    let (first, second) = (toy_of("first"), toy_of("second"));
    assert_ne!(first, second);
    let seen = home.must("exec first -- /kubelocal demo stat /dev/toy");
    assert!(seen.contains("char"), "{seen}");
    let mounts = home.must("exec first -- /kubelocal demo mounts");
    let toy = mounts
        .lines()
        .find(|line| line.contains(" /lib/toy "))
        .expect("is mounted");
    assert!(toy.contains("ro,nosuid,nodev"), "{toy}");
    assert!(home.path("hook-ran").exists(), "the hook was run on the host");
    assert_eq!(allocatable(&home, RESOURCE), "2");
    home.kill_node();
    let third = asking(pod("third", "serve"), RESOURCE);
    home.must(format!("apply -f {}", home.file("c.yaml", third)));
    home.until("it waits", || {
        why_it_waits(&home, "third").contains("1 Insufficient devices.example/toy")
    });
    home.must("delete pod second");
    home.until_ready("third");
    assert_eq!((toy_of("third"), toy_of("first")), (second, first));
}

#[test]
fn devices_are_shared_where_the_settings_say_so_and_new_files_are_seen() {
    let home = Home::new();
    fs::create_dir_all(home.path("")).expect("a home");
    fs::write(
        home.path("config.yaml"),
        format!("devices: {{{RESOURCE}: {{sharedBy: 2}}}}\n"),
    )
    .expect("writes");
    let pods = ["a", "b", "c"].map(|name| asking(pod(name, "serve"), RESOURCE));
    home.must(format!("apply -f {}", home.file("a.yaml", documents(pods))));
    home.until("they wait", || {
        why_it_waits(&home, "a").contains("Insufficient devices.example/toy")
    });
    put(&home, "toys.json", &toys(&home));
    for name in ["a", "b", "c"] {
        home.until_ready(name);
    }
    assert_eq!(allocatable(&home, RESOURCE), "4");
    fs::remove_file(home.path("cdi/toys.json")).expect("removed");
    home.until("it is gone", || allocatable(&home, RESOURCE).is_null());
}

#[test]
fn files_that_are_wrong_are_told_of_and_do_no_harm() {
    let home = Home::new();
    put(
        &home,
        "a.yaml",
        "cdiVersion: 0.6.0\nkind: devices.example/bad\ndevices: [{name: x, what: 1}]\n",
    );
    put(&home, "b.json", &"[".repeat(100_000));
    let lost = toys(&home).replace("/dev/full", "/dev/nowhere");
    put(&home, "c.json", &lost);
    home.start(asking(pod("web", "serve"), RESOURCE));
    home.until_ready("web");
    assert_eq!(allocatable(&home, RESOURCE), "1");
    let events = home.must("events -A");
    for word in [
        "InvalidDevice",
        "unknown field `what`",
        "b.json",
        "/dev/nowhere: No such file",
    ] {
        assert!(events.contains(word), "{word}: {events}");
    }
    let doctor = home.run("doctor");
    assert!(
        doctor.stdout.contains("/dev/nowhere: No such file"),
        "{}",
        doctor.stdout
    );
}

/// Those of our own are there where this user may open them; which differs between hosts.
#[test]
fn common_devices_of_the_host_are_there_for_many() {
    let home = Home::new();
    home.start(pod("web", "serve"));
    home.until_ready("web");
    let mut number = 0;
    for (class, path) in [("fuse", "/dev/fuse"), ("kvm", "/dev/kvm"), ("tun", "/dev/net/tun")] {
        let resource = format!("kubelocal.dev/{class}");
        let opened = fs::OpenOptions::new().read(true).write(true).open(path);
        let is_usable = opened.is_ok_and(|file| file.metadata().is_ok());
        assert_eq!(!allocatable(&home, &resource).is_null(), is_usable, "{path}");
        for _ in 0..2 {
            number += 1;
            let name = format!("{class}-{number}");
            let asked = asking(job(&name, &format!("stat {path}")), &resource);
            home.must(format!("apply -f {}", home.file("d.yaml", asked)));
            if is_usable {
                home.until_phase(&name, "Succeeded");
                assert!(home.must(format!("logs {name}")).contains("char"));
            } else {
                home.until("it waits", || {
                    why_it_waits(&home, &name).contains(&format!("Insufficient {resource}"))
                });
            }
        }
    }
}
