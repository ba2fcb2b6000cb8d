//! The objects on disk: a redb database, written by one thread that takes all that has queued up into one transaction. So
//! fifty pods that start at once cost a few syncs of the disk and not hundreds. While the disk takes nothing, who waits for it is told
//! so, and what was not written is tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

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

/// How long after a write that failed the next is tried, if nothing else is to be written sooner: a full disk is soon noticed to have
/// room again, and asking costs little.
const RETRY: Duration = Duration::from_secs(1);

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

/// A change is in memory only: the disk did not take it. It is tried again until it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the change is made, but it can't be written to disk yet: {0}")]
pub struct NotDurable(Arc<str>);

/// How far the journal is.
#[derive(Debug, Clone)]
struct Progress {
    /// The newest resourceVersion on disk.
    written: u64,
    /// The newest that was tried since, and why it failed.
    failed: Option<(u64, NotDurable)>,
}

impl Progress {
    fn up_to(written: u64) -> Self {
        Self { written, failed: None }
    }

    fn of(&self, version: u64) -> Option<Result<(), NotDurable>> {
        if self.written >= version {
            return Some(Ok(()));
        }
        let failed = self.failed.iter().find(|(tried, _)| *tried >= version);
        failed.map(|(_, why)| Err(why.clone()))
    }
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
    progress: bell::Receiver<Progress>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// A journal that is always up to date because it keeps nothing.
    pub(super) fn none() -> Self {
        let (_, progress) = bell::channel(Progress::up_to(u64::MAX));
        Self {
            queue: Mutex::new(None),
            progress,
            thread: Mutex::new(None),
        }
    }

    pub(super) fn open(file: &Path) -> Result<(Self, State), JournalError> {
        let path = file.to_owned();
        // A small cache: objects are in memory anyway, and the node's idle size is a promise.
        let open = move || Ok(Database::builder().set_cache_size(1 << 20).create(&path)?);
        Self::start(file, Box::new(open))
    }

    fn start(file: &Path, mut opener: Opener) -> Result<(Self, State), JournalError> {
        let failed = |source: redb::Error| JournalError::Open {
            path: file.to_owned(),
            source: Box::new(source),
        };
        let database = opener().map_err(failed)?;
        let (rows, version) = read(&database).map_err(failed)?;
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
        let (told, progress) = bell::channel(Progress::up_to(state.resource_version()));
        let writer = Writer {
            opener,
            database: Some(database),
            batch: BTreeMap::new(),
            version: state.resource_version(),
            told,
        };
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&entries))
            .map_err(|e| failed(redb::Error::Io(e)))?;
        let journal = Self {
            queue: Mutex::new(Some(queue)),
            progress,
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
            // The thread ends only after `close` took the queue.
            let _ = queue.send(Entry {
                key,
                object,
                resource_version: change.resource_version,
            });
        }
    }

    pub(super) async fn durable(&self, resource_version: u64) -> Result<(), NotDurable> {
        let mut progress = self.progress.clone();
        let decided = progress
            .wait_for(|progress| progress.of(resource_version).is_some())
            .await;
        // An error means that the thread is gone: there is nothing left to wait for.
        decided.map_or(Ok(()), |progress| progress.of(resource_version).unwrap_or(Ok(())))
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

/// Opens the database. A database that met an error of the disk refuses all further work until it is opened anew.
type Opener = Box<dyn FnMut() -> Result<Database, redb::Error> + Send>;

/// The thread that writes.
struct Writer {
    opener: Opener,
    /// None after a failure.
    database: Option<Database>,
    /// What is not on disk yet: later states of an object replace earlier ones, `None` removes it.
    batch: BTreeMap<String, Option<Arc<Object>>>,
    /// The version of the last change in the batch.
    version: u64,
    told: bell::Sender<Progress>,
}

impl Writer {
    /// Writes batches until the queue is closed.
    fn run(mut self, entries: &mpsc::Receiver<Entry>) {
        while self.wait(entries) {
            while let Ok(entry) = entries.try_recv() {
                self.take(entry);
            }
            self.write();
        }
        if !self.batch.is_empty() {
            self.write();
        }
    }

    /// Waits for something to write, or for the time of the next try; false when nothing more will come.
    fn wait(&mut self, entries: &mpsc::Receiver<Entry>) -> bool {
        let next = match self.batch.is_empty() {
            true => entries.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            false => entries.recv_timeout(RETRY),
        };
        match next {
            Ok(entry) => self.take(entry),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn take(&mut self, entry: Entry) {
        self.version = entry.resource_version;
        self.batch.insert(entry.key, entry.object);
    }

    /// Writes the batch, or keeps it for the next try. Trouble and its end are told once.
    fn write(&mut self) {
        let database = self.database.take().map_or_else(&mut self.opener, Ok);
        let written = database.and_then(|database| write(&database, &self.batch, self.version).map(|()| database));
        let was_failing = self.told.borrow().failed.is_some();
        match written {
            Ok(database) => {
                self.database = Some(database);
                self.batch.clear();
                if was_failing {
                    tracing::info!("the journal is written again");
                }
                self.told.send_replace(Progress::up_to(self.version));
            }
            Err(error) => {
                if !was_failing {
                    tracing::error!(%error, "the journal can't be written; changes are kept in memory until it can");
                }
                let failed = (self.version, NotDurable(error.to_string().into()));
                self.told.send_modify(|progress| progress.failed = Some(failed));
            }
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::FileBackend;
    use serde_json::json;

    use super::*;

    /// A disk that can be full.
    #[derive(Debug)]
    struct Disk {
        file: FileBackend,
        is_full: Arc<AtomicBool>,
    }

    impl Disk {
        fn has_room(&self) -> io::Result<()> {
            match self.is_full.load(Ordering::SeqCst) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.has_room()?;
            self.file.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.has_room()?;
            self.file.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.has_room()?;
            self.file.write(offset, data)
        }
    }

    fn change(name: &str, version: u64) -> Change {
        let value =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
        Change {
            kind: ChangeKind::Added,
            object: Arc::new(Object::new(value).expect("a ConfigMap")),
            resource_version: version,
            old: None,
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_told_to_who_waits_and_what_it_did_not_take_is_written_when_it_has_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, is_full) = (dir.path().join("journal"), Arc::new(AtomicBool::new(false)));
        let (opened, full) = (path.clone(), is_full.clone());
        let open = move || {
            let file = std::fs::File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&opened)?;
            let disk = Disk {
                file: FileBackend::new(file)?,
                is_full: full.clone(),
            };
            Ok(Database::builder().create_with_backend(disk)?)
        };
        let (journal, state) = Journal::start(&path, Box::new(open)).expect("a new journal");
        let first = state.resource_version() + 1;
        journal.append(&change("before", first));
        assert_eq!(journal.durable(first).await, Ok(()));
        is_full.store(true, Ordering::SeqCst);
        journal.append(&change("meanwhile", first + 1));
        assert!(journal.durable(first + 1).await.is_err());
        is_full.store(false, Ordering::SeqCst);
        journal.append(&change("after", first + 2));
        assert_eq!(journal.durable(first + 2).await, Ok(()), "the database was opened anew");
        journal.close();
        let (_, state) = Journal::open(&path).expect("its own journal");
        let kind = crate::model::kind("v1", "ConfigMap").expect("in the table");
        let names: Vec<String> = state
            .list(kind, None)
            .iter()
            .map(|object| object.key().name.clone())
            .collect();
        assert_eq!(names, ["after", "before", "meanwhile"]);
    }
}
