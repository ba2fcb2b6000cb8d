//! The objects on disk: a redb database, written by one thread that takes all that has queued up into one transaction. So
//! fifty pods that start at once cost a few syncs of the disk and not hundreds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch as bell;

use super::state::{Change, ChangeKind, State};
use crate::model::{Key, Object};

/// `group/plural/namespace/name` to the object as JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");

/// One row, `""`: the newest resourceVersion that was written.
const VERSION: TableDefinition<'_, &str, u64> = TableDefinition::new("version");

/// After a restart versions go on this far above the last one on disk: those that were handed out but not yet written must
/// not be handed out again for something else. More than a queue can hold.
const GAP: u64 = 100_000;

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It can't be opened, or is damaged.
    #[error("{path}: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// An entry is not an object of a known kind.
    #[error("{path}: entry {key:?} is not an object this version knows", path = path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry.
        key: String,
    },
}

struct Entry {
    key: String,
    /// `None` removes it.
    object: Option<Arc<Object>>,
    resource_version: u64,
}

/// The writer's end.
pub(super) struct Journal {
    queue: Mutex<Option<mpsc::Sender<Entry>>>,
    written: bell::Receiver<u64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// A journal that is always up to date because it keeps nothing.
    pub(super) fn none() -> Self {
        let (_, written) = bell::channel(u64::MAX);
        Self {
            queue: Mutex::new(None),
            written,
            thread: Mutex::new(None),
        }
    }

    pub(super) fn open(file: &Path) -> Result<(Self, State), JournalError> {
        let open = |source: redb::Error| JournalError::Open {
            path: file.to_owned(),
            source: Box::new(source),
        };
        // A small cache: objects are in memory anyway, and the node's idle size is a promise.
        let database = Database::builder()
            .set_cache_size(1 << 20)
            .create(file)
            .map_err(|e| open(e.into()))?;
        let (rows, version) = read(&database).map_err(open)?;
        let mut objects = Vec::with_capacity(rows.len());
        for (key, bytes) in rows {
            let object = serde_json::from_slice(&bytes).ok().and_then(Object::new);
            objects.push(object.ok_or_else(|| JournalError::Entry {
                path: file.to_owned(),
                key,
            })?);
        }
        let state = match version {
            Some(version) => State::restored(objects, version + GAP),
            None => State::empty(),
        };
        let (queue, entries) = mpsc::channel();
        let (done, written) = bell::channel(state.resource_version());
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(&database, &entries, &done))
            .map_err(|e| open(redb::Error::Io(e)))?;
        let journal = Self {
            queue: Mutex::new(Some(queue)),
            written,
            thread: Mutex::new(Some(thread)),
        };
        Ok((journal, state))
    }

    /// Queues a change. Called under the store's lock, so entries stand in the order of their versions.
    pub(super) fn append(&self, change: &Change) {
        let object = match change.kind {
            ChangeKind::Deleted => None,
            ChangeKind::Added | ChangeKind::Modified => Some(change.object.clone()),
        };
        let key = row_key(change.object.key());
        if let Some(queue) = &*self.queue.lock().expect("no holder panics") {
            // The thread ends only after `close` took the queue, or with a broken disk, of which it has told.
            let _ = queue.send(Entry {
                key,
                object,
                resource_version: change.resource_version,
            });
        }
    }

    pub(super) async fn durable(&self, resource_version: u64) {
        let mut written = self.written.clone();
        // An error means that the thread is gone: there is nothing left to wait for.
        let _ = written.wait_for(|&done| done >= resource_version).await;
    }

    pub(super) fn close(&self) {
        self.queue.lock().expect("no holder panics").take();
        let thread = self.thread.lock().expect("no holder panics").take();
        if let Some(thread) = thread {
            // A panic in the thread was already printed.
            let _ = thread.join();
        }
    }
}

fn row_key(key: &Key) -> String {
    let kind = key.kind();
    format!("{}/{}/{}/{}", kind.group, kind.plural, key.namespace, key.name)
}

type Rows = Vec<(String, Vec<u8>)>;

fn read(database: &Database) -> Result<(Rows, Option<u64>), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(OBJECTS)?;
    write.open_table(VERSION)?;
    write.commit()?;
    let read = database.begin_read()?;
    let mut rows = Vec::new();
    for row in read.open_table(OBJECTS)?.iter()? {
        let (key, bytes) = row?;
        rows.push((key.value().to_owned(), bytes.value().to_vec()));
    }
    let version = read.open_table(VERSION)?.get("")?.map(|v| v.value());
    Ok((rows, version))
}

/// Writes batches until the queue is closed and empty. A disk that does not take them is told once per failure; the objects
/// stay right in memory and the next batch carries the failed one along.
fn run(database: &Database, entries: &mpsc::Receiver<Entry>, done: &bell::Sender<u64>) {
    let mut batch = BTreeMap::new();
    while let Ok(first) = entries.recv() {
        let mut version = first.resource_version;
        batch.insert(first.key, first.object);
        // Later states of an object replace earlier ones: only the last is written.
        while let Ok(entry) = entries.try_recv() {
            version = entry.resource_version;
            batch.insert(entry.key, entry.object);
        }
        match write(database, &batch, version) {
            Ok(()) => {
                batch.clear();
                done.send_replace(version);
            }
            Err(error) => tracing::error!(%error, "the journal can't be written; changes are kept in memory only"),
        }
    }
}

fn write(database: &Database, batch: &BTreeMap<String, Option<Arc<Object>>>, version: u64) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for (key, object) in batch {
            match object {
                Some(object) => {
                    let bytes = serde_json::to_vec(object.value()).expect("JSON values have string keys");
                    objects.insert(key.as_str(), bytes.as_slice())?;
                }
                None => drop(objects.remove(key.as_str())?),
            }
        }
        transaction.open_table(VERSION)?.insert("", version)?;
    }
    transaction.commit()?;
    Ok(())
}
