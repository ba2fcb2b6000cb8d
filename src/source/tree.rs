//! What files there are: a walk that only stats, so that it may be done often.
//!
//! Knows names, symlinks and stamps. Does not open a file; what is in them is the reader's.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::kustomize::FILE_NAMES;

/// Tells whether a file changed. The change time is in it, so that tools which set the modification time back are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty_file(&self) -> bool {
        self.size == 0
    }

    /// When the file last changed, in nanoseconds since 1970.
    pub fn changed_at(&self) -> i128 {
        i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1)
    }
}

/// What was seen at a path on which an overlay depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// A file.
    File(Stamp),
    /// A directory; what is in it is no matter of its own.
    Directory(DirectoryId),
    /// A directory in which anything matters.
    Listed(Stamp),
    /// Nothing: something may come to be there.
    Nothing,
}

impl Seen {
    /// What is at a path now.
    pub fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Self::Directory((metadata.dev(), metadata.ino())),
            Ok(metadata) => Self::File(Stamp::of(&metadata)),
            Err(_) => Self::Nothing,
        }
    }

    /// The stamp of what changes in place.
    pub fn stamp(&self) -> Option<&Stamp> {
        match self {
            Self::File(stamp) | Self::Listed(stamp) => Some(stamp),
            Self::Directory(_) | Self::Nothing => None,
        }
    }
}

/// A directory's identity: a path whose directory was replaced needs a new watch.
pub type DirectoryId = (u64, u64);

/// Directories to watch.
pub type Directories = BTreeMap<PathBuf, Directory>;

/// A directory in which a change matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Which one it is.
    pub id: DirectoryId,
    /// Only changes of these names matter; `None` is any. Parents of what is watched are often busy places.
    pub only: Option<BTreeSet<OsString>>,
}

impl Directory {
    fn any(id: DirectoryId) -> Self {
        Self { id, only: None }
    }

    /// A directory that matters for either reason.
    fn join(&mut self, other: Directory) {
        match (&mut self.only, other.only) {
            (Some(names), Some(more)) => names.extend(more),
            (names, None) => *names = None,
            (None, Some(_)) => {}
        }
    }
}

fn add(directories: &mut Directories, path: PathBuf, directory: Directory) {
    match directories.entry(path) {
        Entry::Vacant(place) => {
            place.insert(directory);
        }
        Entry::Occupied(mut place) => place.get_mut().join(directory),
    }
}

fn add_parent(directories: &mut Directories, path: &Path) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    if let Ok(metadata) = fs::metadata(parent) {
        let only = Some(BTreeSet::from([name.to_owned()]));
        add(
            directories,
            parent.to_owned(),
            Directory {
                id: (metadata.dev(), metadata.ino()),
                only,
            },
        );
    }
}

/// Where it is seen that a missing path comes into being: in the nearest directory above it that is there.
pub fn nearest_ancestor(path: &Path) -> Directories {
    let mut directories = Directories::new();
    let child = path.ancestors().find(|path| path.parent().is_some_and(Path::is_dir));
    if let Some(child) = child {
        add_parent(&mut directories, child);
    }
    directories
}

/// What a walk found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Manifests by path.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// Directories that are built rather than read, and what each of them is known to depend on: nothing before it was built.
    pub overlays: BTreeMap<PathBuf, BTreeMap<PathBuf, Seen>>,
    /// Directories in which a change matters.
    pub directories: Directories,
    /// What could not be looked into, and why.
    pub unreadable: BTreeMap<PathBuf, String>,
}

/// Walks a directory, or looks at a file.
///
/// # Errors
/// When the root itself is not there or can't be read: then nothing is known of what is in it.
pub fn walk(root: &Path) -> io::Result<Tree> {
    let metadata = fs::metadata(root)?;
    let mut walk = Walk::default();
    if metadata.is_dir() {
        // Reading the root fails the walk; reading what is below it does not.
        fs::read_dir(root)?;
        walk.directory(root, &metadata, false);
    } else if metadata.is_file() {
        walk.tree.files.insert(root.to_owned(), Stamp::of(&metadata));
        if fs::symlink_metadata(root)?.is_symlink() {
            walk.watch_target(root);
        }
    } else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither a directory nor a regular file",
        ));
    }
    // In its parent a root is seen to vanish and to come back.
    add_parent(&mut walk.tree.directories, root);
    Ok(walk.finish())
}

/// Adds everything below a directory that an overlay refers to.
pub fn walk_reference(tree: &mut Tree, overlay: &Path, target: &Path) {
    let Ok(metadata) = fs::metadata(target) else { return };
    let mut walk = Walk::default();
    if metadata.is_dir() {
        walk.directory(target, &metadata, true);
    } else {
        walk.tree.files.insert(target.to_owned(), Stamp::of(&metadata));
        add_parent(&mut walk.tree.directories, target);
    }
    let found = walk.finish();
    let files = found.files.into_iter().map(|(path, stamp)| (path, Seen::File(stamp)));
    tree.overlays.entry(overlay.to_owned()).or_default().extend(files);
    tree.join_directories(found.directories);
}

/// Adds to an overlay the paths that its last build looked at, and watches for their names.
pub fn depend_on(tree: &mut Tree, overlay: &Path, on: &Dependencies) {
    let seen = tree.overlays.entry(overlay.to_owned()).or_default();
    for path in &on.paths {
        add_parent(&mut tree.directories, path);
        seen.insert(path.clone(), Seen::at(path));
    }
    for path in &on.listed {
        add_parent(&mut tree.directories, path);
        let Ok(metadata) = fs::metadata(path) else {
            continue;
        };
        let id = (metadata.dev(), metadata.ino());
        add(&mut tree.directories, path.clone(), Directory::any(id));
        seen.insert(path.clone(), Seen::Listed(Stamp::of(&metadata)));
    }
}

/// What a build of an overlay depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Paths whose content or absence matters.
    pub paths: Vec<PathBuf>,
    /// Directories of which it matters what is in them.
    pub listed: Vec<PathBuf>,
}

impl Tree {
    fn join_directories(&mut self, directories: Directories) {
        for (path, directory) in directories {
            add(&mut self.directories, path, directory);
        }
    }
}

#[derive(Default)]
struct Walk {
    tree: Tree,
    /// Directories that were entered: symlinks may lead in circles, and to the same place twice.
    entered: HashSet<DirectoryId>,
    /// Manifests that are symlinks: they count only if their target is not in the tree by itself.
    links: BTreeMap<PathBuf, Stamp>,
}

impl Walk {
    fn directory(&mut self, path: &Path, metadata: &Metadata, of_overlay: bool) {
        let id = (metadata.dev(), metadata.ino());
        if !self.entered.insert(id) {
            return;
        }
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => {
                self.tree.unreadable.insert(path.to_owned(), error.to_string());
                return;
            }
        };
        let is_overlay = !of_overlay && FILE_NAMES.iter().any(|name| path.join(name).is_file());
        if is_overlay {
            self.overlay(path, id);
            return;
        }
        add(&mut self.tree.directories, path.to_owned(), Directory::any(id));
        let mut names: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        names.sort();
        for entry in names.iter().filter(|entry| !is_ignored(entry)) {
            self.entry(entry, of_overlay);
        }
    }

    fn entry(&mut self, path: &Path, of_overlay: bool) {
        let is_manifest = of_overlay || is_manifest(path);
        let (own, metadata) = match (fs::symlink_metadata(path), fs::metadata(path)) {
            (Ok(own), Ok(metadata)) => (own, metadata),
            // It vanished while it was looked at.
            (Err(_), _) => return,
            (Ok(_), Err(error)) => return self.lost_link(path, &error),
        };
        if metadata.is_dir() {
            self.directory(path, &metadata, of_overlay);
        } else if metadata.is_file() && is_manifest {
            let found = if own.is_symlink() {
                &mut self.links
            } else {
                &mut self.tree.files
            };
            found.insert(path.to_owned(), Stamp::of(&metadata));
            if own.is_symlink() {
                self.watch_target(path);
            }
        }
    }

    /// A symlink that leads nowhere may have led to a directory of manifests, whatever its name.
    fn lost_link(&mut self, link: &Path, error: &io::Error) {
        let why = format!("the symlink leads nowhere: {error}");
        self.tree.unreadable.insert(link.to_owned(), why);
        let target = fs::read_link(link)
            .ok()
            .zip(link.parent())
            .map(|(target, dir)| dir.join(target));
        for (path, directory) in target.iter().flat_map(|target| nearest_ancestor(target)) {
            add(&mut self.tree.directories, path, directory);
        }
    }

    /// What is in an overlay is the builder's: here it only matters whether it still is one.
    fn overlay(&mut self, path: &Path, id: DirectoryId) {
        self.tree.overlays.insert(path.to_owned(), BTreeMap::new());
        let only = Some(FILE_NAMES.iter().map(OsString::from).collect());
        add(&mut self.tree.directories, path.to_owned(), Directory { id, only });
    }

    /// The directory of a symlink's target, where the target's changes are seen.
    fn watch_target(&mut self, link: &Path) {
        if let Ok(target) = fs::canonicalize(link) {
            add_parent(&mut self.tree.directories, &target);
        }
    }

    fn finish(mut self) -> Tree {
        let mut seen: BTreeSet<DirectoryId> = self
            .tree
            .files
            .values()
            .map(|stamp| (stamp.device, stamp.inode))
            .collect();
        for (path, stamp) in self.links {
            if seen.insert((stamp.device, stamp.inode)) {
                self.tree.files.insert(path, stamp);
            }
        }
        self.tree
    }
}

/// Whether a path of a directory is never looked at: hidden files and directories, and what editors leave beside theirs.
fn is_ignored(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(['.', '#']) || name.ends_with(['~', '#'])
}

pub(super) fn is_manifest(path: &Path) -> bool {
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    matches!(extension.as_str(), "yaml" | "yml" | "json")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn files(root: &Path) -> Vec<String> {
        let tree = walk(root).expect("the root is there");
        tree.files
            .keys()
            .map(|path| path.strip_prefix(root).expect("below the root").display().to_string())
            .collect()
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    fn put(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, "").expect("written");
    }

    #[test]
    fn manifests_are_found_below_and_what_editors_leave_is_not() {
        let root = directory();
        for name in [
            "a.yaml",
            "sub/deep/b.YML",
            "c.json",
            "notes.txt",
            ".a.yaml.swp",
            ".hidden/x.yaml",
            "a.yaml~",
            "#a.yaml#",
            ".#a.yaml",
            "4913",
            "a.yaml.tmp",
        ] {
            put(root.path(), name);
        }
        assert_eq!(files(root.path()), ["a.yaml", "c.json", "sub/deep/b.YML"]);
    }

    #[test]
    fn symlinks_are_followed_but_not_in_circles_and_not_twice() {
        let (root, outside) = (directory(), directory());
        put(root.path(), "a.yaml");
        put(outside.path(), "o.yaml");
        put(outside.path(), "dir/p.yaml");
        for (target, link) in [
            (root.path().to_owned(), "loop"),
            (root.path().join("a.yaml"), "again.yaml"),
            (outside.path().join("o.yaml"), "linked.yaml"),
            (outside.path().join("dir"), "linked"),
            (outside.path().join("dir"), "linked-again"),
        ] {
            symlink(target, root.path().join(link)).expect("linked");
        }
        assert_eq!(files(root.path()), ["a.yaml", "linked/p.yaml", "linked.yaml"]);
        let tree = walk(root.path()).expect("there");
        assert!(
            tree.directories
                .contains_key(&fs::canonicalize(outside.path()).expect("there"))
        );
    }

    #[test]
    fn a_symlink_that_leads_nowhere_is_unreadable_and_not_absent() {
        let root = directory();
        symlink("/nowhere/at/all", root.path().join("a.yaml")).expect("linked");
        let tree = walk(root.path()).expect("there");
        assert_eq!(
            tree.unreadable.keys().collect::<Vec<_>>(),
            [&root.path().join("a.yaml")]
        );
    }

    #[test]
    fn a_missing_root_is_an_error_and_an_empty_one_is_not() {
        let root = directory();
        assert!(walk(&root.path().join("missing")).is_err());
        assert_eq!(files(root.path()), Vec::<String>::new());
    }

    #[test]
    fn an_overlay_is_one_thing_and_depends_on_what_its_build_looked_at() {
        let root = directory();
        for name in ["over/kustomization.yaml", "over/a.yaml", "over/notes.txt", "plain.yaml"] {
            put(root.path(), name);
        }
        let mut tree = walk(root.path()).expect("there");
        let over = root.path().join("over");
        assert_eq!(tree.files.len(), 1);
        assert!(tree.overlays[&over].is_empty());
        let mut on = Dependencies {
            paths: vec![over.join("a.yaml"), root.path().join("none"), over.clone()],
            listed: Vec::new(),
        };
        depend_on(&mut tree, &over, &on);
        let seen: Vec<bool> = tree.overlays[&over]
            .values()
            .map(|seen| seen.stamp().is_some())
            .collect();
        assert_eq!(seen, [false, false, true]);
        let names = tree.directories[&over].only.clone().expect("only some names");
        assert!(names.contains(&OsString::from("a.yaml")) && !names.contains(&OsString::from("notes.txt")));
        on.listed.push(over.clone());
        depend_on(&mut tree, &over, &on);
        assert!(matches!(tree.overlays[&over][&over], Seen::Listed(_)));
        assert_eq!(tree.directories[&over].only, None, "anything in it matters");
    }
}
