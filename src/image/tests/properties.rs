//! Whatever bytes come: the readers answer or refuse, within their bounds, and nothing outside a tree changes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A path as hostile archives have them, or nearly a good one.
fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just(".wh..wh..opq".to_owned()),
        Just(".wh.a".to_owned()),
        Just(".wh.".to_owned()),
        "[a-c]{1,2}",
    ];
    (any::<bool>(), vec(part, 1..5)).prop_map(|(is_absolute, parts)| {
        let path = parts.join("/");
        if is_absolute { format!("/{path}") } else { path }
    })
}

fn kind() -> impl Strategy<Value = tar::EntryType> {
    prop_oneof![
        Just(tar::EntryType::Regular),
        Just(tar::EntryType::Directory),
        Just(tar::EntryType::Symlink),
        Just(tar::EntryType::Link),
        Just(tar::EntryType::Fifo),
        Just(tar::EntryType::Char),
        Just(tar::EntryType::Block),
    ]
}

fn archive() -> impl Strategy<Value = Vec<u8>> {
    let entry = (path(), kind(), path(), 0u32..0o10000, "[a-z]{0,20}");
    vec(entry, 0..12).prop_map(|entries| {
        let mut tar = Tar::new();
        for (path, kind, target, mode, content) in entries {
            let content = if kind == tar::EntryType::Regular {
                content
            } else {
                String::new()
            };
            tar = tar.entry(&path, kind, content.as_bytes(), |header| {
                header.set_mode(mode);
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            });
        }
        tar.bytes()
    })
}

/// Bytes with some of them changed, cut or doubled.
fn damaged(bytes: Vec<u8>, changes: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    let mut bytes = bytes;
    for (at, value) in changes {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len() + 1));
    }
    bytes
}

/// What lies beside the store: a file that every escape would meet.
fn beside(room: &Room) -> (String, usize) {
    let canary = fs::read_to_string(room.dir.path().join("binary")).expect("still there");
    (canary, fs::read_dir(room.dir.path()).expect("readable").count())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_archive_reaches_outside_its_tree(archive in archive()) {
        let room = Room::new();
        let before = beside(&room);
        // Refused or not, it is either an image or nothing.
        match room.store.import(Cursor::new(archive), "t/x") {
            Ok(image) => prop_assert!(image.layers[0].is_dir()),
            Err(error) => prop_assert!(room.leftovers().is_empty(), "after {error}"),
        }
        prop_assert_eq!(beside(&room), before);
    }

    #[test]
    fn a_damaged_archive_is_an_image_or_nothing(
        archive in archive(),
        changes in vec((any::<Index>(), any::<u8>()), 0..8),
        cut in any::<Option<Index>>(),
    ) {
        let room = Room::new();
        let before = beside(&room);
        let _either = room.store.import(Cursor::new(damaged(archive, &changes, cut)), "t/x");
        prop_assert_eq!(beside(&room), before);
        prop_assert!(entries(&room.path("tmp")).expect("readable").is_empty());
    }

    #[test]
    fn a_reference_that_is_taken_is_taken_again_as_it_is_written(name in "[a-zA-Z0-9./:@_-]{1,60}") {
        if let Ok(reference) = Reference::parse(&name) {
            prop_assert_eq!(Reference::parse(&reference.to_string()).expect("is normal"), reference);
        }
    }
}
