//! Which images are here, in the node's status (kubelet `nodestatus.Images`).

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::image::{ImageStore, ImageSummary};
use crate::model::{Key, kind};
use crate::store::Store;

/// How many are told of, the largest first (kubelet `--node-status-max-images`).
const MOST: usize = 50;

/// How long to wait for more after one came or went.
const GATHER: Duration = Duration::from_secs(1);

/// Tells which there are whenever that changes, until `stop`.
pub(super) async fn follow(store: Store, images: ImageStore, node_name: String, stop: CancellationToken) {
    let mut changed = images.changed();
    let followed = async {
        while changed.changed().await.is_ok() {
            tokio::time::sleep(GATHER).await;
            changed.mark_unchanged();
            let images = images.clone();
            let listed = tokio::task::spawn_blocking(move || images.list()).await;
            match listed.expect("listing does not panic") {
                Ok(listed) => tell(&store, &node_name, &plan_images(listed)),
                Err(error) => tracing::warn!(%error, "the node's images are not told"),
            }
        }
    };
    stop.run_until_cancelled(followed).await;
}

fn tell(store: &Store, node_name: &str, images: &Value) {
    let key = Key::new(kind("v1", "Node").expect("in the table"), "", node_name);
    let told = store.update_status(&key, |node| node.value_mut()["status"]["images"] = images.clone());
    if let Err(error) = told {
        tracing::warn!(%error, "the node's images are not told");
    }
}

fn plan_images(mut images: Vec<ImageSummary>) -> Value {
    // What is left of an image whose name went to another is nobody's to ask for.
    images.retain(|image| !image.names.is_empty() || !image.digests.is_empty());
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    let of = |image: ImageSummary| {
        let names: Vec<String> = image.digests.into_iter().chain(image.names).collect();
        json!({"names": names, "sizeBytes": image.size})
    };
    images.into_iter().take(MOST).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_images_are_told_with_all_their_names() {
        let image = |name: &str, size: u64| ImageSummary {
            id: name.to_owned(),
            names: vec![format!("{name}:1")],
            digests: vec![format!("{name}@sha256:0")],
            architecture: String::new(),
            size,
            created: None,
        };
        let told = plan_images((0..60).map(|size| image("a", size)).collect());
        assert_eq!(told.as_array().map(Vec::len), Some(MOST));
        assert_eq!(told[0], json!({"names": ["a@sha256:0", "a:1"], "sizeBytes": 59}));
    }
}
