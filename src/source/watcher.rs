//! The kernel's hints: something happened in one of these directories.
//!
//! One watch per directory of the last walk, which knows symlinks and overlays' bases; nothing is watched recursively, so
//! `.git` and its like cost nothing. Events carry nothing but a ring of the bell: what happened is found by looking.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::Noticing;
use super::tree::{Directories, DirectoryId};

/// Watches directories and rings a bell.
#[derive(Debug)]
pub struct Watcher {
    inner: Option<RecommendedWatcher>,
    /// Why not everything is watched.
    trouble: Option<String>,
    bell: Arc<Notify>,
    places: Arc<Mutex<Places>>,
}

/// What is known of the directories, by the thread that gets the events too. No one may hold the lock who asks `inner` for anything:
/// that thread answers.
#[derive(Debug, Default)]
struct Places {
    watched: BTreeMap<PathBuf, DirectoryId>,
    /// Those in which only some names matter.
    narrow: BTreeMap<PathBuf, BTreeSet<OsString>>,
}

impl Places {
    /// Takes an event in; returns whether anything that matters may have changed.
    fn hear(&mut self, event: &Event) -> bool {
        let is_lost = self.forget_moved(event);
        is_lost || (is_relevant(&event.kind) && !self.is_elsewhere(event))
    }

    /// `notify` drops the watch of what is moved away or removed, even where it comes back at once and looks as before. Returns
    /// whether it dropped one of ours.
    fn forget_moved(&mut self, event: &Event) -> bool {
        let is_move = matches!(
            event.kind,
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_)
        );
        let before = self.watched.len();
        if is_move {
            self.watched
                .retain(|path, _| !event.paths.iter().any(|moved| path.starts_with(moved)));
        }
        self.watched.len() < before
    }

    /// Whether an event is of names that do not matter.
    fn is_elsewhere(&self, event: &Event) -> bool {
        let is_other = |path: &PathBuf| {
            let names = path.parent().and_then(|parent| self.narrow.get(parent));
            names.is_some_and(|names| path.file_name().is_some_and(|name| !names.contains(name)))
        };
        !event.paths.is_empty() && event.paths.iter().all(is_other)
    }
}

impl Watcher {
    /// A watcher of nothing.
    pub fn new(bell: Arc<Notify>) -> Self {
        let mut watcher = Self {
            inner: None,
            trouble: None,
            bell,
            places: Arc::default(),
        };
        watcher.open();
        watcher
    }

    fn open(&mut self) {
        let (bell, places) = (Arc::clone(&self.bell), Arc::clone(&self.places));
        let made = RecommendedWatcher::new(
            move |event: notify::Result<Event>| {
                // An error may be a lost event.
                if event.is_ok_and(|event| !lock(&places).hear(&event)) {
                    return;
                }
                bell.notify_one();
            },
            Config::default().with_follow_symlinks(true),
        );
        match made {
            Ok(watcher) => self.inner = Some(watcher),
            Err(error) => self.trouble = Some(limit_hint(&error, "fs.inotify.max_user_instances")),
        }
    }

    /// Watches these directories and no others. Returns whether some are new: what happened in them before they were
    /// watched is not known.
    pub fn watch(&mut self, wanted: &Directories) -> bool {
        lock(&self.places).narrow = wanted
            .iter()
            .filter_map(|(path, directory)| Some((path.clone(), directory.only.clone()?)))
            .collect();
        if self.inner.is_none() {
            self.open();
        }
        let Some(inner) = &mut self.inner else { return false };
        self.trouble = None;
        let is_stale = |path: &PathBuf, id: &DirectoryId| wanted.get(path).is_none_or(|directory| directory.id != *id);
        let stale = lock(&self.places)
            .watched
            .extract_if(.., |path, id| is_stale(path, id))
            .collect::<Vec<_>>();
        for (path, _) in stale {
            // The kernel has dropped the watch of a directory that is gone by itself.
            let _ = inner.unwatch(&path);
        }
        let mut is_new = false;
        for (path, directory) in wanted {
            // Before it is watched, so that what happens in that very moment is not forgotten.
            if lock(&self.places).watched.insert(path.clone(), directory.id).is_some() {
                continue;
            }
            match inner.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => is_new = true,
                Err(error) => {
                    lock(&self.places).watched.remove(path);
                    // If it went away since the walk, the next one will know.
                    match is_gone(&error) {
                        true => is_new = true,
                        false => self.trouble = Some(limit_hint(&error, "fs.inotify.max_user_watches")),
                    }
                }
            }
        }
        is_new
    }

    /// How changes are noticed.
    pub fn noticing(&self) -> Noticing {
        self.trouble.clone().map_or(Noticing::Events, Noticing::Polling)
    }
}

/// Looking at files opens and closes them, which the kernel reports too; only what may have changed something counts.
fn is_relevant(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound | notify::ErrorKind::WatchNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        notify::ErrorKind::Generic(_) | notify::ErrorKind::InvalidConfig(_) | notify::ErrorKind::MaxFilesWatch => false,
    }
}

fn limit_hint(error: &notify::Error, limit: &str) -> String {
    let is_limit = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        // Too many open files is what the kernel says when there are too many inotify instances.
        notify::ErrorKind::Io(error) => matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENOSPC)),
        _ => false,
    };
    if is_limit {
        format!("{error}; raise it with: sudo sysctl {limit}=524288")
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_reading_rings_no_bell() {
        assert!(!is_relevant(&EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_relevant(&EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_relevant(&EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_relevant(&EventKind::Other));
    }

    #[test]
    fn a_limit_is_named_with_what_mends_it() {
        let hint = limit_hint(
            &notify::Error::new(notify::ErrorKind::MaxFilesWatch),
            "fs.inotify.max_user_watches",
        );
        assert!(
            hint.ends_with("sudo sysctl fs.inotify.max_user_watches=524288"),
            "{hint}"
        );
    }
}
