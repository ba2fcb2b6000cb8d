//! The room as its callers see it: archives made here go in, trees and answers come out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{fgetxattr, lgetxattr};

use super::disk::entries;
use super::*;

/// A tar in the making.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn entry(mut self, path: &str, kind: tar::EntryType, content: &[u8], change: impl FnOnce(&mut tar::Header)) -> Tar {
        let mut header = tar::Header::new_gnu();
        // Set by hand, because the builder would clean what these tests want unclean.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).expect("memory");
        self
    }

    fn file(self, path: &str, content: &str) -> Tar {
        self.entry(path, tar::EntryType::Regular, content.as_bytes(), |_| {})
    }

    fn dir(self, path: &str, mode: u32) -> Tar {
        self.entry(path, tar::EntryType::Directory, b"", |header| header.set_mode(mode))
    }

    fn link(self, kind: tar::EntryType, path: &str, target: &str) -> Tar {
        self.entry(path, kind, b"", |header| {
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    fn symlink(self, path: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Symlink, path, target)
    }

    fn hard_link(self, path: &str, target: &str) -> Tar {
        self.link(tar::EntryType::Link, path, target)
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Tar {
        self.0.append_pax_extensions(records.iter().copied()).expect("memory");
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("memory")
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// How a layer is packed.
type Pack = fn(&[u8]) -> Vec<u8>;

/// An OCI archive in the making: blobs by name.
#[derive(Default)]
struct Layout {
    files: BTreeMap<String, Vec<u8>>,
    manifests: Vec<serde_json::Value>,
}

impl Layout {
    fn blob(&mut self, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        self.files
            .insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        serde_json::json!({ "digest": digest, "size": bytes.len() })
    }

    /// An image of these tars, each packed by its function.
    fn image(mut self, name: &str, layers: &[(&[u8], Pack)]) -> Layout {
        let diff_ids: Vec<_> = layers.iter().map(|(tar, _)| Digest::of(tar)).collect();
        let config = serde_json::json!({
            "architecture": document::this_architecture(), "os": "linux", "created": "2024-05-06T07:08:09.5Z",
            "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": { "name": name } },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(config.to_string().as_bytes());
        let layers: Vec<_> = layers.iter().map(|(tar, pack)| self.blob(&pack(tar))).collect();
        let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let mut entry = self.blob(manifest.to_string().as_bytes());
        entry["annotations"] = serde_json::json!({ document::REF_NAME: name });
        self.manifests.push(entry);
        self
    }

    fn index(&self) -> Vec<u8> {
        serde_json::json!({ "schemaVersion": 2, "manifests": self.manifests })
            .to_string()
            .into_bytes()
    }

    fn archive(self) -> Vec<u8> {
        let mut tar = Tar::new().entry("index.json", tar::EntryType::Regular, &self.index(), |_| {});
        for (name, bytes) in &self.files {
            tar = tar.entry(name, tar::EntryType::Regular, bytes, |_| {});
        }
        tar.bytes()
    }
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn zstd_packed(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

struct Room {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Room {
    fn new() -> Room {
        Room::with(Limits::default())
    }

    fn with(limits: Limits) -> Room {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("binary"), "the binary").expect("writable");
        let store = Room::open(dir.path(), limits);
        Room { dir, store }
    }

    fn open(dir: &Path, limits: Limits) -> ImageStore {
        ImageStore::open_with(&dir.join("images"), &dir.join("binary"), limits).expect("a store")
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join("images").join(relative)
    }

    fn load(&self, archive: Vec<u8>) -> Result<Vec<Image>, ImageError> {
        self.store
            .load(LoadSource::Reader(Box::new(Cursor::new(archive))), None)
    }

    /// The tree of an image of one layer.
    fn import(&self, tar: Vec<u8>) -> PathBuf {
        let image = self.store.import(Cursor::new(tar), "localhost/test").expect("an image");
        image.layers[0].clone()
    }

    fn import_error(&self, tar: Vec<u8>) -> String {
        let error = self
            .store
            .import(Cursor::new(tar), "localhost/test")
            .expect_err("refused");
        assert_eq!(self.leftovers(), Vec::<String>::new(), "after {error}");
        error.to_string()
    }

    /// What a failed intake must not leave behind.
    fn leftovers(&self) -> Vec<String> {
        let mut left = entries(&self.path("tmp")).expect("readable");
        left.extend(
            entries(&self.path("layers"))
                .expect("readable")
                .into_iter()
                .filter(|name| name != "empty"),
        );
        left.extend(entries(&self.path("records")).expect("readable"));
        left
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

#[test]
fn an_image_is_loaded_and_found_by_every_name_it_has() {
    let room = Room::new();
    let base = Tar::new()
        .dir("./", 0o755)
        .dir("bin/", 0o755)
        .file("bin/sh", "shell")
        .bytes();
    let top = Tar::new().file("hello", "world").bytes();
    let layout = Layout::default().image("docker.io/library/app:1", &[(&base, gzip), (&top, zstd_packed)]);
    let manifest = Digest::of(&layout.files[&format!("blobs/sha256/{}", digest_of(&layout.manifests[0]))]);
    let images = room.load(layout.archive()).expect("an image");
    let [image] = &images[..] else { panic!("{images:?}") };
    assert_eq!(image.names, ["docker.io/library/app:1"]);
    assert_eq!(image.digest, Some(format!("docker.io/library/app@{manifest}")));
    assert_eq!(image.config.cmd, ["sh"]);
    assert_eq!(
        image.created.map(|time| time.to_string()).as_deref(),
        Some("2024-05-06T07:08:09.5Z")
    );
    assert_eq!(image.size, 10);
    assert_eq!(
        fs::read_to_string(image.layers[0].join("bin/sh")).expect("there"),
        "shell"
    );
    assert_eq!(
        fs::read_to_string(image.layers[1].join("hello")).expect("there"),
        "world"
    );
    let bare = image.id.strip_prefix("sha256:").expect("a digest");
    for name in [
        "app:1",
        "docker.io/app:1",
        &format!("app@{manifest}"),
        &format!("app:2@{manifest}"),
        &image.id,
        bare,
        &bare[..12],
    ] {
        assert_eq!(
            room.store.resolve(name).expect("readable").as_ref(),
            Some(image),
            "{name}"
        );
    }
    for name in ["app", "app:2", "other", "deadbeef1234"] {
        assert_eq!(room.store.resolve(name).expect("readable"), None, "{name}");
    }
    assert!(matches!(
        room.store.resolve("No Name"),
        Err(ImageError::InvalidImageName { .. })
    ));
}

fn digest_of(descriptor: &serde_json::Value) -> String {
    descriptor["digest"]
        .as_str()
        .and_then(|text| text.strip_prefix("sha256:"))
        .expect("a digest")
        .to_owned()
}

#[test]
fn a_layer_becomes_a_tree_with_all_its_attributes() {
    let room = Room::new();
    let tar = Tar::new()
        .dir("./", 0o750)
        .dir("bin/", 0o555)
        .entry("bin/su", tar::EntryType::Regular, b"su", |header| {
            header.set_mode(0o4755)
        })
        .hard_link("bin/su2", "./bin/su")
        .symlink("bin/abs", "/nowhere/../else")
        .entry("pipe", tar::EntryType::Fifo, b"", |header| header.set_mode(0o622))
        .pax(&[
            ("mtime", b"12.25"),
            ("SCHILY.xattr.user.note", b"a\0b"),
            ("SCHILY.xattr.user.overlay.redirect", b"/x"),
        ])
        .file("noted", "x")
        .pax(&[("path", "ünï/løng".repeat(20).as_bytes())])
        .file("short", "long")
        .entry("null", tar::EntryType::Char, b"", |_| {})
        .bytes();
    let image = room
        .store
        .import(Cursor::new(gzip(&tar)), "localhost/test")
        .expect("an image");
    let root = &image.layers[0];
    let meta = |path: &str| fs::symlink_metadata(root.join(path)).expect(path);
    assert_eq!(meta("").mode() & 0o7777, 0o750);
    assert_eq!(
        (meta("bin").mode() & 0o7777, meta("bin").mtime()),
        (0o555, 1_000_000_000)
    );
    assert_eq!((meta("bin/su").mode() & 0o7777, meta("bin/su").nlink()), (0o4755, 2));
    assert_eq!(meta("bin/su").ino(), meta("bin/su2").ino());
    assert_eq!(
        fs::read_link(root.join("bin/abs")).expect("a link"),
        Path::new("/nowhere/../else")
    );
    assert_eq!(meta("bin/abs").mtime(), 1_000_000_000);
    assert!(meta("pipe").file_type().is_fifo());
    assert_eq!(meta("pipe").permissions().mode() & 0o777, 0o622);
    assert_eq!((meta("noted").mtime(), meta("noted").mtime_nsec()), (12, 250_000_000));
    assert_eq!(xattr(&root.join("noted"), "user.note"), Some(b"a\0b".to_vec()));
    assert_eq!(xattr(&root.join("noted"), "user.overlay.redirect"), None);
    assert_eq!(
        fs::read_to_string(root.join("ünï/løng".repeat(20))).expect("there"),
        "long"
    );
    assert!(!root.join("null").exists());
    assert_eq!(image.notes, ["device nodes were left out: 1 (first: null)"]);
}

#[test]
fn owners_are_kept_where_they_exist() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let room = Room::new();
    let owned = |header: &mut tar::Header| {
        header.set_uid(33);
        header.set_gid(44);
        header.set_mode(0o6755);
    };
    let tar = Tar::new().entry("www", tar::EntryType::Regular, b"", owned).bytes();
    let meta = fs::metadata(room.import(tar).join("www")).expect("there");
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (33, 44, 0o6755));
}

#[test]
fn whiteouts_become_what_overlayfs_understands() {
    let room = Room::new();
    let tar = Tar::new()
        .dir("a/", 0o755)
        .file("a/.wh.gone", "")
        .file("a/.wh..wh.plnk", "")
        .dir("b/", 0o755)
        .file("b/.wh..wh..opq", "")
        .file("b/new", "x")
        .file(".wh.replaced", "")
        .dir("replaced/", 0o755)
        .dir("kept/", 0o755)
        .file(".wh.kept", "")
        .file("file", "x")
        .file(".wh.file", "")
        .bytes();
    let root = room.import(tar);
    assert!(is_whiteout(&root.join("a/gone")));
    assert!(!root.join("a/.wh..wh.plnk").exists() && !root.join("a/.wh.gone").exists());
    assert_eq!(xattr(&root.join("b"), "user.overlay.opaque"), Some(b"y".to_vec()));
    assert!(root.join("b/new").exists());
    // A whiteout speaks of lower layers only; what this layer has at the same place stays.
    for dir in ["replaced", "kept"] {
        assert!(root.join(dir).is_dir());
        assert_eq!(
            xattr(&root.join(dir), "user.overlay.opaque"),
            Some(b"y".to_vec()),
            "{dir}"
        );
    }
    assert_eq!(fs::read_to_string(root.join("file")).expect("there"), "x");
}

#[test]
fn a_later_entry_replaces_an_earlier_one_of_its_name() {
    let room = Room::new();
    let tar = Tar::new()
        .file("a", "one")
        .file("a", "two")
        .dir("d/", 0o755)
        .file("d/inside", "x")
        .file("d", "now a file")
        .file("e", "x")
        .dir("e/", 0o700)
        .file("e/inside", "y")
        .dir("e/", 0o711)
        .symlink("s", "e")
        .dir("s/", 0o755)
        .bytes();
    let root = room.import(tar);
    assert_eq!(fs::read_to_string(root.join("a")).expect("there"), "two");
    assert_eq!(fs::read_to_string(root.join("d")).expect("there"), "now a file");
    assert_eq!(fs::read_to_string(root.join("e/inside")).expect("there"), "y");
    assert_eq!(fs::metadata(root.join("e")).expect("there").mode() & 0o777, 0o711);
    assert!(fs::symlink_metadata(root.join("s")).expect("there").is_dir());
}

#[test]
fn links_inside_a_layer_lead_nowhere_outside() {
    let room = Room::new();
    let outside = room.dir.path().join("outside");
    fs::create_dir(&outside).expect("writable");
    let up = format!("../../../../../../../../..{}", outside.display());
    let tar = Tar::new()
        .dir("usr/lib/", 0o755)
        .symlink("lib", "usr/lib")
        .file("lib/inside", "x")
        .symlink("abs", "/usr/lib")
        .file("abs/too", "y")
        .bytes();
    let root = room.import(tar);
    assert_eq!(fs::read_to_string(root.join("usr/lib/inside")).expect("there"), "x");
    assert_eq!(fs::read_to_string(root.join("usr/lib/too")).expect("there"), "y");
    room.store.remove("localhost/test", &|_| false).expect("removed");
    for (target, path) in [
        (outside.to_str().expect("text"), "l/file"),
        (&up, "l/file"),
        ("/", "l/../file"),
    ] {
        let tar = Tar::new().symlink("l", target).file(path, "evil").bytes();
        assert!(room.import_error(tar).contains("refused"), "{target}");
    }
    let hard = Tar::new().hard_link("l", &up).bytes();
    assert!(room.import_error(hard).contains("\"..\""));
    let hard = Tar::new()
        .symlink("d", outside.to_str().expect("text"))
        .hard_link("l", "d/x")
        .bytes();
    assert!(
        room.import_error(hard)
            .contains("a hard link to what is not in this layer")
    );
    assert_eq!(fs::read_dir(&outside).expect("readable").count(), 0);
}

#[test]
fn hostile_or_damaged_archives_are_refused_with_their_reason_and_leave_nothing() {
    let small = Limits {
        unpacked: 100_000,
        entries: 5,
        path: 90,
        depth: 5,
        extended_header: 2_000,
        implied_dirs: 2,
        ..Limits::default()
    };
    let room = Room::with(small);
    let big = "x".repeat(200_000);
    let good = Tar::new().file("a", "content").bytes();
    let sparse_bomb = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.size", b"999999999999"),
            ("GNU.sparse.map", b"0,1"),
        ])
        .file("a", "x")
        .bytes();
    let mut bad_sum = good.clone();
    bad_sum[0] = b'b';
    for (tar, reason) in [
        (Tar::new().file("../x", "").bytes(), "the path contains \"..\""),
        (Tar::new().file("a/../../x", "").bytes(), "the path contains \"..\""),
        (
            Tar::new().hard_link("x", "../../etc/passwd").bytes(),
            "the path contains \"..\"",
        ),
        (Tar::new().hard_link("x", "missing").bytes(), "not in this layer"),
        (Tar::new().file(".wh...", "").bytes(), "a whiteout of nothing"),
        (Tar::new().file("f", "").file("f/x", "").bytes(), "a parent is a file"),
        (
            Tar::new().symlink("s", "nowhere").file("s/x", "").bytes(),
            "a parent is a file, or a link",
        ),
        (Tar::new().symlink("loop", "loop").file("loop/x", "").bytes(), "loop"),
        (Tar::new().file("a/b/c/d/e/f", "").bytes(), "too many components"),
        (Tar::new().file(&"p".repeat(95), "").bytes(), "too long"),
        (Tar::new().file("a/b/c/f", "").bytes(), "directories without an entry"),
        (Tar::new().symlink("s", "").bytes(), "its target is empty"),
        (Tar::new().file("f", &big).bytes(), "over the limit of 100000 bytes"),
        (
            gzip(&Tar::new().file("f", &big).bytes()),
            "over the limit of 100000 bytes",
        ),
        (sparse_bomb, "over the limit of 100000 bytes"),
        (
            Tar::new().pax(&[("comment", &[b'x'; 3_000])]).file("a", "").bytes(),
            "an extended header of 3",
        ),
        (
            (0..6).fold(Tar::new(), |tar, n| tar.file(&n.to_string(), "")).bytes(),
            "the number of entries",
        ),
        (
            Tar::new().entry("x", tar::EntryType::new(b'Z'), b"", |_| {}).bytes(),
            "unknown type 'Z'",
        ),
        (bad_sum, "checksum"),
        (good[..512 + 3].to_vec(), "truncated"),
        (good[..700].to_vec(), "truncated"),
        (good[..1024].to_vec(), "truncated"),
        (gzip(&good)[..60].to_vec(), "truncated"),
        (Vec::new(), "truncated"),
        (b"BZh91AY&SY".to_vec(), "bzip2"),
        (vec![b'x'; 2048], "checksum"),
    ] {
        let error = room.import_error(tar);
        assert!(error.contains(reason), "wanted {reason:?}, got {error:?}");
    }
}

#[test]
fn compression_bombs_are_known_by_their_ratio() {
    let room = Room::with(Limits {
        ratio_from: 100_000,
        ratio: 50,
        ..Limits::default()
    });
    let bomb = Tar::new().file("zeros", &"\0".repeat(2_000_000)).bytes();
    assert!(
        room.import_error(gzip(&bomb))
            .contains("the ratio of compression is over the limit of 50:1")
    );
    assert!(
        room.import_error(zstd_packed(&bomb))
            .contains("the ratio of compression")
    );
    assert!(room.store.import(Cursor::new(bomb), "localhost/plain").is_ok());
}

#[test]
fn blobs_must_be_what_their_digests_and_sizes_say() {
    let room = Room::new();
    let tar = Tar::new().file("a", "x").bytes();
    let image = || Layout::default().image("a:1", &[(&tar, gzip)]);
    let break_blob = |how: &dyn Fn(&mut Vec<u8>), pick: usize| {
        let mut layout = image();
        let key = layout
            .files
            .iter()
            .map(|(key, bytes)| (bytes.len(), key.clone()))
            .collect::<BTreeMap<_, _>>();
        let key = key.values().nth(pick).expect("three blobs").clone();
        how(layout.files.get_mut(&key).expect("there"));
        let error = room.load(layout.archive()).expect_err("refused");
        assert_eq!(room.leftovers(), Vec::<String>::new(), "after {error}");
        error.to_string()
    };
    for pick in 0..3 {
        let flipped = break_blob(&|bytes| *bytes.last_mut().expect("bytes") ^= 1, pick);
        assert!(flipped.contains("digest is"), "{flipped}");
        let short = break_blob(&|bytes| bytes.truncate(bytes.len() - 1), pick);
        assert!(short.contains("size is"), "{short}");
        let long = break_blob(&|bytes| bytes.push(0), pick);
        assert!(long.contains("size is") || long.contains("over the limit"), "{long}");
    }
    let mut missing = image();
    missing.files.retain(|_, bytes| !bytes.starts_with(&[0x1f, 0x8b]));
    assert!(matches!(room.load(missing.archive()), Err(ImageError::MissingBlob(_))));
}

#[test]
fn a_layer_whose_diff_id_is_wrong_is_refused() {
    let room = Room::new();
    let (tar, other) = (Tar::new().file("a", "x").bytes(), Tar::new().file("a", "y").bytes());
    let mut layout = Layout::default();
    let config = serde_json::json!({ "config": {}, "rootfs": { "diff_ids": [Digest::of(&other)] } });
    let (config, layer) = (layout.blob(config.to_string().as_bytes()), layout.blob(&gzip(&tar)));
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let entry = layout.blob(manifest.to_string().as_bytes());
    layout.manifests.push(entry);
    let error = room.load(layout.archive()).expect_err("refused").to_string();
    assert!(error.contains("unpacked: digest is"), "{error}");
    assert_eq!(room.leftovers(), Vec::<String>::new());
}

#[test]
fn documents_of_megabytes_and_other_artifacts_are_refused_by_name() {
    let room = Room::with(Limits {
        document: 10_000,
        ..Limits::default()
    });
    let mut big = Layout::default();
    big.manifests
        .push(serde_json::json!({ "digest": Digest::of(b""), "size": 0, "annotations": { "x": "y".repeat(20_000) } }));
    assert!(matches!(room.load(big.archive()), Err(ImageError::OverLimit { .. })));
    for (manifest, reason) in [
        (serde_json::json!({ "schemaVersion": 1 }), "schema version 1"),
        (serde_json::json!({ "schemaVersion": 2 }), "no config"),
        (
            serde_json::json!({ "schemaVersion": 2, "config": { "mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": Digest::of(b""), "size": 0 } }),
            "its config is application/vnd.cncf.helm.config.v1+json",
        ),
        (serde_json::json!("text"), "invalid type"),
    ] {
        let mut layout = Layout::default();
        let entry = layout.blob(manifest.to_string().as_bytes());
        layout.manifests.push(entry);
        let error = room.load(layout.archive()).expect_err("refused").to_string();
        assert!(error.contains(reason), "wanted {reason:?}, got {error:?}");
    }
    let error = room
        .load(Tar::new().file("readme", "hello").bytes())
        .expect_err("refused")
        .to_string();
    assert!(error.contains("neither index.json nor manifest.json"), "{error}");
}

#[test]
fn an_index_gives_the_image_for_this_machine() {
    let room = Room::new();
    let tar = Tar::new().file("a", "x").bytes();
    let mut layout = Layout::default().image("ignored:1", &[(&tar, plain)]);
    let mut manifest = layout.manifests.pop().expect("one");
    manifest["platform"] = serde_json::json!({ "os": "linux", "architecture": document::this_architecture() });
    let other = serde_json::json!({ "digest": Digest::of(b"far"), "size": 3, "platform": { "os": "linux", "architecture": "s390x" } });
    let nested = layout.blob(
        serde_json::json!({ "schemaVersion": 2, "manifests": [other, manifest] })
            .to_string()
            .as_bytes(),
    );
    let digest = digest_of(&nested);
    layout.manifests.push(serde_json::json!({ "digest": nested["digest"], "size": nested["size"], "annotations": { document::REF_NAME: "multi:1" } }));
    room.load(layout.archive()).expect("an image");
    for name in [
        "multi:1".to_owned(),
        format!("multi@sha256:{digest}"),
        format!("multi@{}", manifest["digest"].as_str().expect("text")),
    ] {
        assert!(room.store.resolve(&name).expect("readable").is_some(), "{name}");
    }
}

#[test]
fn docker_archives_are_loaded_with_shared_layers_behind_links() {
    let room = Room::new();
    let tar = Tar::new().file("a", "x").bytes();
    let config = serde_json::json!({ "config": { "Entrypoint": ["/a"] }, "rootfs": { "diff_ids": [Digest::of(&tar), Digest::of(&tar)] } });
    let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": ["app:1", "app:2"], "Layers": ["one/layer.tar", "two/layer.tar"] }]);
    let archive = Tar::new()
        .entry("one/layer.tar", tar::EntryType::Regular, &tar, |_| {})
        .symlink("two/layer.tar", "../one/layer.tar")
        .entry("c.json", tar::EntryType::Regular, config.to_string().as_bytes(), |_| {})
        .entry(
            "manifest.json",
            tar::EntryType::Regular,
            manifest.to_string().as_bytes(),
            |_| {},
        )
        .bytes();
    let images = room.load(gzip(&archive)).expect("an image");
    assert_eq!(images[0].names, ["docker.io/library/app:1", "docker.io/library/app:2"]);
    assert_eq!(images[0].config.entrypoint, ["/a"]);
    assert_eq!(images[0].layers.len(), 1, "overlay refuses the same directory twice");
    assert_eq!(images[0].id, Digest::of(config.to_string().as_bytes()).to_string());
    assert_eq!(images[0].digest, None);
}

#[test]
fn directories_without_an_entry_look_as_in_the_layers_below() {
    let room = Room::new();
    let base = Tar::new()
        .dir("tmp/", 0o1777)
        .dir("etc/", 0o700)
        .dir("etc/deep/", 0o711)
        .bytes();
    let hides = Tar::new().file(".wh.etc", "").bytes();
    let top = Tar::new().file("tmp/x", "x").file("etc/deep/y", "y").bytes();
    let mode = |root: &Path, path: &str| fs::metadata(root.join(path)).expect("there").mode() & 0o7777;
    let load = |name: &str, layers: &[(&[u8], Pack)]| {
        let mut images = room
            .load(Layout::default().image(name, layers).archive())
            .expect("an image");
        images.remove(0).layers
    };
    let alone = load("alone:1", &[(&top, plain)]);
    assert_eq!((mode(&alone[0], "tmp"), mode(&alone[0], "etc/deep")), (0o755, 0o755));
    let over = load("over:1", &[(&base, plain), (&top, gzip)]);
    assert_eq!(
        (mode(&over[1], "tmp"), mode(&over[1], "etc"), mode(&over[1], "etc/deep")),
        (0o1777, 0o700, 0o711)
    );
    let hidden = load("hidden:1", &[(&base, plain), (&hides, plain), (&top, plain)]);
    assert_eq!(
        (
            mode(&hidden[2], "tmp"),
            mode(&hidden[2], "etc"),
            mode(&hidden[2], "etc/deep")
        ),
        (0o1777, 0o755, 0o755)
    );
    assert_eq!(
        load("again:1", &[(&base, plain), (&top, gzip)]),
        over,
        "the same stack is unpacked once"
    );
}

#[test]
fn the_same_image_loaded_by_many_at_once_is_unpacked_once() {
    let room = Room::new();
    let layers: Vec<Vec<u8>> = (0..6)
        .map(|n| {
            Tar::new()
                .file("f", &n.to_string().repeat(100_000))
                .file(&format!("f{n}"), "x")
                .bytes()
        })
        .collect();
    let packed: Vec<(&[u8], Pack)> = layers.iter().map(|tar| (&tar[..], gzip as Pack)).collect();
    let archive = Layout::default().image("many:1", &packed).archive();
    let images: Vec<Image> = thread::scope(|scope| {
        let loads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| room.load(archive.clone()).expect("an image").remove(0)))
            .collect();
        loads.into_iter().map(|load| load.join().expect("no panic")).collect()
    });
    assert!(images.iter().all(|image| *image == images[0]));
    assert_eq!(entries(&room.path("layers")).expect("readable").len(), 6 + 1);
    assert_eq!(entries(&room.path("tmp")).expect("readable"), Vec::<String>::new());
}

#[test]
fn an_image_that_is_saved_can_be_loaded_again_and_is_the_same() {
    let room = Room::new();
    let tar = Tar::new().file("a", "x").bytes();
    room.load(Layout::default().image("one:1", &[(&tar, gzip)]).archive())
        .expect("an image");
    let one = room.store.tag("one:1", "r.io/other:2").expect("a name");
    let builtin = room.store.resolve(BUILTIN_IMAGE).expect("readable").expect("made");
    let mut archive = Vec::new();
    room.store.save(&[&one.id, BUILTIN_IMAGE], &mut archive).expect("saved");
    let other = Room::new();
    fs::write(other.dir.path().join("binary"), "another binary").expect("writable");
    let mut ids: Vec<String> = other
        .load(archive)
        .expect("images")
        .into_iter()
        .map(|image| image.id)
        .collect();
    ids.sort();
    let mut expected = [one.id.clone(), builtin.id.clone()];
    expected.sort();
    assert_eq!(ids, expected);
    let again = other.store.resolve("r.io/other:2").expect("readable").expect("there");
    assert_eq!((again.names, again.size), (one.names, one.size));
    let mut one_name = Vec::new();
    room.store.save(&["one:1"], &mut one_name).expect("saved");
    let third = Room::new();
    assert_eq!(
        third.load(one_name).expect("an image")[0].names,
        ["docker.io/library/one:1"]
    );
}

#[test]
fn the_built_in_image_is_made_once_and_follows_the_binary() {
    let room = Room::new();
    let listed = room.store.list().expect("readable");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].names, [BUILTIN_IMAGE]);
    let image = room
        .store
        .resolve("kubelocal.dev/demo")
        .expect("readable")
        .expect("there");
    assert_eq!(image.id, listed[0].id);
    assert_eq!(image.config.entrypoint, ["/kubelocal", "demo"]);
    assert_eq!(image.config.cmd, ["serve"]);
    let root = &image.layers[0];
    assert_eq!(fs::read_to_string(root.join("kubelocal")).expect("there"), "the binary");
    let mode = |path: &str| fs::metadata(root.join(path)).expect("there").mode() & 0o7777;
    assert_eq!(
        (mode("kubelocal"), mode("tmp"), mode("etc/passwd")),
        (0o755, 0o1777, 0o644)
    );
    assert!(
        fs::read_to_string(root.join("etc/passwd"))
            .expect("there")
            .contains("nobody:x:65534:65534")
    );
    fs::write(room.dir.path().join("binary"), "a newer binary").expect("writable");
    let newer = room.store.resolve(BUILTIN_IMAGE).expect("readable").expect("there");
    assert_ne!(newer.id, image.id);
    let old = room
        .store
        .resolve(&image.id)
        .expect("readable")
        .expect("the old one stays until it is removed");
    assert_eq!(old.names, Vec::<String>::new());
    assert_eq!(
        room.store.remove(&image.id, &|_| false).expect("removed").deleted,
        Some(image.id)
    );
    assert!(!root.exists());
    room.store.remove(BUILTIN_IMAGE, &|_| false).expect("removed");
    assert_eq!(
        room.store
            .resolve(BUILTIN_IMAGE)
            .expect("readable")
            .expect("made again")
            .id,
        newer.id
    );
}

#[test]
fn removing_the_last_name_removes_the_image_but_not_what_others_share() {
    let room = Room::new();
    let (base, top) = (Tar::new().file("a", "x").bytes(), Tar::new().file("b", "y").bytes());
    room.load(Layout::default().image("one:1", &[(&base, gzip)]).archive())
        .expect("an image");
    let two = room
        .load(
            Layout::default()
                .image("two:1", &[(&base, gzip), (&top, gzip)])
                .archive(),
        )
        .expect("an image");
    room.store.tag("two:1", "two:2").expect("a name");
    let by_tag = room.store.remove("two:1", &|_| true).expect("only a name goes");
    assert_eq!(
        (by_tag.untagged, by_tag.deleted),
        (vec!["docker.io/library/two:1".to_owned()], None)
    );
    assert!(matches!(
        room.store.remove("two:2", &|id| id == two[0].id),
        Err(ImageError::InUse(_))
    ));
    let last = room.store.remove("two:2", &|_| false).expect("removed");
    assert_eq!(last.deleted.as_ref(), Some(&two[0].id));
    assert!(two[0].layers[0].exists() && !two[0].layers[1].exists());
    assert!(matches!(
        room.store.remove("two:2", &|_| false),
        Err(ImageError::NotFound(_))
    ));
    room.store.remove("one:1", &|_| false).expect("removed");
    assert_eq!(room.leftovers(), Vec::<String>::new());
    assert_eq!(
        entries(&room.path("blobs/sha256")).expect("readable"),
        Vec::<String>::new()
    );
}

#[test]
fn what_a_crash_left_is_swept_when_the_store_is_opened_unless_someone_works_there() {
    let room = Room::new();
    let tar = Tar::new().file("a", "x").bytes();
    let image = room
        .load(Layout::default().image("one:1", &[(&tar, gzip)]).archive())
        .expect("an image")
        .remove(0);
    let litter = || {
        fs::create_dir_all(room.path("tmp/1-1/fs/deep")).expect("writable");
        fs::write(room.path("tmp/1-2"), "half").expect("writable");
        fs::create_dir_all(room.path("layers/aaaaaaaaaaaa/fs")).expect("writable");
        fs::write(room.path("blobs/sha256").join("a".repeat(64)), "unreferenced").expect("writable");
    };
    litter();
    let disk = disk::Disk::create(&room.path("")).expect("a store");
    let work = disk.work().expect("a lock");
    Room::open(room.dir.path(), Limits::default());
    assert!(room.path("tmp/1-2").exists() && room.path("layers/aaaaaaaaaaaa").exists());
    drop(work);
    let store = Room::open(room.dir.path(), Limits::default());
    assert_eq!(entries(&room.path("tmp")).expect("readable"), Vec::<String>::new());
    assert_eq!(entries(&room.path("layers")).expect("readable").len(), 2);
    assert_eq!(entries(&room.path("blobs/sha256")).expect("readable").len(), 3);
    assert_eq!(store.resolve("one:1").expect("readable"), Some(image));
}

#[test]
fn sparse_files_have_their_data_where_it_belongs() {
    let room = Room::new();
    let map = b"2\n4096\n3\n10000\n2\n";
    let mut content = map.to_vec();
    content.resize(512, 0);
    content.extend(b"abcde");
    let tar = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"holes"),
            ("GNU.sparse.realsize", b"20000"),
        ])
        .entry("GNUSparseFile.0/holes", tar::EntryType::Regular, &content, |_| {})
        .file("after", "x")
        .bytes();
    let root = room.import(tar);
    let mut bytes = Vec::new();
    fs::File::open(root.join("holes"))
        .expect("there")
        .read_to_end(&mut bytes)
        .expect("readable");
    assert_eq!(bytes.len(), 20_000);
    assert_eq!(
        (&bytes[4096..4099], &bytes[10_000..10_002], bytes[0]),
        (&b"abc"[..], &b"de"[..], 0)
    );
    assert!(root.join("after").exists());
}

#[test]
fn a_layer_that_its_digest_proves_whole_needs_no_end_mark() {
    let room = Room::new();
    let tar = &Tar::new().dir("d/", 0o755).file("d/a", "content").bytes()[..1024 + 7];
    let image = room
        .load(Layout::default().image("a:1", &[(tar, gzip)]).archive())
        .expect("an image")
        .remove(0);
    assert_eq!(
        fs::read_to_string(image.layers[0].join("d/a")).expect("there"),
        "content"
    );
}

#[test]
fn an_image_without_layers_has_an_empty_one() {
    let room = Room::new();
    let images = room
        .load(Layout::default().image("empty:1", &[]).archive())
        .expect("an image");
    assert_eq!(images[0].layers.len(), 1);
    assert_eq!(fs::read_dir(&images[0].layers[0]).expect("a directory").count(), 0);
}

#[test]
fn file_capabilities_survive() {
    let room = Room::new();
    let capability: &[u8] = &[1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .pax(&[("SCHILY.xattr.security.capability", capability)])
        .file("ping", "x")
        .bytes();
    let image = room.store.import(Cursor::new(tar), "localhost/test").expect("an image");
    let file = fs::File::open(image.layers[0].join("ping")).expect("there");
    let mut value = [0u8; 64];
    match fgetxattr(&file, "security.capability", &mut value) {
        Ok(length) => assert_eq!(&value[..length], capability),
        Err(_) => assert!(
            image.notes[0].starts_with("extended attributes were left out"),
            "{:?}",
            image.notes
        ),
    }
}
