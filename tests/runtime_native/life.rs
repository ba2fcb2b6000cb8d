//! Starting, stopping, dying, coming back.

use std::fs;
use std::time::{Duration, Instant};

use kubelocal::runtime::{ContainerState, Runtime, RuntimeError, Stop};

use crate::ground::{Ground, processes_with, wait_until};

crate::with_every_runtime! {
    a_container_runs_and_its_end_is_recorded
    a_program_that_is_missing_is_a_start_error_in_plain_words
    what_failed_to_be_created_leaves_nothing
    a_container_that_traps_sigterm_ends_with_its_own_code
    a_container_that_ignores_sigterm_is_killed_at_the_earliest_deadline
    a_failed_exec_does_not_keep_a_container_from_ending
    containers_outlive_the_node_and_are_adopted
    a_killed_supervisor_takes_its_containers_with_it
    stopping_a_sandbox_leaves_no_process_and_removing_it_no_file
    calls_may_be_repeated
    a_run_is_removed_but_its_log_stays
    containers_of_a_pod_share_memory_host_name_and_loopback
    a_shared_pid_namespace_shows_every_process_and_is_cleaned_up
    the_first_process_of_a_shared_pid_namespace_gives_nothing_away
    a_background_process_does_not_keep_its_container_from_ending
    many_pods_start_at_once
}

fn stop(signal: i32, grace: Duration) -> Stop {
    Stop {
        signal,
        grace,
        is_drain: false,
    }
}

async fn a_container_runs_and_its_end_is_recorded(mut ground: Ground) {
    let pod = ground.sandbox("web").await;
    let config = ground.script("one", "echo out; echo err >&2; exit 3");
    let (exit, output) = ground.run(&pod, &config).await;
    assert_eq!((exit.code, exit.signal, exit.reason.as_str()), (3, None, "Error"));
    assert!(exit.started_at.is_some_and(|started| started <= exit.finished_at));
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    let status = ground.status(&pod).await;
    assert!(status.alive);
    assert_eq!(status.config.name, "web");
    assert_eq!(status.containers[0].log_path, config.log_path);
}

async fn a_program_that_is_missing_is_a_start_error_in_plain_words(mut ground: Ground) {
    let pod = ground.sandbox("missing").await;
    let config = ground.command("nope", &["nope"]);
    ground
        .runtime
        .create_container(&pod, &config)
        .await
        .expect("the container is created");
    let error = ground
        .runtime
        .start_container(&pod, &config.id)
        .await
        .expect_err("there is no such program");
    assert!(matches!(error, RuntimeError::Start(_)), "{error:?}");
    assert!(error.to_string().contains("not found in $PATH"), "{error}");
    let exit = ground.exit(&pod, &config.id).await;
    assert_eq!((exit.code, exit.reason.as_str()), (128, "StartError"));
    assert_eq!(exit.message, error.to_string());
    // The pod is none the worse for it.
    let config = ground.script("fine", "true");
    assert_eq!(ground.run(&pod, &config).await.0.code, 0);
}

async fn what_failed_to_be_created_leaves_nothing(ground: Ground) {
    let pod = ground.sandbox("half").await;
    let mut config = ground.script("half", "true");
    config.layers.push(ground.path().join("no-such-layer"));
    let error = ground
        .runtime
        .create_container(&pod, &config)
        .await
        .expect_err("a layer is missing");
    assert!(error.to_string().starts_with("overlay of 2 layers: "), "{error}");
    assert_eq!(ground.status(&pod).await.containers, []);
    let runs = ground.pod_dir(&pod).join("containers/half");
    assert_eq!(fs::read_dir(runs).map(Iterator::count).unwrap_or(0), 0);
    config.layers.pop();
    config.user = "nobody".to_owned();
    let error = ground
        .runtime
        .create_container(&pod, &config)
        .await
        .expect_err("there is no such user");
    assert_eq!(
        error.to_string(),
        "unable to find user nobody: no matching entries in passwd file"
    );
    config.user = String::new();
    ground.start(&pod, &config).await;
}

async fn a_container_that_traps_sigterm_ends_with_its_own_code(mut ground: Ground) {
    let pod = ground.sandbox("trap").await;
    let config = ground.script(
        "trap",
        "trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done",
    );
    ground.start(&pod, &config).await;
    ground.wait_for_log(&config, "ready").await;
    ground
        .runtime
        .stop_container(&pod, &config.id, stop(15, Duration::from_secs(60)))
        .await
        .expect("it can be stopped");
    let exit = ground.exit(&pod, &config.id).await;
    assert_eq!((exit.code, exit.signal), (7, None));
}

async fn a_container_that_ignores_sigterm_is_killed_at_the_earliest_deadline(ground: Ground) {
    let pod = ground.sandbox("deaf").await;
    let config = ground.script("deaf", "trap '' TERM; echo ready; while true; do sleep 0.05; done");
    ground.start(&pod, &config).await;
    ground.wait_for_log(&config, "ready").await;
    for grace in [
        Duration::from_secs(60),
        Duration::from_millis(200),
        Duration::from_secs(60),
    ] {
        ground
            .runtime
            .stop_container(&pod, &config.id, stop(15, grace))
            .await
            .expect("it can be stopped");
    }
    // It goes on while the node is away.
    let mut ground = ground.reopen().await;
    let exit = ground.exit(&pod, &config.id).await;
    assert_eq!((exit.code, exit.signal, exit.reason.as_str()), (137, Some(9), "Error"));
    ground
        .runtime
        .stop_container(&pod, &config.id, stop(15, Duration::ZERO))
        .await
        .expect("it is over already");
}

async fn a_failed_exec_does_not_keep_a_container_from_ending(mut ground: Ground) {
    let pod = ground.sandbox("exec").await;
    let config = ground.script("main", "echo ready; while true; do sleep 0.05; done");
    ground.start(&pod, &config).await;
    let missing = crate::ground::exec_config(&["nope"]);
    let error = ground
        .runtime
        .exec(&pod, &config.id, &missing)
        .await
        .expect_err("there is no such program");
    assert!(error.to_string().contains("not found in $PATH"), "{error}");
    assert_eq!(ground.exec(&pod, &config.id, &["true"]).await.0, 0);
    ground
        .runtime
        .stop_container(&pod, &config.id, stop(9, Duration::ZERO))
        .await
        .expect("it can be stopped");
    assert_eq!(ground.exit(&pod, &config.id).await.signal, Some(9));
}

async fn containers_outlive_the_node_and_are_adopted(ground: Ground) {
    let pod = ground.sandbox("lasting").await;
    let script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 5";
    let config = ground.script("counter", script);
    ground.start(&pod, &config).await;
    let before = ground.runtime.supervisor_pid(&pod);
    ground.wait_for_log(&config, "line 1\n").await;
    let mut ground = ground.reopen().await;
    assert_eq!(ground.runtime.supervisor_pid(&pod), before);
    let exit = ground.exit(&pod, &config.id).await;
    assert_eq!(exit.code, 5);
    let expected: String = (0..40).map(|i| format!("line {i}\n")).collect();
    assert_eq!(crate::ground::logged(&config), expected);
}

async fn a_killed_supervisor_takes_its_containers_with_it(mut ground: Ground) {
    let pod = ground.sandbox("murdered").await;
    let config = ground.script("victim", &format!("sleep {}", ground.word()));
    let waiting = ground.script("waiting", "true");
    ground.start(&pod, &config).await;
    ground
        .runtime
        .create_container(&pod, &waiting)
        .await
        .expect("the container is created");
    wait_until("the container's process", || !processes_with(&ground.word()).is_empty()).await;
    let pid = ground
        .runtime
        .supervisor_pid(&pod)
        .and_then(rustix::process::Pid::from_raw)
        .expect("it lives");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it can be killed");
    let status = ground.gone(&pod).await;
    for container in status.containers {
        let ContainerState::Exited(exit) = container.state else {
            panic!("{container:?} did not end")
        };
        assert_eq!((exit.code, exit.reason.as_str()), (137, "ContainerStatusUnknown"));
    }
    assert_eq!(processes_with(&ground.word()), [""; 0]);
    // The same pod may be given another sandbox; what happened stays on record.
    assert_eq!(ground.sandbox("murdered").await, pod);
    let mut again = ground.script("victim", "true");
    again.attempt = 1;
    assert_eq!(ground.run(&pod, &again).await.0.code, 0);
    assert_eq!(ground.status(&pod).await.containers.len(), 3);
    ground
        .runtime
        .remove_container(&pod, &config.id)
        .await
        .expect("an old run can be removed");
    assert_eq!(ground.status(&pod).await.containers.len(), 2);
}

async fn stopping_a_sandbox_leaves_no_process_and_removing_it_no_file(mut ground: Ground) {
    let pod = ground.sandbox("leaving").await;
    let deaf = ground.script(
        "deaf",
        &format!("trap '' TERM; touch /foreign; sleep {}", ground.word()),
    );
    ground.start(&pod, &deaf).await;
    wait_until("the container's process", || !processes_with(&ground.word()).is_empty()).await;
    ground.runtime.stop_pod_sandbox(&pod).await.expect("the sandbox stops");
    assert_eq!(processes_with(&ground.word()), [""; 0]);
    assert_eq!(processes_with(&ground.options.pods_dir.display().to_string()), [""; 0]);
    let exit = ground.exit(&pod, &deaf.id).await;
    assert_eq!((exit.signal, exit.reason.as_str()), (Some(9), "Error"));
    let volumes = ground.pod_dir(&pod).join("volumes");
    fs::create_dir_all(&volumes).expect("the directory is writable");
    ground
        .runtime
        .remove_pod_sandbox(&pod)
        .await
        .expect("the sandbox is removed");
    assert!(
        ground
            .runtime
            .status(&pod)
            .await
            .expect("statuses can be read")
            .is_none()
    );
    let left: Vec<_> = fs::read_dir(ground.pod_dir(&pod))
        .expect("it stays")
        .flatten()
        .collect();
    assert_eq!(left.iter().map(fs::DirEntry::path).collect::<Vec<_>>(), [volumes]);
    assert_eq!(ground.run_entries(), [""; 0]);
    let groups = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|root| format!("{root}/kubelocal-{pod}"));
    assert!(groups.iter().all(|group| !std::path::Path::new(group).exists()));
}

async fn calls_may_be_repeated(mut ground: Ground) {
    let pod = ground.sandbox("again").await;
    let supervisor = ground.runtime.supervisor_pid(&pod);
    assert_eq!(ground.sandbox("again").await, pod);
    assert_eq!(ground.runtime.supervisor_pid(&pod), supervisor);
    let config = ground.script("main", "sleep 1000");
    for _ in 0..2 {
        ground.start(&pod, &config).await;
    }
    let error = ground
        .runtime
        .remove_container(&pod, &config.id)
        .await
        .expect_err("it runs");
    assert!(
        matches!(error, RuntimeError::WrongState { state: "running", .. }),
        "{error:?}"
    );
    ground
        .runtime
        .stop_container(&pod, &config.id, stop(9, Duration::ZERO))
        .await
        .expect("it can be stopped");
    ground.exit(&pod, &config.id).await;
    let error = ground
        .runtime
        .start_container(&pod, &config.id)
        .await
        .expect_err("it is over");
    assert!(
        matches!(error, RuntimeError::WrongState { state: "exited", .. }),
        "{error:?}"
    );
    for _ in 0..2 {
        ground
            .runtime
            .remove_container(&pod, &config.id)
            .await
            .expect("it is removed");
        ground.runtime.stop_pod_sandbox(&pod).await.expect("it stops");
    }
    for _ in 0..2 {
        ground.runtime.remove_pod_sandbox(&pod).await.expect("it is removed");
    }
    let error = ground
        .runtime
        .create_container(&pod, &config)
        .await
        .expect_err("there is no sandbox");
    assert!(matches!(error, RuntimeError::NoSandbox(_)), "{error:?}");
}

async fn a_run_is_removed_but_its_log_stays(mut ground: Ground) {
    let pod = ground.sandbox("tidy").await;
    let config = ground.script("main", "echo kept");
    ground.run(&pod, &config).await;
    ground
        .runtime
        .remove_container(&pod, &config.id)
        .await
        .expect("it is removed");
    assert_eq!(ground.status(&pod).await.containers, []);
    assert_eq!(crate::ground::logged(&config), "kept\n");
}

async fn containers_of_a_pod_share_memory_host_name_and_loopback(mut ground: Ground) {
    let pod = ground.sandbox("sharing").await;
    let writer = ground.script(
        "writer",
        "echo hello > /dev/shm/note; ifconfig lo | grep -q UP && hostname",
    );
    assert_eq!(ground.output(&pod, &writer).await, "sharing\n");
    let reader = ground.script("reader", "cat /dev/shm/note");
    assert_eq!(ground.output(&pod, &reader).await, "hello\n");
}

async fn a_shared_pid_namespace_shows_every_process_and_is_cleaned_up(mut ground: Ground) {
    let pod = ground.sandbox_with("family", |config| config.share_pid = true).await;
    let first = ground.script("first", &format!("sleep 1{}", ground.word()));
    ground.start(&pod, &first).await;
    let second = ground.script("second", &format!("setsid sleep 2{} & ps", ground.word()));
    let output = ground.output(&pod, &second).await;
    assert!(output.contains(&format!("1{}", ground.word())), "{output}");
    wait_until("the left process", || {
        processes_with(&format!("2{}", ground.word())).is_empty()
    })
    .await;
    assert_eq!(processes_with(&format!("1{}", ground.word())).len(), 1);
    ground.runtime.stop_pod_sandbox(&pod).await.expect("the sandbox stops");
    assert_eq!(processes_with(&format!("1{}", ground.word())), [""; 0]);
}

async fn the_first_process_of_a_shared_pid_namespace_gives_nothing_away(mut ground: Ground) {
    let pod = ground.sandbox_with("family", |config| config.share_pid = true).await;
    let mut tracer = ground.script(
        "tracer",
        "cd /proc/1; ls -A root/; ls -A cwd/; readlink exe; tr '\\0' '\\n' < cmdline; wc -c < environ; ls fd | wc -l
         grep -cE 'kubelocal|heap' maps; grep -E '^Cap...:|NoNewPrivs|Seccomp:' status | cut -f 2
         echo > root/written || echo read-only; ls -d root/etc root/home root/proc",
    );
    tracer.security.add_capabilities = vec!["SYS_PTRACE".to_owned()];
    let (_, output) = ground.run(&pod, &tracer).await;
    let none = "0000000000000000\n".repeat(5);
    let expected = format!("pause\npause\n/pause\npause\n0\n0\n0\n{none}1\n2\nread-only\n");
    let said: String = output
        .lines()
        .filter(|line| !line.contains("No such file") && !line.contains("can't create"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(said, expected, "{output}");
    let plain = ground.script(
        "plain",
        "exec 2>&1; ls /proc/1/root/ || readlink /proc/1/exe || echo nothing",
    );
    let (_, output) = ground.run(&pod, &plain).await;
    assert!(output.ends_with("nothing\n"), "{output}");
}

async fn a_background_process_does_not_keep_its_container_from_ending(mut ground: Ground) {
    let pod = ground.sandbox("daemon").await;
    let config = ground.script("daemon", "setsid sleep 1000 & echo done");
    let begun = Instant::now();
    assert_eq!(ground.output(&pod, &config).await, "done\n");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

async fn many_pods_start_at_once(mut ground: Ground) {
    let names: Vec<String> = (0..25).map(|i| format!("crowd-{i}")).collect();
    let configs: Vec<_> = (0..100)
        .map(|i| ground.script(&format!("c{i}"), "echo $0; exit 4"))
        .collect();
    let pods = futures::future::join_all(names.iter().map(|name| ground.sandbox(name))).await;
    let starts = configs
        .iter()
        .enumerate()
        .map(|(i, config)| ground.start(&pods[i % pods.len()], config));
    futures::future::join_all(starts).await;
    for (i, config) in configs.iter().enumerate() {
        assert_eq!(ground.exit(&pods[i % pods.len()], &config.id).await.code, 4);
    }
    assert_eq!(ground.runtime.list().await.expect("statuses can be read").len(), 25);
    futures::future::join_all(pods.iter().map(|pod| ground.runtime.remove_pod_sandbox(pod))).await;
    assert_eq!(fs::read_dir(&ground.options.pods_dir).expect("it stays").count(), 0);
}
