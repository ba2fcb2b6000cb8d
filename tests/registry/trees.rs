//! Layers with what is easy to get wrong, made entry by entry; and trees told entry by entry, to be held beside each other.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A layer in the making.
pub struct Tree(tar::Builder<Vec<u8>>);

impl Tree {
    pub fn new() -> Tree {
        Tree(tar::Builder::new(Vec::new()))
    }

    pub fn entry(mut self, path: &str, kind: tar::EntryType, content: &[u8], owner: (u64, u64), mode: u32) -> Tree {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_000_000_000 + path.len() as u64);
        header.set_size(content.len() as u64);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        self.0.append_data(&mut header, path, content).expect("memory");
        self
    }

    pub fn dir(self, path: &str, mode: u32) -> Tree {
        self.entry(path, tar::EntryType::Directory, b"", (0, 0), mode)
    }

    pub fn file(self, path: &str, content: &str, mode: u32) -> Tree {
        self.entry(path, tar::EntryType::Regular, content.as_bytes(), (0, 0), mode)
    }

    pub fn owned(self, path: &str, owner: (u64, u64), mode: u32) -> Tree {
        self.entry(path, tar::EntryType::Regular, b"owned", owner, mode)
    }

    pub fn link(mut self, kind: tar::EntryType, path: &str, target: &str) -> Tree {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_mtime(1_000_000_000);
        header.set_size(0);
        header.set_uid(0);
        header.set_gid(0);
        self.0.append_link(&mut header, path, target).expect("memory");
        self
    }

    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Tree {
        self.0.append_pax_extensions(records.iter().copied()).expect("memory");
        self
    }

    pub fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory")
    }
}

pub const SYMLINK: tar::EntryType = tar::EntryType::Symlink;
pub const LINK: tar::EntryType = tar::EntryType::Link;

/// Every entry by path: all that an archive can say of it. Some have whatever time the tool gave them: told by name, and whether it is a
/// directory.
pub fn describe(root: &Path, is_timeless: impl Fn(&str, bool) -> bool) -> BTreeMap<String, String> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(path) = todo.pop() {
        let (full, name) = (root.join(&path), path.display().to_string());
        let meta = fs::symlink_metadata(&full).expect("there");
        let kind = meta.file_type();
        let content = if kind.is_dir() {
            let children = fs::read_dir(&full).expect("readable");
            todo.extend(children.map(|child| path.join(child.expect("readable").file_name())));
            String::new()
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(&full).expect("a link"))
        } else if kind.is_file() {
            fs::read_to_string(&full).expect("readable")
        } else {
            String::new()
        };
        let time = (!is_timeless(&name, kind.is_dir())).then(|| (meta.mtime(), meta.mtime_nsec()));
        let mut note = [0u8; 16];
        let note = rustix::fs::lgetxattr(&full, "user.note", &mut note).map(|length| note[..length].to_vec());
        let owner = (meta.uid(), meta.gid());
        found.insert(
            name,
            format!("{:o} {owner:?} {time:?} {content:?} {:?}", meta.mode(), note.ok()),
        );
    }
    found
}

/// Two trees that are to be the same.
pub fn assert_same(what: &str, seen: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    for (path, line) in expected {
        assert_eq!(seen.get(path), Some(line), "{what}: {path}");
    }
    let more: Vec<_> = seen.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "{what}: {more:?}");
}

/// How files of one inode are grouped.
pub fn links(root: &Path, names: &[&str]) -> Vec<u64> {
    let inode = |name: &&str| fs::symlink_metadata(root.join(name)).expect("there").ino();
    let inodes: Vec<u64> = names.iter().map(inode).collect();
    inodes
        .iter()
        .map(|inode| inodes.iter().position(|other| other == inode).expect("itself") as u64)
        .collect()
}

/// Runs a tool, which must succeed.
pub fn run(tool: &str, args: &[&str], dir: &Path) {
    let output = Command::new(tool)
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the tool starts");
    assert!(
        output.status.success(),
        "{tool} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
