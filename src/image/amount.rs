//! What something takes of a file system: bytes, and inodes, which on many file systems run out first.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Bytes and inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub bytes: u64,
    pub inodes: u64,
}

impl Amount {
    /// So many files, of so many bytes together.
    pub(super) fn new(bytes: u64, inodes: u64) -> Amount {
        Amount { bytes, inodes }
    }

    /// What is left; nothing where there was less.
    pub(super) fn without(self, other: Amount) -> Amount {
        Amount {
            bytes: self.bytes.saturating_sub(other.bytes),
            inodes: self.inodes.saturating_sub(other.inodes),
        }
    }

    /// Whether it has no more than this of either.
    pub(super) fn fits(self, most: Amount) -> bool {
        self.bytes <= most.bytes && self.inodes <= most.inodes
    }
}

impl Add for Amount {
    type Output = Amount;

    fn add(self, other: Amount) -> Amount {
        Amount {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        *self = *self + other;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Amount>>(amounts: I) -> Amount {
        amounts.fold(Amount::default(), Add::add)
    }
}
