//! Images that podman, buildah or skopeo have on this machine, taken over without copying what is in their files.
//!
//! ```text
//!  containers-storage: overlay-images/ ─► config, manifest ─┐
//!                      overlay-layers/ ─► chain of layers   ├─► layers/<short>/fs, the same files by hard links ─► record
//!                      overlay/<id>/diff ───────────────────┘
//! ```
//!
//! Reading their layers in place would take the files away from under our containers when podman removes an image. Hard
//! links cost no data and no copying, and each side removes its own. What makes them safe: both sides treat layers as
//! written once, and a container's writes go to an upper directory. Where it is not safe, or not possible (another file
//! system, another map of ids, a mount program, another driver than overlay), nothing is taken, and the image has to come
//! as an archive.

mod link;
mod storage;

use std::path::Path;

use self::link::link_tree;
use self::storage::{Found, Storage, StoredLayer};
use super::Image;
use super::digest::Digest;
use super::document::Descriptor;
use super::error::ImageError;
use super::ingest::Ingest;
use super::layer::{self, Layer, LayerInfo, plan_chain_ids};
use super::lease::Lease;
use super::manifest::{Next, plan_layers, plan_next};
use super::reference::Reference;
use super::store::ImageStore;

/// Why an image that another store has can't be taken over as it is. Not a failure: it can still come as an archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unshared {
    /// It is not there.
    #[error("no such image")]
    Missing,
    /// Its files can't be shared.
    #[error("{0}")]
    Unfit(String),
    /// Its store could not be read.
    #[error(transparent)]
    Failed(#[from] ImageError),
}

impl From<std::io::Error> for Unshared {
    fn from(error: std::io::Error) -> Unshared {
        Unshared::Unfit(error.to_string())
    }
}

impl ImageStore {
    /// Looks for an image in the stores of podman and its kin, and takes it over if it is there and its files can be shared.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`]. That it can't be shared is no error: it is logged, and there is no image.
    pub fn adopt(&self, name: &str) -> Result<Option<Image>, ImageError> {
        let own = self.reference(name)?;
        self.adopt_first(name, &own, &plan_names(name, &own))
    }

    /// The same for a name in the words of those tools: one without a registry is first of all what was built here.
    ///
    /// # Errors
    /// As [`ImageStore::adopt`].
    pub fn adopt_built(&self, name: &str) -> Result<Option<Image>, ImageError> {
        let own = self.reference(name)?;
        let mut wanted = plan_names(name, &own);
        wanted.reverse();
        self.adopt_first(name, &own, &wanted)
    }

    fn adopt_first(&self, name: &str, own: &Reference, wanted: &[Reference]) -> Result<Option<Image>, ImageError> {
        for root in self.shared() {
            match self.adopt_from(root, own, wanted) {
                Ok(image) => return Ok(Some(image)),
                Err(Unshared::Missing) => {}
                Err(why) => {
                    tracing::info!(image = name, store = %root.display(), %why, "an image of another store can't be shared");
                }
            }
        }
        Ok(None)
    }

    fn adopt_from(&self, root: &Path, own: &Reference, wanted: &[Reference]) -> Result<Image, Unshared> {
        // Locks of files are a process's: two of us at once would open each other's.
        let _claim = self.claim(&root.display().to_string());
        let storage = Storage::open(root)?;
        let found = wanted
            .iter()
            .find_map(|name| storage.find(name).transpose().map(|found| (name, found)));
        let Some((theirs, found)) = found else {
            return Err(Unshared::Missing);
        };
        let found = found?;
        if let Some(here) = self
            .resolve(&own.store_name())?
            .filter(|here| here.id == found.id.to_string())
        {
            return Ok(here.with_names(|name| name == own.store_name()));
        }
        let lease = self.ingest(|ingest| Ok(take(ingest, &found, own, theirs)))??;
        let given = [own.store_name(), theirs.store_name()];
        Ok(self
            .image(lease)?
            .with_names(|name| given.iter().any(|given| given == name)))
    }
}

/// The names to look for: the image's own, and for one without a registry what a build on this machine calls it.
fn plan_names(name: &str, reference: &Reference) -> Vec<Reference> {
    let mut names = vec![reference.clone()];
    let first = name.split('/').next().unwrap_or(name);
    let has_registry = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if !has_registry {
        names.extend(Reference::parse(&format!("localhost/{name}")));
    }
    names
}

fn take(ingest: &mut Ingest<'_>, found: &Found, name: &Reference, theirs: &Reference) -> Result<Lease, Unshared> {
    let descriptor = Descriptor::new("", Digest::of(&found.manifest), found.manifest.len() as u64);
    let Next::Image(parts) = plan_next(&descriptor, &found.manifest, ingest.limits())? else {
        return Err(Unshared::Unfit("its manifest is an index".to_owned()));
    };
    let pairs = plan_layers(&parts.manifest.digest, parts.blobs, &parts.config.digest, &found.config)?;
    let diff_ids: Vec<Digest> = pairs.iter().map(|(_, diff_id)| diff_id.clone()).collect();
    let theirs_ids: Vec<&Digest> = found.layers.iter().map(|layer| &layer.diff_id).collect();
    if diff_ids.iter().collect::<Vec<_>>() != theirs_ids {
        return Err(Unshared::Unfit(
            "its layers are not those that its config names".to_owned(),
        ));
    }
    let mut layers = Vec::new();
    for ((stored, chain), (blob, _)) in found.layers.iter().zip(plan_chain_ids(&diff_ids)).zip(pairs) {
        let mut layer = take_layer(ingest, stored, chain, layers.is_empty())?;
        layer.info.blob = Some(blob);
        layers.push(layer);
    }
    ingest.keep_document(&found.manifest)?;
    ingest.keep_document(&found.config)?;
    // What was built here has no registry to ask; the rest came from one.
    ingest.is_pulled = theirs.domain() != "localhost";
    let mut names = vec![name.store_name()];
    if theirs != name {
        names.push(theirs.store_name());
    }
    if ingest.is_pulled {
        names.push(theirs.with_digest(&parts.manifest.digest).to_string());
    }
    Ok(ingest.commit(parts.config.digest, parts.manifest, &layers, &names)?)
}

/// A layer that is here already, or one made of theirs. Above the lowest it counts for this stack only: how directories look
/// that no entry describes was decided by them, for what lies below. A pull may be making the same one: whoever is first
/// has made it, and nobody waits for a download with the other store locked.
fn take_layer(ingest: &Ingest<'_>, stored: &StoredLayer, chain: Digest, is_lowest: bool) -> Result<Layer, Unshared> {
    if let Some(layer) = ingest.find(Some(&stored.diff_id), is_lowest, Some(&chain))? {
        return Ok(layer);
    }
    if let Some(id) = stored.unmapped(ingest.owners()) {
        return Err(Unshared::Unfit(format!(
            "a layer has files of {id}, who does not exist here"
        )));
    }
    let temporary = ingest.disk().temporary_dir()?;
    let (size, disk) = link_tree(&stored.tree, &temporary.path().join("fs"), ingest.limits())?;
    let info = LayerInfo {
        key: if is_lowest { stored.diff_id.clone() } else { chain },
        diff_id: stored.diff_id.clone(),
        blob: None,
        is_dependent: !is_lowest,
        size,
        disk: Some(disk.bytes),
        inodes: disk.inodes,
        // Podman's roots all look the same, whatever the image says.
        describes_root: false,
        hides_below: false,
        notes: Vec::new(),
    };
    Ok(layer::commit(ingest.disk(), temporary, info)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_registry_may_have_been_built_here() {
        for (name, wanted) in [
            ("app", "docker.io/library/app:latest localhost/app:latest"),
            ("team/app:1", "docker.io/team/app:1 localhost/team/app:1"),
            ("quay.io/app:1", "quay.io/app:1"),
            ("localhost/app", "localhost/app:latest"),
            ("host:5000/app", "host:5000/app:latest"),
        ] {
            let reference = Reference::parse(name).expect("a name");
            let names: Vec<String> = plan_names(name, &reference).iter().map(ToString::to_string).collect();
            assert_eq!(names.join(" "), wanted);
        }
    }
}
