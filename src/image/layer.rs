//! Unpacked layers on disk: found, and put in place, by the digest of what they hold.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::amount::Amount;
use super::digest::Digest;
use super::disk::{Disk, Temporary, read_json};
use super::document::Descriptor;
use super::error::ImageError;
use super::unpack::Note;

/// Lengths of a layer's short name, in hexadecimal digits. Overlay takes its options in one page, so 127 layers must
/// fit into 4 KiB; the longer ones are for layers whose beginnings collide, by chance or by intent.
const SHORT: [usize; 3] = [12, 20, 64];

/// `layer.json`: what an unpacked layer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerInfo {
    /// What it is found by: its diff id; or, if its tree depends on the layers below, their common chain id.
    pub key: Digest,
    /// The digest of its tar.
    pub diff_id: Digest,
    /// The blob it was unpacked from; none for the built-in image, whose tar is made anew when needed.
    pub blob: Option<Descriptor>,
    /// Whether some of its directories are described by no entry, so that they depend on the layers below.
    pub is_dependent: bool,
    /// Bytes of its files, holes included.
    pub size: u64,
    /// Bytes that its files take of the disk; layers of earlier versions don't say.
    #[serde(default)]
    pub disk: Option<u64>,
    /// Inodes that it takes; layers of earlier versions don't say.
    #[serde(default)]
    pub inodes: u64,
    /// Whether it says what the root directory is like.
    #[serde(default)]
    pub describes_root: bool,
    /// Whether it hides all that is in the layers below.
    #[serde(default)]
    pub hides_below: bool,
    /// What could not be unpacked as the image wanted it.
    pub notes: Vec<Note>,
}

/// A layer in its place.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Its directory's name below `layers/`.
    pub short: String,
    pub info: LayerInfo,
}

/// The name of a stack of layers, as OCI defines it (`ChainID`).
pub(super) fn plan_chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Option<Digest> = None;
    let next = |diff_id: &Digest| {
        let id = match &chain {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain = Some(id.clone());
        id
    };
    diff_ids.iter().map(next).collect()
}

/// The tree of a layer, by its directory's name.
pub(super) fn tree_path(disk: &Disk, short: &str) -> PathBuf {
    disk.path("layers").join(short).join("fs")
}

/// Bytes of a layer's files, by its directory's name; 0 for one that is not there.
pub(super) fn size(disk: &Disk, short: &str) -> Result<u64, ImageError> {
    let info = read_json::<LayerInfo>(&disk.path("layers").join(short).join("layer.json"))?;
    Ok(info.map_or(0, |info| info.size))
}

/// Inodes of a layer beside those of what is in its tree: its directory, its description, the tree's root.
const OWN_INODES: u64 = 3;

/// What a layer takes of the disk; nothing if it is not there.
pub(super) fn disk_size(disk: &Disk, short: &str) -> Result<Amount, ImageError> {
    let info = read_json::<LayerInfo>(&disk.path("layers").join(short).join("layer.json"))?;
    let taken = |info: LayerInfo| Amount::new(info.disk.unwrap_or(info.size), OWN_INODES + info.inodes);
    Ok(info.map_or_else(Amount::default, taken))
}

/// Looks for a layer.
pub(super) fn find(disk: &Disk, key: &Digest) -> Result<Option<Layer>, ImageError> {
    for length in SHORT {
        let short = &key.hex()[..length];
        match read_json::<LayerInfo>(&disk.path("layers").join(short).join("layer.json"))? {
            None => return Ok(None),
            Some(info) if info.key == *key => {
                return Ok(Some(Layer {
                    short: short.to_owned(),
                    info,
                }));
            }
            Some(_other) => {}
        }
    }
    Ok(None)
}

/// Puts an unpacked layer in its place, by one rename. If someone was faster, theirs is taken and this one goes.
pub(super) fn commit(disk: &Disk, temporary: Temporary, info: LayerInfo) -> Result<Layer, ImageError> {
    // Not synced by itself: it is with the tree, before a record names the layer.
    let path = temporary.path().join("layer.json");
    let json = serde_json::to_vec(&info).map_err(|error| ImageError::io(&path)(error.into()))?;
    fs::write(&path, json).map_err(ImageError::io(&path))?;
    for length in SHORT {
        let short = &info.key.hex()[..length];
        let place = disk.path("layers").join(short);
        match fs::rename(temporary.path(), &place) {
            Ok(()) => {
                return Ok(Layer {
                    short: short.to_owned(),
                    info,
                });
            }
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(ImageError::io(&place)(error)),
        }
        match read_json::<LayerInfo>(&place.join("layer.json"))? {
            Some(other) if other.key == info.key => {
                return Ok(Layer {
                    short: short.to_owned(),
                    info: other,
                });
            }
            _ => {}
        }
    }
    let place = disk.path("layers").join(info.key.hex());
    Err(ImageError::io(&place)(ErrorKind::AlreadyExists.into()))
}

/// Moves a layer to where the drop of the returned directory removes it.
pub(super) fn set_aside(disk: &Disk, short: &str) -> Result<Temporary, ImageError> {
    let place = disk.path("layers").join(short);
    let aside = disk.temporary_dir()?;
    fs::rename(&place, aside.path().join("layer")).map_err(ImageError::io(&place))?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_id_names_the_stack_and_the_lowest_is_its_own() {
        let ids = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"b")];
        let chain = plan_chain_ids(&ids);
        assert_eq!(chain[0], ids[0]);
        assert_eq!(chain[1], Digest::of(format!("{} {}", ids[0], ids[1]).as_bytes()));
        assert_ne!(chain[1], chain[2]);
    }

    #[test]
    fn layers_whose_short_names_collide_live_side_by_side() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Disk::create(dir.path()).expect("a store");
        let key = |tail: char| Digest::from_hex(&format!("{}{}", "a".repeat(63), tail)).expect("a digest");
        let info = |key: Digest| LayerInfo {
            diff_id: key.clone(),
            key,
            blob: None,
            is_dependent: false,
            size: 0,
            disk: None,
            inodes: 0,
            describes_root: false,
            hides_below: false,
            notes: Vec::new(),
        };
        let place = |tail| {
            let temporary = disk.temporary_dir().expect("a directory");
            commit(&disk, temporary, info(key(tail))).expect("a place").short
        };
        assert_eq!(place('1').len(), 12);
        assert_eq!(place('2').len(), 20);
        assert_eq!(place('1').len(), 12, "the same layer again is the one that is there");
        assert_eq!(place('3').len(), 64);
        for tail in ['1', '2', '3'] {
            let found = find(&disk, &key(tail)).expect("readable").expect("there");
            assert_eq!(found.info.key, key(tail));
        }
        assert!(find(&disk, &key('4')).expect("readable").is_none());
        assert!(
            crate::image::disk::entries(&disk.path("tmp"))
                .expect("readable")
                .is_empty()
        );
    }
}
