//! Images beside the tools that others use for them: what umoci unpacks, kubelocal unpacks the same; what kubelocal
//! saves, skopeo reads. Tools that are not installed are named on stderr and their test passes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use kubelocal::image::{Image, ImageStore, LoadSource};

use crate::debian::is_missing;
use crate::trees::{LINK, SYMLINK, Tree, assert_same, describe, links, run};

/// A layer with what is easy to get wrong, and nothing that only overlay understands.
fn tricky_layer() -> Vec<u8> {
    let file = tar::EntryType::Regular;
    Tree::new()
        .dir("./", 0o755)
        .dir("sticky/", 0o1777)
        .dir("setgid/", 0o2755)
        .file("setgid/inside", "gets no group of its directory", 0o640)
        .dir("closed/", 0o500)
        .file("closed/file", "in a directory that cannot be written", 0o000)
        .file("su", "setuid", 0o4755)
        .link(LINK, "linked", "su")
        .link(SYMLINK, "absolute", "/etc/passwd")
        .link(SYMLINK, "dangling", "../../nowhere")
        .link(LINK, "to-link", "dangling")
        .entry("pipe", tar::EntryType::Fifo, b"", (0, 0), 0o622)
        .file("twice", "one", 0o600)
        .file("twice", "two", 0o604)
        .dir("now-a-file/", 0o755)
        .file("now-a-file/inside", "", 0o644)
        .file("now-a-file", "file", 0o644)
        .file(
            &format!("{}/{}", "d".repeat(120), "f".repeat(130)),
            "a long name",
            0o644,
        )
        .file("spaces and ümläuts", "", 0o644)
        .pax(&[
            ("mtime", b"1234567890.123456789"),
            ("SCHILY.xattr.user.note", b"a\0b"),
            ("uid", b"12345"),
        ])
        .entry("pax", file, b"", (0, 0), 0o644)
        .bytes()
}

/// Times of directories that none describes, and of the root, which umoci touches afterwards.
fn is_timeless(name: &str, _is_dir: bool) -> bool {
    name.is_empty() || name.ends_with(&"d".repeat(120))
}

fn store(dir: &Path) -> ImageStore {
    ImageStore::open(&dir.join("images")).expect("a store")
}

/// A layout of one image, made by umoci of this layer.
fn umoci_layout(dir: &Path) {
    fs::write(dir.join("layer.tar"), tricky_layer()).expect("writable");
    run("umoci", &["init", "--layout", "layout"], dir);
    run("umoci", &["new", "--image", "layout:tricky"], dir);
    run(
        "umoci",
        &["raw", "add-layer", "--image", "layout:tricky", "layer.tar"],
        dir,
    );
}

fn load(store: &ImageStore, path: PathBuf) -> Image {
    store.load(LoadSource::Path(path), None).expect("an image").remove(0)
}

#[test]
fn a_layer_is_unpacked_as_umoci_unpacks_it() {
    if is_missing(&["umoci"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: only root can give files away, so owners could not be compared");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    umoci_layout(dir.path());
    run("umoci", &["unpack", "--image", "layout:tricky", "bundle"], dir.path());
    let image = load(&store(dir.path()), dir.path().join("layout"));
    assert_eq!(image.names, ["localhost/layout:tricky"]);
    let (theirs, ours) = (&dir.path().join("bundle/rootfs"), &image.layers[0]);
    assert_same("layer", &describe(ours, is_timeless), &describe(theirs, is_timeless));
    let shared = ["su", "linked", "dangling", "to-link", "twice"];
    assert_eq!(links(ours, &shared), links(theirs, &shared));
}

#[test]
fn skopeo_converts_what_is_saved_and_its_archives_are_the_same_image() {
    if is_missing(&["skopeo"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path());
    let image = store.import(&tricky_layer()[..], "r.io/tricky:1").expect("an image");
    let mut saved = fs::File::create(dir.path().join("saved.tar")).expect("writable");
    store.save("r.io/tricky:1", &mut saved).expect("saved");
    saved.flush().expect("written");
    for (target, options) in [
        ("docker-archive:docker.tar:r.io/tricky:2", &[][..]),
        (
            "oci-archive:zstd.tar:r.io/tricky:3",
            &["--dest-compress-format", "zstd"],
        ),
        ("oci:layout:4", &["--dest-compress-format", "gzip"]),
    ] {
        let args = [
            &["copy", "--quiet"],
            options,
            &["oci-archive:saved.tar:r.io/tricky:1", target],
        ]
        .concat();
        run("skopeo", &args, dir.path());
    }
    for path in ["saved.tar", "docker.tar", "zstd.tar", "layout"] {
        let again = load(&store, dir.path().join(path));
        assert_eq!(again.layers, image.layers, "{path}");
    }
}
