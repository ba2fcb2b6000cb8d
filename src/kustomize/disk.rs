//! Files on disk, and the programs that some overlays need: the only files of this room that do IO are this one and
//! `programs`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::fs::{FileSystem, Resolved};
use crate::os::open_regular;

/// The largest file that an overlay may name. What is bigger could not become part of any object: the API takes three
/// megabytes, and bundles of definitions stay below ten.
const MAX_FILE: u64 = 64 << 20;

/// What files had in them, for as long as they seem not to have changed.
#[derive(Debug, Default)]
pub struct Contents {
    files: RefCell<HashMap<String, Content>>,
}

/// What a file had in it when it looked so.
type Content = (Stamp, Arc<[u8]>);

/// Tells whether a file changed: device, inode, size, and when its content and its entry changed.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// The files of this machine as one build sees them.
#[derive(Debug, Default)]
pub struct Disk<'a> {
    /// Directories whose links were followed already.
    directories: RefCell<HashMap<String, String>>,
    /// What earlier builds read, and how old a file must be, in nanoseconds since 1970, for its stamp to be trusted.
    known: Option<(&'a Contents, i128)>,
}

impl<'a> Disk<'a> {
    /// Files that are not read again if an earlier build read them: only those that last changed before `settled`, since
    /// others may have changed again within the step of their time stamps.
    pub fn knowing(contents: &'a Contents, settled: i128) -> Self {
        Self {
            known: Some((contents, settled)),
            ..Self::default()
        }
    }

    /// A directory with its links followed.
    fn real(&self, directory: &str) -> Option<String> {
        if let Some(real) = self.directories.borrow().get(directory) {
            return Some(real.clone());
        }
        let real = fs::canonicalize(directory).ok()?.to_str()?.to_owned();
        self.directories.borrow_mut().insert(directory.to_owned(), real.clone());
        Some(real)
    }

    /// A file that is no link, found without following those of its directory again.
    fn plain_file(&self, path: &str) -> Option<Resolved> {
        let (directory, name) = path.rsplit_once('/')?;
        let is_file = fs::symlink_metadata(path).ok()?.is_file();
        let directory = if directory.is_empty() { "/" } else { directory };
        is_file.then(|| self.real(directory).map(|real| Resolved::File(real, name.to_owned())))?
    }
}

impl FileSystem for Disk<'_> {
    fn resolve(&self, path: &str) -> Result<Resolved, String> {
        if let Some(file) = self.plain_file(path) {
            return Ok(file);
        }
        let real = fs::canonicalize(path).map_err(|error| format!("lstat {path}: {}", words(&error)))?;
        let real = real.to_str().ok_or_else(|| format!("{path}: the path is no text"))?;
        if Path::new(real).is_dir() {
            return Ok(Resolved::Directory(real.to_owned()));
        }
        let (directory, name) = real.rsplit_once('/').unwrap_or(("", real));
        let directory = if directory.is_empty() { "/" } else { directory };
        Ok(Resolved::File(directory.to_owned(), name.to_owned()))
    }

    fn read(&self, path: &str) -> Result<Arc<[u8]>, String> {
        let Some((contents, settled)) = self.known else {
            return read_file(path).map(|(bytes, _)| bytes);
        };
        if let (Some((stamp, bytes)), Ok(metadata)) = (contents.files.borrow().get(path), fs::metadata(path))
            && *stamp == stamp_of(&metadata)
        {
            return Ok(Arc::clone(bytes));
        }
        let (bytes, metadata) = read_file(path)?;
        let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
        match changed < settled {
            true => contents
                .files
                .borrow_mut()
                .insert(path.to_owned(), (stamp_of(&metadata), Arc::clone(&bytes))),
            false => contents.files.borrow_mut().remove(path),
        };
        Ok(bytes)
    }

    fn list(&self, directory: &str) -> Vec<(String, bool)> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let name_of = |entry: fs::DirEntry| {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            entry.file_name().into_string().ok().map(|name| (name, is_directory))
        };
        entries.filter_map(name_of).collect()
    }
}

fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    (metadata.dev(), metadata.ino(), metadata.size(), modified, changed)
}

fn read_file(path: &str) -> Result<(Arc<[u8]>, fs::Metadata), String> {
    let failed = |error: &std::io::Error| format!("open {path}: {}", words(error));
    let (file, metadata) = open_regular(Path::new(path)).map_err(|error| failed(&error))?;
    if metadata.len() > MAX_FILE {
        return Err(format!(
            "{path} has {} bytes; overlays take at most {MAX_FILE}",
            metadata.len()
        ));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    Ok((bytes.into(), metadata))
}

/// An error in the words that Go has for it, without Rust's number.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_and_what_is_not_there_is_named() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let real = fs::canonicalize(root.path()).expect("there");
        fs::create_dir(real.join("d")).expect("made");
        fs::write(real.join("d/f"), "text").expect("written");
        symlink(real.join("d/f"), real.join("link")).expect("linked");
        let path = |name: &str| real.join(name).display().to_string();
        assert_eq!(Disk::default().resolve(&path("d")), Ok(Resolved::Directory(path("d"))));
        assert_eq!(
            Disk::default().resolve(&path("link")),
            Ok(Resolved::File(path("d"), "f".to_owned()))
        );
        assert_eq!(Disk::default().read(&path("link")), Ok(b"text".as_slice().into()));
        let missing = Disk::default().resolve(&path("none")).expect_err("missing");
        assert!(missing.ends_with("/none: no such file or directory"), "{missing}");
        assert!(Disk::default().read(&path("d")).is_err());
    }

    #[test]
    fn a_file_is_read_again_when_it_changed_or_is_young() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().join("f").display().to_string();
        fs::write(&path, "one").expect("written");
        let contents = Contents::default();
        let (ever, never) = (Disk::knowing(&contents, i128::MAX), Disk::knowing(&contents, 0));
        let first = ever.read(&path).expect("there");
        assert!(Arc::ptr_eq(&first, &ever.read(&path).expect("there")));
        fs::write(&path, "three").expect("written");
        let second = never.read(&path).expect("there");
        assert_eq!(*second, *b"three");
        assert!(!Arc::ptr_eq(&second, &never.read(&path).expect("there")));
    }
}
