//! What is remembered of one file or overlay: what it names, what it named when it was last good, and since when it names less.
//!
//! Knows neither other files nor the disk, but for whether somebody is writing; the time is an argument.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::SourcedObject;
use super::built::Memory;
use super::reader::sourced;
use super::tree::{Dependencies, Seen};
use crate::admit::{Admitted, Problem};
use crate::model::Key;
use crate::os::{is_being_written, open_regular};

/// A change time may lie this far before the clock that it is compared with: file systems stamp in steps of a jiffy, and those of
/// other machines by other clocks. Looking at a file once too often costs microseconds.
const STAMP_SLACK: Duration = Duration::from_secs(2);

/// What is remembered of a file or an overlay.
#[derive(Debug, Default)]
pub struct Part {
    /// What it was read as; `None` where it has to be read again in any case.
    pub seen: Option<u64>,
    /// What its bytes hash to. A file that was touched, or read again because it is young, is not parsed again.
    pub content: Option<u64>,
    /// What it names.
    pub objects: Vec<Arc<SourcedObject>>,
    /// What it named before and does not name now, while it is broken or has not settled.
    pub last_good: Vec<Arc<SourcedObject>>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// Whether it is not known what it names.
    pub is_broken: bool,
    /// The file that somebody is writing, for which nothing new is taken from it.
    pub written: Option<PathBuf>,
    /// Since when it names less than it did, or is not there.
    pub less_since: Option<Timestamp>,
    /// Whether it is not there.
    pub is_missing: bool,
    /// When its content came to be what it is; `None` of what was there when the source was first read.
    came: Option<Timestamp>,
    /// When an overlay's files were last seen to be written by nobody.
    unwritten: Option<Timestamp>,
    /// What an overlay's last build looked at.
    pub looked_at: Dependencies,
    /// What was made of an overlay's documents.
    pub memory: Memory,
}

impl Part {
    /// Remembers what the file says now, and what it no longer says. `came` is when it came to say so, if that was seen.
    pub fn take(
        &mut self,
        path: &Path,
        found: Result<Admitted, Problem>,
        content: Option<u64>,
        came: Option<Timestamp>,
        now: Timestamp,
    ) {
        let before: Vec<Arc<SourcedObject>> = self.objects.drain(..).chain(self.last_good.drain(..)).collect();
        let origin: Arc<Path> = path.into();
        let was_broken = self.is_broken;
        let (is_broken, found) = match found {
            Ok(found) => (!found.is_whole(), found),
            Err(problem) => (
                true,
                Admitted {
                    objects: Vec::new(),
                    problems: vec![problem],
                },
            ),
        };
        // One that can't be read is tried again and again, and is no news then.
        if self.content != content || !was_broken {
            self.came = came;
        }
        self.objects = found
            .objects
            .into_iter()
            .map(|object| Arc::new(sourced(object, &origin)))
            .collect();
        self.problems = found.problems;
        self.is_broken = is_broken;
        self.is_missing = false;
        self.content = content;
        let named: HashSet<&Key> = self.objects.iter().map(|object| &object.key).collect();
        self.last_good = before
            .into_iter()
            .filter(|object| !named.contains(&object.key))
            .collect();
        self.less_since = match (self.last_good.is_empty(), is_broken) {
            (false, false) => Some(self.less_since.unwrap_or(now)),
            (true, _) | (false, true) => None,
        };
    }

    /// It is not there any more.
    pub fn miss(&mut self, now: Timestamp) {
        self.is_missing = true;
        self.is_broken = false;
        self.written = None;
        self.seen = None;
        self.problems.clear();
        self.last_good.append(&mut self.objects);
        self.less_since = Some(now);
    }

    /// Somebody is writing `file`: until that is done, all stays as it is.
    pub fn hold(&mut self, file: &Path) {
        self.written = Some(file.to_owned());
        self.seen = None;
        self.is_missing = false;
        self.less_since = None;
    }

    /// Holds an overlay if somebody is writing one of its files; returns whether it does. Only those are asked for that changed since
    /// all were known to be whole.
    pub fn is_held(&mut self, files: &BTreeMap<PathBuf, Seen>, now: Timestamp) -> bool {
        let since = self.unwritten.map(|at| (at - STAMP_SLACK).as_nanosecond());
        let is_new = |seen: &Seen| match seen {
            Seen::File(stamp) => since.is_none_or(|since| stamp.changed_at() >= since),
            Seen::Directory(_) | Seen::Listed(_) | Seen::Nothing => false,
        };
        let is_written = |file: &Path| open_regular(file).is_ok_and(|(file, _)| is_being_written(&file));
        match files.iter().find(|(file, seen)| is_new(seen) && is_written(file)) {
            Some((file, _)) => {
                self.hold(file);
                true
            }
            None => {
                self.unwritten = Some(now);
                false
            }
        }
    }

    /// What it names is taken, but what it does not name is not known to be gone.
    pub fn doubt(&mut self, why: Problem) {
        self.problems.push(why);
        self.is_broken = true;
        self.less_since = None;
    }

    /// Takes over what another file named.
    pub fn inherit(&mut self, path: &Path, gone: Vec<Arc<SourcedObject>>) {
        let origin: Arc<Path> = path.into();
        let named: HashSet<Key> = self.objects.iter().map(|object| object.key.clone()).collect();
        let gone = gone.into_iter().filter(|object| !named.contains(&object.key));
        self.last_good.extend(gone.map(|object| {
            Arc::new(SourcedObject {
                origin: Arc::clone(&origin),
                ..(*object).clone()
            })
        }));
    }
}

/// The file that may name now what another one ceased to name at `since`: a broken one that came then. A broken file may have been
/// moved, or broken while it was moved, and only when it can be read is it known what it names.
pub fn heir_of(
    parts: &mut BTreeMap<PathBuf, Part>,
    since: Timestamp,
    settle: Duration,
) -> Option<(PathBuf, &mut Part)> {
    let came = |part: &Part| part.came.filter(|came| part.is_broken && *came >= since - settle);
    let newest = parts.iter().filter_map(|(path, part)| Some((came(part)?, path)));
    let (_, path) = newest.max()?;
    let path = path.clone();
    let part = parts.get_mut(&path)?;
    Some((path, part))
}
