//! Which images go. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

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

/// The images to remove so that no more than `low` is taken, the longest unused first; with how many bytes that frees. A part
/// counts when the last image that has it goes.
pub(super) fn plan_collection(
    images: &[Kept],
    sizes: &BTreeMap<String, u64>,
    taken: u64,
    low: u64,
) -> (Vec<Digest>, u64) {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for part in images.iter().flat_map(|image| &image.parts) {
        *holders.entry(part).or_default() += 1;
    }
    let mut free: Vec<&Kept> = images.iter().filter(|image| !image.is_pinned).collect();
    free.sort_by_key(|image| image.used);
    let (mut gone, mut bytes) = (Vec::new(), 0);
    for image in free {
        if taken.saturating_sub(bytes) <= low {
            break;
        }
        for part in &image.parts {
            let left = holders.get_mut(part.as_str()).expect("was counted above");
            *left -= 1;
            if *left == 0 {
                bytes += sizes.get(part).copied().unwrap_or_default();
            }
        }
        gone.push(image.id.clone());
    }
    (gone, bytes)
}

/// The marks that hold where what must stay takes so much. If that alone is above the high mark, no removal helps, and to remove
/// all the rest would only bring it back the next time that it is wanted; then the rest may take what lies between the marks.
pub(super) fn plan_marks(high: u64, low: u64, pinned: u64) -> (u64, u64) {
    if pinned <= high {
        return (high, low);
    }
    let between = high.saturating_sub(low);
    (pinned.saturating_add(between), pinned.saturating_add(between / 2))
}

/// Bytes that are free without these images: of the parts that no other has.
pub(super) fn freed(images: &[Kept], sizes: &BTreeMap<String, u64>, gone: &BTreeSet<Digest>) -> u64 {
    let (gone, left): (Vec<&Kept>, Vec<&Kept>) = images.iter().partition(|image| gone.contains(&image.id));
    let parts = |images: Vec<&'_ Kept>| {
        images
            .iter()
            .flat_map(|image| image.parts.clone())
            .collect::<BTreeSet<_>>()
    };
    let free = &parts(gone) - &parts(left);
    free.iter().filter_map(|part| sizes.get(part)).sum()
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
        let sizes: BTreeMap<String, u64> = [("a", 10), ("b", 20), ("c", 30), ("base", 100)]
            .map(|(key, size)| (key.to_owned(), size))
            .into();
        let images = [
            image("new", 3, &["c", "base"]),
            image("old", 1, &["a", "base"]),
            image("mid", 2, &["b", "base"]),
        ];
        let gone = |low| {
            let (gone, bytes) = plan_collection(&images, &sizes, 160, low);
            (gone.len(), bytes)
        };
        assert_eq!(gone(160), (0, 0), "nothing has to go");
        assert_eq!(gone(150), (1, 10), "a base that others have stays");
        assert_eq!(gone(140), (2, 30));
        assert_eq!(gone(0), (3, 160), "and goes with the last");
        let (gone, _) = plan_collection(&images, &sizes, 160, 150);
        assert_eq!(gone, [Digest::of(b"old")]);
    }

    #[test]
    fn where_what_must_stay_is_too_much_the_rest_stays_within_what_lies_between_the_marks() {
        assert_eq!(plan_marks(100, 80, 100), (100, 80));
        assert_eq!(plan_marks(100, 80, 101), (121, 111));
        assert_eq!(
            plan_marks(100, 100, 500),
            (500, 500),
            "or goes, if there is nothing between them"
        );
    }

    #[test]
    fn what_is_pinned_stays_whatever_it_takes() {
        let sizes: BTreeMap<String, u64> = [("a".to_owned(), 10)].into();
        let mut pinned = image("pinned", 1, &["a"]);
        pinned.is_pinned = true;
        let also = image("other", 2, &["a"]);
        assert_eq!(
            plan_collection(&[pinned, also], &sizes, 10, 0),
            (vec![Digest::of(b"other")], 0)
        );
    }
}
