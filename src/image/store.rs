//! What callers do with images: look up, load, list, tag, remove, save.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::claims::Claim;
use super::digest::Digest;
use super::disk::{Disk, EMPTY_LAYER};
use super::document::ConfigFile;
use super::error::ImageError;
use super::import::import;
use super::ingest::{Ingest, Intake};
use super::layer::tree_path;
use super::lease::{Lease, Leases};
use super::limits::Limits;
use super::load::load;
use super::partial::KEPT;
use super::record::{self, Name, Record};
use super::reference::{Reference, is_lower_hex};
use super::registry::RegistrySettings;
use super::save::{read_blob_json, save};
use super::source::Files;
use super::sweep::sweep;
use super::{BUILTIN_IMAGE, Image, ImageSummary, LoadSource, Removed, builtin};

/// The store under one directory. Cheap to clone; clones are the same store. Several processes may share it.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    intake: Intake,
    /// The binary that the built-in image is made from.
    binary: PathBuf,
    registries: RegistrySettings,
    shared: Vec<PathBuf>,
    /// Someone removed an image while others were loading: the last of them sweeps.
    is_sweep_due: AtomicBool,
    /// How often something was added or removed.
    changed: watch::Sender<u64>,
}

/// What a store may be told. All of it has a default.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The binary that the built-in image is made from: the running one.
    pub binary: PathBuf,
    /// How much images may ask for.
    pub limits: Limits,
    /// Short names, and where images are pulled from.
    pub registries: RegistrySettings,
    /// Directories of containers-storage (podman, buildah, skopeo) whose images are found too.
    pub shared: Vec<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            binary: PathBuf::from("/proc/self/exe"),
            limits: Limits::default(),
            registries: RegistrySettings::default(),
            shared: Vec::new(),
        }
    }
}

impl ImageStore {
    /// Opens the store in this directory, made if it is not there, and sweeps what a crash left behind.
    ///
    /// # Errors
    /// If the directory cannot be made or written.
    pub fn open(dir: &Path) -> Result<ImageStore, ImageError> {
        ImageStore::open_with(dir, StoreOptions::default())
    }

    /// The same with other options.
    ///
    /// # Errors
    /// If the directory cannot be made or written.
    pub fn open_with(dir: &Path, options: StoreOptions) -> Result<ImageStore, ImageError> {
        let disk = Disk::create(dir)?;
        sweep(&disk, KEPT)?;
        let inner = Inner {
            intake: Intake::new(disk, options.limits),
            binary: options.binary,
            registries: options.registries,
            shared: options.shared,
            is_sweep_due: AtomicBool::new(false),
            changed: watch::Sender::new(0),
        };
        Ok(ImageStore { inner: Arc::new(inner) })
    }

    /// Looks an image up by name, by `sha256:…` id or by the beginning of an id. Makes the built-in image if it is
    /// asked for and not there yet.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`] for names that Kubernetes refuses; else the store cannot be read.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, ImageError> {
        let held = self.hold(reference)?;
        held.map(|(lease, record)| self.image_of(lease, record)).transpose()
    }

    /// Loads every image of the source that is for this machine. `name` takes the place of the names in the source,
    /// which then must hold one image. Of the images' names those are told that were loaded, if any were.
    ///
    /// # Errors
    /// If the source is no image, damaged, hostile or for other machines only. Images before the failing one stay.
    pub fn load(&self, source: LoadSource, name: Option<&str>) -> Result<Vec<Image>, ImageError> {
        let name = name.map(|name| self.reference(name)).transpose()?;
        let (loaded, named) = self.ingest(|ingest| {
            let files = Files::open(source, ingest.disk(), ingest.limits())?;
            let loaded = load(ingest, &files, name.as_ref())?;
            Ok((
                loaded,
                std::mem::take(ingest.named.get_mut().unwrap_or_else(PoisonError::into_inner)),
            ))
        })?;
        let each: BTreeMap<Digest, Lease> = loaded.into_iter().map(|lease| (lease.id().clone(), lease)).collect();
        let image = |lease| {
            let mut image = self.image(lease)?;
            if image.names.iter().any(|name| named.contains(name)) {
                image.names.retain(|name| named.contains(name));
            }
            Ok(image)
        };
        each.into_values().map(image).collect()
    }

    /// Makes an image of one layer from a tar of a root file system, which may be compressed.
    ///
    /// # Errors
    /// As [`ImageStore::load`].
    pub fn import(&self, rootfs: impl Read + Send, name: &str) -> Result<Image, ImageError> {
        let name = self.reference(name)?.store_name();
        let lease = self.ingest(|ingest| import(ingest, rootfs, &name))?;
        self.image(lease)
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
            "Notes": record.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }))
    }

    /// What each layer is and takes, the lowest first.
    fn layer_rows(&self, record: &Record, config: &ConfigFile) -> Result<Vec<serde_json::Value>, ImageError> {
        let layers = record.layers.iter().zip(&config.rootfs.diff_ids);
        layers
            .map(|(layer, diff_id)| {
                let size = super::layer::size(self.disk(), &layer.short)?;
                let packed = layer.blob.as_ref().map(|blob| (&blob.digest, blob.size)).unzip();
                Ok(serde_json::json!({"DiffID": diff_id, "Size": size, "Digest": packed.0, "PackedSize": packed.1}))
            })
            .collect()
    }

    /// Takes a name away, and with the last name the image. By id, all its names and the image. `in_use` is asked with
    /// the image's id before it goes; an image that is held does not go whatever it says.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if it is not there, [`ImageError::InUse`] or [`ImageError::BuiltIn`] if it may not go.
    pub fn remove(&self, reference: &str, in_use: &dyn Fn(&str) -> bool) -> Result<Removed, ImageError> {
        let removed = self.forget(reference, in_use)?;
        if removed.deleted.is_some() {
            self.sweep(KEPT)?;
        }
        Ok(removed)
    }

    /// What [`ImageStore::remove`] does, but that what the image was made of stays until the next sweep.
    pub(super) fn forget(&self, reference: &str, in_use: &dyn Fn(&str) -> bool) -> Result<Removed, ImageError> {
        let record = self.find(reference)?;
        let record = record.ok_or_else(|| ImageError::NotFound(reference.to_owned()))?;
        let edit = self.disk().edit()?;
        let names: Vec<Name> = record::names(self.disk())?
            .into_iter()
            .filter(|name| name.id == record.id)
            .collect();
        let asked = self.reference(reference).ok().map(|reference| reference.store_name());
        let (gone, is_last) = plan_removal(&names, asked.as_deref());
        if gone.iter().any(|name| name == BUILTIN_IMAGE) {
            return Err(ImageError::BuiltIn(reference.to_owned()));
        }
        if is_last && in_use(&record.id.to_string()) {
            return Err(ImageError::InUse(reference.to_owned()));
        }
        let unpoint = || {
            gone.iter()
                .try_for_each(|name| record::unpoint(self.disk(), name, &edit))
        };
        let delete = || unpoint().and_then(|()| record::delete(self.disk(), &record.id, &edit));
        match is_last {
            true => {
                let deleted = self.leases().unless_held(&record.id, delete);
                deleted.ok_or_else(|| ImageError::InUse(reference.to_owned()))??;
            }
            false => unpoint()?,
        }
        self.inner.changed.send_modify(|changed| *changed += 1);
        Ok(Removed {
            untagged: gone,
            deleted: is_last.then(|| record.id.to_string()),
        })
    }

    /// Removes what no image needs, and of what broke off what is older than `kept`; now, or after the last load.
    pub(super) fn sweep(&self, kept: Duration) -> Result<(), ImageError> {
        if !sweep(self.disk(), kept)? {
            self.inner.is_sweep_due.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives an image another name; a name that another image had moves.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if it is not there.
    pub fn tag(&self, source: &str, name: &str) -> Result<Image, ImageError> {
        let reference = self.reference(name)?;
        if reference.digest().is_some() {
            let why = "a name by digest cannot be given";
            return Err(ImageError::InvalidImageName {
                name: name.to_owned(),
                why,
            });
        }
        let (lease, record) = self.require(source)?;
        let name = Name {
            name: reference.store_name(),
            id: record.id.clone(),
            is_pulled: false,
        };
        record::point(self.disk(), &name, &self.disk().edit()?)?;
        self.image_of(lease, record)
    }

    /// Writes an image as an OCI archive that podman, skopeo and docker load: under the name that it is asked for by, or, by id,
    /// under all its names.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] if it is not there; else it cannot be read or written.
    pub fn save(&self, reference: &str, out: impl Write) -> Result<(), ImageError> {
        // Held so that no sweep takes away what is being read.
        let _work = self.disk().work()?;
        let (_held, record) = self.require(reference)?;
        let asked = self.reference(reference).ok().map(|reference| reference.store_name());
        let mut names = names_of(&record::names(self.disk())?, &record.id).1;
        names.sort();
        let names = match asked.filter(|asked| names.contains(asked)) {
            Some(asked) => vec![asked],
            None => names,
        };
        save(self.disk(), &record, &names, out)
    }

    /// The directory that holds all layers. Relative to it, an image's layers have names short enough for overlay's
    /// option string.
    pub fn layers_dir(&self) -> PathBuf {
        self.disk().path("layers")
    }

    /// A name as this node reads it: short names are the user's.
    ///
    /// # Errors
    /// [`ImageError::InvalidImageName`].
    pub fn reference(&self, name: &str) -> Result<Reference, ImageError> {
        self.inner.registries.reference(name)
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

    /// Changes whenever something was added or removed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// What was set about registries.
    pub(super) fn registries(&self) -> &RegistrySettings {
        &self.inner.registries
    }

    /// The right to do something that is done once at a time.
    pub(super) fn claim(&self, key: &str) -> Option<Claim<'_>> {
        self.inner.intake.claims.wait_for(key, &|| false)
    }

    /// Keeps an image by id, whoever wants it gone: for containers that run from it since before this node did. `None` if that
    /// is no id.
    #[must_use]
    pub fn lease(&self, id: &str) -> Option<Lease> {
        Digest::parse(id).map(|id| self.leases().take(id))
    }

    /// The images that somebody holds.
    pub(super) fn leases(&self) -> &Arc<Leases> {
        &self.inner.intake.leases
    }

    /// Other stores whose images are found too.
    pub(super) fn shared(&self) -> &[PathBuf] {
        &self.inner.shared
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.inner.intake.limits
    }

    fn intake(&self) -> &Intake {
        &self.inner.intake
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.inner.intake.disk
    }

    /// Runs one intake, and after it the sweep that it may have kept from running.
    pub(super) fn ingest<T>(
        &self,
        take: impl FnOnce(&mut Ingest<'_>) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let mut ingest = Ingest::begin(self.intake())?;
        let result = take(&mut ingest);
        drop(ingest);
        self.inner.changed.send_modify(|changed| *changed += 1);
        if self.inner.is_sweep_due.swap(false, Ordering::Relaxed) {
            self.sweep(KEPT)?;
        }
        result
    }

    /// The built-in image, which is made when it is first asked for.
    fn built_in(&self) -> Result<Digest, ImageError> {
        let made = || self.inner.changed.send_modify(|changed| *changed += 1);
        builtin::ensure(self.intake(), &self.inner.binary, made)
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
    pub(super) fn require(&self, reference: &str) -> Result<(Lease, Record), ImageError> {
        self.hold(reference)?
            .ok_or_else(|| ImageError::NotFound(reference.to_owned()))
    }

    pub(super) fn find(&self, reference: &str) -> Result<Option<Record>, ImageError> {
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
    pub(super) fn image(&self, lease: Lease) -> Result<Image, ImageError> {
        let id = lease.id();
        let record = record::read(self.disk(), id)?.ok_or_else(|| ImageError::NotFound(id.to_string()))?;
        self.image_of(lease, record)
    }

    fn image_of(&self, lease: Lease, record: Record) -> Result<Image, ImageError> {
        let config: ConfigFile = read_blob_json(self.disk(), &record.id)?;
        let (digests, names) = names_of(&record::names(self.disk())?, &record.id);
        Ok(Image {
            id: record.id.to_string(),
            names,
            digest: digests.into_iter().next(),
            layers: self.layers(&record),
            created: created(&config),
            config: config.config,
            architecture: config.architecture,
            size: record.size,
            notes: record.notes.iter().map(ToString::to_string).collect(),
            lease,
        })
    }

    /// Overlay refuses a directory that is given twice. Of a layer that is there twice the upper one is enough: it
    /// covers all that the lower one shows.
    fn layers(&self, record: &Record) -> Vec<PathBuf> {
        let mut layers: Vec<PathBuf> = Vec::new();
        for layer in record.layers.iter().rev() {
            let path = tree_path(self.disk(), &layer.short);
            if !layers.contains(&path) {
                layers.push(path);
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
fn names_of(names: &[Name], id: &Digest) -> (Vec<String>, Vec<String>) {
    let own: (Vec<&Name>, Vec<&Name>) = names
        .iter()
        .filter(|name| name.id == *id)
        .partition(|name| name.is_digest());
    let text = |names: Vec<&Name>| names.into_iter().map(|name| name.name.clone()).collect();
    (text(own.0), text(own.1))
}

fn created(config: &ConfigFile) -> Option<Timestamp> {
    config.created.as_ref()?.parse().ok()
}

/// Which of an image's names go, and whether the image goes with them. A repository's names by digest go with its last
/// tag, as Docker has it.
fn plan_removal(names: &[Name], asked: Option<&str>) -> (Vec<String>, bool) {
    let Some(asked) = names.iter().find(|name| Some(name.name.as_str()) == asked) else {
        return (names.iter().map(|name| name.name.clone()).collect(), true);
    };
    let of_repository = |name: &&Name| name.repository() == asked.repository();
    let is_last_tag = !names
        .iter()
        .filter(of_repository)
        .any(|name| !name.is_digest() && name.name != asked.name);
    let goes = |name: &&Name| name.name == asked.name || (is_last_tag && name.is_digest() && of_repository(name));
    let gone: Vec<String> = names.iter().filter(goes).map(|name| name.name.clone()).collect();
    let is_last = gone.len() == names.len();
    (gone, is_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repositorys_digests_go_with_its_last_tag_and_the_image_with_its_last_name() {
        let name = |name: &str| Name {
            name: name.to_owned(),
            id: Digest::of(b"x"),
            is_pulled: false,
        };
        let digest = format!("r.io/a@{}", Digest::of(b"m"));
        let (one, two, other) = (name("r.io/a:1"), name("r.io/a:2"), name("r.io/b:1"));
        let by_digest = name(&digest);
        for (names, reference, gone, is_last) in [
            (
                vec![one.clone(), two.clone(), by_digest.clone()],
                "r.io/a:1",
                vec!["r.io/a:1"],
                false,
            ),
            (
                vec![one.clone(), by_digest.clone()],
                "r.io/a:1",
                vec!["r.io/a:1", &digest],
                true,
            ),
            (
                vec![one.clone(), other.clone(), by_digest.clone()],
                "r.io/a:1",
                vec!["r.io/a:1", &digest],
                false,
            ),
            (
                vec![one.clone(), two.clone()],
                "deadbeef",
                vec!["r.io/a:1", "r.io/a:2"],
                true,
            ),
            (vec![by_digest.clone()], &digest, vec![&digest], true),
            (vec![], "deadbeef", vec![], true),
        ] {
            assert_eq!(
                plan_removal(&names, Some(reference)),
                (gone.iter().map(ToString::to_string).collect(), is_last)
            );
        }
    }
}
