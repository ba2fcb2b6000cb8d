//! Numbers, not assertions: run with `--run-ignored=only --no-capture`.

use std::fs;
use std::time::{Duration, Instant};

use kubelocal::runtime::Runtime;

use crate::ground::Ground;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_the_embedded_runtime() {
    measure(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure_crun() {
    measure(Some("crun")).await;
}

async fn measure(oci_runtime: Option<&str>) {
    let ground = Ground::new(oci_runtime).await;
    let label = oci_runtime.unwrap_or("embedded");
    let mut times = [const { Vec::new() }; 5];
    for number in 0..40 {
        let mut config = ground.script("main", "sleep 1000");
        config.id.0 = format!("{:064x}", 0x1000 + number);
        let mut steps = vec![Instant::now()];
        let pod = ground.sandbox(&format!("one-{number}")).await;
        steps.push(Instant::now());
        ground
            .runtime
            .create_container(&pod, &config)
            .await
            .expect("it is created");
        steps.push(Instant::now());
        ground
            .runtime
            .start_container(&pod, &config.id)
            .await
            .expect("it starts");
        steps.push(Instant::now());
        ground.exec(&pod, &config.id, &["true"]).await;
        steps.push(Instant::now());
        if number == 0 {
            println!("{label}: supervisor with one container: {}", memory(&ground, &pod));
        }
        ground.runtime.remove_pod_sandbox(&pod).await.expect("it is removed");
        steps.push(Instant::now());
        for (step, pair) in steps.windows(2).enumerate() {
            times[step].push(pair[1] - pair[0]);
        }
    }
    for (step, mut times) in ["sandbox", "create", "start", "exec true", "remove"]
        .into_iter()
        .zip(times)
    {
        times.sort_unstable();
        println!(
            "{label}: {step}: p50 {:?} p90 {:?}",
            times[times.len() / 2],
            times[times.len() * 9 / 10]
        );
    }
    println!("{label}: 50 pods at once, all running after {:?}", fifty(&ground).await);
}

async fn fifty(ground: &Ground) -> Duration {
    let configs: Vec<_> = (0..50).map(|_| ground.script("main", "sleep 1000")).collect();
    let begun = Instant::now();
    let pods = futures::future::join_all(configs.iter().enumerate().map(|(number, config)| async move {
        let pod = ground.sandbox(&format!("many-{number}")).await;
        ground.start(&pod, config).await;
        pod
    }))
    .await;
    let took = begun.elapsed();
    let begun = Instant::now();
    let listed = ground.runtime.list().await.expect("statuses can be read").len();
    println!(
        "list of {listed}: {:?}; supervisor: {}",
        begun.elapsed(),
        memory(ground, &pods[0])
    );
    let begun = Instant::now();
    futures::future::join_all(pods.iter().map(|pod| ground.runtime.remove_pod_sandbox(pod))).await;
    println!("all removed after {:?}", begun.elapsed());
    took
}

fn memory(ground: &Ground, pod: &kubelocal::runtime::PodUid) -> String {
    let pid = ground.runtime.supervisor_pid(pod).expect("it lives");
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it can be read");
    let wanted =
        |line: &&str| line.starts_with("Pss:") || line.starts_with("Private_Dirty:") || line.starts_with("Rss:");
    rollup.lines().filter(wanted).collect::<Vec<_>>().join(" ")
}
