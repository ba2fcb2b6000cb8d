//! Which images go. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::image::amount::Amount;
use crate::image::digest::Digest;

/// An image as a plan sees it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub id: Digest,
    /// Keys of the things that it is made of.
    pub parts: BTreeSet<String>,
    pub used: SystemTime,
    pub is_tagged: bool,
    pub is_pinned: bool,
}

/// The images to remove so that no more than `low` is taken, the longest unused first; with what that frees. A part counts when
/// the last image that has it goes.
pub(super) fn plan_collection(
    images: &[Kept],
    sizes: &BTreeMap<String, Amount>,
    taken: Amount,
    low: Amount,
) -> (Vec<Digest>, Amount) {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for part in images.iter().flat_map(|image| &image.parts) {
        *holders.entry(part).or_default() += 1;
    }
    let mut free: Vec<&Kept> = images.iter().filter(|image| !image.is_pinned).collect();
    free.sort_by_key(|image| image.used);
    let (mut gone, mut freed) = (Vec::new(), Amount::default());
    for image in free {
        if taken.without(freed).fits(low) {
            break;
        }
        for part in &image.parts {
            let left = holders.get_mut(part.as_str()).expect("was counted above");
            *left -= 1;
            if *left == 0 {
                freed += sizes.get(part).copied().unwrap_or_default();
            }
        }
        gone.push(image.id.clone());
    }
    (gone, freed)
}

/// The marks that hold where what must stay takes so much. If that alone is above the high mark, no removal helps, and to remove
/// all the rest would only bring it back the next time that it is wanted; then the rest may take what lies between the marks.
pub(super) fn plan_marks((high, low): (Amount, Amount), pinned: Amount) -> (Amount, Amount) {
    let plan = |high: u64, low: u64, pinned: u64| match pinned <= high {
        true => (high, low),
        false => {
            let between = high.saturating_sub(low);
            (pinned.saturating_add(between), pinned.saturating_add(between / 2))
        }
    };
    let bytes = plan(high.bytes, low.bytes, pinned.bytes);
    let inodes = plan(high.inodes, low.inodes, pinned.inodes);
    (Amount::new(bytes.0, inodes.0), Amount::new(bytes.1, inodes.1))
}

/// Down to what has to be collected, if anything has: of what is above its high mark, bytes or inodes, to the low one.
pub(super) fn plan_target(taken: Amount, (high, low): (Amount, Amount)) -> Option<Amount> {
    let target = |taken: u64, high: u64, low: u64| if taken > high { low } else { u64::MAX };
    let target = Amount::new(
        target(taken.bytes, high.bytes, low.bytes),
        target(taken.inodes, high.inodes, low.inodes),
    );
    (!taken.fits(high)).then_some(target)
}

/// What is free without these images: of the parts that no other has.
pub(super) fn freed(images: &[Kept], sizes: &BTreeMap<String, Amount>, gone: &BTreeSet<Digest>) -> Amount {
    let (gone, left): (Vec<&Kept>, Vec<&Kept>) = images.iter().partition(|image| gone.contains(&image.id));
    let parts = |images: Vec<&'_ Kept>| {
        images
            .iter()
            .flat_map(|image| image.parts.clone())
            .collect::<BTreeSet<_>>()
    };
    let free = &parts(gone) - &parts(left);
    free.iter().filter_map(|part| sizes.get(part).copied()).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn image(name: &str, used: u64, parts: &[&str]) -> Kept {
        Kept {
            id: Digest::of(name.as_bytes()),
            parts: parts.iter().map(ToString::to_string).collect(),
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(used),
            is_tagged: true,
            is_pinned: false,
        }
    }

    #[test]
    fn the_longest_unused_go_first_until_the_low_mark() {
        let sizes: BTreeMap<String, Amount> = [("a", 10), ("b", 20), ("c", 30), ("base", 100)]
            .map(|(key, size)| (key.to_owned(), Amount::new(size, size / 10)))
            .into();
        let images = [
            image("new", 3, &["c", "base"]),
            image("old", 1, &["a", "base"]),
            image("mid", 2, &["b", "base"]),
        ];
        let taken = Amount::new(160, 16);
        let gone = |low| {
            let (gone, freed) = plan_collection(&images, &sizes, taken, Amount::new(low, u64::MAX));
            assert_eq!(freed.inodes, freed.bytes / 10);
            let by_inodes = plan_collection(&images, &sizes, taken, Amount::new(u64::MAX, low / 10));
            assert_eq!((&gone, freed), (&by_inodes.0, by_inodes.1), "inodes count as bytes do");
            (gone.len(), freed.bytes)
        };
        assert_eq!(gone(160), (0, 0), "nothing has to go");
        assert_eq!(gone(150), (1, 10), "a base that others have stays");
        assert_eq!(gone(140), (2, 30));
        assert_eq!(gone(0), (3, 160), "and goes with the last");
        let (gone, _) = plan_collection(&images, &sizes, taken, Amount::new(150, 16));
        assert_eq!(gone, [Digest::of(b"old")]);
    }

    #[test]
    fn where_what_must_stay_is_too_much_the_rest_stays_within_what_lies_between_the_marks() {
        let plan = |high, low, pinned| {
            let marks = (Amount::new(high, 100), Amount::new(low, 80));
            let (high, low) = plan_marks(marks, Amount::new(pinned, 0));
            assert_eq!((high.inodes, low.inodes), (100, 80), "each for itself");
            (high.bytes, low.bytes)
        };
        assert_eq!(plan(100, 80, 100), (100, 80));
        assert_eq!(plan(100, 80, 101), (121, 111));
        assert_eq!(
            plan(100, 100, 500),
            (500, 500),
            "or goes, if there is nothing between them"
        );
    }

    #[test]
    fn what_is_fuller_than_it_may_be_goes_down_to_its_low_mark_whatever_the_other_is() {
        let marks = (Amount::new(100, 1000), Amount::new(80, 800));
        for (bytes, inodes, target) in [
            (100, 1000, None),
            (101, 900, Some((80, u64::MAX))),
            (90, 1001, Some((u64::MAX, 800))),
            (101, 1001, Some((80, 800))),
        ] {
            let target = target.map(|(bytes, inodes)| Amount::new(bytes, inodes));
            assert_eq!(
                plan_target(Amount::new(bytes, inodes), marks),
                target,
                "{bytes} {inodes}"
            );
        }
    }

    #[test]
    fn what_is_pinned_stays_whatever_it_takes() {
        let sizes: BTreeMap<String, Amount> = [("a".to_owned(), Amount::new(10, 1))].into();
        let mut pinned = image("pinned", 1, &["a"]);
        pinned.is_pinned = true;
        let also = image("other", 2, &["a"]);
        assert_eq!(
            plan_collection(&[pinned, also], &sizes, Amount::new(10, 1), Amount::default()),
            (vec![Digest::of(b"other")], Amount::default())
        );
    }
}
