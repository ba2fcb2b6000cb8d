//! The headers of a tar archive: one block of fixed fields, and the extended headers that override them. Pure.

use super::error::UnpackError;
use super::sparse::PaxSparse;
use super::tarball::{Entry, Kind, Time};

/// Tar counts in blocks of this size.
pub(super) const BLOCK: usize = 512;

/// The fields of a header block that matter here.
#[derive(Debug)]
pub(super) struct Header {
    pub flag: u8,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u64,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub mtime: i64,
}

/// Reads a header block and checks its sum.
pub(super) fn parse_header(block: &[u8; BLOCK]) -> Result<Header, UnpackError> {
    let field = |from: usize, len: usize| &block[from..from + len];
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = field(148, 8).iter().map(|byte| u64::from(*byte)).sum();
    if number(field(148, 8)) != Some((sum - own + 8 * u64::from(b' ')).cast_signed()) {
        return Err(UnpackError::Damaged("a header's checksum is wrong".to_owned()));
    }
    let positive = |name: &str, from: usize, len: usize| {
        number(field(from, len))
            .and_then(|value| u64::try_from(value).ok())
            .ok_or_else(|| UnpackError::Damaged(format!("a header's {name} is no number")))
    };
    let mut path = until_nul(field(0, 100)).to_vec();
    // Only POSIX headers have a prefix; GNU's have times in its place.
    let prefix = until_nul(field(345, 155));
    if field(257, 6) == b"ustar\0" && !prefix.is_empty() {
        path = [prefix, b"/", &path].concat();
    }
    Ok(Header {
        flag: block[156],
        path,
        link: until_nul(field(157, 100)).to_vec(),
        mode: positive("mode", 100, 8)?,
        uid: positive("uid", 108, 8)?,
        gid: positive("gid", 116, 8)?,
        size: positive("size", 124, 12)?,
        mtime: number(field(136, 12))
            .ok_or_else(|| UnpackError::Damaged("a header's mtime is no number".to_owned()))?,
    })
}

/// Entries of these types have no data, whatever their size field says (Go's `isHeaderOnly`).
pub(super) fn is_header_only(flag: u8) -> bool {
    matches!(flag, b'1'..=b'6')
}

/// Octal text, or GNU's base 256 with the top bit set; an empty field is 0.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        return base256(field);
    }
    let text = field.trim_ascii_start();
    let end = text
        .iter()
        .position(|byte| matches!(byte, 0 | b' '))
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if !rest.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = i64::from(field[0] & 0x3f) - if negative { 0x40 } else { 0 };
    field[1..].iter().try_fold(first, |value, byte| {
        value.checked_mul(256)?.checked_add(i64::from(*byte))
    })
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What extended headers said about the entry that follows them.
#[derive(Debug, Default)]
pub(super) struct Extended {
    gnu_path: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    records: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// What they override beside the entry's own fields.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    pub size: Option<u64>,
    pub sparse: Option<PaxSparse>,
}

impl Extended {
    pub(super) fn is_empty(&self) -> bool {
        self.gnu_path.is_none() && self.gnu_link.is_none() && self.records.is_none()
    }

    /// Takes the content of a header of type `x`, `L` or `K`. Of two of one type the later one counts, as in Go.
    pub(super) fn add(&mut self, flag: u8, content: &[u8]) -> Result<(), UnpackError> {
        match flag {
            b'L' => self.gnu_path = Some(until_nul(content).to_vec()),
            b'K' => self.gnu_link = Some(until_nul(content).to_vec()),
            _ => self.records = Some(pax_records(content).ok_or_else(bad_record)?),
        }
        Ok(())
    }

    /// The entry that a header and these make together.
    pub(super) fn apply(self, header: &Header) -> Result<(Entry, Overrides), UnpackError> {
        let mut entry = Entry {
            kind: Kind::File,
            path: header.path.clone(),
            link: header.link.clone(),
            mode: u32::try_from(header.mode & 0o7777).unwrap_or_default(),
            uid: id(header.uid)?,
            gid: id(header.gid)?,
            size: 0,
            mtime: Time {
                seconds: header.mtime,
                nanos: 0,
            },
            xattrs: Vec::new(),
            segments: None,
        };
        let mut overrides = Overrides::default();
        let mut sparse_records = Vec::new();
        for (key, value) in self.records.unwrap_or_default() {
            match key.as_slice() {
                // An empty value takes the record back.
                _ if value.is_empty() => {}
                b"path" => entry.path = value,
                b"linkpath" => entry.link = value,
                b"size" => overrides.size = Some(decimal(&value)?),
                b"uid" => entry.uid = id(decimal(&value)?)?,
                b"gid" => entry.gid = id(decimal(&value)?)?,
                b"mtime" => entry.mtime = pax_time(&value).ok_or_else(bad_record)?,
                _ if key.starts_with(b"GNU.sparse.") => sparse_records.push((key, value)),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        entry.xattrs.push((name.to_vec(), value));
                    }
                }
            }
        }
        if let Some(mut sparse) = PaxSparse::from_records(&sparse_records)? {
            entry.path = sparse.name.take().unwrap_or(entry.path);
            overrides.sparse = Some(sparse);
        }
        entry.path = self.gnu_path.unwrap_or(entry.path);
        entry.link = self.gnu_link.unwrap_or(entry.link);
        entry.kind = kind(header.flag, &entry.path)?;
        Ok((entry, overrides))
    }
}

fn kind(flag: u8, path: &[u8]) -> Result<Kind, UnpackError> {
    Ok(match flag {
        // Before POSIX, a directory was a file whose name ended in a slash.
        0 | b'0' if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' | b'4' => Kind::Device,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            return Err(UnpackError::Damaged(format!(
                "an entry of unknown type {:?}",
                char::from(other)
            )));
        }
    })
}

/// The kernel's own "no id" is no id either.
fn id(value: u64) -> Result<u32, UnpackError> {
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| UnpackError::Damaged(format!("{value} is no uid or gid")))
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, UnpackError> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(bad_record)
}

fn bad_record() -> UnpackError {
    UnpackError::Damaged("a pax record is malformed".to_owned())
}

/// `27 mtime=1350244992.023960108\n`, one after the other.
fn pax_records(mut content: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !content.is_empty() && content[0] != 0 {
        let space = content.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&content[..space]).ok()?.parse().ok()?;
        let record = content.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        content = &content[length..];
    }
    Some(records)
}

/// Seconds with an optional fraction, of which nine digits count.
fn pax_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(match whole.starts_with('-') && nanos > 0 {
        true => Time {
            seconds: seconds.checked_sub(1)?,
            nanos: 1_000_000_000 - nanos,
        },
        false => Time { seconds, nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000644", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000648\0", None),
            (b"12 4", None),
            (b"-1", None),
            (&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0], Some(8 << 30)),
            (&[0xff; 12], Some(-1)),
            (
                &[0x80, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                None,
            ),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn pax_records_are_cut_by_their_own_length() {
        let good = pax_records(b"8 a=b=c\n11 path=\0\n\n").expect("records");
        assert_eq!(
            good,
            [(b"a".to_vec(), b"b=c".to_vec()), (b"path".to_vec(), b"\0\n".to_vec())]
        );
        for bad in [
            &b"x a=b\n"[..],
            b"6 a=b",
            b"0 a=b\n",
            b"3 a=b\n",
            b"99999999999999999999 a=b\n",
            b"6 aab\n",
            b"7",
        ] {
            assert_eq!(pax_records(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn times_have_nanoseconds_and_may_be_before_1970() {
        for (text, seconds, nanos) in [
            ("5", 5, 0),
            ("5.25", 5, 250_000_000),
            ("5.1234567899", 5, 123_456_789),
            ("-1.5", -2, 500_000_000),
        ] {
            assert_eq!(pax_time(text.as_bytes()), Some(Time { seconds, nanos }), "{text}");
        }
        assert_eq!(pax_time(b"5.-1"), None);
        assert_eq!(pax_time(b""), None);
    }
}
