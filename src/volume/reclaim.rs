//! Removes the directories of volumes that are to go: those that the node made, when their reclaim policy says so.
//!
//! A finalizer holds the volume until its directory is gone, so a node that dies on the way goes on when it comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::Object;
use crate::model::storage::{DATA_FINALIZER, VOLUME_PROTECTION, kind_of_volumes, provisioned_path};
use crate::store::{Expired, Store};

/// When a directory that could not be removed is tried again: whoever is in its way does not go within seconds.
const RETRY: Duration = Duration::from_secs(60);

/// Works until `stop`.
pub async fn reclaim(store: Store, stop: CancellationToken) {
    while !stop.is_cancelled() {
        // Changes that were lost, and what failed: all is looked at again.
        let _ = follow(&store, &stop).await;
    }
}

async fn follow(store: &Store, stop: &CancellationToken) -> Result<(), Expired> {
    let present = store.list(kind_of_volumes(), None);
    let mut changes = store.watch(present.resource_version)?;
    // Set by the first failure, so that changes of others do not put it off.
    let mut retry_at = None;
    for volume in present.items {
        if !settle(store, &volume).await {
            retry_at.get_or_insert_with(|| Instant::now() + RETRY);
        }
    }
    loop {
        let retry = async {
            match retry_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = retry => return Ok(()),
            change = changes.next() => {
                let object = change?.object;
                if object.kind() == kind_of_volumes() && !settle(store, &object).await {
                    retry_at.get_or_insert_with(|| Instant::now() + RETRY);
                }
            }
        }
    }
}

/// Removes what is to go of a volume and lets it go. False if that failed.
async fn settle(store: &Store, volume: &Arc<Object>) -> bool {
    let Some(removed) = plan_end(volume) else {
        return true;
    };
    if let Some(path) = removed {
        let (directory, shown) = (path.clone(), path.display().to_string());
        let done = tokio::task::spawn_blocking(move || remove(&directory)).await;
        if let Err(error) = done.map_err(std::io::Error::other).flatten() {
            tracing::warn!(volume = %volume.key().name, path = %shown, %error, "its data can't be removed");
            return false;
        }
    }
    // One that is gone needs no release.
    let _ = store.update(volume.key(), |present| present.remove_finalizer(DATA_FINALIZER));
    true
}

/// Whether a volume waits for us, and which directory goes with it.
fn plan_end(volume: &Object) -> Option<Option<PathBuf>> {
    let finalizers = volume.finalizers();
    if !volume.is_deleting() || !finalizers.contains(&DATA_FINALIZER) || finalizers.contains(&VOLUME_PROTECTION) {
        return None;
    }
    let goes = volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete";
    Some(provisioned_path(volume).filter(|_| goes).map(Path::to_owned))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::storage::{PROVISIONED_BY, PROVISIONER};

    fn volume(policy: &str, finalizers: &[&str], is_deleting: bool) -> Object {
        let mut object = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": "pvc-1", "annotations": {PROVISIONED_BY: PROVISIONER}, "finalizers": finalizers},
            "spec": {"persistentVolumeReclaimPolicy": policy, "hostPath": {"path": "/v/a_b_pvc-1"}},
        });
        if is_deleting {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Object::new(object).expect("a volume")
    }

    #[test]
    fn data_goes_with_a_volume_that_ends_unless_it_is_kept_or_in_use() {
        let gone = Some(Some(PathBuf::from("/v/a_b_pvc-1")));
        for (policy, finalizers, is_deleting, wanted) in [
            ("Delete", &[DATA_FINALIZER][..], true, gone),
            ("Retain", &[DATA_FINALIZER], true, Some(None)),
            ("Delete", &[DATA_FINALIZER, VOLUME_PROTECTION], true, None),
            ("Delete", &[DATA_FINALIZER], false, None),
            ("Delete", &[], true, None),
        ] {
            let found = plan_end(&volume(policy, finalizers, is_deleting));
            assert_eq!(found, wanted, "{policy} {finalizers:?} {is_deleting}");
        }
    }
}
