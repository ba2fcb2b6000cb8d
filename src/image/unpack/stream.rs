//! One layer's way from packed bytes to a tree, so that reading, hashing, decompressing and writing overlap.
//!
//! ```text
//!  source ─► read ─┬─► blob file                      plain tar: read ─┬─► hash
//!                  ├─► hash: blob digest                               └─► extract (this thread)
//!                  └─► decode ─┬─► hash: diff id
//!                              └─► extract (this thread)
//! ```
//!
//! Each stage is a thread; between them run bounded queues of shared chunks, so that memory is bounded whatever the
//! layer. Hashing has threads of its own because sha256 is the slowest stage on processors without SHA instructions.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use super::compression::{Compression, is_window_too_large};
use super::error::UnpackError;
use super::window::{Grant, LOOK, Need, Windows};
use crate::image::digest::{Digest, Hasher};
use crate::image::limits::Limits;

/// Bytes that travel together: enough that a queue's cost does not count.
const CHUNK: usize = 128 << 10;
/// Chunks that wait in a queue: 1 MiB, which evens out the stages' different paces.
const QUEUED: usize = 8;

/// A digest and the number of bytes that it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Of all bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// What became of a stream.
#[derive(Debug)]
pub struct Streamed<T> {
    /// The bytes as they came. Known even if they are damaged, so that a wrong digest is told before its consequences.
    pub packed: Measured,
    /// How they were compressed.
    pub compression: Compression,
    /// The bytes as they were unpacked, and what the consumer made of them.
    pub unpacked: Result<(Measured, T), UnpackError>,
}

/// What a decoder may take.
pub struct Memory<'w> {
    /// Where it takes it.
    pub windows: &'w Windows,
    /// How much.
    pub need: Need,
    /// Ends the wait for it.
    pub is_given_up: &'w dyn Fn() -> bool,
}

/// Where a stream comes from and how far it may go.
pub struct Source<R> {
    /// The packed bytes.
    pub reader: R,
    /// More than this many are refused.
    pub max_size: u64,
    /// Takes the packed bytes as they come.
    pub keep: Option<Keep>,
}

/// A file that takes a stream's bytes.
pub struct Keep {
    /// Written from its present position on.
    pub file: File,
    /// So many bytes at the beginning of the stream are in it already.
    pub already: u64,
}

impl Keep {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let passed = usize::try_from(self.already).map_or(chunk.len(), |already| already.min(chunk.len()));
        self.already -= passed as u64;
        self.file.write_all(&chunk[passed..])
    }
}

/// Reads a stream to its end, keeps, hashes and decompresses it, and gives what comes out to `consume`.
///
/// # Errors
/// Those of reading and keeping, and those of decompressing and consuming that no byte to come can change: they end the stream.
/// The others are in [`Streamed::unpacked`], with [`UnpackError::Postponed`] if there is no memory for it now.
pub fn stream<R, T>(
    mut source: Source<R>,
    memory: &Memory<'_>,
    limits: &Limits,
    consume: impl FnOnce(&mut ChunkReader<'_>) -> Result<T, UnpackError>,
) -> Result<Streamed<T>, UnpackError>
where
    R: Read + Send,
{
    let first = read_chunk(&mut source.reader)?;
    let compression = Compression::detect(&first)?;
    let grant = match compression {
        Compression::Zstd => Some(memory.windows.take(memory.need, memory.is_given_up)),
        Compression::None | Compression::Gzip => None,
    };
    let is_over = &AtomicBool::new(false);
    let source = Source {
        reader: Ended {
            source: source.reader,
            is_over,
        },
        max_size: source.max_size,
        keep: source.keep,
    };
    thread::scope(|scope| {
        let (hash_sink, hash) = spawn_hasher(scope);
        let (data_sink, mut data) = queue();
        let reading = scope.spawn(move || run_reader(source, first, &hash_sink, data_sink));
        let decoding = match compression {
            Compression::None => None,
            packed => {
                let (decoded_sink, decoded) = queue();
                let (hash_sink, hash) = spawn_hasher(scope);
                let mut raw = std::mem::replace(&mut data, decoded);
                let need = memory.need;
                let decoder = scope.spawn(move || {
                    raw.grant = match grant {
                        Some(None) => return Err(UnpackError::Postponed(Need::Usual)),
                        granted => granted.flatten(),
                    };
                    run_decoder((packed, need), raw, limits, &hash_sink, &decoded_sink)
                        .inspect_err(|error| end_if_final(is_over, error))
                });
                Some((decoder, hash))
            }
        };
        let consumed = consume(&mut data).and_then(|made| drain(&mut data).map(|()| made));
        let consumed = consumed.inspect_err(|error| end_if_final(is_over, error));
        drop(data);
        let decoded = decoding.map(|(decoder, hash)| (join(decoder), join(hash)));
        let read = join(reading);
        let packed = join(hash);
        read?;
        let unpacked = match (decoded, consumed) {
            // What a decoder says of a stream that was ended is no news.
            (_, Err(error)) if error.is_final() => Err(error),
            (Some((Err(error), _)), _) => Err(error),
            (Some((Ok(()), digest)), consumed) => consumed.map(|made| (digest, made)),
            (None, consumed) => consumed.map(|made| (packed.clone(), made)),
        };
        match unpacked {
            Err(error) if error.is_final() => Err(error),
            unpacked => Ok(Streamed {
                packed,
                compression,
                unpacked,
            }),
        }
    })
}

/// To be told before the queues close: the reader then has no more than what they hold.
fn end_if_final(is_over: &AtomicBool, error: &UnpackError) {
    if error.is_final() {
        is_over.store(true, Ordering::Relaxed);
    }
}

/// A source that is at its end as soon as nobody wants more.
struct Ended<'f, R> {
    source: R,
    is_over: &'f AtomicBool,
}

impl<R: Read> Read for Ended<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.is_over.load(Ordering::Relaxed) {
            true => Ok(0),
            false => self.source.read(buffer),
        }
    }
}

/// Bytes on their way from one stage to the next. A sender that goes without [`Message::End`] has failed.
enum Message {
    Data(Arc<Vec<u8>>),
    End,
}

fn queue<'w>() -> (SyncSender<Message>, ChunkReader<'w>) {
    let (sink, queue) = sync_channel(QUEUED);
    (
        sink,
        ChunkReader {
            queue,
            chunk: Arc::default(),
            used: 0,
            taken: 0,
            ended: false,
            grant: None,
        },
    )
}

/// The receiving end of a queue, as a reader.
pub struct ChunkReader<'w> {
    queue: Receiver<Message>,
    chunk: Arc<Vec<u8>>,
    used: usize,
    taken: u64,
    ended: bool,
    /// Memory of whoever reads, which ends the stream when it is wanted elsewhere.
    grant: Option<Grant<'w>>,
}

impl ChunkReader<'_> {
    fn receive(&mut self) -> io::Result<Message> {
        let broken = || io::Error::new(io::ErrorKind::BrokenPipe, "the stream broke off");
        let Some(grant) = &self.grant else {
            return self.queue.recv().map_err(|_| broken());
        };
        let mut is_idle = false;
        loop {
            if grant.is_wanted(is_idle) {
                return Err(io::Error::other(UnpackError::Postponed(Need::Usual)));
            }
            match self.queue.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => is_idle = true,
                received => return received.map_err(|_| broken()),
            }
        }
    }
}

impl BufRead for ChunkReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.chunk.len() && !self.ended {
            match self.receive()? {
                Message::Data(chunk) => {
                    self.taken += chunk.len() as u64;
                    (self.chunk, self.used) = (chunk, 0);
                }
                Message::End => self.ended = true,
            }
        }
        Ok(&self.chunk[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used += bytes;
    }
}

impl Read for ChunkReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// Reads until the chunk is full or the source is at its end.
fn read_chunk(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    source.take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

fn run_reader<R: Read>(
    mut source: Source<R>,
    mut chunk: Vec<u8>,
    hash: &SyncSender<Message>,
    data: SyncSender<Message>,
) -> Result<(), UnpackError> {
    let mut read = 0;
    let mut data = Some(data);
    while !chunk.is_empty() {
        read += chunk.len() as u64;
        if read > source.max_size {
            return Err(UnpackError::OverLimit {
                what: "the stream".to_owned(),
                limit: format!("{} bytes", source.max_size),
            });
        }
        if let Some(keep) = &mut source.keep {
            keep.write(&chunk)?;
        }
        let shared = Arc::new(chunk);
        // Whoever consumes may give up early; the bytes are kept and hashed to their end all the same.
        data = data.filter(|data| data.send(Message::Data(Arc::clone(&shared))).is_ok());
        let _hasher_lives_as_long = hash.send(Message::Data(shared));
        chunk = read_chunk(&mut source.reader)?;
    }
    if let Some(data) = data {
        let _consumer_may_be_gone = data.send(Message::End);
    }
    Ok(())
}

fn run_decoder(
    (compression, need): (Compression, Need),
    raw: ChunkReader<'_>,
    limits: &Limits,
    hash: &SyncSender<Message>,
    decoded: &SyncSender<Message>,
) -> Result<(), UnpackError> {
    let mut decoder = compression.decoder(raw, need.window_log())?;
    let mut unpacked = 0u64;
    loop {
        let chunk = read_chunk(&mut decoder).map_err(|error| decoding_error(error, need))?;
        if chunk.is_empty() {
            let _consumer_may_be_gone = decoded.send(Message::End);
            return Ok(());
        }
        unpacked += chunk.len() as u64;
        check_expansion(decoder.raw().taken, unpacked, limits)?;
        let shared = Arc::new(chunk);
        if decoded.send(Message::Data(Arc::clone(&shared))).is_err() {
            return Ok(());
        }
        let _hasher_lives_as_long = hash.send(Message::Data(shared));
    }
}

fn decoding_error(error: io::Error, need: Need) -> UnpackError {
    if let Some(more) = need.beyond().filter(|_| is_window_too_large(&error)) {
        return UnpackError::Postponed(more);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => UnpackError::Truncated,
        _ => match error.downcast::<UnpackError>() {
            Ok(postponed) => postponed,
            Err(error) => UnpackError::Read(error),
        },
    }
}

/// Bombs are known by their size, or by a ratio that no real layer has.
pub(super) fn check_expansion(packed: u64, unpacked: u64, limits: &Limits) -> Result<(), UnpackError> {
    if unpacked > limits.unpacked {
        return Err(UnpackError::OverLimit {
            what: "the unpacked stream".to_owned(),
            limit: format!("{} bytes", limits.unpacked),
        });
    }
    if unpacked > limits.ratio_from && unpacked / limits.ratio > packed {
        return Err(UnpackError::OverLimit {
            what: "the ratio of compression".to_owned(),
            limit: format!("{}:1", limits.ratio),
        });
    }
    Ok(())
}

/// What comes after a tar's end mark belongs to the digest, so it has to be read too.
fn drain(data: &mut ChunkReader<'_>) -> Result<(), UnpackError> {
    loop {
        let rest = data.fill_buf()?.len();
        if rest == 0 {
            return Ok(());
        }
        data.consume(rest);
    }
}

fn spawn_hasher<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
) -> (SyncSender<Message>, ScopedJoinHandle<'scope, Measured>) {
    let (sink, queue) = sync_channel(QUEUED);
    let hasher = scope.spawn(move || {
        let (mut hasher, mut size) = (Hasher::default(), 0);
        while let Ok(Message::Data(chunk)) = queue.recv() {
            hasher.update(&chunk);
            size += chunk.len() as u64;
        }
        Measured {
            digest: hasher.finish(),
            size,
        }
    });
    (sink, hasher)
}

fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    // A panic of a stage is a bug; it goes on in the caller's thread instead of being lost.
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
