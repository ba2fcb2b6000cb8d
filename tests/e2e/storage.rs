//! Data that outlives pods: claims, the volumes they get, and what it takes to lose them.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::home::{Home, files_below};
use crate::manifest::{Manifest, documents, pod};

fn claim(name: &str) -> Manifest {
    Manifest(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))
}

/// A pod with a volume at `/data`.
fn user(name: &str, volume: Value) -> Manifest {
    let mut volume = volume;
    volume["name"] = "d".into();
    pod(name, "sleep forever")
        .with(
            "/spec/containers/0/volumeMounts",
            json!([{"name": "d", "mountPath": "/data"}]),
        )
        .with("/spec/volumes", json!([volume]))
}

fn of_claim(name: &str) -> Value {
    json!({"persistentVolumeClaim": {"claimName": name}})
}

fn volumes(home: &Home) -> Vec<PathBuf> {
    files_below(&home.path("volumes"))
}

#[test]
fn data_outlives_its_pods_and_its_files_and_goes_with_its_claim() {
    let home = Home::new();
    let all = || documents([claim("data"), user("a", of_claim("data"))]);
    let source = home.file("a.yaml", all());
    home.must(format!("watch --once {source}"));
    home.must("exec a -- /kubelocal demo write /data/f kept");
    home.must("delete pod a");
    home.until_ready("a");
    assert_eq!(home.must("exec a -- /kubelocal demo cat /data/f"), "kept\n");
    let said = home.must(format!("down {source}"));
    assert!(said.contains("persistentvolumeclaim/data kept with its data"), "{said}");
    assert_eq!(home.text("pvc data", "/status/phase"), "Bound");
    home.must(format!("watch --once {source}"));
    assert_eq!(home.must("exec a -- /kubelocal demo cat /data/f"), "kept\n");
    // Somebody uses it: it waits, and nothing is lost meanwhile.
    home.must("delete pvc data --wait=false");
    assert_ne!(home.field("pvc data", "/metadata/deletionTimestamp"), Value::Null);
    assert_eq!(home.must("exec a -- /kubelocal demo cat /data/f"), "kept\n");
    home.must(format!("down {source}"));
    home.until_gone("pvc data");
    home.until("its data is gone", || volumes(&home).is_empty());
    home.until("its volume is gone", || home.must("get pv -o name").is_empty());
}

#[test]
fn a_pod_waits_for_its_claim_and_says_so() {
    let home = Home::new();
    home.must(format!("apply -f {}", home.file("a.yaml", user("a", of_claim("late")))));
    home.until("the claim is missed", || {
        home.must("events --for pod/a")
            .contains("persistentvolumeclaim \"late\" not found")
    });
    home.must(format!("apply -f {}", home.file("b.yaml", claim("late"))));
    home.until_ready("a");
}

#[test]
fn a_volume_that_people_made_is_kept_when_its_claim_goes() {
    let home = Home::new();
    let dir = home.path("../files/theirs");
    fs::create_dir_all(&dir).expect("a directory");
    let dir = dir.canonicalize().expect("is there");
    let volume = Manifest(json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "theirs"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "storageClassName": "manual",
            "hostPath": {"path": dir},
        },
    }));
    let wanted = claim("data").with("/spec/storageClassName", json!("manual"));
    let read_only = json!({"persistentVolumeClaim": {"claimName": "data", "readOnly": true}});
    let all = [volume, wanted, user("a", of_claim("data")), user("b", read_only)];
    home.must(format!("apply -f {}", home.file("a.yaml", documents(all))));
    home.until_ready("a");
    home.until_ready("b");
    home.must("exec a -- /kubelocal demo write /data/f theirs");
    assert!(
        home.fails("exec b -- /kubelocal demo write /data/g no")
            .contains("Read-only")
    );
    home.must("delete pods --all");
    home.must("delete pvc data");
    home.until("it is released", || {
        home.text("pv theirs", "/status/phase") == "Released"
    });
    assert_eq!(fs::read_to_string(dir.join("f")).expect("stays"), "theirs\n");
}

#[test]
fn a_claim_of_a_pods_own_goes_with_the_pod() {
    let home = Home::new();
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    let own = json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}});
    home.must(format!("apply -f {}", home.file("a.yaml", user("a", own))));
    home.until_ready("a");
    home.must("exec a -- /kubelocal demo write /data/f scratch");
    assert_eq!(home.text("pvc a-d", "/status/phase"), "Bound");
    home.must("delete pod a");
    home.until_gone("pvc a-d");
    home.until("its data is gone", || volumes(&home).is_empty());
}
