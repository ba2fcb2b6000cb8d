//! Frames: eight bytes that say what follows and how long it is. Pure.

use super::SpdyError;
use super::header::{HeaderReader, Headers};

/// The longest control frame: headers of streams are some hundred bytes.
const LONGEST_CONTROL: usize = 16 << 10;

const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const HEADERS: u16 = 8;

const FIN: u8 = 1;

/// How a reset says that nobody wants the stream any more (`CANCEL`).
const CANCEL: u32 = 5;

/// The length of what stands before every frame.
pub(super) const HEAD: usize = 8;

/// What stands before a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Bytes of a stream.
    Data {
        stream: u32,
        /// Whether they are its last.
        is_last: bool,
        length: usize,
    },
    /// About streams.
    Control { kind: u16, flags: u8, length: usize },
}

/// A control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    /// A new stream.
    Open {
        stream: u32,
        /// Whether its opener will send nothing.
        is_last: bool,
        headers: Headers,
    },
    /// A stream was given up.
    Reset { stream: u32 },
    /// To be sent back as it is.
    Ping([u8; 4]),
    /// Nothing that needs an answer.
    Other,
}

impl Head {
    pub(super) fn parse(bytes: [u8; HEAD]) -> Result<Self, SpdyError> {
        let [a, b, c, d, flags, lengths @ ..] = bytes;
        let [x, y, z] = lengths.map(usize::from);
        let length = x << 16 | y << 8 | z;
        let first = u32::from_be_bytes([a, b, c, d]);
        if first >> 31 == 0 {
            return Ok(Self::Data {
                stream: first,
                is_last: flags & FIN != 0,
                length,
            });
        }
        let version = u16::from_be_bytes([a & 0x7f, b]);
        if version != VERSION {
            return Err(SpdyError::Version(version));
        }
        if length > LONGEST_CONTROL {
            return Err(SpdyError::TooLong(length));
        }
        let kind = u16::from_be_bytes([c, d]);
        Ok(Self::Control { kind, flags, length })
    }
}

impl Control {
    /// Reads what follows the head. All headers of a connection go through one `unpack`, in order: each builds on those before.
    pub(super) fn parse(kind: u16, flags: u8, payload: &[u8], unpack: &mut HeaderReader) -> Result<Self, SpdyError> {
        let short = SpdyError::Short(kind);
        let Some((first, rest)) = payload.split_first_chunk::<4>() else {
            // Only what needs no answer may be empty.
            return match kind {
                SYN_STREAM | SYN_REPLY | RST_STREAM | PING | HEADERS => Err(short),
                _ => Ok(Self::Other),
            };
        };
        let stream = u32::from_be_bytes(*first) & 0x7fff_ffff;
        Ok(match kind {
            SYN_STREAM => {
                // A stream that it belongs to, a priority and a slot: of no use here.
                let packed = rest.get(6..).ok_or(short)?;
                Self::Open {
                    stream,
                    is_last: flags & FIN != 0,
                    headers: unpack.read(packed)?,
                }
            }
            SYN_REPLY | HEADERS => {
                unpack.read(rest)?;
                Self::Other
            }
            RST_STREAM => Self::Reset { stream },
            PING => Self::Ping(*first),
            _ => Self::Other,
        })
    }
}

/// Reads whole frames out of bytes, as a fuzzer does: how many there were before what is cut off.
///
/// # Errors
/// What ends a connection ends this.
pub fn decode(mut bytes: &[u8]) -> Result<usize, SpdyError> {
    let (mut unpack, mut count) = (HeaderReader::new(), 0);
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let head = Head::parse(*head)?;
        let (Head::Data { length, .. } | Head::Control { length, .. }) = head;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        if let Head::Control { kind, flags, .. } = head {
            Control::parse(kind, flags, payload, &mut unpack)?;
        }
        (bytes, count) = (rest, count + 1);
    }
    Ok(count)
}

/// Bytes of a stream. There must be less than 16 MB of them.
pub(super) fn data(stream: u32, is_last: bool, bytes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + bytes.len());
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&flags_and_length(u8::from(is_last) * FIN, bytes.len()));
    frame.extend_from_slice(bytes);
    frame
}

/// A new stream, with its headers packed.
pub(super) fn open(stream: u32, is_last: bool, packed: &[u8]) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(&[0; 6]);
    payload.extend_from_slice(packed);
    control(SYN_STREAM, u8::from(is_last) * FIN, &payload)
}

/// A stream was accepted.
pub(super) fn reply(stream: u32, packed: &[u8]) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(packed);
    control(SYN_REPLY, 0, &payload)
}

/// A stream is given up.
pub(super) fn reset(stream: u32) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend_from_slice(&CANCEL.to_be_bytes());
    control(RST_STREAM, 0, &payload)
}

/// The answer to a ping.
pub(super) fn pong(number: [u8; 4]) -> Vec<u8> {
    control(PING, 0, &number)
}

fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(&flags_and_length(flags, payload.len()));
    frame.extend_from_slice(payload);
    frame
}

fn flags_and_length(flags: u8, length: usize) -> [u8; 4] {
    let length = u32::try_from(length).expect("frames are cut into pieces that are far smaller");
    let [_, x, y, z] = length.to_be_bytes();
    [flags, x, y, z]
}
