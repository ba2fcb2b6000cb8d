//! Reads tar archives entry by entry: ustar, GNU and pax, as Go's `archive/tar` does, which writes nearly all images.
//!
//! Not the `tar` crate's reader: that one holds extended headers and the maps of sparse files in memory whatever their
//! size, and images are hostile. Knows nothing of files on disk.

use std::io::{self, BufRead, Seek};

use super::error::UnpackError;
use super::header::{BLOCK, Extended, Header, is_header_only, parse_header};
use super::sparse::{self, Segment};
use crate::image::limits::Limits;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Fifo,
    /// Character and block devices.
    Device,
}

/// One entry, its extended headers applied. The data, if any, is read from the [`Tarball`].
#[derive(Debug)]
pub(super) struct Entry {
    pub kind: Kind,
    /// As written: not cleaned, not checked.
    pub path: Vec<u8>,
    /// The target of a symbolic or hard link, as written.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes of the file, holes included.
    pub size: u64,
    pub mtime: Time,
    /// Name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the data goes if the file has holes.
    pub segments: Option<Vec<Segment>>,
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Time {
    pub seconds: i64,
    pub nanos: u32,
}

/// A tar archive that is being read.
pub(super) struct Tarball<'l, R> {
    reader: R,
    limits: &'l Limits,
    /// Bytes of the present entry's data that were not read yet.
    data_left: u64,
    /// Zeros that fill its last block.
    padding: u64,
    /// Whether the end mark was seen, and not only the end of the stream.
    ended: bool,
    /// Bytes read so far.
    offset: u64,
}

impl<'l, R: BufRead> Tarball<'l, R> {
    pub(super) fn new(reader: R, limits: &'l Limits) -> Tarball<'l, R> {
        Tarball {
            reader,
            limits,
            data_left: 0,
            padding: 0,
            ended: false,
            offset: 0,
        }
    }

    /// The next entry; what was left of the one before is skipped.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extended = Extended::default();
        loop {
            let (left, padding) = (self.data_left, self.padding);
            if self.skip(left)? > 0 {
                return Err(UnpackError::Truncated);
            }
            // The last entry's may be missing: archives of umoci end right behind the data, and Go reads them.
            self.skip(padding)?;
            (self.data_left, self.padding) = (0, 0);
            let Some(block) = self.header_block()? else {
                if !extended.is_empty() {
                    return Err(UnpackError::Truncated);
                }
                return Ok(None);
            };
            let header = parse_header(&block)?;
            match header.flag {
                b'x' | b'L' | b'K' => {
                    let bytes = self.extended_header(header.size)?;
                    extended.add(header.flag, &bytes)?;
                }
                // Global headers hold comments (git's); Docker and Go pass them over too.
                b'g' | b'V' => self.begin_data(header.size)?,
                _ => return self.entry(&block, header, extended).map(Some),
            }
        }
    }

    /// The rest of the entry's data as it lies in the buffer; empty at its end.
    ///
    /// # Errors
    /// [`UnpackError::Truncated`] if the archive ends before the entry does.
    pub(super) fn data(&mut self) -> Result<&[u8], UnpackError> {
        if self.data_left == 0 {
            return Ok(&[]);
        }
        let buffer = self.reader.fill_buf()?;
        if buffer.is_empty() {
            return Err(UnpackError::Truncated);
        }
        let usable = usize::try_from(self.data_left).map_or(buffer.len(), |left| left.min(buffer.len()));
        Ok(&buffer[..usable])
    }

    /// Marks data as used; no more than [`Tarball::data`] returned.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.data_left -= bytes as u64;
        self.offset += bytes as u64;
    }

    /// Whether the archive was closed by its end mark. Without one it may have been cut between two entries.
    pub(super) fn has_end_mark(&self) -> bool {
        self.ended
    }

    /// Where the next byte of data lies, counted from the beginning of the archive.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn entry(&mut self, block: &[u8; BLOCK], header: Header, extended: Extended) -> Result<Entry, UnpackError> {
        let (mut entry, overrides) = extended.apply(&header)?;
        // Go's rule, and so the ecosystem's: links and the like have no data, whatever their size field says.
        let stored = if is_header_only(header.flag) {
            0
        } else {
            overrides.size.unwrap_or(header.size)
        };
        self.begin_data(stored)?;
        entry.size = stored;
        if header.flag == b'S' {
            let (segments, size) = self.old_sparse_map(block)?;
            (entry.segments, entry.size) = (Some(segments), size);
        } else if let Some(form) = overrides.sparse {
            let (segments, size) = self.pax_sparse_map(form)?;
            (entry.segments, entry.size) = (Some(segments), size);
        }
        if let Some(segments) = &entry.segments {
            sparse::check(segments, self.data_left, entry.size)?;
        }
        Ok(entry)
    }

    fn old_sparse_map(&mut self, block: &[u8; BLOCK]) -> Result<(Vec<Segment>, u64), UnpackError> {
        let (mut segments, mut more) = (Vec::new(), sparse::old_header(block)?);
        segments.append(&mut more.segments);
        let mut extended = more.extended;
        while extended {
            // These blocks lie between the header and the data, and the size field does not count them.
            let mut next = [0; BLOCK];
            self.read_exact(&mut next)?;
            more.extended = sparse::old_extension(&next, &mut segments)?;
            extended = more.extended;
            sparse::check_count(&segments, self.limits)?;
        }
        Ok((segments, more.real_size))
    }

    fn pax_sparse_map(&mut self, form: sparse::PaxSparse) -> Result<(Vec<Segment>, u64), UnpackError> {
        let size = form.real_size;
        let Some(segments) = form.segments else {
            // Version 1.0 keeps the map in front of the data, in whole blocks of decimal lines.
            let mut parser = sparse::MapParser::default();
            while !parser.is_done() {
                let mut block = [0; BLOCK];
                self.data_left = self.data_left.checked_sub(BLOCK as u64).ok_or_else(sparse::bad_map)?;
                self.read_exact(&mut block)?;
                parser.feed(&block, self.limits)?;
            }
            return Ok((parser.finish(), size));
        };
        sparse::check_count(&segments, self.limits)?;
        Ok((segments, size))
    }

    fn begin_data(&mut self, size: u64) -> Result<(), UnpackError> {
        if size > (i64::MAX as u64) - BLOCK as u64 {
            return Err(UnpackError::Damaged(format!("an entry of {size} bytes")));
        }
        self.data_left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn extended_header(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > self.limits.extended_header {
            return Err(UnpackError::OverLimit {
                what: format!("an extended header of {size} bytes"),
                limit: format!("{} bytes", self.limits.extended_header),
            });
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| UnpackError::Truncated)?];
        self.read_exact(&mut bytes)?;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(bytes)
    }

    /// The next block, or nothing at the end mark (a block of zeros) or at the end of the stream.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, UnpackError> {
        if self.ended || self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        Ok(Some(block))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), UnpackError> {
        self.reader.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => UnpackError::Truncated,
            _ => UnpackError::Read(error),
        })?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// Passes over bytes and tells how many of them were missing.
    fn skip(&mut self, mut bytes: u64) -> Result<u64, UnpackError> {
        while bytes > 0 {
            let available = self.reader.fill_buf()?.len();
            if available == 0 {
                break;
            }
            let used = usize::try_from(bytes).map_or(available, |left| left.min(available));
            self.reader.consume(used);
            self.offset += used as u64;
            bytes -= used as u64;
        }
        Ok(bytes)
    }
}

impl<R: BufRead + Seek> Tarball<'_, R> {
    /// Passes over the entry's data without reading it. The offset may then lie behind the archive's end.
    pub(super) fn seek_over_data(&mut self) -> Result<(), UnpackError> {
        let bytes = self.data_left + self.padding;
        self.reader.seek_relative(bytes.cast_signed())?;
        self.offset += bytes;
        (self.data_left, self.padding) = (0, 0);
        Ok(())
    }
}
