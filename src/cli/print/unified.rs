//! Two texts as a unified diff (POSIX `diff -u`): the shortest script of lines, with three lines around each change.

use std::fmt::Write;
use std::ops::Range;

/// Lines around a change.
const CONTEXT: usize = 3;

/// Beyond this many differing lines the shortest script is not looked for: everything between counts as replaced.
const MAX_EDITS: usize = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep,
    Remove,
    Add,
}

/// The difference of two texts; empty when there is none. The names stand in the head.
#[must_use]
pub fn unified(old_name: &str, new_name: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let edits = edits(&old, &new);
    let mut text = String::new();
    for hunk in hunks(&edits) {
        if text.is_empty() {
            text = format!("--- {old_name}\n+++ {new_name}\n");
        }
        write_hunk(&mut text, &edits, hunk, &old, &new);
    }
    text
}

/// Changes with their context; neighbours whose contexts touch are one.
fn hunks(edits: &[Edit]) -> Vec<Range<usize>> {
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for (place, _) in edits.iter().enumerate().filter(|(_, edit)| **edit != Edit::Keep) {
        let (start, end) = (place.saturating_sub(CONTEXT), (place + 1 + CONTEXT).min(edits.len()));
        match hunks.last_mut() {
            Some(last) if last.end >= start => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

fn write_hunk(text: &mut String, edits: &[Edit], hunk: Range<usize>, old: &[&str], new: &[&str]) {
    let count = |edits: &[Edit], but: Edit| edits.iter().filter(|edit| **edit != but).count();
    let (before, inside) = (&edits[..hunk.start], &edits[hunk]);
    let (mut old_at, mut new_at) = (count(before, Edit::Add), count(before, Edit::Remove));
    let range = |start: usize, length: usize| match length {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{length}", start + 1),
    };
    let (old_range, new_range) = (
        range(old_at, count(inside, Edit::Add)),
        range(new_at, count(inside, Edit::Remove)),
    );
    // Writing to a String can't fail.
    let _ = writeln!(text, "@@ -{old_range} +{new_range} @@");
    for edit in inside {
        let (sign, line) = match edit {
            Edit::Keep => (' ', old[old_at]),
            Edit::Remove => ('-', old[old_at]),
            Edit::Add => ('+', new[new_at]),
        };
        let _ = writeln!(text, "{sign}{line}");
        old_at += usize::from(*edit != Edit::Add);
        new_at += usize::from(*edit != Edit::Remove);
    }
}

/// The script that makes `new` of `old`.
fn edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
    let suffix = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old_core, new_core) = (
        &old_rest[..old_rest.len() - suffix],
        &new_rest[..new_rest.len() - suffix],
    );
    let core = shortest(old_core, new_core).unwrap_or_else(|| {
        let removed = std::iter::repeat_n(Edit::Remove, old_core.len());
        removed.chain(std::iter::repeat_n(Edit::Add, new_core.len())).collect()
    });
    let keep = |count| std::iter::repeat_n(Edit::Keep, count);
    keep(prefix).chain(core).chain(keep(suffix)).collect()
}

/// The shortest script (E. Myers, "An O(ND) Difference Algorithm", 1986); `None` if it has more than [`MAX_EDITS`].
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<Edit>> {
    let (n, m) = (old.len(), new.len());
    let limit = (n + m).min(MAX_EDITS);
    let offset = limit + 1;
    // reach[k + offset]: how far along `old` the diagonal k = x - y has been followed.
    let mut reach = vec![0_usize; 2 * offset + 1];
    let mut trace: Vec<Vec<usize>> = Vec::new();
    for depth in 0..=limit {
        trace.push(reach.clone());
        for k in (offset - depth..=offset + depth).step_by(2) {
            let is_down = k == offset - depth || (k != offset + depth && reach[k - 1] < reach[k + 1]);
            let mut x = if is_down { reach[k + 1] } else { reach[k - 1] + 1 };
            let Some(mut y) = (x + offset).checked_sub(k) else {
                continue;
            };
            while x < n && y < m && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            reach[k] = x;
            if x >= n && y >= m {
                return Some(walk_back(&trace, offset, n, m));
            }
        }
    }
    None
}

fn walk_back(trace: &[Vec<usize>], offset: usize, n: usize, m: usize) -> Vec<Edit> {
    let (mut x, mut y, mut edits) = (n, m, Vec::new());
    for (depth, reach) in trace.iter().enumerate().rev() {
        let k = x + offset - y;
        let is_down = k == offset - depth || (k != offset + depth && reach[k - 1] < reach[k + 1]);
        let from_k = if is_down { k + 1 } else { k - 1 };
        let (from_x, from_y) = if depth == 0 {
            (0, 0)
        } else {
            (reach[from_k], reach[from_k] + offset - from_k)
        };
        while x > from_x && y > from_y {
            edits.push(Edit::Keep);
            (x, y) = (x - 1, y - 1);
        }
        if depth > 0 {
            edits.push(if is_down { Edit::Add } else { Edit::Remove });
            (x, y) = (from_x, from_y);
        }
    }
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_change_is_shown_with_three_lines_around_it() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("10\n", "ten\nand\n").replace("20\n", "");
        assert_eq!(
            unified("a", "b", &old, &new),
            "--- a\n+++ b\n@@ -7,7 +7,8 @@\n 7\n 8\n 9\n-10\n+ten\n+and\n 11\n 12\n 13\n@@ -17,4 +18,3 @@\n 17\n 18\n 19\n-20\n"
        );
    }

    #[test]
    fn equal_texts_have_no_difference_and_new_ones_are_all_added() {
        assert_eq!(unified("a", "b", "x\ny\n", "x\ny\n"), "");
        assert_eq!(unified("a", "b", "", "x\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
    }

    proptest! {
        #[test]
        fn the_script_makes_the_new_text_of_the_old(old in "[abc\n]{0,40}", new in "[abc\n]{0,40}") {
            let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let edits = edits(&old, &new);
            let kept = |but: Edit| edits.iter().filter(|edit| **edit != but).count();
            prop_assert_eq!((kept(Edit::Add), kept(Edit::Remove)), (old.len(), new.len()));
            let (mut x, mut y) = (0, 0);
            for edit in &edits {
                if *edit == Edit::Keep {
                    prop_assert_eq!(old[x], new[y]);
                }
                x += usize::from(*edit != Edit::Add);
                y += usize::from(*edit != Edit::Remove);
            }
        }
    }
}
