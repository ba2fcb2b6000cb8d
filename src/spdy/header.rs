//! Headers of streams: names and values, packed by zlib in one flow for a connection's whole life. Pure.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::SpdyError;

/// Names and values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(String, String)>);

/// The longest headers of a stream, unpacked. A few hundred bytes can be unpacked to megabytes.
const LONGEST: usize = 16 << 10;

/// What both sides take as seen before the first byte (SPDY/3, 2.6.10.1): these words, each after its length, and then [`TAIL`].
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow \
    authorization cache-control connection content-base content-encoding content-language content-length content-location content-md5 \
    content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range \
    if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after \
    server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200\u{a0}OK version \
    HTTP/1.1 url public set-cookie keep-alive origin";

const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative \
    Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 \
    Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, \
    GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=\
    gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS.split(' ') {
        // The one blank that is part of a word stands for itself.
        put(&mut dictionary, &word.replace('\u{a0}', " "));
    }
    dictionary.extend_from_slice(TAIL.as_bytes());
    dictionary
});

impl Headers {
    /// From names and values.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value of a name; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_length(&mut bytes, self.0.len());
        for (name, value) in &self.0 {
            put(&mut bytes, name);
            put(&mut bytes, value);
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, SpdyError> {
        let count = take_length(&mut bytes)?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((take(&mut bytes)?, take(&mut bytes)?));
        }
        Ok(Self(pairs))
    }
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    put_length(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("headers that are written here are short");
    bytes.extend_from_slice(&length.to_be_bytes());
}

fn take(bytes: &mut &[u8]) -> Result<String, SpdyError> {
    let length = take_length(bytes)?;
    let (text, rest) = bytes.split_at_checked(length).ok_or(SpdyError::Headers)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| SpdyError::Headers)
}

fn take_length(bytes: &mut &[u8]) -> Result<usize, SpdyError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(SpdyError::Headers)?;
    *bytes = rest;
    usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SpdyError::Headers)
}

/// Unpacks the headers that come.
pub(super) struct HeaderReader(Decompress);

impl HeaderReader {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn read(&mut self, packed: &[u8]) -> Result<Headers, SpdyError> {
        let mut unpacked = vec![0; LONGEST];
        let (before_in, before_out) = (self.0.total_in(), self.0.total_out());
        let done = |after: u64, before: u64| usize::try_from(after - before).map_err(|_| SpdyError::Headers);
        loop {
            let (read, written) = (
                done(self.0.total_in(), before_in)?,
                done(self.0.total_out(), before_out)?,
            );
            if read == packed.len() {
                unpacked.truncate(written);
                return Headers::decode(&unpacked);
            }
            if written == LONGEST {
                return Err(SpdyError::TooManyHeaders);
            }
            let result = self
                .0
                .decompress(&packed[read..], &mut unpacked[written..], FlushDecompress::Sync);
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(|_| SpdyError::Headers)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(SpdyError::Headers),
                Ok(Status::Ok | Status::BufError) => {
                    let is_stuck =
                        done(self.0.total_in(), before_in)? == read && done(self.0.total_out(), before_out)? == written;
                    if is_stuck {
                        return Err(SpdyError::Headers);
                    }
                }
            }
        }
    }
}

/// Packs the headers that go.
pub(super) struct HeaderWriter(Compress);

impl HeaderWriter {
    pub(super) fn new() -> Self {
        // Level 1: what is packed is a few words that the dictionary has, or none.
        let mut compress = Compress::new(Compression::fast(), true);
        compress
            .set_dictionary(&DICTIONARY)
            .expect("nothing has been packed yet");
        Self(compress)
    }

    pub(super) fn write(&mut self, headers: &Headers) -> Vec<u8> {
        let plain = headers.encode();
        // Room for what packs badly, and for the marks around it.
        let mut packed = Vec::with_capacity(plain.len() + 128);
        let before = self.0.total_in();
        loop {
            let read = usize::try_from(self.0.total_in() - before).expect("no more than there is");
            let status = self.0.compress_vec(&plain[read..], &mut packed, FlushCompress::Sync);
            status.expect("memory takes what is packed");
            let is_read = self.0.total_in() - before == plain.len() as u64;
            if is_read && packed.len() < packed.capacity() {
                return packed;
            }
            packed.reserve(128);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_one_that_all_have() {
        // Adler-32, as zlib asks for it by.
        let (mut a, mut b) = (1u32, 0u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((DICTIONARY.len(), b << 16 | a), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn headers_come_out_as_they_went_in_one_after_the_other() {
        let (mut pack, mut unpack) = (HeaderWriter::new(), HeaderReader::new());
        let long = "x".repeat(5000);
        for headers in [
            Headers::new([("streamtype", "error"), ("port", "80"), ("requestid", "0")]),
            Headers::default(),
            Headers::new([("streamtype", "data"), ("port", "80"), ("requestid", long.as_str())]),
            Headers::new([("streamtype", "stdin")]),
        ] {
            assert_eq!(unpack.read(&pack.write(&headers)).expect("unpacks"), headers);
        }
    }

    #[test]
    fn headers_without_bound_are_refused() {
        let long = "x".repeat(1 << 20);
        let packed = HeaderWriter::new().write(&Headers::new([("a", long.as_str())]));
        assert!(packed.len() < 20_000);
        let refused = HeaderReader::new().read(&packed);
        assert!(matches!(refused, Err(SpdyError::TooManyHeaders)), "{refused:?}");
        for wrong in [&[][..], &[0x78], &[0xff; 40], &packed[..9]] {
            assert!(HeaderReader::new().read(wrong).is_err(), "{wrong:?}");
        }
    }
}
