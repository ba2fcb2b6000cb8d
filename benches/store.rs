//! What a write, a list and a watcher cost, with few objects and with many: nothing but lists may grow with what exists.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use kubelocal::model::{Key, Object, SystemClock, kind};
use kubelocal::store::{DeleteOptions, Store, Watcher};
use serde_json::json;

const SIZES: [usize; 2] = [100, 10_000];

fn config_map(name: &str) -> Object {
    let metadata = json!({"name": name, "namespace": "default", "labels": {"app": "web"}});
    let data = json!({"host": "db.example.com", "level": "debug"});
    Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
        .expect("in the table")
}

fn key(name: &str) -> Key {
    Key::new(kind("v1", "ConfigMap").expect("in the table"), "default", name)
}

fn filled(store: Store, count: usize) -> Store {
    for number in 0..count {
        store
            .create(config_map(&format!("there-{number}")))
            .expect("a free name");
    }
    store
}

fn in_memory(count: usize) -> Store {
    filled(Store::in_memory(Arc::new(SystemClock)), count)
}

fn writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for count in SIZES {
        let store = in_memory(count);
        let mut number = 0_u64;
        group.bench_function(format!("create and delete among {count}"), |bencher| {
            bencher.iter_batched(
                || config_map("new"),
                |object| {
                    store.create(object).expect("a free name");
                    store
                        .delete(&key("new"), &DeleteOptions::default())
                        .expect("it is there");
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("update among {count}"), |bencher| {
            bencher.iter(|| {
                number += 1;
                let change = |object: &mut Object| object.value_mut()["data"]["level"] = number.to_string().into();
                store.update(&key("there-7"), change).expect("it is there")
            });
        });
        group.bench_function(format!("an update of nothing among {count}"), |bencher| {
            bencher.iter(|| store.update(&key("there-7"), |_| {}).expect("it is there"));
        });
        group.bench_function(format!("list {count}"), |bencher| {
            bencher.iter(|| store.list(black_box(key("").kind()), Some("default")));
        });
    }
    group.finish();
}

/// One change, until the last of many watchers has it.
fn fan_out(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut group = criterion.benchmark_group("watch");
    for watchers in [1, 100] {
        let store = in_memory(100);
        let mut watching: Vec<Watcher> = (0..watchers)
            .map(|_| store.watch(store.resource_version()).expect("nothing is forgotten"))
            .collect();
        let mut number = 0_u64;
        group.bench_function(format!("one change to {watchers} watchers"), |bencher| {
            bencher.iter(|| {
                number += 1;
                let change = |object: &mut Object| object.value_mut()["data"]["level"] = number.to_string().into();
                store.update(&key("there-7"), change).expect("it is there");
                runtime.block_on(async {
                    for watcher in &mut watching {
                        watcher.next().await.expect("it keeps up");
                    }
                });
            });
        });
    }
    group.finish();
}

/// Writes to a disk: fifty at once share syncs, one alone pays its own.
fn durable(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(&directory.path().join("objects.redb"), Arc::new(SystemClock)).expect("a new journal");
    let store = filled(store, 100);
    let mut group = criterion.benchmark_group("journal");
    group.sample_size(20);
    let mut number = 0_u64;
    for batch in [1, 50] {
        group.bench_function(format!("{batch} updates until they are durable"), |bencher| {
            bencher.iter(|| {
                for object in 0..batch {
                    number += 1;
                    let change = |object: &mut Object| object.value_mut()["data"]["level"] = number.to_string().into();
                    store
                        .update(&key(&format!("there-{object}")), change)
                        .expect("it is there");
                }
                let durable = runtime.block_on(store.durable(store.resource_version()));
                durable.expect("the disk takes it");
            });
        });
    }
    group.finish();
    store.close();
}

criterion_group!(benches, writes, fan_out, durable);
criterion_main!(benches);
