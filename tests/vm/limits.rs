//! Limits under cgroup v2. Two unprivileged users drive the program: one to whom a group is delegated, one to whom none is.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use crate::archive::Archive;
use crate::machine::{self, Said, Scene};
use crate::{limits, pod};

/// What the user with a group of its own has running.
fn manifests() -> String {
    let memory = |limit: &str| limits(&json!({"memory": limit}), &json!({"memory": "8Mi"}));
    let mut web = pod(
        "web",
        "sleep forever",
        &limits(
            &json!({"cpu": "200m", "memory": "64Mi"}),
            &json!({"cpu": "100m", "memory": "32Mi"}),
        ),
    );
    let probe = json!({"exec": {"command": ["/kubelocal", "demo", "id"]}, "periodSeconds": 1, "timeoutSeconds": 20});
    web["spec"]["containers"][0]["readinessProbe"] = probe;
    let burn = pod("burn", "spin", &limits(&json!({"cpu": "100m"}), &json!({"cpu": "1"})));
    let mut burn = burn;
    burn["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "100m"});
    let same = json!({"cpu": "50m", "memory": "16Mi"});
    let pods = [
        web,
        burn,
        pod("hungry", "eat 200", &memory("32Mi")),
        pod("parent", "eat-in-child 200", &memory("32Mi")),
        pod("liar", "exit 137", &memory("32Mi")),
        pod("slowed", "eat 61", &memory("64Mi")),
        pod("crowd", "crowd 60", &json!({})),
        pod("sure", "sleep forever", &limits(&same, &same)),
    ];
    pods.map(|pod| pod.to_string()).join("\n---\n")
}

fn fill(archive: &mut Archive, _: &Path) {
    for dir in ["bin", "dev", "etc"] {
        archive.dir(dir);
    }
    archive.program("init", include_bytes!("limits/init"));
    archive.program("bin/kubelocal", &machine::program());
    archive.file("say.sh", include_bytes!("say.sh"));
    archive.file("ann.sh", include_bytes!("limits/ann.sh"));
    archive.file("bob.sh", include_bytes!("limits/bob.sh"));
    archive.file("pods.yaml", manifests().as_bytes());
    let poor = pod(
        "poor",
        "sleep forever",
        &json!({"limits": {"cpu": "100m", "memory": "32Mi"}}),
    );
    archive.file("poor.yaml", poor.to_string().as_bytes());
    let asked = json!({"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "50m", "memory": "8Mi"}});
    archive.file("elastic.yaml", pod("elastic", "eat 40", &asked).to_string().as_bytes());
    archive.file("etc/resolv.conf", b"");
    archive.file("etc/hosts", b"127.0.0.1 localhost\n");
}

#[test]
fn limits_hold_where_a_group_is_delegated_and_their_absence_is_told_where_none_is() {
    let scene = Scene {
        tested: "CGROUP V2",
        needs: &[],
        told: "",
        fill: &fill,
    };
    let Some(said) = machine::run(&scene) else {
        return;
    };
    the_delegated_users_pods_live_within_their_limits(&said);
    each_end_is_told_by_its_cause(&said);
    what_pods_use_is_told(&said);
    what_runs_gets_other_limits(&said);
    nothing_is_left(&said);
    the_other_user_is_told_that_nothing_is_enforced(&said);
}

fn the_delegated_users_pods_live_within_their_limits(said: &Said) {
    said.is("cgroups", "v2, cpu memory pids hugetlb");
    said.is("web-ready", "True");
    let files: BTreeMap<&str, &str> = BTreeMap::from([
        ("web/cpu.max", "20000 100000"),
        // 100m are 102 shares, which are a weight of 17.
        ("web/cpu.weight", "17"),
        ("web/memory.max", "67108864"),
        ("web/memory.low", "33554432"),
        ("web/memory.min", "0"),
        // 32Mi + 0.9 × 32Mi, down to whole pages.
        ("web/memory.high", "63750144"),
        ("web/memory.oom.group", "1"),
        ("web-pod/cpu.max", "20000 100000"),
        ("web-pod/memory.max", "67108864"),
        ("web-pod/pids.max", "40"),
        ("sure/memory.min", "16777216"),
        ("sure/memory.high", "max"),
        ("burn/cpu.max", "10000 100000"),
    ]);
    for (file, value) in files {
        said.is(file, value);
    }
    assert!(
        said.number("burn-throttled") > 0,
        "a busy loop with a tenth of a CPU is throttled"
    );
    assert!(
        said.number("slowed-high") > 0,
        "who eats beyond memory.high is held back"
    );
    let started: u64 = said.number("crowd-started");
    assert!(
        (1..40).contains(&started),
        "{started} processes of 40 that a pod may have, this and its first one included"
    );
    said.is("web-condition", "");
}

fn each_end_is_told_by_its_cause(said: &Said) {
    said.is("hungry", "OOMKilled 137");
    said.is("parent", "OOMKilled 137");
    said.is("liar", "Error 137");
}

fn what_pods_use_is_told(said: &Said) {
    // 61 MiB, and what the program takes besides.
    let slowed = said.number("top-slowed-memory");
    assert!((61..=64).contains(&slowed), "{slowed}Mi");
    let burn = said.number("top-burn-cpu");
    assert!((20..=200).contains(&burn), "{burn}m of 100m");
}

fn what_runs_gets_other_limits(said: &Said) {
    for of in ["elastic", "elastic-pod"] {
        said.is(&format!("{of}/memory.max"), "100663296");
        said.is(&format!("{of}/cpu.max"), "30000 100000");
    }
    let refused = said.text("elastic-refused");
    let words = "attempting to set container \"main\" memory limit (25165824) below current usage (";
    assert!(refused.starts_with(words), "{refused}");
    said.is("elastic-kept", "100663296");
    said.is("elastic-less", "10000 100000");
    said.is("elastic-lived", "yes");
}

fn nothing_is_left(said: &Said) {
    said.is("left", "kubelocal-node");
}

fn the_other_user_is_told_that_nothing_is_enforced(said: &Said) {
    said.is("poor-ready", "True");
    said.is("poor-cgroups", "none: the cgroup /bob is not delegated to this user");
    let told = "limits are not enforced: the pod's sandbox was made without cgroup controllers (cpu, memory); `kubelocal doctor` tells how to get them";
    said.is("poor-condition", told);
    said.is("poor-event", told);
    assert!(
        said.text("poor-doctor").contains("sudo chown bob"),
        "{}",
        said.text("poor-doctor")
    );
}
