//! What images take on the disk, and which of them go when it is too much (kubelet's image garbage collection, with marks that count
//! what images take and not what anybody else has on the same disk).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::disk::{Disk, EMPTY_LAYER, entries};
use super::error::ImageError;
use super::layer;
use super::partial::{KEPT, PARTIALS};
use super::record::{self, Name, Record};
use super::store::ImageStore;
use super::{BUILTIN_IMAGE, Removed};
use crate::model::Quantity;

/// How long an image is left alone after it came or was last used (kubelet `imageMinimumGCAge`): whoever brought it may be
/// about to use it.
const YOUNG: Duration = Duration::from_secs(120);

/// An amount of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// So many bytes.
    Bytes(u64),
    /// A part of the file system that the store is on.
    Percent(u8),
}

/// How much images may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// From here on unused images go,
    pub high: Mark,
    /// until no more is taken than this.
    pub low: Mark,
}

impl Default for Marks {
    /// A quarter of the disk: on a laptop of 256 GB as much as developers' image stores come to, and far from what would
    /// leave no room for the rest.
    fn default() -> Marks {
        Marks {
            high: Mark::Percent(25),
            low: Mark::Percent(20),
        }
    }
}

impl Mark {
    /// Reads `25%`, or a quantity as Kubernetes has them: `30Gi`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Mark> {
        if let Some(percent) = text.strip_suffix('%') {
            return percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Mark::Percent);
        }
        let bytes = Quantity::parse(text)?.divided_by(Quantity::whole(1));
        u64::try_from(bytes).ok().map(Mark::Bytes)
    }

    fn bytes(self, total: u64) -> u64 {
        match self {
            Mark::Bytes(bytes) => bytes,
            Mark::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

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

/// An image as a plan sees it.
#[derive(Debug, Clone)]
struct Kept {
    id: Digest,
    /// Keys of the things that it is made of.
    parts: BTreeSet<String>,
    used: SystemTime,
    is_tagged: bool,
    is_pinned: bool,
}

/// Everything in the store, for a plan.
struct Inventory {
    images: Vec<Kept>,
    /// Bytes of each part.
    sizes: BTreeMap<String, u64>,
    usage: ImageUsage,
}

/// The images to remove so that no more than `low` is taken, the longest unused first; with how many bytes that frees. A part
/// counts when the last image that has it goes.
fn plan_collection(images: &[Kept], sizes: &BTreeMap<String, u64>, taken: u64, low: u64) -> (Vec<Digest>, u64) {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for part in images.iter().flat_map(|image| &image.parts) {
        *holders.entry(part).or_default() += 1;
    }
    let mut free: Vec<&Kept> = images.iter().filter(|image| !image.is_pinned).collect();
    free.sort_by_key(|image| image.used);
    let (mut gone, mut bytes) = (Vec::new(), 0);
    for image in free {
        if taken.saturating_sub(bytes) <= low {
            break;
        }
        for part in &image.parts {
            let left = holders.get_mut(part.as_str()).expect("was counted above");
            *left -= 1;
            if *left == 0 {
                bytes += sizes.get(part).copied().unwrap_or_default();
            }
        }
        gone.push(image.id.clone());
    }
    (gone, bytes)
}

/// The marks that hold where what must stay takes so much. If that alone is above the high mark, no removal helps, and to remove
/// all the rest would only bring it back the next time that it is wanted; then the rest may take what lies between the marks.
fn plan_marks(high: u64, low: u64, pinned: u64) -> (u64, u64) {
    if pinned <= high {
        return (high, low);
    }
    let between = high.saturating_sub(low);
    (pinned.saturating_add(between), pinned.saturating_add(between / 2))
}

/// Bytes of what must stay.
fn pinned(inventory: &Inventory) -> u64 {
    let stay = inventory.images.iter().filter(|image| image.is_pinned);
    let parts: BTreeSet<&String> = stay.flat_map(|image| &image.parts).collect();
    parts.into_iter().filter_map(|part| inventory.sizes.get(part)).sum()
}

/// Bytes that are free without these images: of the parts that no other has.
fn freed(images: &[Kept], sizes: &BTreeMap<String, u64>, gone: &BTreeSet<Digest>) -> u64 {
    let (gone, left): (Vec<&Kept>, Vec<&Kept>) = images.iter().partition(|image| gone.contains(&image.id));
    let parts = |images: Vec<&'_ Kept>| {
        images
            .iter()
            .flat_map(|image| image.parts.clone())
            .collect::<BTreeSet<_>>()
    };
    let free = &parts(gone) - &parts(left);
    free.iter().filter_map(|part| sizes.get(part)).sum()
}

impl ImageStore {
    /// What images take. `in_use` has names and ids of what must stay.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn usage(&self, in_use: &BTreeSet<String>) -> Result<ImageUsage, ImageError> {
        let inventory = self.inventory(in_use, SystemTime::UNIX_EPOCH)?;
        let (_, reclaimable) = plan_collection(&inventory.images, &inventory.sizes, u64::MAX, 0);
        Ok(ImageUsage {
            reclaimable,
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
        let (total, mut taken) = (self.disk().size()?, inventory.usage.total());
        let most = marks.high.bytes(total);
        let (high, low) = plan_marks(most, marks.low.bytes(total), pinned(&inventory));
        if taken > high && inventory.usage.partial > 0 {
            // What broke off is worth less than any image.
            self.sweep(Duration::ZERO)?;
            let strays = stray_bytes(self.disk(), &inventory.sizes)?;
            taken = taken - inventory.usage.partial + partial_bytes(self.disk())? + strays;
        }
        if taken <= high {
            return Ok(Collected {
                is_still_over: taken > most,
                ..Collected::default()
            });
        }
        let (gone, _) = plan_collection(&inventory.images, &inventory.sizes, taken, low);
        let reclaimed = self.remove_all(gone, &inventory)?;
        let is_still_over = taken.saturating_sub(reclaimed.bytes) > most;
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
        let (gone, _) = plan_collection(&inventory.images, &inventory.sizes, u64::MAX, 0);
        self.remove_all(gone, &inventory)
    }

    /// Notes that an image is used now.
    pub fn mark_used(&self, id: &str) {
        if let Some(id) = Digest::parse(id) {
            // Without the note it counts as unused since it came, and is still safe while something uses it.
            let _ = record::touch(self.disk(), &id);
        }
    }

    fn remove_all(&self, wanted: Vec<Digest>, inventory: &Inventory) -> Result<Reclaimed, ImageError> {
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
        reclaimed.bytes = freed(&inventory.images, &inventory.sizes, &gone);
        Ok(reclaimed)
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
        let usage = ImageUsage {
            images: images.len(),
            in_use: in_use_count,
            layers: sum(&sizes, true),
            blobs: sum(&sizes, false),
            partial: partial_bytes(disk)? + stray_bytes(disk, &sizes)?,
            reclaimable: 0,
        };
        Ok(Inventory { images, sizes, usage })
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
fn parts(disk: &Disk, record: &Record, sizes: &mut BTreeMap<String, u64>) -> Result<BTreeSet<String>, ImageError> {
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
            let size = fs::metadata(disk.blob(digest)).map_or(0, |meta| meta.len());
            sizes.insert(key.clone(), size);
        }
        parts.insert(key);
    }
    Ok(parts)
}

fn sum(sizes: &BTreeMap<String, u64>, of_layers: bool) -> u64 {
    let wanted = sizes.iter().filter(|(key, _)| key.starts_with(LAYER) == of_layers);
    wanted.map(|(_, size)| size).sum()
}

/// Bytes of layers and blobs that no image has.
fn stray_bytes(disk: &Disk, known: &BTreeMap<String, u64>) -> Result<u64, ImageError> {
    let mut bytes = 0;
    for short in entries(&disk.path("layers"))? {
        if short != EMPTY_LAYER && !known.contains_key(&format!("{LAYER}{short}")) {
            bytes += layer::disk_size(disk, &short)?;
        }
    }
    for hex in entries(&disk.path("blobs/sha256"))? {
        if !known.contains_key(&hex) {
            // One that went meanwhile takes nothing.
            bytes += fs::metadata(disk.path("blobs/sha256").join(hex)).map_or(0, |meta| meta.len());
        }
    }
    Ok(bytes)
}

fn partial_bytes(disk: &Disk) -> Result<u64, ImageError> {
    let dir = disk.path(PARTIALS);
    let sizes = entries(&dir)?
        .into_iter()
        .filter_map(|name| fs::metadata(dir.join(name)).ok());
    Ok(sizes.map(|meta| meta.len()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, used: u64, parts: &[&str]) -> Kept {
        Kept {
            id: Digest::of(name.as_bytes()),
            parts: parts.iter().map(ToString::to_string).collect(),
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(used),
            is_tagged: true,
            is_pinned: false,
        }
    }

    #[test]
    fn the_longest_unused_go_first_until_the_low_mark() {
        let sizes: BTreeMap<String, u64> = [("a", 10), ("b", 20), ("c", 30), ("base", 100)]
            .map(|(key, size)| (key.to_owned(), size))
            .into();
        let images = [
            image("new", 3, &["c", "base"]),
            image("old", 1, &["a", "base"]),
            image("mid", 2, &["b", "base"]),
        ];
        let gone = |low| {
            let (gone, bytes) = plan_collection(&images, &sizes, 160, low);
            (gone.len(), bytes)
        };
        assert_eq!(gone(160), (0, 0), "nothing has to go");
        assert_eq!(gone(150), (1, 10), "a base that others have stays");
        assert_eq!(gone(140), (2, 30));
        assert_eq!(gone(0), (3, 160), "and goes with the last");
        let (gone, _) = plan_collection(&images, &sizes, 160, 150);
        assert_eq!(gone, [Digest::of(b"old")]);
    }

    #[test]
    fn where_what_must_stay_is_too_much_the_rest_stays_within_what_lies_between_the_marks() {
        assert_eq!(plan_marks(100, 80, 100), (100, 80));
        assert_eq!(plan_marks(100, 80, 101), (121, 111));
        assert_eq!(
            plan_marks(100, 100, 500),
            (500, 500),
            "or goes, if there is nothing between them"
        );
    }

    #[test]
    fn what_is_pinned_stays_whatever_it_takes() {
        let sizes: BTreeMap<String, u64> = [("a".to_owned(), 10)].into();
        let mut pinned = image("pinned", 1, &["a"]);
        pinned.is_pinned = true;
        let also = image("other", 2, &["a"]);
        assert_eq!(
            plan_collection(&[pinned, also], &sizes, 10, 0),
            (vec![Digest::of(b"other")], 0)
        );
    }

    #[test]
    fn marks_are_parts_or_quantities() {
        for (text, mark) in [
            ("25%", Some(Mark::Percent(25))),
            ("30Gi", Some(Mark::Bytes(30 << 30))),
            ("1e9", Some(Mark::Bytes(1_000_000_000))),
            ("101%", None),
            ("-1Gi", None),
            ("much", None),
        ] {
            assert_eq!(Mark::parse(text), mark, "{text}");
        }
        assert_eq!(Mark::Percent(25).bytes(1000), 250);
    }
}
