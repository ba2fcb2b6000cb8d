//! Turns the entries of a layer's archive into a tree that overlayfs takes as a lower directory.

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, SeekFrom, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown, fsetxattr, fstat,
    ftruncate, futimens, utimensat,
};
use rustix::io::Errno;

use super::error::UnpackError;
use super::implied::Implied;
use super::notes::{Note, Notes};
use super::owner::{Owner, Owners};
use super::path::TreePath;
use super::space::{Space, SpaceAccount};
use super::sparse::Segment;
use super::tarball::{Entry, Kind, Tarball, Time};
use super::times::DirTimes;
use super::tree::{Dir, Tree, disk_bytes, failed};
use crate::image::amount::Amount;
use crate::image::limits::Limits;

/// What an archive's name of a whiteout begins with.
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// The mark of an opaque directory. Other names with two prefixes are aufs' own and mean nothing in an image.
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";

/// What became of an archive.
#[derive(Debug)]
pub struct Unpacked {
    /// Bytes of its files, holes included.
    pub bytes: u64,
    /// What it takes of the disk, as far as the file system tells before it writes files there.
    pub(in crate::image) disk: Amount,
    /// Whether an entry says what its root is like.
    pub describes_root: bool,
    /// Whether it hides all that is in the layers below. Overlay asks no layer whether its root is opaque, so these are to be left out.
    pub hides_below: bool,
    /// Directories that exist only because something lies in them.
    pub implied: Implied,
    /// What could not be unpacked as the archive wanted it.
    pub notes: Vec<Note>,
    /// Whether the archive was closed by its end mark.
    pub has_end_mark: bool,
}

/// Unpacks an archive into the empty directory `root`.
///
/// # Errors
/// The first entry that is damaged, refused, or beyond a limit ends it; the caller removes the tree.
pub fn extract(
    archive: &mut dyn BufRead,
    root: OwnedFd,
    (owners, space): (&Owners, &SpaceAccount),
    limits: &Limits,
) -> Result<Unpacked, UnpackError> {
    let times = DirTimes::new(root.as_fd())?;
    let place = root.try_clone()?;
    let tree = Tree::new(root, limits)?;
    let mut extractor = Extractor {
        tree,
        space: Space::of(space, place.as_fd()),
        owners,
        limits,
        notes: Notes::default(),
        times,
        entries: 0,
        bytes: 0,
        disk: 0,
        describes_root: false,
        hides_below: false,
    };
    let mut tarball = Tarball::new(archive, limits);
    while let Some(entry) = tarball.next_entry()? {
        extractor.entry(entry, &mut tarball)?;
    }
    let Extractor {
        mut tree,
        notes,
        times,
        bytes,
        disk,
        describes_root,
        hides_below,
        ..
    } = extractor;
    times.apply(&mut tree)?;
    Ok(Unpacked {
        bytes,
        disk: tree.taken(disk),
        describes_root,
        hides_below,
        implied: tree.into_implied(),
        notes: notes.finish(),
        has_end_mark: tarball.has_end_mark(),
    })
}

struct Extractor<'l> {
    tree: Tree<'l>,
    space: Space<'l>,
    owners: &'l Owners,
    limits: &'l Limits,
    notes: Notes,
    times: DirTimes,
    entries: u64,
    bytes: u64,
    disk: u64,
    describes_root: bool,
    hides_below: bool,
}

impl Extractor<'_> {
    fn entry<R: BufRead>(&mut self, entry: Entry, tarball: &mut Tarball<'_, R>) -> Result<(), UnpackError> {
        let path = TreePath::clean(&entry.path, self.limits)?;
        self.count(&entry)?;
        let Some((parent_path, name)) = path.split() else {
            return self.root_entry(&entry, &path);
        };
        if entry.kind == Kind::Device {
            self.notes.device(&path);
            return Ok(());
        }
        let parent = self.tree.dir(&parent_path)?;
        if name.starts_with(WHITEOUT_PREFIX) {
            return self.whiteout(&parent, &parent_path, name);
        }
        match entry.kind {
            Kind::File => self.file(&parent, &path, name, &entry, tarball),
            Kind::Directory => self.directory(&parent, &path, name, &entry),
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) || entry.link.len() > self.limits.path {
                    let why = "its target is empty, too long or contains a zero byte";
                    return Err(UnpackError::Refused {
                        path: path.to_string(),
                        why,
                    });
                }
                self.tree.make_symlink(&parent, &path, name, &entry.link)?;
                self.special_attributes(&parent, &path, name, &entry)
            }
            Kind::Fifo => {
                self.tree.make_fifo(&parent, &path, name)?;
                let mode = Mode::from_raw_mode(self.owner(&entry).mode);
                rustix::fs::chmodat(&*parent, name, mode, AtFlags::empty())
                    .map_err(|errno| failed("changing mode of", &path, errno))?;
                self.special_attributes(&parent, &path, name, &entry)
            }
            Kind::HardLink => {
                let target = TreePath::clean(&entry.link, self.limits)?;
                self.tree.make_link(&parent, &path, name, &target)
            }
            Kind::Device => Ok(()),
        }
    }

    fn count(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        let over = |what: &str, limit: String| {
            Err(UnpackError::OverLimit {
                what: what.to_owned(),
                limit,
            })
        };
        if self.entries > self.limits.entries {
            return over("the number of entries", self.limits.entries.to_string());
        }
        if self.bytes > self.limits.unpacked {
            return over(
                "the size of the unpacked files",
                format!("{} bytes", self.limits.unpacked),
            );
        }
        // Of a file with holes only its data takes room.
        let data = |segments: &Vec<Segment>| segments.iter().map(|segment| segment.length).sum();
        self.space.take(entry.segments.as_ref().map_or(size, data))
    }

    fn whiteout(&mut self, dir: &Dir, dir_path: &TreePath, name: &[u8]) -> Result<(), UnpackError> {
        if name == OPAQUE_MARK {
            self.hides_below |= dir_path.is_root();
            return self.tree.set_opaque(dir, b".", dir_path);
        }
        let hidden = &name[WHITEOUT_PREFIX.len()..];
        if hidden.starts_with(WHITEOUT_PREFIX) {
            return Ok(());
        }
        let path = dir_path.child(hidden);
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(UnpackError::Refused {
                path: path.to_string(),
                why: "a whiteout of nothing",
            });
        }
        self.tree.make_whiteout(dir, &path, hidden)
    }

    fn root_entry(&mut self, entry: &Entry, path: &TreePath) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::Refused {
                path: "/".to_owned(),
                why: "the root is not a directory",
            });
        }
        self.describes_root = true;
        let root = self.tree.dir(path)?;
        let root = self.tree.open_dir(&root, b".", path)?;
        self.attributes(root.as_fd(), path, entry)?;
        self.times.add(path, entry.mtime)
    }

    fn directory(&mut self, parent: &Dir, path: &TreePath, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        self.tree.make_dir(parent, path, name)?;
        let dir = self.tree.open_dir(parent, name, path)?;
        self.attributes(dir.as_fd(), path, entry)?;
        self.times.add(path, entry.mtime)
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &Dir,
        path: &TreePath,
        name: &[u8],
        entry: &Entry,
        tarball: &mut Tarball<'_, R>,
    ) -> Result<(), UnpackError> {
        let file = self.tree.make_file(parent, path, name)?;
        let writing = |errno| failed("writing", path, errno);
        match &entry.segments {
            None => self.copy(tarball, file.as_fd(), path, entry.size)?,
            Some(segments) => {
                for segment in segments {
                    rustix::fs::seek(&file, SeekFrom::Start(segment.offset)).map_err(writing)?;
                    self.copy(tarball, file.as_fd(), path, segment.length)?;
                }
                ftruncate(&file, entry.size).map_err(writing)?;
            }
        }
        let stat = fstat(&file).map_err(|errno| failed("looking at", path, errno))?;
        self.disk += disk_bytes(&stat);
        self.attributes(file.as_fd(), path, entry)?;
        futimens(&file, &timestamps(entry.mtime)).map_err(|errno| failed("setting times of", path, errno))
    }

    fn copy<R: BufRead>(
        &mut self,
        tarball: &mut Tarball<'_, R>,
        file: BorrowedFd<'_>,
        path: &TreePath,
        mut left: u64,
    ) -> Result<(), UnpackError> {
        while left > 0 {
            let data = tarball.data()?;
            let wanted = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
            if wanted == 0 {
                return Err(UnpackError::Truncated);
            }
            let written = rustix::io::write(file, &data[..wanted]).map_err(|errno| failed("writing", path, errno))?;
            tarball.consume(written);
            left -= written as u64;
            self.space.wrote(written as u64);
        }
        Ok(())
    }

    fn owner(&mut self, entry: &Entry) -> Owner {
        self.owners.plan_owner(entry.uid, entry.gid, entry.mode)
    }

    /// Owner before mode and xattrs, because changing the owner clears setuid bits and file capabilities.
    fn attributes(&mut self, file: BorrowedFd<'_>, path: &TreePath, entry: &Entry) -> Result<(), UnpackError> {
        let mut owner = self.owner(entry);
        match fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid))) {
            Ok(()) => {}
            // Without root's rights files stay ours, and may then lend nobody ours.
            Err(Errno::PERM) => {
                owner = Owner {
                    mode: owner.mode & 0o1777,
                    is_squashed: true,
                    ..owner
                }
            }
            Err(errno) => return Err(failed("changing owner of", path, errno)),
        }
        if owner.is_squashed {
            self.notes.squashed(path);
        }
        fchmod(file, Mode::from_raw_mode(owner.mode)).map_err(|errno| failed("changing mode of", path, errno))?;
        for (name, value) in &entry.xattrs {
            self.xattr(file, path, name, value)?;
        }
        Ok(())
    }

    fn xattr(&mut self, file: BorrowedFd<'_>, path: &TreePath, name: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        // Overlay's own marks would let an image reach past its layers; labels and trusted ones are the host's affair.
        const HOSTS: [&[u8]; 5] = [
            b"user.overlay.",
            b"trusted.",
            b"security.selinux",
            b"security.ima",
            b"security.evm",
        ];
        if HOSTS.iter().any(|prefix| name.starts_with(prefix)) {
            return Ok(());
        }
        match fsetxattr(file, name, value, XattrFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::RANGE) => {
                self.notes.xattr(path, name);
                Ok(())
            }
            Err(errno) => Err(failed("setting an xattr of", path, errno)),
        }
    }

    /// Owner and time of what cannot be opened.
    fn special_attributes(
        &mut self,
        parent: &Dir,
        path: &TreePath,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), UnpackError> {
        let owner = self.owner(entry);
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        let changed = match chownat(&**parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => true,
            Err(Errno::PERM) => false,
            Err(errno) => return Err(failed("changing owner of", path, errno)),
        };
        if owner.is_squashed || !changed {
            self.notes.squashed(path);
        }
        utimensat(&**parent, name, &timestamps(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("setting times of", path, errno))
    }
}

pub(super) fn timestamps(time: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: i64::from(time.nanos),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
