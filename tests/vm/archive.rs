//! An initial file system for a kernel: a cpio archive of the format that the kernel's `early-userspace/buffer-format` describes as "newc".

use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub fn dir(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o644, content);
    }

    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o755, content);
    }

    /// A program that runs as root whoever calls it.
    pub fn set_uid(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o4755, content);
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, target.as_bytes());
    }

    /// All that is below a directory of this machine, as root's.
    pub fn tree(&mut self, at: &Path) {
        let mut left = vec![at.to_owned()];
        while let Some(dir) = left.pop() {
            let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
            for entry in entries {
                let path = entry.expect("it is there").path();
                let name = path
                    .strip_prefix(at)
                    .expect("it is below")
                    .to_str()
                    .expect("a name in UTF-8");
                let meta = fs::symlink_metadata(&path).expect("it is there");
                if meta.is_symlink() {
                    let target = fs::read_link(&path).expect("it is a link");
                    self.entry(name, LINK | 0o777, target.as_os_str().as_bytes());
                } else if meta.is_dir() {
                    self.dir(name);
                    left.push(path);
                } else {
                    let content = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    self.entry(name, FILE | (meta.permissions().mode() & 0o777), &content);
                }
            }
        }
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("no file of 4 GiB");
        let name = u32::try_from(path.len() + 1).expect("a short name");
        // Number, mode, owner, group, links, time, size, device and its like, name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        let mut header = String::from("070701");
        for field in fields {
            write!(header, "{field:08x}").expect("a string takes all");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
