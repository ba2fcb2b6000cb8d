//! What the store knows of an image beside its blobs: a record by id, and the names that point at it.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::disk::{Disk, Lock, entries, read_json, remove_file};
use super::document::Descriptor;
use super::error::ImageError;
use super::unpack::Note;

/// `records/<hex>.json`. Written after everything it names is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The digest of the config.
    pub id: Digest,
    /// The manifest's blob.
    pub manifest: Descriptor,
    /// The layers in the manifest's order, the lowest first.
    pub layers: Vec<RecordLayer>,
    /// Bytes of the unpacked files.
    pub size: u64,
    /// What could not be unpacked as the image wanted it.
    pub notes: Vec<Note>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordLayer {
    /// The directory's name below `layers/`.
    pub short: String,
    /// The packed layer; none for the built-in image.
    pub blob: Option<Descriptor>,
    /// Whether it says what the root directory is like.
    #[serde(default)]
    pub describes_root: bool,
    /// Whether it hides all that is in the layers below.
    #[serde(default)]
    pub hides_below: bool,
}

/// `names/<hash>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    /// A normalised reference with a tag, or one with a digest.
    pub name: String,
    /// The image it points at.
    pub id: Digest,
    /// Whether a registry says so. Otherwise it was given here, by a load, an import, a build or by hand.
    #[serde(default)]
    pub is_pulled: bool,
}

impl Name {
    /// Whether it is a name by digest.
    pub(super) fn is_digest(&self) -> bool {
        self.name.contains('@')
    }

    /// The repository without tag and digest.
    pub(super) fn repository(&self) -> &str {
        let end = self
            .name
            .rfind('@')
            .or_else(|| self.name.rfind(':'))
            .unwrap_or(self.name.len());
        &self.name[..end]
    }
}

fn record_path(disk: &Disk, id: &Digest) -> PathBuf {
    disk.path("records").join(format!("{}.json", id.hex()))
}

/// Names can be longer than file names and contain slashes, so their digest stands for them.
fn name_path(disk: &Disk, name: &str) -> PathBuf {
    disk.path("names")
        .join(format!("{}.json", Digest::of(name.as_bytes()).hex()))
}

pub(super) fn read(disk: &Disk, id: &Digest) -> Result<Option<Record>, ImageError> {
    read_json(&record_path(disk, id))
}

/// A name, if there is one.
pub(super) fn look_up(disk: &Disk, name: &str) -> Result<Option<Name>, ImageError> {
    read_json::<Name>(&name_path(disk, name))
}

/// All ids.
pub(super) fn ids(disk: &Disk) -> Result<Vec<Digest>, ImageError> {
    let names = entries(&disk.path("records"))?;
    Ok(names
        .iter()
        .filter_map(|name| Digest::from_hex(name.strip_suffix(".json")?))
        .collect())
}

/// All names, sorted.
pub(super) fn names(disk: &Disk) -> Result<Vec<Name>, ImageError> {
    let dir = disk.path("names");
    let mut names = Vec::new();
    for entry in entries(&dir)? {
        // One that was removed just now is no error.
        names.extend(read_json::<Name>(&dir.join(entry))?);
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

/// Writes a record; the lock is [`Disk::edit`]'s.
pub(super) fn write(disk: &Disk, record: &Record, _edit: &Lock) -> Result<(), ImageError> {
    disk.write_json(&record_path(disk, &record.id), record)
}

/// Points a name at its image; the lock is [`Disk::edit`]'s.
pub(super) fn point(disk: &Disk, name: &Name, _edit: &Lock) -> Result<(), ImageError> {
    disk.write_json(&name_path(disk, &name.name), name)
}

/// When the image was last used, or came.
pub(super) fn used(disk: &Disk, id: &Digest) -> Option<SystemTime> {
    std::fs::metadata(record_path(disk, id))
        .and_then(|meta| meta.modified())
        .ok()
}

/// Notes that the image is used now, as the time of its record.
pub(super) fn touch(disk: &Disk, id: &Digest) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(record_path(disk, id))?;
    file.set_modified(SystemTime::now())
}

/// Takes a name away; the lock is [`Disk::edit`]'s.
pub(super) fn unpoint(disk: &Disk, name: &str, _edit: &Lock) -> Result<(), ImageError> {
    remove_file(&name_path(disk, name))
}

/// Takes a record away, after its names; the lock is [`Disk::edit`]'s.
pub(super) fn delete(disk: &Disk, id: &Digest, _edit: &Lock) -> Result<(), ImageError> {
    remove_file(&record_path(disk, id))
}
