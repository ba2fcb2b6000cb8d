//! What containers-storage writes down about its images and layers (`containers/storage`, `images.go`, `layers.go`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Unshared;
use crate::image::digest::Digest;
use crate::image::document::or_default;
use crate::image::reference::Reference;
use crate::image::unpack::Owners;

/// Bytes of one of its files: a thousand images have some two megabytes.
const FILE: u64 = 64 << 20;
/// How long to wait for whoever writes to it. It writes for milliseconds; a hung process must not hang pods.
const PATIENCE: Duration = Duration::from_secs(2);
/// Layers of an image, as a stop for a chain that runs in a circle.
const LONGEST: usize = 500;

/// A store that nobody writes to as long as this lives.
pub(super) struct Storage {
    root: PathBuf,
    images: Vec<StoredImage>,
    layers: BTreeMap<String, LayerEntry>,
    _locks: Vec<File>,
}

/// An image of it.
pub(super) struct Found {
    /// The digest of its config.
    pub id: Digest,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    /// The lowest first.
    pub layers: Vec<StoredLayer>,
}

/// A layer of it.
pub(super) struct StoredLayer {
    pub diff_id: Digest,
    /// What this layer alone has.
    pub tree: PathBuf,
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl StoredLayer {
    /// An owner of files that does not exist in this user namespace.
    pub(super) fn unmapped(&self, owners: &Owners) -> Option<String> {
        let uid = self
            .uids
            .iter()
            .find(|uid| !owners.has_uid(**uid))
            .map(|uid| format!("user {uid}"));
        uid.or_else(|| {
            self.gids
                .iter()
                .find(|gid| !owners.has_gid(**gid))
                .map(|gid| format!("group {gid}"))
        })
    }
}

#[derive(Deserialize)]
struct StoredImage {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    names: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    layer: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LayerEntry {
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    parent: String,
    #[serde(default, deserialize_with = "or_default")]
    diff_digest: String,
    #[serde(default, deserialize_with = "or_default")]
    uidset: Vec<u32>,
    #[serde(default, deserialize_with = "or_default")]
    gidset: Vec<u32>,
}

impl Storage {
    /// Reads what it has. Only the overlay driver's layers are trees of their own.
    pub(super) fn open(root: &Path) -> Result<Storage, Unshared> {
        if !root.join("overlay-images/images.json").is_file() {
            return Err(Unshared::Missing);
        }
        let has_program = fs::read_to_string(root.join("overlay/.has-mount-program")).unwrap_or_default();
        if has_program.trim() == "true" {
            let why =
                "its layers were written for fuse-overlayfs, which keeps owners where the kernel does not see them";
            return Err(Unshared::Unfit(why.to_owned()));
        }
        let locks = ["overlay-images/images.lock", "overlay-layers/layers.lock"].map(|name| lock(&root.join(name)));
        let locks = locks
            .into_iter()
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        let layers: Vec<LayerEntry> = read_json(&root.join("overlay-layers/layers.json"))?;
        Ok(Storage {
            root: root.to_owned(),
            images: read_json(&root.join("overlay-images/images.json"))?,
            layers: layers.into_iter().map(|layer| (layer.id.clone(), layer)).collect(),
            _locks: locks,
        })
    }

    /// The image of this name.
    pub(super) fn find(&self, name: &Reference) -> Result<Option<Found>, Unshared> {
        let name = name.store_name();
        let Some(image) = self.images.iter().find(|image| image.names.contains(&name)) else {
            return Ok(None);
        };
        let unfit = |why: &str| Unshared::Unfit(why.to_owned());
        let id = Digest::from_hex(&image.id).ok_or_else(|| unfit("its id is not the digest of its config"))?;
        let config = self.big_data(image, &id.to_string())?;
        if Digest::of(&config) != id {
            return Err(unfit("its config is damaged"));
        }
        let manifest = self.big_data(image, "manifest")?;
        let layers = self.chain(&image.layer)?;
        Ok(Some(Found {
            id,
            config,
            manifest,
            layers,
        }))
    }

    /// Follows parents from the top layer down.
    fn chain(&self, top: &str) -> Result<Vec<StoredLayer>, Unshared> {
        let (mut layers, mut next) = (Vec::new(), top);
        while !next.is_empty() {
            let unfit = |why: &str| Unshared::Unfit(format!("layer {next}: {why}"));
            let entry = self.layers.get(next).ok_or_else(|| unfit("it is missing"))?;
            let place = self
                .root
                .join("overlay")
                .join(plain(&entry.id).ok_or_else(|| unfit("its id is a path"))?);
            let diff_id = Digest::parse(&entry.diff_digest).ok_or_else(|| unfit("its digest is not known"))?;
            if place.join("composefs-data").exists() {
                return Err(unfit("its files are in composefs"));
            }
            layers.push(StoredLayer {
                diff_id,
                tree: place.join("diff"),
                uids: entry.uidset.clone(),
                gids: entry.gidset.clone(),
            });
            if layers.len() > LONGEST {
                return Err(unfit("its parents never end"));
            }
            next = &entry.parent;
        }
        layers.reverse();
        Ok(layers)
    }

    fn big_data(&self, image: &StoredImage, key: &str) -> Result<Vec<u8>, Unshared> {
        let id = plain(&image.id).ok_or_else(|| Unshared::Unfit("its id is a path".to_owned()))?;
        let dir = self.root.join("overlay-images").join(id);
        Ok(read_limited(&dir.join(plan_file_name(key)))?)
    }
}

/// The name of a file that holds a piece of data (`makeBigDataBaseName`).
fn plan_file_name(key: &str) -> String {
    match key
        .chars()
        .all(|c| c == '.' || c.is_ascii_digit() || c.is_ascii_lowercase())
    {
        true => key.to_owned(),
        false => format!("={}", base64::engine::general_purpose::STANDARD.encode(key)),
    }
}

/// An id that is the name of a file and nothing else.
fn plain(id: &str) -> Option<&str> {
    (!id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(id)
}

/// Keeps writers out. A store without the file has never been written to.
fn lock(path: &Path) -> Result<Option<File>, Unshared> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::ACCESS | Errno::AGAIN) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(errno) => return Err(Unshared::Unfit(format!("{}: {errno}", path.display()))),
        }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Unshared> {
    let text = read_limited(path)?;
    serde_json::from_slice(&text).map_err(|error| Unshared::Unfit(format!("{}: {error}", path.display())))
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(named)?;
    file.take(FILE).read_to_end(&mut bytes).map_err(named)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_lies_where_containers_storage_puts_it() {
        assert_eq!(plan_file_name("manifest"), "manifest");
        assert_eq!(plan_file_name("sha256:0a"), "=c2hhMjU2OjBh");
        for (id, is_plain) in [("0a", true), ("", false), ("..", false), ("a/b", false)] {
            assert_eq!(plain(id).is_some(), is_plain, "{id}");
        }
    }
}
