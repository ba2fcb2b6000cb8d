//! What it costs to decide about a pod: with nothing to do, which is what every hint comes to, and with all of it to do.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kubelocal::model::Object;
use kubelocal::pod::{Facts, Health, Plan, SANDBOX, SPEC_HASH, container_hash, containers, plan_pod};
use kubelocal::runtime::{ContainerId, ContainerState, ContainerStatus, Limits, PodUid, SandboxConfig, SandboxStatus};
use kubelocal::status::{StatusFacts, pod_status};
use serde_json::{Value, json};

/// A pod as the gate leaves it.
fn pod(count: usize) -> Value {
    let container = |number: usize| {
        json!({
            "name": format!("c{number}"), "image": "registry.example.com/web:1.2.3", "imagePullPolicy": "IfNotPresent",
            "args": ["--port", "8080"], "env": [{"name": "LEVEL", "value": "debug"}],
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let containers: Vec<Value> = (0..count).map(container).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web"}},
        "spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "nodeName": "node",
            "dnsPolicy": "ClusterFirst", "containers": containers},
    })
}

/// A sandbox in which every container of the pod runs.
fn running(pod: &Pod) -> SandboxStatus {
    let created_at = Timestamp::UNIX_EPOCH;
    let run = |(number, container): (usize, &k8s_openapi::api::core::v1::Container)| ContainerStatus {
        id: ContainerId(format!("{number:064x}")),
        name: container.name.clone(),
        attempt: 0,
        image: container.image.clone().unwrap_or_default(),
        image_id: "sha256:0".into(),
        annotations: BTreeMap::from([
            (SPEC_HASH.to_owned(), container_hash(container)),
            (SANDBOX.to_owned(), created_at.to_string()),
        ]),
        log_path: "/log".into(),
        state: ContainerState::Running { started_at: created_at },
    };
    SandboxStatus {
        config: SandboxConfig {
            uid: PodUid("u".into()),
            namespace: "default".into(),
            name: "web".into(),
            hostname: "web".into(),
            host_network: false,
            share_pid: false,
            host_ipc: false,
            host_pid: false,
            sysctls: Default::default(),
            memory_dirs: Vec::new(),
            limits: Limits::default(),
            runtime_handler: String::new(),
        },
        alive: true,
        ips: Vec::new(),
        controllers: BTreeSet::new(),
        created_at,
        containers: containers(pod).iter().enumerate().map(run).collect(),
    }
}

fn plan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan_pod");
    let (failures, health, endings) = (BTreeMap::new(), Health::default(), BTreeMap::new());
    let pulling = BTreeSet::new();
    for count in [1, 2, 10] {
        let pod: Pod = serde_json::from_value(pod(count)).expect("a pod");
        let settled = running(&pod);
        let empty = SandboxStatus {
            containers: Vec::new(),
            ..settled.clone()
        };
        let facts = |observed| Facts {
            pod: &pod,
            is_gone: false,
            draining: None,
            observed: Some(observed),
            failures: &failures,
            health: &health,
            endings: &endings,
            pulling: &pulling,
            now: Timestamp::UNIX_EPOCH,
        };
        assert!(matches!(plan_pod(facts(&settled)), Plan::Settled { .. }));
        assert!(matches!(plan_pod(facts(&empty)), Plan::Converge(_)));
        group.bench_function(format!("{count} containers run"), |bencher| {
            bencher.iter(|| plan_pod(black_box(facts(&settled))));
        });
        group.bench_function(format!("{count} containers to start"), |bencher| {
            bencher.iter(|| plan_pod(black_box(facts(&empty))));
        });
    }
    group.finish();
}

/// What surrounds the plan in every round of a worker: the typed pod before it, the status after it.
fn round(criterion: &mut Criterion) {
    let object = Arc::new(Object::new(pod(2)).expect("a pod of the table"));
    let pod: Pod = object.typed().expect("a pod");
    let (sandbox, failures, health) = (running(&pod), BTreeMap::new(), Health::default());
    criterion.bench_function("a stored pod, typed", |bencher| {
        bencher.iter(|| black_box(&object).typed::<Pod>().expect("a pod"));
    });
    criterion.bench_function("pod_status as JSON", |bencher| {
        bencher.iter(|| {
            let status = pod_status(StatusFacts {
                pod: black_box(&pod),
                observed: Some(&sandbox),
                failures: &failures,
                resize: None,
                health: &health,
                host_ips: &[],
                now: Timestamp::UNIX_EPOCH,
            });
            serde_json::to_value(status).expect("string keys")
        });
    });
}

criterion_group!(benches, plan, round);
criterion_main!(benches);
