//! Files on disk, and the programs that some overlays need: the only files of this room that do IO are this one and
//! `programs`.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::fs::{FileSystem, Resolved};

/// The largest file that an overlay may name. What is bigger could not become part of any object: the API takes three
/// megabytes, and bundles of definitions stay below ten.
const MAX_FILE: u64 = 64 << 20;

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl FileSystem for Disk {
    fn resolve(&self, path: &str) -> Result<Resolved, String> {
        let real = fs::canonicalize(path).map_err(|error| format!("lstat {path}: {}", words(&error)))?;
        let real = real.to_str().ok_or_else(|| format!("{path}: the path is no text"))?;
        if Path::new(real).is_dir() {
            return Ok(Resolved::Directory(real.to_owned()));
        }
        let (directory, name) = real.rsplit_once('/').unwrap_or(("", real));
        let directory = if directory.is_empty() { "/" } else { directory };
        Ok(Resolved::File(directory.to_owned(), name.to_owned()))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let failed = |error: &std::io::Error| format!("open {path}: {}", words(error));
        let file = fs::File::open(path).map_err(|error| failed(&error))?;
        let metadata = file.metadata().map_err(|error| failed(&error))?;
        if !metadata.is_file() {
            return Err(format!("{path} is no regular file"));
        }
        if metadata.len() > MAX_FILE {
            return Err(format!(
                "{path} has {} bytes; overlays take at most {MAX_FILE}",
                metadata.len()
            ));
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(&error))?;
        Ok(bytes)
    }
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
        assert_eq!(Disk.resolve(&path("d")), Ok(Resolved::Directory(path("d"))));
        assert_eq!(
            Disk.resolve(&path("link")),
            Ok(Resolved::File(path("d"), "f".to_owned()))
        );
        assert_eq!(Disk.read(&path("link")), Ok(b"text".to_vec()));
        let missing = Disk.resolve(&path("none")).expect_err("missing");
        assert!(missing.ends_with("/none: no such file or directory"), "{missing}");
        assert!(Disk.read(&path("d")).is_err());
    }
}
