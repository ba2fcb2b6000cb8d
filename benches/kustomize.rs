//! What an overlay costs: built from nothing, built again after one file changed, and beside the program it replaces.

use std::fs;
use std::hint::black_box;
use std::process::Command;

use criterion::{Criterion, criterion_group, criterion_main};
use kubelocal::kustomize::{Cache, MemoryFiles, NoTools, Options, build, rebuild};

#[path = "../tests/kustomize/large.rs"]
mod large;

fn files(count: usize) -> MemoryFiles {
    let mut files = MemoryFiles::new();
    for (name, text) in large::overlay(count) {
        files.put(&format!("/overlay/{name}"), text.into_bytes());
    }
    files
}

fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("overlay");
    group.sample_size(20);
    for count in [3, 10, 100, 500, 1000] {
        let files = files(count);
        group.bench_function(format!("{count} resources"), |bencher| {
            bencher.iter(|| build(black_box(&files), &NoTools, "/overlay/top", &Options::default()).expect("built"));
        });
    }
}

fn changed(criterion: &mut Criterion) {
    let mut files = files(500);
    let mut cache = Cache::default();
    let mut edit = 0;
    criterion.bench_function("500 resources after one file changed", |bencher| {
        bencher.iter(|| {
            edit += 1;
            let (name, text) = large::file(77, edit);
            files.put(&format!("/overlay/{name}"), text.into_bytes());
            rebuild(&files, &NoTools, "/overlay/top", &Options::default(), &mut cache).expect("built")
        });
    });
}

fn changed_patch(criterion: &mut Criterion) {
    let mut files = files(500);
    let mut cache = Cache::default();
    let mut edit = 0;
    criterion.bench_function("500 resources after one patch changed", |bencher| {
        bencher.iter(|| {
            edit += 1;
            files.put("/overlay/top/patch.yaml", large::patch(edit).into_bytes());
            rebuild(&files, &NoTools, "/overlay/top", &Options::default(), &mut cache).expect("built")
        });
    });
}

/// Skipped where `kubectl` is not installed.
fn beside_kubectl(criterion: &mut Criterion) {
    let program = std::env::var_os("KUBELOCAL_TEST_KUBECTL").unwrap_or_else(|| "kubectl".into());
    if Command::new(&program).args(["version", "--client"]).output().is_err() {
        return;
    }
    let mut group = criterion.benchmark_group("kubectl");
    group.sample_size(10);
    for count in [3, 500] {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (name, text) in large::overlay(count) {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        group.bench_function(format!("{count} resources"), |bencher| {
            bencher.iter(|| {
                let mut command = Command::new(&program);
                let ran = command.arg("kustomize").arg(root.path().join("top")).output();
                assert!(ran.expect("kubectl runs").status.success());
            });
        });
    }
}

criterion_group!(benches, whole, changed, changed_patch, beside_kubectl);
criterion_main!(benches);
