//! `df` and `prune`: what takes the disk, and what of it may go.

use super::Api;
use super::body::Answer;
use super::images::answer;
use super::own::DiskUsage;
use super::request::Query;
use crate::image::{ImageStore, Prune};
use crate::model;
use crate::os::size_of;
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
