//! The room as its callers see it: archives made here go in, trees and answers come out.

mod collect;
mod hostile;
mod properties;
mod store;
mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::lgetxattr;

use super::disk::entries;
use super::*;

/// A tar in the making.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, path: &str, kind: tar::EntryType, content: &[u8], change: impl FnOnce(&mut tar::Header)) -> Tar {
        let mut header = tar::Header::new_gnu();
        // Set by hand, because the builder would clean what these tests want unclean.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).expect("memory");
        self
    }

    fn file(self, path: &str, content: &str) -> Tar {
        self.entry(path, tar::EntryType::Regular, content.as_bytes(), |_| {})
    }

    fn dir(self, path: &str, mode: u32) -> Tar {
        self.entry(path, tar::EntryType::Directory, b"", |header| header.set_mode(mode))
    }

    fn link(self, kind: tar::EntryType, path: &str, target: &str) -> Tar {
        self.entry(path, kind, b"", |header| {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    fn symlink(self, path: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Symlink, path, target)
    }

    fn hard_link(self, path: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Link, path, target)
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Tar {
        self.0.append_pax_extensions(records.iter().copied()).expect("memory");
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory")
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// How a layer is packed.
type Pack = fn(&[u8]) -> Vec<u8>;

/// An OCI archive in the making: blobs by name.
#[derive(Default)]
struct Layout {
    files: BTreeMap<String, Vec<u8>>,
    manifests: Vec<serde_json::Value>,
}

impl Layout {
    fn blob(&mut self, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        self.files
            .insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        serde_json::json!({ "digest": digest, "size": bytes.len() })
    }

    /// An image of these tars, each packed by its function.
    fn image(mut self, name: &str, layers: &[(&[u8], Pack)]) -> Layout {
        let diff_ids: Vec<_> = layers.iter().map(|(tar, _)| Digest::of(tar)).collect();
        let config = serde_json::json!({
            "architecture": document::this_architecture(), "os": "linux", "created": "2024-05-06T07:08:09.5Z",
            "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": { "name": name } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|(tar, pack)| self.blob(&pack(tar))).collect();
        let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let mut entry = self.blob(manifest.to_string().as_bytes());
        entry["annotations"] = serde_json::json!({ document::REF_NAME: name });
        self.manifests.push(entry);
        self
    }

    fn index(&self) -> Vec<u8> {
        serde_json::json!({ "schemaVersion": 2, "manifests": self.manifests })
            .to_string()
            .into_bytes()
    }

    fn archive(self) -> Vec<u8> {
        let mut tar = Tar::new().entry("index.json", tar::EntryType::Regular, &self.index(), |_| {});
        for (name, bytes) in &self.files {
            tar = tar.entry(name, tar::EntryType::Regular, bytes, |_| {});
        }
        tar.bytes()
    }
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn zstd_packed(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

struct Room {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Room {
    fn new() -> Room {
        Room::with(Limits::default())
    }

    fn with(limits: Limits) -> Room {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("binary"), "the binary").expect("writable");
        let store = Room::open(dir.path(), limits);
        Room { dir, store }
    }

    fn open(dir: &Path, limits: Limits) -> ImageStore {
        ImageStore::open_with(
            &dir.join("images"),
            StoreOptions {
                binary: dir.join("binary"),
                limits,
                ..StoreOptions::default()
            },
        )
        .expect("a store")
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join("images").join(relative)
    }

    fn load(&self, archive: Vec<u8>) -> Result<Vec<Image>, ImageError> {
        self.store
            .load(LoadSource::Reader(Box::new(Cursor::new(archive))), None)
    }

    /// The tree of an image of one layer.
    fn import(&self, tar: Vec<u8>) -> PathBuf {
        let image = self.store.import(Cursor::new(tar), "localhost/test").expect("an image");
        image.layers[0].clone()
    }

    fn import_error(&self, tar: Vec<u8>) -> String {
        let error = self
            .store
            .import(Cursor::new(tar), "localhost/test")
            .expect_err("refused");
        assert_eq!(self.leftovers(), Vec::<String>::new(), "after {error}");
        error.to_string()
    }

    /// What a failed intake must not leave behind.
    fn leftovers(&self) -> Vec<String> {
        let mut left = entries(&self.path("tmp")).expect("readable");
        left.extend(
            entries(&self.path("layers"))
                .expect("readable")
                .into_iter()
                .filter(|name| name != "empty"),
        );
        left.extend(entries(&self.path("records")).expect("readable"));
        left
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

/// The digits of a descriptor's digest.
fn digest_of(descriptor: &serde_json::Value) -> String {
    descriptor["digest"]
        .as_str()
        .and_then(|text| text.strip_prefix("sha256:"))
        .expect("a digest")
        .to_owned()
}
