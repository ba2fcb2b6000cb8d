//! A process that pulls is killed at random instants; the store opens clean every time, and the next pull goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kubelocal::image::{ImageError, ImageStore, LoginFiles, PullRequest, Puller};

use crate::forms::noise;
use crate::image::{Image, Layer, tar};
use crate::kills::{ground, kill_often, names};
use crate::scripted::Scripted;

/// Set in the process that is to be killed: the directory of the store, a space, and the image's name.
const VICTIM: &str = "KUBELOCAL_TEST_PULL_CRASH";

const LAYERS: u8 = 5;
const KILLS: u32 = 60;

fn content(layer: u8) -> Vec<u8> {
    noise(layer, 300_000)
}

fn some_image() -> Image {
    let layer = |number| Layer::gzip(&tar(&[(&format!("file{number}"), &content(number))]));
    Image::new((0..LAYERS).map(layer).collect())
}

/// Not a test of its own: what the killed process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(words) = std::env::var(VICTIM) else { return };
    let (dir, name) = words.split_once(' ').expect("a directory and a name");
    let store = ImageStore::open(&Path::new(dir).join("images")).expect("a store");
    match store.remove(name, &|_| false) {
        Ok(_) | Err(ImageError::NotFound(_)) => {}
        Err(error) => panic!("{error}"),
    }
    let request = PullRequest {
        name: name.to_owned(),
        ..PullRequest::default()
    };
    Puller::new(store, LoginFiles::default())
        .pull(request)
        .done()
        .await
        .expect("pulls");
}

fn start_victim(dir: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "crash::victim"])
        .env(VICTIM, format!("{} {name}", dir.display()))
        .stdout(Stdio::null())
        .spawn()
        .expect("a child")
}

/// An image is there whole or not at all, and beside it only beginnings that the next pull may use.
fn check(dir: &Path, name: &str) -> bool {
    let store = ImageStore::open(&dir.join("images")).expect("the store opens");
    assert_eq!(names(&dir.join("images/tmp")), BTreeSet::new());
    let Some(image) = store.resolve(name).expect("readable") else {
        return false;
    };
    for (number, layer) in (0..LAYERS).zip(&image.layers) {
        assert_eq!(
            fs::read(layer.join(format!("file{number}"))).expect("whole"),
            content(number)
        );
    }
    assert_eq!(names(&dir.join("images/layers")).len(), usize::from(LAYERS) + 1);
    assert_eq!(names(&dir.join("images/blobs/sha256")).len(), usize::from(LAYERS) + 2);
    true
}

#[test]
fn a_pull_that_is_killed_at_any_instant_leaves_a_store_that_opens_clean() {
    let registry = Scripted::serving(&[("1", &some_image())]);
    let name = registry.name("app:1");
    let dir = ground();
    kill_often(
        KILLS,
        dir.path(),
        || start_victim(dir.path(), &name),
        || check(dir.path(), &name),
    );
    assert_eq!(names(&dir.path().join("images/partial")), BTreeSet::new());
}
