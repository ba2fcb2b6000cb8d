//! Supervisors and nodes killed, and calls cancelled, at many moments: what is left is nothing, or can be completed.

use std::fs;
use std::time::Duration;

use kubelocal::runtime::native::NativeRuntime;
use kubelocal::runtime::{ContainerConfig, ContainerState, Runtime, RuntimeError, RuntimeOptions, SandboxConfig};

use crate::ground::{Ground, processes_with, wait_until};

crate::with_every_runtime! {
    a_supervisor_killed_at_any_moment_leaves_nothing
    a_start_that_is_cancelled_at_any_moment_can_be_repeated
    a_node_killed_at_any_moment_is_followed_by_one_that_completes_its_pods
}

/// Begins a pod: its sandbox and one container. Whatever of it fails, fails.
async fn begin(ground: &Ground, pod: &str, config: &ContainerConfig) -> Result<(), RuntimeError> {
    let sandbox = ground.sandbox_config(pod);
    ground.runtime.run_pod_sandbox(&sandbox).await?;
    ground.runtime.create_container(&sandbox.uid, config).await?;
    ground.runtime.start_container(&sandbox.uid, &config.id).await
}

fn assert_nothing_left(ground: &Ground) {
    let home = ground.path().display().to_string();
    assert_eq!(processes_with(&ground.word()), [""; 0]);
    assert_eq!(processes_with(&home), [""; 0]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
    assert_eq!(
        mounts.lines().filter(|line| line.contains(&home)).collect::<Vec<_>>(),
        [""; 0]
    );
    assert_eq!(ground.run_entries(), [""; 0]);
}

async fn a_supervisor_killed_at_any_moment_leaves_nothing(ground: Ground) {
    let uid = ground.uid("fragile");
    for moment in 0..25 {
        let mut config = ground.command("main", &["sleep", &ground.word()]);
        config.attempt = moment;
        let kill = async {
            // The random moment; nothing waits for it.
            tokio::time::sleep(Duration::from_millis(u64::from(moment) * 2)).await;
            let pid = ground
                .runtime
                .supervisor_pid(&uid)
                .and_then(rustix::process::Pid::from_raw);
            pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL))
        };
        let (_, _) = tokio::join!(begin(&ground, "fragile", &config), kill);
        ground.runtime.stop_pod_sandbox(&uid).await.expect("the sandbox stops");
        assert_nothing_left(&ground);
        let status = ground
            .runtime
            .status(&uid)
            .await
            .expect("statuses can be read")
            .expect("it is on record");
        let over = status
            .containers
            .iter()
            .all(|container| matches!(container.state, ContainerState::Exited(_)));
        assert!(over && !status.alive, "{status:?}");
    }
    ground
        .runtime
        .remove_pod_sandbox(&uid)
        .await
        .expect("the sandbox is removed");
    assert_eq!(fs::read_dir(&ground.options.pods_dir).expect("it stays").count(), 0);
}

async fn a_start_that_is_cancelled_at_any_moment_can_be_repeated(ground: Ground) {
    for moment in 0..25 {
        let name = format!("begun-{moment}");
        let config = ground.command("main", &["sleep", &ground.word()]);
        let _ = tokio::time::timeout(Duration::from_millis(moment * 2), begin(&ground, &name, &config)).await;
        complete(&ground, &name, &config).await;
    }
}

/// Begins a pod that may have been begun before: it comes to the same end, with one process; and removes it.
async fn complete(ground: &Ground, name: &str, config: &ContainerConfig) {
    let uid = ground.uid(name);
    begin(ground, name, config).await.expect("what was begun is completed");
    let running = || processes_with(&ground.word());
    wait_until(
        "its one process",
        || matches!(&running()[..], [one] if one.starts_with("sleep")),
    )
    .await;
    assert_eq!(ground.status(&uid).await.containers.len(), 1);
    ground
        .runtime
        .remove_pod_sandbox(&uid)
        .await
        .expect("the sandbox is removed");
    assert_nothing_left(ground);
}

async fn a_node_killed_at_any_moment_is_followed_by_one_that_completes_its_pods(mut ground: Ground) {
    for moment in 0..25 {
        let name = format!("orphan-{moment}");
        let config = ground.command("main", &["sleep", &ground.word()]);
        let mut node = ground.node_process(&name, &config);
        tokio::time::sleep(Duration::from_millis(10 + moment * 3)).await;
        node.kill().expect("it can be killed");
        node.wait().expect("it is a child");
        ground = ground.reopen().await;
        complete(&ground, &name, &config).await;
    }
}

/// Not a test of its own: the node that another test kills.
#[tokio::test]
#[ignore = "a part of another test"]
async fn a_node_to_be_killed() {
    let Ok(text) = std::env::var(crate::ground::NODE_VARIABLE) else {
        return;
    };
    let (options, sandbox, config) = serde_json::from_str(&text).expect("the test wrote it");
    let (options, sandbox): (RuntimeOptions, SandboxConfig) = (options, sandbox);
    let config: ContainerConfig = config;
    let runtime = NativeRuntime::open(options, None).await.expect("the runtime opens");
    runtime.run_pod_sandbox(&sandbox).await.expect("the sandbox runs");
    runtime
        .create_container(&sandbox.uid, &config)
        .await
        .expect("the container is created");
    runtime
        .start_container(&sandbox.uid, &config.id)
        .await
        .expect("the container starts");
    std::future::pending::<()>().await;
}
