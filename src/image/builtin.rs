//! The built-in image: the running binary as `/kubelocal`, and what a root file system needs beside it.
//!
//! It is made when it is first asked for, once per binary. Its tar is a function of the binary alone, so that its id is
//! the true digest of a true config and it can be saved without being kept twice.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::BUILTIN_IMAGE;
use super::digest::Digest;
use super::disk::{Disk, read_json};
use super::document::{ConfigFile, ImageConfig};
use super::error::ImageError;
use super::import::{commit, config_of, only_layer};
use super::ingest::{Ingest, Intake};
use super::layer::{self, Layer};
use super::record;

/// The binary's name in the image.
pub(super) const PROGRAM: &str = "kubelocal";

const PASSWD: &[u8] = b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n";
const GROUP: &[u8] = b"root:x:0:\nnobody:x:65534:\n";

/// Where is kept which binary the image was made from.
const MADE: &str = "builtin.json";

#[derive(Debug, Serialize, Deserialize)]
struct Made {
    key: Key,
    id: Digest,
}

/// What tells one binary from another without reading it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    size: u64,
    inode: u64,
    seconds: i64,
    nanos: i64,
}

impl Key {
    fn of(binary: &Path) -> Result<Key, ImageError> {
        let meta = std::fs::metadata(binary).map_err(ImageError::io(binary))?;
        Ok(Key {
            size: meta.size(),
            inode: meta.ino(),
            seconds: meta.mtime(),
            nanos: meta.mtime_nsec(),
        })
    }
}

/// Makes the image unless it is there, and says so to `made`; its id.
pub(super) fn ensure(intake: &Intake, binary: &Path, made: impl FnOnce()) -> Result<Digest, ImageError> {
    if let Some(id) = find(intake, binary)? {
        return Ok(id);
    }
    let _claim = intake.claims.wait_for(BUILTIN_IMAGE, &|| false);
    if let Some(id) = find(intake, binary)? {
        return Ok(id);
    }
    let key = Key::of(binary)?;
    let ingest = Ingest::begin(intake)?;
    let mut layers = take_layer(&ingest, binary)?;
    if !layers.iter().all(|layer| is_whole(&intake.disk, &layer.short, &key)) {
        let _removed_on_drop = layers
            .iter()
            .map(|layer| layer::set_aside(&intake.disk, &layer.short))
            .collect::<Vec<_>>();
        layers = take_layer(&ingest, binary)?;
    }
    let config = ConfigFile {
        config: config(),
        ..config_of(&layers)
    };
    let lease = commit(&ingest, &config, &layers, &[BUILTIN_IMAGE.to_owned()])?;
    let id = lease.id().clone();
    intake
        .disk
        .write_json(&intake.disk.path(MADE), &Made { key, id: id.clone() })?;
    made();
    Ok(id)
}

fn take_layer(ingest: &Ingest<'_>, binary: &Path) -> Result<Vec<Layer>, ImageError> {
    let (tar, _) = layer_tar(binary)?;
    ingest.take_layers(&[only_layer("the built-in image", tar, false)])
}

/// The image, if it was made from this binary, nobody removed it since, and no power cut took some of it.
fn find(intake: &Intake, binary: &Path) -> Result<Option<Digest>, ImageError> {
    let Some(made) = read_json::<Made>(&intake.disk.path(MADE))? else {
        return Ok(None);
    };
    if made.key != Key::of(binary)? || record::look_up(&intake.disk, BUILTIN_IMAGE)?.is_none() {
        return Ok(None);
    }
    let Some(record) = record::read(&intake.disk, &made.id)? else {
        return Ok(None);
    };
    let has_config = std::fs::metadata(intake.disk.blob(&made.id)).is_ok_and(|meta| meta.len() > 0);
    let has_layers = record
        .layers
        .iter()
        .all(|layer| is_whole(&intake.disk, &layer.short, &made.key));
    Ok((has_config && has_layers).then_some(made.id))
}

/// Whether the files have their sizes. File systems write a new file's size after its data, so that what a power cut
/// takes is missed here without reading it.
fn is_whole(disk: &Disk, short: &str, key: &Key) -> bool {
    let tree = layer::tree_path(disk, short);
    let files = [
        (PROGRAM, key.size),
        ("etc/passwd", PASSWD.len() as u64),
        ("etc/group", GROUP.len() as u64),
    ];
    files
        .iter()
        .all(|(path, size)| std::fs::metadata(tree.join(path)).is_ok_and(|meta| meta.len() == *size))
}

fn config() -> ImageConfig {
    ImageConfig {
        entrypoint: vec![format!("/{PROGRAM}"), "demo".to_owned()],
        cmd: vec!["serve".to_owned()],
        working_dir: "/".to_owned(),
        ..ImageConfig::default()
    }
}

/// The layer's tar and its size, from the binary. Always the same bytes for the same binary.
pub(super) fn layer_tar(binary: &Path) -> Result<(impl Read + Send + use<>, u64), ImageError> {
    let io = || ImageError::io(binary);
    let file = File::open(binary).map_err(io())?;
    let size = file.metadata().map_err(io())?.len();
    let mut start = Vec::new();
    for (name, mode) in [("./", 0o755), ("etc/", 0o755), ("tmp/", 0o1777)] {
        start.extend(header(name, tar::EntryType::Directory, mode, 0).map_err(io())?);
    }
    for (name, content) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
        start.extend(header(name, tar::EntryType::Regular, 0o644, content.len() as u64).map_err(io())?);
        start.extend(content);
        start.resize(start.len().next_multiple_of(512), 0);
    }
    start.extend(header(PROGRAM, tar::EntryType::Regular, 0o755, size).map_err(io())?);
    let padding = size.next_multiple_of(512) - size;
    let total = start.len() as u64 + size + padding + 1024;
    // A binary that grew meanwhile is cut, one that shrank is too short: the layer then is refused as truncated.
    Ok((
        Cursor::new(start)
            .chain(file.take(size))
            .chain(io::repeat(0).take(padding + 1024)),
        total,
    ))
}

fn header(name: &str, kind: tar::EntryType, mode: u32, size: u64) -> io::Result<[u8; 512]> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(*header.as_bytes())
}
