//! What becomes of the entries of a layer.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::fgetxattr;

use super::*;

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
    // Else overlay would list the whiteouts of a directory that it doesn't merge.
    assert_eq!(xattr(&root.join("a"), "user.overlay.origin"), Some(Vec::new()));
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
fn below_a_layer_that_hides_all_nothing_is_seen() {
    let room = Room::new();
    let tars = [
        Tar::new().file("hidden", "x").dir("d/", 0o700).bytes(),
        Tar::new().file("a", "x").file(".wh..wh..opq", "").bytes(),
        Tar::new().file("d/b", "x").bytes(),
    ];
    let layers: Vec<(&[u8], Pack)> = tars.iter().map(|tar| (&tar[..], plain as Pack)).collect();
    let archive = Layout::default().image("t/opaque:1", &layers).archive();
    let image = room.load(archive).expect("loads").remove(0);
    assert_eq!(image.notes, [""; 0]);
    assert_eq!(image.layers.len(), 2);
    assert!(image.layers[0].join("a").exists() && image.layers[1].join("d/b").exists());
    let mode = fs::metadata(image.layers[1].join("d")).expect("there").mode() & 0o7777;
    assert_eq!(mode, 0o755, "nor does a directory look as one that is hidden");
}

#[test]
fn the_root_is_that_of_the_highest_layer_that_describes_it() {
    let room = Room::new();
    let tars = [
        Tar::new().dir("./", 0o700).file("a", "x").bytes(),
        Tar::new().dir("./", 0o1711).file("b", "x").bytes(),
        Tar::new().file("c", "x").bytes(),
    ];
    let layers: Vec<(&[u8], Pack)> = tars.iter().map(|tar| (&tar[..], plain as Pack)).collect();
    let archive = Layout::default().image("t/root:1", &layers).archive();
    let image = room.load(archive).expect("loads").remove(0);
    let root = image.root.expect("is described");
    assert_eq!(root, image.layers[1]);
    assert_eq!(fs::metadata(&root).expect("there").mode() & 0o7777, 0o1711);
    let bare = room.store.import(Cursor::new(&tars[2]), "t/bare:1").expect("an image");
    assert_eq!(bare.root, None);
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
fn what_comes_below_a_replaced_link_lies_where_the_new_one_leads() {
    let room = Room::new();
    let tar = Tar::new()
        .dir("x/", 0o755)
        .dir("y/", 0o755)
        .symlink("a", "x")
        .file("a/f", "")
        .dir("a/", 0o755)
        .file("a/g", "")
        .symlink("b", "x")
        .file("b/h", "")
        .symlink("b", "y")
        .file("b/i", "")
        .bytes();
    let root = room.import(tar);
    let names = |dir: &str| {
        let mut names = entries(&root.join(dir)).expect("readable");
        names.sort();
        names
    };
    assert_eq!(
        (names("a"), names("x"), names("y")),
        (vec!["g".into()], vec!["f".into(), "h".into()], vec!["i".into()])
    );
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
fn a_link_that_a_directory_without_an_entry_hides_is_noted() {
    let room = Room::new();
    let base = Tar::new().dir("usr/lib/", 0o755).symlink("lib", "usr/lib").bytes();
    let top = Tar::new().file("lib/b", "x").bytes();
    let layers = [(&base[..], plain as Pack), (&top[..], gzip as Pack)];
    let image = room
        .load(Layout::default().image("a:1", &layers).archive())
        .expect("an image")
        .remove(0);
    assert_eq!(
        image.notes,
        ["links of layers below were hidden by directories without an entry: 1 (first: lib)"]
    );
}

#[test]
fn a_directory_without_an_entry_may_become_something_else() {
    let room = Room::new();
    let base = Tar::new().dir("a/", 0o711).dir("a/b/", 0o711).dir("c/", 0o711).bytes();
    let top = Tar::new()
        .file("a/b/f", "x")
        .file("a/b", "a file by now")
        .file("c/f", "x")
        .symlink("c", "a")
        .file("d/f", "x")
        .file("d", "a file")
        .dir("d/", 0o700)
        .bytes();
    let layers = [(&base[..], plain as Pack), (&top[..], gzip as Pack)];
    let image = room
        .load(Layout::default().image("a:1", &layers).archive())
        .expect("an image")
        .remove(0);
    let root = &image.layers[1];
    assert_eq!(fs::read_to_string(root.join("a/b")).expect("there"), "a file by now");
    assert_eq!(fs::metadata(root.join("a")).expect("there").mode() & 0o7777, 0o711);
    assert_eq!(fs::metadata(root.join("d")).expect("there").mode() & 0o7777, 0o700);
    assert_eq!(
        entries(root.parent().expect("a layer")).expect("readable").len(),
        2,
        "no list is left"
    );
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
