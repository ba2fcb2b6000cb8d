//! The API under load: 10,000 objects, 200 watchers, 1,000 writes a second for a minute, and lists of 5,000 pods.
//!
//!     cargo bench --bench load

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use kubelocal::model::Object;
use serde_json::json;

#[path = "../tests/support/served.rs"]
mod served;

use served::{Rush, Served, request, rush};

const RUSH: Rush = Rush {
    objects: 10_000,
    watchers: 200,
    writes: 60_000,
    rate: Some(1000),
};

/// What of this process is in memory now, and was at most, in kB (`proc_pid_status(5)`).
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}

fn pod(number: usize) -> Object {
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("web-{number}"), "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "test", "containers": [{"name": "main", "image": "web:1", "ports": [{"containerPort": 80}]}]},
        "status": {"phase": "Running", "podIP": "10.244.0.7", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, "image": "web:1", "imageID": "x",
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]},
    });
    Object::new(value).expect("in the table")
}

async fn list(served: &Served, accept: &str) -> (Duration, usize) {
    let mut sender = served.connect().await;
    let start = Instant::now();
    let mut request = request("GET", "/api/v1/pods", "", "");
    request
        .headers_mut()
        .insert("accept", accept.parse().expect("a header"));
    let answer = sender.send_request(request).await.expect("is answered");
    let length = answer.into_body().collect().await.expect("a body").to_bytes().len();
    (start.elapsed(), length)
}

async fn lists() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for count in [100, 5_000, 10_000] {
        let (served, ..) = Served::start().await;
        for number in 0..count {
            served.store.create(pod(number)).expect("a free name");
        }
        for (form, accept) in [("objects", "application/json"), ("a table", table)] {
            let mut times = Vec::new();
            let mut length = 0;
            for _ in 0..20 {
                let (time, bytes) = list(&served, accept).await;
                times.push(time);
                length = bytes;
            }
            times.sort();
            println!(
                "list of {count} pods as {form}: {:.1?} (median of 20), {length} bytes",
                times[10]
            );
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    lists().await;
    let (served, ..) = Served::start().await;
    let outcome = rush(&served, RUSH).await;
    println!(
        "{} objects, {} watchers, {} writes: {:.1?}; {} watchers had to begin anew; memory: {} MB at most, {} MB now",
        RUSH.objects,
        RUSH.watchers,
        RUSH.writes,
        outcome.took,
        outcome.anew,
        memory("VmHWM") / 1024,
        memory("VmRSS") / 1024,
    );
}
