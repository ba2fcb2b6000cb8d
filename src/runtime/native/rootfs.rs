//! A container's root file system: overlay of its layers, and careful looks into it.
//!
//! Layers are hostile input: a path in a root is only ever resolved with `openat2(RESOLVE_IN_ROOT)`, which keeps symbolic links,
//! absolute ones too, below the root.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::record::{RunDir, make_dir, remove_tree};
use super::resolve::{self, resolve};
use crate::runtime::{Mount, words};

/// `/etc/passwd` and `/etc/group` beyond this are not read: no real one is larger, and memory is the supervisor's.
const MAX_ETC_FILE: u64 = 4 << 20;

/// What is mounted in every container; none of it need be in its image.
const DIRECTORIES: [&str; 4] = ["dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Where a node keeps what [`make_mount_points`] makes.
pub(super) fn mount_points(run_dir: &Path) -> PathBuf {
    run_dir.join("mount-points")
}

/// Makes a layer of empty directories and files that goes below every image: without it each container's start would make them
/// anew above the image, and copy the directories that they are in.
///
/// # Errors
/// The directory can't be written.
pub(super) fn make_mount_points(layer: &Path) -> io::Result<()> {
    make_dir(layer)?;
    fs::set_permissions(layer, Permissions::from_mode(0o755))?;
    for name in DIRECTORIES {
        let path = layer.join(name);
        make_dir(&path)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
    }
    for name in FILES {
        let path = layer.join(name);
        File::create(&path)?;
        fs::set_permissions(path, Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Mounts the layers, with the run's directory for writes above them, at `rootfs`.
///
/// Mount options must fit a page, which 40 layers with their full paths would not. So the layers are linked as `0`, `1`, …
/// in `links`, a directory on a tmpfs, and named relative to it: 150 layers take 500 bytes. No option is then a path from
/// outside either, where a colon or comma would need escaping.
///
/// # Errors
/// The kernel refused; the text is for people.
///
/// The root has the mode and owner of `like`.
pub(super) fn mount_overlay(
    source: &str,
    (layers, like): (&[&Path], Option<&Path>),
    run: &RunDir,
    rootfs: &Path,
    links: &Path,
) -> Result<(), String> {
    let made = mount_overlay_io(source, (layers, like), run, rootfs, links);
    // Links were needed for the call only.
    let _ = fs::remove_dir_all(links);
    // The lowest is ours and no part of the image.
    made.map_err(|e| format!("overlay of {} layers: {e}", layers.len().saturating_sub(1)))
}

fn mount_overlay_io(
    source: &str,
    (layers, like): (&[&Path], Option<&Path>),
    run: &RunDir,
    rootfs: &Path,
    links: &Path,
) -> io::Result<()> {
    remove_tree(links)?;
    for dir in [links, &run.upper(), &run.work(), rootfs] {
        make_dir(dir)?;
    }
    dress_root(&run.upper(), like)?;
    for (number, layer) in layers.iter().enumerate() {
        symlink(layer, links.join(number.to_string()))?;
    }
    symlink(run.upper(), links.join("u"))?;
    symlink(run.work(), links.join("w"))?;
    std::env::set_current_dir(links)?;
    let mounted = rustix::mount::mount(
        source,
        rootfs,
        "overlay",
        MountFlags::empty(),
        Some(&*std::ffi::CString::new(overlay_options(layers.len()))?),
    );
    std::env::set_current_dir("/")?;
    Ok(mounted?)
}

/// The upper directory is the root as the container sees it.
fn dress_root(upper: &Path, like: Option<&Path>) -> io::Result<()> {
    let mut mode = 0o755;
    if let Some(like) = like {
        let meta = fs::symlink_metadata(like)?;
        match lchown(upper, Some(meta.uid()), Some(meta.gid())) {
            Ok(()) => {}
            // An id that this user namespace does not have, as where the store was filled by a node that had more of them.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => {}
            Err(error) => return Err(error),
        }
        mode = meta.mode() & 0o7777;
    }
    Ok(rustix::fs::chmod(upper, Mode::from_raw_mode(mode))?)
}

/// The options, the highest layer first as overlay wants it. `volatile` leaves out syncing at unmount: the writes of a container
/// are not kept over its end. In a user namespace overlay may use only `user.*` attributes; as root it does the same, so that
/// one unpacked layer serves both.
fn overlay_options(layers: usize) -> String {
    let lower: Vec<String> = (0..layers).rev().map(|number| number.to_string()).collect();
    format!("lowerdir={},upperdir=u,workdir=w,volatile,userxattr", lower.join(":"))
}

/// Takes the mount away, whoever still looks into it.
pub(super) fn unmount(rootfs: &Path) -> io::Result<()> {
    match rustix::mount::unmount(rootfs, UnmountFlags::DETACH) {
        // Not mounted, or never made.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads a small text file in a root; what is absent, no regular file or too large reads as empty.
pub(super) fn read_in_root(rootfs: &Path, path: &str) -> String {
    let read = || -> io::Result<String> {
        let root = open_root(rootfs)?;
        // Not blocking: it may be a pipe that somebody placed there.
        let fd = open_in(&root, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        file.take(MAX_ETC_FILE).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// Makes a container's working directory, and those above it, where they are not there, or where a link to it leads. Runtimes differ in whether
/// they do, so none is asked to.
///
/// # Errors
/// Something on the way is no directory; the text is for people.
pub(super) fn make_dir_in_root(rootfs: &Path, path: &str) -> Result<(), String> {
    let refused = |e: io::Error| match e.raw_os_error() {
        Some(libc::ENOTDIR) => format!("workingDir {path:?} is, or leads through, what is not a directory"),
        Some(libc::ELOOP) => format!("workingDir {path:?} leads through too many links"),
        _ => format!("workingDir {path:?} can't be made: {}", words(&e)),
    };
    let root = open_root(rootfs).map_err(refused)?;
    let resolved = resolve(&root, Path::new(path)).map_err(refused)?;
    make_dirs(&root, &resolved).map_err(refused)
}

/// Makes what links on the way to a mount lead to, where it is not there: runtimes make what is missing, but not all of them behind a link.
///
/// # Errors
/// It can't be made; the text is for people.
pub(super) fn make_behind_links(rootfs: &Path, mounts: &[Mount]) -> Result<(), String> {
    let root = open_root(rootfs).map_err(|e| words(&e))?;
    for mount in mounts {
        let asked = Path::new(&mount.container_path);
        let made = resolve(&root, asked).and_then(|resolved| match resolved == asked {
            true => Ok(()),
            false => make_mount_point(&root, &resolved, mount.host_path.is_dir()),
        });
        made.map_err(|e| format!("nothing can be mounted at {}: {}", asked.display(), words(&e)))?;
    }
    Ok(())
}

/// Makes a directory or an empty file, and what is above it, at a path without links.
fn make_mount_point(root: &OwnedFd, path: &Path, is_directory: bool) -> io::Result<()> {
    let (Some(above), Some(name)) = (path.parent().filter(|_| !is_directory), path.file_name()) else {
        return make_dirs(root, path);
    };
    make_dirs(root, above)?;
    let above = open_in(root, above, OFlags::PATH | OFlags::DIRECTORY)?;
    let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(&above, name, new, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes directories of a path without links.
fn make_dirs(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let mut so_far = PathBuf::from("/");
    for name in path.components().skip(1) {
        let parent = open_in(root, &so_far, directory)?;
        so_far.push(name);
        match open_in(root, &so_far, directory) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(&parent, Path::new(&name), Mode::from_raw_mode(0o755))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why a container can't have its root with these mounts, if it can't; the text is for people.
pub(super) fn refusal(rootfs: &Path, mounts: &[Mount]) -> Option<String> {
    let refused = open_root(rootfs).and_then(|root| resolve::refusal(&root, mounts));
    refused.unwrap_or_else(|e| Some(format!("its mounts can't be looked at: {}", words(&e))))
}

pub(super) fn open_root(rootfs: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(rootfs, flags, Mode::empty())?)
}

fn open_in(root: &OwnedFd, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path.as_ref(),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_150_layers_fit_a_page() {
        assert_eq!(
            overlay_options(3),
            "lowerdir=2:1:0,upperdir=u,workdir=w,volatile,userxattr"
        );
        assert!(overlay_options(150).len() < 1000);
    }

    #[test]
    fn the_root_looks_as_its_image_says() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (upper, like) = (dir.path().join("upper"), dir.path().join("like"));
        for path in [&upper, &like] {
            fs::create_dir(path).expect("the directory is writable");
        }
        fs::set_permissions(&like, Permissions::from_mode(0o1710)).expect("is ours");
        let mode = || fs::metadata(&upper).expect("is there").mode() & 0o7777;
        dress_root(&upper, Some(&like)).expect("dresses");
        assert_eq!(mode(), 0o1710);
        dress_root(&upper, None).expect("dresses");
        assert_eq!(mode(), 0o755);
    }

    #[test]
    fn links_never_lead_out_of_the_root() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("etc")).expect("the directory is writable");
        fs::create_dir_all(&outside).expect("the directory is writable");
        fs::write(outside.join("passwd"), "stolen").expect("the directory is writable");
        symlink(outside.join("passwd"), root.join("etc/passwd")).expect("the directory is writable");
        symlink("../../outside", root.join("up")).expect("the directory is writable");
        assert_eq!(read_in_root(&root, "/etc/passwd"), "");
        assert_eq!(read_in_root(&root, "/up/passwd"), "");
        make_dir_in_root(&root, "/up/made").expect("it leads to a place in the root");
        assert!(!outside.join("made").exists() && root.join("outside/made").is_dir());
    }

    #[test]
    fn a_working_directory_is_made_with_those_above_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        make_dir_in_root(dir.path(), "/a/b/c").expect("nothing is in the way");
        make_dir_in_root(dir.path(), "/a/b/c").expect("it is there already");
        assert!(dir.path().join("a/b/c").is_dir());
        fs::write(dir.path().join("file"), "").expect("the directory is writable");
        symlink("/later/still", dir.path().join("link")).expect("the directory is writable");
        symlink("file", dir.path().join("to-file")).expect("the directory is writable");
        symlink("round", dir.path().join("round")).expect("the directory is writable");
        make_dir_in_root(dir.path(), "/link/x").expect("where it leads can be made");
        assert!(dir.path().join("later/still/x").is_dir());
        for (path, said) in [
            (
                "/file/x",
                "workingDir \"/file/x\" is, or leads through, what is not a directory",
            ),
            (
                "/to-file",
                "workingDir \"/to-file\" is, or leads through, what is not a directory",
            ),
            ("/round", "workingDir \"/round\" leads through too many links"),
        ] {
            assert_eq!(make_dir_in_root(dir.path(), path).expect_err("in the way"), said);
        }
    }

    #[test]
    fn what_is_no_small_regular_file_reads_as_empty() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("passwd")).expect("the directory is writable");
        assert_eq!(read_in_root(dir.path(), "/passwd"), "");
        assert_eq!(read_in_root(dir.path(), "/absent"), "");
    }
}
