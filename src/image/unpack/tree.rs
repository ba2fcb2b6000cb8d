//! The directory tree that a layer becomes, reached only by directory descriptors.
//!
//! No path is ever walked from the process's root: parents are opened below the tree's own root with `openat2`, which
//! resolves symbolic links of the image as if that root were `/` (`RESOLVE_IN_ROOT`, what a chroot would do), and the
//! last component is never followed. Nothing an archive says can reach a file outside.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fsetxattr, linkat, mkdirat, mknodat, openat,
    openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::error::UnpackError;
use super::implied::Implied;
use super::path::{TreePath, printable};
use crate::image::amount::Amount;
use crate::image::limits::Limits;

/// Directories that are kept open: archives go depth first, so the last few are nearly always the right ones.
const RECENT: usize = 32;

/// Overlay's mark of a directory that hides the lower layers. `user.`, because `trusted.` needs real root; the
/// overlay is mounted with `userxattr`.
const OPAQUE: &str = "user.overlay.opaque";
/// Overlay's mark of an empty file that stands for a whiteout, in a directory that is marked opaque=x.
const WHITEOUT: &str = "user.overlay.whiteout";

/// The unit of a file's blocks, whatever its file system's are (stat(3type)).
const BLOCK: u64 = 512;

/// Overlay's mark of a directory that came from a layer below; empty, it does not say from which.
const ORIGIN: &str = "user.overlay.origin";

/// A directory that stays open for as long as someone needs it.
pub(super) type Dir = Rc<OwnedFd>;

/// A tree in the making.
pub(super) struct Tree<'l> {
    root: Dir,
    limits: &'l Limits,
    recent: Vec<(TreePath, Dir)>,
    implied: Implied,
    /// Inodes of all that was made.
    made: u64,
    given_back: Amount,
}

impl<'l> Tree<'l> {
    /// A tree in this directory, which is empty.
    pub(super) fn new(root: OwnedFd, limits: &'l Limits) -> Result<Tree<'l>, UnpackError> {
        Ok(Tree {
            implied: Implied::new(root.as_fd())?,
            root: Rc::new(root),
            limits,
            recent: Vec::new(),
            made: 0,
            given_back: Amount::default(),
        })
    }

    /// Directories that exist only because something lies in them; no entry said what they are like.
    pub(super) fn into_implied(self) -> Implied {
        self.implied
    }

    /// What the tree takes, if its files took so many bytes when they were made: some gave way to later entries.
    pub(super) fn taken(&self, bytes: u64) -> Amount {
        Amount::new(bytes, self.made).without(self.given_back)
    }

    /// An open directory of the tree; it and those above it are made if no entry has made them.
    pub(super) fn dir(&mut self, path: &TreePath) -> Result<Dir, UnpackError> {
        let Some((parent_path, name)) = path.split() else {
            return Ok(Rc::clone(&self.root));
        };
        if let Some(dir) = self.recall(path) {
            return Ok(dir);
        }
        let dir = match self.open_in_root(path) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let parent = self.dir(&parent_path)?;
                self.make_implied(&parent, path, name)?
            }
            Err(errno) => return Err(failed("opening", path, errno)),
        };
        Ok(self.remember(path.clone(), dir))
    }

    /// The directory at a path if it is there.
    pub(super) fn find(&mut self, path: &TreePath) -> Result<Option<Dir>, UnpackError> {
        if let Some(dir) = self.recall(path) {
            return Ok(Some(dir));
        }
        match self.open_in_root(path) {
            Ok(dir) => Ok(Some(self.remember(path.clone(), dir))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(failed("opening", path, errno)),
        }
    }

    /// Opens a directory that [`Tree::make_dir`] made, or the root, for setting its attributes.
    pub(super) fn open_dir(&self, parent: &Dir, name: &[u8], path: &TreePath) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(parent, name, flags, Mode::empty()).map_err(|errno| failed("opening", path, errno))
    }

    /// Makes a directory, or keeps the one that is there.
    pub(super) fn make_dir(&mut self, parent: &Dir, path: &TreePath, name: &[u8]) -> Result<(), UnpackError> {
        self.implied.forget(path);
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {
                self.made += 1;
                Ok(())
            }
            Err(Errno::EXIST) => match self.stat(parent, name, path)? {
                stat if file_type(&stat) == FileType::Directory => Ok(()),
                stat => {
                    self.remove(parent, name, path)?;
                    mkdirat(parent, name, Mode::RWXU).map_err(|errno| failed("making directory", path, errno))?;
                    self.made += 1;
                    // What the whiteout hid stays hidden below the new directory.
                    if is_whiteout(&stat) {
                        self.set_opaque(parent, name, path)
                    } else {
                        Ok(())
                    }
                }
            },
            Err(errno) => Err(failed("making directory", path, errno)),
        }
    }

    /// Makes a file that was not there; a former entry of this name gives way.
    pub(super) fn make_file(&mut self, parent: &Dir, path: &TreePath, name: &[u8]) -> Result<OwnedFd, UnpackError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.made += 1;
        self.replacing(parent, path, name, "creating", || {
            openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        })
    }

    /// Makes a symbolic link; a former entry of this name gives way.
    pub(super) fn make_symlink(
        &mut self,
        parent: &Dir,
        path: &TreePath,
        name: &[u8],
        target: &[u8],
    ) -> Result<(), UnpackError> {
        self.made += 1;
        self.replacing(parent, path, name, "making symlink", || symlinkat(target, parent, name))
    }

    /// Makes a named pipe; a former entry of this name gives way.
    pub(super) fn make_fifo(&mut self, parent: &Dir, path: &TreePath, name: &[u8]) -> Result<(), UnpackError> {
        let mode = Mode::RUSR | Mode::WUSR;
        self.made += 1;
        self.replacing(parent, path, name, "making fifo", || {
            mknodat(parent, name, FileType::Fifo, mode, 0)
        })
    }

    /// Links to a file that an earlier entry made.
    pub(super) fn make_link(
        &mut self,
        parent: &Dir,
        path: &TreePath,
        name: &[u8],
        target: &TreePath,
    ) -> Result<(), UnpackError> {
        if target == path {
            return Ok(());
        }
        let Some((target_parent, target_name)) = target.split() else {
            return Err(failed("linking to the root from", path, Errno::PERM));
        };
        let missing = || UnpackError::Refused {
            path: path.to_string(),
            why: "a hard link to what is not in this layer",
        };
        let target_dir = self.find(&target_parent)?.ok_or_else(missing)?;
        match self.replacing(parent, path, name, "linking", || {
            linkat(&*target_dir, target_name, &**parent, name, AtFlags::empty())
        }) {
            Err(UnpackError::File {
                errno: Errno::NOENT, ..
            }) => Err(missing()),
            result => result,
        }
    }

    /// Hides what lower layers have at a path. A directory of this layer stays and only hides what is below it; the
    /// OCI specification lets whiteouts touch lower layers alone.
    pub(super) fn make_whiteout(&mut self, parent: &Dir, path: &TreePath, name: &[u8]) -> Result<(), UnpackError> {
        match mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {
                self.made += 1;
                self.mark_whiteouts(parent, path)
            }
            Err(Errno::EXIST) => match file_type(&self.stat(parent, name, path)?) {
                FileType::Directory => self.set_opaque(parent, name, path),
                _ => Ok(()),
            },
            Err(Errno::PERM) => self.make_xattr_whiteout(parent, path, name),
            Err(errno) => Err(failed("making whiteout", path, errno)),
        }
    }

    /// Hides everything that lower layers have below a directory.
    pub(super) fn set_opaque(&self, parent: &Dir, name: &[u8], path: &TreePath) -> Result<(), UnpackError> {
        let dir = self.open_dir(parent, name, path)?;
        fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty()).map_err(|errno| failed("marking opaque", path, errno))
    }

    /// Has overlay look for whiteouts when it lists this directory. It does so by itself only where it merges several; in one that
    /// is opaque or new they would be names of nothing.
    fn mark_whiteouts(&self, parent: &Dir, path: &TreePath) -> Result<(), UnpackError> {
        let dir = self.open_dir(parent, b".", path)?;
        match fsetxattr(&dir, ORIGIN, b"", XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(errno) => Err(failed("marking whiteouts of", path, errno)),
        }
    }

    /// The form of whiteout for where the device 0:0 is refused (seccomp, old kernels). In a directory that is opaque
    /// already, nothing needs to be hidden, and such a file would be seen.
    fn make_xattr_whiteout(&mut self, parent: &Dir, path: &TreePath, name: &[u8]) -> Result<(), UnpackError> {
        let dir = self.open_dir(parent, b".", path)?;
        match fsetxattr(&dir, OPAQUE, b"x", XattrFlags::CREATE) {
            Err(Errno::EXIST) if is_opaque(dir.as_fd()) => return Ok(()),
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("marking whiteouts of", path, errno)),
        }
        let file = self.make_file(parent, path, name)?;
        fsetxattr(&file, WHITEOUT, b"y", XattrFlags::empty()).map_err(|errno| failed("making whiteout", path, errno))
    }

    fn make_implied(&mut self, parent: &Dir, path: &TreePath, name: &[u8]) -> Result<OwnedFd, UnpackError> {
        match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => self.made += 1,
            Err(errno) => {
                let is_hidden = errno == Errno::EXIST && is_whiteout(&self.stat(parent, name, path)?);
                if !is_hidden {
                    let why = "a parent is a file, or a link that leads to no directory of this layer";
                    return Err(UnpackError::Refused {
                        path: path.to_string(),
                        why,
                    });
                }
                self.make_dir(parent, path, name)?;
            }
        }
        self.implied.note(path, self.limits)?;
        let dir = self.open_dir(parent, name, path)?;
        // The process's umask may have taken bits away.
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755))
            .map_err(|errno| failed("changing mode of", path, errno))?;
        Ok(dir)
    }

    fn open_in_root(&self, path: &TreePath) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let relative = if path.is_root() {
            b".".as_slice()
        } else {
            path.as_bytes()
        };
        loop {
            match openat2(&self.root, relative, flags, Mode::empty(), resolve) {
                // Someone renamed something, anywhere, while `..` of a symbolic link was resolved.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
    }

    fn recall(&mut self, path: &TreePath) -> Option<Dir> {
        let at = self.recent.iter().position(|(known, _)| known == path)?;
        // The least recently used directory is the first.
        self.recent[at..].rotate_left(1);
        self.recent.last().map(|(_, dir)| Rc::clone(dir))
    }

    fn remember(&mut self, path: TreePath, dir: OwnedFd) -> Dir {
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        let dir = Rc::new(dir);
        self.recent.push((path, Rc::clone(&dir)));
        dir
    }

    fn replacing<T>(
        &mut self,
        parent: &Dir,
        path: &TreePath,
        name: &[u8],
        step: &'static str,
        make: impl Fn() -> Result<T, Errno>,
    ) -> Result<T, UnpackError> {
        match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, name, path)?;
                make().map_err(|errno| failed(step, path, errno))
            }
            result => result.map_err(|errno| failed(step, path, errno)),
        }
    }

    /// Removes what an earlier entry of the same archive made.
    fn remove(&mut self, parent: &Dir, name: &[u8], path: &TreePath) -> Result<(), UnpackError> {
        let stat = self.stat(parent, name, path)?;
        let kind = file_type(&stat);
        // Open directories may be those that go, or were reached by a link that leads elsewhere from now on.
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            self.recent.clear();
        }
        let removed = match kind {
            FileType::Directory => {
                let dir = path_of(parent.as_fd(), name);
                let below = disk_below(&dir).map_err(|errno| failed("looking at", path, errno))?;
                self.given_back += below + Amount::new(0, 1);
                remove_tree(&dir)
            }
            _ => {
                if stat.st_nlink == 1 {
                    self.given_back += Amount::new(disk_bytes(&stat), 1);
                }
                unlinkat(parent, name, AtFlags::empty())
            }
        };
        removed.map_err(|errno| failed("replacing", path, errno))
    }

    fn stat(&self, parent: &Dir, name: &[u8], path: &TreePath) -> Result<Stat, UnpackError> {
        statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| failed("looking at", path, errno))
    }
}

/// What std calls an entry of an open directory.
fn path_of(parent: BorrowedFd<'_>, name: &[u8]) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(printable::os_str(name))
}

fn remove_tree(dir: &Path) -> Result<(), Errno> {
    // std's removal works by descriptors below its argument and follows no links.
    fs::remove_dir_all(dir).map_err(errno_of)
}

/// What goes of the disk with all in a directory; what has another name may stay.
fn disk_below(dir: &Path) -> Result<Amount, Errno> {
    let mut below = Amount::default();
    for entry in fs::read_dir(dir).map_err(errno_of)? {
        let entry = entry.map_err(errno_of)?;
        let meta = entry.metadata().map_err(errno_of)?;
        below += match meta.is_dir() {
            true => disk_below(&entry.path())? + Amount::new(0, 1),
            false if meta.nlink() == 1 => Amount::new(meta.blocks() * BLOCK, 1),
            false => Amount::default(),
        };
    }
    Ok(below)
}

fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Bytes of the disk that a file takes.
pub(super) fn disk_bytes(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * BLOCK
}

/// Opens a directory by the path that this process uses for it: the root of a tree to be made.
pub fn open_root(path: &std::path::Path) -> Result<OwnedFd, Errno> {
    openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Whether a directory hides what lower layers have in it.
pub fn is_opaque(dir: BorrowedFd<'_>) -> bool {
    get_opaque(dir) == Some(b'y')
}

fn get_opaque(dir: BorrowedFd<'_>) -> Option<u8> {
    let mut value = [0u8; 1];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value)
        .ok()
        .filter(|length| *length == 1)
        .map(|_| value[0])
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn failed(step: &'static str, path: &TreePath, errno: Errno) -> UnpackError {
    UnpackError::File {
        step,
        path: path.to_string(),
        errno,
    }
}
