//! Finding images: by name, by id or by its beginning; what is told of them.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::image::digest::Digest;
use crate::image::disk::EMPTY_LAYER;
use crate::image::document::{ConfigFile, plan_foreign};
use crate::image::error::ImageError;
use crate::image::layer::{self, tree_path};
use crate::image::lease::Lease;
use crate::image::record::{self, Name, Record};
use crate::image::reference::is_lower_hex;
use crate::image::save::read_blob_json;
use crate::image::{BUILTIN_IMAGE, Image, ImageStore, ImageSummary};

impl ImageStore {
    /// Looks an image up by name, by `sha256:…` id or by the beginning of an id. Makes the built-in image if it is
    /// asked for and not there yet.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`] for names that Kubernetes refuses; else the store cannot be read.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let held = self.hold(reference)?;
        held.map(|(lease, record)| self.image_of(lease, record)).transpose()
    }

    /// All images, sorted by name; those without a name last.
    ///
    /// # Errors
    /// If the store cannot be read, or the built-in image cannot be made.
    pub fn list(&self) -> Result<Vec<ImageSummary>, ImageError> {
        self.built_in()?;
        let names = record::names(self.disk())?;
        let mut images = Vec::new();
        for id in record::ids(self.disk())? {
            let Some(record) = record::read(self.disk(), &id)? else {
                continue;
            };
            let (digests, tags) = names_of(&names, &id);
            let config = read_blob_json(self.disk(), &id)?;
            let created = created(&config);
            images.push(ImageSummary {
                id: id.to_string(),
                names: tags,
                digests,
                architecture: config.architecture,
                size: record.size,
                created,
            });
        }
        images.sort_by(|a, b| (a.names.is_empty(), &a.names, &a.id).cmp(&(b.names.is_empty(), &b.names, &b.id)));
        Ok(images)
    }

    /// Everything about one image, in the shape of `docker image inspect`.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if it is not there.
    pub fn inspect(&self, reference: &str) -> Result<serde_json::Value, ImageError> {
        let (_held, record) = self.require(reference)?;
        let config: ConfigFile = read_blob_json(self.disk(), &record.id)?;
        let (digests, tags) = names_of(&record::names(self.disk())?, &record.id);
        let layers: Vec<PathBuf> = self.layers(&record);
        Ok(serde_json::json!({
            "Id": record.id,
            "RepoTags": tags,
            "RepoDigests": digests,
            "Digest": record.manifest.digest,
            "Created": config.created,
            "Architecture": config.architecture,
            "Os": config.os,
            "Size": record.size,
            "Config": config.config,
            "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
            "Layers": self.layer_rows(&record, &config)?,
            "GraphDriver": { "Name": "overlay", "Data": { "LowerDirs": layers } },
            "History": config.history,
            "Notes": notes_of(&record, &config),
        }))
    }

    /// What each layer is and takes, the lowest first.
    fn layer_rows(&self, record: &Record, config: &ConfigFile) -> Result<Vec<serde_json::Value>, ImageError> {
        let layers = record.layers.iter().zip(&config.rootfs.diff_ids);
        layers
            .map(|(layer, diff_id)| {
                let size = layer::size(self.disk(), &layer.short)?;
                let packed = layer.blob.as_ref().map(|blob| (&blob.digest, blob.size)).unzip();
                Ok(serde_json::json!({"DiffID": diff_id, "Size": size, "Digest": packed.0, "PackedSize": packed.1}))
            })
            .collect()
    }

    /// Whether this name is a registry's, so that the registry knows what it means today. Names that were given here, by a
    /// load, an import, a build or by hand, are not.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`], or the store cannot be read.
    pub fn is_pulled(&self, name: &str) -> Result<bool, ImageError> {
        let name = self.reference(name)?.store_name();
        Ok(record::look_up(self.disk(), &name)?.is_some_and(|name| name.is_pulled))
    }

    /// Finds an image and holds it.
    fn hold(&self, reference: &str) -> Result<Option<(Lease, Record)>, ImageError> {
        while let Some(found) = self.find(reference)? {
            let lease = self.leases().take(found.id);
            // It may have gone before it was held, and the name may mean another by now.
            if let Some(record) = record::read(self.disk(), lease.id())? {
                return Ok(Some((lease, record)));
            }
        }
        Ok(None)
    }

    /// The same for an image that has to be there.
    pub(in crate::image) fn require(&self, reference: &str) -> Result<(Lease, Record), ImageError> {
        self.hold(reference)?
            .ok_or_else(|| ImageError::NotFound(reference.to_owned()))
    }

    pub(in crate::image) fn find(&self, reference: &str) -> Result<Option<Record>, ImageError> {
        let bare = reference.strip_prefix("sha256:").unwrap_or(reference);
        if let Some(id) = Digest::from_hex(bare) {
            return record::read(self.disk(), &id);
        }
        let name = self.reference(reference)?.store_name();
        if name == BUILTIN_IMAGE {
            let id = self.built_in()?;
            let id = record::look_up(self.disk(), &name)?.map_or(id, |name| name.id);
            return record::read(self.disk(), &id);
        }
        match record::look_up(self.disk(), &name)? {
            Some(name) => record::read(self.disk(), &name.id),
            None if is_short_id(bare) => self.find_by_short_id(bare),
            None => Ok(None),
        }
    }

    fn find_by_short_id(&self, start: &str) -> Result<Option<Record>, ImageError> {
        let ids = record::ids(self.disk())?;
        let mut fitting = ids.iter().filter(|id| id.hex().starts_with(start));
        match (fitting.next(), fitting.next()) {
            (Some(id), None) => record::read(self.disk(), id),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(ImageError::Ambiguous(start.to_owned())),
        }
    }

    /// An image that is held.
    pub(in crate::image) fn image(&self, lease: Lease) -> Result<Image, ImageError> {
        let id = lease.id();
        let record = record::read(self.disk(), id)?.ok_or_else(|| ImageError::NotFound(id.to_string()))?;
        self.image_of(lease, record)
    }

    pub(super) fn image_of(&self, lease: Lease, record: Record) -> Result<Image, ImageError> {
        let config: ConfigFile = read_blob_json(self.disk(), &record.id)?;
        let (digests, names) = names_of(&record::names(self.disk())?, &record.id);
        Ok(Image {
            id: record.id.to_string(),
            names,
            digest: digests.into_iter().next(),
            layers: self.layers(&record),
            notes: notes_of(&record, &config),
            created: created(&config),
            config: config.config,
            architecture: config.architecture,
            size: record.size,
            root: self.root(&record),
            lease,
        })
    }

    /// The tree whose root is the image's: of the highest layer that says what it is like.
    fn root(&self, record: &Record) -> Option<PathBuf> {
        let layer = record.layers.iter().rev().find(|layer| layer.describes_root)?;
        Some(tree_path(self.disk(), &layer.short))
    }

    /// Those that show something. Overlay refuses a directory that is given twice: of a layer that is there twice the upper one is
    /// enough, for it covers all that the lower one shows.
    fn layers(&self, record: &Record) -> Vec<PathBuf> {
        let mut layers: Vec<PathBuf> = Vec::new();
        for layer in record.layers.iter().rev() {
            let path = tree_path(self.disk(), &layer.short);
            if !layers.contains(&path) {
                layers.push(path);
            }
            if layer.hides_below {
                break;
            }
        }
        if layers.is_empty() {
            layers.push(tree_path(self.disk(), EMPTY_LAYER));
        }
        layers.reverse();
        layers
    }
}

/// Seven digits are what tools show at least; fewer are more likely a name that is not there.
fn is_short_id(text: &str) -> bool {
    (7..64).contains(&text.len()) && text.bytes().all(is_lower_hex)
}

/// Names by digest, and names with tags.
pub(super) fn names_of(names: &[Name], id: &Digest) -> (Vec<String>, Vec<String>) {
    let own: (Vec<&Name>, Vec<&Name>) = names
        .iter()
        .filter(|name| name.id == *id)
        .partition(|name| name.is_digest());
    let text = |names: Vec<&Name>| names.into_iter().map(|name| name.name.clone()).collect();
    (text(own.0), text(own.1))
}

/// What the user is told of an image.
fn notes_of(record: &Record, config: &ConfigFile) -> Vec<String> {
    let unpacked = record.notes.iter().map(ToString::to_string);
    plan_foreign(config).into_iter().chain(unpacked).collect()
}

fn created(config: &ConfigFile) -> Option<Timestamp> {
    config.created.as_ref()?.parse().ok()
}
