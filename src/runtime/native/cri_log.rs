//! Container logs in the CRI's format, rotated.
//!
//! A line is `<RFC 3339 time, nanoseconds> <stdout|stderr> <F|P> <text>`; `P` marks a piece of a line that goes on
//! (`k8s.io/cri-api`, and what kubelet's log reader parses). [`Lines`] is pure; [`LogFile`] writes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Longer lines are written in pieces of this size, as containerd does.
const MAX_LINE: usize = 16 << 10;
/// Kubelet's `containerLogMaxSize`.
pub(super) const MAX_SIZE: u64 = 10 << 20;
/// Kubelet's `containerLogMaxFiles`, the one being written included.
pub(super) const MAX_FILES: usize = 5;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// The text of a timestamp. Formatting one costs more than all else about a line, so a second's text is kept.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<i64>,
    text: String,
}

impl Stamp {
    /// Writes `now` as `2006-01-02T15:04:05.000000000Z`.
    fn write(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        let (second, nanos) = (now.as_second(), now.subsec_nanosecond());
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = Timestamp::from_second(second)
                .unwrap_or(now)
                .strftime("%Y-%m-%dT%H:%M:%S")
                .to_string();
        }
        out.extend_from_slice(self.text.as_bytes());
        let mut digits = *b".000000000Z";
        let mut rest = nanos.unsigned_abs();
        for digit in digits[1..10].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

/// Cuts a stream into lines and keeps what is not one yet.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    pending: Vec<u8>,
}

impl Lines {
    pub fn new(stream: Stream) -> Lines {
        Lines {
            stream,
            pending: Vec::new(),
        }
    }

    /// Adds bytes; whole lines, and pieces of over-long ones, are appended to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], now: Timestamp, stamp: &mut Stamp, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.pending.len();
            let piece = &bytes[..bytes.len().min(room)];
            match piece.iter().position(|&b| b == b'\n') {
                Some(end) => {
                    self.put(&bytes[..end], b'F', now, stamp, out);
                    bytes = &bytes[end + 1..];
                }
                // A line of exactly the limit is whole if its end follows.
                None if piece.len() == room && bytes.get(room) == Some(&b'\n') => {
                    self.put(piece, b'F', now, stamp, out);
                    bytes = &bytes[room + 1..];
                }
                None if piece.len() == room => {
                    self.put(piece, b'P', now, stamp, out);
                    bytes = &bytes[room..];
                }
                None => {
                    self.pending.extend_from_slice(piece);
                    bytes = &[];
                }
            }
        }
    }

    /// The stream ended: what was pending is written as a piece without an end, so that a reader adds none.
    pub fn finish(&mut self, now: Timestamp, stamp: &mut Stamp, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            self.put(&[], b'P', now, stamp, out);
        }
    }

    fn put(&mut self, tail: &[u8], tag: u8, now: Timestamp, stamp: &mut Stamp, out: &mut Vec<u8>) {
        stamp.write(now, out);
        out.extend_from_slice(match self.stream {
            Stream::Stdout => b" stdout ",
            Stream::Stderr => b" stderr ",
        });
        out.extend_from_slice(&[tag, b' ']);
        out.extend_from_slice(&self.pending);
        out.extend_from_slice(tail);
        out.push(b'\n');
        self.pending = Vec::new();
    }
}

/// The log of one run.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    checked: i64,
}

impl LogFile {
    /// Opens the log, making its directory if needed; an existing one is continued.
    pub fn open(path: &Path, max_size: u64) -> io::Result<LogFile> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = open_log(path)?;
        let size = end_torn_line(&file, path)?;
        Ok(LogFile {
            path: path.to_owned(),
            file,
            size,
            max_size,
            checked: 0,
        })
    }

    /// Appends whole lines. The file is rotated before it would grow over its limit, between lines only; and opened again
    /// if someone removed or renamed it.
    pub fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.checked != now.as_second() {
            self.checked = now.as_second();
            self.reopen_if_moved()?;
        }
        if self.size > 0 && self.size + lines.len() as u64 > self.max_size {
            self.rotate(now)?;
        }
        append(&self.file, self.size, |mut file| file.write_all(lines))?;
        self.size += lines.len() as u64;
        Ok(())
    }

    fn reopen_if_moved(&mut self) -> io::Result<()> {
        let mine = self.file.metadata()?;
        let there = fs::symlink_metadata(&self.path).map(|meta| (meta.dev(), meta.ino()));
        if there.is_ok_and(|there| there == (mine.dev(), mine.ino())) {
            return Ok(());
        }
        *self = LogFile::open(&self.path, self.max_size)?;
        Ok(())
    }

    /// Puts the full file aside as `<log>.<time>` (kubelet's name for it) and begins a new one.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let mut aside = self.path.clone().into_os_string();
        // Kubelet's names have whole seconds; a container that fills a file in less must not overwrite the last one.
        aside.push(format!(
            ".{}.{:09}",
            now.strftime("%Y%m%d-%H%M%S"),
            now.subsec_nanosecond()
        ));
        fs::rename(&self.path, PathBuf::from(aside))?;
        self.file = open_log(&self.path)?;
        self.size = 0;
        for old in plan_removed(rotated(&self.path), MAX_FILES - 1) {
            match fs::remove_file(old) {
                // Someone tidied up meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    // Never through a link: the directory may be one that a container can write to.
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    options.open(path)
}

/// Appends to a file of `size` bytes, wholly or not at all: half a line, as a full disk leaves it, would be joined by the next one.
fn append(file: &File, size: u64, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    write(file).inspect_err(|_| {
        // Cutting needs no room; if it fails too, the next opening mends the line.
        let _ = file.set_len(size);
    })
}

/// Ends a line that a supervisor did not live to end; returns the file's size.
fn end_torn_line(mut file: &File, path: &Path) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let mut last = [0];
    if size > 0 {
        // The log itself is open for writing only.
        File::open(path)?.read_exact_at(&mut last, size - 1)?;
    }
    if size == 0 || last == *b"\n" {
        return Ok(size);
    }
    append(file, size, |_| file.write_all(b"\n"))?;
    Ok(size + 1)
}

/// The files that were put aside for this log.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let is_ours = |file: &PathBuf| {
        let rest = file
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let entries = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    entries.filter(is_ours).collect()
}

/// The oldest files beyond the number that may stay; their names sort by age.
fn plan_removed(mut files: Vec<PathBuf>, keep: usize) -> Vec<PathBuf> {
    files.sort();
    files.truncate(files.len().saturating_sub(keep));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, nanos: i32) -> Timestamp {
        Timestamp::new(second, nanos).expect("a time of this century")
    }

    fn fed(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut stamp, mut out) = (Lines::new(Stream::Stdout), Stamp::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, at(0, 5), &mut stamp, &mut out);
        }
        lines.finish(at(0, 5), &mut stamp, &mut out);
        let text = String::from_utf8(out).expect("the pieces are text");
        text.lines()
            .map(|line| {
                line.trim_start_matches("1970-01-01T00:00:00.000000005Z stdout ")
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        assert_eq!(fed(&[b"a\nb", b"c\n", b"\n"]), ["F a", "F bc", "F "]);
        assert_eq!(fed(&[b"no end"]), ["P no end"]);
        assert_eq!(fed(&[]), [""; 0]);
    }

    #[test]
    fn long_lines_come_in_pieces_of_16_kib() {
        let long = vec![b'x'; MAX_LINE + 3];
        let seen = fed(&[&long, b"\ny\n"]);
        assert_eq!(
            seen.iter().map(|l| (&l[..1], l.len() - 2)).collect::<Vec<_>>(),
            [("P", MAX_LINE), ("F", 3), ("F", 1)]
        );
        let exact = [vec![b'x'; MAX_LINE], b"\n".to_vec()].concat();
        assert_eq!(
            fed(&[&exact])
                .iter()
                .map(|l| (&l[..1], l.len() - 2))
                .collect::<Vec<_>>(),
            [("F", MAX_LINE)]
        );
    }

    #[test]
    fn a_stamp_has_nine_digits_and_knows_a_new_second() {
        let (mut stamp, mut out) = (Stamp::default(), Vec::new());
        stamp.write(at(1, 999_999_999), &mut out);
        stamp.write(at(2, 0), &mut out);
        assert_eq!(out, b"1970-01-01T00:00:01.999999999Z1970-01-01T00:00:02.000000000Z");
    }

    #[test]
    fn a_full_log_is_put_aside_and_only_the_newest_stay() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        let mut log = LogFile::open(&path, 10).expect("the directory is writable");
        for second in 0..8 {
            log.write(b"12345678\n", at(second, 0))
                .expect("the directory is writable");
        }
        let aside = rotated(&path);
        assert_eq!(aside.len(), MAX_FILES - 1, "{aside:?}");
        assert!(
            aside.contains(&dir.path().join("0.log.19700101-000007.000000000")),
            "{aside:?}"
        );
        assert_eq!(fs::read(&path).expect("the log is there"), b"12345678\n");
    }

    #[test]
    fn half_a_line_is_taken_back_and_a_torn_one_is_ended() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        fs::write(&path, b"whole\n").expect("the directory is writable");
        let file = open_log(&path).expect("the log is there");
        let full = append(&file, 6, |mut file| {
            file.write_all(b"ha")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(full.map_err(|e| e.kind()), Err(io::ErrorKind::StorageFull));
        assert_eq!(fs::read(&path).expect("the log is there"), b"whole\n");
        fs::write(&path, b"whole\nto").expect("the directory is writable");
        let mut log = LogFile::open(&path, MAX_SIZE).expect("the directory is writable");
        log.write(b"next\n", at(1, 0)).expect("the directory is writable");
        assert_eq!(fs::read(&path).expect("the log is there"), b"whole\nto\nnext\n");
    }

    #[test]
    fn a_removed_log_is_begun_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        let mut log = LogFile::open(&path, MAX_SIZE).expect("the directory is writable");
        log.write(b"a\n", at(1, 0)).expect("the directory is writable");
        fs::remove_file(&path).expect("the log is there");
        log.write(b"b\n", at(2, 0)).expect("the directory is writable");
        assert_eq!(fs::read(&path).expect("the log is there"), b"b\n");
    }
}
