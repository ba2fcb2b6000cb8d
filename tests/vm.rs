//! What this machine may not have: cgroup v2, systemd, AppArmor. In small virtual machines by software emulation, with this program, busybox and
//! a kernel of the distribution.
//!
//! `scripts/setup test` gets the kernel, systemd and qemu. Without them the tests say so and pass, unless `KUBELOCAL_TEST_VM=required`.

#[path = "vm/archive.rs"]
mod archive;
#[path = "vm/limits.rs"]
mod limits;
#[path = "vm/machine.rs"]
mod machine;
#[path = "vm/systemd.rs"]
mod systemd;

use serde_json::{Value, json};

/// A pod that runs the built-in image with these arguments.
fn pod(name: &str, args: &str, resources: &Value) -> Value {
    let args: Vec<&str> = args.split_whitespace().collect();
    let container = json!({
        "name": "main", "image": "kubelocal.dev/demo", "imagePullPolicy": "IfNotPresent", "args": args, "resources": resources,
    });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]},
    })
}

fn limits(limits: &Value, requests: &Value) -> Value {
    json!({"limits": limits, "requests": requests})
}
