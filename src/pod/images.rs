//! Which images pods need, and the collector that keeps the others within bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::event::{EventKind, EventRecorder};
use crate::image::{Collected, ImageStore, Marks, Reference};
use crate::model::{self, list_at};
use crate::store::Store;

/// How long to wait for more after something came: a load of ten images is one occasion.
const GATHER: Duration = Duration::from_secs(10);

/// How often to look again while more is taken than may be and all of it is in use (kubelet's period).
const AGAIN: Duration = Duration::from_secs(300);

/// An image's name in full, as runtimes of clusters tell it in statuses: `docker.io/library/nginx:latest`.
pub fn whole_image_name(image: &str) -> String {
    Reference::parse(image).map_or_else(|_| image.to_owned(), |reference| reference.to_string())
}

/// Names and ids of the images that pods run from, or will: those of every pod's spec and status.
pub fn images_in_use(store: &Store) -> BTreeSet<String> {
    let kind = model::kind("v1", "Pod").expect("in the table");
    let fields = [
        ("/spec/initContainers", "image"),
        ("/spec/containers", "image"),
        ("/spec/ephemeralContainers", "image"),
        ("/status/initContainerStatuses", "imageID"),
        ("/status/containerStatuses", "imageID"),
        ("/status/ephemeralContainerStatuses", "imageID"),
    ];
    let mut used = BTreeSet::new();
    for pod in store.list(kind, None).items {
        let volumes = list_at(pod.value(), "/spec/volumes").iter();
        used.extend(volumes.filter_map(|volume| Some(volume.pointer("/image/reference")?.as_str()?.to_owned())));
        for (list, field) in fields {
            let items = pod.at(list).and_then(|list| list.as_array()).into_iter().flatten();
            let named = items.filter_map(|item| item.get(field)?.as_str());
            used.extend(named.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    used
}

/// Removes unused images whenever something came and too much is taken, until `stop`.
///
/// Where that is not enough, an event of the node says so (kubelet `ImageGCFailed`).
pub async fn run_collector(
    store: Store,
    images: ImageStore,
    marks: Marks,
    recorder: EventRecorder,
    stop: CancellationToken,
) {
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
            came = changed.changed() => if came.is_err() { return },
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
            Ok(collected) => is_over = tell(&collected, is_over, |message| tell_node(&store, &recorder, message)),
            Err(error) => tracing::warn!(%error, "images that are not used can't be collected"),
        }
    }
}

fn tell_node(store: &Store, recorder: &EventRecorder, message: &str) {
    let kind = model::kind("v1", "Node").expect("in the table");
    for node in store.list(kind, None).items {
        recorder.event(&node, EventKind::Warning, "ImageGCFailed", message);
    }
}

/// Logs what went; returns whether it was not enough, of which is told once.
fn tell(collected: &Collected, was_over: bool, tell_node: impl Fn(&str)) -> bool {
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
        let message =
            "images take more of the disk, or of its inodes, than they may, and what is left of them is in use";
        tracing::warn!(message);
        tell_node(message);
    }
    *is_still_over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_told_by_its_whole_name() {
        for (image, whole) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("ghcr.io/a/b:v1", "ghcr.io/a/b:v1"),
            ("Not a name", "Not a name"),
        ] {
            assert_eq!(whole_image_name(image), whole);
        }
    }
}
