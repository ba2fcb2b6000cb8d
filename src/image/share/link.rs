//! A tree that has the same files as another one, by hard links. Reached by directory descriptors, like every tree of ours.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr,
    flistxattr, fsetxattr, fstat, futimens, linkat, mkdirat, openat, statat,
};
use rustix::io::Errno;

use super::Unshared;
use crate::image::amount::Amount;
use crate::image::limits::Limits;
use crate::image::unpack::open_root;

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Overlay's mark of a directory that hides the lower layers, as real root's overlays have it; ours have it as `user.`.
const ROOTS_OPAQUE: &[u8] = b"trusted.overlay.opaque";
const OPAQUE: &[u8] = b"user.overlay.opaque";
/// Marks of what is to be seen elsewhere than where it lies: such a layer is no tree of its own.
const FOREIGN: [&[u8]; 4] = [
    b"user.overlay.redirect",
    b"trusted.overlay.redirect",
    b"user.overlay.metacopy",
    b"trusted.overlay.metacopy",
];

/// Makes `to` a tree with the files of `from`. Returns the bytes of its files, and what it takes of the disk; of inodes its own
/// directories, for the files have theirs already.
pub(super) fn link_tree(from: &Path, to: &Path, limits: &Limits) -> Result<(u64, Amount), Unshared> {
    std::fs::create_dir(to)?;
    let (from, to) = (
        open_root(from).map_err(unfit("opening"))?,
        open_root(to).map_err(unfit("opening"))?,
    );
    let mut walk = Walk {
        limits,
        entries: 0,
        bytes: 0,
        disk: Amount::default(),
    };
    walk.directory(&from, &to, 0)?;
    Ok((walk.bytes, walk.disk))
}

struct Walk<'l> {
    limits: &'l Limits,
    entries: u64,
    bytes: u64,
    disk: Amount,
}

impl Walk<'_> {
    /// The entries first, because each changes the directory's times.
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Unshared> {
        if depth > self.limits.depth {
            return Err(Unshared::Unfit("its directories nest too deep".to_owned()));
        }
        for entry in Dir::read_from(from).map_err(unfit("reading"))? {
            let entry = entry.map_err(unfit("reading"))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(Unshared::Unfit("it has too many files".to_owned()));
            }
            self.entry(from.as_fd(), to.as_fd(), name, depth)?;
        }
        copy_attributes(from, to).map_err(unfit("copying attributes"))?
    }

    fn entry(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Unshared> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unfit("looking"))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            mkdirat(to, name, Mode::RWXU).map_err(unfit("making a directory"))?;
            self.disk += Amount::new(0, 1);
            let below = openat(from, name, DIR, Mode::empty()).map_err(unfit("opening"))?;
            let made = openat(to, name, DIR, Mode::empty()).map_err(unfit("opening"))?;
            return self.directory(&below, &made, depth + 1);
        }
        if is_regular(&stat) {
            self.bytes = self.bytes.saturating_add(stat.st_size.unsigned_abs());
            self.disk += Amount::new(stat.st_blocks.unsigned_abs() * 512, 0);
            // Rare, and only as large as its metadata.
            if stat.st_size > 0 && stat.st_blocks == 0 {
                check_file(from, name)?;
            }
        }
        linkat(from, name, to, name, AtFlags::empty()).map_err(|errno| match errno {
            Errno::XDEV => Unshared::Unfit("it is on another file system, or behind a mount of its own".to_owned()),
            errno => unfit("linking")(errno),
        })
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// A file without blocks is all hole, or stands for data in a lower layer (overlay's metacopy).
fn check_file(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Unshared> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty()).map_err(unfit("opening"))?;
    match xattr_names(&file)
        .map_err(unfit("reading attributes"))?
        .iter()
        .any(is_foreign)
    {
        true => Err(not_its_own()),
        false => Ok(()),
    }
}

fn is_foreign(name: &CString) -> bool {
    FOREIGN.contains(&name.as_bytes())
}

fn not_its_own() -> Unshared {
    Unshared::Unfit("its layers refer to each other (overlay's redirect_dir or metacopy)".to_owned())
}

/// Everything that an archive can say of a directory. The inner error is that it is no tree of its own.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> Result<Result<(), Unshared>, Errno> {
    let stat = fstat(from)?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for name in xattr_names(from)? {
        if is_foreign(&name) {
            return Ok(Err(not_its_own()));
        }
        copy_xattr(from, to, name.as_bytes())?;
    }
    let time = |seconds, nanos: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanos.cast_signed(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(to, &times)?;
    Ok(Ok(()))
}

fn copy_xattr(from: &OwnedFd, to: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let target = if name == ROOTS_OPAQUE { OPAQUE } else { name };
    // Their overlay's other notes and the host's labels are about their tree.
    let is_theirs = target.starts_with(b"trusted.")
        || target.starts_with(b"security.selinux")
        || (target.starts_with(b"user.overlay.") && target != OPAQUE);
    if is_theirs {
        return Ok(());
    }
    let mut value = vec![0u8; 64 << 10];
    let length = fgetxattr(from, name, value.as_mut_slice())?;
    fsetxattr(to, target, &value[..length], XattrFlags::empty())
}

fn xattr_names(file: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = vec![0u8; 64 << 10];
    let length = match flistxattr(file, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.filter_map(|name| CString::new(name).ok()).collect())
}

fn unfit(step: &'static str) -> impl Fn(Errno) -> Unshared {
    move |errno| Unshared::Unfit(format!("{step}: {errno}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_files_are_the_same_and_the_directories_look_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).expect("makes");
        fs::write(from.join("a/b/file"), "content").expect("writes");
        symlink("/nowhere", from.join("a/link")).expect("links");
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o1750)).expect("ours");
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::open(from.join("a"))
            .expect("opens")
            .set_modified(old)
            .expect("sets");
        let (size, _) = link_tree(&from, &to, &Limits::default()).expect("links");
        assert_eq!(size, 7);
        let inode = |path: &Path| fs::symlink_metadata(path).expect("there").ino();
        for same in ["a/b/file", "a/link"] {
            assert_eq!(inode(&from.join(same)), inode(&to.join(same)), "{same}");
        }
        let meta = fs::metadata(to.join("a")).expect("there");
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o1750, 1_000_000_000));
        fs::remove_dir_all(&from).expect("theirs goes");
        assert_eq!(fs::read(to.join("a/b/file")).expect("ours stays"), b"content");
    }

    #[test]
    fn a_layer_that_refers_to_others_is_not_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("moved")).expect("makes");
        let moved = open_root(&from.join("moved")).expect("opens");
        let marked = fsetxattr(&moved, "user.overlay.redirect", b"/old", XattrFlags::empty());
        if marked == Err(Errno::OPNOTSUPP) {
            eprintln!("NOT TESTED: this file system has no user xattrs");
            return;
        }
        let why = link_tree(&from, &to, &Limits::default())
            .expect_err("refused")
            .to_string();
        assert!(why.contains("refer to each other"), "{why}");
    }
}
