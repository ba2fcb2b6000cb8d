//! Images that podman's kind of store has: found without a copy, and independent of it afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubelocal::image::{ImageStore, StoreOptions};
use tempfile::TempDir;

use crate::debian::is_missing;
use crate::image::{Image, Layer, tar};

/// A store of containers-storage with the overlay driver, and one of ours that looks into it.
struct Ground {
    dir: TempDir,
    store: ImageStore,
}

impl Ground {
    fn new() -> Ground {
        // Why something can't be shared is only logged. Another test of this process may have been first.
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let dir = tempfile::tempdir().expect("a directory");
        let options = StoreOptions {
            shared: vec![dir.path().join("theirs")],
            ..StoreOptions::default()
        };
        let store = ImageStore::open_with(&dir.path().join("images"), options).expect("a store");
        Ground { dir, store }
    }

    fn theirs(&self, name: &str) -> String {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        format!("containers-storage:[overlay@{}+{}]{name}", path("theirs"), path("run"))
    }

    /// Puts an image into their store.
    fn copy(&self, image: &Image, name: &str) {
        let layout = tempfile::tempdir_in(self.dir.path()).expect("a directory");
        image.write_layout(layout.path());
        self.skopeo(&[
            "copy",
            "--quiet",
            &format!("oci:{}", layout.path().display()),
            &self.theirs(name),
        ]);
    }

    fn skopeo(&self, args: &[&str]) {
        // In a mount namespace of its own, as podman's pause process has one: its driver mounts its directory onto itself.
        let output = Command::new("unshare")
            .args(["--mount", "skopeo", "--insecure-policy"])
            .args(args)
            .output()
            .expect("skopeo starts");
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// What a directory holds, by path: the inode of every file.
fn inodes(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("readable").flatten() {
        let meta = entry.metadata().expect("readable");
        match meta.is_dir() {
            true => found.extend(inodes(&entry.path())),
            false => found.push((entry.path(), meta.ino())),
        }
    }
    found.sort();
    found
}

/// Two layers, the upper one of which hides a file of the lower.
fn some_image() -> Image {
    let lower = tar(&[("etc/kept", b"kept"), ("etc/hidden", b"hidden")]);
    let upper = tar(&[("etc/.wh.hidden", b""), ("etc/added", b"added")]);
    Image::new(vec![Layer::gzip(&lower), Layer::gzip(&upper)])
}

#[test]
fn an_image_of_theirs_is_found_with_the_same_files_and_survives_them() {
    if is_missing(&["skopeo"]) {
        return;
    }
    let (ground, image) = (Ground::new(), some_image());
    ground.copy(&image, "localhost/app:1");
    assert!(ground.store.adopt("other:1").expect("readable").is_none());
    let adopted = ground.store.adopt("app:1").expect("readable").expect("is shared");
    assert_eq!(adopted.id, image.config);
    assert_eq!(adopted.names, ["docker.io/library/app:1", "localhost/app:1"]);
    assert!(!ground.store.is_pulled("app:1").expect("readable"));
    let theirs: Vec<u64> = inodes(&ground.dir.path().join("theirs/overlay"))
        .iter()
        .map(|(_, inode)| *inode)
        .collect();
    let ours: Vec<(PathBuf, u64)> = adopted.layers.iter().flat_map(|layer| inodes(layer)).collect();
    assert_eq!(ours.len(), 4, "{ours:?}");
    assert!(
        ours.iter().all(|(_, inode)| theirs.contains(inode)),
        "no file is a copy"
    );
    ground.skopeo(&["delete", &ground.theirs("localhost/app:1")]);
    assert_eq!(
        fs::read(adopted.layers[1].join("etc/added")).expect("ours stays"),
        b"added"
    );
    let hidden = fs::symlink_metadata(adopted.layers[1].join("etc/hidden")).expect("a whiteout");
    assert_eq!(hidden.rdev(), 0);
    let refused = ground
        .store
        .save("app:1", Vec::new())
        .expect_err("its packed layers are not here")
        .to_string();
    assert!(refused.contains("packed layers"), "{refused}");
}

#[test]
fn what_was_built_here_comes_first_for_who_speaks_with_their_tools_and_last_for_pods() {
    if is_missing(&["skopeo"]) {
        return;
    }
    let ground = Ground::new();
    let (built, pulled) = (Image::small("built"), Image::small("pulled"));
    ground.copy(&built, "localhost/app:latest");
    ground.copy(&pulled, "docker.io/library/app:latest");
    let adopted = ground.store.adopt("app").expect("readable").expect("is shared");
    assert_eq!(adopted.id, pulled.config);
    let adopted = ground.store.adopt_built("app").expect("readable").expect("is shared");
    assert_eq!(adopted.id, built.config);
    let named = ground.store.resolve("app").expect("readable").expect("is here");
    assert_eq!(named.id, built.config, "the name means it now");
}

#[test]
fn an_image_that_they_made_anew_is_the_new_one() {
    if is_missing(&["skopeo"]) {
        return;
    }
    let ground = Ground::new();
    for text in ["one", "two"] {
        let image = Image::small(text);
        ground.copy(&image, "localhost/app:1");
        let adopted = ground.store.adopt("app:1").expect("readable").expect("is shared");
        assert_eq!(adopted.id, image.config);
    }
    let names = ground.store.list().expect("readable");
    assert_eq!(
        names
            .iter()
            .filter(|image| image.names.contains(&"localhost/app:1".to_owned()))
            .count(),
        1
    );
}

#[test]
fn a_store_that_is_damaged_or_of_another_kind_gives_nothing() {
    if is_missing(&["skopeo"]) {
        return;
    }
    let ground = Ground::new();
    ground.copy(&some_image(), "localhost/app:1");
    let root = ground.dir.path().join("theirs");
    let layers = root.join("overlay-layers/layers.json");
    let text = fs::read_to_string(&layers).expect("readable");
    let program = root.join("overlay/.has-mount-program");
    let damage: [(&Path, String); 5] = [
        (&layers, "[{".to_owned()),
        (&layers, "[]".to_owned()),
        (&layers, text.replace("\"id\":\"", "\"id\":\"../")),
        (&layers, text.replace("\"uidset\":[0]", "\"uidset\":[4294967295]")),
        (&program, "true".to_owned()),
    ];
    for (file, damaged) in damage {
        fs::write(file, &damaged).expect("writes");
        assert!(ground.store.adopt("app:1").expect("readable").is_none(), "{damaged}");
        fs::write(&layers, &text).expect("writes");
    }
    fs::remove_file(&program).expect("removes");
    assert!(ground.store.adopt("app:1").expect("readable").is_some());
}
