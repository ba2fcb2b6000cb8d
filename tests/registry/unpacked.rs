//! What a pulled image looks like to a container, beside what umoci makes of the same image: every entry, all that an
//! archive can say of it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::debian::{Debian, is_missing};
use crate::image::{Image, Layer};
use crate::pulls::Ground;

/// A layer in the making.
struct Tree(tar::Builder<Vec<u8>>);

impl Tree {
    fn new() -> Tree {
        Tree(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, path: &str, kind: tar::EntryType, content: &[u8], owner: (u64, u64), mode: u32) -> Tree {
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

    fn dir(self, path: &str, mode: u32) -> Tree {
        self.entry(path, tar::EntryType::Directory, b"", (0, 0), mode)
    }

    fn file(self, path: &str, content: &str, mode: u32) -> Tree {
        self.entry(path, tar::EntryType::Regular, content.as_bytes(), (0, 0), mode)
    }

    fn owned(self, path: &str, owner: (u64, u64), mode: u32) -> Tree {
        self.entry(path, tar::EntryType::Regular, b"owned", owner, mode)
    }

    fn link(mut self, kind: tar::EntryType, path: &str, target: &str) -> Tree {
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

    fn pax(mut self, records: &[(&str, &[u8])]) -> Tree {
        self.0.append_pax_extensions(records.iter().copied()).expect("memory");
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory")
    }
}

const SYMLINK: tar::EntryType = tar::EntryType::Symlink;
const LINK: tar::EntryType = tar::EntryType::Link;

/// What is easy to get wrong within one layer.
fn lower() -> Vec<u8> {
    Tree::new()
        .dir("./", 0o755)
        .dir("etc/", 0o755)
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644)
        .file("etc/shadow", "root:*:1::::::\n", 0o640)
        .dir("tmp/", 0o1777)
        .dir("opaque/", 0o750)
        .file("opaque/below", "below", 0o644)
        .dir("opaque/dir/", 0o700)
        .file("opaque/dir/deep", "deep", 0o600)
        .dir("removed/", 0o755)
        .file("removed/inside", "inside", 0o644)
        .file("removed-file", "x", 0o644)
        .dir("becomes-file/", 0o755)
        .file("becomes-file/inside", "inside", 0o644)
        .file("becomes-dir", "file", 0o644)
        .link(SYMLINK, "becomes-target", "etc/passwd")
        .link(SYMLINK, "absolute", "/etc/passwd")
        .link(SYMLINK, "dangling", "../../nowhere")
        .link(SYMLINK, "lib", "usr/lib")
        .dir("usr/lib/", 0o755)
        .file("linked-1", "linked", 0o644)
        .link(LINK, "linked-2", "linked-1")
        .link(LINK, "etc/linked-3", "linked-1")
        .file("su", "setuid", 0o4755)
        .dir("setgid/", 0o2775)
        .file("setgid/inside", "", 0o640)
        .owned("by-user", (33, 34), 0o6755)
        .owned("by-high", (65_534, 65_534), 0o600)
        .entry("pipe", tar::EntryType::Fifo, b"", (5, 6), 0o622)
        .pax(&[("mtime", b"1234567890.123456789"), ("SCHILY.xattr.user.note", b"a\0b")])
        .file("pax", "", 0o644)
        .file(
            &format!("{}/{}", "d".repeat(120), "f".repeat(130)),
            "a long name",
            0o644,
        )
        .file("twice", "one", 0o600)
        .file("twice", "two", 0o604)
        .dir("d-one/", 0o755)
        .dir("d-two/", 0o755)
        .link(SYMLINK, "d-turns", "d-one")
        .file("d-turns/before", "before", 0o644)
        .link(SYMLINK, "d-turns", "d-two")
        .file("d-turns/behind", "behind", 0o644)
        .link(SYMLINK, "d-settles", "d-one")
        .file("d-settles/here", "before", 0o644)
        .dir("d-settles/", 0o755)
        .file("d-settles/there", "behind", 0o644)
        .bytes()
}

/// What an upper layer can do to it.
fn middle() -> Vec<u8> {
    Tree::new()
        .dir("opaque/", 0o711)
        .file("opaque/.wh..wh..opq", "", 0o600)
        .file("opaque/new", "new", 0o644)
        .file("opaque/.wh.nothing", "", 0o600)
        .dir("d-fresh/", 0o755)
        .file("d-fresh/.wh.nothing", "", 0o600)
        .file("d-fresh/inside", "inside", 0o644)
        .file(".wh.removed", "", 0o600)
        .file(".wh.removed-file", "", 0o600)
        .file("becomes-file", "file now", 0o640)
        .dir("becomes-dir/", 0o700)
        .file("becomes-dir/inside", "inside", 0o644)
        .file("becomes-target", "no link any more", 0o644)
        .file("usr/lib/through", "beside the link", 0o644)
        .owned("linked-2", (7, 8), 0o600)
        .dir("etc/", 0o700)
        .bytes()
}

/// And one above that: names that were gone come back, directories are not described.
fn upper() -> Vec<u8> {
    Tree::new()
        .dir("removed/", 0o701)
        .file("removed/again", "again", 0o644)
        .file("tmp/in-sticky", "its directory is described below", 0o644)
        .file("opaque/.wh.new", "", 0o600)
        .file("etc/.wh.shadow", "", 0o600)
        .link(LINK, "tmp/linked", "tmp/in-sticky")
        .bytes()
}

/// Every entry by path. The times of directories that no layer describes last, and of the root, are whatever the tool did.
fn describe(root: &Path) -> BTreeMap<String, String> {
    const TOUCHED: [&str; 3] = ["", "tmp", "opaque"];
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
        let is_touched = TOUCHED.contains(&name.as_str())
            || (kind.is_dir() && (name.starts_with('d') || name.starts_with("usr") || name == "etc"));
        let time = (!is_touched).then(|| (meta.mtime(), meta.mtime_nsec()));
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

/// Shows layers as a container sees them.
fn overlay(layers: &[PathBuf], place: &Path) -> rustix::io::Result<()> {
    let below: Vec<String> = layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    let options = CString::new(format!("lowerdir={},userxattr", below.join(":"))).expect("no zero bytes");
    mount(
        "overlay",
        place,
        "overlay",
        MountFlags::RDONLY,
        Some(options.as_c_str()),
    )
}

/// How files of one inode are grouped.
fn links(root: &Path, names: &[&str]) -> Vec<u64> {
    let inode = |name: &&str| fs::symlink_metadata(root.join(name)).expect("there").ino();
    let inodes: Vec<u64> = names.iter().map(inode).collect();
    inodes
        .iter()
        .map(|inode| inodes.iter().position(|other| other == inode).expect("itself") as u64)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_image_is_what_umoci_unpacks_entry_by_entry() {
    if is_missing(&["docker-registry", "skopeo", "umoci"]) {
        return;
    }
    let image = Image::new(vec![
        Layer::gzip(&lower()),
        Layer::zstd(&middle()),
        Layer::gzip(&upper()),
    ]);
    let registry = Debian::plain();
    registry.push(&image, "tricky:1", None);
    let ground = Ground::new();
    let pulled = ground.pull(&registry.name("tricky:1")).await.expect("pulls").image;
    let place = ground.dir.path().join("merged");
    fs::create_dir(&place).expect("makes");
    if let Err(error) = overlay(&pulled.layers, &place) {
        eprintln!("NOT TESTED: overlay can't be mounted here ({error}); `scripts/test` runs this where it can");
        return;
    }
    // This umoci knows gzip only.
    let plain = Image::new(
        [lower(), middle(), upper()]
            .iter()
            .map(|tar| Layer::gzip(tar))
            .collect(),
    );
    plain.write_layout(&ground.dir.path().join("layout"));
    let tag = |name: &str, args: &[&str]| {
        let output = Command::new("umoci")
            .args(args)
            .current_dir(ground.dir.path())
            .output()
            .expect("umoci starts");
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let index = ground.dir.path().join("layout/index.json");
    let text = fs::read_to_string(&index).expect("readable");
    let named = text.replace(
        "\"size\":",
        "\"annotations\":{\"org.opencontainers.image.ref.name\":\"1\"},\"size\":",
    );
    fs::write(&index, named).expect("writes");
    tag("unpack", &["unpack", "--image", "layout:1", "bundle"]);
    let theirs = ground.dir.path().join("bundle/rootfs");
    let (seen, expected) = (describe(&place), describe(&theirs));
    let shared = ["linked-1", "etc/linked-3", "linked-2", "tmp/in-sticky", "tmp/linked"];
    let (our_links, their_links) = (links(&place, &shared), links(&theirs, &shared));
    unmount(&place, UnmountFlags::DETACH).expect("was mounted");
    for (path, line) in &expected {
        assert_eq!(seen.get(path), Some(line), "{path}");
    }
    assert_eq!(
        seen.len(),
        expected.len(),
        "{:?}",
        seen.keys()
            .filter(|path| !expected.contains_key(*path))
            .collect::<Vec<_>>()
    );
    assert_eq!(our_links, their_links);
}
