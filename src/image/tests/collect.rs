//! What goes when there is too much, and what never does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn used(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn names(store: &ImageStore) -> Vec<String> {
    let images = store.list().expect("readable");
    images
        .into_iter()
        .flat_map(|image| image.names)
        .filter(|name| name != BUILTIN_IMAGE)
        .collect()
}

/// Three images of one layer each, none of them shared.
fn ground() -> Room {
    let room = Room::new();
    for name in ["a", "b", "c"] {
        let layer = Tar::new().file(name, &name.repeat(10_000)).bytes();
        let image = format!("t/{name}:1");
        room.store.import(Cursor::new(layer), &image).expect("an image");
    }
    room
}

#[test]
fn nothing_goes_below_the_high_mark_and_the_young_stay_above_it() {
    let room = ground();
    let store = &room.store;
    let marks = |high| Marks {
        high: Mark::Bytes(high),
        low: Mark::Bytes(0),
    };
    let collected = store.collect(marks(1 << 40), &used(&[])).expect("collects");
    assert_eq!(collected, Collected::default());
    let collected = store.collect(marks(1), &used(&[])).expect("collects");
    assert!(
        collected.is_still_over && collected.reclaimed.images.is_empty(),
        "{collected:?}"
    );
    assert_eq!(names(store).len(), 3);
}

#[test]
fn the_longest_unused_goes_first_and_what_runs_never_does() {
    let room = ground();
    let store = &room.store;
    let old = |name: &str, days: u64| {
        let id = store.resolve(name).expect("readable").expect("there").id;
        let record = room.path("records").join(format!("{}.json", &id["sha256:".len()..]));
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        std::fs::File::options()
            .write(true)
            .open(record)
            .expect("a record")
            .set_modified(time)
            .expect("sets");
    };
    old("t/a:1", 3);
    old("t/b:1", 2);
    old("t/c:1", 1);
    let taken = store.usage(&used(&[])).expect("readable").total();
    let marks = Marks {
        high: Mark::Bytes(taken - 1),
        low: Mark::Bytes(taken - 1),
    };
    let collected = store.collect(marks, &used(&["t/a:1"])).expect("collects");
    assert_eq!(collected.reclaimed.images, ["docker.io/t/b:1"]);
    assert!(!collected.is_still_over);
    store.mark_used(&store.resolve("t/a:1").expect("readable").expect("there").id);
    let marks = Marks {
        high: Mark::Bytes(0),
        low: Mark::Bytes(0),
    };
    let collected = store.collect(marks, &used(&[])).expect("collects");
    assert_eq!(
        collected.reclaimed.images,
        ["docker.io/t/c:1"],
        "what was just used is young"
    );
    assert_eq!(names(store), ["docker.io/t/a:1"]);
}

#[test]
fn every_inode_is_counted() {
    let room = ground();
    let layers = [
        Tar::new()
            .dir("d/", 0o755)
            .file("d/one", "x")
            .hard_link("d/two", "d/one")
            .bytes(),
        Tar::new()
            .file("made/up/file", "x")
            .symlink("link", "made")
            .file("again", "x")
            .file("again", "y")
            .file("gone/a", "x")
            .dir("gone/b/", 0o755)
            .file("gone", "z")
            .file("d/.wh.one", "")
            .bytes(),
    ];
    let layers: Vec<(&[u8], Pack)> = layers.iter().map(|tar| (&tar[..], plain as Pack)).collect();
    room.load(Layout::default().image("t/inodes:1", &layers).archive())
        .expect("loads");
    let (mut inodes, mut todo) = (BTreeSet::new(), vec![room.path("layers"), room.path("blobs/sha256")]);
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).expect("readable") {
            let entry = entry.expect("readable");
            let meta = entry.metadata().expect("there");
            if entry.file_name() != "empty" {
                inodes.insert(meta.ino());
                todo.extend(meta.is_dir().then(|| entry.path()));
            }
        }
    }
    let counted = room.store.usage(&used(&[])).expect("readable").inodes;
    assert_eq!(counted, inodes.len() as u64);
}

#[test]
fn holes_take_nothing_and_what_gave_way_neither() {
    let room = ground();
    let before = room.store.usage(&used(&[])).expect("readable").layers;
    let tar = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.size", b"99999999999"),
            ("GNU.sparse.map", b"0,1"),
        ])
        .file("holes", "x")
        .file("again", &"x".repeat(1 << 20))
        .file("again", "y")
        .file("d/inside", &"x".repeat(1 << 20))
        .file("d", "z")
        .bytes();
    let image = room.store.import(Cursor::new(tar), "t/holes:1").expect("an image");
    assert!(image.size > 99_999_999_999);
    let taken = room.store.usage(&used(&[])).expect("readable").layers - before;
    assert!(taken < 100_000, "{taken}");
}

#[test]
fn what_broke_off_goes_before_any_image() {
    let room = ground();
    let store = &room.store;
    let marks = Marks {
        high: Mark::Bytes(store.usage(&used(&[])).expect("readable").total()),
        low: Mark::Bytes(0),
    };
    let broken = room.path("partial").join("0".repeat(64));
    std::fs::write(&broken, "what came").expect("writes");
    let collected = store.collect(marks, &used(&[])).expect("collects");
    assert_eq!(collected, Collected::default(), "there is room without it");
    assert!(!broken.exists());
    assert_eq!(names(store).len(), 3);
}

#[test]
fn what_no_image_has_is_counted_and_goes_with_any_pruning() {
    let room = ground();
    let store = &room.store;
    let before = store.usage(&used(&[])).expect("readable").total();
    let stray = room.path("blobs/sha256").join("0".repeat(64));
    std::fs::write(&stray, "twelve bytes").expect("writes");
    assert_eq!(store.usage(&used(&[])).expect("readable").total(), before + 12);
    store.prune(Prune::Untagged, &used(&[])).expect("prunes");
    assert!(!stray.exists());
    assert_eq!(names(store).len(), 3);
}

#[test]
fn pruning_takes_what_has_no_name_or_all_that_nothing_uses() {
    let room = ground();
    let store = &room.store;
    let moved = Tar::new().file("new", "new").bytes();
    store.import(Cursor::new(moved), "t/a:1").expect("an image");
    let before = store.usage(&used(&["t/b:1"])).expect("readable");
    assert_eq!((before.images, before.in_use), (4, 1));
    let gone = store.prune(Prune::Untagged, &used(&[])).expect("prunes");
    assert_eq!(gone.images.len(), 1);
    assert!(gone.images[0].starts_with("sha256:") && gone.bytes > 20_000, "{gone:?}");
    assert_eq!(names(store).len(), 3);
    let gone = store.prune(Prune::Unused, &used(&["t/b:1"])).expect("prunes");
    assert_eq!(
        gone.images,
        ["docker.io/t/c:1", "docker.io/t/a:1"],
        "the longest unused first"
    );
    assert_eq!(names(store), ["docker.io/t/b:1"]);
    let after = store.usage(&used(&["t/b:1"])).expect("readable");
    assert_eq!(
        (after.images, after.reclaimable),
        (2, 0),
        "one that is used and the built-in one"
    );
}

#[test]
fn what_somebody_holds_stays_whoever_wants_it_gone() {
    let room = ground();
    let store = &room.store;
    let held = store.resolve("t/a:1").expect("readable").expect("there");
    let file = held.layers[0].join("a");
    for name in ["t/a:1", &held.id] {
        let removed = store.remove(name, &|_| false);
        assert!(matches!(removed, Err(ImageError::InUse(_))), "{name}: {removed:?}");
    }
    let gone = store.prune(Prune::Unused, &used(&[])).expect("prunes");
    assert_eq!(gone.images, ["docker.io/t/b:1", "docker.io/t/c:1"]);
    // A name that moves takes nothing away.
    let moved = Tar::new().file("new", "new").bytes();
    drop(store.import(Cursor::new(moved), "t/a:1").expect("an image"));
    let gone = store.prune(Prune::Untagged, &used(&[])).expect("prunes");
    assert_eq!(gone, Reclaimed::default());
    assert_eq!(store.usage(&used(&[])).expect("readable").in_use, 1);
    assert!(file.exists());
    drop(held);
    let gone = store.prune(Prune::Untagged, &used(&[])).expect("prunes");
    assert!(gone.images.len() == 1 && gone.bytes > 10_000, "{gone:?}");
    assert!(!file.exists());
}

#[test]
fn no_removal_fits_between_a_look_and_its_use() {
    let room = Room::new();
    let store = &room.store;
    let is_over = AtomicBool::new(false);
    let tar = Tar::new().file("file", "content").bytes();
    let seen = std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                let Some(image) = store.resolve("t/a:1").expect("readable") else {
                    continue;
                };
                // As long as a mount takes, or longer.
                for _ in 0..100 {
                    assert!(image.layers[0].join("file").exists(), "was taken away");
                    std::thread::yield_now();
                }
                seen += 1;
            }
            seen
        });
        for _ in 0..200 {
            drop(store.import(Cursor::new(tar.clone()), "t/a:1").expect("an image"));
            match store.remove("t/a:1", &|_| false) {
                Ok(_) | Err(ImageError::InUse(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        looker.join()
    });
    assert!(seen.expect("nothing was taken away") > 0, "the two never met");
}
