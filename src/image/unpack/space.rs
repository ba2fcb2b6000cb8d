//! How much of the disk archives may fill: all but a rest that the machine needs to live on.
//!
//! All archives that are unpacked at the same time have one account. It is filled from what the file system says, in slices: others
//! write too, and holes take nothing.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::fstatvfs;

use super::error::UnpackError;

/// What stays free, unless it is more than a twentieth of the disk: enough for a system to log, to swap and to be repaired. Of inodes,
/// where there is a fixed number, it is a twentieth.
const RESERVE: u64 = 1 << 30;
/// What an entry takes beside its data: an inode and a part of a directory, rounded up to a block.
const ENTRY: u64 = 4 << 10;
/// So much is taken before the file system is asked again, or an eighth of what there is: asking costs as much as a small file.
const SLICE: u64 = 64 << 20;

/// What may still be written on the file system of a store.
#[derive(Debug, Default)]
pub struct SpaceAccount {
    left: Mutex<Left>,
}

#[derive(Debug, Default)]
struct Left {
    bytes: u64,
    entries: u64,
    /// Taken and not yet written: the file system still calls it free.
    promised: u64,
}

/// One archive's share.
pub(super) struct Space<'r> {
    account: &'r SpaceAccount,
    root: BorrowedFd<'r>,
    /// What of its present entry is not yet written.
    promised: u64,
}

/// The state of a file system, as far as a plan needs it.
#[derive(Debug, Clone, Copy)]
struct Free {
    total: u64,
    bytes: u64,
    /// 0 in total where the file system has as many as it has room for (btrfs).
    total_inodes: u64,
    inodes: u64,
}

impl<'r> Space<'r> {
    /// A share in an account, which is that of the file system of this directory.
    pub(super) fn of(account: &'r SpaceAccount, root: BorrowedFd<'r>) -> Space<'r> {
        Space {
            account,
            root,
            promised: 0,
        }
    }

    /// Takes room for an entry. The one before it is written.
    pub(super) fn take(&mut self, size: u64) -> Result<(), UnpackError> {
        let needed = size.saturating_add(ENTRY);
        let mut left = self.account.lock();
        left.promised -= std::mem::take(&mut self.promised);
        if needed > left.bytes || left.entries == 0 {
            let free = self.free()?;
            let (bytes, entries) = plan_space(free);
            let bytes = bytes.saturating_sub(left.promised);
            if entries == 0 {
                let (left, reserve) = (free.inodes, inode_reserve_of(free.total_inodes));
                return Err(UnpackError::NoInodes { left, reserve });
            }
            if needed > bytes {
                let reserve = free.bytes.min(reserve_of(free.total));
                return Err(UnpackError::NoSpace { needed, bytes, reserve });
            }
            (left.bytes, left.entries) = (needed.max(SLICE.min(bytes / 8)), entries);
        }
        left.bytes -= needed;
        left.entries -= 1;
        left.promised += needed;
        self.promised = needed;
        Ok(())
    }

    /// So much of the entry is written by now.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let bytes = bytes.min(self.promised);
        self.promised -= bytes;
        self.account.lock().promised -= bytes;
    }

    fn free(&self) -> Result<Free, UnpackError> {
        let stat = fstatvfs(self.root).map_err(std::io::Error::from)?;
        Ok(Free {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_inodes: stat.f_files,
            inodes: stat.f_favail,
        })
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        self.account.lock().promised -= self.promised;
    }
}

impl SpaceAccount {
    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reserve_of(total: u64) -> u64 {
    RESERVE.min(total / 20)
}

fn inode_reserve_of(total: u64) -> u64 {
    total / 20
}

/// Bytes and entries that may be written.
fn plan_space(free: Free) -> (u64, u64) {
    let bytes = free.bytes.saturating_sub(reserve_of(free.total));
    let entries = match free.total_inodes {
        0 => u64::MAX,
        total => free.inodes.saturating_sub(inode_reserve_of(total)),
    };
    (bytes, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_archive_is_about_to_write_another_does_not_have() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = crate::image::unpack::open_root(dir.path()).expect("a directory");
        let account = SpaceAccount::default();
        let space = || Space::of(&account, std::os::fd::AsFd::as_fd(&root));
        let (mut one, mut two) = (space(), space());
        let (all, _) = plan_space(one.free().expect("readable"));
        let most = all / 4 * 3;
        one.take(most).expect("there is room");
        assert!(matches!(two.take(most), Err(UnpackError::NoSpace { .. })));
        one.wrote(most);
        // It was not, so that the file system still has it.
        two.take(most).expect("there is room again");
        drop(two);
        one.take(most)
            .expect("an archive that ends gives back what it did not write");
    }

    #[test]
    fn a_reserve_stays_free() {
        let free = |total: u64, bytes, total_inodes, inodes| {
            plan_space(Free {
                total,
                bytes,
                total_inodes,
                inodes,
            })
        };
        let gib = 1 << 30;
        assert_eq!(free(100 * gib, 3 * gib, 1000, 100), (2 * gib, 50));
        assert_eq!(free(100 * gib, gib / 2, 1000, 10), (0, 0));
        assert_eq!(
            free(20 << 20, 5 << 20, 0, 0),
            (4 << 20, u64::MAX),
            "of a small one a twentieth"
        );
    }
}
