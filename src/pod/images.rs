//! Which images pods need, and the collector that keeps the others within bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::image::{Collected, ImageStore, Marks};
use crate::model;
use crate::store::Store;

/// How long to wait for more after something came: a load of ten images is one occasion.
const GATHER: Duration = Duration::from_secs(10);

/// How often to look again while more is taken than may be and all of it is in use (kubelet's period).
const AGAIN: Duration = Duration::from_secs(300);

/// Names and ids of the images that pods run from, or will: those of every pod's spec and status.
pub fn images_in_use(store: &Store) -> BTreeSet<String> {
    let kind = model::kind("v1", "Pod").expect("in the table");
    let fields = [
        ("/spec/initContainers", "image"),
        ("/spec/containers", "image"),
        ("/status/initContainerStatuses", "imageID"),
        ("/status/containerStatuses", "imageID"),
    ];
    let mut used = BTreeSet::new();
    for pod in store.list(kind, None).items {
        for (list, field) in fields {
            let items = pod.at(list).and_then(|list| list.as_array()).into_iter().flatten();
            let named = items.filter_map(|item| item.get(field)?.as_str());
            used.extend(named.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    used
}

/// Removes unused images whenever something came and too much is taken, until `stop`.
pub async fn run_collector(store: Store, images: ImageStore, marks: Marks, stop: CancellationToken) {
    let mut changed = images.changed();
    let mut is_over = false;
    loop {
        let again = async {
            match is_over {
                true => tokio::time::sleep(AGAIN).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changed.changed() => if changed.is_err() { return },
            () = again => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(GATHER) => {}
        }
        changed.mark_unchanged();
        let (images, in_use) = (images.clone(), images_in_use(&store));
        let collected = tokio::task::spawn_blocking(move || images.collect(marks, &in_use)).await;
        match collected.expect("collecting does not panic") {
            Ok(collected) => is_over = tell(&collected, is_over),
            Err(error) => tracing::warn!(%error, "images that are not used can't be collected"),
        }
    }
}

/// Logs what went; returns whether it was not enough, of which is told once.
fn tell(collected: &Collected, was_over: bool) -> bool {
    let Collected {
        reclaimed,
        is_still_over,
    } = collected;
    if !reclaimed.images.is_empty() {
        let images = reclaimed.images.join(", ");
        tracing::info!(
            bytes = reclaimed.bytes,
            images,
            "images took too much of the disk; unused ones are gone"
        );
    }
    if *is_still_over && !was_over {
        tracing::warn!("images take more of the disk than they may, and all of them are in use");
    }
    *is_still_over
}
