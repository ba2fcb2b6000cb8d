//! A container's output: read from its pipes or terminal, written to its log, copied to whoever is attached.
//!
//! The container is never made to wait for anyone but the disk. Someone attached who does not read is kept for a
//! while, then dropped.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use jiff::Timestamp;
use rustix::io::Errno;

use super::super::cri_log::{Lines, LogFile, MAX_SIZE, Stamp, Stream};
use super::note;
use super::poller::{Poller, Token, WRITABLE};

/// How much is read at once: what a pipe holds.
pub(super) const CHUNK: usize = 64 << 10;
/// How much is kept for someone who is attached and does not read.
const MAX_BACKLOG: usize = 1 << 20;

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Err,
}

/// A pipe, or a terminal, that is being read.
struct Pipe {
    fd: OwnedFd,
    lines: Lines,
}

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// There may be more.
    Some,
    /// There is nothing now.
    Nothing,
    /// Everyone who could write is gone.
    End,
}

/// All output of one container.
#[derive(Default)]
pub(super) struct Output {
    log: Option<LogFile>,
    stamp: Stamp,
    out: Option<Pipe>,
    err: Option<Pipe>,
    attached: Vec<Attached>,
    log_failed: bool,
}

/// Someone who gets a copy.
struct Attached {
    peer: Token,
    out: Option<Sink>,
    err: Option<Sink>,
}

/// A descriptor that copies go to.
struct Sink {
    fd: OwnedFd,
    backlog: Vec<u8>,
    token: Option<Token>,
    /// Whoever reads is gone, or too far behind.
    broken: bool,
}

impl Output {
    /// Opens the log.
    pub fn open(&mut self, log: &Path) -> io::Result<()> {
        self.log = Some(LogFile::open(log, MAX_SIZE)?);
        Ok(())
    }

    /// Begins to read a descriptor, which must not block.
    pub fn read_from(&mut self, source: Source, fd: OwnedFd) {
        let stream = if source == Source::Out {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        *self.pipe(source) = Some(Pipe {
            fd,
            lines: Lines::new(stream),
        });
    }

    /// Adds someone who gets copies from now on.
    pub fn attach(&mut self, peer: Token, out: Option<OwnedFd>, err: Option<OwnedFd>) -> io::Result<()> {
        let sink = |fd: OwnedFd| {
            rustix::io::ioctl_fionbio(&fd, true)?;
            Ok::<_, io::Error>(Sink {
                fd,
                backlog: Vec::new(),
                token: None,
                broken: false,
            })
        };
        self.attached.push(Attached {
            peer,
            out: out.map(sink).transpose()?,
            err: err.map(sink).transpose()?,
        });
        Ok(())
    }

    /// Drops someone.
    pub fn detach<W: Clone>(&mut self, peer: Token, poller: &mut Poller<W>) {
        for attached in self.attached.iter_mut().filter(|attached| attached.peer == peer) {
            drop_sink(&mut attached.out, poller);
            drop_sink(&mut attached.err, poller);
        }
        self.attached.retain(|attached| attached.peer != peer);
    }

    /// The container ended: drops those who have got everything (those who have not may still read it), and closes the log
    /// unless somebody still writes.
    pub fn end<W: Clone>(&mut self, poller: &mut Poller<W>) {
        if self.out.is_none() && self.err.is_none() {
            self.log = None;
        }
        for slot in self.attached.iter_mut().flat_map(|a| [&mut a.out, &mut a.err]) {
            if slot.as_ref().is_some_and(|sink| sink.backlog.is_empty()) {
                drop_sink(slot, poller);
            }
        }
    }

    /// Reads once, and passes on what there was. A source that ended is watched no longer.
    pub fn pump<W: Clone>(
        &mut self,
        source: Source,
        buffer: &mut [u8],
        poller: &mut Poller<W>,
        token: Token,
    ) -> Pumped {
        let pumped = self.pump_once(source, buffer);
        if pumped == Pumped::End {
            poller.forget(token);
            self.finish(source);
        }
        pumped
    }

    fn pump_once(&mut self, source: Source, buffer: &mut [u8]) -> Pumped {
        let Some(pipe) = self.pipe(source) else {
            return Pumped::Nothing;
        };
        let length = match rustix::io::read(&pipe.fd, &mut *buffer) {
            // A terminal whose last user is gone says EIO.
            Ok(0) | Err(Errno::IO) => return Pumped::End,
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Pumped::Nothing,
            Err(error) => {
                note(&format!("reading output: {error}"));
                return Pumped::End;
            }
        };
        let (now, mut text) = (Timestamp::now(), Vec::with_capacity(2 * length));
        let mut stamp = std::mem::take(&mut self.stamp);
        if let Some(pipe) = self.pipe(source) {
            pipe.lines.feed(&buffer[..length], now, &mut stamp, &mut text);
        }
        self.stamp = stamp;
        self.write_log(&text, now);
        self.copy(source, &buffer[..length]);
        Pumped::Some
    }

    /// Ends reading of a source: what it had begun to say is written.
    fn finish(&mut self, source: Source) {
        let Some(mut pipe) = self.pipe(source).take() else {
            return;
        };
        let (now, mut text) = (Timestamp::now(), Vec::new());
        pipe.lines.finish(now, &mut self.stamp, &mut text);
        self.write_log(&text, now);
    }

    /// Writes what those who were full could not take, now that they can.
    pub fn flush(&mut self) {
        for sink in self
            .attached
            .iter_mut()
            .flat_map(|a| [&mut a.out, &mut a.err])
            .flatten()
        {
            sink.write_backlog();
        }
    }

    /// Watches those who are full for room, the others no longer; drops those who are gone or hopelessly behind.
    pub fn settle_sinks<W: Clone>(&mut self, poller: &mut Poller<W>, what: &W) {
        for slot in self.attached.iter_mut().flat_map(|a| [&mut a.out, &mut a.err]) {
            let Some(sink) = slot else { continue };
            if sink.broken {
                drop_sink(slot, poller);
            } else if sink.backlog.is_empty() {
                if let Some(token) = sink.token.take() {
                    poller.forget(token);
                }
            } else if sink.token.is_none() {
                sink.token = poller.add(&sink.fd, WRITABLE, what.clone()).ok();
            }
        }
    }

    fn pipe(&mut self, source: Source) -> &mut Option<Pipe> {
        match source {
            Source::Out => &mut self.out,
            Source::Err => &mut self.err,
        }
    }

    fn write_log(&mut self, text: &[u8], now: Timestamp) {
        let Some(log) = &mut self.log else { return };
        match log.write(text, now) {
            Ok(()) => self.log_failed = false,
            // A full disk loses lines, not the container; said once until it works again.
            Err(error) if !self.log_failed => {
                self.log_failed = true;
                note(&format!("writing the log: {error}"));
            }
            Err(_) => {}
        }
    }

    fn copy(&mut self, source: Source, bytes: &[u8]) {
        for attached in &mut self.attached {
            let slot = if source == Source::Out {
                &mut attached.out
            } else {
                &mut attached.err
            };
            if let Some(sink) = slot {
                sink.take(bytes);
            }
        }
    }
}

impl Sink {
    /// Writes or keeps the bytes.
    fn take(&mut self, bytes: &[u8]) {
        self.backlog.extend_from_slice(bytes);
        self.write_backlog();
        self.broken |= self.backlog.len() > MAX_BACKLOG;
    }

    fn write_backlog(&mut self) {
        while !self.backlog.is_empty() && !self.broken {
            match rustix::io::write(&self.fd, &self.backlog) {
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
        // Memory for a burst is not kept.
        self.backlog.shrink_to(CHUNK);
    }
}

fn drop_sink<W: Clone>(slot: &mut Option<Sink>, poller: &mut Poller<W>) {
    if let Some(token) = slot.as_ref().and_then(|sink| sink.token) {
        poller.forget(token);
    }
    *slot = None;
}
