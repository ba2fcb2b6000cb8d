//! Pods that take more of the disk than they said they would are ended for good (kubelet `localStorageEviction`): by the limits of their
//! emptyDirs, of the pod as a whole, and of its containers.
//!
//! Looked at every few seconds while a pod with such a limit runs, and not at all otherwise. An eviction is a status: whoever
//! reads it, the pod's worker included, sees a pod that has failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use super::resources::{limit_of, pod_limit_of};
use super::{Rooms, containers, init_containers};
use crate::event::EventKind;
use crate::model::{Condition, Object, Quantity, kind, set_condition};
use crate::os::size_of;
use crate::store::Store;

/// Why such a pod has failed, in its status and its event.
pub(super) const REASON: &str = "Evicted";
/// How often is measured (kubelet's eviction manager: `monitoringInterval`).
const INTERVAL: Duration = Duration::from_secs(10);
/// What containers get to end at the least (kubelet `immediateEvictionGracePeriodSeconds`).
pub(super) const MOMENT: SignedDuration = SignedDuration::from_secs(1);
/// What the containers of an evicted pod get to end, in seconds: written when it is evicted, for the next node has to know it, too.
const GRACE: &str = "kubelocal.dev/eviction-grace-period";
/// The resource.
const STORAGE: &str = "ephemeral-storage";

/// How long the containers of a pod that has failed have to end, if not as long as the pod says.
pub(super) fn grace_of(pod: &Pod) -> Option<SignedDuration> {
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
    let written = pod.metadata.annotations.as_ref().and_then(|all| all.get(GRACE));
    let grace = written.and_then(|seconds| seconds.parse().ok().map(SignedDuration::from_secs));
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let own = own.map_or(SignedDuration::MAX, SignedDuration::from_secs);
    (reason == Some(REASON)).then(|| grace.unwrap_or(MOMENT).min(own).max(MOMENT))
}

/// Works until `stop`.
pub async fn run_evictor(rooms: Arc<Rooms>, stop: CancellationToken) {
    loop {
        let limited = limited(&rooms.store);
        let again = async {
            match limited.is_empty() {
                true => a_limit_appears(&rooms.store).await,
                false => tokio::time::sleep(INTERVAL).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = again => {}
        }
        for (object, pod) in limited {
            look_at(&rooms, &object, &pod).await;
        }
    }
}

/// Pods that may yet exceed a limit.
fn limited(store: &Store) -> Vec<(Arc<Object>, Pod)> {
    let kind = kind("v1", "Pod").expect("in the table");
    let pods = store.list(kind, None).items.into_iter();
    pods.filter_map(|object| Some((limited_pod(&object)?, object)))
        .map(|(pod, object)| (object, pod))
        .collect()
}

fn limited_pod(object: &Object) -> Option<Pod> {
    if object.key().kind().kind != "Pod" || object.is_deleting() {
        return None;
    }
    let pod = object.typed::<Pod>().ok()?;
    let is_over = matches!(object.text("/status/phase"), "Succeeded" | "Failed");
    (!is_over && has_limits(&pod)).then_some(pod)
}

/// Returns when a pod with such a limit comes, or when one may have come unseen.
async fn a_limit_appears(store: &Store) {
    let Ok(mut changes) = store.watch(store.resource_version()) else {
        return;
    };
    // One that came before the watch began.
    if !limited(store).is_empty() {
        return;
    }
    while let Ok(change) = changes.next().await {
        if limited_pod(&change.object).is_some() {
            return;
        }
    }
}

async fn look_at(rooms: &Rooms, object: &Object, pod: &Pod) {
    let directory = rooms.host.pods_dir.join(&super::uid(pod).0);
    let measured = pod.clone();
    let taken = tokio::task::spawn_blocking(move || measure(&measured, &directory)).await;
    let taken = taken.expect("measuring does not panic");
    let Some(message) = plan_eviction(pod, &taken) else {
        return;
    };
    carry_out(rooms, object, &message, MOMENT);
}

/// Ends a pod for good, and says why. Its containers get `grace` to end, or less where the pod says so.
pub(super) fn carry_out(rooms: &Rooms, object: &Object, message: &str, grace: SignedDuration) {
    rooms.recorder.event(object, EventKind::Warning, REASON, message);
    let now = rooms.clock.now();
    let uid = object.uid().to_owned();
    // One that is gone, or is another one by now, needs no eviction.
    let _ = rooms.store.update_status(object.key(), |present| {
        if present.uid() == uid {
            evict(present, message, grace, now);
        }
    });
}

fn evict(pod: &mut Object, message: &str, grace: SignedDuration, now: Timestamp) {
    let disrupted = Condition {
        kind: "DisruptionTarget",
        holds: true,
        reason: "TerminationByKubelet",
        message,
    };
    set_condition(pod, disrupted, now);
    pod.value_mut()["metadata"]["annotations"][GRACE] = grace.as_secs().to_string().into();
    let status = &mut pod.value_mut()["status"];
    status["phase"] = "Failed".into();
    status["reason"] = REASON.into();
    status["message"] = message.into();
}

/// Bytes on the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// By the volumes that are the pod's own and the files of its `/etc`, which containers may write (CVE-2020-8557), all together.
    pub volumes: u64,
    /// By those emptyDirs that have a limit.
    empty_dirs: BTreeMap<String, u64>,
    /// By containers: what they wrote into their root file systems, and their logs.
    pub containers: BTreeMap<String, u64>,
}

pub(super) fn measure(pod: &Pod, directory: &Path) -> Taken {
    let volumes = directory.join("volumes");
    let empty_dirs = limited_empty_dirs(pod).map(|(name, _)| (name.to_owned(), size_of(&volumes.join(name))));
    let of_container = |container: &Container| {
        let name = &container.name;
        let roots = std::fs::read_dir(directory.join("containers").join(name))
            .into_iter()
            .flatten()
            .flatten();
        let written = roots.map(|attempt| attempt.path().join("upper"));
        let all: Vec<PathBuf> = written.chain([directory.join("logs").join(name)]).collect();
        (name.clone(), all.iter().map(|path| size_of(path)).sum())
    };
    Taken {
        empty_dirs: empty_dirs.collect(),
        containers: init_containers(pod)
            .iter()
            .chain(containers(pod))
            .map(of_container)
            .collect(),
        volumes: size_of(&volumes) + size_of(&directory.join("etc")),
    }
}

fn has_limits(pod: &Pod) -> bool {
    limited_empty_dirs(pod).next().is_some() || pod_limit_of(pod, STORAGE).is_some()
}

/// emptyDirs on the disk with a limit: their names, and the limit as it was written.
fn limited_empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
        Some((volume.name.as_str(), limit.0.as_str()))
    })
}

/// What is said of a pod that has to go; `None` while it keeps its limits.
fn plan_eviction(pod: &Pod, taken: &Taken) -> Option<String> {
    let empty_dir = limited_empty_dirs(pod).find(|(name, limit)| {
        let limit = Quantity::parse(limit).filter(|limit| *limit > Quantity::ZERO);
        let bytes = taken.empty_dirs.get(*name).copied().unwrap_or(0);
        limit.is_some_and(|limit| Quantity::whole(i64::try_from(bytes).unwrap_or(i64::MAX)) > limit)
    });
    if let Some((name, limit)) = empty_dir {
        return Some(format!(
            "Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. "
        ));
    }
    let all = taken.containers.values().sum::<u64>() + taken.volumes;
    if let Some(limit) = pod_limit_of(pod, STORAGE).filter(|limit| all > *limit) {
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {}. ",
            shown(limit)
        ));
    }
    let exceeding = containers(pod).iter().find(|container| {
        let bytes = taken.containers.get(&container.name).copied().unwrap_or(0);
        limit_of(container, STORAGE).is_some_and(|limit| bytes > limit)
    })?;
    let limit = exceeding.resources.as_ref()?.limits.as_ref()?.get(STORAGE)?;
    Some(format!(
        "Container {} exceeded its local ephemeral storage limit {:?}. ",
        exceeding.name, limit.0
    ))
}

/// Bytes as a quantity: in the largest unit of which they are a whole number.
pub(super) fn shown(bytes: u64) -> String {
    let units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = (bytes.trailing_zeros() / 10) as usize;
    let power = if bytes == 0 { 0 } else { power.min(units.len() - 1) };
    format!("{}{}", bytes >> (10 * power), units[power])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        let limited = |name: &str, limit: &str| json!({"name": name, "resources": {"limits": {STORAGE: limit}}});
        let spec = json!({
            "containers": [limited("a", "1Ki"), limited("b", "2Ki")],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1k"}}, {"name": "free", "emptyDir": {}}],
        });
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    fn taken(volume: u64, a: u64, b: u64) -> Taken {
        Taken {
            volumes: volume,
            empty_dirs: [("v".to_owned(), volume)].into(),
            containers: [("a".to_owned(), a), ("b".to_owned(), b)].into(),
        }
    }

    #[test]
    fn who_takes_more_than_was_said_is_named_with_the_limit() {
        for (taken, expected) in [
            (taken(1000, 0, 0), None),
            (
                taken(1001, 0, 0),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1k\". "),
            ),
            (taken(500, 1024, 1548), None),
            (
                taken(501, 1024, 1548),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 3Ki. "),
            ),
            (
                taken(0, 1025, 0),
                Some("Container a exceeded its local ephemeral storage limit \"1Ki\". "),
            ),
        ] {
            assert_eq!(plan_eviction(&pod(), &taken).as_deref(), expected, "{taken:?}");
        }
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (2 << 20, "2Mi"),
            (1536 << 20, "1536Mi"),
            (1 << 60, "1Ei"),
        ] {
            assert_eq!(shown(bytes), text);
        }
    }

    #[test]
    fn only_pods_with_limits_are_looked_at() {
        assert!(has_limits(&pod()));
        let spec = json!({"containers": [{"name": "a"}], "volumes": [{"name": "v", "emptyDir": {}}]});
        let free: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a pod");
        assert!(!has_limits(&free));
    }

    #[test]
    fn what_a_pod_has_written_is_measured_where_it_lies() {
        let dir = tempfile::tempdir().expect("a directory");
        for (file, bytes) in [
            ("volumes/v/x", 5000),
            ("containers/a/0/upper/x", 5000),
            ("containers/a/1/upper/x", 5000),
            ("containers/a/1/config.json", 90_000),
            ("logs/b/0.log", 9000),
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("has one")).expect("a directory");
            std::fs::write(path, vec![1; bytes]).expect("writes");
        }
        let found = measure(&pod(), dir.path());
        assert!(
            found.empty_dirs["v"] >= 5000 && found.volumes >= found.empty_dirs["v"],
            "{found:?}"
        );
        assert!(
            found.containers["a"] >= 10_000 && found.containers["a"] < 90_000,
            "{found:?}"
        );
        assert!(found.containers["b"] >= 9000, "{found:?}");
    }

    #[test]
    fn an_evicted_pod_has_failed_and_says_why() {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "status": {"phase": "Running"}});
        let mut object = Object::new(value).expect("a pod");
        for _ in 0..2 {
            evict(&mut object, "too much", MOMENT, Timestamp::UNIX_EPOCH);
        }
        let pod = object.typed::<Pod>().expect("a pod");
        let status = pod.status.clone().expect("a status");
        assert_eq!(
            (status.phase.as_deref(), status.reason.as_deref()),
            (Some("Failed"), Some("Evicted"))
        );
        assert_eq!(status.conditions.map(|all| all.len()), Some(1));
        assert_eq!(grace_of(&pod), Some(MOMENT));
        let grace = |asked: i64, own: i64| {
            let mut object = object.clone();
            object.value_mut()["spec"]["terminationGracePeriodSeconds"] = own.into();
            evict(
                &mut object,
                "too much",
                SignedDuration::from_secs(asked),
                Timestamp::UNIX_EPOCH,
            );
            grace_of(&object.typed().expect("a pod")).map(|grace| grace.as_secs())
        };
        assert_eq!(
            (grace(20, 30), grace(40, 30), grace(20, 0)),
            (Some(20), Some(30), Some(1))
        );
    }
}
