//! The node and the supervisors may die; containers, status and logs must bear it.

use std::fs::{self, OpenOptions};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{Manifest, documents, pod};

#[test]
fn a_node_whose_log_is_on_a_full_disk_runs_on() {
    let home = Home::new();
    let full = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("every Linux has it");
    let node = home.spawn(home.command("node").stderr(full)).id();
    home.until("it answers", || home.run("status").code == 0);
    // It logs that it runs, and each source that it reads.
    home.write("a.yaml", pod("web", "serve"));
    home.until_ready("web");
    assert_eq!(home.node_pid(), i32::try_from(node).ok().and_then(Pid::from_raw));
}

#[test]
fn a_killed_node_leaves_containers_alone_and_the_next_one_tells_the_truth_at_once() {
    let home = Home::new();
    home.must(format!(
        "watch --once {}",
        home.file(
            "a.yaml",
            documents([pod("web", "serve"), pod("count", "count --interval 20")])
        )
    ));
    let ids = home.container_ids();
    let uid = home.text("pod web", "/metadata/uid");
    home.kill_node();
    assert_eq!(
        home.processes().len(),
        4,
        "two supervisors and what they run: {:?}",
        home.processes()
    );
    let start = Instant::now();
    let table = home.must("get pods --no-headers");
    let took = start.elapsed();
    let shown: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().take(4).collect())
        .collect();
    assert_eq!(
        shown,
        [["count", "1/1", "Running", "0"], ["web", "1/1", "Running", "0"]]
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(home.container_ids(), ids);
    assert_eq!(home.text("pod web", "/metadata/uid"), uid);
    home.must("exec web -- /kubelocal demo echo alive");
}

#[test]
fn what_ended_while_no_node_ran_is_told_by_the_next_one() {
    let home = Home::new();
    let once = pod("once", "exit 5 --after 1").with("/spec/restartPolicy", json!("Never"));
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", documents([once, pod("web", "serve")]))
    ));
    home.until_phase("once", "Running");
    let supervisor = home
        .supervisor_pid(&home.text("pod web", "/metadata/uid"))
        .expect("it runs");
    home.kill_node();
    kill_process(supervisor, Signal::KILL).expect("it is ours");
    home.until_ended(supervisor);
    home.until("the process of once has ended", || {
        !home.processes().iter().any(|(_, words)| words.contains("demo exit"))
    });
    home.must("get nodes");
    home.until_phase("once", "Failed");
    assert_eq!(
        home.field("pod once", "/status/containerStatuses/0/state/terminated/exitCode"),
        5
    );
    home.until("web runs again", || {
        let status = home.field("pod web", "/status/containerStatuses/0");
        status["restartCount"] == 1 && status["ready"] == true
    });
}

#[test]
fn logs_written_while_no_node_ran_are_there() {
    let home = Home::new();
    home.must(format!(
        "watch --once {}",
        home.file("a.yaml", pod("count", "count --interval 10"))
    ));
    home.kill_node();
    let files = crate::home::files_below(&home.path("pods"));
    let log = files
        .iter()
        .find(|path| path.ends_with("logs/main/0.log"))
        .expect("a log")
        .clone();
    let size = || std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let before = size();
    assert!(
        crate::home::within(crate::home::DEADLINE, || size() > before + 2000),
        "it goes on writing"
    );
    // The killed node may not have written down yet that the container runs: the next one sees it at once, but not before it answers.
    let log = home.until_logged("count", "41\n");
    let numbers: Vec<u64> = log.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_second_node_is_refused() {
    let home = Home::new();
    home.must("get nodes");
    let pid = home.node_pid().expect("a node runs");
    let said = home.fails("node");
    assert!(
        said.contains(&format!("a node is running already (pid {})", pid.as_raw_nonzero())),
        "{said}"
    );
    assert_eq!(home.node_pid(), Some(pid));
}

#[test]
fn sessions_with_other_runtime_directories_find_the_one_node_and_its_pods() {
    let home = Home::new();
    let session = tempfile::tempdir().expect("a directory");
    let file = home.file("a.yaml", pod("web", "serve"));
    let mut first = home.command(format!("watch --once {file}"));
    let applied = first.env("XDG_RUNTIME_DIR", session.path()).output();
    assert!(applied.expect("it runs").status.success());
    let node = home.node_pid();
    // The last logout takes it away, and the next login has a new one.
    drop(session);
    home.must("exec web -- /kubelocal demo echo alive");
    assert_eq!((home.node_pid(), home.processes().len()), (node, 3));
}

#[test]
fn a_node_without_its_socket_is_named() {
    let home = Home::new();
    home.must("get pods");
    let node = home.node_pid().expect("it runs").as_raw_nonzero();
    fs::remove_file(home.path("run/api.sock")).expect("it is there");
    let said = home.run("get pods");
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains(&format!("`kill {node}` makes room")), "{said:?}");
    assert_eq!(home.processes().len(), 1, "no second one was started");
}

#[test]
fn many_first_commands_start_one_node() {
    let home = Home::new();
    let calls: Vec<_> = (0..8)
        .map(|_| home.spawn(&mut home.command("get nodes --no-headers")))
        .collect();
    for call in calls {
        let answer = call.wait_with_output().expect("it ends");
        assert!(answer.status.success(), "{answer:?}");
    }
    // Those that yield take a moment to be gone.
    home.until("there is one node", || home.processes().len() == 1);
}

#[test]
fn the_containers_of_a_killed_supervisor_die_with_it_and_the_pod_restarts() {
    let home = Home::new();
    home.must(format!(
        "watch --once {}",
        home.file(
            "a.yaml",
            documents([pod("web", "serve"), pod("other", "sleep forever")])
        )
    ));
    let other = home.field("pod other", "/status/containerStatuses/0/containerID");
    let uid = home.text("pod web", "/metadata/uid");
    let supervisor = home.supervisor_pid(&uid).expect("it runs");
    let container = home
        .processes()
        .into_iter()
        .find(|(_, words)| words.contains("demo serve"))
        .expect("it runs")
        .0;
    kill_process(supervisor, Signal::KILL).expect("it is ours");
    home.until_ended(container);
    home.until("the pod runs again", || {
        let status = home.field("pod web", "/status/containerStatuses/0");
        status["restartCount"] == 1 && status["ready"] == true
    });
    assert_eq!(home.text("pod web", "/metadata/uid"), uid);
    assert_eq!(
        home.field("pod other", "/status/containerStatuses/0/containerID"),
        other
    );
    home.until("the node, two supervisors and two containers are all", || {
        home.processes().len() == 5
    });
}

#[test]
fn stop_leaves_pods_and_stop_pods_ends_them() {
    let home = Home::new();
    home.must(format!(
        "watch --once {}",
        home.file("a.yaml", documents([pod("web", "serve"), pod("count", "count")]))
    ));
    let ids = home.container_ids();
    let stopped = home.run("stop");
    assert_eq!(stopped.stdout, "stopped\n");
    assert!(
        stopped.stderr.contains("2 pods run on without the node"),
        "{}",
        stopped.stderr
    );
    assert_eq!(home.processes().len(), 4);
    assert_eq!(home.run("status").code, 1);
    let stopped = home.run("stop");
    assert_eq!(stopped.stdout, "kubelocal is not running\n");
    assert!(
        stopped.stderr.contains("pods run on without the node"),
        "{}",
        stopped.stderr
    );
    assert_eq!(home.container_ids(), ids);
    assert_eq!(home.must("stop --pods"), "stopped\n");
    assert!(
        crate::home::within(crate::home::DEADLINE, || home.processes().is_empty()),
        "{:?}",
        home.processes()
    );
    // They stay wanted: the next node starts them again.
    home.must("get nodes");
    home.until_ready("web");
}

#[test]
fn stop_pods_ends_them_though_no_node_runs() {
    let home = Home::new();
    home.start(documents([pod("web", "serve"), pod("count", "count")]));
    home.until_ready("web");
    home.must("stop");
    assert_eq!(home.must("stop --pods"), "stopped\n");
    home.until("all have ended", || home.processes().is_empty());
    assert_eq!(home.must("stop --pods"), "kubelocal is not running\n");
    assert_eq!(home.processes(), [], "no node is started for nothing");
}

#[test]
fn a_node_in_the_foreground_ends_with_sigterm() {
    let home = Home::new();
    let mut node = home.spawn(
        home.command("node")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null()),
    );
    home.until("it answers", || home.run("status").code == 0);
    home.must(format!("watch --once {}", home.file("a.yaml", pod("web", "serve"))));
    kill_process(rustix::process::Pid::from_child(&node), Signal::TERM).expect("it runs");
    assert!(node.wait().expect("it ends").success());
    assert_eq!(home.processes().len(), 2, "the pod goes on");
}

/// When the only run of a pod's only container ended, by its record.
fn ended_at(home: &Home, uid: &str) -> jiff::Timestamp {
    let status = home.path("pods").join(uid).join("containers/main/0/status.json");
    let status: Value = serde_json::from_slice(&fs::read(&status).expect("a record")).expect("is JSON");
    let time = status.pointer("/Exited/finished_at").and_then(Value::as_str);
    let time = time.unwrap_or_else(|| panic!("it has not ended: {status}"));
    time.parse().expect("a time")
}

fn critical(name: &str) -> Manifest {
    pod(name, "serve").with("/spec/priorityClassName", json!("system-cluster-critical"))
}

#[test]
fn critical_pods_end_when_all_others_have() {
    let home = Home::new();
    // One that could end at once, and one that takes all of its two seconds.
    home.start(documents([critical("needed"), pod("stubborn", "ignore-term")]));
    let uid = |pod: &str| home.text(&format!("pod {pod}"), "/metadata/uid");
    let (needed, stubborn) = (uid("needed"), uid("stubborn"));
    assert_eq!(home.must("stop --pods"), "stopped\n");
    assert!(ended_at(&home, &needed) >= ended_at(&home, &stubborn));
}

#[test]
fn pods_end_with_a_node_that_is_told_to_end_if_the_settings_give_them_time() {
    let home = Home::new();
    fs::create_dir_all(home.path("")).expect("a directory");
    fs::write(
        home.path("config.yaml"),
        "shutdownGracePeriod: 4s\nshutdownGracePeriodCriticalPods: 2s\n",
    )
    .expect("writes");
    // It would have an hour by itself.
    let stubborn = pod("stubborn", "ignore-term").with("/spec/terminationGracePeriodSeconds", json!(3600));
    home.start(documents([critical("needed"), stubborn]));
    let uid = |pod: &str| home.text(&format!("pod {pod}"), "/metadata/uid");
    let (needed, stubborn) = (uid("needed"), uid("stubborn"));
    let node = home.node_pid().expect("it runs");
    kill_process(node, Signal::TERM).expect("it runs");
    home.until_ended(node);
    assert!(ended_at(&home, &needed) >= ended_at(&home, &stubborn));
    assert!(
        crate::home::within(crate::home::DEADLINE, || home.processes().is_empty()),
        "{:?}",
        home.processes()
    );
    // They stay wanted, and the one with an hour would take it.
    home.until_ready("needed");
    home.must("delete pod stubborn --grace-period=1");
}
