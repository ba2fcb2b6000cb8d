//! A blob on its way from the registry to code that blocks: bounded, resumed where it broke off, given up when it stalls.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::RegistryError;
use super::session::{Failure, Session};
use crate::image::document::Descriptor;
use crate::image::progress::LayerProgress;

/// Chunks that wait between network and unpacking. Hyper's grow to 400 KiB on a fast connection: at most 1.6 MiB.
const QUEUED: usize = 4;
/// How often in a row a connection may break or stall before more than a trickle came.
const TRIES: u32 = 5;
/// The wait after the first break; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Fewer bytes than this within the time of a stall are a stall too: a trickle would hold its place for days.
const TRICKLE: u64 = 16 << 10;

/// What is needed to have a blob sent.
#[derive(Clone)]
pub struct Transfer {
    /// Who is asked.
    pub session: Arc<Session>,
    /// What is wanted.
    pub blob: Descriptor,
    /// Where is counted what came.
    pub progress: Arc<LayerProgress>,
    /// Ends it.
    pub cancel: CancellationToken,
    /// How long it may make no progress.
    pub stall: Duration,
}

impl Transfer {
    /// Begins at a byte and returns what comes. To be called within the runtime; the reader is for a thread that may block.
    pub fn start(&self, at: u64) -> BlobReader {
        let (sender, receiver) = mpsc::channel(QUEUED);
        let transfer = self.clone();
        tokio::spawn(async move {
            let cancel = transfer.cancel.clone();
            let outcome = tokio::select! {
                outcome = transfer.run(at, &sender) => outcome,
                () = cancel.cancelled() => Err(RegistryError::Cancelled),
            };
            // An empty chunk is the end; without it the reader knows that we were cut off. It may have gone before us.
            let _ = sender.send(outcome.map(|()| Bytes::new())).await;
        });
        BlobReader {
            receiver,
            chunk: Bytes::new(),
            is_over: false,
        }
    }

    async fn run(&self, mut at: u64, sender: &mpsc::Sender<Result<Bytes, RegistryError>>) -> Result<(), RegistryError> {
        let (mut tries, mut wait) = (0, FIRST_WAIT);
        let mut before = at;
        loop {
            let failure = match self.run_once(&mut at, sender).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            // A trickle is no progress, however many connections it takes.
            if at - before >= TRICKLE {
                (tries, wait, before) = (0, FIRST_WAIT, at);
            }
            tries += 1;
            if tries >= TRIES || !failure.is_passing() {
                return Err(failure.error);
            }
            let Failure { error, asked } = failure;
            tracing::debug!(blob = %self.blob.digest, at, %error, "a download broke off; it goes on in a moment");
            tokio::time::sleep(asked.unwrap_or(wait)).await;
            wait *= 2;
        }
    }

    /// One connection's worth. `at` moves with what was handed on.
    async fn run_once(&self, at: &mut u64, sender: &mpsc::Sender<Result<Bytes, RegistryError>>) -> Result<(), Failure> {
        let what = format!("blob {}", self.blob.digest);
        let url = self.session.url(&format!("blobs/{}", self.blob.digest)).await?;
        let from = *at;
        if from > 0 && from == self.blob.size {
            // The last connection broke just after the last byte.
            return Ok(());
        }
        let range = |request: reqwest::RequestBuilder| match from {
            0 => request,
            from => request.header(RANGE, format!("bytes={from}-")),
        };
        let mut response = self.session.request_once(&what, Method::GET, &url, range).await?;
        // Who knows no ranges sends all of it again.
        let mut skip = self.plan_skip(&what, from, &response)?;
        let mut window = Window::new(self.stall);
        while let Some(mut chunk) = self.next(&mut response).await? {
            window.check(chunk.len() as u64).map_err(|why| RegistryError::Stalled {
                host: self.session.host().to_owned(),
                why,
            })?;
            let passed = skip.min(chunk.len() as u64);
            chunk.advance(usize::try_from(passed).expect("no more than the chunk"));
            skip -= passed;
            if chunk.is_empty() {
                continue;
            }
            *at += chunk.len() as u64;
            self.progress.add(chunk.len() as u64);
            if sender.send(Ok(chunk)).await.is_err() {
                // Whoever read has what it wanted, or has failed.
                return Ok(());
            }
            // Time that the reader took is not the registry's.
            window.resume();
        }
        if *at < self.blob.size {
            let why = format!("{what} ended after {at} of {} bytes", self.blob.size);
            let host = self.session.host().to_owned();
            return Err(RegistryError::Connection { host, why }.into());
        }
        Ok(())
    }

    async fn next(&self, response: &mut Response) -> Result<Option<Bytes>, RegistryError> {
        response
            .chunk()
            .await
            .map_err(|error| RegistryError::of(self.session.host(), error))
    }

    /// How many bytes of the answer are known already.
    fn plan_skip(&self, what: &str, from: u64, response: &Response) -> Result<u64, RegistryError> {
        if from == 0 || response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(from);
        }
        let range = response
            .headers()
            .get(CONTENT_RANGE)
            .and_then(|value| value.to_str().ok());
        match range.and_then(start_of_range) {
            Some(start) if start <= from => Ok(from - start),
            _ => Err(self
                .session
                .nonsense(what, &format!("asked from byte {from} on, it sends {range:?}"))),
        }
    }
}

/// The first byte of `bytes 5-9/10`.
fn start_of_range(value: &str) -> Option<u64> {
    value.strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

/// Watches that bytes come faster than a trickle.
struct Window {
    length: Duration,
    begun: Instant,
    paused: Instant,
    bytes: u64,
}

impl Window {
    fn new(length: Duration) -> Window {
        let now = Instant::now();
        Window {
            length,
            begun: now,
            paused: now,
            bytes: 0,
        }
    }

    /// Counts what came.
    fn check(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes += bytes;
        let now = Instant::now();
        self.paused = now;
        if now - self.begun < self.length {
            return Ok(());
        }
        if self.bytes < TRICKLE {
            return Err(format!("{} bytes in {} s", self.bytes, self.length.as_secs()));
        }
        (self.begun, self.bytes) = (now, 0);
        Ok(())
    }

    /// The time since [`Window::check`] does not count.
    fn resume(&mut self) {
        self.begun += self.paused.elapsed();
    }
}

/// What comes, for code that blocks.
pub struct BlobReader {
    receiver: mpsc::Receiver<Result<Bytes, RegistryError>>,
    chunk: Bytes,
    is_over: bool,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !self.is_over {
            match self.receiver.blocking_recv() {
                Some(Ok(chunk)) => {
                    self.is_over = chunk.is_empty();
                    self.chunk = chunk;
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other(RegistryError::Cancelled)),
            }
        }
        let length = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_a_stall_and_a_slow_reader_is_not() {
        let second = Duration::from_secs(1);
        let mut window = Window::new(second * 10);
        for _ in 0..100 {
            tokio::time::advance(second).await;
            window.check(TRICKLE).expect("fast enough");
        }
        let mut window = Window::new(second * 10);
        window.check(1).expect("it has just begun");
        tokio::time::advance(second * 60).await;
        window.resume();
        window.check(1).expect("the reader was slow");
        tokio::time::advance(second * 11).await;
        assert!(window.check(1).is_err());
    }

    #[test]
    fn ranges_are_read() {
        for (value, start) in [
            ("bytes 5-9/10", Some(5)),
            ("bytes 0-9/*", Some(0)),
            ("5-9/10", None),
            ("bytes */10", None),
        ] {
            assert_eq!(start_of_range(value), start, "{value}");
        }
    }
}
