//! Where paths lead in a container's root file system, and where nothing may be mounted there.
//!
//! What is mounted over `/proc`, or over a part of it, makes the runtime write labels and limits into files of the pod's own (CVE-2019-16884), and
//! shows what is masked. So runtimes refuse it but for a few files that LXCFS and its like provide (runc `checkProcMount`); whoever calls refuses
//! it before one of them is asked, because not all do, and because their words are for other people.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::sys;
use crate::runtime::Mount;

/// How many links are followed (`MAXSYMLINKS` of path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Why a container can't have this file system with these mounts; the text is for people.
///
/// # Errors
/// The root can't be looked into.
pub(super) fn refusal(root: &OwnedFd, mounts: &[Mount]) -> io::Result<Option<String>> {
    for name in ["proc", "sys"] {
        if !is_directory(root, name)? {
            return Ok(Some(format!("/{name} of the image is not a directory")));
        }
    }
    for mount in mounts {
        let asked = Path::new(&mount.container_path);
        let resolved = resolve(root, asked)?;
        if resolved == Path::new("/") {
            let why = format!(
                "{} is the root itself, over which nothing can be mounted",
                asked.display()
            );
            return Ok(Some(why));
        }
        if !is_barred(&resolved, || is_proc(&mount.host_path)) {
            continue;
        }
        let through = match resolved == asked {
            true => String::new(),
            false => format!(" leads to {}, which", resolved.display()),
        };
        return Ok(Some(format!(
            "{}{through} is in /proc, where nothing can be mounted: a volumeMount's mountPath or the terminationMessagePath has to be elsewhere",
            asked.display()
        )));
    }
    Ok(None)
}

/// Whether nothing may be mounted there; all of `/proc` may be another view of processes.
fn is_barred(resolved: &Path, is_proc: impl Fn() -> bool) -> bool {
    match resolved.strip_prefix("/proc") {
        Err(_) => false,
        Ok(all) if all.as_os_str().is_empty() => !is_proc(),
        Ok(_) => !resolved.to_str().is_some_and(crate::model::is_mountable_in_proc),
    }
}

fn is_proc(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == sys::PROC_MAGIC)
}

/// Follows all links of a path as they are in a root, absolute ones below it. What is not there, and what is below that, stays as it is written.
///
/// # Errors
/// Too many links, or something can't be looked at.
pub(super) fn resolve(root: &OwnedFd, path: &Path) -> io::Result<PathBuf> {
    let mut left: VecDeque<OsString> = parts(path);
    let (mut so_far, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = left.pop_front() {
        if name == ".." {
            so_far.pop();
            continue;
        }
        so_far.push(name);
        let Some(target) = link_at(root, &so_far)? else {
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(rustix::io::Errno::LOOP.into());
        }
        so_far.pop();
        if target.is_absolute() {
            so_far = PathBuf::from("/");
        }
        for part in parts(&target).into_iter().rev() {
            left.push_front(part);
        }
    }
    Ok(so_far)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.collect()
}

/// Where a link leads; `None` for what is none. No link is on the way to it.
fn link_at(root: &OwnedFd, path: &Path) -> io::Result<Option<PathBuf>> {
    match open_itself(root, path) {
        Ok(fd) if file_type(&fd)? == FileType::Symlink => {
            let target = rustix::fs::readlinkat(&fd, "", Vec::new())?;
            Ok(Some(OsString::from_vec(target.into_bytes()).into()))
        }
        Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is not there is made as one.
fn is_directory(root: &OwnedFd, name: &str) -> io::Result<bool> {
    match open_itself(root, Path::new(name)) {
        Ok(fd) => Ok(file_type(&fd)? == FileType::Directory),
        Err(rustix::io::Errno::NOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn file_type(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

fn open_itself(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), within)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::rootfs::open_root;
    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().expect("a directory");
        for made in ["proc", "sys", "dir"] {
            fs::create_dir(dir.path().join(made)).expect("is made");
        }
        for (link, target) in [
            ("to-dir", "dir"),
            ("to-proc", "/proc/self"),
            ("dir/up", "../../../to-proc/attr"),
            ("nowhere", "/gone/x"),
            ("round", "round"),
        ] {
            symlink(target, dir.path().join(link)).expect("is made");
        }
        let root = open_root(dir.path()).expect("is there");
        (dir, root)
    }

    #[test]
    fn links_are_followed_below_the_root_and_what_is_not_there_stays() {
        let (_dir, root) = root();
        for (path, leads_to) in [
            ("/dir/x/y", "/dir/x/y"),
            ("/to-dir/x", "/dir/x"),
            ("/dir/up/exec", "/proc/self/attr/exec"),
            ("/nowhere/y", "/gone/x/y"),
            ("/../../dir/./z", "/dir/z"),
        ] {
            assert_eq!(
                resolve(&root, Path::new(path)).expect(path),
                Path::new(leads_to),
                "{path}"
            );
        }
        assert!(resolve(&root, Path::new("/round/x")).is_err());
    }

    #[test]
    fn nothing_is_mounted_over_proc_but_what_is_made_for_that() {
        let (dir, root) = root();
        let said = |path: &str, host: &str| {
            let mounts = [Mount::of_host(path.to_owned(), host.into(), false)];
            refusal(&root, &mounts).expect("can be looked at")
        };
        for (path, host) in [
            ("/data", "/tmp"),
            ("/process", "/tmp"),
            ("/proc", "/proc"),
            ("/proc/meminfo", "/tmp"),
            ("/sys/fs", "/tmp"),
        ] {
            assert_eq!(said(path, host), None, "{path}");
        }
        for (path, begins) in [
            ("/proc", "/proc is in /proc"),
            ("/proc/sys", "/proc/sys is in /proc"),
            ("/dir/..", "/dir/.. is the root itself"),
            ("/proc/meminfo/x", "/proc/meminfo/x is in /proc"),
            ("/dir/up", "/dir/up leads to /proc/self/attr, which is in /proc"),
        ] {
            let said = said(path, "/tmp").unwrap_or_else(|| panic!("{path} is refused"));
            assert!(said.starts_with(begins), "{said}");
        }
        fs::remove_dir(dir.path().join("proc")).expect("is empty");
        symlink("dir", dir.path().join("proc")).expect("is made");
        assert_eq!(
            said("/data", "/tmp").as_deref(),
            Some("/proc of the image is not a directory")
        );
    }
}
