//! `df` and `prune`: what takes the disk, and what of it may go.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Api;
use super::body::Answer;
use super::images::answer;
use super::own::DiskUsage;
use super::request::Query;
use crate::image::{ImageStore, Prune};
use crate::model;
use crate::pod;

impl Api {
    pub(super) async fn prune_images(&self, query: &Query) -> Answer {
        let which = if query.flag("all") {
            Prune::Unused
        } else {
            Prune::Untagged
        };
        let in_use = pod::images_in_use(&self.store);
        answer(&self.with_images(move |images| images.prune(which, &in_use)).await?)
    }

    pub(super) async fn disk_usage(&self) -> Answer {
        let in_use = pod::images_in_use(&self.store);
        let images = self.with_images(move |images| images.usage(&in_use)).await?;
        let home = self.facts.home.clone();
        let sizes = move |_: &ImageStore| Ok((size_of(&home.join("pods")), size_of(&home.join("volumes"))));
        let (pods, volumes) = self.with_images(sizes).await?;
        let kind = model::kind("v1", "Pod").expect("in the table");
        answer(&DiskUsage {
            images,
            pods,
            pod_count: self.store.list(kind, None).items.len(),
            volumes,
        })
    }
}

/// Bytes on disk below a directory, as du(1) counts them on one file system. What goes meanwhile counts for nothing.
fn size_of(dir: &Path) -> u64 {
    let Ok(device) = fs::metadata(dir).map(|meta| meta.dev()) else {
        return 0;
    };
    let (mut bytes, mut left, mut counted) = (0, vec![dir.to_owned()], HashSet::new());
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let is_known = !meta.is_dir() && meta.nlink() > 1 && !counted.insert(meta.ino());
            if meta.dev() != device || is_known {
                continue;
            }
            // Blocks are of 512 bytes whatever the file system has (stat(2)).
            bytes += meta.blocks() * 512;
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    bytes
}
