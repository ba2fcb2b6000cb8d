//! `pods/NAME/log`: CRI log files as lines of text (`k8s.io/cri-client/pkg/logs`).

mod options;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, Stream};
use jiff::Timestamp;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

pub(super) use options::LogOptions;

/// How much of a file is read at once.
const BLOCK: usize = 64 * 1024;

/// How often the parts of a log are listed anew because one was put aside while they were opened. That takes microseconds, and filling a
/// part milliseconds.
const MAX_LOOKS: usize = 100;

/// The log at `path`, its rotated parts first. With `follow`, what is written later too, until `ended` and all was read.
pub(super) fn lines(
    path: PathBuf,
    options: LogOptions,
    ended: CancellationToken,
) -> std::io::Result<impl Stream<Item = std::io::Result<Bytes>> + Send> {
    let reader = Reader::open(path, options, ended)?;
    Ok(stream::unfold(reader, |mut reader| async move {
        match reader.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), reader)),
            Ok(None) => None,
            Err(error) => Some((Err(error), reader.broken())),
        }
    }))
}

struct Reader {
    path: PathBuf,
    options: LogOptions,
    ended: CancellationToken,
    /// Files yet to be read, oldest first; the last is the one being written.
    files: VecDeque<File>,
    changes: Option<AsyncFd<OwnedFd>>,
    /// Whether the last of the files was seen to be put aside: nothing is written to it any more.
    was_put_aside: bool,
    /// A line whose end was not yet read.
    rest: Vec<u8>,
    /// Whether the last line was only a part, so that the next one goes on without a new time.
    is_within: bool,
    sent: u64,
}

impl Reader {
    fn open(path: PathBuf, options: LogOptions, ended: CancellationToken) -> std::io::Result<Self> {
        // Watched before it is read, so that nothing falls in between.
        let changes = if options.follow { Some(watch(&path)?) } else { None };
        let mut files = open_all(&path)?;
        if let Some(tail) = options.tail {
            skip_to_tail(&mut files, tail)?;
        }
        Ok(Self {
            path,
            options,
            ended,
            files,
            changes,
            was_put_aside: false,
            rest: Vec::new(),
            is_within: false,
            sent: 0,
        })
    }

    fn broken(mut self) -> Self {
        self.files.clear();
        self.changes = None;
        self
    }

    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if self.options.limit.is_some_and(|limit| self.sent >= limit) {
                return Ok(None);
            }
            // Asked before reading: what was written before the end is then surely read after it.
            let has_ended = self.ended.is_cancelled();
            match self.read_block()? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => return Ok(Some(bytes)),
                None if has_ended || self.changes.is_none() => return Ok(None),
                None => self.wait().await?,
            }
        }
    }

    /// The next text, empty if a block held no wanted line; `None` at the end of what is written.
    fn read_block(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut block = vec![0; BLOCK];
        while !self.files.is_empty() {
            let count = self.files[0].read(&mut block)?;
            if count > 0 {
                self.rest.extend_from_slice(&block[..count]);
                return Ok(Some(self.take_lines()));
            }
            if self.files.len() > 1 {
                self.files.pop_front();
            } else if !self.was_put_aside {
                // What it got before it was put aside may have come after the end was seen: it is read once more.
                self.was_put_aside = self.has_rotated()?;
                if !self.was_put_aside {
                    return Ok(None);
                }
            } else {
                self.was_put_aside = false;
                let next = newer_than(&self.path, &self.files[0])?;
                if next.is_empty() {
                    return Ok(None);
                }
                self.files = next;
            }
        }
        Ok(None)
    }

    /// Whether another file took the place of the one that is read.
    fn has_rotated(&self) -> std::io::Result<bool> {
        let Some(file) = self.files.back().filter(|_| self.changes.is_some()) else {
            return Ok(false);
        };
        let present = std::fs::metadata(&self.path);
        let open = file.metadata()?;
        Ok(present.is_ok_and(|present| present.ino() != open.ino()))
    }

    fn take_lines(&mut self) -> Bytes {
        let mut out = Vec::new();
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Bytes::new();
        };
        let rest = self.rest.split_off(end + 1);
        let complete = std::mem::replace(&mut self.rest, rest);
        for line in complete.split_inclusive(|byte| *byte == b'\n') {
            self.render(line, &mut out);
        }
        if let Some(limit) = self.options.limit {
            out.truncate(usize::try_from(limit.saturating_sub(self.sent)).unwrap_or(usize::MAX));
        }
        self.sent += out.len() as u64;
        out.into()
    }

    fn render(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(line) = Line::parse(line).filter(|line| self.options.wants(line.stream)) else {
            return;
        };
        let is_old = self
            .options
            .since
            .is_some_and(|since| line.time.parse::<Timestamp>().is_ok_and(|t| t < since));
        if is_old {
            return;
        }
        if self.options.timestamps && !self.is_within {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.text);
        if line.is_full {
            out.push(b'\n');
        }
        self.is_within = !line.is_full;
    }

    async fn wait(&mut self) -> std::io::Result<()> {
        let Some(changes) = &self.changes else { return Ok(()) };
        tokio::select! {
            () = self.ended.cancelled() => Ok(()),
            ready = changes.readable() => {
                let mut ready = ready?;
                let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
                let mut events = inotify::Reader::new(ready.get_inner(), &mut buffer);
                while events.next().is_ok() {}
                ready.clear_ready();
                Ok(())
            }
        }
    }
}

/// One line of a CRI log: `TIME STREAM TAGS TEXT`.
struct Line<'a> {
    time: &'a str,
    /// `stdout` or `stderr`.
    stream: &'a [u8],
    text: &'a [u8],
    /// Tag `F`: the line ends here; `P`: it goes on in the next.
    is_full: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut pieces = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags, text) = (pieces.next()?, pieces.next()?, pieces.next()?, pieces.next()?);
        Some(Self {
            time: std::str::from_utf8(time).ok()?,
            stream,
            text,
            is_full: !tags.starts_with(b"P"),
        })
    }
}

/// The rotated parts, oldest first, and the log itself. Not there yet is empty.
fn open_all(path: &Path) -> std::io::Result<VecDeque<File>> {
    for _ in 0..MAX_LOOKS {
        let parts = parts_of(path)?;
        // One that is removed meanwhile is one too old to keep.
        let files = parts.iter().filter_map(|part| File::open(part).ok()).collect();
        // If the log was put aside in between, the file that had its name before is not among them.
        if parts_of(path)? == parts {
            return Ok(files);
        }
    }
    Err(std::io::Error::other(
        "the log is put aside faster than it can be opened",
    ))
}

/// The parts that were written after a file that is no longer the log itself; all that are left if it is gone, as it was the oldest.
fn newer_than(path: &Path, file: &File) -> std::io::Result<VecDeque<File>> {
    let read = file.metadata()?.ino();
    let mut files = open_all(path)?;
    let is_it = |other: &File| other.metadata().is_ok_and(|other| other.ino() == read);
    if let Some(at) = files.iter().position(is_it) {
        files.drain(..=at);
    }
    Ok(files)
}

/// The names of the rotated parts, oldest first, and of the log itself.
fn parts_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Vec::new());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut rotated: Vec<_> = match std::fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(Result::ok).map(|e| e.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    rotated.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)));
    rotated.sort();
    rotated.push(path.to_owned());
    Ok(rotated)
}

/// Moves the files to where the last `wanted` lines begin, and drops those before.
fn skip_to_tail(files: &mut VecDeque<File>, wanted: usize) -> std::io::Result<()> {
    let mut missing = wanted;
    for at in (0..files.len()).rev() {
        let (start, found) = tail_start(&mut files[at], missing)?;
        files[at].seek(SeekFrom::Start(start))?;
        missing -= found;
        if missing == 0 {
            files.drain(..at);
            return Ok(());
        }
    }
    Ok(())
}

/// Where the last `wanted` full lines of a file begin, and how many of them there are. Reads backwards in blocks.
fn tail_start(file: &mut File, wanted: usize) -> std::io::Result<(u64, usize)> {
    let end = file.metadata()?.len();
    if wanted == 0 {
        return Ok((end, 0));
    }
    let (mut position, mut tail, mut found) = (end, Vec::new(), 0);
    while position > 0 {
        let size = position.min(BLOCK as u64);
        position -= size;
        file.seek(SeekFrom::Start(position))?;
        let mut block = vec![0; usize::try_from(size).expect("at most BLOCK")];
        file.read_exact(&mut block)?;
        block.extend_from_slice(&tail);
        // The first line of a block may have begun in the one before: it waits for that.
        let first = if position == 0 {
            0
        } else {
            block.iter().position(|b| *b == b'\n').map_or(block.len(), |p| p + 1)
        };
        let mut line_end = block.len();
        while line_end > first {
            let line_start = block[first..line_end - 1]
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(first, |p| first + p + 1);
            let ends_a_line = Line::parse(&block[line_start..line_end]).is_some_and(|line| line.is_full);
            if ends_a_line {
                if found == wanted {
                    return Ok((position + line_end as u64, found));
                }
                found += 1;
            }
            line_end = line_start;
        }
        tail = block[..first].to_vec();
    }
    Ok((0, found))
}

fn watch(path: &Path) -> std::io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    // The directory, because rotation puts another file in the log's place.
    let dir = path.parent().unwrap_or(path);
    std::fs::create_dir_all(dir)?;
    inotify::add_watch(&fd, dir, inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE)?;
    crate::os::watch_readable(fd)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::api::request::Query;

    const LOG: &str = "2026-01-01T00:00:00.1Z stdout F one\n2026-01-01T00:00:01.1Z stderr P two \n\
        2026-01-01T00:00:02.1Z stderr F and a half\n2026-01-01T00:00:03.1Z stdout F three\n";

    async fn read(query: &str, files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("writes");
        }
        let options = LogOptions::parse(&Query::parse(query), Timestamp::UNIX_EPOCH).expect("options");
        let ended = CancellationToken::new();
        ended.cancel();
        let lines = lines(dir.path().join("0.log"), options, ended).expect("opens");
        let parts: Vec<_> = lines.map(|part| part.expect("reads")).collect().await;
        String::from_utf8(parts.concat()).expect("text")
    }

    #[tokio::test]
    async fn lines_are_joined_cut_and_dated_as_asked() {
        let cases = [
            ("", "one\ntwo and a half\nthree\n"),
            ("follow=true", "one\ntwo and a half\nthree\n"),
            ("tailLines=2", "two and a half\nthree\n"),
            ("tailLines=0", ""),
            ("tailLines=99", "one\ntwo and a half\nthree\n"),
            ("limitBytes=5", "one\nt"),
            ("stream=All", "one\ntwo and a half\nthree\n"),
            ("stream=Stdout", "one\nthree\n"),
            ("stream=Stderr", "two and a half\n"),
            ("sinceTime=2026-01-01T00:00:03Z", "three\n"),
            ("tailLines=1&timestamps=true", "2026-01-01T00:00:03.1Z three\n"),
        ];
        for (query, expected) in cases {
            assert_eq!(read(query, &[("0.log", LOG)]).await, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn rotated_parts_come_first_and_count_in_the_tail() {
        let files = [
            ("0.log.20260101-000000", "2025-12-31T00:00:00Z stdout F zero\n"),
            ("0.log", LOG),
        ];
        assert_eq!(read("", &files).await, "zero\none\ntwo and a half\nthree\n");
        assert_eq!(read("tailLines=4", &files).await, "zero\none\ntwo and a half\nthree\n");
        assert_eq!(read("tailLines=3", &files).await, "one\ntwo and a half\nthree\n");
    }

    #[tokio::test]
    async fn a_follower_that_is_slow_reads_every_part_that_is_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let line = |n: u32| format!("2026-01-01T00:00:00Z stdout F {n}\n");
        let aside =
            |n: u32| std::fs::rename(&path, dir.path().join(format!("0.log.20260101-{n:06}"))).expect("renames");
        std::fs::write(&path, line(0)).expect("writes");
        let options = LogOptions::parse(&Query::parse("follow=true"), Timestamp::UNIX_EPOCH).expect("options");
        let ended = CancellationToken::new();
        let mut lines = Box::pin(lines(path.clone(), options, ended.clone()).expect("opens"));
        let mut read = lines.next().await.expect("has one").expect("reads").to_vec();
        let mut log = std::fs::OpenOptions::new().append(true).open(&path).expect("is there");
        std::io::Write::write_all(&mut log, line(1).as_bytes()).expect("writes");
        for n in 2..5 {
            aside(n);
            std::fs::write(&path, line(n)).expect("writes");
        }
        ended.cancel();
        while let Some(more) = lines.next().await {
            read.extend_from_slice(&more.expect("reads"));
        }
        assert_eq!(String::from_utf8_lossy(&read), "0\n1\n2\n3\n4\n");
    }

    #[tokio::test]
    async fn a_tail_reaches_over_many_blocks() {
        let line = |n: usize| format!("2026-01-01T00:00:00Z stdout F {n:0>100}\n");
        let text: String = (0..5000).map(line).collect();
        let tail = read("tailLines=3000", &[("0.log", &text)]).await;
        assert_eq!(tail.lines().count(), 3000);
        assert!(tail.starts_with(&format!("{:0>100}", 2000)));
    }
}
