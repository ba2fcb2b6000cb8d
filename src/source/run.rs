//! A source at work: read, tell, wait for a hint or the clock, read again.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::reader::{Reader, Reading, read_text};
use super::watcher::Watcher;
use super::{Listing, Noticing, Origin, SourceSpec, Timing};
use crate::admit::MAX_FILE_BYTES;
use crate::model::Clock;
use crate::os::Halt;

/// A source that is read for as long as its token is not cancelled.
#[derive(Debug)]
pub struct RunningSource {
    /// The newest listing; changes only when the source does. Generation 0 is before the first reading.
    pub listings: watch::Receiver<Arc<Listing>>,
    /// Ends when the token is cancelled, or after the first listing for text.
    pub task: JoinHandle<()>,
}

/// Starts to read a source.
pub fn spawn(spec: SourceSpec, clock: Arc<dyn Clock>, stop: CancellationToken) -> RunningSource {
    let (sender, listings) = watch::channel(Arc::new(Listing::unread(spec.id.clone())));
    let span = tracing::info_span!("source", id = %spec.id);
    let task = async move {
        match spec.origin {
            Origin::Path(path) => {
                let reader = Reader::new(spec.id, path, spec.namespace, spec.timing, spec.overlays);
                let bell = Arc::new(Notify::new());
                let watcher = Watcher::new(Arc::clone(&bell));
                Running {
                    reader,
                    watcher,
                    bell,
                    timing: spec.timing,
                    clock,
                    sender,
                }
                .run(stop)
                .await;
            }
            Origin::Text { name, bytes } => {
                tell(&sender, read_text(&spec.id, &name, &bytes, &spec.namespace));
            }
        }
    };
    RunningSource {
        listings,
        task: tokio::spawn(task.instrument(span)),
    }
}

/// Reads a source once, without watching it.
pub async fn read_once(spec: SourceSpec, clock: Arc<dyn Clock>) -> Listing {
    let path = match spec.origin {
        Origin::Path(path) => path,
        Origin::Text { name, bytes } => {
            return Listing {
                generation: 1,
                ..read_text(&spec.id, &name, &bytes, &spec.namespace)
            };
        }
    };
    let reader = Reader::new(spec.id, path, spec.namespace, spec.timing, spec.overlays);
    let (_, reading) = read(reader, &clock).await;
    Listing {
        generation: 1,
        noticing: Noticing::Never,
        ..reading.listing
    }
}

/// Reads standard input to its end.
///
/// # Errors
/// When it can't be read or is longer than any file may be.
pub async fn read_stdin() -> io::Result<Origin> {
    let mut bytes = Vec::new();
    tokio::io::stdin()
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .await?;
    Ok(Origin::Text {
        name: "-".into(),
        bytes: bytes.into(),
    })
}

struct Running {
    reader: Reader,
    watcher: Watcher,
    bell: Arc<Notify>,
    timing: Timing,
    clock: Arc<dyn Clock>,
    sender: watch::Sender<Arc<Listing>>,
}

impl Running {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let reading;
            (self.reader, reading) = tokio::select! {
                () = stop.cancelled() => return,
                read = read(self.reader, &self.clock) => read,
            };
            // Between the walk and the watch anything may have happened in a directory: look once more.
            let is_new = self.watcher.watch(&reading.directories);
            let noticing = self.watcher.noticing();
            let regular = if noticing == Noticing::Events {
                self.timing.rescan
            } else {
                self.timing.poll
            };
            let soon = if is_new {
                Some(self.timing.quiet)
            } else {
                reading.look_again
            };
            tell(
                &self.sender,
                Listing {
                    noticing,
                    ..reading.listing
                },
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = burst(&self.bell, self.timing) => {}
                () = sleep(soon.map_or(regular, |soon| soon.min(regular))) => {}
            }
        }
    }
}

/// Reads where blocking is allowed. If nobody waits for it any more, the programs that build its overlays are ended.
async fn read(mut reader: Reader, clock: &Arc<dyn Clock>) -> (Reader, Reading) {
    let now = clock.now();
    // Without a descriptor left the programs' own limits must do.
    let halt = Halt::new().ok();
    let _called = halt.clone().map(CallOnDrop);
    let work = tokio::task::spawn_blocking(move || {
        let mut read = || reader.read(now);
        let reading = match &halt {
            Some(halt) => halt.over(read),
            None => read(),
        };
        (reader, reading)
    });
    work.await
        .expect("reading does not panic, and the runtime outlives its tasks")
}

/// Calls work off that is waited for no more.
struct CallOnDrop(Halt);

impl Drop for CallOnDrop {
    fn drop(&mut self) {
        self.0.call();
    }
}

/// Waits for an event and then for the end of the burst that it began, but not for ever.
async fn burst(bell: &Notify, timing: Timing) {
    bell.notified().await;
    let end = Instant::now() + timing.most;
    while Instant::now() < end {
        let quiet = (Instant::now() + timing.quiet).min(end);
        if timeout_at(quiet, bell.notified()).await.is_err() {
            return;
        }
    }
    sleep_until(end).await;
}

/// Tells a listing if it differs from the last one.
fn tell(sender: &watch::Sender<Arc<Listing>>, listing: Listing) {
    sender.send_if_modified(|last| {
        let listing = Listing {
            generation: last.generation,
            ..listing
        };
        if last.generation > 0 && **last == listing {
            return false;
        }
        let problems = listing.problems.len();
        tracing::debug!(
            objects = listing.objects.len(),
            problems,
            complete = listing.complete,
            "source read"
        );
        *last = Arc::new(Listing {
            generation: last.generation + 1,
            ..listing
        });
        true
    });
}
