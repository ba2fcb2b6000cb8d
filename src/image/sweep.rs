//! Removes what no image needs: leftovers of a crash, and the layers and blobs of images that were removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::disk::{Disk, EMPTY_LAYER, entries};
use super::error::ImageError;
use super::layer;
use super::partial::sweep_partials;
use super::record;

/// Sweeps if nobody is loading, in this process or another; else whoever comes next does it. Tells whether it did. Of what
/// broke off stays what is younger than `kept`.
pub(super) fn sweep(disk: &Disk, kept: Duration) -> Result<bool, ImageError> {
    let Some(lock) = disk.try_sweep()? else {
        return Ok(false);
    };
    // Alone in the store, everything under a temporary name is a leftover.
    let leftovers: Vec<PathBuf> = entries(&disk.path("tmp"))?
        .iter()
        .map(|name| disk.path("tmp").join(name))
        .collect();
    let (layers, blobs) = needed(disk)?;
    let mut aside = Vec::new();
    for short in entries(&disk.path("layers"))? {
        if short != EMPTY_LAYER && !layers.contains(&short) {
            aside.push(layer::set_aside(disk, &short)?);
        }
    }
    for hex in entries(&disk.path("blobs/sha256"))? {
        if !blobs.contains(&hex) {
            super::disk::remove_file(&disk.path("blobs/sha256").join(hex))?;
        }
    }
    sweep_partials(disk, SystemTime::now(), kept)?;
    // Removing a large layer takes seconds; loads need not wait for what has left its place.
    drop(lock);
    drop(aside);
    leftovers.iter().for_each(|path| remove(path));
    Ok(true)
}

/// The layers and blobs that records name.
fn needed(disk: &Disk) -> Result<(BTreeSet<String>, BTreeSet<String>), ImageError> {
    let (mut layers, mut blobs) = (BTreeSet::new(), BTreeSet::new());
    for id in record::ids(disk)? {
        let Some(record) = record::read(disk, &id)? else {
            continue;
        };
        blobs.extend([id.hex().to_owned(), record.manifest.digest.hex().to_owned()]);
        for layer in record.layers {
            layers.insert(layer.short);
            blobs.extend(layer.blob.map(|blob| blob.digest.hex().to_owned()));
        }
    }
    Ok((layers, blobs))
}

/// What cannot be removed (another user's, a broken disk) takes space and hurts nobody.
fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        // Two sweeps one after the other may both have seen it.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a leftover of the image store stays");
        }
        _ => {}
    }
}
