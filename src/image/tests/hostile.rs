//! What is refused, and that nothing is left of it.

use std::io::Cursor;

use super::*;

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
        implied_bytes: 70,
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
        (
            Tar::new().file("a/b/c/f", "").bytes(),
            "the number of directories without an entry",
        ),
        (
            Tar::new().file(&format!("{}/b/f", "p".repeat(60)), "").bytes(),
            "the length of the paths of directories without an entry",
        ),
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
        (serde_json::json!({ "schemaVersion": 1 }), "schema 1"),
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
fn a_docker_archive_in_a_directory_names_no_file_outside_of_it() {
    let room = Room::new();
    let outside = room.dir.path().join("secret");
    fs::write(&outside, r#"{"rootfs":{"diff_ids":[]}}"#).expect("writable");
    let dir = room.dir.path().join("archive");
    fs::create_dir(&dir).expect("writable");
    std::os::unix::fs::symlink(&outside, dir.join("link")).expect("writable");
    for path in ["../secret", outside.to_str().expect("text"), "link"] {
        let manifest = serde_json::json!([{ "Config": path, "RepoTags": ["a:1"], "Layers": [] }]);
        fs::write(dir.join("manifest.json"), manifest.to_string()).expect("writable");
        assert!(room.store.load(LoadSource::Path(dir.clone()), None).is_err(), "{path}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    /// Whatever is in an archive, it is unpacked or refused, and nothing outside of the store changes.
    #[test]
    fn damaged_archives_neither_panic_nor_write_outside(
        damage in proptest::collection::vec((0usize..6_000, proptest::num::u8::ANY), 0..12),
        keeps_sums in proptest::bool::ANY,
    ) {
        let room = Room::with(Limits { unpacked: 1 << 20, ..Limits::default() });
        let mut tar = Tar::new()
            .dir("d/", 0o755)
            .pax(&[("path", b"d/long"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
            .file("short", "content")
            .symlink("d/l", "../../..")
            .hard_link("d/h", "d/long")
            .file("d/.wh.gone", "")
            .bytes();
        for (at, byte) in damage {
            let at = at % tar.len();
            tar[at] = byte;
        }
        if keeps_sums {
            tar.chunks_exact_mut(512).for_each(mend_sum);
        }
        let before = entries(room.dir.path()).expect("readable");
        if room.store.import(Cursor::new(tar), "localhost/fuzzed").is_err() {
            proptest::prop_assert_eq!(room.leftovers(), Vec::<String>::new());
        }
        proptest::prop_assert_eq!(entries(room.dir.path()).expect("readable"), before);
    }
}

/// Makes a damaged header look sound, so that what it says is acted on.
fn mend_sum(block: &mut [u8]) {
    if !block[257..].starts_with(b"ustar") {
        return;
    }
    let mut header = tar::Header::from_byte_slice(block).clone();
    header.set_cksum();
    block.copy_from_slice(header.as_bytes());
}
