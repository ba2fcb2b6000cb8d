//! How a stream is compressed, told from its first bytes: media types and file names lie too often.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use super::error::UnpackError;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip, in one or more members.
    Gzip,
    /// With zstd, in one or more frames.
    Zstd,
}

impl Compression {
    /// Looks at the first bytes of a stream.
    ///
    /// # Errors
    /// [`UnpackError::Compression`] for kinds that images do not use.
    pub fn detect(start: &[u8]) -> Result<Compression, UnpackError> {
        match start {
            [0x1f, 0x8b, 8, ..] => Ok(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', ..] => Err(UnpackError::Compression("bzip2")),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Err(UnpackError::Compression("xz")),
            _ => Ok(Compression::None),
        }
    }

    /// What an OCI media type of a layer ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => "+gzip",
            Compression::Zstd => "+zstd",
        }
    }

    /// Reads what was compressed. Windows larger than this power of two are an error.
    pub(super) fn decoder<R: BufRead>(self, raw: R, window_log: u32) -> io::Result<Decoder<R>> {
        Ok(match self {
            Compression::None => Decoder::Plain(raw),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(raw))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
                decoder.window_log_max(window_log)?;
                Decoder::Zstd(Box::new(decoder))
            }
        })
    }
}

/// Whether a decoder refused a window. The library has no other sign of it than its words.
pub(super) fn is_window_too_large(error: &io::Error) -> bool {
    error.to_string().contains("requires too much memory")
}

/// A reader of any of them.
pub(super) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    /// The reader below.
    pub(super) fn raw(&self) -> &R {
        match self {
            Decoder::Plain(raw) => raw,
            Decoder::Gzip(decoder) => decoder.get_ref(),
            Decoder::Zstd(decoder) => decoder.get_ref(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Plain(raw) => raw.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_compression() {
        assert!(matches!(
            Compression::detect(&[0x1f, 0x8b, 8, 0]),
            Ok(Compression::Gzip)
        ));
        assert!(matches!(
            Compression::detect(&[0x28, 0xb5, 0x2f, 0xfd]),
            Ok(Compression::Zstd)
        ));
        assert!(matches!(
            Compression::detect(&[0x51, 0x2a, 0x4d, 0x18]),
            Ok(Compression::Zstd)
        ));
        assert!(matches!(Compression::detect(b"etc/passwd"), Ok(Compression::None)));
        assert!(matches!(Compression::detect(b""), Ok(Compression::None)));
        assert!(Compression::detect(b"BZh91AY&SY").is_err());
        assert!(Compression::detect(b"\xfd7zXZ\0").is_err());
    }
}
