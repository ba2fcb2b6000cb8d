//! What containers see of processes that are not theirs: the host's where they are to, and never what makes them.

use kubelocal::runtime::{ContainerId, Runtime, Stop};

use crate::ground::{Ground, logged, processes_with, wait_until};

crate::with_every_runtime! {
    the_hosts_processes_are_seen_and_commands_run_among_them
    what_is_left_among_the_hosts_processes_ends_with_its_container
    what_is_left_among_the_hosts_processes_ends_with_a_killed_supervisor
    a_container_that_may_trace_sees_no_host_through_commands
}

/// crun furnishes a container in the shared namespace, where it is seen.
#[tokio::test]
async fn a_container_that_may_trace_sees_no_host_when_others_start_beside_it() {
    others_start_beside_it(Ground::new(None).await).await;
}

/// An id that no other test's run has: leftovers among the host's processes are told by it.
fn unique(ground: &Ground, number: u32) -> ContainerId {
    let word = ground.word().replace('.', "a");
    ContainerId(format!("{number}{word:0>63}"))
}

async fn the_hosts_processes_are_seen_and_commands_run_among_them(ground: Ground) {
    let pod = ground.sandbox_with("open", |config| config.host_pid = true).await;
    let own = std::process::id();
    let mut config = ground.script("main", &format!("test -d /proc/{own} && echo sees; sleep 1000"));
    config.id = unique(&ground, 1);
    ground.start(&pod, &config).await;
    ground.wait_for_log(&config, "sees").await;
    let (code, output) = ground
        .exec(
            &pod,
            &config.id,
            &[
                "sh",
                "-c",
                &format!("test -d /proc/{own} && busybox readlink /proc/self/ns/pid"),
            ],
        )
        .await;
    let namespace = std::fs::read_link("/proc/self/ns/pid").expect("is there");
    assert_eq!((code, output.trim()), (0, &*namespace.to_string_lossy()));
    let denied = ["sh", "-c", "echo 1 > /proc/sys/kernel/panic"];
    assert_ne!(ground.exec(&pod, &config.id, &denied).await.0, 0, "is read-only");
}

async fn what_is_left_among_the_hosts_processes_ends_with_its_container(mut ground: Ground) {
    let pod = ground.sandbox_with("left", |config| config.host_pid = true).await;
    let word = ground.word();
    let script = format!("setsid sleep 1{word} & setsid sleep 2{word} & sleep 0.2; echo left");
    let mut config = ground.script("main", &script);
    config.id = unique(&ground, 2);
    let other = ground.command("other", &["sleep", &format!("3{word}")]);
    let mut other = other;
    other.id = unique(&ground, 3);
    ground.start(&pod, &other).await;
    let output = ground.output(&pod, &config).await;
    assert_eq!(output, "left\n");
    wait_until("the leftovers are gone", || {
        processes_with(&format!("1{word}")).is_empty()
    })
    .await;
    wait_until("the leftovers are gone", || {
        processes_with(&format!("2{word}")).is_empty()
    })
    .await;
    assert_eq!(processes_with(&format!("3{word}")).len(), 1, "another container's stay");
    ground
        .runtime
        .stop_container(&pod, &other.id, Stop::KILL)
        .await
        .expect("can be stopped");
    assert_eq!(ground.exit(&pod, &other.id).await.code, 137);
    ground.runtime.remove_pod_sandbox(&pod).await.expect("can be removed");
    assert!(processes_with(&word).is_empty());
}

async fn what_is_left_among_the_hosts_processes_ends_with_a_killed_supervisor(mut ground: Ground) {
    let pod = ground.sandbox_with("orphan", |config| config.host_pid = true).await;
    let word = ground.word();
    let mut config = ground.script("main", &format!("setsid sleep 1{word} & echo up; exec sleep 2{word}"));
    config.id = unique(&ground, 4);
    ground.start(&pod, &config).await;
    ground.wait_for_log(&config, "up").await;
    let supervisor = ground.runtime.supervisor_pid(&pod).expect("it lives");
    let supervisor = rustix::process::Pid::from_raw(supervisor).expect("a pid");
    // Whoever stops a service ends its processes so; then the supervisor must stay, as process 1 of a namespace would.
    rustix::process::kill_process(supervisor, rustix::process::Signal::TERM).expect("it is ours");
    let (code, _) = ground.exec(&pod, &config.id, &["true"]).await;
    assert_eq!(code, 0);
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).expect("it is ours");
    ground.gone(&pod).await;
    wait_until("nothing is left", || processes_with(&word).is_empty()).await;
}

/// A command is forked by the supervisor, whose root is the host's. While many are, the container looks at every process that it sees.
async fn a_container_that_may_trace_sees_no_host_through_commands(ground: Ground) {
    let pod = ground.sandbox("curious").await;
    let host = ground.path().display();
    let look = format!(
        "while :; do for p in /proc/[0-9]*; do test -e $p/root{host} && echo leaked; done; test -e /tmp/stop && break; done; echo looked"
    );
    let mut config = ground.script("main", &look);
    config.security.add_capabilities = vec!["SYS_PTRACE".to_owned()];
    ground.start(&pod, &config).await;
    for _ in 0..COMMANDS {
        let (code, _) = ground.exec(&pod, &config.id, &["true"]).await;
        assert_eq!(code, 0);
    }
    ground.exec(&pod, &config.id, &["touch", "/tmp/stop"]).await;
    ground.wait_for_log(&config, "looked").await;
    assert!(!logged(&config).contains("leaked"), "{}", logged(&config));
}

/// As is a container that starts beside it.
async fn others_start_beside_it(mut ground: Ground) {
    let pod = ground.sandbox_with("family", |config| config.share_pid = true).await;
    let host = ground.path().display().to_string();
    let look = format!(
        "while :; do for p in /proc/[0-9]*; do test -e $p/root{host} && echo leaked; done; test -e /tmp/stop && break; done; echo looked"
    );
    let mut config = ground.script("main", &look);
    config.security.add_capabilities = vec!["SYS_PTRACE".to_owned()];
    ground.start(&pod, &config).await;
    for (number, tty) in [false, false, false, false, true].into_iter().enumerate() {
        let mut other = ground.script(&format!("other{number}"), "ps; tty; grep CapEff: /proc/self/status");
        other.tty = tty;
        let output = ground.output(&pod, &other).await;
        // It sees who is there before it, and has no more than others have.
        assert!(output.contains("/proc/[0-9]"), "{output}");
        assert!(output.contains("00000000a80425fb"), "{output}");
        assert_eq!(output.contains("/dev/pts/0"), tty, "{output}");
    }
    ground.exec(&pod, &config.id, &["touch", "/tmp/stop"]).await;
    ground.wait_for_log(&config, "looked").await;
    assert!(!logged(&config).contains("leaked"), "{}", logged(&config).len());
}

/// With libcontainer's own way hundreds of looks found something in fewer commands than these.
const COMMANDS: usize = 100;
