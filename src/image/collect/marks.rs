//! How much images may take, as users set it.

use crate::model::Quantity;

/// An amount of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// So many bytes.
    Bytes(u64),
    /// A part of the file system that the store is on.
    Percent(u8),
}

/// How much images may take.
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
            high: Mark::Percent(25),
            low: Mark::Percent(20),
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

    pub(super) fn bytes(self, total: u64) -> u64 {
        match self {
            Mark::Bytes(bytes) => bytes,
            Mark::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
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
        assert_eq!(Mark::Percent(25).bytes(1000), 250);
    }
}
