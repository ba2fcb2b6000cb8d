//! Files by name, in a directory or inside an archive: what an image is loaded from.
//!
//! An archive is indexed once, without reading its data, and then read at any place by several threads. Streams and
//! compressed archives are copied to a temporary file first.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::LoadSource;
use super::disk::Disk;
use super::error::ImageError;
use super::limits::Limits;
use super::unpack::{Compression, IndexedEntry, UnpackError, index, open_root, spool};

/// A file of the source, to be read from its beginning.
pub(super) struct Opened<'s> {
    pub reader: Box<dyn Read + Send + 's>,
    pub size: u64,
}

/// Where an image is loaded from.
pub(super) struct Files {
    /// For messages.
    pub name: String,
    /// What an image without a full name may be called after.
    pub stem: Option<String>,
    kind: Kind,
}

enum Kind {
    Directory(PathBuf),
    Archive {
        file: Arc<File>,
        index: HashMap<String, IndexedEntry>,
    },
}

impl Files {
    /// Opens a source; streams and compressed archives are unpacked to a temporary file on the store's disk.
    pub(super) fn open(source: LoadSource, disk: &Disk, limits: &Limits) -> Result<Files, ImageError> {
        match source {
            LoadSource::Path(path) if path.is_dir() => {
                let root = path.canonicalize().map_err(ImageError::io(&path))?;
                Ok(Files {
                    name: path.display().to_string(),
                    stem: stem_of(&root),
                    kind: Kind::Directory(root),
                })
            }
            LoadSource::Path(path) => {
                let file = File::open(&path).map_err(ImageError::io(&path))?;
                let (name, stem) = (path.display().to_string(), stem_of(&path));
                Files::archive(name, stem, Box::new(file), disk, limits)
            }
            LoadSource::Reader(reader) => {
                let spooled = spool_to_disk("standard input", reader, disk, limits)?;
                Files::indexed("standard input".to_owned(), None, spooled, limits)
            }
        }
    }

    fn archive(
        name: String,
        stem: Option<String>,
        mut file: Box<File>,
        disk: &Disk,
        limits: &Limits,
    ) -> Result<Files, ImageError> {
        let io = ImageError::io(Path::new(&name));
        let mut start = [0; 16];
        let is_regular = file.metadata().is_ok_and(|meta| meta.is_file());
        let plain = is_regular && {
            let read = (&*file)
                .take(start.len() as u64)
                .read(&mut start)
                .and_then(|read| file.rewind().map(|()| read));
            let read = read.map_err(io)?;
            Compression::detect(&start[..read]).is_ok_and(|compression| compression == Compression::None)
        };
        // A pipe or a compressed archive cannot be read at any place.
        let file = if plain {
            *file
        } else {
            spool_to_disk(&name, file, disk, limits)?
        };
        Files::indexed(name, stem, file, limits)
    }

    fn indexed(name: String, stem: Option<String>, file: File, limits: &Limits) -> Result<Files, ImageError> {
        let wrong = |source| ImageError::Archive {
            source_name: name.clone(),
            source,
        };
        let size = file.metadata().map_err(|error| wrong(UnpackError::Read(error)))?.len();
        let index = index(BufReader::new(&file), size, limits).map_err(wrong)?;
        Ok(Files {
            name,
            stem,
            kind: Kind::Archive {
                file: Arc::new(file),
                index,
            },
        })
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Directory(root) => root.join(path).is_file(),
            Kind::Archive { index, .. } => find(index, path).is_some(),
        }
    }

    /// Opens a file. A docker archive names its files itself, and no name leads out of the source.
    pub(super) fn open_file(&self, path: &str) -> Result<Opened<'_>, ImageError> {
        let missing = || ImageError::MissingBlob(format!("{}: {path}", self.name));
        match &self.kind {
            Kind::Directory(root) => {
                let full = root.join(path);
                let file = match open_beneath(root, path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
                    result => result.map_err(ImageError::io(&full))?,
                };
                let meta = file.metadata().map_err(ImageError::io(&full))?;
                if !meta.is_file() {
                    return Err(missing());
                }
                Ok(Opened {
                    reader: Box::new(file),
                    size: meta.len(),
                })
            }
            Kind::Archive { file, index } => {
                let (offset, size) = find(index, path).ok_or_else(missing)?;
                Ok(Opened {
                    reader: Box::new(Section {
                        file: Arc::clone(file),
                        at: offset,
                        end: offset + size,
                    }),
                    size,
                })
            }
        }
    }

    /// Reads a document, which has to be small.
    pub(super) fn read_document(&self, path: &str, limits: &Limits) -> Result<Vec<u8>, ImageError> {
        let opened = self.open_file(path)?;
        let over = || ImageError::OverLimit {
            what: format!("{path} with {} bytes", opened.size),
            limit: format!("{} bytes", limits.document),
        };
        if opened.size > limits.document {
            return Err(over());
        }
        let mut bytes = Vec::new();
        let reading = opened.reader.take(limits.document).read_to_end(&mut bytes);
        reading.map_err(ImageError::io(&Path::new(&self.name).join(path)))?;
        Ok(bytes)
    }
}

/// The name of a file without its ending: `busybox.tar.gz` is `busybox`.
fn stem_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let mut stem = name;
    for ending in [".gz", ".tgz", ".zst", ".tar", ".oci"] {
        stem = stem.strip_suffix(ending).unwrap_or(stem);
    }
    Some(stem.to_ascii_lowercase())
}

/// Finds a file, through the links that older docker archives have for layers which images share.
fn find(index: &HashMap<String, IndexedEntry>, path: &str) -> Option<(u64, u64)> {
    let mut path = path.strip_prefix("./").unwrap_or(path).to_owned();
    for _ in 0..4 {
        match index.get(&path)? {
            IndexedEntry::Data { offset, size } => return Some((*offset, *size)),
            IndexedEntry::Link { target } => path = target.clone(),
        }
    }
    None
}

/// Without waiting for someone to write, should it be a pipe.
fn open_beneath(root: &Path, path: &str) -> io::Result<File> {
    let root = open_root(root)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(&root, path, flags, Mode::empty(), resolve)?.into())
}

fn spool_to_disk(name: &str, reader: impl Read + Send, disk: &Disk, limits: &Limits) -> Result<File, ImageError> {
    let (mut file, temporary) = disk.temporary_file()?;
    // Unnamed from here on: it goes with the last descriptor, whatever happens.
    drop(temporary);
    spool(reader, &file, limits).map_err(|source| ImageError::Archive {
        source_name: name.to_owned(),
        source,
    })?;
    file.rewind().map_err(ImageError::io(Path::new(name)))?;
    Ok(file)
}

/// A piece of a file, read without the file's own position, so that threads do not disturb each other.
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read_at(&mut buffer[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lends_its_stem_as_a_name() {
        for (path, stem) in [
            ("/x/busybox.tar.gz", "busybox"),
            ("App.tar", "app"),
            ("layout", "layout"),
            ("a.b.tar.zst", "a.b"),
        ] {
            assert_eq!(stem_of(Path::new(path)).as_deref(), Some(stem), "{path}");
        }
    }
}
