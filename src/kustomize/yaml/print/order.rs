//! The order of keys: letters as they are, numbers by their value, so that `a9` stands before `a10`.

use std::cmp::Ordering;

/// Compares two keys as the reference does when it prints a build.
///
/// This is no total order in the mathematical sense: around numbers of more digits than 64 bits hold, it may run in
/// circles. Sort with [`sort_keys`], which ends whatever it is given.
fn compare_keys(a: &str, b: &str) -> Ordering {
    let (a_bytes, b_bytes) = (a.as_bytes(), b.as_bytes());
    let common = a_bytes.iter().zip(b_bytes).take_while(|(a, b)| a == b).count();
    if common == a.len() || common == b.len() {
        return a.len().cmp(&b.len());
    }
    // Back to the start of a character that both share the first bytes of.
    let at = (0..=common)
        .rev()
        .find(|at| a.is_char_boundary(*at) && b.is_char_boundary(*at))
        .unwrap_or(0);
    compare_from(a, b, at)
}

fn compare_from(a: &str, b: &str, at: usize) -> Ordering {
    let (Some(a_char), Some(b_char)) = (a[at..].chars().next(), b[at..].chars().next()) else {
        return a.len().cmp(&b.len());
    };
    match (a_char.is_alphabetic(), b_char.is_alphabetic()) {
        (true, true) => return a_char.cmp(&b_char),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Zeros count if the number has begun before with another digit.
    let has_begun = (a_char == '0' || b_char == '0')
        && a[..at]
            .chars()
            .rev()
            .take_while(char::is_ascii_digit)
            .any(|digit| digit != '0');
    let number = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit);
        let value = digits.fold(i64::from(has_begun), |value, digit| {
            value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'))
        });
        (value, text.bytes().take_while(u8::is_ascii_digit).count())
    };
    number(&a[at..]).cmp(&number(&b[at..])).then(a_char.cmp(&b_char))
}

/// Sorts by [`compare_keys`]. A merge sort of our own, because the standard library's may panic on an order that is not
/// total.
pub fn sort_keys<T>(items: &mut Vec<(&str, T)>) {
    let is_sorted = items
        .windows(2)
        .all(|pair| compare_keys(pair[0].0, pair[1].0) != Ordering::Greater);
    if is_sorted {
        return;
    }
    let mut right = items.split_off(items.len() / 2);
    sort_keys(items);
    sort_keys(&mut right);
    let left = std::mem::take(items);
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if compare_keys(a.0, b.0) == Ordering::Greater {
            right.next()
        } else {
            left.next()
        };
        items.extend(next);
    }
    items.extend(left);
    items.extend(right);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_by_letters_and_by_the_value_of_numbers() {
        let sorted = [
            "", "-a", ".x", "0", "00", "1", "2", "10", "A", "B", "a", "a-b", "a.b", "a0", "a1", "a9", "a10", "ab",
            "aB1", "é",
        ];
        let mut items: Vec<(&str, ())> = sorted.iter().rev().map(|key| (*key, ())).collect();
        sort_keys(&mut items);
        let keys: Vec<&str> = items.into_iter().map(|(key, ())| key).collect();
        assert_eq!(keys.len(), sorted.len());
        for pair in keys.windows(2) {
            assert_ne!(compare_keys(pair[0], pair[1]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare_keys("a9", "a10"), Ordering::Less);
        assert_eq!(compare_keys("a", "a1"), Ordering::Less);
    }
}
