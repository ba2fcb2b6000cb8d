//! How much of the disk an archive may fill: all but a rest that the machine needs to live on.
//!
//! Looked at once, and again only when what was free then has been used up: others write too, and holes take nothing.

use std::os::fd::BorrowedFd;

use rustix::fs::fstatvfs;

use super::error::UnpackError;

/// What stays free, unless it is more than a twentieth of the disk: enough for a system to log, to swap and to be repaired.
const RESERVE: u64 = 1 << 30;
/// What an entry takes beside its data: an inode and a part of a directory, rounded up to a block.
const ENTRY: u64 = 4 << 10;

/// What may still be written.
pub(super) struct Space<'r> {
    root: BorrowedFd<'r>,
    bytes: u64,
    entries: u64,
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
    /// The space on the file system of this directory.
    pub(super) fn of(root: BorrowedFd<'r>) -> Result<Space<'r>, UnpackError> {
        let mut space = Space {
            root,
            bytes: 0,
            entries: 0,
        };
        space.look()?;
        Ok(space)
    }

    /// Takes room for an entry.
    pub(super) fn take(&mut self, size: u64) -> Result<(), UnpackError> {
        let needed = size.saturating_add(ENTRY);
        if needed > self.bytes || self.entries == 0 {
            self.look()?;
        }
        if needed > self.bytes || self.entries == 0 {
            return Err(UnpackError::OverLimit {
                what: "what the disk would have to hold".to_owned(),
                limit: "all but a last reserve".to_owned(),
            });
        }
        self.bytes -= needed;
        self.entries -= 1;
        Ok(())
    }

    fn look(&mut self) -> Result<(), UnpackError> {
        let stat = fstatvfs(self.root).map_err(std::io::Error::from)?;
        (self.bytes, self.entries) = plan_space(Free {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_inodes: stat.f_files,
            inodes: stat.f_favail,
        });
        Ok(())
    }
}

/// Bytes and entries that may be written.
fn plan_space(free: Free) -> (u64, u64) {
    let bytes = free.bytes.saturating_sub(RESERVE.min(free.total / 20));
    let entries = match free.total_inodes {
        0 => u64::MAX,
        total => free.inodes.saturating_sub(total / 20),
    };
    (bytes, entries)
}

#[cfg(test)]
mod tests {
    use super::*;

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
