//! Connections: streams that are opened, bytes that go both ways.
//!
//! Nothing is spawned here. Whoever has a connection drives it beside what it does with the streams, and drops both together.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;

use super::SpdyError;
use super::frame::{self, Control, HEAD, Head};
use super::header::{HeaderReader, HeaderWriter, Headers};

/// The most streams of one connection that may still send. Each connection of a port-forward is two, one of which its client ends at once.
const MOST_STREAMS: usize = 1024;

/// The largest piece of a data frame that is passed on. Frames may have 16 MB; nobody waits for the whole.
const PIECE: usize = 16 << 10;

/// How many pieces of a stream may wait for its reader.
const WAITING: usize = 16;

/// How many frames may wait for the other side to read.
const QUEUE: usize = 16;

/// How long the other side may take to notice the end. Closing while it still sends would cut off what it has yet to read.
const LINGER: Duration = Duration::from_secs(2);

/// Its sender gave a stream up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset;

/// What a stream receives. It ends when its sender says so; it does not end with the connection.
pub type Input = mpsc::Receiver<Result<Bytes, Reset>>;

/// A stream, open both ways.
#[derive(Debug)]
pub struct Stream {
    /// What its opener says of it.
    pub headers: Headers,
    /// What comes.
    pub input: Input,
    /// What goes.
    pub output: Output,
}

/// The sending end of a stream.
#[derive(Debug)]
pub struct Output {
    stream: u32,
    queue: mpsc::Sender<Vec<u8>>,
}

impl Output {
    /// Sends bytes as soon as there is room for them; false when the connection is over.
    pub async fn send(&self, bytes: &[u8]) -> bool {
        for piece in bytes.chunks(PIECE) {
            if self.queue.send(frame::data(self.stream, false, piece)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Says that nothing more comes.
    pub async fn finish(self) {
        // Without a connection nobody waits for it.
        let _ = self.queue.send(frame::data(self.stream, true, &[])).await;
    }

    /// Gives the stream up in both directions.
    pub async fn reset(self) {
        let _ = self.queue.send(frame::reset(self.stream)).await;
    }
}

/// The side that opens streams.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Mutex<Shared>>,
    queue: mpsc::Sender<Vec<u8>>,
    /// Nobody opens streams to a client. By its end the connection learns of the client's.
    _open: mpsc::Receiver<Stream>,
}

impl Client {
    /// Opens a stream; with `is_last` it only receives.
    ///
    /// # Errors
    /// When the connection is over, or has had all the streams that it can have.
    pub async fn open(&self, headers: Headers, is_last: bool) -> Result<Stream, SpdyError> {
        let gone = || SpdyError::Io(std::io::ErrorKind::BrokenPipe.into());
        let place = self.queue.reserve().await.map_err(|_| gone())?;
        let mut shared = lock(&self.shared);
        // The first is 1, and then every other.
        let stream = (shared.last + 1) | 1;
        let input = shared.enter(stream)?;
        // Packed in the order in which they are sent.
        let packed = shared.pack.write(&headers);
        place.send(frame::open(stream, is_last, &packed));
        let queue = self.queue.clone();
        Ok(Stream {
            headers,
            input,
            output: Output { stream, queue },
        })
    }
}

/// What both directions of a connection need.
struct Shared {
    /// Streams whose other side may still send.
    streams: HashMap<u32, mpsc::Sender<Result<Bytes, Reset>>>,
    /// The stream that was opened last.
    last: u32,
    pack: HeaderWriter,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn enter(&mut self, stream: u32) -> Result<Input, SpdyError> {
        if stream <= self.last || stream.is_multiple_of(2) || stream > i32::MAX.cast_unsigned() {
            return Err(SpdyError::BadStream(stream));
        }
        if self.streams.len() == MOST_STREAMS {
            return Err(SpdyError::TooManyStreams);
        }
        let (sender, input) = mpsc::channel(WAITING);
        self.streams.insert(stream, sender);
        self.last = stream;
        Ok(input)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("nothing panics with it")
}

/// The side that accepts streams: those that come, and what has to be driven for that.
///
/// The future ends when the other side is gone; then everything of the connection is over. When the receiver and all streams are dropped, it
/// sends what is left and ends too.
pub fn serve<R, W>(
    reader: R,
    writer: W,
) -> (
    mpsc::Receiver<Stream>,
    impl Future<Output = Result<(), SpdyError>> + Send,
)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (accepted, streams) = mpsc::channel(WAITING);
    let (handles, run) = start(reader, writer, accepted);
    // What is left of its own senders keeps a connection from its end.
    drop(handles);
    (streams, run)
}

/// The side that opens streams, and what has to be driven for that; it ends as that of [`serve`] does.
pub fn connect<R, W>(reader: R, writer: W) -> (Client, impl Future<Output = Result<(), SpdyError>> + Send)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (accepted, open) = mpsc::channel(1);
    let ((shared, queue), run) = start(reader, writer, accepted);
    let client = Client {
        shared,
        queue,
        _open: open,
    };
    (client, run)
}

type Handles = (Arc<Mutex<Shared>>, mpsc::Sender<Vec<u8>>);

fn start<R, W>(
    reader: R,
    writer: W,
    accepted: mpsc::Sender<Stream>,
) -> (Handles, impl Future<Output = Result<(), SpdyError>> + Send)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (queue, frames) = mpsc::channel(QUEUE);
    let shared = Arc::new(Mutex::new(Shared {
        streams: HashMap::new(),
        last: 0,
        pack: HeaderWriter::new(),
    }));
    let handles = (shared.clone(), queue.clone());
    let run = async move {
        let is_finished = accepted.clone();
        let mut receiving = Receiving {
            reader: BufReader::new(reader),
            unpack: HeaderReader::new(),
            shared,
            accepted,
            queue,
        };
        let sending = send(frames, writer);
        tokio::pin!(sending);
        tokio::select! {
            ended = receiving.run() => return ended,
            sent = &mut sending => return sent,
            () = is_finished.closed() => {}
        }
        // Nobody has use for what comes any more: what is left to send is sent, and the rest is not read.
        let mut reader = receiving.into_reader();
        sending.await?;
        let mut nowhere = tokio::io::sink();
        let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut reader, &mut nowhere)).await;
        Ok(())
    };
    (handles, run)
}

/// Sends frames until nobody has any more.
async fn send(mut frames: mpsc::Receiver<Vec<u8>>, mut writer: impl AsyncWrite + Unpin) -> Result<(), SpdyError> {
    while let Some(frame) = frames.recv().await {
        writer.write_all(&frame).await?;
        if frames.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(writer.shutdown().await?)
}

/// The receiving direction.
struct Receiving<R> {
    reader: BufReader<R>,
    unpack: HeaderReader,
    shared: Arc<Mutex<Shared>>,
    accepted: mpsc::Sender<Stream>,
    queue: mpsc::Sender<Vec<u8>>,
}

impl<R: AsyncRead + Unpin> Receiving<R> {
    /// The rest is dropped: as long as somebody may send, the connection does not end.
    fn into_reader(self) -> BufReader<R> {
        self.reader
    }

    /// Takes frames until the other side is gone.
    async fn run(&mut self) -> Result<(), SpdyError> {
        while !self.reader.fill_buf().await?.is_empty() {
            let mut head = [0; HEAD];
            self.reader.read_exact(&mut head).await?;
            match Head::parse(head)? {
                Head::Data {
                    stream,
                    is_last,
                    length,
                } => self.pass_on(stream, is_last, length).await?,
                Head::Control { kind, flags, length } => {
                    let mut payload = vec![0; length];
                    self.reader.read_exact(&mut payload).await?;
                    let control = Control::parse(kind, flags, &payload, &mut self.unpack)?;
                    self.obey(control).await?;
                }
            }
        }
        Ok(())
    }

    /// Gives a stream what is its own, in pieces. What nobody reads is dropped.
    async fn pass_on(&mut self, stream: u32, is_last: bool, mut left: usize) -> Result<(), SpdyError> {
        let sender = lock(&self.shared).streams.get(&stream).cloned();
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE)];
            let count = self.reader.read(&mut piece).await?;
            if count == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
            piece.truncate(count);
            left -= count;
            if let Some(sender) = &sender {
                let _ = sender.send(Ok(piece.into())).await;
            }
        }
        if is_last {
            lock(&self.shared).streams.remove(&stream);
        }
        Ok(())
    }

    async fn obey(&mut self, control: Control) -> Result<(), SpdyError> {
        match control {
            Control::Open {
                stream,
                is_last,
                headers,
            } => self.accept(stream, is_last, headers).await?,
            Control::Reset { stream } => {
                let sender = lock(&self.shared).streams.remove(&stream);
                if let Some(sender) = sender {
                    let _ = sender.send(Err(Reset)).await;
                }
            }
            // A connection that is over needs no answer.
            Control::Ping(number) => drop(self.queue.send(frame::pong(number)).await),
            Control::Other => {}
        }
        Ok(())
    }

    async fn accept(&mut self, stream: u32, is_last: bool, headers: Headers) -> Result<(), SpdyError> {
        let Ok(place) = self.queue.reserve().await else {
            return Ok(());
        };
        let input = {
            let mut shared = lock(&self.shared);
            let input = shared.enter(stream)?;
            if is_last {
                shared.streams.remove(&stream);
            }
            // Packed in the order in which they are sent.
            let packed = shared.pack.write(&Headers::default());
            place.send(frame::reply(stream, &packed));
            input
        };
        let output = Output {
            stream,
            queue: self.queue.clone(),
        };
        // Who accepts no more is about to end the connection.
        let _ = self.accepted.send(Stream { headers, input, output }).await;
        Ok(())
    }
}
