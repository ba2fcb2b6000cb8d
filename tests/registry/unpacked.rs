//! What a pulled image looks like to a container, beside what umoci makes of the same image: every entry, all that an
//! archive can say of it.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::debian::{Debian, is_missing};
use crate::image::{Image, Layer};
use crate::pulls::Ground;
use crate::trees::{LINK, SYMLINK, Tree, assert_same, describe, links, run};

/// What is easy to get wrong within one layer.
fn lower() -> Vec<u8> {
    Tree::new()
        .dir("./", 0o755)
        .dir("etc/", 0o755)
        .file("etc/passwd", "root:x:0:0::/:/bin/sh\n", 0o644)
        .file("etc/shadow", "root:*:1::::::\n", 0o640)
        .dir("tmp/", 0o1777)
        .dir("opaque/", 0o750)
        .file("opaque/below", "below", 0o644)
        .dir("opaque/dir/", 0o700)
        .file("opaque/dir/deep", "deep", 0o600)
        .dir("removed/", 0o755)
        .file("removed/inside", "inside", 0o644)
        .file("removed-file", "x", 0o644)
        .dir("becomes-file/", 0o755)
        .file("becomes-file/inside", "inside", 0o644)
        .file("becomes-dir", "file", 0o644)
        .link(SYMLINK, "becomes-target", "etc/passwd")
        .link(SYMLINK, "absolute", "/etc/passwd")
        .link(SYMLINK, "dangling", "../../nowhere")
        .link(SYMLINK, "lib", "usr/lib")
        .dir("usr/lib/", 0o755)
        .file("linked-1", "linked", 0o644)
        .link(LINK, "linked-2", "linked-1")
        .link(LINK, "etc/linked-3", "linked-1")
        .file("su", "setuid", 0o4755)
        .dir("setgid/", 0o2775)
        .file("setgid/inside", "", 0o640)
        .owned("by-user", (33, 34), 0o6755)
        .owned("by-high", (65_534, 65_534), 0o600)
        .entry("pipe", tar::EntryType::Fifo, b"", (5, 6), 0o622)
        .pax(&[("mtime", b"1234567890.123456789"), ("SCHILY.xattr.user.note", b"a\0b")])
        .file("pax", "", 0o644)
        .file(
            &format!("{}/{}", "d".repeat(120), "f".repeat(130)),
            "a long name",
            0o644,
        )
        .file("twice", "one", 0o600)
        .file("twice", "two", 0o604)
        .dir("d-one/", 0o755)
        .dir("d-two/", 0o755)
        .link(SYMLINK, "d-turns", "d-one")
        .file("d-turns/before", "before", 0o644)
        .link(SYMLINK, "d-turns", "d-two")
        .file("d-turns/behind", "behind", 0o644)
        .link(SYMLINK, "d-settles", "d-one")
        .file("d-settles/here", "before", 0o644)
        .dir("d-settles/", 0o755)
        .file("d-settles/there", "behind", 0o644)
        .bytes()
}

/// What an upper layer can do to it.
fn middle() -> Vec<u8> {
    Tree::new()
        .dir("opaque/", 0o711)
        .file("opaque/.wh..wh..opq", "", 0o600)
        .file("opaque/new", "new", 0o644)
        .file("opaque/.wh.nothing", "", 0o600)
        .dir("d-fresh/", 0o755)
        .file("d-fresh/.wh.nothing", "", 0o600)
        .file("d-fresh/inside", "inside", 0o644)
        .file(".wh.removed", "", 0o600)
        .file(".wh.removed-file", "", 0o600)
        .file("becomes-file", "file now", 0o640)
        .dir("becomes-dir/", 0o700)
        .file("becomes-dir/inside", "inside", 0o644)
        .file("becomes-target", "no link any more", 0o644)
        .file("usr/lib/through", "beside the link", 0o644)
        .owned("linked-2", (7, 8), 0o600)
        .dir("etc/", 0o700)
        .bytes()
}

/// And one above that: names that were gone come back, directories are not described.
fn upper() -> Vec<u8> {
    Tree::new()
        .dir("removed/", 0o701)
        .file("removed/again", "again", 0o644)
        .file("tmp/in-sticky", "its directory is described below", 0o644)
        .file("opaque/.wh.new", "", 0o600)
        .file("etc/.wh.shadow", "", 0o600)
        .link(LINK, "tmp/linked", "tmp/in-sticky")
        .bytes()
}

/// Shows layers as a container sees them.
fn overlay(layers: &[PathBuf], place: &Path) -> std::io::Result<()> {
    // Overlay wants two directories at least; of a stack all below which is hidden there is one.
    let empty = place.with_file_name("nothing");
    std::fs::create_dir(&empty)?;
    let below = layers
        .iter()
        .rev()
        .chain([&empty])
        .map(|layer| layer.display().to_string());
    let below = below.collect::<Vec<_>>().join(":");
    let options = CString::new(format!("lowerdir={below},userxattr")).expect("no zero bytes");
    mount(
        "overlay",
        place,
        "overlay",
        MountFlags::RDONLY,
        Some(options.as_c_str()),
    )?;
    Ok(())
}

/// Stacks that go wrong by themselves: what they are, and their layers, the lowest first.
fn stacks() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let base = || {
        Tree::new()
            .dir("a/", 0o755)
            .file("a/one", "one", 0o644)
            .dir("kept/", 0o750)
            .file("kept/gone", "gone", 0o644)
            .link(SYMLINK, "s", "a")
            .file("s/through", "through", 0o644)
            .bytes()
    };
    let links_become_directories = Tree::new().dir("s/", 0o711).file("s/new", "new", 0o644).bytes();
    let directories_become_links = Tree::new()
        .link(SYMLINK, "a", "kept")
        .file("kept/beside", "beside", 0o644)
        .bytes();
    let nothing = Tree::new()
        .file(".wh.ghost", "", 0o600)
        .dir("a/", 0o755)
        .file("a/.wh.ghost", "", 0o600)
        .file("a/own", "own", 0o644)
        .file("a/.wh.own", "", 0o600)
        .bytes();
    let again = Tree::new()
        .dir("a/", 0o755)
        .file("a/.wh.one", "", 0o600)
        .file("a/one", "again", 0o600)
        .bytes();
    let root = Tree::new()
        .dir("new/", 0o700)
        .file("new/file", "new", 0o644)
        .file(".wh..wh..opq", "", 0o600)
        .bytes();
    let above = Tree::new().file("new/above", "above", 0o644).dir("a/", 0o701).bytes();
    let undescribed = Tree::new()
        .file("kept/.wh..wh..opq", "", 0o600)
        .file("kept/new", "new", 0o644)
        .bytes();
    vec![
        ("what is easy to get wrong", vec![lower(), middle(), upper()]),
        (
            "a link becomes a directory",
            vec![base(), links_become_directories.clone()],
        ),
        (
            "and one of another layer a link",
            vec![base(), links_become_directories, directories_become_links],
        ),
        ("whiteouts of nothing", vec![base(), nothing]),
        ("what is hidden comes again", vec![base(), again]),
        ("all below is hidden", vec![base(), root.clone()]),
        ("and something lies above", vec![base(), root, above]),
        ("what is opaque is not described", vec![base(), undescribed]),
    ]
}

/// The times of directories that no layer describes last, and of the root, are whatever the tool did.
fn is_timeless(name: &str, is_dir: bool) -> bool {
    const DESCRIBED: [&str; 3] = ["removed", "setgid", "becomes-dir"];
    is_dir && !DESCRIBED.contains(&name)
}

/// What umoci unpacks of it. This one knows gzip only.
fn unpack_with_umoci(layers: &[Vec<u8>], dir: &Path) -> PathBuf {
    let plain = Image::new(layers.iter().map(|tar| Layer::gzip(tar)).collect());
    plain.write_layout(&dir.join("layout"));
    let index = dir.join("layout/index.json");
    let text = fs::read_to_string(&index).expect("readable");
    let named = text.replace(
        "\"size\":",
        "\"annotations\":{\"org.opencontainers.image.ref.name\":\"1\"},\"size\":",
    );
    fs::write(&index, named).expect("writes");
    run("umoci", &["unpack", "--image", "layout:1", "bundle"], dir);
    dir.join("bundle/rootfs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pulled_image_is_what_umoci_unpacks_entry_by_entry() {
    if is_missing(&["docker-registry", "skopeo", "umoci"]) {
        return;
    }
    let registry = Debian::plain();
    for (number, (what, layers)) in stacks().into_iter().enumerate() {
        let packed = |(at, tar): (usize, &Vec<u8>)| if at == 1 { Layer::zstd(tar) } else { Layer::gzip(tar) };
        let image = Image::new(layers.iter().enumerate().map(packed).collect());
        let tag = format!("tricky:{number}");
        registry.push(&image, &tag, None);
        let ground = Ground::new();
        let pulled = ground.pull(&registry.name(&tag)).await.expect("pulls").image;
        let place = ground.dir.path().join("merged");
        fs::create_dir(&place).expect("makes");
        if let Err(error) = overlay(&pulled.layers, &place) {
            eprintln!("NOT TESTED: overlay can't be mounted here ({error}); `scripts/test` runs this where it can");
            return;
        }
        let theirs = unpack_with_umoci(&layers, ground.dir.path());
        let (seen, expected) = (describe(&place, is_timeless), describe(&theirs, is_timeless));
        let shared: &[&str] = match number {
            0 => &["linked-1", "etc/linked-3", "linked-2", "tmp/in-sticky", "tmp/linked"],
            _ => &[],
        };
        let (our_links, their_links) = (links(&place, shared), links(&theirs, shared));
        unmount(&place, UnmountFlags::DETACH).expect("was mounted");
        assert_same(what, &seen, &expected);
        assert_eq!(our_links, their_links, "{what}");
    }
}
