//! Probes, hooks, sidecars and deadlines, as a user sees them.

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::home::Home;
use crate::manifest::{container, deployment, documents, job, pod};

fn http(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 1})
}

/// A command of the built-in image.
fn exec(command: &str) -> Value {
    let words: Vec<&str> = "/kubelocal demo".split(' ').chain(command.split(' ')).collect();
    json!({"exec": {"command": words}})
}

fn probe(command: &str) -> Value {
    let mut probe = exec(command);
    probe["periodSeconds"] = json!(1);
    probe["failureThreshold"] = json!(1);
    probe
}

fn has_event(home: &Home, pod: &str, words: &str) {
    home.until(&format!("pod {pod} has an event {words:?}"), || {
        home.must(format!("events --for pod/{pod}")).contains(words)
    });
}

#[test]
fn a_container_whose_liveness_probe_fails_is_restarted() {
    let home = Home::new();
    let ill = pod("ill", "serve --well-for 2").with("/spec/containers/0/livenessProbe", http("/healthz"));
    home.must(format!("apply -f {}", home.file("a.yaml", ill)));
    home.until("it has restarted", || {
        home.field("pod ill", "/status/containerStatuses/0/restartCount")
            .as_i64()
            >= Some(1)
    });
    has_event(
        &home,
        "ill",
        "Liveness probe failed: HTTP probe failed with statuscode: 500",
    );
    has_event(&home, "ill", "Container main failed liveness probe, will be restarted");
}

#[test]
fn every_kind_of_probe_reaches_into_the_pod() {
    let home = Home::new();
    let with = |name: &str, probe: Value| pod(name, "serve").with("/spec/containers/0/readinessProbe", probe);
    let refused = json!({"tcpSocket": {"port": 81}, "periodSeconds": 1});
    home.must(format!(
        "apply -f {}",
        home.file(
            "a.yaml",
            documents([
                with("http", http("/")),
                with("tcp", json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1})),
                with("exec", probe("connect 127.0.0.1:8080")),
                with("shut", refused),
                with("grpc", json!({"grpc": {"port": 8080}, "periodSeconds": 1})),
                with("http-host", http("/"))
                    .with("/spec/hostNetwork", json!(true))
                    .with("/spec/containers/0/args", json!(["serve", "--port", "18317"]),)
                    .with("/spec/containers/0/readinessProbe/httpGet/port", json!(18317)),
            ])
        )
    ));
    for name in ["http", "tcp", "exec", "http-host"] {
        home.until_ready(name);
    }
    has_event(&home, "shut", ":81: connect: connection refused");
    has_event(&home, "grpc", "Readiness probe failed");
    for name in ["shut", "grpc"] {
        let ready = home.field(&format!("pod {name}"), "/status/containerStatuses/0/ready");
        assert_eq!(ready, false, "{name}");
    }
}

#[test]
fn a_startup_probe_holds_the_others_back_and_a_node_that_comes_back_remembers() {
    let home = Home::new();
    let slow = pod("slow", "serve --well-after 2")
        .with("/spec/containers/0/startupProbe", http("/healthz"))
        .with("/spec/containers/0/startupProbe/failureThreshold", json!(60))
        .with("/spec/containers/0/livenessProbe", http("/healthz"))
        .with("/spec/containers/0/readinessProbe", http("/"));
    home.must(format!("apply -f {}", home.file("a.yaml", slow)));
    home.until_ready("slow");
    let status = || home.field("pod slow", "/status/containerStatuses/0");
    assert_eq!(status()["restartCount"], 0, "{}", status());
    let changed = home.field("pod slow", "/status/conditions");
    home.must("stop");
    home.must("get pods");
    assert_eq!(status()["ready"], true);
    assert_eq!(
        home.field("pod slow", "/status/conditions"),
        changed,
        "it was ready all the time"
    );
}

#[test]
fn a_hanging_probe_leaves_no_process_behind() {
    let home = Home::new();
    let hanging = pod("hanging", "sleep forever").with("/spec/containers/0/readinessProbe", probe("sleep forever"));
    home.must(format!("apply -f {}", home.file("a.yaml", hanging)));
    has_event(&home, "hanging", "timed out");
    let sleeping = || {
        let all = home.processes();
        all.iter().filter(|(_, words)| words.contains("sleep forever")).count()
    };
    // The container's own, and at most one check that runs now.
    home.until("the check has ended", || sleeping() == 1);
}

#[test]
fn a_rolling_update_waits_until_the_new_pods_are_ready() {
    let home = Home::new();
    let with = |args: &str| {
        deployment("web", 2, args).with("/spec/template/spec/containers/0/readinessProbe", http("/healthz"))
    };
    let file = home.file("a.yaml", with("serve"));
    home.must(format!("watch --once {file}"));
    let before = home.pods("app=web");
    home.file("a.yaml", with("serve --well-after 3600"));
    home.must(format!("apply -f {file}"));
    home.until("a new pod runs", || {
        home.pods("app=web").difference(&before).count() >= 1
    });
    let new = home.pods("app=web");
    let new = new.difference(&before).next().expect("one");
    has_event(&home, new, "Readiness probe failed");
    let kept = home.pods("app=web").intersection(&before).count();
    assert!(kept >= 2, "the old ones serve on: {kept}");
}

#[test]
fn hooks_run_after_the_start_and_before_the_end() {
    let home = Home::new();
    let marks = json!([{"name": "v", "mountPath": "/v"}]);
    let hooked = pod("hooked", "serve")
        .with("/spec/terminationGracePeriodSeconds", json!(30))
        .with("/spec/containers/0/volumeMounts", marks)
        .with("/spec/containers/0/lifecycle/postStart", exec("write /v/started yes"))
        .with("/spec/containers/0/lifecycle/preStop", exec("write /v/stopping yes"))
        .with(
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": home.path("marks"), "type": "DirectoryOrCreate"}}]),
        );
    home.start(hooked);
    let mark = |name: &str| std::fs::read_to_string(home.path("marks").join(name)).unwrap_or_default();
    assert_eq!(mark("started").trim(), "yes");
    assert_eq!(mark("stopping"), "");
    home.must("delete pod hooked");
    assert_eq!(mark("stopping").trim(), "yes");
}

#[test]
fn failed_hooks_are_told_and_a_failed_post_start_ends_the_container() {
    let home = Home::new();
    let bad = pod("bad", "serve").with("/spec/containers/0/lifecycle/postStart", exec("exit 3"));
    let worse = pod("worse", "serve").with("/spec/containers/0/lifecycle/preStop", exec("exit 3"));
    home.must(format!("apply -f {}", home.file("a.yaml", documents([bad, worse]))));
    has_event(&home, "bad", "PostStartHook failed");
    has_event(&home, "bad", "FailedPostStartHook");
    home.until("it was ended", || {
        home.field("pod bad", "/status/containerStatuses/0/restartCount")
            .as_i64()
            >= Some(1)
    });
    home.until_ready("worse");
    home.must("delete pod worse");
    let events = home.must("events");
    assert!(events.contains("PreStopHook failed"), "{events}");
}

#[test]
fn a_hook_that_takes_too_long_does_not_outlast_the_grace() {
    let home = Home::new();
    let slow = pod("slow", "serve").with("/spec/containers/0/lifecycle/preStop", exec("sleep forever"));
    home.start(slow);
    home.must("delete pod slow --timeout=30s");
}

#[test]
fn a_sidecar_starts_first_serves_and_ends_last() {
    let home = Home::new();
    let mut sidecar = container("proxy", "serve --well-after 1");
    sidecar["restartPolicy"] = json!("Always");
    sidecar["startupProbe"] = http("/healthz");
    sidecar["startupProbe"]["failureThreshold"] = json!(60);
    let served = job("served", "connect 127.0.0.1:8080").with("/spec/initContainers", json!([sidecar]));
    home.must(format!("apply -f {}", home.file("a.yaml", served)));
    home.until_phase("served", "Succeeded");
    assert!(home.must("logs served").contains("connected"));
    let ended = home.field("pod served", "/status/initContainerStatuses/0/state/terminated");
    assert_eq!(ended["exitCode"], 0, "{ended}");
}

#[test]
fn a_node_that_stops_its_pods_runs_their_hooks_and_ends_sidecars_last() {
    let home = Home::new();
    let mut sidecar = container("proxy", "serve");
    sidecar["restartPolicy"] = json!("Always");
    let hooked = pod("hooked", "serve --port 8081")
        .with("/spec/initContainers", json!([sidecar]))
        .with(
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/v"}]),
        )
        .with("/spec/containers/0/lifecycle/preStop", exec("connect 127.0.0.1:8080"))
        .with("/spec/containers/0/lifecycle/postStart", exec("write /v/started yes"))
        .with("/spec/volumes", json!([{"name": "v", "emptyDir": {}}]));
    home.start(hooked);
    home.must("stop --pods");
    home.until_ready("hooked");
    let ended = |list: &str| {
        let path = format!("/status/{list}/0/lastState/terminated/finishedAt");
        home.text("pod hooked", &path)
    };
    assert!(ended("containerStatuses") <= ended("initContainerStatuses"));
    assert_ne!(ended("containerStatuses"), "");
    let events = home.must("events");
    assert!(events.contains("Stopping container main"), "{events}");
    assert!(
        !events.contains("PreStopHook failed"),
        "the sidecar still served: {events}"
    );
}

#[test]
fn a_pod_whose_time_is_over_fails() {
    let home = Home::new();
    let limited = pod("limited", "serve").with("/spec/activeDeadlineSeconds", json!(2));
    home.must(format!("apply -f {}", home.file("a.yaml", limited)));
    home.until_phase("limited", "Failed");
    assert_eq!(home.text("pod limited", "/status/reason"), "DeadlineExceeded");
    has_event(
        &home,
        "limited",
        "Pod was active on the node longer than the specified deadline",
    );
    home.until("nothing but the node runs", || home.processes().len() == 1);
}

#[test]
fn a_termination_message_is_what_the_container_wrote_or_the_end_of_its_log() {
    let home = Home::new();
    let wrote = job("wrote", "write /dev/termination-log because");
    let other = job("other", "write /why elsewhere").with("/spec/containers/0/terminationMessagePath", json!("/why"));
    let failed = job("failed", "cat /nowhere").with(
        "/spec/containers/0/terminationMessagePolicy",
        json!("FallbackToLogsOnError"),
    );
    home.must(format!(
        "apply -f {}",
        home.file("a.yaml", documents([wrote, other, failed]))
    ));
    let said = |name: &str| {
        home.text(
            &format!("pod {name}"),
            "/status/containerStatuses/0/state/terminated/message",
        )
    };
    home.until("all have ended", || {
        said("wrote") + &said("other") == "because\nelsewhere\n"
    });
    home.until_phase("failed", "Failed");
    assert!(said("failed").contains("No such file"), "{}", said("failed"));
}

#[test]
fn a_post_start_hook_that_is_under_way_when_the_node_dies_is_sent_again() {
    let home = Home::new();
    let hooked = pod("hooked", "serve").with(
        "/spec/containers/0/lifecycle",
        json!({"postStart": exec("sleep forever")}),
    );
    home.must(format!("apply -f {}", home.file("a.yaml", hooked)));
    let hooks = || {
        let all = home.processes().into_iter();
        all.filter(|(_, words)| words.contains("demo sleep forever"))
            .map(|(pid, _)| pid)
            .collect::<Vec<_>>()
    };
    home.until("its hook runs", || hooks().len() == 1);
    home.must("exec hooked -- /kubelocal demo env");
    let first = hooks();
    home.kill_node();
    home.must("get pods");
    let status = || home.field("pod hooked", "/status/containerStatuses/0");
    home.until("the hook was sent again", || {
        hooks().iter().any(|pid| !first.contains(pid))
    });
    let told = status();
    assert_eq!(told["state"]["waiting"]["reason"], "ContainerCreating", "{told}");
    assert_eq!(
        (&told["ready"], &told["started"]),
        (&json!(false), &json!(false)),
        "{told}"
    );
    for pid in hooks() {
        // It ends well on that.
        let _ = kill_process(pid, Signal::TERM);
    }
    home.until_ready("hooked");
    let told = status();
    home.kill_node();
    home.must("wait pod/hooked --for=condition=Ready --timeout=30s");
    assert_eq!(status(), told, "what was done stays done");
    assert!(hooks().is_empty());
}
