//! Names, ids, sharing, removal, and what survives.

use std::os::unix::fs::MetadataExt;
use std::thread;

use super::*;

#[test]
fn layers_with_large_windows_are_unpacked_though_no_decoder_begins_with_one() {
    let room = Room::new();
    // What looks back further than 8 MiB: a long match over noise.
    let noise: Vec<u8> = (0..9u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let large_window = |tar: &[u8]| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(25).expect("a window");
        encoder.long_distance_matching(true).expect("a long one");
        encoder.write_all(tar).expect("memory");
        encoder.finish().expect("memory")
    };
    let tars: Vec<Vec<u8>> = (0..3)
        .map(|n| {
            Tar::new()
                .file("first", &n.to_string())
                .entry("noise", tar::EntryType::Regular, &noise, |_| {})
                .entry("again", tar::EntryType::Regular, &noise, |_| {})
                .bytes()
        })
        .collect();
    let layers: Vec<(&[u8], Pack)> = tars.iter().map(|tar| (&tar[..], large_window as Pack)).collect();
    let image = room
        .load(Layout::default().image("a:1", &layers).archive())
        .expect("an image")
        .remove(0);
    for (at, layer) in image.layers.iter().enumerate() {
        assert_eq!(fs::read_to_string(layer.join("first")).expect("there"), at.to_string());
        assert_eq!(fs::read(layer.join("again")).expect("there"), noise);
    }
    // One that can be read once, from a pipe.
    let packed = Cursor::new(large_window(&tars[0]));
    assert!(room.store.import(packed, "localhost/piped").is_ok());
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
    let other = Room::new();
    fs::write(other.dir.path().join("binary"), "another binary").expect("writable");
    for id in [&one.id, &builtin.id] {
        let mut archive = Vec::new();
        room.store.save(id, &mut archive).expect("saved");
        assert_eq!(other.load(archive).expect("an image")[0].id, *id);
    }
    let again = other.store.resolve("r.io/other:2").expect("readable").expect("there");
    assert_eq!((again.names, again.size), (one.names, one.size));
    let mut one_name = Vec::new();
    room.store.save("one:1", &mut one_name).expect("saved");
    let third = Room::new();
    assert_eq!(
        third.load(one_name).expect("an image")[0].names,
        ["docker.io/library/one:1"]
    );
}

#[test]
fn a_load_tells_the_names_that_it_loaded() {
    let room = Room::new();
    let tar = Tar::new().file("a", "x").bytes();
    let load = |name: &str| {
        let archive = Layout::default().image("same:1", &[(&tar, gzip)]).archive();
        let source = LoadSource::Reader(Box::new(Cursor::new(archive)));
        room.store.load(source, Some(name)).expect("an image").remove(0).names
    };
    assert_eq!(load("one"), ["docker.io/library/one:latest"]);
    assert_eq!(load("two"), ["docker.io/library/two:latest"]);
    let tagged = room.store.tag("two", "three").expect("is there");
    let given = tagged.with_names(|name| name.ends_with("/three:latest")).names;
    assert_eq!(given, ["docker.io/library/three:latest"]);
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
    let (root, old_id, newer_id) = (root.clone(), old.id.clone(), newer.id.clone());
    drop((image, old, newer));
    assert_eq!(
        room.store.remove(&old_id, &|_| false).expect("removed").deleted,
        Some(old_id)
    );
    assert!(!root.exists());
    for name in [BUILTIN_IMAGE, newer_id.as_str()] {
        let removed = room.store.remove(name, &|_| false);
        assert!(matches!(removed, Err(ImageError::BuiltIn(_))), "{name}: {removed:?}");
    }
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
    let (id, layers) = (two[0].id.clone(), two[0].layers.clone());
    drop(two);
    room.store.tag("two:1", "two:2").expect("a name");
    let by_tag = room.store.remove("two:1", &|_| true).expect("only a name goes");
    assert_eq!(
        (by_tag.untagged, by_tag.deleted),
        (vec!["docker.io/library/two:1".to_owned()], None)
    );
    assert!(matches!(
        room.store.remove("two:2", &|asked| asked == id),
        Err(ImageError::InUse(_))
    ));
    let last = room.store.remove("two:2", &|_| false).expect("removed");
    assert_eq!(last.deleted.as_ref(), Some(&id));
    assert!(layers[0].exists() && !layers[1].exists());
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
fn an_image_without_layers_has_an_empty_one() {
    let room = Room::new();
    let images = room
        .load(Layout::default().image("empty:1", &[]).archive())
        .expect("an image");
    assert_eq!(images[0].layers.len(), 1);
    assert_eq!(fs::read_dir(&images[0].layers[0]).expect("a directory").count(), 0);
}

#[test]
fn the_built_in_image_is_made_again_if_a_power_cut_emptied_its_files() {
    let room = Room::new();
    let image = room.store.resolve(BUILTIN_IMAGE).expect("readable").expect("made");
    let program = image.layers[0].join("kubelocal");
    let config = room.path("blobs/sha256").join(&image.id["sha256:".len()..]);
    for path in [&program, &config] {
        fs::write(path, "").expect("writable");
        assert_eq!(
            room.store.resolve(BUILTIN_IMAGE).expect("readable").as_ref(),
            Some(&image)
        );
        assert_eq!(fs::read_to_string(&program).expect("there"), "the binary");
    }
}
