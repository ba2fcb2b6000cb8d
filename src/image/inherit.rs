//! Directories that a layer does not describe but has something in: they look as the layers below have them.
//!
//! Archives made by hand or by some build tools hold `tmp/file` and no `tmp/`. Overlay takes a directory's owner and
//! mode from the highest layer that has it, so that a made-up `tmp` would hide the true one's 1777.
//!
//! Where a layer below has a link in the place of such a directory, the directory hides it, and that is noted. Podman, docker and
//! containerd have it so too, because they unpack each layer by itself as well; umoci, which unpacks all into one tree, puts what lies
//! in the directory where the link leads. To do that here a layer would have to wait for those below.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr,
    fsetxattr, fstat, futimens, openat, statat,
};
use rustix::io::Errno;

use super::error::ImageError;
use super::unpack::{Implied, Note, is_opaque, open_root};

/// The list of such directories, beside the tree until the layers below are there: in memory those of a few hundred hostile
/// layers would be gigabytes.
const LIST: &str = "implied";

/// Writes the list beside the tree of a layer in the making.
pub(super) fn note(layer: &Path, implied: Implied) -> Result<(), ImageError> {
    let path = layer.join(LIST);
    let write = || {
        let mut list = BufWriter::new(File::create(&path)?);
        implied.write_to(&mut list)?;
        list.flush()
    };
    write().map_err(ImageError::io(&path))
}

/// Gives each directory of the list the attributes that it has in the highest layer below that shows it. The list goes.
///
/// `below` is ordered from the highest. Returns which of them hide a link: a tool that unpacks all layers into one tree would have put
/// what lies in them where the link leads.
pub(super) fn inherit(layer: &Path, below: &[PathBuf]) -> Result<Option<Note>, ImageError> {
    let (tree, list) = (layer.join("fs"), layer.join(LIST));
    let file = File::open(&list).map_err(ImageError::io(&list))?;
    let mut hidden: Option<Note> = None;
    for path in BufReader::new(file).split(0) {
        let path = path.map_err(ImageError::io(&list))?;
        let path = Path::new(OsStr::from_bytes(&path));
        if inherit_one(&tree, path, below)? {
            let first = || {
                Note::of(
                    "links of layers below were hidden by directories without an entry",
                    path,
                )
            };
            hidden.get_or_insert_with(first).count += 1;
        }
    }
    fs::remove_file(&list).map_err(ImageError::io(&list))?;
    Ok(hidden)
}

/// Whether a link is hidden.
fn inherit_one(tree: &Path, path: &Path, below: &[PathBuf]) -> Result<bool, ImageError> {
    for lower in below {
        match look(lower, path).map_err(ImageError::errno(&lower.join(path)))? {
            Seen::Directory(dir) => {
                return match copy_attributes(&dir, tree, path) {
                    // A later entry of the layer put something else in its place.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
                    copied => copied.map_err(ImageError::errno(&tree.join(path))).map(|()| false),
                };
            }
            Seen::Nothing => {}
            Seen::Link => return Ok(true),
            Seen::End => break,
        }
    }
    Ok(false)
}

/// What one layer says about a path.
enum Seen {
    /// Here it is.
    Directory(OwnedFd),
    /// Ask the next layer below.
    Nothing,
    /// A link is in its place, or in that of a directory above it.
    Link,
    /// This layer hides what lower ones have there.
    End,
}

const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn look(layer: &Path, path: &Path) -> Result<Seen, Errno> {
    let mut dir = open_root(layer)?;
    let mut hides = is_opaque(dir.as_fd());
    for component in path.components() {
        match openat(&dir, component.as_os_str(), DIR, Mode::empty()) {
            Ok(next) => dir = next,
            Err(Errno::NOENT) => return Ok(if hides { Seen::End } else { Seen::Nothing }),
            // A file, a link or a whiteout is in its place.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let stat = statat(&dir, component.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)?;
                let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                return Ok(if is_link { Seen::Link } else { Seen::End });
            }
            Err(errno) => return Err(errno),
        }
        hides |= is_opaque(dir.as_fd());
    }
    Ok(Seen::Directory(dir))
}

fn copy_attributes(from: &OwnedFd, tree: &Path, path: &Path) -> Result<(), Errno> {
    let mut to = open_root(tree)?;
    for component in path.components() {
        to = openat(&to, component.as_os_str(), DIR, Mode::empty())?;
    }
    let stat = fstat(from)?;
    match fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid))) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, &to)?;
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: stat.st_mtime_nsec.cast_signed(),
    };
    futimens(
        &to,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )
}

/// Overlay's own marks say something about the layer they are in and stay there.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut names = vec![0u8; 64 << 10];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        result => result?,
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"user.overlay.") || name.starts_with(b"trusted.") || name.starts_with(b"security.selinux")
        {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        let length = fgetxattr(from, name, value.as_mut_slice())?;
        fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}
