//! What a file costs on its way to an object: reading, the whole gate, and applying what is unchanged.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use kubelocal::admit::{admit, admit_file, apply};
use kubelocal::model::SystemClock;
use kubelocal::source::{SourceSpec, read_once};

/// Deployments as people write them: two containers, variables, ports, a probe, mounts.
fn manifests(count: usize) -> String {
    (0..count).map(manifest).collect()
}

fn manifest(number: usize) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-{number}
  labels: {{app: web-{number}, tier: front}}
spec:
  replicas: 2
  selector:
    matchLabels: {{app: web-{number}}}
  template:
    metadata:
      labels: {{app: web-{number}}}
    spec:
      containers:
      - name: web
        image: registry.example.com/web:1.2.3
        args: [--port, \"8080\", --verbose]
        env:
        - name: POD_NAME
          valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}
        - {{name: LEVEL, value: debug}}
        ports:
        - {{name: http, containerPort: 8080}}
        readinessProbe:
          httpGet: {{path: /ready, port: http}}
        resources:
          requests: {{cpu: 100m, memory: 64Mi}}
        volumeMounts:
        - {{name: config, mountPath: /etc/web}}
      - name: sidecar
        image: registry.example.com/proxy:2
      volumes:
      - name: config
        configMap: {{name: web-{number}}}
---
"
    )
}

fn gate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit_file");
    for count in [1, 50, 500] {
        let text = manifests(count);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{count} deployments"), |bencher| {
            bencher.iter(|| admit_file(Path::new("x.yaml"), black_box(text.as_bytes())));
        });
    }
    group.finish();
}

fn unchanged(criterion: &mut Criterion) {
    let config = admit_file(Path::new("x.yaml"), manifest(0).as_bytes())
        .objects
        .remove(0)
        .config;
    let applied =
        apply::apply(None, &config, ("files", ""), false, Timestamp::UNIX_EPOCH).expect("nobody else owns it");
    let live = admit(&applied, None).expect("valid");
    criterion.bench_function("apply and admit an unchanged deployment", |bencher| {
        bencher.iter(|| {
            let merged =
                apply::apply(Some(live.value()), &config, ("files", ""), false, Timestamp::UNIX_EPOCH).expect("mine");
            admit(&merged, Some(&live)).expect("valid")
        });
    });
}

fn directory(criterion: &mut Criterion) {
    let root = tempfile::tempdir().expect("a temporary directory");
    for number in 0..1000 {
        std::fs::write(root.path().join(format!("{number}.yaml")), manifest(number)).expect("written");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    criterion
        .benchmark_group("source")
        .sample_size(10)
        .bench_function("a directory of 1000 files, cold", |bencher| {
            bencher.iter_batched(
                || SourceSpec::at("x", root.path()),
                |spec| runtime.block_on(read_once(spec, Arc::new(SystemClock))),
                BatchSize::PerIteration,
            );
        });
}

criterion_group!(benches, gate, unchanged, directory);
criterion_main!(benches);
