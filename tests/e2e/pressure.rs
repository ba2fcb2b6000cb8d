//! A machine that runs short of something: its node lives, says so, ends those pods that have to go, and goes on when there is enough again.

use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::home::Home;
use crate::image::tar;
use crate::manifest::{Manifest, config_map, documents, pod};

/// The built-in image is this program, which with what tests need of it takes a hundred mebibytes and more.
fn home_on_disk(settings: &str) -> Home {
    let program = fs::metadata(env!("CARGO_BIN_EXE_kubelocal"))
        .expect("it is built")
        .len();
    let home = Home::on_disk(u32::try_from(program >> 20).expect("is small") * 2 + 160);
    fs::write(home.path("config.yaml"), settings).expect("writes");
    home
}

fn free(home: &Home) -> u64 {
    let disk = rustix::fs::statvfs(home.path("")).expect("is mounted");
    disk.f_bavail * disk.f_frsize
}

/// Takes all of the disk but so many mebibytes.
fn leave(home: &Home, mebibytes: u64) {
    let mut filler = fs::File::create(home.path("filler")).expect("made");
    let mebibyte = vec![1; 1 << 20];
    while free(home) > mebibytes << 20 {
        filler.write_all(&mebibyte).expect("there is room");
    }
}

fn condition(home: &Home, kind: &str) -> Value {
    let node = home.get("nodes");
    let conditions = node["items"][0]["status"]["conditions"].clone();
    let mut all = conditions.as_array().into_iter().flatten();
    all.find(|c| c["type"] == kind).cloned().unwrap_or_default()
}

fn taints(home: &Home) -> String {
    home.get("nodes")["items"][0]["spec"]["taints"].to_string()
}

#[test]
fn a_full_disk_ends_nothing_and_all_goes_on_when_there_is_room() {
    let home = home_on_disk("evictionHard: {}\n");
    home.start(pod("web", "serve"));
    leave(&home, 16);
    let large = tar(&[("large", &vec![1; 32 << 20])]);
    let refused = home.run_with(large, "image import - test/large:1");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("the disk has no room for it"), "{refused:?}");
    assert!(free(&home) > 8 << 20, "nothing of it stays: {}", free(&home));
    home.start(pod("loud", "count --interval 0"));
    home.until("its log has filled the disk", || free(&home) == 0);
    let large = json!({"text": "x".repeat(900_000)});
    let mut refusals = (0..50).map(|n| {
        let file = home.file("map.yaml", config_map(&format!("map-{n}"), large.clone()));
        home.run(format!("apply -f {file}"))
    });
    let refused = refusals
        .find(|answer| answer.code != 0)
        .expect("the journal needs room at last");
    assert!(refused.stderr.contains("can't be written to disk yet"), "{refused:?}");
    home.must("exec web -- /kubelocal demo echo alive");
    fs::remove_file(home.path("filler")).expect("is there");
    home.until("what is asked is kept again", || {
        let file = home.file("b.yaml", pod("late", "serve"));
        home.run(format!("apply -f {file}")).code == 0
    });
    home.until_ready("late");
    for name in ["web", "loud"] {
        assert_eq!(
            home.field(&format!("pod {name}"), "/status/containerStatuses/0/restartCount"),
            0
        );
        assert_eq!(home.text(&format!("pod {name}"), "/status/phase"), "Running");
    }
    let last = || home.must("logs loud --tail 1");
    let before = last();
    home.until("its log goes on", || last() != before);
}

#[test]
fn a_pod_that_fills_the_disk_is_evicted_and_then_there_is_room_for_others() {
    let home = home_on_disk("evictionHard: {nodefs.available: 24Mi}\nevictionPressureTransitionPeriod: 1s\n");
    home.start(pod("web", "serve"));
    assert_eq!(condition(&home, "DiskPressure")["reason"], "KubeletHasNoDiskPressure");
    leave(&home, 56);
    home.start(pod("loud", "count --interval 0"));
    home.until("the node says so", || {
        condition(&home, "DiskPressure")["status"] == "True"
    });
    assert_eq!(condition(&home, "DiskPressure")["reason"], "KubeletHasDiskPressure");
    assert!(taints(&home).contains("node.kubernetes.io/disk-pressure"));
    home.until("it is evicted", || home.text("pod loud", "/status/reason") == "Evicted");
    home.must(format!("apply -f {}", home.file("b.yaml", pod("late", "serve"))));
    let message = home.text("pod loud", "/status/message");
    assert!(
        message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: 24Mi, available: ")
            && message.contains("Container main was using "),
        "{message}"
    );
    home.until_ready("late");
    assert_eq!(taints(&home), "[]");
    assert_eq!(home.text("pod web", "/status/phase"), "Running", "one was enough");
    let events = home.must("events -A");
    for told in [
        "EvictionThresholdMet",
        "NodeHasDiskPressure",
        "NodeHasNoDiskPressure",
        "Evicted",
    ] {
        assert!(events.contains(told), "{told}: {events}");
    }
}

#[test]
fn who_asked_for_no_memory_goes_first_and_critical_pods_stay() {
    let home = Home::new();
    let asked = |name: &str| {
        let requests = json!({"requests": {"memory": "1Gi"}});
        pod(name, "serve").with("/spec/containers/0/resources", requests)
    };
    let critical = pod("critical", "serve").with("/spec/priorityClassName", json!("system-node-critical"));
    home.start(documents([asked("modest"), pod("greedy", "eat 40"), critical.clone()]));
    home.must("stop");
    fs::write(home.path("config.yaml"), "evictionHard: {memory.available: 1000Ti}\n").expect("writes");
    home.until("the greedy one is evicted", || {
        home.text("pod greedy", "/status/reason") == "Evicted"
    });
    let modest = home.text("pod modest", "/status/phase");
    assert_eq!(modest, "Running", "one at a time");
    let pod_of = |name: &str| home.get(&format!("pod {name}"));
    let greedy = pod_of("greedy");
    let message = greedy["status"]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with("The node was low on resource: memory. Threshold quantity: 1000Ti, available: "),
        "{message}"
    );
    assert!(
        message.contains(", request is 0, has larger consumption of memory. "),
        "{message}"
    );
    let conditions = greedy["status"]["conditions"].to_string();
    assert!(conditions.contains("TerminationByKubelet"), "{conditions}");
    assert_eq!(
        condition(&home, "MemoryPressure")["reason"],
        "KubeletHasInsufficientMemory"
    );
    assert_eq!(condition(&home, "PIDPressure")["reason"], "KubeletHasSufficientPID");
    // The scheduler keeps away who asks for nothing; who comes by the node's name is sent back.
    let node = home.text("pod critical", "/spec/nodeName");
    let by_name = pod("by-name", "serve").with("/spec/nodeName", json!(node));
    let late: Vec<Manifest> = vec![
        pod("waits", "serve"),
        by_name,
        critical
            .with("/metadata/name", json!("late"))
            .with("/spec/nodeName", json!(node)),
    ];
    home.must(format!("apply -f {}", home.file("b.yaml", documents(late))));
    home.until("it is sent back", || {
        home.text("pod by-name", "/status/message") == "Pod was rejected: The node had condition: [MemoryPressure]. "
    });
    home.until_ready("late");
    home.until("it is told to wait", || {
        pod_of("waits")["status"]["conditions"]
            .to_string()
            .contains("untolerated taint {node.kubernetes.io/memory-pressure: }")
    });
    home.until("the modest one is evicted", || {
        home.text("pod modest", "/status/reason") == "Evicted"
    });
    assert_eq!(home.text("pod critical", "/status/phase"), "Running");
}

#[test]
fn who_goes_for_a_soft_threshold_has_its_time_to_end_and_others_wait_for_that() {
    let home = Home::new();
    let asked = pod("modest", "serve").with("/spec/containers/0/resources", json!({"requests": {"memory": "1Gi"}}));
    let stubborn = pod("stubborn", "ignore-term").with("/spec/terminationGracePeriodSeconds", json!(600));
    home.start(documents([asked, stubborn]));
    home.must("stop");
    let settings = "evictionHard: {}\nevictionSoft: {memory.available: 1000Ti}\nevictionSoftGracePeriod: {memory.available: 0s}\n\
                    evictionMaxPodGracePeriod: 500\n";
    fs::write(home.path("config.yaml"), settings).expect("writes");
    home.until("the greedy one is evicted", || {
        home.text("pod stubborn", "/status/reason") == "Evicted"
    });
    home.until_logged("stubborn", "SIGTERM ignored");
    let ends = || {
        home.field(
            "pod stubborn",
            "/metadata/annotations/kubelocal.dev~1eviction-grace-period",
        )
    };
    assert_eq!(ends(), "500");
    // Another node knows it, too.
    home.must("stop");
    home.must("get pods");
    assert_eq!(home.text("pod stubborn", "/status/reason"), "Evicted");
    let running = home.field("pod stubborn", "/status/containerStatuses/0/state/running");
    assert!(running.is_object(), "it has its time: {running}");
    home.must("delete pod stubborn --grace-period=1");
}
