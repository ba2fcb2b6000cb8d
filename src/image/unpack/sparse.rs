//! The maps of sparse files in tar archives: GNU's old blocks and the three forms of pax records. Pure.

use super::error::UnpackError;
use super::header::{BLOCK, decimal, number};
use crate::image::limits::Limits;

/// A piece of a sparse file that has data; between them are holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// The part of an old map that fits the header, and whether more blocks follow.
pub(super) struct OldMap {
    pub segments: Vec<Segment>,
    pub real_size: u64,
    pub extended: bool,
}

/// What the `GNU.sparse.*` records say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PaxSparse {
    pub real_size: u64,
    /// In version 1.0 absent: the map lies in front of the data.
    pub segments: Option<Vec<Segment>>,
    /// The file's true name, where the header's is made up.
    pub name: Option<Vec<u8>>,
}

pub(super) fn bad_map() -> UnpackError {
    UnpackError::Damaged("the map of a sparse file is malformed".to_owned())
}

fn field(bytes: &[u8]) -> Result<u64, UnpackError> {
    number(bytes)
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(bad_map)
}

/// Pairs of 12-byte numbers; an empty pair ends the list.
fn old_pairs(bytes: &[u8], segments: &mut Vec<Segment>) -> Result<(), UnpackError> {
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        segments.push(Segment {
            offset: field(&pair[..12])?,
            length: field(&pair[12..])?,
        });
    }
    Ok(())
}

/// The map in a header of type `S`.
pub(super) fn old_header(block: &[u8; BLOCK]) -> Result<OldMap, UnpackError> {
    let mut segments = Vec::new();
    old_pairs(&block[386..482], &mut segments)?;
    Ok(OldMap {
        segments,
        real_size: field(&block[483..495])?,
        extended: block[482] != 0,
    })
}

/// One block of the map's continuation; tells whether another follows.
pub(super) fn old_extension(block: &[u8; BLOCK], segments: &mut Vec<Segment>) -> Result<bool, UnpackError> {
    old_pairs(&block[..504], segments)?;
    Ok(block[504] != 0)
}

impl PaxSparse {
    /// Puts the records together, if there are any.
    pub(super) fn from_records(records: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<PaxSparse>, UnpackError> {
        let last = |key: &[u8]| {
            records
                .iter()
                .rev()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.as_slice())
        };
        let Some(size) = last(b"GNU.sparse.realsize").or_else(|| last(b"GNU.sparse.size")) else {
            return Ok(None);
        };
        let segments = match (last(b"GNU.sparse.major"), last(b"GNU.sparse.map")) {
            (Some(b"1"), _) => None,
            (Some(b"0") | None, Some(map)) => Some(decimal_map(map.split(|byte| *byte == b','))?),
            // Version 0.0 repeats two keys for every piece.
            (Some(b"0") | None, None) => {
                let parts = records
                    .iter()
                    .filter(|(key, _)| key.ends_with(b".offset") || key.ends_with(b".numbytes"));
                Some(decimal_map(parts.map(|(_, value)| value.as_slice()))?)
            }
            (Some(_), _) => return Err(bad_map()),
        };
        let name = last(b"GNU.sparse.name").map(<[u8]>::to_vec);
        Ok(Some(PaxSparse {
            real_size: decimal(size)?,
            segments,
            name,
        }))
    }
}

fn decimal_map<'a>(mut numbers: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Segment>, UnpackError> {
    let mut segments = Vec::new();
    while let Some(offset) = numbers.next() {
        let length = numbers.next().ok_or_else(bad_map)?;
        segments.push(Segment {
            offset: decimal(offset)?,
            length: decimal(length)?,
        });
    }
    Ok(segments)
}

/// Reads the map of version 1.0, block by block: a count, then that many pairs, one decimal number a line.
#[derive(Default)]
pub(super) struct MapParser {
    line: Vec<u8>,
    wanted: Option<usize>,
    numbers: Vec<u64>,
}

impl MapParser {
    pub(super) fn is_done(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.numbers.len() == wanted)
    }

    pub(super) fn feed(&mut self, block: &[u8; BLOCK], limits: &Limits) -> Result<(), UnpackError> {
        for byte in block {
            if self.is_done() {
                break;
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let value = decimal(&self.line)?;
            self.line.clear();
            match self.wanted {
                None => {
                    let count = usize::try_from(value).ok().filter(|count| *count <= limits.segments);
                    self.wanted = Some(2 * count.ok_or_else(|| too_many(limits))?);
                }
                Some(_) => self.numbers.push(value),
            }
        }
        // No decimal number of 64 bits is longer than a block.
        if self.line.len() > BLOCK {
            Err(bad_map())
        } else {
            Ok(())
        }
    }

    pub(super) fn finish(self) -> Vec<Segment> {
        self.numbers
            .chunks_exact(2)
            .map(|pair| Segment {
                offset: pair[0],
                length: pair[1],
            })
            .collect()
    }
}

fn too_many(limits: &Limits) -> UnpackError {
    UnpackError::OverLimit {
        what: "the number of pieces of a sparse file".to_owned(),
        limit: limits.segments.to_string(),
    }
}

pub(super) fn check_count(segments: &[Segment], limits: &Limits) -> Result<(), UnpackError> {
    if segments.len() > limits.segments {
        Err(too_many(limits))
    } else {
        Ok(())
    }
}

/// Pieces must be in order, inside the file, and have together as many bytes as are stored.
pub(super) fn check(segments: &[Segment], stored: u64, real_size: u64) -> Result<(), UnpackError> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in segments {
        if segment.offset < end {
            return Err(bad_map());
        }
        end = segment.offset.checked_add(segment.length).ok_or_else(bad_map)?;
        sum += segment.length;
    }
    if end > real_size || sum != stored {
        Err(bad_map())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        pairs
            .iter()
            .map(|(key, value)| (format!("GNU.sparse.{key}").into_bytes(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn the_three_forms_of_pax_say_the_same() {
        let segments = Some(vec![
            Segment { offset: 0, length: 5 },
            Segment { offset: 100, length: 7 },
        ]);
        let v00 = records(&[
            ("size", "200"),
            ("numblocks", "2"),
            ("offset", "0"),
            ("numbytes", "5"),
            ("offset", "100"),
            ("numbytes", "7"),
        ]);
        let v01 = records(&[("size", "200"), ("map", "0,5,100,7"), ("name", "real")]);
        let v10 = records(&[("major", "1"), ("minor", "0"), ("realsize", "200"), ("name", "real")]);
        let read = |records: &[_]| {
            PaxSparse::from_records(records)
                .expect("good records")
                .expect("a sparse file")
        };
        let sparse = |segments, name: Option<&[u8]>| PaxSparse {
            real_size: 200,
            segments,
            name: name.map(<[u8]>::to_vec),
        };
        assert_eq!(read(&v00), sparse(segments.clone(), None));
        assert_eq!(read(&v01), sparse(segments.clone(), Some(b"real")));
        assert_eq!(read(&v10), sparse(None, Some(b"real")));
        let mut block = [0; BLOCK];
        block[..15].copy_from_slice(b"2\n0\n5\n100\n7\n\0\0\0");
        let mut parser = MapParser::default();
        parser.feed(&block, &Limits::default()).expect("a good map");
        assert!(parser.is_done());
        assert_eq!(Some(parser.finish()), segments);
    }

    #[test]
    fn maps_that_overlap_or_leave_the_file_are_refused() {
        let map = |pairs: &[(u64, u64)]| -> Vec<Segment> {
            pairs
                .iter()
                .map(|(offset, length)| Segment {
                    offset: *offset,
                    length: *length,
                })
                .collect()
        };
        assert!(check(&map(&[(0, 5), (5, 5)]), 10, 10).is_ok());
        assert!(check(&map(&[(0, 5), (20, 0)]), 5, 20).is_ok());
        for (pairs, stored, size) in [
            (&[(0, 5), (4, 5)][..], 10, 20),
            (&[(0, 5)], 4, 20),
            (&[(18, 5)], 5, 20),
            (&[(u64::MAX, 5)], 5, 20),
        ] {
            assert!(check(&map(pairs), stored, size).is_err(), "{pairs:?}");
        }
    }
}
