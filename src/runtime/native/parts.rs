//! Parts of volumes and volumes of images: what a mount takes from inside a place that containers write to, or from layers.
//!
//! Containers run while others start, and may put links where a part of a volume is asked for, at any moment (CVE-2017-1002101,
//! CVE-2021-25741). So a part is walked to by descriptors that never leave its volume, and what was found is pinned by a bind
//! mount of that very descriptor: the OCI runtime then mounts what was checked, whatever has become of the path.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::record::{make_dir, remove_tree};
use super::wire::Fault;
use crate::runtime::Mount;

/// Makes the mounts of a container such that each names a place that stays what it is: parts and images are mounted below `dir`.
///
/// # Errors
/// A part leads out of its volume, or can't be made or mounted; the text is for people.
pub(super) fn pin_all(mounts: &[Mount], dir: &Path, links: &Path) -> Result<Vec<Mount>, Fault> {
    let mut pinned = Vec::new();
    for (number, mount) in mounts.iter().enumerate() {
        let mut mount = mount.clone();
        let place = |what: &str| dir.join(format!("{number}-{what}"));
        if !mount.image_layers.is_empty() {
            let mounted = mount_image(&mount.image_layers, &place("image"), &place("empty"), links);
            let failed = |e| Fault::Create(format!("image volume at {}: {e}", mount.container_path));
            mounted.map_err(failed)?;
            mount.host_path = place("image");
        }
        if let Some(part) = mount.sub_path.take() {
            let is_image = !mount.image_layers.is_empty();
            let found = if is_image {
                find_in_image(&mount.host_path, &part)
            } else {
                make_part(&mount.host_path, &part)
            };
            let bound = found.and_then(|found| bind(&found, &place("part"), mount.follows_host));
            bound.map_err(|e| {
                let (why, at) = (refusal(&e), &mount.container_path);
                Fault::Config(format!("failed to prepare subPath {part:?} for {at}: {why}"))
            })?;
            mount.host_path = place("part");
        } else if mount.image_layers.is_empty() && !mount.follows_host && mount.host_path.is_dir() {
            let bound = open_path(&mount.host_path).and_then(|found| bind(&found, &place("own"), false));
            bound.map_err(|e| Fault::Create(format!("{}: {e}", mount.host_path.display())))?;
            mount.host_path = place("own");
        }
        pinned.push(mount);
    }
    Ok(pinned)
}

/// Why a part can't be had. The kernel's words for one that leads out are about devices and loops (openat2(2)).
fn refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EXDEV) => "a link leads out of the volume".to_owned(),
        Some(libc::ELOOP) => "it leads through a link that is none of the volume's, or through too many".to_owned(),
        _ => error.to_string(),
    }
}

/// Takes away what [`pin_all`] mounted below `dir`. Never looks into a mount: if one stays, so does its place.
///
/// # Errors
/// Something is still mounted.
pub(super) fn unpin_all(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut places: Vec<PathBuf> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<_>>()?;
    // A part of an image before the image.
    places.sort();
    for place in places.iter().rev() {
        match rustix::mount::unmount(place, UnmountFlags::DETACH) {
            // Not a mount, but what one is made of.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::symlink_metadata(place)?.is_dir() {
            true => fs::remove_dir(place)?,
            false => fs::remove_file(place)?,
        }
    }
    fs::remove_dir(dir)
}

/// Opens a part of a volume; directories that are not there are made with the mode of the volume itself (kubelet `SafeMakeDir`), so
/// that whoever writes in the volume writes in its part.
fn make_part(volume: &Path, part: &str) -> io::Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, volume, directory, Mode::empty())?;
    let mode = fs::metadata(volume)?.permissions().mode() & 0o7777;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut walked = String::from(".");
    for component in Path::new(part).components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "it must be below its volume",
                ));
            }
        };
        let parent = openat2(&root, walked.as_str(), directory, Mode::empty(), inside)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat(&parent, name, flags, Mode::empty())?;
                rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        walked = format!("{walked}/{}", name.to_string_lossy());
    }
    Ok(openat2(
        &root,
        walked.as_str(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        inside,
    )?)
}

/// Opens a part of an image, whose links are meant from its own root.
fn find_in_image(root: &Path, part: &str) -> io::Result<OwnedFd> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, directory, Mode::empty())?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(
        &root,
        part,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        inside,
    )?)
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Mounts what a descriptor leads to. Unless it `follows` the host, nothing that is mounted there later appears below it: this
/// namespace follows the host, and libcontainer makes no bind mount private, whatever it is told.
fn bind(found: &OwnedFd, target: &Path, follows: bool) -> io::Result<()> {
    make_dir(target.parent().unwrap_or(Path::new("/")))?;
    if FileType::from_raw_mode(fstat(found)?.st_mode).is_dir() {
        make_dir(target)?;
    } else {
        File::create(target)?;
    }
    // This link is the descriptor itself, and no path that anyone could change.
    let itself = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    rustix::mount::mount_bind_recursive(itself, target)?;
    if !follows {
        let alone = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change(target, alone)?;
    }
    Ok(())
}

/// Mounts the layers of an image, read-only. Overlay wants two directories at least, so an empty one goes below them.
fn mount_image(layers: &[PathBuf], target: &Path, empty: &Path, links: &Path) -> io::Result<()> {
    remove_tree(links)?;
    for dir in [links, target, empty] {
        make_dir(dir)?;
    }
    symlink(empty, links.join("0"))?;
    for (number, layer) in layers.iter().enumerate() {
        symlink(layer, links.join((number + 1).to_string()))?;
    }
    let lower: Vec<String> = (0..=layers.len()).rev().map(|number| number.to_string()).collect();
    let options = CString::new(format!("lowerdir={},userxattr", lower.join(":")))?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // As for a container's root: names that are short, whatever the layers' paths are.
    std::env::set_current_dir(links)?;
    let mounted = rustix::mount::mount("overlay", target, "overlay", flags, Some(&*options));
    std::env::set_current_dir("/")?;
    remove_tree(links)?;
    Ok(mounted?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_made_and_never_leads_out() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        make_part(dir.path(), "a/b").expect("can be made");
        let mode = fs::metadata(dir.path().join("a/b")).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
        fs::write(dir.path().join("a/file"), "x").expect("writes");
        make_part(dir.path(), "a/file").expect("a file is a part as well");
        make_part(dir.path(), "a/./b").expect("a part of itself");
        symlink("/etc", dir.path().join("link")).expect("links");
        symlink("a/b", dir.path().join("inner")).expect("links");
        make_part(dir.path(), "inner").expect("a link that stays inside");
        for part in ["link", "link/x", "../x", "/etc", "a/file/x"] {
            assert!(make_part(dir.path(), part).is_err(), "{part}");
        }
    }

    #[test]
    fn a_part_that_leads_out_is_refused_in_words_that_say_so() {
        let dir = tempfile::tempdir().expect("a directory");
        symlink("/etc", dir.path().join("evil")).expect("links");
        let error = make_part(dir.path(), "evil").expect_err("it leads out");
        assert_eq!(refusal(&error), "a link leads out of the volume");
    }

    #[test]
    fn links_of_an_image_are_meant_from_its_root() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("data")).expect("writes");
        symlink("/data", dir.path().join("link")).expect("links");
        find_in_image(dir.path(), "link").expect("its own");
        assert!(find_in_image(dir.path(), "none").is_err());
    }
}
