//! What the engine sees of files: three questions, which a directory on disk and a map in memory answer alike.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a path leads to once links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// A directory.
    Directory(String),
    /// A file: its directory and its name in it.
    File(String, String),
}

/// Files that overlays are built from.
pub trait FileSystem {
    /// Follows links. The path is absolute and clean, and so is the answer.
    ///
    /// # Errors
    /// If there is nothing, in words for the user.
    fn resolve(&self, path: &str) -> Result<Resolved, String>;

    /// Reads a file. The same bytes as before are best returned as the same memory: then they are not even compared.
    ///
    /// # Errors
    /// If it can't be read, in words for the user.
    fn read(&self, path: &str) -> Result<Arc<[u8]>, String>;

    /// The names of what is in a directory, and which of them are directories; nothing if it can't be read.
    fn list(&self, directory: &str) -> Vec<(String, bool)>;
}

/// Files in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: BTreeMap<String, Arc<[u8]>>,
}

impl MemoryFiles {
    /// No files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file at an absolute path; directories come by themselves.
    pub fn put(&mut self, path: &str, text: impl Into<Vec<u8>>) {
        self.files.insert(super::paths::clean(path), text.into().into());
    }

    /// Removes a file.
    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// The paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl FileSystem for MemoryFiles {
    fn resolve(&self, path: &str) -> Result<Resolved, String> {
        if self.files.contains_key(path) {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            let directory = if directory.is_empty() { "/" } else { directory };
            return Ok(Resolved::File(directory.to_owned(), name.to_owned()));
        }
        let below = if path == "/" {
            "/".to_owned()
        } else {
            format!("{path}/")
        };
        match self.files.keys().any(|file| file.starts_with(&below)) {
            true => Ok(Resolved::Directory(path.to_owned())),
            false => Err(format!("lstat {path}: no such file or directory")),
        }
    }

    fn read(&self, path: &str) -> Result<Arc<[u8]>, String> {
        let found = self.files.get(path).cloned();
        found.ok_or_else(|| format!("open {path}: no such file or directory"))
    }

    fn list(&self, directory: &str) -> Vec<(String, bool)> {
        let below = format!("{}/", directory.trim_end_matches('/'));
        let names = self.files.keys().filter_map(|file| file.strip_prefix(&below));
        let mut names: Vec<(String, bool)> = names
            .map(|name| match name.split_once('/') {
                Some((directory, _)) => (directory.to_owned(), true),
                None => (name.to_owned(), false),
            })
            .collect();
        names.dedup();
        names
    }
}
