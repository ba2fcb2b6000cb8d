//! Reads a source: parses what changed, remembers the rest, and says what the source names now.
//!
//! Holds the memory of a source: for each file its stamp, its objects and what it named when it was last good. Blocking, and
//! run where that is allowed. The time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::built::{self, BuiltOverlay, Overlays};
use super::overlay::{Builder, NO_BUILDER, follow_references};
use super::part::{Part, heir_of};
use super::plan::rank;
use super::tree::{Directories, Seen, Stamp, Tree, depend_on, is_manifest, nearest_ancestor, walk};
use super::{Listing, Noticing, SourceId, SourcedObject, Timing};
use crate::admit::{Admitted, AdmittedObject, Location, MAX_FILE_BYTES, Place, Problem, Severity, admit_file_in};
use crate::model::Key;
use crate::os::{is_being_written, open_regular};

/// Time stamps of files advance in steps of up to a jiffy (10 ms at HZ=100): a file that was written again within its
/// step looks unchanged. Files younger than twice that are read again.
const STAMP_STEP: Duration = Duration::from_millis(20);

/// What a reading found, and what is to be looked at next.
#[derive(Debug)]
pub struct Reading {
    /// What the source names. Its generation and how changes are noticed are not set.
    pub listing: Listing,
    /// Directories in which changes matter.
    pub directories: Directories,
    /// Look again after so long, though nothing may happen.
    pub look_again: Option<Duration>,
}

/// The memory of a source at a path.
#[derive(Debug)]
pub struct Reader {
    source: SourceId,
    root: PathBuf,
    namespace: String,
    timing: Timing,
    overlays: Overlays,
    /// By file, or by directory for overlays.
    parts: BTreeMap<PathBuf, Part>,
    /// Which file names an object: the one that did before keeps it when another names it too.
    owners: HashMap<Key, PathBuf>,
    /// Whether everything was read once: what is found then was there before.
    has_read: bool,
}

impl Reader {
    /// A reader that has read nothing.
    pub fn new(source: SourceId, root: PathBuf, namespace: String, timing: Timing, overlays: Overlays) -> Self {
        Self {
            overlays,
            source,
            root,
            namespace,
            timing,
            parts: BTreeMap::new(),
            owners: HashMap::new(),
            has_read: false,
        }
    }

    /// Looks at everything and reads what changed.
    pub fn read(&mut self, now: Timestamp) -> Reading {
        let mut tree = match walk(&self.root) {
            Ok(tree) => tree,
            Err(error) => return self.without_root(&error),
        };
        self.depend(&mut tree);
        let mut is_young = false;
        for (path, stamp) in &tree.files {
            let is_racy = is_racy(stamp, now);
            is_young |= is_racy;
            let seen = hash_of(stamp);
            if self.parts.get(path).is_none_or(|part| part.seen != Some(seen)) {
                self.read_file(path, (!is_racy).then_some(seen), now);
            }
        }
        is_young |= match self.overlays.external {
            Some(_) => self.hand_over(&tree, now),
            None => self.build_overlays(&mut tree, now),
        };
        self.miss(&tree, now);
        self.settle(now);
        self.has_read = true;
        let mut listing = self.listing(&tree);
        listing.complete = true;
        let of_overlays = tree
            .overlays
            .values()
            .flat_map(BTreeMap::values)
            .filter(|seen| matches!(seen, Seen::File(_)));
        listing.files_read = tree.files.len() + of_overlays.count();
        let is_settling = self.parts.values().any(|part| part.less_since.is_some());
        let look_again = match (is_young, is_settling) {
            (true, _) => Some(STAMP_STEP * 2),
            (false, true) => Some(self.timing.settle),
            (false, false) => None,
        };
        Reading {
            listing,
            directories: tree.directories,
            look_again,
        }
    }

    /// The root is gone or can't be read: everything stays as it was, until it is back.
    fn without_root(&mut self, error: &io::Error) -> Reading {
        let mut listing = self.listing(&Tree::default());
        let text = match error.kind() {
            io::ErrorKind::NotFound => {
                "does not exist: nothing is read from it, and nothing of it is pruned".to_owned()
            }
            _ => format!("can't be read: {error}"),
        };
        listing.problems.insert(0, problem_of(&self.root, text));
        Reading {
            listing,
            directories: nearest_ancestor(&self.root),
            look_again: None,
        }
    }

    /// Adds to each overlay what it depends on: what its last build looked at, or what can be guessed of an external one.
    fn depend(&self, tree: &mut Tree) {
        if self.overlays.external.is_some() {
            return follow_references(tree);
        }
        for overlay in tree.overlays.keys().cloned().collect::<Vec<_>>() {
            if let Some(part) = self.parts.get(&overlay) {
                depend_on(tree, &overlay, &part.looked_at);
            }
        }
    }

    /// Builds the overlays whose files changed. Returns whether one was built from files that may change again unseen.
    fn build_overlays(&mut self, tree: &mut Tree, now: Timestamp) -> bool {
        let settled = now.as_nanosecond() - STAMP_STEP.as_nanos() as i128;
        let mut is_young = false;
        for (path, files) in tree.overlays.clone() {
            let is_known = |part: &Part| part.seen == Some(hash_of(&files));
            if self.parts.get(&path).is_some_and(is_known) {
                continue;
            }
            let mut memory = self
                .parts
                .get_mut(&path)
                .map(|part| std::mem::take(&mut part.memory))
                .unwrap_or_default();
            let BuiltOverlay {
                found,
                content,
                looked_at,
            } = built::build(&path, &self.overlays, &self.namespace, settled, &mut memory);
            let part = self.parts.entry(path.clone()).or_default();
            let is_same = content.is_some() && part.content == content && !part.is_missing && !part.is_broken;
            part.memory = memory;
            part.looked_at.clone_from(&looked_at);
            tree.overlays.insert(path.clone(), BTreeMap::new());
            depend_on(tree, &path, &looked_at);
            let files = &tree.overlays[&path];
            if part.is_held(files, now) {
                continue;
            }
            if !is_same {
                self.take(&path, found, content, now);
            }
            self.doubt_empty(&path, files);
            // A file that was written while it was built from may or may not be in what was built.
            let is_racy = files
                .values()
                .filter_map(Seen::stamp)
                .any(|stamp| is_racy(stamp, now) || is_newer(stamp, now));
            let seen = hash_of(files);
            self.remember(&path, (!is_racy).then_some(seen));
            is_young |= is_racy;
        }
        is_young
    }

    /// Has an installed program build the overlays whose files changed.
    fn hand_over(&mut self, tree: &Tree, now: Timestamp) -> bool {
        let mut is_young = false;
        let builder = self.overlays.external.as_ref().and_then(Builder::find);
        for (path, files) in &tree.overlays {
            let seen = hash_of(&(files, &builder));
            if self.parts.get(path).is_some_and(|part| part.seen == Some(seen)) {
                continue;
            }
            if self.parts.entry(path.clone()).or_default().is_held(files, now) {
                continue;
            }
            let built = match &builder {
                None => Err(NO_BUILDER.to_owned()),
                Some(builder) => builder.build(path),
            };
            let shown = PathBuf::from(format!("{} (built)", path.display()));
            let content = built.as_ref().ok().map(hash_of);
            let mut found = built.map(|bytes| admit_file_in(&shown, &bytes, &self.namespace));
            if let (Ok(found), Some(caveat)) = (&mut found, builder.as_ref().and_then(Builder::caveat)) {
                found.problems.push(Problem {
                    severity: Severity::Warning,
                    ..problem_of(path, caveat)
                });
            }
            // A file that was written while the tool ran may or may not be in what it built.
            let is_racy = files.values().filter_map(Seen::stamp).any(|stamp| is_racy(stamp, now));
            self.take(path, found.map_err(|text| problem_of(path, text)), content, now);
            self.doubt_empty(path, files);
            self.remember(path, (!is_racy).then_some(seen));
            is_young |= is_racy;
        }
        is_young
    }

    fn read_file(&mut self, path: &Path, seen: Option<u64>, now: Timestamp) {
        let read = read_settled(path);
        if let Ok(None) = read {
            return self.parts.entry(path.to_owned()).or_default().hold(path);
        }
        let read = read.map(Option::unwrap_or_default);
        let content = read.as_ref().ok().map(hash_of);
        let is_known = self
            .parts
            .get(path)
            .is_some_and(|part| content.is_some() && part.content == content && !part.is_missing);
        if !is_known {
            let found = match read {
                // Truncated and not yet written, more often than meant: who means it removes the file.
                Ok(bytes) if bytes.is_empty() => Err(empty(path)),
                Ok(bytes) => Ok(admit_file_in(path, &bytes, &self.namespace)),
                Err(error) => Err(problem_of(path, format!("can't be read: {error}"))),
            };
            self.take(path, found, content, now);
        }
        // What could not be read is tried again, whatever its stamp.
        self.remember(path, seen.filter(|_| content.is_some()));
    }

    fn remember(&mut self, path: &Path, seen: Option<u64>) {
        if let Some(part) = self.parts.get_mut(path) {
            part.seen = seen;
            part.written = None;
        }
    }

    /// What an overlay no longer names is not known to be gone while a manifest that it was built from is empty.
    fn doubt_empty(&mut self, path: &Path, files: &BTreeMap<PathBuf, Seen>) {
        let is_empty =
            |(file, seen): &(&PathBuf, &Seen)| is_manifest(file) && seen.stamp().is_some_and(Stamp::is_empty_file);
        let Some(part) = self.parts.get_mut(path) else { return };
        match files.iter().find(is_empty) {
            Some((file, _)) if !part.is_broken => part.doubt(empty(file)),
            _ => {}
        }
    }

    /// Remembers what a file says now, and what it no longer says.
    fn take(&mut self, path: &Path, found: Result<Admitted, Problem>, content: Option<u64>, now: Timestamp) {
        let part = self.parts.entry(path.to_owned()).or_default();
        part.take(path, found, content, self.has_read.then_some(now), now);
    }

    /// Notes the files that are not there any more, unless it can't be known.
    fn miss(&mut self, tree: &Tree, now: Timestamp) {
        for (path, part) in &mut self.parts {
            let is_there = tree.files.contains_key(path) || tree.overlays.contains_key(path);
            if !is_there && !is_hidden(path, tree) && !part.is_missing {
                part.miss(now);
            }
        }
    }

    /// Forgets what has been gone for long enough, or leaves it to a broken file that came when it went.
    fn settle(&mut self, now: Timestamp) {
        let settle = self.timing.settle;
        let is_over = |since: Timestamp| now.duration_since(since).unsigned_abs() >= settle;
        let over = self.parts.iter().filter_map(|(path, part)| {
            let since = part.less_since.filter(|since| is_over(*since))?;
            Some((path.clone(), since))
        });
        for (path, since) in over.collect::<Vec<_>>() {
            let Some(part) = self.parts.get_mut(&path) else {
                continue;
            };
            part.less_since = None;
            let gone = std::mem::take(&mut part.last_good);
            if part.is_missing {
                self.parts.remove(&path);
            }
            if let Some((heir, part)) = heir_of(&mut self.parts, since, settle) {
                part.inherit(&heir, gone);
            }
        }
    }

    /// One object for each key: where several files name it, the one that did before, else the first.
    fn choose(&self, problems: &mut Vec<Problem>) -> BTreeMap<Key, Arc<SourcedObject>> {
        let mut chosen: BTreeMap<Key, Arc<SourcedObject>> = BTreeMap::new();
        for object in self.parts.values().flat_map(|part| &part.objects) {
            let key = &object.key;
            let Some(other) = chosen.get(key) else {
                chosen.insert(key.clone(), Arc::clone(object));
                continue;
            };
            let is_owner = self.owners.get(key).is_some_and(|owner| *owner == *object.origin);
            let (first, second) = if is_owner { (object, other) } else { (other, object) };
            problems.push(named_twice(first, second));
            let first = Arc::clone(first);
            chosen.insert(key.clone(), first);
        }
        chosen
    }

    /// Puts the parts together: each key once, problems in the order of files.
    fn listing(&mut self, tree: &Tree) -> Listing {
        let mut listing = Listing {
            noticing: Noticing::Events,
            ..Listing::unread(self.source.clone())
        };
        let chosen = self.choose(&mut listing.problems);
        for (path, part) in &self.parts {
            listing.problems.extend(part.problems.iter().cloned());
            listing.problems.extend(part.written.as_deref().map(written));
            if part.is_broken || part.less_since.is_some() || part.written.is_some() {
                listing.unsettled.insert(path.clone());
            }
            if part.less_since.is_some() {
                listing.leaving.insert(path.clone());
            }
            listing.last_good.extend(
                part.last_good
                    .iter()
                    .filter(|object| !chosen.contains_key(&object.key))
                    .cloned(),
            );
        }
        for (path, text) in &tree.unreadable {
            listing.unsettled.insert(path.clone());
            // Of a name like any other it is not known that it ever led to manifests.
            if path.is_dir() || is_manifest(path) || self.parts.keys().any(|part| part.starts_with(path)) {
                let problem = problem_of(path, format!("can't be read: {text}"));
                listing.problems.push(problem);
            }
        }
        listing.problems.sort_by(|a, b| a.location.cmp(&b.location));
        self.owners = chosen
            .iter()
            .map(|(key, object)| (key.clone(), object.origin.to_path_buf()))
            .collect();
        listing.objects = chosen.into_values().collect();
        listing
            .objects
            .sort_by_key(|object| std::cmp::Reverse(rank(&object.key)));
        listing
    }
}

/// Text that is no file: read once, whole.
pub fn read_text(source: &SourceId, name: &str, bytes: &[u8], namespace: &str) -> Listing {
    let path = PathBuf::from(name);
    let (timing, overlays) = (Timing::default(), Overlays::default());
    let mut reader = Reader::new(source.clone(), path.clone(), namespace.to_owned(), timing, overlays);
    reader.take(
        &path,
        Ok(admit_file_in(&path, bytes, namespace)),
        None,
        Timestamp::UNIX_EPOCH,
    );
    Listing {
        complete: true,
        files_read: 1,
        noticing: Noticing::Never,
        ..reader.listing(&Tree::default())
    }
}

fn is_hidden(path: &Path, tree: &Tree) -> bool {
    path.ancestors().any(|ancestor| tree.unreadable.contains_key(ancestor))
}

fn is_racy(stamp: &Stamp, now: Timestamp) -> bool {
    let age = now.as_nanosecond() - stamp.changed_at();
    // A file from the future (clocks of network file systems) is as old as any: nothing can be told from its age.
    (0..STAMP_STEP.as_nanos() as i128).contains(&age)
}

/// Whether a file changed since, by a clock that is not far ahead: one that is makes every file new for ever.
fn is_newer(stamp: &Stamp, now: Timestamp) -> bool {
    let ahead = stamp.changed_at() - now.as_nanosecond();
    (0..Duration::from_secs(2).as_nanos() as i128).contains(&ahead)
}

/// A number that differs if a value does, but for one chance in very many.
pub fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The bytes of a regular file, and one more than is taken of one that is too large, so that the gate says so.
///
/// # Errors
/// If it can't be read, or is something else.
pub fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .0
        .take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file that nobody is writing; `None` of one that somebody is.
fn read_settled(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let (file, _) = open_regular(path)?;
    // Asked before it is read: who opens it later writes later, and is heard when done.
    if is_being_written(&file) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn written(path: &Path) -> Problem {
    Problem {
        severity: Severity::Warning,
        ..problem_of(path, "a program has it open for writing: it is read when that is done")
    }
}

fn empty(path: &Path) -> Problem {
    Problem {
        severity: Severity::Warning,
        ..problem_of(path, "is empty: what it named stays until it is written or removed")
    }
}

pub(super) fn sourced(object: AdmittedObject, origin: &Arc<Path>) -> SourcedObject {
    SourcedObject {
        key: object.object.key().clone(),
        origin: Arc::clone(origin),
        location: object.location,
        digest: hash_of(&object.config.to_string()),
        config: object.config,
        object: object.object,
        warnings: object.warnings,
    }
}

fn named_twice(first: &SourcedObject, second: &SourcedObject) -> Problem {
    Problem {
        location: second.location.clone(),
        severity: Severity::Error,
        message: format!(
            "{} is already given at {}; this one is not applied",
            second.key, first.location
        ),
        source_line: String::new(),
    }
}

pub(super) fn problem_of(path: &Path, message: impl Into<String>) -> Problem {
    Problem {
        location: Location {
            file: path.into(),
            at: Place::START,
        },
        severity: Severity::Error,
        message: message.into(),
        source_line: String::new(),
    }
}
