//! Where the files of an archive of images lie, and the copying of archives that cannot be read at any place.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};

use super::compression::Compression;
use super::error::UnpackError;
use super::path::TreePath;
use super::stream::check_expansion;
use super::tarball::{Kind, Tarball};
use super::window::Need;
use crate::image::limits::Limits;

/// Bytes that are copied at once.
const BUFFER: usize = 128 << 10;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexedEntry {
    /// Its data, from the archive's beginning.
    Data {
        /// Where it begins.
        offset: u64,
        /// How many bytes.
        size: u64,
    },
    /// The same as another file.
    Link {
        /// The other's name.
        target: String,
    },
}

/// Reads the headers of an archive of `size` bytes and seeks over the data.
pub fn index<R: BufRead + Seek>(
    archive: R,
    size: u64,
    limits: &Limits,
) -> Result<HashMap<String, IndexedEntry>, UnpackError> {
    let mut tarball = Tarball::new(archive, limits);
    let mut files = HashMap::new();
    let mut seen = 0;
    while let Some(entry) = tarball.next_entry()? {
        seen += 1;
        if seen > limits.archive_files {
            return Err(UnpackError::OverLimit {
                what: "the number of files in the archive".to_owned(),
                limit: limits.archive_files.to_string(),
            });
        }
        let path = TreePath::clean(&entry.path, limits)?;
        let indexed = match entry.kind {
            Kind::File if entry.segments.is_none() => IndexedEntry::Data {
                offset: tarball.offset(),
                size: entry.size,
            },
            Kind::HardLink => IndexedEntry::Link {
                target: TreePath::clean(&entry.link, limits)?.to_string(),
            },
            Kind::Symlink => IndexedEntry::Link {
                target: beside(&path, &entry.link, limits)?,
            },
            Kind::File | Kind::Directory | Kind::Fifo | Kind::Device => continue,
        };
        if tarball.offset().saturating_add(entry.size) > size {
            return Err(UnpackError::Truncated);
        }
        files.insert(path.to_string(), indexed);
        tarball.seek_over_data()?;
    }
    Ok(files)
}

/// A symbolic link as docker archives have them: `../<layer>/layer.tar`.
fn beside(path: &TreePath, link: &[u8], limits: &Limits) -> Result<String, UnpackError> {
    let mut dir = path.split().map(|(parent, _)| parent);
    let mut rest = link;
    while let Some(above) = rest.strip_prefix(b"../") {
        dir = dir.and_then(|dir| dir.split().map(|(parent, _)| parent));
        rest = above;
    }
    let rest = TreePath::clean(rest, limits)?;
    Ok(dir.map_or_else(|| rest.to_string(), |dir| dir.child(rest.as_bytes()).to_string()))
}

/// Copies a stream to a file, decompressed if it is compressed.
pub fn spool(mut reader: impl Read, mut file: &File, limits: &Limits) -> Result<(), UnpackError> {
    let mut start = Vec::new();
    (&mut reader).take(16).read_to_end(&mut start)?;
    let compression = Compression::detect(&start)?;
    let packed = Counted {
        reader: io::Cursor::new(start).chain(BufReader::with_capacity(BUFFER, reader)),
        taken: 0,
    };
    // It is a file of the user, read alone: layers are unpacked afterwards.
    let mut decoder = compression.decoder(packed, Need::Large.window_log())?;
    let (mut buffer, mut unpacked) = (vec![0; BUFFER], 0);
    loop {
        let read = match decoder.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(UnpackError::Truncated),
            Err(error) => return Err(error.into()),
        };
        file.write_all(&buffer[..read])?;
        unpacked += read as u64;
        check_expansion(decoder.raw().taken, unpacked, limits)?;
    }
}

/// Counts what is read through it.
struct Counted<R> {
    reader: R,
    taken: u64,
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.taken += bytes as u64;
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.taken += read as u64;
        Ok(read)
    }
}
