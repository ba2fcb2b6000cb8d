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
use super::disk::read_json;
use super::document::{ConfigFile, ImageConfig};
use super::error::ImageError;
use super::import::{commit, config_of, only_layer};
use super::ingest::{Ingest, Intake};
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

/// Makes the image unless it is there; its id.
pub(super) fn ensure(intake: &Intake, binary: &Path) -> Result<Digest, ImageError> {
    if let Some(id) = find(intake, binary)? {
        return Ok(id);
    }
    let _claim = intake.claims.wait_for(BUILTIN_IMAGE);
    if let Some(id) = find(intake, binary)? {
        return Ok(id);
    }
    let key = Key::of(binary)?;
    let ingest = Ingest::begin(intake)?;
    let (tar, _) = layer_tar(binary)?;
    let layers = ingest.take_layers(&[only_layer("the built-in image", tar, false)])?;
    let config = ConfigFile {
        config: config(),
        ..config_of(&layers)
    };
    let id = commit(&ingest, &config, &layers, &[BUILTIN_IMAGE.to_owned()])?;
    intake
        .disk
        .write_json(&intake.disk.path(MADE), &Made { key, id: id.clone() })?;
    Ok(id)
}

/// The image, if it was made from this binary and nobody removed it since.
fn find(intake: &Intake, binary: &Path) -> Result<Option<Digest>, ImageError> {
    let Some(made) = read_json::<Made>(&intake.disk.path(MADE))? else {
        return Ok(None);
    };
    let is_there = made.key == Key::of(binary)?
        && record::look_up(&intake.disk, BUILTIN_IMAGE)?.is_some()
        && record::read(&intake.disk, &made.id)?.is_some();
    Ok(is_there.then_some(made.id))
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
