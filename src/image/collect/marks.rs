//! How much images may take, as users set it.

use crate::image::amount::Amount;
use crate::model::Quantity;

/// The default of [`Marks::high`], in percent.
const HIGH: u8 = 25;
/// The default of [`Marks::low`].
const LOW: u8 = 20;

/// An amount of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// So many bytes.
    Bytes(u64),
    /// A part of the file system that the store is on: of its bytes, and of its inodes where their number is fixed.
    Percent(u8),
}

/// How much images may take. Of inodes that a mark in bytes says nothing of, they may take the default's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// From here on unused images go,
    pub high: Mark,
    /// until no more is taken than this.
    pub low: Mark,
}

impl Default for Marks {
    /// A quarter of the disk: on a laptop of 256 GB as much as developers' image stores come to, and far from what would
    /// leave no room for the rest.
    fn default() -> Marks {
        Marks {
            high: Mark::Percent(HIGH),
            low: Mark::Percent(LOW),
        }
    }
}

impl Mark {
    /// Reads `25%`, or a quantity as Kubernetes has them: `30Gi`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Mark> {
        if let Some(percent) = text.strip_suffix('%') {
            return percent
                .parse()
                .ok()
                .filter(|percent| *percent <= 100)
                .map(Mark::Percent);
        }
        let bytes = Quantity::parse(text)?.divided_by(Quantity::whole(1));
        u64::try_from(bytes).ok().map(Mark::Bytes)
    }

    fn bytes(self, total: u64) -> u64 {
        match self {
            Mark::Bytes(bytes) => bytes,
            Mark::Percent(percent) => part(total, percent),
        }
    }

    fn inodes(self, total: u64, default: u8) -> u64 {
        match (total, self) {
            (0, _) => u64::MAX,
            (total, Mark::Bytes(_)) => part(total, default),
            (total, Mark::Percent(percent)) => part(total, percent),
        }
    }
}

impl Marks {
    /// The high and the low mark on a file system of this size.
    pub(super) fn amounts(self, total: Amount) -> (Amount, Amount) {
        let amount = |mark: Mark, default| Amount::new(mark.bytes(total.bytes), mark.inodes(total.inodes, default));
        (amount(self.high, HIGH), amount(self.low, LOW))
    }
}

fn part(total: u64, percent: u8) -> u64 {
    total / 100 * u64::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_parts_or_quantities() {
        for (text, mark) in [
            ("25%", Some(Mark::Percent(25))),
            ("30Gi", Some(Mark::Bytes(30 << 30))),
            ("1e9", Some(Mark::Bytes(1_000_000_000))),
            ("101%", None),
            ("-1Gi", None),
            ("much", None),
        ] {
            assert_eq!(Mark::parse(text), mark, "{text}");
        }
    }

    #[test]
    fn a_mark_is_a_part_of_bytes_and_inodes_alike_and_bytes_leave_inodes_their_default() {
        let marks = |high, low| Marks { high, low };
        let parts = marks(Mark::Percent(50), Mark::Percent(10));
        let bytes = marks(Mark::Bytes(7), Mark::Bytes(5));
        let disk = Amount::new(1000, 2000);
        assert_eq!(parts.amounts(disk), (Amount::new(500, 1000), Amount::new(100, 200)));
        assert_eq!(bytes.amounts(disk), (Amount::new(7, 500), Amount::new(5, 400)));
        let (high, low) = parts.amounts(Amount::new(1000, 0));
        assert_eq!(
            (high.inodes, low.inodes),
            (u64::MAX, u64::MAX),
            "as many as there is room for"
        );
    }
}
