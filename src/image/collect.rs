//! What images take on the disk, and which of them go when it is too much (kubelet's image garbage collection, with marks that count
//! what images take and not what anybody else has on the same disk).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::digest::Digest;
use super::disk::{Disk, EMPTY_LAYER, entries};
use super::error::ImageError;
use super::layer;
use super::partial::{KEPT, PARTIALS};
use super::record::{self, Name, Record};
use super::store::ImageStore;
use super::{BUILTIN_IMAGE, Removed};

mod marks;
mod plan;

pub use marks::{Mark, Marks};
use plan::{Kept, freed, plan_collection, plan_marks, plan_target};

/// More than any file system has.
const ALL: Amount = Amount {
    bytes: u64::MAX,
    inodes: u64::MAX,
};
const NOTHING: Amount = Amount { bytes: 0, inodes: 0 };

/// How long an image is left alone after it came or was last used (kubelet `imageMinimumGCAge`): whoever brought it may be
/// about to use it.
const YOUNG: Duration = Duration::from_secs(120);
/// What images take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageUsage {
    /// How many there are.
    pub images: usize,
    /// How many of them something runs from, or is about to.
    pub in_use: usize,
    /// Bytes of the disk that all unpacked layers take, each once.
    pub layers: u64,
    /// Bytes of all packed layers and documents.
    pub blobs: u64,
    /// Bytes of pulls that broke off: parts of downloads, and layers of images that never became whole.
    pub partial: u64,
    /// Bytes that would be free without the images that are not in use.
    pub reclaimable: u64,
    /// Inodes of all of it: files, directories, links.
    #[serde(default)]
    pub inodes: u64,
}

impl ImageUsage {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.layers + self.blobs + self.partial
    }
}

/// Which images may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// Those without a name with a tag: a newer image has it by now.
    Untagged,
    /// All that nothing uses.
    Unused,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reclaimed {
    /// The images' names, or ids where they had none.
    pub images: Vec<String>,
    /// Bytes that are free now, or as soon as the last pull under way has ended.
    pub bytes: u64,
}
/// Everything in the store, for a plan.
struct Inventory {
    images: Vec<Kept>,
    /// What each part takes.
    sizes: BTreeMap<String, Amount>,
    usage: ImageUsage,
    /// What broke off, and what no image has.
    partial: Amount,
}
/// What must stay takes so much.
fn pinned(inventory: &Inventory) -> Amount {
    let stay = inventory.images.iter().filter(|image| image.is_pinned);
    let parts: BTreeSet<&String> = stay.flat_map(|image| &image.parts).collect();
    parts
        .into_iter()
        .filter_map(|part| inventory.sizes.get(part).copied())
        .sum()
}
impl ImageStore {
    /// What images take. `in_use` has names and ids of what must stay.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn usage(&self, in_use: &BTreeSet<String>) -> Result<ImageUsage, ImageError> {
        let inventory = self.inventory(in_use, SystemTime::UNIX_EPOCH)?;
        let (_, reclaimable) = plan_collection(&inventory.images, &inventory.sizes, ALL, NOTHING);
        Ok(ImageUsage {
            reclaimable: reclaimable.bytes,
            ..inventory.usage
        })
    }

    /// Removes images that are not in use if more is taken than the marks allow. Tells what went, or that it is still too
    /// much by its `bytes` when nothing more may go.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn collect(&self, marks: Marks, in_use: &BTreeSet<String>) -> Result<Collected, ImageError> {
        let inventory = self.inventory(in_use, SystemTime::now())?;
        let total = self.disk().size()?;
        let mut taken = Amount::new(inventory.usage.total(), inventory.usage.inodes);
        let wanted = marks.amounts(total);
        let marks = plan_marks(wanted, pinned(&inventory));
        if !taken.fits(marks.0) && inventory.partial != NOTHING {
            // What broke off is worth less than any image.
            self.sweep(Duration::ZERO)?;
            let left = partials(self.disk())? + strays(self.disk(), &inventory.sizes)?;
            taken = taken.without(inventory.partial) + left;
        }
        let Some(target) = plan_target(taken, marks) else {
            return Ok(Collected {
                is_still_over: !taken.fits(wanted.0),
                ..Collected::default()
            });
        };
        let (gone, _) = plan_collection(&inventory.images, &inventory.sizes, taken, target);
        let (reclaimed, freed) = self.remove_all(gone, &inventory)?;
        let is_still_over = !taken.without(freed).fits(wanted.0);
        Ok(Collected {
            reclaimed,
            is_still_over,
        })
    }

    /// Removes images that are not in use.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn prune(&self, which: Prune, in_use: &BTreeSet<String>) -> Result<Reclaimed, ImageError> {
        let mut inventory = self.inventory(in_use, SystemTime::UNIX_EPOCH)?;
        for image in &mut inventory.images {
            image.is_pinned |= which == Prune::Untagged && image.is_tagged;
        }
        let (gone, _) = plan_collection(&inventory.images, &inventory.sizes, ALL, NOTHING);
        Ok(self.remove_all(gone, &inventory)?.0)
    }

    /// Notes that an image is used now.
    pub fn mark_used(&self, id: &str) {
        if let Some(id) = Digest::parse(id) {
            // Without the note it counts as unused since it came, and is still safe while something uses it.
            let _ = record::touch(self.disk(), &id);
        }
    }

    fn remove_all(&self, wanted: Vec<Digest>, inventory: &Inventory) -> Result<(Reclaimed, Amount), ImageError> {
        let (mut reclaimed, mut gone) = (Reclaimed::default(), BTreeSet::new());
        for id in wanted {
            match self.forget(&id.to_string(), &|_| false) {
                Ok(Removed { untagged, .. }) => {
                    let tags: Vec<String> = untagged.into_iter().filter(|name| !name.contains('@')).collect();
                    let names = if tags.is_empty() { vec![id.to_string()] } else { tags };
                    reclaimed.images.extend(names);
                    gone.insert(id);
                }
                // Someone else was faster, to remove it or to use it.
                Err(ImageError::NotFound(_) | ImageError::InUse(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.sweep(KEPT)?;
        let freed = freed(&inventory.images, &inventory.sizes, &gone);
        reclaimed.bytes = freed.bytes;
        Ok((reclaimed, freed))
    }

    /// Looks at everything. Images that were used within [`YOUNG`] of `now` are pinned like those in use.
    fn inventory(&self, in_use: &BTreeSet<String>, now: SystemTime) -> Result<Inventory, ImageError> {
        let disk = self.disk();
        let names = record::names(disk)?;
        let used_names: BTreeSet<String> = in_use
            .iter()
            .filter_map(|name| Some(self.reference(name).ok()?.store_name()))
            .collect();
        let held = self.leases().held();
        let (mut images, mut sizes, mut in_use_count) = (Vec::new(), BTreeMap::new(), 0);
        for id in record::ids(disk)? {
            let Some(record) = record::read(disk, &id)? else {
                continue;
            };
            let own: Vec<&Name> = names.iter().filter(|name| name.id == id).collect();
            let is_named = |name: &&Name| used_names.contains(&name.name);
            let is_used = held.contains(&id) || in_use.contains(&id.to_string()) || own.iter().any(is_named);
            in_use_count += usize::from(is_used);
            let used = record::used(disk, &id).unwrap_or(now);
            let is_young = now.duration_since(used).is_ok_and(|age| age < YOUNG);
            let parts = parts(disk, &record, &mut sizes)?;
            images.push(Kept {
                parts,
                used,
                is_tagged: own.iter().any(|name| !name.is_digest()),
                is_pinned: is_used || is_young || own.iter().any(|name| name.name == BUILTIN_IMAGE),
                id,
            });
        }
        let partial = partials(disk)? + strays(disk, &sizes)?;
        let usage = ImageUsage {
            images: images.len(),
            in_use: in_use_count,
            layers: sum(&sizes, true).bytes,
            blobs: sum(&sizes, false).bytes,
            partial: partial.bytes,
            reclaimable: 0,
            inodes: (sizes.values().copied().sum::<Amount>() + partial).inodes,
        };
        Ok(Inventory {
            images,
            sizes,
            usage,
            partial,
        })
    }
}

/// How a collection went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// What went.
    pub reclaimed: Reclaimed,
    /// What is left is above the high mark, because of what may not go now.
    pub is_still_over: bool,
}

/// Layers are told from blobs by what their keys begin with.
const LAYER: &str = "layer/";

/// The parts of an image; the sizes of those not seen before are noted.
fn parts(disk: &Disk, record: &Record, sizes: &mut BTreeMap<String, Amount>) -> Result<BTreeSet<String>, ImageError> {
    let mut parts = BTreeSet::new();
    for layer in &record.layers {
        let key = format!("{LAYER}{}", layer.short);
        if !sizes.contains_key(&key) {
            sizes.insert(key.clone(), layer::disk_size(disk, &layer.short)?);
        }
        parts.insert(key);
    }
    let layers = record.layers.iter().filter_map(|layer| layer.blob.as_ref());
    let documents = [&record.id, &record.manifest.digest];
    for digest in layers.map(|blob| &blob.digest).chain(documents) {
        let key = digest.hex().to_owned();
        if !sizes.contains_key(&key) {
            // The packed form need not be kept.
            sizes.insert(key.clone(), file(&disk.blob(digest)));
        }
        parts.insert(key);
    }
    Ok(parts)
}

/// A file and its bytes; nothing if it is not there.
fn file(path: &Path) -> Amount {
    fs::metadata(path).map_or(NOTHING, |meta| Amount::new(meta.len(), 1))
}

fn sum(sizes: &BTreeMap<String, Amount>, of_layers: bool) -> Amount {
    let wanted = sizes.iter().filter(|(key, _)| key.starts_with(LAYER) == of_layers);
    wanted.map(|(_, size)| *size).sum()
}

/// Layers and blobs that no image has.
fn strays(disk: &Disk, known: &BTreeMap<String, Amount>) -> Result<Amount, ImageError> {
    let mut taken = NOTHING;
    for short in entries(&disk.path("layers"))? {
        if short != EMPTY_LAYER && !known.contains_key(&format!("{LAYER}{short}")) {
            taken += layer::disk_size(disk, &short)?;
        }
    }
    for hex in entries(&disk.path("blobs/sha256"))? {
        if !known.contains_key(&hex) {
            // One that went meanwhile takes nothing.
            taken += file(&disk.path("blobs/sha256").join(hex));
        }
    }
    Ok(taken)
}

/// Parts of downloads.
fn partials(disk: &Disk) -> Result<Amount, ImageError> {
    let dir = disk.path(PARTIALS);
    Ok(entries(&dir)?.iter().map(|name| file(&dir.join(name))).sum())
}
