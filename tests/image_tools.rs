//! Images beside the tools that others use for them: what umoci unpacks, kubelocal unpacks the same; what kubelocal
//! saves, skopeo reads. Tools that are not installed are named on stderr and their test passes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubelocal::image::{Image, ImageStore, LoadSource};

fn is_missing(tool: &str) -> bool {
    let missing = Command::new(tool).arg("--version").output().is_err();
    if missing {
        eprintln!("NOT TESTED: {tool} is not installed, so nothing was compared with it");
    }
    missing
}

fn run(tool: &str, args: &[&str], dir: &Path) {
    let output = Command::new(tool)
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the tool starts");
    assert!(
        output.status.success(),
        "{tool} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

type Builder = tar::Builder<Vec<u8>>;

fn entry(tar: &mut Builder, path: &str, kind: tar::EntryType, content: &str, change: impl FnOnce(&mut tar::Header)) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_mtime(1_000_000_000);
    header.set_size(content.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    change(&mut header);
    tar.append_data(&mut header, path, content.as_bytes()).expect("memory");
}

fn file(tar: &mut Builder, path: &str, content: &str, mode: u32) {
    entry(tar, path, tar::EntryType::Regular, content, |header| {
        header.set_mode(mode)
    });
}

fn dir(tar: &mut Builder, path: &str, mode: u32) {
    entry(tar, path, tar::EntryType::Directory, "", |header| header.set_mode(mode));
}

fn link(tar: &mut Builder, path: &str, target: &str, kind: tar::EntryType) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_mtime(1_000_000_000);
    header.set_size(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_link(&mut header, path, target).expect("memory");
}

/// A layer with what is easy to get wrong, and nothing that only overlay understands.
fn tricky_layer() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    dir(&mut tar, "./", 0o755);
    dir(&mut tar, "sticky/", 0o1777);
    dir(&mut tar, "setgid/", 0o2755);
    file(&mut tar, "setgid/inside", "gets no group of its directory", 0o640);
    dir(&mut tar, "closed/", 0o500);
    file(&mut tar, "closed/file", "in a directory that cannot be written", 0o000);
    file(&mut tar, "su", "setuid", 0o4755);
    link(&mut tar, "linked", "su", tar::EntryType::Link);
    link(&mut tar, "absolute", "/etc/passwd", tar::EntryType::Symlink);
    link(&mut tar, "dangling", "../../nowhere", tar::EntryType::Symlink);
    link(&mut tar, "to-link", "dangling", tar::EntryType::Link);
    entry(&mut tar, "pipe", tar::EntryType::Fifo, "", |header| {
        header.set_mode(0o622)
    });
    file(&mut tar, "twice", "one", 0o600);
    file(&mut tar, "twice", "two", 0o604);
    dir(&mut tar, "now-a-file/", 0o755);
    file(&mut tar, "now-a-file/inside", "", 0o644);
    file(&mut tar, "now-a-file", "file", 0o644);
    file(
        &mut tar,
        &format!("{}/{}", "d".repeat(120), "f".repeat(130)),
        "a long name",
        0o644,
    );
    file(&mut tar, "spaces and ümläuts", "", 0o644);
    let records: [(&str, &[u8]); 3] = [
        ("mtime", b"1234567890.123456789"),
        ("SCHILY.xattr.user.note", b"a\0b"),
        ("uid", b"12345"),
    ];
    tar.append_pax_extensions(records).expect("memory");
    file(&mut tar, "pax", "", 0o644);
    tar.into_inner().expect("memory")
}

/// Everything about a tree's entries that an archive can say, but the times of directories that none describes, and
/// of the root, which umoci touches afterwards.
fn describe(root: &Path) -> BTreeMap<String, String> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).expect("there");
        let content = match meta.file_type() {
            kind if kind.is_dir() => {
                let children = fs::read_dir(&full).expect("readable");
                todo.extend(children.map(|child| path.join(child.expect("readable").file_name())));
                String::new()
            }
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(&full).expect("a link")),
            kind if kind.is_file() => fs::read_to_string(&full).expect("readable"),
            _ => String::new(),
        };
        let is_described = !path.as_os_str().is_empty() && !path.as_os_str().as_bytes().ends_with(&[b'd'; 120]);
        let time = is_described.then(|| (meta.mtime(), meta.mtime_nsec()));
        let links = if meta.is_dir() { 0 } else { meta.nlink() };
        let mut note = [0u8; 16];
        let note = rustix::fs::lgetxattr(&full, "user.note", &mut note)
            .map(|length| note[..length].to_vec())
            .ok();
        let line = format!(
            "{:o} {}:{} {links} {time:?} {content:?} {note:?}",
            meta.mode(),
            meta.uid(),
            meta.gid()
        );
        found.insert(path.display().to_string(), line);
    }
    found
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
    if is_missing("umoci") {
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
    let (theirs, ours) = (describe(&dir.path().join("bundle/rootfs")), describe(&image.layers[0]));
    for (path, line) in &theirs {
        assert_eq!(ours.get(path), Some(line), "{path}");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn skopeo_converts_what_is_saved_and_its_archives_are_the_same_image() {
    if is_missing("skopeo") {
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
