//! How containers begin and end: order, restarts, exit codes, signals and grace.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::home::Home;
use crate::manifest::{container, documents, job, pod};

#[test]
fn init_containers_run_in_order_before_the_others() {
    let home = Home::new();
    let volume = json!([{"name": "v", "mountPath": "/v"}]);
    let step = |name: &str, args: &str| {
        let mut step = container(name, args);
        step["volumeMounts"] = volume.clone();
        step
    };
    // Each step needs what the one before it wrote; the first one takes its time.
    let manifest = job("steps", "cat /v/b")
        .with(
            "/spec/initContainers",
            json!([
                step("wait", "exit 0 --after 0.5"),
                step("first", "write /v/a one"),
                step("second", "cat /v/a"),
                step("third", "write /v/b two"),
            ]),
        )
        .with("/spec/containers/0/volumeMounts", volume.clone())
        .with("/spec/volumes", json!([{"name": "v", "emptyDir": {}}]));
    home.must(format!("watch --once {}", home.file("a.yaml", manifest)));
    assert_eq!(home.must("logs steps -c second"), "one\n");
    assert_eq!(home.must("logs steps"), "two\n");
    let statuses = home.field("pod steps", "/status/initContainerStatuses");
    let ended = statuses
        .as_array()
        .expect("four")
        .iter()
        .map(|s| s["state"]["terminated"]["exitCode"].clone());
    assert_eq!(ended.collect::<Vec<_>>(), [0, 0, 0, 0]);
}

#[test]
fn a_failing_init_container_keeps_the_pod_from_starting() {
    let home = Home::new();
    let never = job("never", "echo no").with("/spec/initContainers", json!([container("init", "exit 4")]));
    let again = pod("again", "echo no").with("/spec/initContainers", json!([container("init", "exit 4")]));
    home.must(format!("apply -f {}", home.file("a.yaml", documents([never, again]))));
    home.until_phase("never", "Failed");
    let shown = |name: &str| home.must(format!("get pod {name} --no-headers"));
    assert!(shown("never").contains("Init:Error"), "{}", shown("never"));
    home.until("the init container backs off", || {
        shown("again").contains("Init:CrashLoopBackOff")
    });
    let state = home.field("pod never", "/status/containerStatuses/0/state");
    assert_eq!(state["waiting"]["reason"], "PodInitializing");
}

#[test]
fn restart_policies_decide_what_an_exit_means() {
    let home = Home::new();
    let policy = |name: &str, policy: &str, args: &str| pod(name, args).with("/spec/restartPolicy", json!(policy));
    home.must(format!(
        "apply -f {}",
        home.file(
            "a.yaml",
            documents([
                policy("never-good", "Never", "exit 0"),
                policy("never-bad", "Never", "exit 3"),
                policy("failure-good", "OnFailure", "exit 0"),
                policy("failure-bad", "OnFailure", "exit 3"),
                policy("always-good", "Always", "exit 0"),
            ])
        )
    ));
    home.until_phase("never-good", "Succeeded");
    home.until_phase("never-bad", "Failed");
    home.until_phase("failure-good", "Succeeded");
    let terminated = home.field("pod never-bad", "/status/containerStatuses/0/state/terminated");
    assert_eq!(
        (&terminated["exitCode"], &terminated["reason"]),
        (&json!(3), &json!("Error"))
    );
    for name in ["failure-bad", "always-good"] {
        home.until_waiting(name, "CrashLoopBackOff");
        let status = home.field(&format!("pod {name}"), "/status/containerStatuses/0");
        assert!(status["restartCount"].as_i64() >= Some(1), "{status}");
        assert!(
            status["state"]["waiting"]["message"]
                .as_str()
                .unwrap_or_default()
                .contains("back-off 10s"),
            "{status}"
        );
        assert!(
            home.must(format!("get pod {name} --no-headers"))
                .contains("CrashLoopBackOff")
        );
    }
    let last = home.field(
        "pod failure-bad",
        "/status/containerStatuses/0/lastState/terminated/exitCode",
    );
    assert_eq!(last, 3);
    let events = home.must("events --for pod/failure-bad");
    assert!(events.contains("Back-off restarting failed container"), "{events}");
}

#[test]
fn a_killed_process_shows_137_and_restarts() {
    let home = Home::new();
    home.must(format!("watch --once {}", home.file("a.yaml", pod("web", "serve"))));
    let pid = home
        .processes()
        .into_iter()
        .find(|(_, words)| words.contains("demo serve"))
        .expect("it runs")
        .0;
    // Its user is a subordinate of ours only where that is mapped; in this pod it is root, and so it is us.
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
    home.until("it has restarted", || {
        home.field("pod web", "/status/containerStatuses/0/restartCount") == 1
    });
    let ended = home.field("pod web", "/status/containerStatuses/0/lastState/terminated");
    assert_eq!(ended["exitCode"], 137, "{ended}");
    home.until_ready("web");
}

#[test]
fn sigterm_is_honoured_and_who_ignores_it_is_killed_after_the_grace() {
    let home = Home::new();
    let stubborn = |name: &str| pod(name, "ignore-term").with("/spec/terminationGracePeriodSeconds", json!(3));
    let polite = pod("polite", "sleep forever").with("/spec/terminationGracePeriodSeconds", json!(60));
    home.start(documents([polite, stubborn("one"), stubborn("two"), stubborn("three")]));
    for name in ["one", "two", "three"] {
        home.until_logged(name, "ignoring SIGTERM");
    }
    let start = Instant::now();
    home.must("delete pod polite");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "SIGTERM ends it: {:?}",
        start.elapsed()
    );
    let start = Instant::now();
    home.must("delete pod one two three");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(2900), "the grace is theirs: {took:?}");
    assert!(
        took < Duration::from_millis(8900),
        "they end together, not in a row: {took:?}"
    );
}

#[test]
fn an_explicit_grace_and_force_shorten_the_end() {
    let home = Home::new();
    let stubborn = |name: &str| pod(name, "ignore-term").with("/spec/terminationGracePeriodSeconds", json!(60));
    home.start(documents([stubborn("one"), stubborn("two")]));
    home.until_logged("one", "ignoring SIGTERM");
    let start = Instant::now();
    home.must("delete pod one --grace-period=1");
    let forced = home.run("delete pod two --grace-period=0 --force");
    assert_eq!(forced.stdout, "pod \"two\" force deleted\n", "{}", forced.stderr);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    home.until("nothing but the node runs", || home.processes().len() == 1);
}
