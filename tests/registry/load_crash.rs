//! A process that loads an image is killed at random instants; the store opens clean every time.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::{Child, Command};

use kubelocal::image::{ImageError, ImageStore, LoadSource};

use crate::image::digest;
use crate::kills::{ground, kill_often, names};

/// Set in the process that is to be killed: the directory of the store.
const VICTIM: &str = "KUBELOCAL_TEST_IMAGE_CRASH";

const LAYERS: usize = 6;
const FILES: usize = 150;
const KILLS: u32 = 120;

fn layer(number: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in 0..FILES {
        let content = format!("layer {number}, file {file}\n").repeat(50);
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, format!("layer{number}/{file}"), content.as_bytes())
            .expect("memory");
    }
    tar.into_inner().expect("memory")
}

/// A docker archive, because it needs no digests of packed layers.
fn archive() -> Vec<u8> {
    let layers: Vec<Vec<u8>> = (0..LAYERS).map(layer).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = serde_json::json!({ "config": {}, "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let names: Vec<String> = (0..LAYERS).map(|number| format!("{number}.tar")).collect();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": ["crash:1"], "Layers": names }]);
    let mut tar = tar::Builder::new(Vec::new());
    let documents = [
        ("config.json", config.to_string()),
        ("manifest.json", manifest.to_string()),
    ];
    let documents = documents
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into_bytes()));
    for (name, bytes) in names.into_iter().zip(layers).chain(documents) {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, &bytes[..]).expect("memory");
    }
    tar.into_inner().expect("memory")
}

/// Not a test of its own: what the killed process does.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let dir = Path::new(&dir);
    let store = ImageStore::open(&dir.join("images")).expect("a store");
    let archive = fs::read(dir.join("archive.tar")).expect("readable");
    // Removed first and loaded again, so that every instant of both is met.
    match store.remove("crash:1", &|_| false) {
        Ok(_) | Err(ImageError::NotFound(_)) => {}
        Err(error) => panic!("{error}"),
    }
    store
        .load(LoadSource::Reader(Box::new(Cursor::new(archive))), None)
        .expect("an image");
}

fn start_victim(dir: &Path) -> Child {
    let binary = std::env::current_exe().expect("this test");
    Command::new(binary)
        .args(["--exact", "load_crash::victim"])
        .env(VICTIM, dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("a child")
}

/// An image is there whole or not at all, and nothing is there that belongs to no image.
fn check(dir: &Path) -> bool {
    let store = ImageStore::open(&dir.join("images")).expect("the store opens");
    assert_eq!(names(&dir.join("images/tmp")), BTreeSet::new());
    let image = store.resolve("crash:1").expect("readable");
    let mut expected = BTreeSet::from(["empty".to_owned()]);
    for (number, layer) in image.iter().flat_map(|image| &image.layers).enumerate() {
        let parent = layer.parent().and_then(Path::file_name).expect("a directory");
        expected.insert(parent.to_string_lossy().into_owned());
        for file in 0..FILES {
            let content = fs::read_to_string(layer.join(format!("layer{number}/{file}"))).expect("whole");
            assert_eq!(content, format!("layer {number}, file {file}\n").repeat(50));
        }
    }
    // Between its name and its record a removal may have been cut; then only the name is gone.
    if image.is_some() {
        assert_eq!(names(&dir.join("images/layers")), expected);
    }
    image.is_some()
}

#[test]
fn a_load_that_is_killed_at_any_instant_leaves_a_store_that_opens_clean() {
    let dir = ground();
    fs::write(dir.path().join("archive.tar"), archive()).expect("writable");
    kill_often(KILLS, dir.path(), || start_victim(dir.path()), || check(dir.path()));
    let store = ImageStore::open(&dir.path().join("images")).expect("a store");
    store.remove("crash:1", &|_| false).expect("removed");
    assert_eq!(
        names(&dir.path().join("images/layers")),
        BTreeSet::from(["empty".to_owned()])
    );
    assert_eq!(names(&dir.path().join("images/blobs/sha256")), BTreeSet::new());
}
